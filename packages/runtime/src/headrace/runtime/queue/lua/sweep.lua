#!lua flags=allow-oom
-- sweep: place ids that stayed in flight too long.
-- KEYS[1] delayed zset, KEYS[2] inflight zset id -> claimed ms, KEYS[3] holder hash id -> token, KEYS[4] score hash
-- ARGV[1] min age ms, ARGV[2] put-back ms
-- ARGV[3] n, then n times: id, place drop|delayed|leave, due ms, score, claimed ms as read, token as read ('' = none);
--   at most 1000
-- Returns how many ids were still as read
-- Keeps: acts on an id only while its claim time and its holder are as read and it is older than the minimum, by this
--   server's clock: a claim that is merely slow keeps it. One that far in the future was written by another clock, and
--   would never grow old. `leave` changes nothing.
-- Callers: RedisJobQueue.sweep
-- include: checks
-- include: verdicts
local keys = { delayed = KEYS[1], inflight = KEYS[2], holder = KEYS[3], score = KEYS[4] }
expect(keys.delayed, 'zset')
expect(keys.inflight, 'zset')
expect(keys.holder, 'hash')
expect(keys.score, 'hash')
local min_age = whole(ARGV[1], 'min_age_ms', 0, 2 ^ 53)
local putback_ms = whole(ARGV[2], 'putback_ms', 0, 60000)
local n = whole(ARGV[3], 'n', 1, 1000)
local verdicts = read_verdicts(4, n, 6)

local now, same, seen = now_ms(), {}, {}
for _, v in ipairs(verdicts) do
  local as_read = whole(ARGV[v.more], 'claimed_ms', 0, 2 ^ 53)
  local claimed = tonumber(redis.call('ZSCORE', keys.inflight, v.id) or '')
  local holder = redis.call('HGET', keys.holder, v.id) or ''
  local unchanged = claimed == as_read and holder == ARGV[v.more + 1]
  if unchanged and math.abs(now - claimed) >= min_age and not seen[v.id] then
    seen[v.id] = true
    table.insert(same, v)
  end
end
carry_out(keys, same, now, putback_ms)
return #same
