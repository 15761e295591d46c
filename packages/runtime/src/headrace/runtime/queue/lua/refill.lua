#!lua
-- refill: let many ids wait that are due by their documents; the enqueue of a rebuild.
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] inflight zset, KEYS[4] reserved zset
-- ARGV[1] wake channel
-- ARGV[2] JSON list of strings: id, score, id, score, …; at most 1000 ids. One argument: a thousand cost the client more
--   than everything else
-- Returns how many ids were added
-- Keeps: an id is in at most one of ready, delayed, inflight: one that is there already stays as it is.
--   No flags: refused before it starts when the server is full.
-- Callers: RedisJobQueue.refill
-- include: checks
local ready, delayed, inflight, reserved = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
for i = 1, 4 do
  expect(KEYS[i], 'zset')
end
local flat = cjson.decode(ARGV[2])
if #flat > 2000 or #flat % 2 == 1 then
  refuse('the list must hold at most 1000 ids, each with its score')
end

local ids, taken = {}, {}
for i = 1, #flat, 2 do
  whole(flat[i + 1], 'score', 0, 2 ^ 53)
  table.insert(ids, flat[i])
end
for _, key in ipairs({ delayed, inflight }) do
  if #ids > 0 and redis.call('EXISTS', key) == 1 then
    for i, score in ipairs(redis.call('ZMSCORE', key, unpack(ids))) do
      taken[i] = taken[i] or score
    end
  end
end
local waiting = {}
for i, id in ipairs(ids) do
  if not taken[i] then
    table.insert(waiting, flat[2 * i])
    table.insert(waiting, id)
  end
end
if redis.call('EXISTS', reserved) == 1 then
  each('ZREM', reserved, ids)
end
local added = 0
for first = 1, #waiting, 1000 do
  added = added + redis.call('ZADD', ready, 'NX', unpack(waiting, first, math.min(first + 999, #waiting)))
end
if added > 0 then
  redis.call('PUBLISH', ARGV[1], 'ready')
end
return added
