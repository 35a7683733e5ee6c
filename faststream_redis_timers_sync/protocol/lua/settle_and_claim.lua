-- One step of a worker: settles the timers whose handlers have ended, then
-- leases due ones. Either part may be empty.
--
-- KEYS  timeline, payloads, attempts
-- ARGV  1 how many timers to claim at most (0: none, at most 100)
--       2 length of the lease, as '30.000000' seconds
--       3 microseconds to add to it, a random number below 10,000: two claims
--         may share a microsecond, their leases must not
--       4 byte budget for the claimed payloads (one timer may exceed it)
--       then per settlement: action, id, lease, detail. It does nothing unless
--         the timer's score still is that lease.
--           'commit'  removes the timer
--           'nack'    due when the lease would have ended, or after the delay
--                     '+2.000000' in detail
--           'release' due as before the claim, at the score in detail
-- Reply one bulk string, a line and then bytes without a gap.
--       Line: the server's time, the lease ('-' if none is given), the head of
--       the timeline ('-' if it is empty), the outcomes ('-' if none), the
--       number of timers claimed; per claimed timer the length of its id, of
--       its payload and its score before; per entry that had no payload, and
--       is removed by this, the length of its id.
--       Bytes: id and payload of each claimed timer, then those removed ids.
--       Outcome of a settlement: '1' done, '0' the timer is gone, 'l' another
--       lease holds it, 'd' it is due anew (scheduled or moved meanwhile).

local timeline, payloads, attempts = KEYS[1], KEYS[2], KEYS[3]
local limit, budget = tonumber(ARGV[1]), tonumber(ARGV[4])
local now_seconds, now_microseconds = server_time()
local now = due_score(now_seconds, now_microseconds)

local function settle()
  local ids = {}
  for i = 6, #ARGV, 4 do
    ids[#ids + 1] = ARGV[i]
  end
  local scores = redis.call('ZMSCORE', timeline, unpack(ids))
  local old_head = head_of(timeline)
  local removed, moved, outcomes, earliest = {}, {}, {}, nil
  for n, id in ipairs(ids) do
    local action, lease, detail = ARGV[4 * n + 1], ARGV[4 * n + 3], ARGV[4 * n + 4]
    local score = scores[n] and tonumber(scores[n])
    if not score then
      outcomes[n] = '0'
    elseif score ~= tonumber(lease) then
      outcomes[n] = is_lease(score) and 'l' or 'd'
    else
      outcomes[n] = '1'
      if action == 'commit' then
        removed[#removed + 1] = id
      else
        local due = detail
        if action == 'nack' and detail == '' then
          -- The end of the lease, without its half microsecond.
          due = string.sub(lease, 1, -2)
        elseif action == 'nack' then
          due = resolve_due(detail, now_seconds, now_microseconds)
        end
        if detail ~= '' and (not earliest or tonumber(due) < tonumber(earliest)) then
          earliest = due
        end
        moved[#moved + 1] = due
        moved[#moved + 1] = id
      end
    end
  end
  if #removed > 0 then
    redis.call('ZREM', timeline, unpack(removed))
    redis.call('HDEL', payloads, unpack(removed))
    redis.call('HDEL', attempts, unpack(removed))
  end
  if #moved > 0 then
    -- ZADD asks for memory. A server that is full refuses a script's first
    -- write if it does, but none after: so this one, which changes nothing.
    redis.call('HDEL', payloads, '')
    redis.call('ZADD', timeline, 'XX', unpack(moved))
  end
  if earliest then
    wake(timeline, old_head, earliest, now)
  end
  return table.concat(outcomes)
end

local outcomes = #ARGV > 4 and settle() or '-'

local lease = '-'
local claimed, lengths, bytes, orphans = {}, {}, {}, {}
if limit > 0 then
  local due = redis.call('ZRANGE', timeline, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
  local size = 0
  for i = 1, #due, 2 do
    local id = due[i]
    -- Large ones are not read in vain; to ask for the size of each small one costs more.
    if #claimed > 0 and size > budget / 16
        and size + redis.call('HSTRLEN', payloads, id) > budget then
      break
    end
    local payload = redis.call('HGET', payloads, id)
    if not payload then
      orphans[#orphans + 1] = id
    elseif #claimed > 0 and size + #payload > budget then
      break
    else
      size = size + #payload
      claimed[#claimed + 1] = id
      lengths[#lengths + 1] = #id .. ' ' .. #payload .. ' ' .. due[i + 1]
      bytes[#bytes + 1] = id
      bytes[#bytes + 1] = payload
    end
  end
  for _, id in ipairs(orphans) do
    lengths[#lengths + 1] = #id
    bytes[#bytes + 1] = id
  end
  if #orphans > 0 then
    redis.call('ZREM', timeline, unpack(orphans))
    redis.call('HDEL', attempts, unpack(orphans))
  end
  if #claimed > 0 then
    local ttl_seconds, ttl_microseconds = split_time(ARGV[2])
    local seconds, microseconds =
      add_time(now_seconds, now_microseconds, ttl_seconds, ttl_microseconds)
    lease = lease_score(add_time(seconds, microseconds, 0, tonumber(ARGV[3])))
    local members = {}
    for _, id in ipairs(claimed) do
      members[#members + 1] = lease
      members[#members + 1] = id
    end
    redis.call('HDEL', payloads, '')
    redis.call('ZADD', timeline, 'XX', unpack(members))
  end
end

local line = {now, lease, head_of(timeline) or '-', outcomes, #claimed, unpack(lengths)}
return table.concat(line, ' ') .. '\n' .. table.concat(bytes)
