-- Functions of all scripts of this package, after those of redisstats.
local function seconds()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

-- many calls a command with a long list of arguments, in parts.
local function many(command, key, args)
  local sum = 0
  for i = 1, #args, 4000 do
    local n = redis.call(command, key, unpack(args, i, math.min(i + 3999, #args)))
    if type(n) == 'number' then sum = sum + n end
  end
  return sum
end

-- letters adds n dead letters, of 7 values each.
local function letters(dead, cnt, argv, from, n)
  for i = from, from + (n - 1) * 7, 7 do
    local id = math.max(num(cnt, 'letter') + 1, millis() * 16)
    redis.call('HSET', cnt, 'letter', whole(id))
    add_dead_letter(dead, cnt, id, argv, i)
    count(cnt, argv[i], tonumber(argv[i + 4]))
  end
end

