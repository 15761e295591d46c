#!lua flags=allow-oom
-- pause: stop claims of a pool, or let them go on. The truth is in MongoDB; this is the fast path.
-- KEYS[1] paused string, the reason
-- ARGV[1] wake channel, ARGV[2] on 0|1, ARGV[3] reason
-- Returns 1
-- Keeps: running jobs run, ids still come in.
-- Callers: RedisJobQueue.pause
-- include: checks
expect(KEYS[1], 'string')
local on = whole(ARGV[2], 'on', 0, 1)
if on == 1 then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', ARGV[1], 'ready')
end
return 1
