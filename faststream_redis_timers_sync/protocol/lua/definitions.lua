-- Reads the definitions of up to 500 timers of one topic, as many as fit the byte budget (at least
-- one). Whole payloads are read for it, but stay on the server.
--
-- KEYS  timeline, payloads
-- ARGV  byte budget for payloads, ids
-- Reply one bulk string: a line with the length of each definition of the first ids (-1 for a timer
--       that is not a series, or absent; a payload without an entry counts as absent), then the
--       definitions without gaps

--@ if is_torn(KEYS[1], KEYS[2]) then return torn(KEYS[1]) end
local budget, size = tonumber(ARGV[1]), 0
local lengths, definitions = {}, {}
local scores = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, 2))
for n = 2, #ARGV do
  local payload = scores[n - 1] and redis.call('HGET', KEYS[2], ARGV[n]) or ''
  size = size + #payload
  if n > 2 and size > budget then
    break
  end
  local definition = read_series(payload)
  lengths[#lengths + 1] = definition and #definition or -1
  definitions[#definitions + 1] = definition or ''
end
return table.concat(lengths, ' ') .. '\n' .. table.concat(definitions)
