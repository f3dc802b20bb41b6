-- Returns messages to the queue, to be delivered again after a delay, if the
-- caller still holds their leases. Those that no receiver saw count as not
-- delivered.
-- KEYS: stream, due    ARGV: consumer, delay in ms, unseen (0, 1), then for each: id, deliveries (0: any)
local now, unseen, n = millis(), ARGV[3] == '1', 0
for i = 4, #ARGV, 2 do
  local id, deliveries = ARGV[i], tonumber(ARGV[i + 1])
  local who, times = holder(KEYS[1], id)
  if who == ARGV[1] and (deliveries == 0 or times == deliveries) then
    -- XCLAIM first: when the server is out of memory, a script must not begin with
    -- a command that needs more.
    if unseen then times = math.max(times - 1, 0) end
    redis.call('XCLAIM', KEYS[1], GROUP, WAITING, 0, id, 'RETRYCOUNT', times, 'JUSTID')
    redis.call('ZADD', KEYS[2], whole(now + tonumber(ARGV[2])), id)
    n = n + 1
  end
end
return n
