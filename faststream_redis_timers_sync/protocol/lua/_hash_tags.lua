-- Prepended to every script if keys have hash tags: detects what a moving slot may have lost.
--
-- A node may fail when a topic's payloads have moved to another node, but its timeline has not.
-- Then the replica that replaces it serves a timeline without payloads. No script may treat those
-- timers as leftovers, or write payloads beside the ones elsewhere. A single entry without a
-- payload may be a leftover, since a server whose memory is full can leave it: it refuses no
-- script, but a claim does not remove it as long as there are no payloads.

local function is_torn(timeline, payloads)
  return redis.call('EXISTS', payloads) == 0 and redis.call('ZCARD', timeline) > 1
end

local function torn(timeline)
  return redis.error_reply('TORN ' .. timeline .. ' has timers, and their payloads are gone')
end
