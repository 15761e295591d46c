-- Part: whether the pool is complete. A restart changes run_id, a flush removes the key: either is seen at once.
local function run_id()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

local function is_of_this_run(value)
  return value ~= false and string.match(value, '^(%x+):') == run_id()
end
