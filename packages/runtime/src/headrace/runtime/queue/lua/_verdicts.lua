-- Part: carry out what the documents say about ids in flight.
local function read_verdicts(first, n, width)
  local verdicts = {}
  for i = 1, n do
    local at = first + (i - 1) * width
    local v = { id = ARGV[at], place = ARGV[at + 1], score = ARGV[at + 3], more = at + 4 }
    if v.place ~= 'drop' and v.place ~= 'delayed' and v.place ~= 'leave' then
      refuse('place must be drop, delayed or leave')
    end
    v.due = whole(ARGV[at + 2], 'due_ms', 0, 2 ^ 53)
    whole(v.score, 'score', 0, 2 ^ 53)
    verdicts[i] = v
  end
  return verdicts
end

local function carry_out(keys, verdicts, now, putback_ms)
  local gone, delayed, scores = {}, {}, {}
  for _, v in ipairs(verdicts) do
    if v.place ~= 'leave' then
      table.insert(gone, v.id)
    end
    if v.place == 'delayed' then
      -- Never straight to the head: it would be popped and refused again for as long as another claim commits.
      local due = v.due > now and v.due or now + putback_ms
      table.insert(delayed, digits(due))
      table.insert(delayed, v.id)
      table.insert(scores, v.id)
      table.insert(scores, v.score)
    end
  end
  each('ZREM', keys.inflight, gone)
  each('HDEL', keys.holder, gone)
  each('HSET', keys.score, scores)
  each('ZADD', keys.delayed, delayed)
end
