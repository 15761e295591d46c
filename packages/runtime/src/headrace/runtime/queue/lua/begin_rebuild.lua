#!lua flags=allow-oom
-- begin_rebuild: put down a marker that a restart invalidates and a flush removes.
-- KEYS[1] epoch string, KEYS[2] rebuilding string
-- Returns the marker
-- Keeps: a marker of this run stands as long as nothing was lost, so two rebuilds at once share it: whoever ends first
--   has added everything since. An epoch that is still valid stays: a rebuild only adds.
-- Callers: RedisJobQueue.begin_rebuild
-- include: checks
-- include: epoch
expect(KEYS[1], 'string')
expect(KEYS[2], 'string')

local marker = redis.call('GET', KEYS[2])
if not is_of_this_run(marker) then
  local time = redis.call('TIME')
  -- Microseconds, not a counter: a counter would start anew after a flush and make an old marker valid again.
  marker = run_id() .. ':' .. time[1] .. string.format('%06d', tonumber(time[2]))
  redis.call('SET', KEYS[2], marker)
end
if not is_of_this_run(redis.call('GET', KEYS[1])) then
  redis.call('DEL', KEYS[1])
end
return marker
