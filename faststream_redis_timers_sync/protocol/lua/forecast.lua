-- Counts the timers of several topics that are due before each of several times.
--
-- KEYS  the topics' timelines
-- ARGV  times, in whole seconds of Unix time
-- Reply a line with the server's time, then a line per topic: how many are
--       pending (including running ones), how many overdue (not leased, or with
--       an expired lease), how many paused, and how many are due before
--       each time. A timer due at exactly that time does not count; the end of
--       a lease counts as a due time.

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
