-- Reschedules a timer, waiting or running.
--
-- KEYS  timeline, payloads
-- ARGV  the key attempts, then id, the requested due time (see resolve_due)
-- Reply '1' rescheduled, '0' no such timer (one without a payload counts as absent)

local timeline, payloads, attempts, id = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
--@ if is_torn(timeline, payloads) then return torn(timeline) end

if not redis.call('ZSCORE', timeline, id) or redis.call('HEXISTS', payloads, id) == 0 then
  return '0'
end
local now_seconds, now_microseconds, now = server_time()
local score = resolve_due(ARGV[3], now_seconds, now_microseconds)
local old_head = head_of(timeline)
redis.call('ZADD', timeline, score, id)
forget_attempts(attempts, id)
wake(timeline, old_head, score, now)
return '1'
