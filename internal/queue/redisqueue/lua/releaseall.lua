-- Returns all messages of a consumer to the queue, and deletes the consumer.
-- KEYS: stream, due    ARGV: consumer
local now, n = whole(millis()), 0
while true do
  local held = pending(KEYS[1], ARGV[1], 1000)
  if #held == 0 then break end
  for _, p in ipairs(held) do
    redis.call('XCLAIM', KEYS[1], GROUP, WAITING, 0, p[1], 'JUSTID')
    if holder(KEYS[1], p[1]) == WAITING then
      redis.call('ZADD', KEYS[2], now, p[1])
      n = n + 1
    else
      redis.call('XACK', KEYS[1], GROUP, p[1]) -- deleted by an operator
    end
  end
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], GROUP, ARGV[1])
return n
