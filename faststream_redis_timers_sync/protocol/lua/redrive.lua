-- Redrives up to 200 dead letters: schedules them on their original topic, due now.
--
-- KEYS  timeline and payloads of the dead-letter topic; the same of the original
--       topic
-- ARGV  the key attempts of both; then per dead letter: id, score, the timer's id, its payload
-- Reply a character per dead letter: '1' redriven; otherwise it stays, since
--       'w' a timer with that id is waiting, or is a series, 'r' the dead letter
--       is running, or '0' it is gone or has changed meanwhile

local dead_timeline, dead_payloads, timeline, payloads = unpack(KEYS)
--@ if is_torn(dead_timeline, dead_payloads) then return torn(dead_timeline) end
--@ if is_torn(timeline, payloads) then return torn(timeline) end
local dead_attempts, attempts = table.remove(ARGV, 1), table.remove(ARGV, 1)
local now_seconds, now_microseconds = server_time()
local now = due_score(now_seconds, now_microseconds)
local old_head = head_of(timeline)
-- Once a key is empty it is not used again: while a slot migrates, that would end this
-- script.
local left = math.min(redis.call('ZCARD', dead_timeline), redis.call('HLEN', dead_payloads))
local dead_ids, ids = {}, {}

local function redrive(dead_id, score, id, payload)
  if left == 0 then
    return '0'
  end
  local dead_score = tonumber(redis.call('ZSCORE', dead_timeline, dead_id) or nil)
  if not dead_score or redis.call('HEXISTS', dead_payloads, dead_id) == 0 then
    return '0'
  end
  if is_lease(dead_score) and dead_score > tonumber(now) then
    return 'r'
  end
  if dead_score ~= tonumber(score) then
    return '0'
  end
  local waiting = redis.call('ZSCORE', timeline, id)
  local present = waiting and redis.call('HGET', payloads, id)
  -- A running series blocks it, since the outcome of its occurrence must not be lost.
  if present and (not is_lease(tonumber(waiting)) or read_series(present)) then
    return 'w'
  end
  -- As in schedule, ZADD comes first.
  redis.call('ZADD', timeline, now, id)
  redis.call('HSET', payloads, id, payload)
  redis.call('ZREM', dead_timeline, dead_id)
  redis.call('HDEL', dead_payloads, dead_id)
  dead_ids[#dead_ids + 1] = dead_id
  ids[#ids + 1] = id
  -- If both topics are the same, the key is not empty afterwards.
  left = timeline == dead_timeline and left or left - 1
  return '1'
end

local answer = {}
for i = 1, #ARGV, 4 do
  answer[#answer + 1] = redrive(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
if #ids > 0 then
  forget_attempts(dead_attempts, unpack(dead_ids))
  forget_attempts(attempts, unpack(ids))
  wake(timeline, old_head, now, now)
end
return table.concat(answer)
