#!lua flags=allow-oom
-- relocate: move waiting ids to where their documents say, those that still are where they were seen.
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] score hash of delayed ids
-- ARGV[1] wake channel, ARGV[2] poll ms: ids due sooner than this wake somebody too
-- ARGV[3] n, then n times: id, set as seen ready|delayed, its number as seen, score, due ms (0 = now); at most 1000
-- Returns how many ids were still as seen
-- Keeps: never adds an id, and never touches one that was claimed or moved since it was seen.
-- Callers: RedisJobQueue.relocate
-- include: checks
-- include: place
local keys = { ready = KEYS[1], delayed = KEYS[2], score = KEYS[3], channel = ARGV[1] }
expect(keys.ready, 'zset')
expect(keys.delayed, 'zset')
expect(keys.score, 'hash')
local poll_ms = whole(ARGV[2], 'poll_ms', 0, 60000)
local n = whole(ARGV[3], 'n', 1, 1000)
local entries = {}
for i = 1, n do
  local at = 4 + (i - 1) * 5
  local set = ARGV[at + 1]
  if set ~= 'ready' and set ~= 'delayed' then
    refuse('the set must be ready or delayed')
  end
  whole(ARGV[at + 3], 'score', 0, 2 ^ 53)
  entries[i] = {
    id = ARGV[at],
    set = keys[set],
    seen = whole(ARGV[at + 2], 'number', -2 ^ 53, 2 ^ 53),
    score = ARGV[at + 3],
    due = whole(ARGV[at + 4], 'due_ms', 0, 2 ^ 53),
  }
end

-- Forged numbers were cut to whole ones within exact doubles when they were read, so they are compared like that.
local function as_read(score)
  local number = math.max(-2 ^ 53, math.min(2 ^ 53, tonumber(score)))
  return number < 0 and math.ceil(number) or math.floor(number)
end

local gone, waiting, seen = { [keys.ready] = {}, [keys.delayed] = {} }, {}, {}
for _, entry in ipairs(entries) do
  local score = redis.call('ZSCORE', entry.set, entry.id)
  if score and as_read(score) == entry.seen and not seen[entry.id] then
    seen[entry.id] = true
    table.insert(gone[entry.set], entry.id)
    table.insert(waiting, entry)
  end
end
each('ZREM', keys.ready, gone[keys.ready])
each('ZREM', keys.delayed, gone[keys.delayed])
each('HDEL', keys.score, gone[keys.delayed])
place_all(keys, waiting, now_ms(), poll_ms)
return #waiting
