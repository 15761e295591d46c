#!lua flags=no-writes
-- depths: how much is where.
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] inflight zset, KEYS[4] reserved zset
-- KEYS[5] paused string, KEYS[6] epoch string
-- ARGV[1] distance of two priorities in the scores
-- Returns {high, medium, low, delayed, in flight, reserved, delayed and due, creation ms of the oldest ready or -1, paused, complete}
-- Callers: RedisJobQueue.depths, RedisJobQueue.is_complete
-- include: checks
-- include: epoch
for i = 1, 4 do
  expect(KEYS[i], 'zset')
end
expect(KEYS[5], 'string')
expect(KEYS[6], 'string')
local step = whole(ARGV[1], 'step', 1, 2 ^ 53)

local answer, oldest = {}, -1
for rank = 0, 2 do
  -- The outer two have no outer edge, so that a forged score is counted too.
  local low = rank == 0 and '-inf' or digits(rank * step)
  local high = rank == 2 and '+inf' or '(' .. digits((rank + 1) * step)
  table.insert(answer, redis.call('ZCOUNT', KEYS[1], low, high))
  local first = redis.call('ZRANGEBYSCORE', KEYS[1], low, high, 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local created = first and tonumber(first) % step
  if created and created == created and (oldest < 0 or created < oldest) then
    oldest = created
  end
end
for i = 2, 4 do
  table.insert(answer, redis.call('ZCARD', KEYS[i]))
end
table.insert(answer, redis.call('ZCOUNT', KEYS[2], '-inf', digits(now_ms())))
table.insert(answer, oldest)
table.insert(answer, redis.call('EXISTS', KEYS[5]))
table.insert(answer, is_of_this_run(redis.call('GET', KEYS[6])) and 1 or 0)
return answer
