-- What the scripts share; it stands between those of all queues on Redis and
-- each. All keys of a script are of one shard, and so of one slot.
local GROUP, WAITING = 'workers', '_' -- the consumer that holds what waits to be delivered again
local EVENTS = 1048576                -- an entry's id is <ms>-<n * EVENTS + its events>
local SHARDS = 64                     -- a letter's id is <n * SHARDS + its shard>

local function events_of(id)
  return tonumber(string.match(id, '%-(%d+)$')) % EVENTS
end

-- some returns the key of a hash if that has fields, otherwise false.
local function some(key) return redis.call('HLEN', key) > 0 and key end

-- put adds a message. Ids never go back, even where a clock does.
local function put(stream, cnt, batch, agent, events, payload)
  local ms, n = millis(), 0
  local last = num(cnt, 'ms')
  if ms <= last then ms, n = last, num(cnt, 'n') + 1 end
  redis.call('XADD', stream, whole(ms) .. '-' .. whole(n * EVENTS + events), 'b', batch, 'a', agent, 'd', payload)
  redis.call('HSET', cnt, 'ms', whole(ms), 'n', whole(n))
  count(cnt, 'events', events)
  count(cnt, 'bytes', #payload)
end

-- letter keeps a dead letter: kind, cause, agent, event, events, µs, payload.
local function letter(dead, cnt, shard, l)
  local n = math.max(num(cnt, 'letter') + 1, millis() * 16)
  redis.call('HSET', cnt, 'letter', whole(n))
  add_dead_letter(dead, cnt, n * SHARDS + shard, l, 1)
end

-- holder returns who holds an entry, and how often it was delivered.
local function holder(stream, id)
  local p = redis.call('XPENDING', stream, GROUP, id, id, 1)[1]
  if p then return p[2], p[4] end
end

-- pending lists what a consumer holds, as {id, consumer, idle, deliveries}.
local function pending(stream, consumer, n)
  return redis.call('XPENDING', stream, GROUP, '-', '+', n, consumer)
end

-- lost_times returns how often the consumer of an entry was lost.
local function lost_times(lost, id) return tonumber(redis.call('HGET', lost, id) or 0) end

-- remove removes a message from the queue, if it is still there. lost is the
-- key of lost messages, or false if there are none.
local function remove(stream, cnt, due, lost, id, size)
  redis.call('XACK', stream, GROUP, id)
  redis.call('ZREM', due, id)
  if lost then redis.call('HDEL', lost, id) end
  if redis.call('XDEL', stream, id) == 0 then return 0 end
  local events = events_of(id)
  count(cnt, 'events', -events)
  count(cnt, 'bytes', -size)
  return events
end

