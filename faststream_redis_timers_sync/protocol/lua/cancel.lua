-- Removes up to 200 timers of one topic.
--
-- KEYS  timeline, payloads
-- ARGV  the key attempts, then ids
-- Reply a character per id: 'w' it was waiting, 'r' it was running,
--       '0' no such timer (one without payload counts as absent)

local timeline, payloads, attempts = KEYS[1], KEYS[2], table.remove(ARGV, 1)
--@ if is_torn(timeline, payloads) then return torn(timeline) end

local scores = redis.call('ZMSCORE', timeline, unpack(ARGV))
local answer = {}
for n, id in ipairs(ARGV) do
  if not scores[n] or redis.call('HEXISTS', payloads, id) == 0 then
    answer[n] = '0'
  elseif is_lease(tonumber(scores[n])) then
    answer[n] = 'r'
  else
    answer[n] = 'w'
  end
end
redis.call('ZREM', timeline, unpack(ARGV))
redis.call('HDEL', payloads, unpack(ARGV))
forget_attempts(attempts, ARGV)
return table.concat(answer)
