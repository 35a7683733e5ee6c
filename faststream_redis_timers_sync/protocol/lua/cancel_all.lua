-- Removes all timers of one topic, running ones too.
--
-- KEYS  timeline, payloads, attempts
-- Reply how many there were

local count = redis.call('ZCARD', KEYS[1])
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
return count
