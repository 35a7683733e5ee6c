-- Returns whether a timer is pending: waiting or running.
--
-- KEYS  timeline, payloads
-- ARGV  id
-- Reply 1 or 0 (one without a payload counts as absent)

--@ if is_torn(KEYS[1], KEYS[2]) then return torn(KEYS[1]) end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
return redis.call('HEXISTS', KEYS[2], ARGV[1])
