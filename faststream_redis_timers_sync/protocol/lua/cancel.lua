-- Removes up to 200 timers of one topic.
--
-- KEYS  timeline, payloads
-- ARGV  the key attempts, then ids
-- Reply a character per id: 'w' it was waiting, 'r' it was running,
--       '0' no such timer (one without a payload counts as absent)

local timeline, payloads, attempts = KEYS[1], KEYS[2], ARGV[1]
--@ if is_torn(timeline, payloads) then return torn(timeline) end

-- Most calls are for one timer, which takes half as long without tables.
if #ARGV == 2 then
  local id = ARGV[2]
  local score = redis.call('ZSCORE', timeline, id)
  redis.call('ZREM', timeline, id)
  local had_payload = redis.call('HDEL', payloads, id) == 1
  forget_attempts(attempts, id)
  return score and had_payload and (is_lease(tonumber(score)) and 'r' or 'w') or '0'
end

local ids = {unpack(ARGV, 2)}
local scores = redis.call('ZMSCORE', timeline, unpack(ids))
local answer = {}
for n, id in ipairs(ids) do
  if not scores[n] or redis.call('HEXISTS', payloads, id) == 0 then
    answer[n] = '0'
  elseif is_lease(tonumber(scores[n])) then
    answer[n] = 'r'
  else
    answer[n] = 'w'
  end
end
redis.call('ZREM', timeline, unpack(ids))
redis.call('HDEL', payloads, unpack(ids))
forget_attempts(attempts, unpack(ids))
return table.concat(answer)
