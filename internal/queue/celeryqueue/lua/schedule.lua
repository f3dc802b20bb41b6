-- Delays tasks until they are due. They stay unacked, as with a Celery worker, which would
-- find them there if picket went away.
-- KEYS: unacked, unacked_index, leases, parked, tries
-- ARGV: "" or "attempt" to count an attempt of each; then for each its tag, when it is
--       due, and its id
for i = 2, #ARGV, 3 do
  local tag, due, id = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('HEXISTS', KEYS[1], tag) == 1 then
    redis.call('ZREM', KEYS[3], tag)
    redis.call('ZADD', KEYS[2], due, tag)
    redis.call('ZADD', KEYS[4], due, tag)
    if ARGV[1] ~= '' then redis.call('HINCRBY', KEYS[5], id, 1) end
  end
end
return 1
