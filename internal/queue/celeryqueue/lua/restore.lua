-- Returns tasks to the consuming end of their lists.
-- KEYS: unacked, unacked_index, leases, parked, tries, lost, lists
-- ARGV: for each its tag, the number of its list, the task, its id to count an attempt or
--       "", and 1 if its worker was lost
local n = 0
for i = 1, #ARGV, 5 do
  local tag = ARGV[i]
  redis.call('ZREM', KEYS[2], tag)
  redis.call('ZREM', KEYS[3], tag)
  redis.call('ZREM', KEYS[4], tag)
  if redis.call('HDEL', KEYS[1], tag) == 1 then
    redis.call('RPUSH', KEYS[6 + tonumber(ARGV[i + 1])], ARGV[i + 2])
    if ARGV[i + 3] ~= '' then
      redis.call('HINCRBY', KEYS[5], ARGV[i + 3], 1)
      if ARGV[i + 4] == '1' then redis.call('HINCRBY', KEYS[6], ARGV[i + 3], 1) end
    end
    n = n + 1
  end
end
return n
