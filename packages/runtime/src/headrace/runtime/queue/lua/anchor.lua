#!lua
-- anchor: where the event log ends now. A log that is empty or of an earlier run gets an entry without events, so that
--   whoever reads on from there can tell whether everything since is still there.
-- KEYS[1] log stream, as `announce` writes it
-- Returns {id of the last entry, its events as JSON}
-- Keeps: what is in the log. No flags: refused before it starts when the server is full.
-- Callers: EventLog.end
-- include: checks
-- include: epoch
-- include: entry
local log = KEYS[1]
expect(log, 'stream')

local run = run_id()
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if last and field(last, 'r') == run then
  return { last[1], field(last, 'e') or '[]' }
end
local offset = last and tonumber(field(last, 'o')) or 0
local id = redis.call('XADD', log, '*', 'r', run, 'o', digits(offset + 100), 'l', '0', 'e', '[]')
return { id, '[]' }
