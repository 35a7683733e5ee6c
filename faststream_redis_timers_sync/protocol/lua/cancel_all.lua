-- Removes all timers of one topic, running ones too.
--
-- KEYS  timeline, payloads, attempts
-- Reply how many there were (entries without payload count as absent)

local count = math.min(redis.call('ZCARD', KEYS[1]), redis.call('HLEN', KEYS[2]))
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
return count
