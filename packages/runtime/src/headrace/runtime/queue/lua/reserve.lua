#!lua
-- reserve: keep places for ids before their documents are inserted.
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] inflight zset: ids that count already
-- KEYS[4] reserved zset id -> expiry ms
-- KEYS[5] epoch string run_id:µs
-- ARGV[1] limit: how many ids the pool may hold
-- ARGV[2] ttl ms: how long a place is kept
-- ARGV[3..] ids, at most 1000
-- Returns {granted, complete 0|1, now ms, pending after this call}
-- Keeps: pending never exceeds the limit by this verb; nothing is granted while the pool is not complete; an id that has
--   a place keeps it, so a repeat grants the same. No flags: refused before it starts when the server is full.
-- Callers: RedisJobQueue.reserve
-- include: checks
-- include: epoch
local ready, delayed, inflight, reserved, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
expect(ready, 'zset')
expect(delayed, 'zset')
expect(inflight, 'zset')
expect(reserved, 'zset')
expect(epoch, 'string')
local limit = whole(ARGV[1], 'limit', 0, 2 ^ 53)
local ttl = whole(ARGV[2], 'ttl_ms', 1, 86400000)
local now = now_ms()

local pending = 0
for _, key in ipairs({ ready, delayed, inflight, reserved }) do
  pending = pending + redis.call('ZCARD', key)
end
if not is_of_this_run(redis.call('GET', epoch)) then
  return { 0, 0, now, pending }
end

local ids, known, places = {}, {}, {}
for i = 3, math.min(#ARGV, 1002) do
  table.insert(ids, ARGV[i])
end
if #ids > 0 then
  for _, key in ipairs({ ready, delayed, inflight, reserved }) do
    for i, score in ipairs(redis.call('ZMSCORE', key, unpack(ids))) do
      if score then
        known[ids[i]] = key
      end
    end
  end
end
local granted, expiry = 0, digits(now + ttl)
for _, id in ipairs(ids) do
  if not known[id] then
    if pending >= limit then
      break
    end
    pending = pending + 1
    known[id] = reserved
  end
  if known[id] == reserved then
    table.insert(places, expiry)
    table.insert(places, id)
  end
  granted = granted + 1
end
each('ZADD', reserved, places)
return { granted, 1, now, pending }
