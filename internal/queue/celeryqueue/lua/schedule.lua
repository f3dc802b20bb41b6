-- Delays tasks until they are due. They stay unacked, as with a Celery worker, which would
-- find them there if picket went away.
-- ARGV: "" or "attempt" to count an attempt of each; then for each its tag, when it is
--       due, and its id
for i = 2, #ARGV, 3 do
  local tag, due, id = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('HEXISTS', unacked, tag) == 1 then
    redis.call('ZREM', leases, tag)
    redis.call('ZADD', unacked_index, due, tag)
    redis.call('ZADD', parked, due, tag)
    if ARGV[1] ~= '' then redis.call('HINCRBY', tries, id, 1) end
  end
end
return 1
