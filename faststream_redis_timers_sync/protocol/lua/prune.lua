-- Cancels a series if the given owner declared it.
--
-- KEYS  timeline, payloads
-- ARGV  the key attempts, then id, the owner
-- Reply '1' cancelled, waiting or running; '0' that owner has no such series

local timeline, payloads, attempts = KEYS[1], KEYS[2], table.remove(ARGV, 1)
--@ if is_torn(timeline, payloads) then return torn(timeline) end
local id = ARGV[1]

local payload = redis.call('ZSCORE', timeline, id) and redis.call('HGET', payloads, id)
if not payload then
  return '0'
end
local definition, owner = read_series(payload)
if not definition or owner ~= ARGV[2] then
  return '0'
end
redis.call('ZREM', timeline, id)
redis.call('HDEL', payloads, id)
forget_attempts(attempts, id)
return '1'
