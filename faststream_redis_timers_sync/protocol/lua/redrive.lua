-- Puts up to 200 dead letters back into the topic that they come from, due now.
--
-- KEYS  timeline, payloads, attempts of the topic for dead letters; the same of
--       the topic that they come from
-- ARGV  per dead letter: id, score, the timer's id, its payload
-- Reply a character per dead letter: '1' moved; else nothing is moved, since
--       'w' a timer of that id waits, 'r' a handler holds the dead letter, or
--       '0' it is gone or changed meanwhile

local now_seconds, now_microseconds = server_time()
local now = due_score(now_seconds, now_microseconds)
local old_head = head_of(KEYS[4])

local function redrive(dead_id, score, id, payload)
  local dead_score = tonumber(redis.call('ZSCORE', KEYS[1], dead_id) or nil)
  if not dead_score or redis.call('HEXISTS', KEYS[2], dead_id) == 0 then
    return '0'
  end
  if is_lease(dead_score) and dead_score > tonumber(now) then
    return 'r'
  end
  if dead_score ~= tonumber(score) then
    return '0'
  end
  local waiting = redis.call('ZSCORE', KEYS[4], id)
  if waiting and not is_lease(tonumber(waiting))
      and redis.call('HEXISTS', KEYS[5], id) == 1 then
    return 'w'
  end
  -- As in schedule, ZADD comes first.
  redis.call('ZADD', KEYS[4], now, id)
  redis.call('HSET', KEYS[5], id, payload)
  redis.call('HDEL', KEYS[6], id)
  redis.call('ZREM', KEYS[1], dead_id)
  redis.call('HDEL', KEYS[2], dead_id)
  redis.call('HDEL', KEYS[3], dead_id)
  return '1'
end

local answer = {}
for i = 1, #ARGV, 4 do
  answer[#answer + 1] = redrive(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
if string.find(table.concat(answer), '1', 1, true) then
  wake(KEYS[4], old_head, now, now)
end
return table.concat(answer)
