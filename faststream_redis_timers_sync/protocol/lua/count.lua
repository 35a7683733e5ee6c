-- Counts the pending timers of one topic, running ones too.
--
-- KEYS  timeline
-- Reply the count

return redis.call('ZCARD', KEYS[1])
