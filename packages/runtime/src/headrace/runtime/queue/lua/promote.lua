#!lua flags=allow-oom
-- promote: make delayed ids ready that are due. Every claim does it too; this is for pools where nobody claims.
-- KEYS[1] ready zset, KEYS[2] delayed zset, KEYS[3] inflight zset, KEYS[4] score hash
-- ARGV[1] wake channel, ARGV[2] late ms, ARGV[3] limit
-- Returns how many became ready
-- Keeps: never before an id is due; the place is the one computed from its document.
-- Callers: RedisJobQueue.promote
-- include: checks
-- include: promote
local keys = { ready = KEYS[1], delayed = KEYS[2], inflight = KEYS[3], score = KEYS[4] }
expect(keys.ready, 'zset')
expect(keys.delayed, 'zset')
expect(keys.inflight, 'zset')
expect(keys.score, 'hash')
local channel = ARGV[1]
local late_ms = whole(ARGV[2], 'late_ms', 0, 60000)
local limit = whole(ARGV[3], 'limit', 1, 10000)

local promoted = promote_due(keys, now_ms(), late_ms, limit)
if promoted > 0 then
  redis.call('PUBLISH', channel, 'ready')
end
return promoted
