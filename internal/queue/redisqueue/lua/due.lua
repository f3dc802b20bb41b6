-- Leases delayed messages that are due: only suspects, or none of them.
-- KEYS: stream, due, lost
-- ARGV: consumer, most, losses that make a message a suspect, only suspects (0, 1)
-- Returns ms until the next is due (-1: none), the number of suspects not leased,
-- then id, deliveries, losses, fields of each message leased.
local now, most, alone = millis(), tonumber(ARGV[2]), ARGV[4] == '1'
local lost, out = some(KEYS[3]), { -1, 0 }
if alone and not lost then return out end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(now), 'LIMIT', 0, lost and math.max(most, 1000) or most)) do
  local times = lost and lost_times(lost, id) or 0
  local suspect = times >= tonumber(ARGV[3])
  if suspect ~= alone or #out >= 2 + 4 * most then
    if suspect then out[2] = out[2] + 1 end
  else
    local e = redis.call('XCLAIM', KEYS[1], GROUP, ARGV[1], 0, id)[1]
    redis.call('ZREM', KEYS[2], id)
    if e then
      local _, deliveries = holder(KEYS[1], id)
      for _, v in ipairs({ id, deliveries, times, e[2] }) do out[#out + 1] = v end
    else
      redis.call('XACK', KEYS[1], GROUP, id) -- deleted by an operator
      redis.call('HDEL', KEYS[3], id)
    end
  end
end
local next = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if next[2] then out[1] = math.max(tonumber(next[2]) - now, 0) end
return out
