#!lua
-- reserve: keep places for ids before their documents are inserted.
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] inflight zset: ids that count already
-- KEYS[4] reserved zset id -> expiry ms
-- KEYS[5] epoch string run_id:µs
-- ARGV[1] ttl ms: how long a place is kept
-- ARGV[2] r, then r times: limit, n: so many of the ids are granted only while the pool holds fewer than this limit
-- ARGV[3 + 2r..] ids, at most 1000
-- Returns {granted, complete 0|1, now ms, pending after this call}
-- Keeps: pending never exceeds an id's limit by granting it; grants a prefix of the ids; nothing is granted while the pool is not complete; an id that has
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
local ttl = whole(ARGV[1], 'ttl_ms', 1, 86400000)
local runs = whole(ARGV[2], 'r', 1, 1000)
local first = 3 + 2 * runs
local ids, limits = {}, {}
for run = 1, runs do
  local limit = whole(ARGV[1 + 2 * run], 'limit', 0, 2 ^ 53)
  for _ = 1, whole(ARGV[2 + 2 * run], 'n', 0, 1000) do
    table.insert(ids, ARGV[first + #ids])
    table.insert(limits, limit)
  end
end
local now = now_ms()

local pending = 0
for _, key in ipairs({ ready, delayed, inflight, reserved }) do
  pending = pending + redis.call('ZCARD', key)
end
if not is_of_this_run(redis.call('GET', epoch)) then
  return { 0, 0, now, pending }
end

local known, places = {}, {}
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
for i, id in ipairs(ids) do
  if not known[id] then
    if pending >= limits[i] then
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
