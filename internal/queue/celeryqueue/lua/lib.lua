-- Keys and functions of all scripts of this package, after those of redisstats. Behind
-- these keys, a script has the lists of tasks that it uses.
local unacked, unacked_index, leases, parked, tries, lost, revoked, counts, rates, dead, batches = unpack(KEYS, 1, 11)
local function list(n) return KEYS[11 + n] end

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

-- letters adds n dead letters, whose values begin at ARGV[from], 7 for each.
local function letters(from, n)
  for i = from, from + (n - 1) * 7, 7 do
    local id = math.max(num(counts, 'letter') + 1, millis() * 16)
    redis.call('HSET', counts, 'letter', whole(id))
    add_dead_letter(dead, counts, id, ARGV, i)
    count(counts, ARGV[i], tonumber(ARGV[i + 4]))
  end
end

