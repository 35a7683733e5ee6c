-- Schedules up to 200 timers of one topic: all of them or, with 'error', possibly none.
--
-- KEYS  timeline, payloads
-- ARGV  the key attempts
--       then if_exists: what to do if a timer with that id is waiting:
--         'replace' it, 'keep' it, or schedule nothing ('error').
--         A running timer, or one without a payload, does not count.
--         'update' also replaces, except for timers with a 'u' before their due
--         time: these are series, and update the existing timer. If the
--         definition is the same, only the payload changes.
--       then per timer: id, payload, the requested due time (see resolve_due)
-- Reply a character per timer: '1' scheduled, '0' kept the old one, 's' updated a
--       series with the same definition, 'c' with another one, or a one-off timer;
--       or 'E' and the position (from 1) of the first waiting timer

local timeline, payloads, attempts = KEYS[1], KEYS[2], ARGV[1]
--@ if is_torn(timeline, payloads) then return torn(timeline) end
local if_exists = ARGV[2]
-- Other scripts write and delete the empty field of payloads.
local NO_ID = 'ERR a timer id must not be empty'
local now_seconds, now_microseconds, now = server_time()

-- Most calls are for one timer, which takes two thirds of the time without tables.
if #ARGV == 5 and if_exists == 'replace' then
  local id, score = ARGV[3], resolve_due(ARGV[5], now_seconds, now_microseconds)
  if id == '' then return redis.error_reply(NO_ID) end
  local old_head = head_of(timeline)
  -- ZADD comes first: a server that is out of memory refuses it, and then
  -- nothing is written.
  redis.call('ZADD', timeline, score, id)
  redis.call('HSET', payloads, id, ARGV[4])
  forget_attempts(attempts, id)
  wake(timeline, old_head, score, now)
  return '1'
end

local ids = {}
for i = 3, #ARGV, 3 do
  if ARGV[i] == '' then return redis.error_reply(NO_ID) end
  ids[#ids + 1] = ARGV[i]
end

local updates = if_exists == 'update'
local scores = if_exists ~= 'replace' and redis.call('ZMSCORE', timeline, unpack(ids))

local waits = {}
if if_exists == 'keep' or if_exists == 'error' then
  for n, id in ipairs(ids) do
    if scores[n] and not is_lease(tonumber(scores[n]))
        and redis.call('HEXISTS', payloads, id) == 1 then
      if if_exists == 'error' then
        return 'E' .. n
      end
      waits[n] = true
    end
  end
end

-- Returns the reply for a series by what exists under its id, and its new score; no score keeps the
-- present one. A series whose failed attempt waits for a retry is recognized by its count; no reply
-- means that this is unknown now.
local update = updates and function(n, id, first)
  local score = tonumber(scores[n] or nil)
  local present = score and redis.call('HGET', payloads, id)
  if not present then
    return '1', first
  end
  local definition = read_series(present)
  if definition == read_series(ARGV[3 * n + 1]) then
    return 's'
  elseif definition and score == PAUSED then
    return 'c'
  elseif score <= now then
    return 'c', now
  elseif is_lease(score) or not definition then
    return 'c', first
  end
  -- While a slot migrates, attempts that are not here may be on the other node.
  --@ if type(redis.pcall('EXISTS', timeline, attempts)) == 'table' then return nil end
  local value = redis.call('HMGET', attempts, id)[1]
  local counted = string.match(value or '', '^%d+ %S+ (%S+)$')
  if counted and tonumber(counted) == score then
    return 'c'
  end
  return 'c', first
end

local members, fields, moved, answer = {}, {}, {}, {}
local earliest, asked, score, is_update
for n, id in ipairs(ids) do
  if waits[n] then
    answer[n] = '0'
  else
    if ARGV[3 * n + 2] ~= asked then
      asked = ARGV[3 * n + 2]
      is_update = updates and string.sub(asked, 1, 1) == 'u'
      local due = is_update and string.sub(asked, 2) or asked
      -- As text, since the server would format a number again for each timer.
      score = string.format('%.6f', resolve_due(due, now_seconds, now_microseconds))
      if not is_update and (not earliest or tonumber(score) < tonumber(earliest)) then
        earliest = score
      end
    end
    local new_score = score
    if is_update then
      answer[n], new_score = update(n, id, score)
      --@ if not answer[n] then return redis.error_reply('TRYAGAIN attempts may be elsewhere') end
      if new_score and (not earliest or tonumber(new_score) < tonumber(earliest)) then
        earliest = new_score
      end
    else
      answer[n] = '1'
    end
    fields[#fields + 1] = id
    fields[#fields + 1] = ARGV[3 * n + 1]
    if new_score then
      members[#members + 1] = new_score
      members[#members + 1] = id
      moved[#moved + 1] = id
    end
  end
end

local old_head = earliest and head_of(timeline)
if earliest then
  -- First, as above.
  redis.call('ZADD', timeline, unpack(members))
end
if #fields > 0 then
  redis.call('HSET', payloads, unpack(fields))
end
if earliest then
  forget_attempts(attempts, unpack(moved))
  wake(timeline, old_head, earliest, now)
end
return table.concat(answer)
