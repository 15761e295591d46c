#!lua flags=allow-oom
-- remove: forget ids wherever they are.
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] inflight zset, KEYS[4] reserved zset
-- KEYS[5] holder hash, KEYS[6] score hash, KEYS[7] drained integer: ids that left, places apart
-- ARGV[1..] ids, at most 1000
-- Returns how many of the four sets' members went
-- Keeps: only for jobs that are over or do not exist; terminal never changes, so it may come late or twice.
-- Callers: RedisJobQueue.settle, RedisJobQueue.remove
-- include: checks
for i = 1, 4 do
  expect(KEYS[i], 'zset')
end
expect(KEYS[5], 'hash')
expect(KEYS[6], 'hash')
expect(KEYS[7], 'string')
whole(redis.call('GET', KEYS[7]) or '0', 'the key ' .. KEYS[7], 0, 2 ^ 53)

local gone = 0
for i = 1, 3 do
  gone = gone + each('ZREM', KEYS[i], ARGV)
end
if gone > 0 then
  redis.call('INCRBY', KEYS[7], gone)
end
gone = gone + each('ZREM', KEYS[4], ARGV)
each('HDEL', KEYS[5], ARGV)
each('HDEL', KEYS[6], ARGV)
return gone
