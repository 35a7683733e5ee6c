-- Reads up to 500 timers by id, as many as fit the byte budget (at least one).
--
-- KEYS  timeline, payloads
-- ARGV  byte budget for payloads, ids
-- Reply one bulk string: a line 'score length score length ...' for the first
--       ids ('- 0' for an absent one), then the payloads without gaps

--@ if is_torn(KEYS[1], KEYS[2]) then return torn(KEYS[1]) end
local budget = tonumber(ARGV[1])
local ids = {}
for i = 2, #ARGV do
  ids[#ids + 1] = ARGV[i]
end
local scores = redis.call('ZMSCORE', KEYS[1], unpack(ids))
local line, bodies, size = {}, {}, 0
for n, id in ipairs(ids) do
  local payload = scores[n] and redis.call('HGET', KEYS[2], id)
  if payload then
    if size > 0 and size + #payload > budget then
      break
    end
    size = size + #payload
    line[n] = scores[n] .. ' ' .. #payload
    bodies[#bodies + 1] = payload
  else
    line[n] = '- 0'
  end
end
return table.concat(line, ' ') .. '\n' .. table.concat(bodies)
