-- Counts the timers of several topics that are due before each of some times.
--
-- KEYS  the topics' timelines
-- ARGV  times, in whole seconds of Unix time
-- Reply a line with the server's time, then a line per topic: how many are
--       pending (running ones too), how many overdue (nobody holds them, or a
--       lease that has ended), how many paused, and how many are due before
--       each time. One that is due at that very time is not; the end of a
--       lease counts as a due time.

local now = due_score(server_time())
local lines = {now}
for i, timeline in ipairs(KEYS) do
  local line = {
    redis.call('ZCARD', timeline),
    redis.call('ZCOUNT', timeline, '-inf', now),
    redis.call('ZCOUNT', timeline, PAUSED, PAUSED),
  }
  for n, edge in ipairs(ARGV) do
    line[3 + n] = redis.call('ZCOUNT', timeline, '-inf', '(' .. edge)
  end
  lines[1 + i] = table.concat(line, ' ')
end
return table.concat(lines, '\n')
