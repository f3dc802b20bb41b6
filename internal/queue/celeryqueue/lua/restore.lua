-- Returns tasks to the consuming end of their lists.
-- KEYS: lists
-- ARGV: "" to count nothing, "attempt" to count an attempt of each, "lost" to count also
--       that its worker was lost; then for each its tag, the number of its list, the
--       task, and its id or ""
for i = 2, #ARGV, 4 do
  local tag, id = ARGV[i], ARGV[i + 3]
  redis.call('ZREM', unacked_index, tag)
  redis.call('ZREM', leases, tag)
  redis.call('ZREM', parked, tag)
  if redis.call('HDEL', unacked, tag) == 1 then
    redis.call('RPUSH', list(tonumber(ARGV[i + 1])), ARGV[i + 2])
    if ARGV[1] ~= '' and id ~= '' then
      redis.call('HINCRBY', tries, id, 1)
      if ARGV[1] == 'lost' then redis.call('HINCRBY', lost, id, 1) end
    end
  end
end
return 1
