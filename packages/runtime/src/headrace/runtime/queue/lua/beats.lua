#!lua flags=no-writes
-- beats: the last heartbeats, newest first, at most 1000.
-- KEYS[1] last hash process -> JSON, KEYS[2] seen zset process -> ms
-- ARGV[1] how old one may be, ms
-- Returns heartbeat JSON, when it was left in ms, and so on
-- Callers: Hints.heartbeats
-- include: checks
expect(KEYS[1], 'hash')
expect(KEYS[2], 'zset')
local kept = whole(ARGV[1], 'kept_ms', 1, 2 ^ 53)

local since = '(' .. digits(now_ms() - kept)
local answer = {}
local found = redis.call('ZREVRANGEBYSCORE', KEYS[2], '+inf', since, 'WITHSCORES', 'LIMIT', 0, 1000)
for n = 1, #found, 2 do
  local text = redis.call('HGET', KEYS[1], found[n])
  if text then
    table.insert(answer, text)
    table.insert(answer, digits(tonumber(found[n + 1])))
  end
end
return answer
