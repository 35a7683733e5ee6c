-- Functions that scripts share: the clock, the grid of scores and wake-ups. Each script is
-- preceded by the paragraphs that it uses, directly or indirectly.
--
-- Text after `--@` is code only if keys have hash tags.
--
-- A due time is a whole microsecond; the end of a lease is half a microsecond
-- past one, so that the two are never equal.
--
-- Lua's tostring keeps 14 digits, but a score needs 17. So text is written from
-- integers (seconds, microseconds), or by the server, which writes numbers with all
-- digits. seconds + microseconds / 1000000 is the double nearest to the text: the
-- quotient is rounded far below the last digit of the sum.

-- Returns seconds and microseconds, and their score.
local function server_time()
  local time = redis.call('TIME')
  local seconds, microseconds = tonumber(time[1]), tonumber(time[2])
  return seconds, microseconds, seconds + microseconds / 1000000
end

local function add_time(seconds, microseconds, more_seconds, more_microseconds)
  seconds = seconds + more_seconds
  microseconds = microseconds + more_microseconds
  if microseconds >= 1000000 then
    return seconds + 1, microseconds - 1000000
  end
  return seconds, microseconds
end

-- '12.345678' -> 12, 345678
local function split_time(text)
  return tonumber(string.sub(text, 1, -8)), tonumber(string.sub(text, -6))
end

local function due_score(seconds, microseconds)
  return string.format('%d.%06d', seconds, microseconds)
end

local function lease_score(seconds, microseconds)
  return string.format('%d.%06d5', seconds, microseconds)
end

-- Returns the score of a requested due time: '+12.345678' counts from now,
-- '@12.345678' is Unix time, and a past time means now.
local function resolve_due(asked, now_seconds, now_microseconds)
  if string.sub(asked, 1, 1) == '+' then
    local seconds, microseconds = split_time(asked)
    return now_seconds + seconds + (now_microseconds + microseconds) / 1000000
  end
  return math.max(tonumber(string.sub(asked, 2)), now_seconds + now_microseconds / 1000000)
end

-- Doubles distinguish half microseconds up to 2^32 seconds (the year 2106).
local function is_lease(score)
  if score >= 4294967296 then
    return false
  end
  local microseconds = (score - math.floor(score)) * 1000000
  local fraction = microseconds - math.floor(microseconds)
  return fraction > 0.25 and fraction < 0.75
end

-- Returns the first headers of an envelope: the definition of a series, and its owner. The
-- definition is nil if the timer is not a series; all code that reads envelopes does the same.
local function read_series(payload)
  -- The magic, and the version.
  if string.sub(payload, 1, 10) ~= '\137BIN\r\n\026\n\000\001' then
    return nil
  end
  local a, b, c, d, e, f, g, h = string.byte(payload, 11, 18)
  if not h then
    return nil
  end
  local headers_start = ((a * 256 + b) * 256 + c) * 256 + d
  local data_start = ((e * 256 + f) * 256 + g) * 256 + h
  if headers_start < 18 or headers_start + 2 > data_start or data_start > #payload then
    return nil
  end
  local high, low = string.byte(payload, headers_start + 1, headers_start + 2)
  local count = high * 256 + low
  local position = headers_start + 2
  local function next_text()
    local start = position + 2
    if start > data_start then
      return nil
    end
    high, low = string.byte(payload, position + 1, start)
    position = start + high * 256 + low
    return position <= data_start and string.sub(payload, start + 1, position) or nil
  end
  local definition = count > 0 and next_text() == 'timer-repeat' and next_text()
  if not definition or string.find(definition, '[\128-\255]') then
    return nil
  end
  return definition, count > 1 and next_text() == 'timer-repeat-owner' and next_text() or nil
end

-- The score of a paused series: the first second of 9999-12-31. Other timers may be due until the
-- end of that day.
local PAUSED = 253402214400

-- Returns the lowest score of a timeline as text, or nil.
local function head_of(timeline)
  return redis.call('ZRANGE', timeline, 0, 0, 'WITHSCORES')[2]
end

-- While a slot of a cluster migrates key by key, a script may use only keys that are here, and a
-- missing key of attempts may be nowhere. So that key is not declared if nothing is counted, and
-- attempts are forgotten last, if possible: leftovers have no effect.
local function forget_attempts(attempts, ...)
  redis.pcall('HDEL', attempts, ...)
end

-- Each database except 0 has its own prefix.
local channel_prefix = ''

-- Returns a count of PUBSUB NUMSUB; nil if that is invalid. Valkey 9.1 returns an address in its
-- memory while the channel's table is growing or shrinking: with 8, 15, 16, 29 to 32 subscribers,
-- and so on, and with the last few of many. There is at least one subscriber then.
local function subscribers(count)
  return count < 1000000 and count or nil
end

-- Calls workers in reserve for a topic, group by group from an arbitrary one, until enough of them
-- hear it. `word` is what they should know: '<missing> <seconds>'. `KeySpace.reserve_channel_of`
-- names their channels. Like a wake-up, a call may be lost.
local function call_for_help(timeline, wanted, word, microseconds)
  local beginning = channel_prefix .. timeline .. '\255'
  local channels, uncounted, reached = {}, {}, 0
  -- Counting all groups takes longer than a claim, and most calls are for one or two workers.
  for first = microseconds, microseconds + 63, 8 do
    local names = {}
    for n = 0, 7 do
      names[n + 1] = beginning .. string.char(48 + (first + n) % 64)
    end
    local counts = redis.pcall('PUBSUB', 'NUMSUB', unpack(names))
    for n = 2, #counts, 2 do
      local count = subscribers(counts[n])
      if not count then
        uncounted[#uncounted + 1] = counts[n - 1]
      elseif count > 0 and reached < wanted then
        channels[#channels + 1] = counts[n - 1]
        reached = reached + count
      end
    end
    if counts.err or reached >= wanted then
      break
    end
  end
  -- All workers of such a group should come, so it is called last.
  for n = 1, math.min(#uncounted, wanted - reached) do
    channels[#channels + 1] = uncounted[n]
  end
  -- Each worker draws for itself: with one expected, none would come in a third of all calls.
  local share = reached > wanted and math.min(1, (wanted + 1) / reached) or 1
  for _, channel in ipairs(channels) do
    redis.pcall('PUBLISH', channel, string.format('%.6f ', share) .. word)
  end
end

-- Wakes waiting workers for a due time before the old head, or after a lost lease,
-- which they may be passing over. A wake-up may be lost: a worker that misses it (no
-- permission to publish, lost connection) finds the timer at its next poll. If there
-- are workers, but none of them hears it, one is called. Both times are numbers or
-- text.
local function wake(timeline, old_head, score, now)
  local head = tonumber(old_head or nil)
  if not head or tonumber(score) < head or (head <= tonumber(now) and is_lease(head)) then
    local channel = channel_prefix .. timeline
    redis.pcall('PUBLISH', channel, string.format('%.6f %.6f', now, score))
    -- PUBLISH also counts clients that listen to a pattern. If workers can't be counted, in a
    -- cluster without hash tags, the second channel has no subscribers.
    local roster = redis.pcall('PUBSUB', 'NUMSUB', channel, channel .. '\255w')
    if roster[2] == 0 and roster[4] ~= 0 then
      call_for_help(timeline, 1, '0 0.0', math.floor(now * 1000000))
    end
  end
end
