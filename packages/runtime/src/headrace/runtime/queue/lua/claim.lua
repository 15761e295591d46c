#!lua flags=allow-oom
-- claim: take the best ids into flight.
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] inflight zset id -> claimed ms, KEYS[4] holder hash id -> token
-- KEYS[5] score hash, KEYS[6] paused string, KEYS[7] claims integer, KEYS[8] claim:<token> list of ids
-- ARGV[1] token, ARGV[2] count, ARGV[3] late ms of a promotion, ARGV[4] how long the answer is kept, ms
-- Returns {now ms, paused 0|1, next due ms or -1, foreign members thrown away, ids}
-- Keeps: the same token gets the same ids while its answer is kept, whatever became of them since; an empty answer is
--   not kept. Lowest score first. A delayed id is never taken before it is due. What no id looks like is thrown away.
--   allow-oom: a full server must still be drained.
-- Callers: RedisJobQueue.claim
-- include: checks
-- include: promote
local keys = { ready = KEYS[1], delayed = KEYS[2], inflight = KEYS[3], score = KEYS[5] }
local holder, paused, claims, answer = KEYS[4], KEYS[6], KEYS[7], KEYS[8]
expect(keys.ready, 'zset')
expect(keys.delayed, 'zset')
expect(keys.inflight, 'zset')
expect(holder, 'hash')
expect(keys.score, 'hash')
expect(paused, 'string')
expect(claims, 'string')
expect(answer, 'list')
local token = ARGV[1]
local count = whole(ARGV[2], 'count', 0, 1000)
local late_ms = whole(ARGV[3], 'late_ms', 0, 60000)
local kept_ms = whole(ARGV[4], 'kept_ms', 1, 3600000)
whole(redis.call('GET', claims) or '0', 'the key ' .. claims, 0, 2 ^ 53)

local now = now_ms()
local is_paused = redis.call('EXISTS', paused) == 1
local ids, foreign = redis.call('LRANGE', answer, 0, -1), 0
if #ids == 0 then
  promote_due(keys, now, late_ms, math.max(4 * count, 64))
  if count > 0 and not is_paused then
    local popped, flying, holders = redis.call('ZPOPMIN', keys.ready, count), {}, {}
    for i = 1, #popped, 2 do
      local id = popped[i]
      if #id <= 100 and string.find(id, '^[%w._:-]+$') then
        table.insert(ids, id)
        table.insert(flying, digits(now))
        table.insert(flying, id)
        table.insert(holders, id)
        table.insert(holders, token)
      else
        foreign = foreign + 1
      end
    end
    if #ids > 0 then
      each('ZADD', keys.inflight, flying)
      each('HSET', holder, holders)
      each('RPUSH', answer, ids)
      redis.call('PEXPIRE', answer, kept_ms)
      redis.call('INCR', claims)
    end
  end
end
local next_due = redis.call('ZRANGE', keys.delayed, 0, 0, 'WITHSCORES')[2]
return { now, is_paused and 1 or 0, next_due and digits(next_due + late_ms) or '-1', foreign, ids }
