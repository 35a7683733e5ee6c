-- Pauses a series, waiting or running: it is not claimed until it is resumed.
--
-- KEYS  timeline, payloads
-- ARGV  the key attempts, then id
-- Reply '1' paused, 'p' it was already paused, 'n' it is not a series,
--       '0' no such timer (one without a payload counts as absent)

local timeline, payloads, attempts = KEYS[1], KEYS[2], table.remove(ARGV, 1)
--@ if is_torn(timeline, payloads) then return torn(timeline) end
local id = ARGV[1]

local score = redis.call('ZSCORE', timeline, id)
local payload = score and redis.call('HGET', payloads, id)
if not payload then
  return '0'
elseif not read_series(payload) then
  return 'n'
elseif tonumber(score) == PAUSED then
  return 'p'
end
-- A server whose memory is full refuses a script's first write if that needs memory. So the first
-- write is this one, which changes nothing.
redis.call('HDEL', payloads, '')
redis.call('ZADD', timeline, PAUSED, id)
forget_attempts(attempts, id)
return '1'
