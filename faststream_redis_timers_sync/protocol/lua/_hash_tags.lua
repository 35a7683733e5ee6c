-- Put before every script where keys have hash tags: what a slot may have lost on its way.
--
-- A node may fail when a topic's payloads have moved to another one, and its timeline has not.
-- The replica that takes its place serves a timeline without payloads. Nothing may take its
-- timers for leftovers then, or write payloads beside those that are elsewhere. A single entry
-- without a payload is what a server whose memory is full can leave, and no sign of that.

local function is_torn(timeline, payloads)
  return redis.call('EXISTS', payloads) == 0 and redis.call('ZCARD', timeline) > 1
end

local function torn(timeline)
  return redis.error_reply('TORN ' .. timeline .. ' has timers, and their payloads are gone')
end
