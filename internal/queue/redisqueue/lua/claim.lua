-- Takes over what nobody renews any more, and forgets consumers that are gone.
-- KEYS: stream, due    ARGV: consumer, lease in ms, most, ms after which an idle consumer goes
-- Returns id, deliveries, fields of each.
local me, lease, most, out = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), {}
for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], GROUP)) do
  local info = {}
  for i = 1, #c, 2 do info[c[i]] = c[i + 1] end
  if info.name == WAITING then
    -- What waits has its time in due; should that be lost, the time is now.
    if info.pending > redis.call('ZCARD', KEYS[2]) then
      for _, p in ipairs(pending(KEYS[1], WAITING, 1000)) do
        redis.call('ZADD', KEYS[2], 'NX', whole(millis()), p[1])
      end
    end
  elseif info.pending > 0 then
    for _, p in ipairs(redis.call('XPENDING', KEYS[1], GROUP, 'IDLE', lease, '-', '+', most, info.name)) do
      if #out < 3 * most then
        local e = redis.call('XCLAIM', KEYS[1], GROUP, me, lease, p[1])[1]
        if e then
          out[#out + 1], out[#out + 2], out[#out + 3] = p[1], p[4] + 1, e[2]
        else
          redis.call('XACK', KEYS[1], GROUP, p[1])
        end
      end
    end
  elseif info.name ~= me and info.idle > tonumber(ARGV[4]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], GROUP, info.name) -- it holds nothing
  end
end
return out
