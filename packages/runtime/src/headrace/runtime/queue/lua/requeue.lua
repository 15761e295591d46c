#!lua flags=allow-oom
-- requeue: let ids wait again after their documents became queued again (retry, release, orphan).
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] inflight zset, KEYS[4] reserved zset
-- KEYS[5] score hash, KEYS[6] holder hash id -> token
-- ARGV[1] wake channel, ARGV[2] poll ms: ids due sooner than this wake somebody too
-- ARGV[3] n, then n times: id, score, due ms (0 = now), token the caller saw; at most 1000
-- Returns how many ids moved
-- Keeps: an id in flight under another token, or waiting already, belongs to somebody else and stays as it is.
--   Never refused by the bound.
-- Callers: RedisJobQueue.requeue, RedisJobQueue.release
-- include: checks
-- include: place
local keys = { ready = KEYS[1], delayed = KEYS[2], inflight = KEYS[3], score = KEYS[5], channel = ARGV[1] }
local reserved, holder = KEYS[4], KEYS[6]
expect(keys.ready, 'zset')
expect(keys.delayed, 'zset')
expect(keys.inflight, 'zset')
expect(reserved, 'zset')
expect(keys.score, 'hash')
expect(holder, 'hash')
local poll_ms = whole(ARGV[2], 'poll_ms', 0, 60000)
local n = whole(ARGV[3], 'n', 1, 1000)

local ids, entries, waiting, moved = {}, {}, {}, {}
for i = 1, n do
  local at = 4 + (i - 1) * 4
  whole(ARGV[at + 1], 'score', 0, 2 ^ 53)
  entries[i] = { id = ARGV[at], score = ARGV[at + 1], due = whole(ARGV[at + 2], 'due_ms', 0, 2 ^ 53), token = ARGV[at + 3] }
  ids[i] = ARGV[at]
end
local ready = redis.call('ZMSCORE', keys.ready, unpack(ids))
local delayed = redis.call('ZMSCORE', keys.delayed, unpack(ids))
local flying = redis.call('ZMSCORE', keys.inflight, unpack(ids))
local holders = redis.call('HMGET', holder, unpack(ids))
local seen = {}
for i, entry in ipairs(entries) do
  local mine = not flying[i] or not holders[i] or holders[i] == entry.token
  if mine and not ready[i] and not delayed[i] and not seen[entry.id] then
    seen[entry.id] = true
    table.insert(waiting, entry)
    table.insert(moved, entry.id)
  end
end
each('ZREM', keys.inflight, moved)
each('HDEL', holder, moved)
each('ZREM', reserved, moved)
place_all(keys, waiting, now_ms(), poll_ms)
return #moved
