#!lua
-- enqueue: let ids wait whose documents are inserted, and free the places of ids that were not.
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] inflight zset, KEYS[4] reserved zset, KEYS[5] score hash
-- ARGV[1] wake channel, ARGV[2] poll ms: ids due sooner than this wake somebody too
-- ARGV[3] n, then n times: id, score, due ms (0 = now); then ids to free; at most 1000 of each
-- Returns how many ids were added
-- Keeps: an id is in at most one of ready, delayed, inflight: one that is there already stays as it is.
--   No flags: refused before it starts when the server is full.
-- Callers: RedisJobQueue.enqueue
-- include: checks
-- include: place
local keys = { ready = KEYS[1], delayed = KEYS[2], inflight = KEYS[3], score = KEYS[5], channel = ARGV[1] }
local reserved = KEYS[4]
expect(keys.ready, 'zset')
expect(keys.delayed, 'zset')
expect(keys.inflight, 'zset')
expect(reserved, 'zset')
expect(keys.score, 'hash')
local poll_ms = whole(ARGV[2], 'poll_ms', 0, 60000)
local n = whole(ARGV[3], 'n', 0, 1000)

local ids, entries, seen, waiting, leave = {}, {}, {}, {}, {}
for i = 1, n do
  local at = 4 + (i - 1) * 3
  whole(ARGV[at + 1], 'score', 0, 2 ^ 53)
  entries[i] = { id = ARGV[at], score = ARGV[at + 1], due = whole(ARGV[at + 2], 'due_ms', 0, 2 ^ 53) }
  ids[i] = ARGV[at]
  table.insert(leave, ARGV[at])
end
for i = 4 + n * 3, math.min(#ARGV, 1003 + n * 3) do
  table.insert(leave, ARGV[i])
end
if n > 0 then
  for _, key in ipairs({ keys.ready, keys.delayed, keys.inflight }) do
    for i, score in ipairs(redis.call('ZMSCORE', key, unpack(ids))) do
      seen[ids[i]] = seen[ids[i]] or score
    end
  end
end
for _, entry in ipairs(entries) do
  if not seen[entry.id] then
    seen[entry.id] = true
    table.insert(waiting, entry)
  end
end
each('ZREM', reserved, leave)
place_all(keys, waiting, now_ms(), poll_ms)
return #waiting
