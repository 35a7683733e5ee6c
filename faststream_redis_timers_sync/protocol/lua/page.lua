-- Reads a page of ids in order of (score, id), starting after a cursor. A page
-- starts at a rank that is computed each time: timers that fire meanwhile shift
-- ranks, but not the cursor, so none is left out.
--
-- KEYS  timeline, payloads
-- ARGV  1 limit, 2 highest score ('+inf' or a number)
--       3 lowest score, exclusive ('-inf' or a number)
--       4 score and 5 id of the cursor; both '' at the start
-- Reply one bulk string: a line '1' if more may follow, else '0', then per timer
--       its score and the length of its id; then the ids without gaps. A
--       length below 0 marks an entry without a payload, whose id still
--       serves as a cursor.

local timeline, payloads = KEYS[1], KEYS[2]
--@ if is_torn(timeline, payloads) then return torn(timeline) end
local limit, highest, lowest = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local cursor_score, cursor_id = ARGV[4], ARGV[5]

-- Compares by bytes, like a sorted set; the < of Lua depends on the server's
-- locale.
local function comes_after(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x > y
    end
  end
  return #a > #b
end

local start
if cursor_score == '' then
  start = lowest == '-inf' and 0 or redis.call('ZCOUNT', timeline, '-inf', lowest)
else
  start = redis.call('ZCOUNT', timeline, '-inf', '(' .. cursor_score)
  local stop = redis.call('ZCOUNT', timeline, '-inf', cursor_score)
  while start < stop do
    local middle = math.floor((start + stop) / 2)
    local id = redis.call('ZRANGE', timeline, middle, middle)[1]
    if comes_after(id, cursor_id) then
      stop = middle
    else
      start = middle + 1
    end
  end
end

local found = redis.call('ZRANGE', timeline, start, start + limit - 1, 'WITHSCORES')
local line, ids = {#found == 2 * limit and '1' or '0'}, {}
for i = 1, #found, 2 do
  local id, score = found[i], found[i + 1]
  if highest ~= '+inf' and tonumber(score) > tonumber(highest) then
    line[1] = '0'
    break
  end
  line[#line + 1] = score
  line[#line + 1] = redis.call('HEXISTS', payloads, id) == 1 and #id or -#id
  ids[#ids + 1] = id
end
return table.concat(line, ' ') .. '\n' .. table.concat(ids)
