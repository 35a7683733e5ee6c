-- One step of a worker: settles the timers whose handlers have ended, then
-- leases due ones. Either part may be empty.
--
-- KEYS  timeline, payloads; then timeline and payloads of the dead-letter topic,
--       if a settlement needs it; then attempts, if they are counted
-- ARGV  the key attempts, counted or not; then
--       1 how many timers to claim at most (0: none, at most 100)
--       2 length of the lease, as '30.000000' seconds
--       3 microseconds to add to it, a random number below 10,000: two claims
--         may share a microsecond, but their leases must differ
--       4 byte budget for the claimed payloads (one timer may exceed it)
--       5 '' if attempts are not counted; else the attempt from which a timer
--         with a lost lease is suspected of killing its workers. If attempts are
--         not counted, every timer with a lost lease is
--       6 how many suspects to claim at most; others are passed over. Below 0: so
--         many suspects and no other timers, if the first due timer is one; else none
--       7 when to call workers in reserve:
--         'least least_if_full slots missing seconds'. A claim that finds timers calls as
--         many workers as are missing on duty (least should be, or least_if_full if it
--         finds as many as it asks for), or as can take the timers that it leaves, if
--         each takes slots of them (0: it calls nobody for them), whichever is more.
--         A call that claims nothing calls least workers, however many are on duty.
--         The last two are for the called workers. '' calls nobody
--       then per settlement: action, id, leases, detail; and after all others groups of
--         commits: 'commits', how many, their leases, and that many ids. It has no effect
--         unless the timer's score is one of those leases (separated by spaces).
--           'commit'  removes the timer
--           'nack'    due when the lease would have ended, or after the delay
--                     '+2.000000' in detail
--           'release' due at the score in detail, without counting the attempt
--           'recount' due time unchanged; detail is the number of this attempt
--           'renew'   leased until the score in detail, if that is later
--           'dead'    removed, and due now in the dead-letter topic: detail is
--                     the length of its id there, a colon, that id, and its
--                     payload there. If that topic is torn (with hash tags), nothing
--                     changes, and the timer keeps its lease
--           'repeat'  due at the score in detail, and its attempts forgotten. If a
--                     space and a detail of 'dead' follow, that is done too
-- Reply one bulk string, a line and then bytes without gaps.
--       Line: the server's time, the lease ('-' if nothing is leased, 'torn' if keys
--       have hash tags and the topic has timers, but no payloads: then nothing is
--       claimed or removed, and the head is '-'), the head of
--       the timeline without timers passed over ('-' if there is none), the
--       outcomes ('-' if none), if 7 is not '' how many workers are on duty and how
--       many there are ('-' and '-' if that is refused, '?' for a number that the
--       server does not know), the number of claimed timers;
--       per claimed timer the lengths of its id and payload, its previous score and, if
--       attempts are counted, the number of this attempt and the due time of the
--       first; per entry without a payload, which this removes, the length of its
--       id.
--       Bytes: id and payload of each claimed timer, then those removed ids.
--       Outcome of a settlement: '1' done, '0' the timer is gone, 'l' it has another
--       lease, 'd' it has another due time (scheduled or rescheduled meanwhile), 's' it
--       has the due time of 'repeat', as if that had already been done, 't' the
--       dead-letter topic is torn.
--
-- A value of attempts is 'count first-due score'. It is valid as long as the timer
-- has that score: other clients that reschedule it may not know this key.

local timeline, payloads, attempts = KEYS[1], KEYS[2], table.remove(ARGV, 1)
local limit, budget = tonumber(ARGV[1]), tonumber(ARGV[4])
local counts, suspect_from = ARGV[5] ~= '', tonumber(ARGV[5])
local most_suspects = tonumber(ARGV[6])
local comes_alone = most_suspects < 0
most_suspects = math.abs(most_suspects)
local now_seconds, now_microseconds = server_time()
local now = due_score(now_seconds, now_microseconds)

-- Whether this step has removed the last timer, or the last payload: while a slot migrates,
-- using such a key again would end this script.
local is_empty, is_bare = false, false
-- The ids whose attempts are not kept.
local forgotten = {}

-- Returns how often a timer with this score was claimed, and its first due time. Values
-- that a worker could not parse, such as manual edits, are ignored.
local function read_attempts(value, score)
  local count, first_due, of_score =
    string.match(value or '', '^(%d+) ([%d.einf+-]+) (%S+)$')
  if count and #count < 10 and tonumber(first_due) and tonumber(of_score) == tonumber(score) then
    return tonumber(count), first_due
  end
  return 0, score
end

-- Returns the lease that equals the score, if any.
local function find_lease(score, leases)
  if tonumber(leases) == score then
    return leases
  end
  for lease in string.gmatch(leases, '%S+') do
    if tonumber(lease) == score then
      return lease
    end
  end
end

-- Keeps the counts of timers that get another score: by id, the old score, the new
-- one, what to add to the count, and the count itself if it is known. A count of 0 is
-- kept if the new score is not the first due time.
local function carry_attempts(ids, old_scores, new_scores, changes, known)
  local values = redis.call('HMGET', attempts, unpack(ids))
  local kept = {}
  for n, id in ipairs(ids) do
    local count, first_due = read_attempts(values[n], old_scores[n])
    count = math.max(0, (known[n] or count) + changes[n])
    if count > 0 or tonumber(new_scores[n]) ~= tonumber(first_due) then
      kept[#kept + 1] = id
      kept[#kept + 1] = count .. ' ' .. first_due .. ' ' .. new_scores[n]
    elseif values[n] then
      forgotten[id] = true
    end
  end
  if #kept > 0 then
    redis.call('HSET', attempts, unpack(kept))
  end
end

local function add_dead_letters(dead)
  local dead_timeline, dead_payloads = KEYS[3], KEYS[4]
  local old_head = head_of(dead_timeline)
  for _, detail in ipairs(dead) do
    local length, start = string.match(detail, '^(%d+):()')
    local id = string.sub(detail, start, start + length - 1)
    redis.call('ZADD', dead_timeline, now, id)
    redis.call('HSET', dead_payloads, id, string.sub(detail, start + length))
  end
  wake(dead_timeline, old_head, now, now)
end

-- Returns the outcome of a settlement whose timer does not have its lease.
local function outcome_without(score, repeated)
  if not score then
    return '0'
  end
  return is_lease(score) and 'l' or score == repeated and 's' or 'd'
end

-- Adds the timers from ARGV[first] to ARGV[last] that have one of these leases to `removed`, and
-- returns all outcomes.
local function commit_group(first, last, leases, removed)
  local scores = redis.call('ZMSCORE', timeline, unpack(ARGV, first, last))
  -- By score as text: usually all of them have the lease of their claim.
  local outcomes, known = {}, {}
  for n, text in ipairs(scores) do
    local outcome = known[text]
    if not outcome then
      local score = text and tonumber(text)
      outcome = score and find_lease(score, leases) and '1' or outcome_without(score)
      known[text] = outcome
    end
    outcomes[n] = outcome
    if outcome == '1' then
      removed[#removed + 1] = ARGV[first + n - 1]
    end
  end
  return table.concat(outcomes)
end

-- Removes timers that have their leases.
local function remove(...)
  --@ local timers, bodies = redis.call('ZCARD', timeline), redis.call('HLEN', payloads)
  local unscheduled, freed = redis.call('ZREM', timeline, ...), redis.call('HDEL', payloads, ...)
  --@ is_empty, is_bare = unscheduled == timers, freed == bodies
  for _, id in ipairs({...}) do
    forgotten[id] = true
  end
end

local function settle()
  -- Most steps settle one timer, which does not need the tables below.
  if #ARGV == 11 and ARGV[8] == 'commit' then
    local id, score = ARGV[9], tonumber(redis.call('ZMSCORE', timeline, ARGV[9])[1] or nil)
    if not score or not find_lease(score, ARGV[10]) then
      return outcome_without(score)
    end
    remove(id)
    return '1'
  end
  local ids, groups_start = {}, #ARGV + 1
  for i = 8, #ARGV, 4 do
    if ARGV[i] == 'commits' then
      groups_start = i
      break
    end
    ids[#ids + 1] = ARGV[i + 1]
  end
  local scores = #ids > 0 and redis.call('ZMSCORE', timeline, unpack(ids))
  local removed, dead, outcomes, earliest = {}, {}, {}, nil
  -- New scores, each before its id.
  local members = {}
  -- A timer may be renewed, recounted and delayed in one step, but its score is set once.
  local places, moved, old_scores, new_scores, changes, known = {}, {}, {}, {}, {}, {}
  --@ local is_dead_torn
  for n, id in ipairs(ids) do
    local action, leases, detail = ARGV[4 * n + 4], ARGV[4 * n + 6], ARGV[4 * n + 7]
    local score = scores[n] and tonumber(scores[n])
    local lease = score and find_lease(score, leases)
    local is_refused = false
    --@ if lease and (action == 'dead' or action == 'repeat' and string.find(detail, ' ')) then
    --@   if is_dead_torn == nil then is_dead_torn = is_torn(KEYS[3], KEYS[4]) end
    --@   is_refused = is_dead_torn
    --@ end
    if not lease then
      outcomes[n] =
        outcome_without(score, action == 'repeat' and tonumber(string.match(detail, '^%S+')))
    elseif is_refused then
      outcomes[n] = 't'
    else
      outcomes[n] = '1'
      if action == 'commit' then
        removed[#removed + 1] = id
      elseif action == 'repeat' then
        local next_due, place = detail, string.find(detail, ' ', 1, true)
        if place then
          next_due = string.sub(detail, 1, place - 1)
          dead[#dead + 1] = string.sub(detail, place + 1)
        end
        -- Other settlements of its score and attempts in this step have no effect.
        forgotten[id] = true
        members[#members + 1] = next_due
        members[#members + 1] = id
        if not earliest or tonumber(next_due) < tonumber(earliest) then
          earliest = next_due
        end
      elseif action == 'dead' then
        removed[#removed + 1] = id
        dead[#dead + 1] = detail
      else
        local place = places[id]
        if not place then
          place = #moved + 1
          places[id], moved[place], changes[place] = place, id, 0
          old_scores[place], new_scores[place] = score, scores[n]
        end
        if action == 'recount' then
          known[place] = tonumber(detail)
        elseif action ~= 'renew' or tonumber(detail) > tonumber(new_scores[place]) then
          local due = detail
          if action == 'nack' and detail == '' then
            -- The end of the lease, without its half microsecond.
            due = string.sub(lease, 1, -2)
          elseif action == 'nack' then
            due = string.format('%.6f', resolve_due(detail, now_seconds, now_microseconds))
          end
          if detail ~= '' and action ~= 'renew'
              and (not earliest or tonumber(due) < tonumber(earliest)) then
            earliest = due
          end
          new_scores[place] = due
          changes[place] = changes[place] - (action == 'release' and 1 or 0)
        end
      end
    end
  end
  local start = groups_start
  while start < #ARGV do
    local first = start + 3
    start = first + ARGV[start + 1]
    outcomes[#outcomes + 1] = commit_group(first, start - 1, ARGV[first - 1], removed)
  end
  local old_head = earliest and head_of(timeline)
  -- A timer may be renewed and removed in one step, so removing comes last.
  if #moved > 0 or #members > 0 then
    -- ZADD needs memory. A server whose memory is full refuses that only for a script's
    -- first write. So the first write is this one, which changes nothing.
    redis.call('HDEL', payloads, '')
    for place, id in ipairs(moved) do
      if not forgotten[id] then
        members[#members + 1] = new_scores[place]
        members[#members + 1] = id
      end
    end
    redis.call('ZADD', timeline, 'XX', unpack(members))
    if counts and #moved > 0 then
      carry_attempts(moved, old_scores, new_scores, changes, known)
    end
  end
  if #removed > 0 then
    remove(unpack(removed))
  end
  if #dead > 0 then
    add_dead_letters(dead)
  end
  if earliest then
    wake(timeline, old_head, earliest, now)
  end
  return table.concat(outcomes)
end

local outcomes = #ARGV > 7 and settle() or '-'

local lease = '-'
--@ local found_torn = false
local claimed, lengths, bytes, orphans, fields = {}, {}, {}, {}, {}
local found, size, suspects, passed_over, passed = 0, 0, 0, 0, {}

-- How many payloads to read at once; and whether one was so large that they are read one by one.
local at_once, is_any_large = 1, false
local large = budget / 400

-- Texts of lengths, by lengths: formatting numbers takes as long as reading a timer.
local written = {}

-- Claims some of these (id, score, ...); returns whether there is room for more.
local function take(due)
  local ids = {}
  for i = 1, #due, 2 do
    ids[(i + 1) / 2] = due[i]
  end
  local values = counts and redis.call('HMGET', attempts, unpack(ids))
  -- The payloads read ahead, and their first and last index. Pages grow as long as payloads are
  -- small: a few large ones may be among them, which must not be read in vain.
  local read, read_from, read_to = nil, 0, 0
  for n, id in ipairs(ids) do
    local score = due[2 * n]
    local count, first_due
    if counts then
      count, first_due = read_attempts(not forgotten[id] and values[n], score)
      count = count + 1
    end
    -- Ten digits, a point and at most six digits are a whole microsecond: a faster check.
    local is_suspect = most_suspects < limit
      and (#score > 17 or string.byte(score, 11) ~= 46) and is_lease(tonumber(score))
      and not (counts and count < suspect_from)
    if comes_alone and suspects > 0 and (suspects == most_suspects or not is_suspect) then
      return false
    end
    if is_suspect and (suspects >= most_suspects or comes_alone and suspects < found) then
      passed_over = passed_over + 1
      passed[id] = true
    else
      -- Large payloads are not read in vain. Reading the size of each small one, or reading small
      -- ones one by one, would cost more.
      if found > 0 and size > budget / 16
          and size + redis.call('HSTRLEN', payloads, id) > budget then
        return false
      end
      if not is_bare and n > read_to then
        read_from, read_to = n, math.min(#ids, n + at_once - 1)
        read = redis.call('HMGET', payloads, unpack(ids, read_from, read_to))
        for _, payload in ipairs(read) do
          is_any_large = is_any_large or payload and #payload > large
        end
        at_once = is_any_large and 1 or math.min(25, 2 * at_once)
      end
      local payload = not is_bare and read[n - read_from + 1]
      if not payload then
        orphans[#orphans + 1] = id
      elseif found > 0 and size + #payload > budget then
        return false
      else
        found = found + 1
        size = size + #payload
        suspects = suspects + (is_suspect and 1 or 0)
        claimed[found] = id
        bytes[2 * found - 1], bytes[2 * found] = id, payload
        local both = #id * 4294967296 + #payload
        -- Above 2^53 different lengths could become one number.
        local line = #id < 65536 and written[both]
        if not line then
          line = #id .. ' ' .. #payload .. ' '
          written[both] = line
        end
        if counts then
          local attempt = count .. ' ' .. first_due
          lengths[found] = line .. score .. ' ' .. attempt
          fields[2 * found - 1], fields[2 * found] = id, attempt .. ' '
        else
          lengths[found] = line .. score
        end
      end
    end
    if found + #orphans == limit then
      return false
    end
  end
  return true
end

-- Whether the claim has reached its limit or budget.
local is_full = false

if limit > 0 and not is_empty then
  -- Behind timers that are passed over others may be due; the search is limited, since
  -- there may be thousands.
  local seen, page, is_room = 0, limit, false
  for _ = 1, 5 do
    local due = redis.call('ZRANGE', timeline, '-inf', now, 'BYSCORE',
      'LIMIT', seen, page, 'WITHSCORES')
    is_full = #due > 0 and not take(due)
    is_room = not is_full and passed_over > 0 and #due == 2 * page
    if not is_room then
      break
    end
    seen, page = seen + page, 100
  end
  if is_room then
    -- Timers with lost leases are old, so new ones are at the other end: they must not
    -- wait for all timers in between.
    local latest = redis.call('ZRANGE', timeline, now, '-inf', 'BYSCORE', 'REV',
      'LIMIT', 0, 100, 'WITHSCORES')
    for _, ids in ipairs({claimed, orphans}) do
      for _, id in ipairs(ids) do
        passed[id] = true
      end
    end
    local due = {}
    for i = 1, #latest, 2 do
      if not passed[latest[i]] then
        due[#due + 1] = latest[i]
        due[#due + 1] = latest[i + 1]
      end
    end
    is_full = #due > 0 and not take(due)
  end
  --@ if #claimed == 0 and (is_bare or redis.call('EXISTS', payloads) == 0) then
  --@   found_torn = redis.call('ZCARD', timeline) > 0
  --@   orphans = found_torn and {} or orphans
  --@ end
  for _, id in ipairs(orphans) do
    lengths[#lengths + 1] = #id
    bytes[#bytes + 1] = id
  end
  if #orphans > 0 then
    local timers = redis.call('ZCARD', timeline)
    is_empty = redis.call('ZREM', timeline, unpack(orphans)) == timers
    for _, id in ipairs(orphans) do
      forgotten[id] = true
    end
  end
  if #claimed > 0 then
    local ttl_seconds, ttl_microseconds = split_time(ARGV[2])
    local seconds, microseconds =
      add_time(now_seconds, now_microseconds, ttl_seconds, ttl_microseconds)
    lease = lease_score(add_time(seconds, microseconds, 0, tonumber(ARGV[3])))
    local members = {}
    for n, id in ipairs(claimed) do
      members[2 * n - 1], members[2 * n] = lease, id
    end
    redis.call('HDEL', payloads, '')
    redis.call('ZADD', timeline, 'XX', unpack(members))
    if counts then
      for n = 2, #fields, 2 do
        fields[n] = fields[n] .. lease
        forgotten[fields[n - 1]] = nil
      end
      redis.call('HSET', attempts, unpack(fields))
    end
  end
end

-- Timers that were passed over are due, but not for this worker now.
local head = not is_empty
  and redis.call('ZRANGE', timeline, passed_over, passed_over, 'WITHSCORES')[2] or '-'
if limit > 0 and head == '-' and passed_over == 0 then
  redis.pcall('UNLINK', attempts)
elseif #ARGV > 7 or #orphans > 0 then
  -- Most topics count no attempts, and a check costs less than sending ids to a missing key.
  -- While a slot migrates, the check is impossible.
  local may_be_there = counts
  --@ may_be_there = true
  if may_be_there or redis.pcall('EXISTS', attempts) ~= 0 then
    local ids = {}
    for id in pairs(forgotten) do
      ids[#ids + 1] = id
    end
    if #ids > 0 then
      forget_attempts(attempts, unpack(ids))
    end
  end
end
--@ if found_torn then lease, head = 'torn', '-' end

if ARGV[7] ~= '' then
  local channel = channel_prefix .. timeline
  local roster = redis.pcall('PUBSUB', 'NUMSUB', channel, channel .. '\255w')
  local on_duty, workers = '-', '-'
  if not roster.err then
    on_duty, workers = subscribers(roster[2]) or '?', subscribers(roster[4]) or '?'
  end
  if (#claimed > 0 or limit == 0) and not roster.err then
    local least, least_if_full, slots, word = string.match(ARGV[7], '^(%d+) (%d+) (%d+) (.*)')
    local wanted = tonumber(least)
    if limit > 0 then
      -- If the number is unknown, assume one: too many may come, but not too few.
      wanted = (is_full and least_if_full or least) - (on_duty == '?' and 1 or on_duty)
    end
    if is_full and slots ~= '0' and head ~= '-' and tonumber(head) <= tonumber(now) then
      -- ACL rules for workers of former versions do not allow this.
      local due = redis.pcall('ZCOUNT', timeline, '-inf', now)
      local left = type(due) == 'number' and due - passed_over or 1
      wanted = math.max(wanted, math.ceil(left / slots))
    end
    if wanted > 0 then
      call_for_help(timeline, wanted, word, now_microseconds)
    end
  end
  outcomes = outcomes .. ' ' .. on_duty .. ' ' .. workers
end
local line = {now, lease, head, outcomes, #claimed, unpack(lengths)}
return table.concat(line, ' ') .. '\n' .. table.concat(bytes)
