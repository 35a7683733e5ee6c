-- Counts the timers of several topics, and finds what each delivers next.
--
-- KEYS  per topic: timeline, payloads
-- ARGV  how many of the earliest timers to examine for one that is not leased,
--       then lengths of time in whole seconds
-- Reply a line with the server's time, then a line per topic: how many are
--       pending (including running ones), how many overdue (not leased, or with
--       an expired lease), how many paused, the next due time, the highest
--       score, and how many scores lie between now and now plus each length of
--       time. Neither the next due time nor the highest score is that of a paused
--       timer; both are '-' where there is no other.
--       The next due time is the earliest score of a timer that is not leased;
--       if all examined ones are leased, it is the end of the first of those
--       leases.

local now_seconds, now_microseconds = server_time()
local now = due_score(now_seconds, now_microseconds)

local function is_held(score)
  return is_lease(tonumber(score)) and tonumber(score) > tonumber(now)
end

local function next_due(timeline)
  local head = head_of(timeline)
  if not head or not (is_held(head) or tonumber(head) == PAUSED) then
    return head or '-'
  end
  local found = redis.call('ZRANGE', timeline, 0, tonumber(ARGV[1]) - 1, 'WITHSCORES')
  for i = 2, #found, 2 do
    if tonumber(found[i]) == PAUSED then
      -- Later timers are not leased.
      local later = redis.call('ZRANGE', timeline, '(' .. PAUSED, '+inf', 'BYSCORE',
        'LIMIT', 0, 1, 'WITHSCORES')[2]
      return later or is_held(head) and head or '-'
    elseif not is_held(found[i]) then
      return found[i]
    end
  end
  return head
end

local function last_due(timeline)
  local last = redis.call('ZRANGE', timeline, -1, -1, 'WITHSCORES')[2]
  if last and tonumber(last) == PAUSED then
    last = redis.call('ZRANGE', timeline, '(' .. PAUSED, '-inf', 'BYSCORE', 'REV',
      'LIMIT', 0, 1, 'WITHSCORES')[2]
  end
  return last or '-'
end

local lines = {now}
for i = 1, #KEYS, 2 do
  local timeline, payloads = KEYS[i], KEYS[i + 1]
  local line = {
    math.min(redis.call('ZCARD', timeline), redis.call('HLEN', payloads)),
    redis.call('ZCOUNT', timeline, '-inf', now),
    redis.call('ZCOUNT', timeline, PAUSED, PAUSED),
    next_due(timeline),
    last_due(timeline),
  }
  --@ if is_torn(timeline, payloads) then line[1] = redis.call('ZCARD', timeline) end
  for n = 2, #ARGV do
    local horizon = due_score(now_seconds + tonumber(ARGV[n]), now_microseconds)
    line[#line + 1] = redis.call('ZCOUNT', timeline, '(' .. now, horizon)
  end
  lines[#lines + 1] = table.concat(line, ' ')
end
return table.concat(lines, '\n')
