#!lua flags=allow-oom
-- rescore: move waiting ids to the place their documents give them.
-- KEYS[1] ready zset, KEYS[2] score hash of delayed ids
-- ARGV[1..] n times: id, score; at most 1000
-- Returns how many ids are waiting and have this place now
-- Keeps: never adds an id.
-- Callers: RedisJobQueue.rescore
-- include: checks
expect(KEYS[1], 'zset')
expect(KEYS[2], 'hash')
local ready, delayed = {}, {}
for i = 1, math.min(#ARGV, 2000), 2 do
  whole(ARGV[i + 1], 'score', 0, 2 ^ 53)
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    table.insert(ready, ARGV[i + 1])
    table.insert(ready, ARGV[i])
  end
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    table.insert(delayed, ARGV[i])
    table.insert(delayed, ARGV[i + 1])
  end
end
each('ZADD', KEYS[1], ready)
each('HSET', KEYS[2], delayed)
return (#ready + #delayed) / 2
