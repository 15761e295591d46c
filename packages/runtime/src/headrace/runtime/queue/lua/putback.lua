#!lua flags=allow-oom
-- putback: place ids that were claimed and then refused by the truth.
-- KEYS[1] delayed zset, KEYS[2] inflight zset, KEYS[3] holder hash id -> token, KEYS[4] score hash
-- ARGV[1] token of the claim, ARGV[2] put-back ms
-- ARGV[3] n, then n times: id, place drop|delayed|leave, due ms, score; at most 1000
-- Returns how many ids were still the caller's
-- Keeps: acts on an id only while it is in flight under this token. `leave`: stays in flight, under no token, because
--   the job is processed under a claim that this caller does not know.
-- Callers: RedisJobQueue.putback
-- include: checks
-- include: verdicts
local keys = { delayed = KEYS[1], inflight = KEYS[2], holder = KEYS[3], score = KEYS[4] }
expect(keys.delayed, 'zset')
expect(keys.inflight, 'zset')
expect(keys.holder, 'hash')
expect(keys.score, 'hash')
local token = ARGV[1]
local putback_ms = whole(ARGV[2], 'putback_ms', 0, 60000)
local n = whole(ARGV[3], 'n', 1, 1000)
local verdicts = read_verdicts(4, n, 4)

local mine, unheld, seen = {}, {}, {}
for _, v in ipairs(verdicts) do
  local flying = redis.call('ZSCORE', keys.inflight, v.id)
  if flying and not seen[v.id] and redis.call('HGET', keys.holder, v.id) == token then
    seen[v.id] = true
    table.insert(mine, v)
    if v.place == 'leave' then
      table.insert(unheld, v.id)
    end
  end
end
each('HDEL', keys.holder, unheld)
carry_out(keys, mine, now_ms(), putback_ms)
return #mine
