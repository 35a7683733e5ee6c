-- Counts the pending timers of one topic, running ones too.
--
-- KEYS  timeline, payloads
-- Reply the count (entries without payload count as absent)

return math.min(redis.call('ZCARD', KEYS[1]), redis.call('HLEN', KEYS[2]))
