#!lua flags=allow-oom
-- throttle: let so many of the asked through that a bucket's rate and burst are kept (generic cell rate algorithm).
-- KEYS[1] string, when the bucket is full again, in µs
-- ARGV[1] µs per token, ARGV[2] burst: tokens of a full bucket, ARGV[3] asked, at most 1000
-- Returns {granted, left, µs until the bucket is full again, µs until one token more is there, or 0}
-- Keeps: by this server's clock, whoever asks. A lost answer costs what it granted; a lost key fills the bucket.
--   allow-oom: one short string per bucket, which ends by itself.
-- Callers: RateLimiter.take
-- include: checks
expect(KEYS[1], 'string')
local each_us = whole(ARGV[1], 'µs per token', 1, 2 ^ 40)
local burst = whole(ARGV[2], 'burst', 1, 2 ^ 20)
local asked = whole(ARGV[3], 'asked', 0, 1000)

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local full_at = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '') or now)
-- A forged or future time, after a jump of the clock, is worth an empty bucket and no more.
full_at = math.min(full_at, now + burst * each_us)
local left = math.floor((now + burst * each_us - full_at) / each_us)
local granted = math.min(asked, left)
full_at = full_at + granted * each_us
if granted > 0 then
  redis.call('SET', KEYS[1], digits(full_at), 'PX', math.max(1, math.ceil((full_at - now) / 1000)))
end
left = left - granted
local wait = left > 0 and 0 or full_at - now - (burst - 1) * each_us
return { granted, left, math.max(0, full_at - now), math.max(0, wait) }
