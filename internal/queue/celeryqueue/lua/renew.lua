-- Renews the leases of tasks in flight, and their visibility in Celery.
-- ARGV: seconds of the lease, tags
local now = seconds()
for i = 2, #ARGV do
  redis.call('ZADD', unacked_index, 'XX', string.format('%.6f', now), ARGV[i])
  redis.call('ZADD', leases, 'XX', string.format('%.6f', now + tonumber(ARGV[1])), ARGV[i])
end
return #ARGV - 1
