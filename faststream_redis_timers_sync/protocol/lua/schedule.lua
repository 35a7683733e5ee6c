-- Schedules up to 200 timers of one topic: all of them, or with "error" none.
--
-- KEYS  timeline, payloads
-- ARGV  the key attempts
--       then if_exists: what to do where a timer of that id waits already:
--         'replace' it, 'keep' it, or schedule nothing ('error').
--         A running timer, or one without payload, does not stand in the way.
--       then per timer: id, payload, due time asked for (see resolve_due)
-- Reply a character per timer: '1' scheduled, '0' kept the old one;
--       or 'E' and the position (from 1) of the first that waits already

local timeline, payloads, attempts = KEYS[1], KEYS[2], table.remove(ARGV, 1)
--@ if is_torn(timeline, payloads) then return torn(timeline) end
local if_exists = ARGV[1]
local now_seconds, now_microseconds = server_time()

local ids = {}
for i = 2, #ARGV, 3 do
  ids[#ids + 1] = ARGV[i]
end

local waits = {}
if if_exists ~= 'replace' then
  local scores = redis.call('ZMSCORE', timeline, unpack(ids))
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

local members, fields, scheduled, answer = {}, {}, {}, {}
local earliest, asked, score
for n, id in ipairs(ids) do
  if waits[n] then
    answer[n] = '0'
  else
    if ARGV[3 * n + 1] ~= asked then
      asked = ARGV[3 * n + 1]
      score = resolve_due(asked, now_seconds, now_microseconds)
      if not earliest or tonumber(score) < tonumber(earliest) then
        earliest = score
      end
    end
    members[#members + 1] = score
    members[#members + 1] = id
    fields[#fields + 1] = id
    fields[#fields + 1] = ARGV[3 * n]
    scheduled[#scheduled + 1] = id
    answer[n] = '1'
  end
end

if earliest then
  local old_head = head_of(timeline)
  -- ZADD comes first: a server that is out of memory refuses it, and then
  -- nothing at all is written.
  redis.call('ZADD', timeline, unpack(members))
  redis.call('HSET', payloads, unpack(fields))
  forget_attempts(attempts, scheduled)
  wake(timeline, old_head, earliest, due_score(now_seconds, now_microseconds))
end
return table.concat(answer)
