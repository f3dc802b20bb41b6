-- Takes messages whose time to be delivered again has come.
-- KEYS: stream, due    ARGV: consumer, most
-- Returns ms until the next is due (-1: none), then id, deliveries, fields of each.
local now, out = millis(), { -1 }
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(now), 'LIMIT', 0, ARGV[2])) do
  local e = redis.call('XCLAIM', KEYS[1], GROUP, ARGV[1], 0, id)[1]
  redis.call('ZREM', KEYS[2], id)
  if e then
    local _, times = holder(KEYS[1], id)
    out[#out + 1], out[#out + 2], out[#out + 3] = id, times, e[2]
  else
    redis.call('XACK', KEYS[1], GROUP, id) -- it was deleted by hand
  end
end
local next = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if next[2] then out[1] = math.max(tonumber(next[2]) - now, 0) end
return out
