#!lua flags=allow-oom
-- remove: forget ids wherever they are.
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] inflight zset, KEYS[4] reserved zset
-- KEYS[5] holder hash, KEYS[6] score hash
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

local gone = 0
for i = 1, 4 do
  gone = gone + each('ZREM', KEYS[i], ARGV)
end
each('HDEL', KEYS[5], ARGV)
each('HDEL', KEYS[6], ARGV)
return gone
