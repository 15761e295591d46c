#!lua flags=allow-oom
-- finish_rebuild: declare the pool complete, if nothing was lost since the marker.
-- KEYS[1] epoch string, KEYS[2] rebuilding string
-- ARGV[1] marker of begin_rebuild
-- Returns 1 when the pool is complete now, else 0: begin again
-- Keeps: the epoch is only ever set after everything was added, under the run_id it was added in.
-- Callers: RedisJobQueue.finish_rebuild
-- include: checks
-- include: epoch
expect(KEYS[1], 'string')
expect(KEYS[2], 'string')
local marker = ARGV[1]

local epoch = redis.call('GET', KEYS[1])
if is_of_this_run(epoch) and epoch == marker then
  return 1
end
if redis.call('GET', KEYS[2]) ~= marker or not is_of_this_run(marker) then
  return 0
end
redis.call('SET', KEYS[1], marker)
redis.call('DEL', KEYS[2])
return 1
