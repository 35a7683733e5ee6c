-- Counts the timers of several topics, and finds what each delivers next.
--
-- KEYS  per topic: timeline, payloads
-- ARGV  how many of the earliest timers to look at for one that nobody holds,
--       then lengths of time in whole seconds
-- Reply a line with the server's time, then a line per topic: how many are
--       pending (running ones too), how many overdue (nobody holds them, or a
--       lease that has ended), the next due time, the highest score, and how
--       many scores lie between now and now plus each length of time.
--       The next due time is the earliest score of a timer that nobody holds;
--       where all that were looked at are held it is the end of the first of
--       those leases. It and the highest score are '-' where there is no timer.

local now_seconds, now_microseconds = server_time()
local now = due_score(now_seconds, now_microseconds)

local function is_held(score)
  return is_lease(tonumber(score)) and tonumber(score) > tonumber(now)
end

local function next_due(timeline)
  local head = redis.call('ZRANGE', timeline, 0, 0, 'WITHSCORES')[2]
  if not head or not is_held(head) then
    return head or '-'
  end
  local found = redis.call('ZRANGE', timeline, 1, tonumber(ARGV[1]) - 1, 'WITHSCORES')
  for i = 2, #found, 2 do
    if not is_held(found[i]) then
      return found[i]
    end
  end
  return head
end

local lines = {now}
for i = 1, #KEYS, 2 do
  local timeline, payloads = KEYS[i], KEYS[i + 1]
  local line = {
    math.min(redis.call('ZCARD', timeline), redis.call('HLEN', payloads)),
    redis.call('ZCOUNT', timeline, '-inf', now),
    next_due(timeline),
    redis.call('ZRANGE', timeline, -1, -1, 'WITHSCORES')[2] or '-',
  }
  --@ if is_torn(timeline, payloads) then line[1] = redis.call('ZCARD', timeline) end
  for n = 2, #ARGV do
    local horizon = due_score(now_seconds + tonumber(ARGV[n]), now_microseconds)
    line[#line + 1] = redis.call('ZCOUNT', timeline, '(' .. now, horizon)
  end
  lines[#lines + 1] = table.concat(line, ' ')
end
return table.concat(lines, '\n')
