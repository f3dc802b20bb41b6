-- Claims tasks: removes them from the lists and adds them to the unacked hash, in one
-- step. kombu does this in two, and loses tasks if it dies in between.
-- KEYS: lists in their order
-- ARGV: most tasks, most bytes, seconds of the lease, prefix of the tags, for each list
--       "shared" or "" and its queue as JSON, number of patterns of known tasks, the
--       patterns, prefixes of earlier claims whose replies were lost: what they claimed
--       is returned again
-- Of a shared list only known tasks among the oldest `reach` are claimed. Returns how many
-- unregistered tasks were seen there, how many tasks have attempts, how many are revoked,
-- then for each task its tag, the number of its list, and the task.
local most, room, tag = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[4]
local lists, reach, chunk = #KEYS - 11, 1000, 64
local now = seconds()
local taken_at, leased_until = string.format('%.6f', now), string.format('%.6f', now + tonumber(ARGV[3]))
local out, n, seen = { 0, 0, 0 }, 0, 0
local held, index, lease = {}, {}, {}

local function take(raw, at)
  n, room = n + 1, room - #raw
  local id = tag .. n
  local m = n * 2
  held[m - 1], held[m] = id, '[' .. raw .. ',"",' .. ARGV[4 + at * 2] .. ']'
  index[m - 1], index[m] = taken_at, id
  lease[m - 1], lease[m] = leased_until, id
  local o = n * 3
  out[o + 1], out[o + 2], out[o + 3] = id, at, raw
end

local function known(raw)
  for i = 6 + lists * 2, 5 + lists * 2 + tonumber(ARGV[5 + lists * 2]) do
    if string.find(raw, ARGV[i], 1, true) then return true end
  end
  return false
end

-- again returns what was claimed under a prefix.
local function again(prefix)
  local tags = {}
  for i = 1, most do tags[i] = prefix .. i end
  for i, entry in ipairs(redis.call('HMGET', unacked, unpack(tags))) do
    if entry then
      local at, tail = 1, ''
      for k = 1, lists do
        tail = ',"",' .. ARGV[4 + k * 2] .. ']'
        if string.sub(entry, -#tail) == tail then
          at = k
          break
        end
      end
      n = n + 1
      local o = n * 3
      out[o + 1], out[o + 2], out[o + 3] = tags[i], at, string.match(entry, '^%[(.*),"","[^"]*"%]$') or ''
    end
  end
end

for i = 6 + lists * 2 + tonumber(ARGV[5 + lists * 2]), #ARGV do again(ARGV[i]) end
if n > 0 then
  out[2], out[3] = redis.call('HLEN', tries), redis.call('ZCARD', revoked)
  return out
end

for at = 1, lists do
  local key, shared = list(at), ARGV[3 + at * 2] == 'shared'
  while n < most and room > 0 do
    if not shared then
      local got = redis.call('RPOP', key, math.min(chunk, most - n))
      if not got then break end
      for _, raw in ipairs(got) do take(raw, at) end
    else
      local got = redis.call('LRANGE', key, -math.min(chunk, most - n), -1)
      local mine = 0
      for i = #got, 1, -1 do
        if not known(got[i]) then break end
        mine = mine + 1
        take(got[i], at)
      end
      if mine > 0 then redis.call('LTRIM', key, 0, -mine - 1) end
      if #got == 0 then break end
      if mine < #got then -- one is in the way
        local far = redis.call('LRANGE', key, -reach, -1)
        for i = #far, 1, -1 do
          if n < most and room > 0 and known(far[i]) then
            redis.call('LREM', key, -1, far[i])
            take(far[i], at)
          else
            seen = seen + 1
          end
        end
        break
      end
    end
  end
  if n >= most or room <= 0 then break end
end
if n > 0 then
  many('HSET', unacked, held)
  many('ZADD', unacked_index, index)
  many('ZADD', leases, lease)
end
out[1], out[2], out[3] = seen, redis.call('HLEN', tries), redis.call('ZCARD', revoked)
return out
