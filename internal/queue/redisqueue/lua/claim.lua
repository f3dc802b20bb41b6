-- Leases messages whose leases ended, and deletes consumers that are gone. A
-- suspect becomes due instead, so that it is delivered alone.
-- KEYS: stream, due, lost
-- ARGV: consumer, lease in ms, most, ms after which an idle consumer is deleted,
--   losses that make a message a suspect
-- Returns the number of suspects, then id, deliveries, losses, fields of each
-- message leased.
local me, lease, most, isolate = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local out = { 0 }

local function claim(consumer, id, deliveries)
  local e = redis.call('XRANGE', KEYS[1], id, id)[1]
  if not e then
    redis.call('XACK', KEYS[1], GROUP, id) -- deleted by an operator
    redis.call('HDEL', KEYS[3], id)
    return
  end
  -- Messages of this consumer were leased by a reply that did not arrive.
  local lost = consumer == me and lost_times(KEYS[3], id) or redis.call('HINCRBY', KEYS[3], id, 1)
  if lost >= isolate then
    redis.call('XCLAIM', KEYS[1], GROUP, WAITING, 0, id, 'JUSTID')
    redis.call('ZADD', KEYS[2], whole(millis()), id)
    out[1] = out[1] + 1
  else
    redis.call('XCLAIM', KEYS[1], GROUP, me, 0, id)
    for _, v in ipairs({ id, deliveries + 1, lost, e[2] }) do out[#out + 1] = v end
  end
end

for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], GROUP)) do
  local info = {}
  for i = 1, #c, 2 do info[c[i]] = c[i + 1] end
  if info.name == WAITING then
    -- Delayed messages should be in due. If they are not, they are due now.
    if info.pending > redis.call('ZCARD', KEYS[2]) then
      for _, p in ipairs(pending(KEYS[1], WAITING, 1000)) do
        redis.call('ZADD', KEYS[2], 'NX', whole(millis()), p[1])
      end
    end
  elseif info.pending > 0 then
    for _, p in ipairs(redis.call('XPENDING', KEYS[1], GROUP, 'IDLE', lease, '-', '+', most, info.name)) do
      if #out < 1 + 4 * most then claim(info.name, p[1], p[4]) end
    end
  elseif info.name ~= me and info.idle > tonumber(ARGV[4]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], GROUP, info.name) -- it has no leases
  end
end
return out
