#!lua flags=no-writes
-- expired: ids whose places are past their time, longest first. They still count until somebody has looked.
-- KEYS[1] reserved zset id -> expiry ms
-- ARGV[1] limit
-- Returns ids
-- Callers: RedisJobQueue.expired_reservations
-- include: checks
expect(KEYS[1], 'zset')
local limit = whole(ARGV[1], 'limit', 1, 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', digits(now_ms()), 'LIMIT', 0, limit)
