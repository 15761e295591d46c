#!lua
-- adopt: count running jobs that are not here, after Redis lost them or before it ever knew them.
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] inflight zset id -> claimed ms, KEYS[4] reserved zset
-- KEYS[5] holder hash id -> token
-- ARGV[1] n, then n times: id, claimed ms, token of the claim or ''; at most 1000
-- Returns how many ids were added
-- Keeps: only adds: an id that is ready, delayed or in flight stays as it is. The count of the pool never falls below
--   the number of its jobs that are not over. A claim time after now becomes now, so that the sweep looks in time.
--   No flags: refused before it starts when the server is full.
-- Callers: RedisJobQueue.adopt
-- include: checks
local ready, delayed, inflight, reserved, holder = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
expect(ready, 'zset')
expect(delayed, 'zset')
expect(inflight, 'zset')
expect(reserved, 'zset')
expect(holder, 'hash')
local n = whole(ARGV[1], 'n', 1, 1000)
local ids = {}
for i = 1, n do
  whole(ARGV[3 + (i - 1) * 3], 'claimed_ms', 0, 2 ^ 53)
  ids[i] = ARGV[2 + (i - 1) * 3]
end

local known = {}
for _, key in ipairs({ ready, delayed, inflight }) do
  for i, score in ipairs(redis.call('ZMSCORE', key, unpack(ids))) do
    known[ids[i]] = known[ids[i]] or score
  end
end
local now, flying, holders, added = now_ms(), {}, {}, {}
for i, id in ipairs(ids) do
  local claimed, token = tonumber(ARGV[3 + (i - 1) * 3]), ARGV[4 + (i - 1) * 3]
  if not known[id] then
    known[id] = true
    table.insert(added, id)
    table.insert(flying, digits(math.min(claimed, now)))
    table.insert(flying, id)
    if token ~= '' then
      table.insert(holders, id)
      table.insert(holders, token)
    end
  end
end
each('ZREM', reserved, ids)
each('HSET', holder, holders)
each('ZADD', inflight, flying)
return #added
