-- What the scripts share; it stands in front of each.
local function seconds()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local function whole(n) return string.format('%.0f', n) end

local function num(key, field) return tonumber(redis.call('HGET', key, field) or 0) end

local function count(key, field, by)
  if by ~= 0 then redis.call('HINCRBY', key, field, whole(by)) end
end

-- rate adds events to the slot of now: a ring of 13 slots of 5 seconds.
local function rate(key, dir, n)
  if n == 0 then return end
  local slot = math.floor(seconds() / 5)
  local k = slot % 13
  if num(key, 's' .. k) ~= slot then
    redis.call('HSET', key, 's' .. k, slot, 'in' .. k, 0, 'out' .. k, 0)
  end
  redis.call('HINCRBY', key, dir .. k, whole(n))
  redis.call('EXPIRE', key, 90)
end

-- many calls a command with a long list of arguments, a part at a time.
local function many(command, key, args)
  local sum = 0
  for i = 1, #args, 4000 do
    local n = redis.call(command, key, unpack(args, i, math.min(i + 3999, #args)))
    if type(n) == 'number' then sum = sum + n end
  end
  return sum
end

-- letters keeps n dead letters, of 7 values each: kind, cause, agent, event,
-- events, µs, payload.
local function letters(dead, cnt, argv, from, n)
  for i = from, from + (n - 1) * 7, 7 do
    local id = math.max(num(cnt, 'letter') + 1, math.floor(seconds() * 1000) * 16)
    redis.call('HSET', cnt, 'letter', whole(id))
    redis.call('XADD', dead, whole(id) .. '-0', 'k', argv[i], 'c', argv[i + 1], 'a', argv[i + 2],
      'e', argv[i + 3], 'n', argv[i + 4], 't', argv[i + 5], 'd', argv[i + 6])
    local size = #argv[i + 1] + #argv[i + 2] + #argv[i + 3] + #argv[i + 6]
    count(cnt, 'bytes', size)
    if argv[i] == 'rejected' then count(cnt, 'rbytes', size) end
    count(cnt, argv[i], tonumber(argv[i + 4]))
  end
end

