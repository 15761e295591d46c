#!lua flags=no-writes
-- in_flight: ids that have been in flight for a while, oldest first.
-- KEYS[1] inflight zset id -> claimed ms, KEYS[2] holder hash id -> token
-- ARGV[1] older than, ms; ARGV[2] offset; ARGV[3] limit
-- Returns {id, claimed ms, token or '', ...}
-- Callers: RedisJobQueue.in_flight
-- include: checks
expect(KEYS[1], 'zset')
expect(KEYS[2], 'hash')
local older = whole(ARGV[1], 'older_than_ms', 0, 2 ^ 53)
local offset = whole(ARGV[2], 'offset', 0, 2 ^ 53)
local limit = whole(ARGV[3], 'limit', 1, 1000)

local before = digits(now_ms() - older)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', before, 'WITHSCORES', 'LIMIT', digits(offset), limit)
local answer = {}
for i = 1, #found, 2 do
  table.insert(answer, found[i])
  table.insert(answer, found[i + 1])
  table.insert(answer, redis.call('HGET', KEYS[2], found[i]) or '')
end
return answer
