-- Part: put ids where they wait, ready or delayed by their due time, and wake who waits for them.
local function place_all(keys, waiting, now, poll_ms)
  local ready, delayed, scores, wake = {}, {}, {}, false
  for _, w in ipairs(waiting) do
    if w.due > now then
      table.insert(delayed, digits(w.due))
      table.insert(delayed, w.id)
      table.insert(scores, w.id)
      table.insert(scores, w.score)
      wake = wake or w.due - now < poll_ms
    else
      table.insert(ready, w.score)
      table.insert(ready, w.id)
      wake = true
    end
  end
  each('HSET', keys.score, scores)
  each('ZADD', keys.delayed, delayed)
  each('ZADD', keys.ready, ready)
  if wake then
    redis.call('PUBLISH', keys.channel, 'ready')
  end
end
