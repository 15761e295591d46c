#!lua
-- announce: add events to the log, forget the oldest beyond its size, and say that there is something new.
-- KEYS[1] log stream: r run_id of the server, o bytes ever added up to here, l 1 = events before this were lost, e events
-- ARGV[1] channel, ARGV[2] bytes that the log may hold, ARGV[3] 1 = the caller lost events before these
-- ARGV[4..] JSON arrays of events, one entry each, at most 64
-- Returns the id of the last entry
-- Keeps: the log holds at most ARGV[2] bytes and its last entry; at most 200 entries go per call. A repeat adds the events
--   once more, which readers bear. No flags: refused before it starts when the server is full.
-- Callers: EventLog.append
-- include: checks
-- include: epoch
-- include: entry
local log = KEYS[1]
expect(log, 'stream')
local limit = whole(ARGV[2], 'limit_bytes', 1, 2 ^ 53)
local lost = whole(ARGV[3], 'lost', 0, 1)

local run = run_id()
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local offset = last and tonumber(field(last, 'o')) or 0
local id = ''
for i = 4, math.min(#ARGV, 67) do
  offset = offset + #ARGV[i] + 100
  id = redis.call('XADD', log, '*', 'r', run, 'o', digits(offset), 'l', digits(lost), 'e', ARGV[i])
  lost = 0
end
for _ = 1, 200 do
  local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  local held = offset - (first and tonumber(field(first, 'o')) or 0)
  if not first or first[1] == id or (held >= 0 and held < limit) then
    break
  end
  redis.call('XDEL', log, first[1])
end
redis.call('PUBLISH', ARGV[1], id)
return id
