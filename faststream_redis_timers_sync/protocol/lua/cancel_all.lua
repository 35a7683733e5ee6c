-- Removes all timers of one topic, including running ones.
--
-- KEYS  timeline, payloads
-- ARGV  the key attempts
-- Reply how many there were (entries without a payload count as absent)

local count = math.min(redis.call('ZCARD', KEYS[1]), redis.call('HLEN', KEYS[2]))
--@ if is_torn(KEYS[1], KEYS[2]) then count = redis.call('ZCARD', KEYS[1]) end
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.pcall('UNLINK', ARGV[1])
return count
