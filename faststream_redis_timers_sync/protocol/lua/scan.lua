-- Reads ids that match a glob pattern, unordered, in steps of bounded work.
--
-- KEYS  timeline, payloads
-- ARGV  cursor ('0' at the start), pattern, how much work to do (ZSCAN's COUNT)
-- Reply one bulk string: a line with the next cursor ('0' at the end), then per
--       timer its score and the length of its id; then the ids without gaps.
--       An entry without a payload counts as absent.

--@ if is_torn(KEYS[1], KEYS[2]) then return torn(KEYS[1]) end
local step = redis.call('ZSCAN', KEYS[1], ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local line, ids = {step[1]}, {}
for i = 1, #step[2], 2 do
  local id, score = step[2][i], step[2][i + 1]
  if redis.call('HEXISTS', KEYS[2], id) == 1 then
    line[#line + 1] = score
    line[#line + 1] = #id
    ids[#ids + 1] = id
  end
end
return table.concat(line, ' ') .. '\n' .. table.concat(ids)
