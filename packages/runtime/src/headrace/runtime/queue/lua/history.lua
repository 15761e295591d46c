#!lua flags=no-writes
-- history: entries of the event log from an id on, that one included.
-- KEYS[1] log stream, as `announce` writes it
-- ARGV[1] id of an entry, or - for the beginning, ARGV[2] entries at most
-- Returns {run_id of the server, {id, r, l, e} per entry}
-- Callers: EventLog.read
-- include: checks
-- include: epoch
-- include: entry
local log = KEYS[1]
expect(log, 'stream')
local count = whole(ARGV[2], 'count', 1, 100)

local answer = { run_id() }
for _, entry in ipairs(redis.call('XRANGE', log, ARGV[1], '+', 'COUNT', count)) do
  table.insert(answer, { entry[1], field(entry, 'r') or '', field(entry, 'l') or '', field(entry, 'e') or '' })
end
return answer
