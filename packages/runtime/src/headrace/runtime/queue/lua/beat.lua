#!lua flags=allow-oom
-- beat: keep the last heartbeat of a service process, and forget those that have been silent for long.
-- KEYS[1] last hash process -> JSON, KEYS[2] seen zset process -> ms
-- ARGV[1] process, ARGV[2] heartbeat JSON, ARGV[3] how long a silent one is kept, ms
-- Returns 1
-- Keeps: at most 100 are forgotten per beat.
-- Callers: Hints.beat
-- include: checks
expect(KEYS[1], 'hash')
expect(KEYS[2], 'zset')
local kept = whole(ARGV[3], 'kept_ms', 1, 2 ^ 53)

local now = now_ms()
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], digits(now), ARGV[1])
local silent = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', digits(now - kept), 'LIMIT', 0, 100)
each('HDEL', KEYS[1], silent)
each('ZREM', KEYS[2], silent)
return 1
