-- Resumes a paused series.
--
-- KEYS  timeline, payloads
-- ARGV  the key attempts, then id, the expected definition, the requested due time
--       (see resolve_due)
-- Reply '1' resumed, 'c' it has another definition, '0' there is no such paused
--       series

local timeline, payloads, attempts = KEYS[1], KEYS[2], table.remove(ARGV, 1)
--@ if is_torn(timeline, payloads) then return torn(timeline) end
local id = ARGV[1]

local score = redis.call('ZSCORE', timeline, id)
local payload = score and tonumber(score) == PAUSED and redis.call('HGET', payloads, id)
local definition = payload and read_series(payload)
if not definition then
  return '0'
elseif definition ~= ARGV[2] then
  return 'c'
end
local now_seconds, now_microseconds, now = server_time()
local due = resolve_due(ARGV[3], now_seconds, now_microseconds)
local old_head = head_of(timeline)
redis.call('ZADD', timeline, due, id)
forget_attempts(attempts, id)
wake(timeline, old_head, due, now)
return '1'
