-- Counts the pending timers of one topic, including running ones.
--
-- KEYS  timeline, payloads
-- Reply the count (entries without a payload count as absent)

--@ if is_torn(KEYS[1], KEYS[2]) then return torn(KEYS[1]) end
return math.min(redis.call('ZCARD', KEYS[1]), redis.call('HLEN', KEYS[2]))
