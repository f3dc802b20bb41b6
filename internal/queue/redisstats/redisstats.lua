-- What the scripts of all queues on Redis share; it stands in front of each.
local function millis()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function whole(n) return string.format('%.0f', n) end

local function num(key, field) return tonumber(redis.call('HGET', key, field) or 0) end

local function count(key, field, by)
  if by ~= 0 then redis.call('HINCRBY', key, field, whole(by)) end
end

-- rate adds events to the slot of now: a ring of 13 slots of 5 seconds.
local function rate(key, dir, n)
  if n == 0 then return end
  local slot = math.floor(millis() / 5000)
  local k = slot % 13
  if num(key, 's' .. k) ~= slot then
    redis.call('HSET', key, 's' .. k, slot, 'in' .. k, 0, 'out' .. k, 0)
  end
  redis.call('HINCRBY', key, dir .. k, whole(n))
  redis.call('EXPIRE', key, 90)
end

-- keep adds a dead letter under an id: kind, cause, agent, event, events, µs,
-- payload, from argv at i. It counts the bytes, and those of rejected events
-- apart.
local function keep(dead, cnt, id, argv, i)
  redis.call('XADD', dead, whole(id) .. '-0', 'k', argv[i], 'c', argv[i + 1], 'a', argv[i + 2], 'e', argv[i + 3],
    'n', argv[i + 4], 't', argv[i + 5], 'd', argv[i + 6])
  local size = #argv[i + 1] + #argv[i + 2] + #argv[i + 3] + #argv[i + 6]
  count(cnt, 'bytes', size)
  if argv[i] == 'rejected' then count(cnt, 'rbytes', size) end
end

-- release takes a dead letter away.
local function release(dead, cnt, e)
  local f = e[2]
  redis.call('XDEL', dead, e[1])
  local size = #f[4] + #f[6] + #f[8] + #f[14]
  count(cnt, 'bytes', -size)
  if f[2] == 'rejected' then count(cnt, 'rbytes', -size) end
end

