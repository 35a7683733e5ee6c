-- Reschedules up to 200 timers of one topic, waiting or running, to one due time.
--
-- KEYS  timeline, payloads
-- ARGV  the key attempts, then the requested due time (see resolve_due), ids
-- Reply a character per id: 'w' it was waiting, 'r' it was running, 'p' it is
--       a paused series, and stays so, '0' no such timer (one without a
--       payload counts as absent)

local timeline, payloads, attempts = KEYS[1], KEYS[2], table.remove(ARGV, 1)
--@ if is_torn(timeline, payloads) then return torn(timeline) end

local ids = {}
for i = 2, #ARGV do
  ids[#ids + 1] = ARGV[i]
end
local now_seconds, now_microseconds, now = server_time()
local score = resolve_due(ARGV[1], now_seconds, now_microseconds)
local scores = redis.call('ZMSCORE', timeline, unpack(ids))
local members, moved, answer = {}, {}, {}
for n, id in ipairs(ids) do
  if not scores[n] or redis.call('HEXISTS', payloads, id) == 0 then
    answer[n] = '0'
  elseif tonumber(scores[n]) == PAUSED and read_series(redis.call('HGET', payloads, ids[n])) then
    answer[n] = 'p'
  else
    answer[n] = is_lease(tonumber(scores[n])) and 'r' or 'w'
    members[#members + 1] = score
    members[#members + 1] = id
    moved[#moved + 1] = id
  end
end
if #moved > 0 then
  local old_head = head_of(timeline)
  redis.call('ZADD', timeline, unpack(members))
  forget_attempts(attempts, unpack(moved))
  wake(timeline, old_head, score, now)
end
return table.concat(answer)
