-- Counts the running timers of a topic.
--
-- KEYS  timeline
-- ARGV  1 the longest lease in whole seconds, 2 how many timers to examine
-- Reply how many; -1 if more timers than that are within such a lease: ends of
--       leases are mixed with due times, so each timer must be examined.

local now_seconds, now_microseconds = server_time()
local lowest = '(' .. due_score(now_seconds, now_microseconds)
local highest = due_score(now_seconds + tonumber(ARGV[1]), now_microseconds)

if redis.call('ZCOUNT', KEYS[1], lowest, highest) > tonumber(ARGV[2]) then
  return -1
end
local found = redis.call('ZRANGE', KEYS[1], lowest, highest, 'BYSCORE', 'WITHSCORES')
local held = 0
for i = 2, #found, 2 do
  if is_lease(tonumber(found[i])) then
    held = held + 1
  end
end
return held
