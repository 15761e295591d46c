-- Part: delayed ids that have been due for `late_ms` become ready, at most `limit` of them.
local function promote_due(keys, now, late_ms, limit)
  local due = redis.call('ZRANGEBYSCORE', keys.delayed, '-inf', digits(now - late_ms), 'LIMIT', 0, limit)
  if #due == 0 then
    return 0
  end
  local ready, flying, scores = {}, {}, {}
  for first = 1, #due, 1000 do
    local last = math.min(first + 999, #due)
    local f = redis.call('ZMSCORE', keys.inflight, unpack(due, first, last))
    local s = redis.call('HMGET', keys.score, unpack(due, first, last))
    for i = 1, #f do
      flying[first + i - 1] = f[i]
      scores[first + i - 1] = s[i]
    end
  end
  for i, id in ipairs(due) do
    -- An id whose place was lost goes last, not first: it may not overtake, and reconcile corrects it.
    local score = tonumber(scores[i] or '')
    if score == nil or score ~= score or score < 0 or score >= 3 * 2 ^ 43 then
      score = 3 * 2 ^ 43 - 1
    end
    if not flying[i] then
      table.insert(ready, digits(score))
      table.insert(ready, id)
    end
  end
  each('ZADD', keys.ready, ready)
  each('ZREM', keys.delayed, due)
  each('HDEL', keys.score, due)
  return #ready / 2
end
