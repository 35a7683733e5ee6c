-- Moves a timer, waiting or running, to another due time.
--
-- KEYS  timeline, payloads
-- ARGV  the key attempts, then id, due time asked for (see resolve_due)
-- Reply '1' moved, '0' no such timer (one without payload counts as absent)

local timeline, payloads, attempts = KEYS[1], KEYS[2], table.remove(ARGV, 1)
--@ if is_torn(timeline, payloads) then return torn(timeline) end
local id, asked = ARGV[1], ARGV[2]

if not redis.call('ZSCORE', timeline, id) or redis.call('HEXISTS', payloads, id) == 0 then
  return '0'
end
local now_seconds, now_microseconds = server_time()
local score = resolve_due(asked, now_seconds, now_microseconds)
local old_head = head_of(timeline)
redis.call('ZADD', timeline, score, id)
forget_attempts(attempts, {id})
wake(timeline, old_head, score, due_score(now_seconds, now_microseconds))
return '1'
