-- Writes without changing anything, so that WAIT on this connection waits for all previous writes,
-- including those of other connections.
--
-- KEYS  payloads
-- Reply '1'

-- No timer has an empty id. The first call needs no memory; after it a server whose memory is full
-- lets the script continue.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], '', '')
redis.call('HDEL', KEYS[1], '')
return '1'
