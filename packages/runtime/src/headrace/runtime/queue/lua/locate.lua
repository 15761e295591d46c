#!lua flags=no-writes
-- locate: where ids are.
-- KEYS[1] inflight zset, KEYS[2] ready zset, KEYS[3] delayed zset, KEYS[4] reserved zset, KEYS[5] holder hash
-- ARGV[1..] ids, at most 1000
-- Returns per id {set 1-4 as in KEYS or 0, its score or '', token or ''}; of two sets the first counts
-- Callers: RedisJobQueue.locate
-- include: checks
for i = 1, 4 do
  expect(KEYS[i], 'zset')
end
expect(KEYS[5], 'hash')

local answer = {}
for i = 1, math.min(#ARGV, 1000) do
  local set, score = 0, ''
  for k = 1, 4 do
    local found = set == 0 and redis.call('ZSCORE', KEYS[k], ARGV[i])
    if found then
      set, score = k, found
    end
  end
  answer[i] = { set, score, redis.call('HGET', KEYS[5], ARGV[i]) or '' }
end
return answer
