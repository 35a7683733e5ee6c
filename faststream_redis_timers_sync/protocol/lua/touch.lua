-- Writes, and changes nothing: so WAIT on this connection waits for all that was written before,
-- on others too.
--
-- KEYS  payloads
-- Reply '1'

-- No timer has an empty id. The first call needs no memory: after it a server whose memory is full
-- lets the script go on.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], '', '')
redis.call('HDEL', KEYS[1], '')
return '1'
