-- Writes, and changes nothing: so WAIT on this connection waits for all that was written before,
-- on others too.
--
-- KEYS  timeline, payloads, attempts
-- Reply '1'

-- No timer has an empty id. The first call needs no memory: after it a server whose memory is full
-- lets the script go on.
redis.call('HDEL', KEYS[2], '')
redis.call('HSET', KEYS[2], '', '')
redis.call('HDEL', KEYS[2], '')
return '1'
