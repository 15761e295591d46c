-- Part: what a script checks before its first write. Redis does not undo the writes of a script that fails half-way.
local function refuse(sentence)
  error({ err = 'HEADRACE ' .. sentence })
end

local function expect(key, wanted)
  local found = redis.call('TYPE', key)['ok']
  if found ~= wanted and found ~= 'none' then
    refuse('the key ' .. key .. ' is a ' .. found .. ', not a ' .. wanted)
  end
end

local function whole(text, name, low, high)
  local n = tonumber(text)
  if n == nil or n ~= n or n < low or n > high or n % 1 ~= 0 then
    refuse(name .. ' must be a whole number from ' .. low .. ' to ' .. high)
  end
  return n
end

-- Numbers go out as digits: Lua itself rounds to 14 of them and writes larger ones as 1e+15.
local function digits(n)
  return string.format('%.0f', n)
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- One command over many arguments, in pieces that fit Lua's stack. Pairs stay together: the piece is even.
local function each(command, key, args)
  local total = 0
  for first = 1, #args, 1000 do
    total = total + redis.call(command, key, unpack(args, first, math.min(first + 999, #args)))
  end
  return total
end
