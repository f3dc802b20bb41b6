-- Functions for the scripts of redisqueue, prepended to each script. All keys of
-- a script belong to one shard, and therefore to one Cluster slot.
local GROUP, WAITING = 'workers', '_' -- delayed messages are pending for consumer WAITING
local EVENTS = 1048576                -- the ID of a message is <ms>-<n * EVENTS + events>
local SHARDS = 64                     -- the ID of a dead letter is n * SHARDS + shard

local function events_of(id)
  return tonumber(string.match(id, '%-(%d+)$')) % EVENTS
end

-- some returns the key of a hash if it exists, otherwise false.
local function some(key) return redis.call('HLEN', key) > 0 and key end

-- add_message adds a message. IDs ascend even if the clock goes back.
local function add_message(stream, cnt, batch, agent, events, payload)
  local ms, n = millis(), 0
  local last = num(cnt, 'ms')
  if ms <= last then ms, n = last, num(cnt, 'n') + 1 end
  redis.call('XADD', stream, whole(ms) .. '-' .. whole(n * EVENTS + events), 'b', batch, 'a', agent, 'd', payload)
  redis.call('HSET', cnt, 'ms', whole(ms), 'n', whole(n))
  count(cnt, 'events', events)
  count(cnt, 'bytes', #payload)
end

-- bury adds a dead letter: reason, cause, agent, event, events, µs, payload.
local function bury(dead, cnt, shard, l)
  local n = math.max(num(cnt, 'letter') + 1, millis() * 16)
  redis.call('HSET', cnt, 'letter', whole(n))
  add_dead_letter(dead, cnt, n * SHARDS + shard, l, 1)
end

-- holder returns the consumer that a message is pending for, and how often it was
-- delivered.
local function holder(stream, id)
  local p = redis.call('XPENDING', stream, GROUP, id, id, 1)[1]
  if p then return p[2], p[4] end
end

-- pending lists the messages that are pending for a consumer, as {id, consumer,
-- idle, deliveries}.
local function pending(stream, consumer, n)
  return redis.call('XPENDING', stream, GROUP, '-', '+', n, consumer)
end

-- lost_times returns how often the consumer of a message was lost.
local function lost_times(lost, id) return tonumber(redis.call('HGET', lost, id) or 0) end

-- remove_message removes a message, if it still exists, and returns its number of
-- events. lost is the key of the hash, or false if that does not exist.
local function remove_message(stream, cnt, due, lost, id, size)
  redis.call('XACK', stream, GROUP, id)
  redis.call('ZREM', due, id)
  if lost then redis.call('HDEL', lost, id) end
  if redis.call('XDEL', stream, id) == 0 then return 0 end
  local events = events_of(id)
  count(cnt, 'events', -events)
  count(cnt, 'bytes', -size)
  return events
end

