-- Returns tasks to the consuming end of their lists.
-- KEYS: unacked, unacked_index, leases, parked, tries, lost, lists
-- ARGV: "" to count nothing, "attempt" to count an attempt of each, "lost" to count also
--       that its worker was lost; then for each its tag, the number of its list, the
--       task, and its id or ""
for i = 2, #ARGV, 4 do
  local tag, id = ARGV[i], ARGV[i + 3]
  redis.call('ZREM', KEYS[2], tag)
  redis.call('ZREM', KEYS[3], tag)
  redis.call('ZREM', KEYS[4], tag)
  if redis.call('HDEL', KEYS[1], tag) == 1 then
    redis.call('RPUSH', KEYS[6 + tonumber(ARGV[i + 1])], ARGV[i + 2])
    if ARGV[1] ~= '' and id ~= '' then
      redis.call('HINCRBY', KEYS[5], id, 1)
      if ARGV[1] == 'lost' then redis.call('HINCRBY', KEYS[6], id, 1) end
    end
  end
end
return 1
