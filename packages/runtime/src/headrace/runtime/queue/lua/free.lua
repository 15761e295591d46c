#!lua flags=allow-oom
-- free: give up places whose time is past, after a look that found no document.
-- KEYS[1] reserved zset id -> expiry ms
-- ARGV[1..] ids, at most 1000
-- Returns how many places were freed
-- Keeps: a place that was renewed since stays.
-- Callers: RedisJobQueue.free
-- include: checks
expect(KEYS[1], 'zset')

local now, gone = now_ms(), {}
for i = 1, math.min(#ARGV, 1000) do
  local expiry = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or '')
  if expiry and expiry <= now then
    table.insert(gone, ARGV[i])
  end
end
return each('ZREM', KEYS[1], gone)
