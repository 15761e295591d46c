#!lua flags=allow-oom
-- finish_rebuild: declare the pool complete, if nothing was lost since the marker and this is not too late.
-- KEYS[1] epoch string, KEYS[2] rebuilding string
-- ARGV[1] marker of begin_rebuild, ARGV[2] until when by this server's clock, in ms; "" for whenever
-- Returns 1 when the pool is complete now, else 0: look at the truth again
-- Keeps: the epoch is only ever set after everything was added, under the run_id it was added in. A server that stood
--   still does late what was asked before; jobs were stored meanwhile that nobody could push.
-- Callers: RedisJobQueue.finish_rebuild
-- include: checks
-- include: epoch
expect(KEYS[1], 'string')
expect(KEYS[2], 'string')
local marker = ARGV[1]
local by_ms = ARGV[2] == '' and math.huge or whole(ARGV[2], 'by_ms', 0, 2 ^ 53)

local epoch = redis.call('GET', KEYS[1])
if is_of_this_run(epoch) and epoch == marker then
  return 1
end
if redis.call('GET', KEYS[2]) ~= marker or not is_of_this_run(marker) then
  return 0
end
if now_ms() > by_ms then
  return 0
end
redis.call('SET', KEYS[1], marker)
redis.call('DEL', KEYS[2])
return 1
