#!lua flags=no-writes
-- beats: the last heartbeats, newest first, at most 1000.
-- KEYS[1] last hash process -> JSON, KEYS[2] seen zset process -> ms
-- ARGV[1] how old one may be, ms
-- Returns heartbeat JSONs
-- Callers: Hints.heartbeats
-- include: checks
expect(KEYS[1], 'hash')
expect(KEYS[2], 'zset')
local kept = whole(ARGV[1], 'kept_ms', 1, 2 ^ 53)

local since = '(' .. digits(now_ms() - kept)
local answer = {}
for _, process in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[2], '+inf', since, 'LIMIT', 0, 1000)) do
  table.insert(answer, redis.call('HGET', KEYS[1], process) or nil)
end
return answer
