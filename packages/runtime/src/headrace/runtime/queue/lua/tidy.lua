#!lua flags=allow-oom
-- tidy: throw away what is kept about ids that are not where it belongs to.
-- KEYS[1] holder hash id -> token, KEYS[2] inflight zset, KEYS[3] score hash, KEYS[4] delayed zset
-- ARGV[1..] ids, at most 1000
-- Returns how many entries were thrown away
-- Keeps: the holder of an id in flight and the place of a delayed one. No other script leaves one behind: these are of
--   ids that vanished out of their set by another hand.
-- Callers: RedisJobQueue.tidy
-- include: checks
expect(KEYS[1], 'hash')
expect(KEYS[2], 'zset')
expect(KEYS[3], 'hash')
expect(KEYS[4], 'zset')

local gone = 0
for i = 1, math.min(#ARGV, 1000) do
  if not redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    gone = gone + redis.call('HDEL', KEYS[1], ARGV[i])
  end
  if not redis.call('ZSCORE', KEYS[4], ARGV[i]) then
    gone = gone + redis.call('HDEL', KEYS[3], ARGV[i])
  end
end
return gone
