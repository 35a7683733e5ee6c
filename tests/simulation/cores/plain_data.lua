-- What the library's scripts use of Redis: sorted sets and hashes in plain tables, the commands on
-- them, and a sandbox with the names that scripts may use. `plain_data.py` calls it.

local floor, huge, min, max = math.floor, math.huge, math.min, math.max
local format, sub = string.format, string.sub
local insert, remove = table.insert, table.remove

-- Of the server on which a script runs: sorted sets and hashes by key, whether it writes doubles
-- with 17 digits, who counts the listeners of a channel, its time, and channels and messages published by this script, if any.
local sets, hashes, writes_17_digits, count_listeners, time, published

-- Called by ZSCAN: tells whether an id matches a pattern.
local matches = ...

local function fail(text)
  error(text, 0)
end

-- Like Redis: it refuses what is no number, and NaN.
local function number_of(text)
  local number = tonumber(text)
  if not number or number ~= number then
    fail('ERR value is not a valid float')
  end
  return number
end

local function bound_of(text)
  if sub(text, 1, 1) == '(' then
    return number_of(sub(text, 2)), true
  end
  return number_of(text), false
end

-- Values arrive as numbers where a script gives numbers.
local function text_of(value)
  return type(value) == 'number' and format('%.17g', value) or value
end

-- The fewest digits that tell a double from all others, without the zeros at their end, and their
-- exponent.
local function digits_of(number)
  for precision = 14, 16 do
    local text = format('%.' .. precision .. 'e', number)
    if precision == 16 or tonumber(text) == number then
      local first, others, exponent = string.match(text, '^(%d)%.(%d-)0*e([+-]%d+)$')
      return first .. others, tonumber(exponent)
    end
  end
end

-- As a server writes a double: with an exponent where more than six decimals would follow. Of two
-- thousand scores it writes one with another last digit, since it does not look for the nearest.
local function score_text(score)
  if score == floor(score) and math.abs(score) < 2 ^ 62 then
    return format('%.0f', score == 0 and 0 or score)
  elseif score == huge or score == -huge then
    return score > 0 and 'inf' or '-inf'
  elseif writes_17_digits then
    return format('%.17g', score)
  end
  local sign, digits, exponent = score < 0 and '-' or '', digits_of(math.abs(score))
  local decimals = #digits - 1 - exponent
  if decimals <= 0 and exponent < #digits + 7 then
    return sign .. digits .. string.rep('0', -decimals)
  elseif decimals <= 0 or (decimals > 6 and math.abs(exponent) >= 4) then
    local others = #digits > 1 and '.' .. sub(digits, 2) or ''
    return format('%s%s%se%+d', sign, sub(digits, 1, 1), others, exponent)
  elseif exponent < 0 then
    return sign .. '0.' .. string.rep('0', -exponent - 1) .. digits
  end
  return sign .. sub(digits, 1, exponent + 1) .. '.' .. sub(digits, exponent + 2)
end

-- --- sorted sets: ids in order, a score by id, and as text where it was asked for

local NO_SET = {order = {}, scores = {}, texts = {}}

local function set_of(key)
  return sets[key] or NO_SET
end

local function text_of_score(set, id)
  local text = set.texts[id]
  if not text then
    text = score_text(set.scores[id])
    set.texts[id] = text
  end
  return text
end

local function place_of(set, id, score)
  local order, scores = set.order, set.scores
  local low, high = 1, #order + 1
  while low < high do
    local middle = floor((low + high) / 2)
    local other = order[middle]
    local its = scores[other]
    if its < score or (its == score and other < id) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- The first place with this score or a higher one; with `beyond` a higher one only.
local function place_of_score(set, score, beyond)
  local order, scores = set.order, set.scores
  local low, high = 1, #order + 1
  while low < high do
    local middle = floor((low + high) / 2)
    local its = scores[order[middle]]
    if its < score or (beyond and its == score) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local function take_out(set, id)
  remove(set.order, place_of(set, id, set.scores[id]))
  set.scores[id], set.texts[id] = nil, nil
end

local function put_in(set, id, score)
  insert(set.order, place_of(set, id, score), id)
  set.scores[id] = score
end

-- --- commands

local commands = {}

function commands.TIME()
  return time
end

function commands.PUBLISH(channel, message)
  published = published or {}
  insert(published, channel)
  insert(published, message)
  return count_listeners(channel)
end

commands.SPUBLISH = commands.PUBLISH

function commands.PUBSUB(subcommand, ...)
  if subcommand ~= 'NUMSUB' and subcommand ~= 'SHARDNUMSUB' then
    fail('ERR unknown subcommand')
  end
  local counts = {}
  for _, channel in ipairs({...}) do
    insert(counts, channel)
    insert(counts, count_listeners(channel))
  end
  return counts
end

function commands.EXISTS(...)
  local count = 0
  for _, key in ipairs({...}) do
    if sets[key] or hashes[key] then
      count = count + 1
    end
  end
  return count
end

function commands.UNLINK(...)
  local count = 0
  for _, key in ipairs({...}) do
    if sets[key] or hashes[key] then
      count = count + 1
    end
    sets[key], hashes[key] = nil, nil
  end
  return count
end

function commands.ZADD(key, ...)
  local args = {...}
  local only_known = args[1] == 'XX'
  local first = only_known and 2 or 1
  if #args < first + 1 or (#args - first) % 2 == 0 then
    fail('ERR syntax error')
  end
  for n = first, #args, 2 do
    args[n] = number_of(args[n])
  end
  local set = sets[key]
  if not set then
    if only_known then
      return 0
    end
    set = {order = {}, scores = {}, texts = {}}
    sets[key] = set
  end
  local added = 0
  for n = first, #args, 2 do
    local score, id = args[n], text_of(args[n + 1])
    local old = set.scores[id]
    if not old then
      if not only_known then
        put_in(set, id, score)
        added = added + 1
      end
    elseif old ~= score then
      take_out(set, id)
      put_in(set, id, score)
    end
  end
  return added
end

function commands.ZREM(key, ...)
  local ids = {...}
  if #ids == 0 then
    fail('ERR wrong number of arguments for command')
  end
  local set, count = set_of(key), 0
  for _, id in ipairs(ids) do
    if set.scores[id] then
      take_out(set, id)
      count = count + 1
    end
  end
  if #set.order == 0 then
    sets[key] = nil
  end
  return count
end

function commands.ZCARD(key)
  return #set_of(key).order
end

function commands.ZCOUNT(key, lowest, highest)
  local set = set_of(key)
  local low, without_low = bound_of(lowest)
  local high, without_high = bound_of(highest)
  return max(0, place_of_score(set, high, not without_high) - place_of_score(set, low, without_low))
end

function commands.ZSCORE(key, id)
  local set = set_of(key)
  return set.scores[id] and text_of_score(set, id) or false
end

function commands.ZMSCORE(key, ...)
  local set, found = set_of(key), {...}
  if #found == 0 then
    fail('ERR wrong number of arguments for command')
  end
  for n = 1, #found do
    found[n] = set.scores[found[n]] and text_of_score(set, found[n]) or false
  end
  return found
end

function commands.ZRANGE(key, first, last, ...)
  local options = {...}
  local by_score, reversed, with_scores, offset, count = false, false, false, 0, -1
  local n = 1
  while n <= #options do
    local option = options[n]
    if option == 'BYSCORE' then
      by_score = true
    elseif option == 'REV' then
      reversed = true
    elseif option == 'WITHSCORES' then
      with_scores = true
    elseif option == 'LIMIT' then
      offset, count = tonumber(options[n + 1]), tonumber(options[n + 2])
      n = n + 2
    else
      fail('ERR syntax error')
    end
    n = n + 1
  end
  local set = set_of(key)
  local order = set.order
  local start, stop, step = nil, nil, reversed and -1 or 1
  if by_score then
    if reversed then
      first, last = last, first
    end
    local low, without_low = bound_of(first)
    local high, without_high = bound_of(last)
    start = place_of_score(set, low, without_low)
    stop = place_of_score(set, high, not without_high) - 1
    if reversed then
      start, stop = stop, start
    end
    start = offset < 0 and stop + step or start + step * offset
    if count >= 0 then
      local end_of_page = start + step * (count - 1)
      stop = reversed and max(stop, end_of_page) or min(stop, end_of_page)
    end
  elseif reversed or count >= 0 then
    fail('ERR syntax error')
  else
    start, stop = tonumber(first), tonumber(last)
    start = max(start < 0 and start + #order or start, 0) + 1
    stop = min(stop < 0 and stop + #order or stop, #order - 1) + 1
  end
  local found, size = {}, 0
  for place = start, stop, step do
    local id = order[place]
    found[size + 1] = id
    if with_scores then
      found[size + 2] = text_of_score(set, id)
      size = size + 2
    else
      size = size + 1
    end
  end
  return found
end

-- All in one step: COUNT is a hint.
function commands.ZSCAN(key, cursor, ...)
  local set, found, pattern = set_of(key), {}, nil
  local options = {...}
  for n = 1, #options, 2 do
    if options[n] == 'MATCH' then
      pattern = options[n + 1]
    end
  end
  for _, id in ipairs(set.order) do
    if not pattern or matches(pattern, id) then
      insert(found, id)
      insert(found, text_of_score(set, id))
    end
  end
  return {'0', found}
end

local NO_HASH = {values = {}, size = 0}

local function hash_of(key)
  return hashes[key] or NO_HASH
end

function commands.HSET(key, ...)
  local args = {...}
  if #args == 0 or #args % 2 == 1 then
    fail('ERR wrong number of arguments for command')
  end
  local hash = hashes[key]
  if not hash then
    hash = {values = {}, size = 0}
    hashes[key] = hash
  end
  local values, before = hash.values, hash.size
  for n = 1, #args, 2 do
    local field = text_of(args[n])
    if not values[field] then
      hash.size = hash.size + 1
    end
    values[field] = text_of(args[n + 1])
  end
  return hash.size - before
end

function commands.HDEL(key, ...)
  local fields = {...}
  if #fields == 0 then
    fail('ERR wrong number of arguments for command')
  end
  local hash, count = hash_of(key), 0
  for _, field in ipairs(fields) do
    if hash.values[field] then
      hash.values[field] = nil
      count = count + 1
    end
  end
  if count > 0 then
    hash.size = hash.size - count
    if hash.size == 0 then
      hashes[key] = nil
    end
  end
  return count
end

function commands.HGET(key, field)
  return hash_of(key).values[field] or false
end

function commands.HMGET(key, ...)
  local values, found = hash_of(key).values, {...}
  if #found == 0 then
    fail('ERR wrong number of arguments for command')
  end
  for n = 1, #found do
    found[n] = values[found[n]] or false
  end
  return found
end

function commands.HEXISTS(key, field)
  return hash_of(key).values[field] and 1 or 0
end

function commands.HLEN(key)
  return hash_of(key).size
end

function commands.HSTRLEN(key, field)
  return #(hash_of(key).values[field] or '')
end

-- --- scripts

local redis = {}

function redis.call(name, ...)
  local command = commands[name]
  if not command then
    fail('ERR Unknown Redis command called from script')
  end
  return command(...)
end

function redis.pcall(...)
  local done, result = pcall(redis.call, ...)
  if not done then
    return {err = result}
  end
  return result
end

function redis.error_reply(text)
  fail(text)
end

function redis.acl_check_cmd(name)
  -- Nobody is denied anything.
  if not commands[name] then
    fail('ERR Invalid command passed to redis.acl_check_cmd()')
  end
  return true
end

local function refuse_global(_, name)
  fail('ERR Script attempted to access nonexistent global variable ' .. tostring(name))
end

local sandbox = setmetatable({
  KEYS = {},
  ARGV = {},
  redis = redis,
  string = string,
  table = table,
  math = math,
  ipairs = ipairs,
  pairs = pairs,
  pcall = pcall,
  select = select,
  tonumber = tonumber,
  tostring = tostring,
  type = type,
  unpack = unpack,
}, {__index = refuse_global, __newindex = refuse_global})

-- --- what plain_data.py calls

local calls = {}

function calls.make_server(with_17_digits, listeners)
  return {sets = {}, hashes = {}, writes_17_digits = with_17_digits, count_listeners = listeners}
end

function calls.compile(text, name)
  return setfenv(assert(loadstring(text, name)), sandbox)
end

-- Gives the reply, then channels and messages.
function calls.run(server, script, seconds, microseconds, keys, argv)
  sets, hashes = server.sets, server.hashes
  writes_17_digits, count_listeners = server.writes_17_digits, server.count_listeners
  time, published = {seconds, microseconds}, nil
  sandbox.KEYS, sandbox.ARGV = keys, argv
  local reply = script()
  if published then
    return reply, unpack(published)
  end
  return reply, nil
end

-- Gives ids and scores, in order.
function calls.read_set(server, key)
  local set, found = server.sets[key], {}
  if set then
    for n, id in ipairs(set.order) do
      found[2 * n - 1], found[2 * n] = id, set.scores[id]
    end
  end
  return unpack(found)
end

-- Gives fields and values, in no order.
function calls.read_hash(server, key)
  local hash, found = server.hashes[key], {}
  if hash then
    for field, value in pairs(hash.values) do
      insert(found, field)
      insert(found, value)
    end
  end
  return unpack(found)
end

function calls.read_fields(server, key)
  local hash, found = server.hashes[key], {}
  if hash then
    for field in pairs(hash.values) do
      insert(found, field)
    end
  end
  return unpack(found)
end

function calls.read_keys(server)
  local found = {}
  for _, held in ipairs({server.sets, server.hashes}) do
    for key in pairs(held) do
      insert(found, key)
    end
  end
  return unpack(found)
end

return calls
