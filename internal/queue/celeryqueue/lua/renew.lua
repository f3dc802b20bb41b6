-- Renews the leases of tasks in flight, and their visibility in Celery.
-- KEYS: unacked_index, leases
-- ARGV: seconds of the lease, tags
local now = seconds()
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', string.format('%.6f', now), ARGV[i])
  redis.call('ZADD', KEYS[2], 'XX', string.format('%.6f', now + tonumber(ARGV[1])), ARGV[i])
end
return #ARGV - 1
