-- Adds dead letters of another queue, and counts their events. Those that were added
-- before are left out.
-- KEYS: counters, dead letters, batches    ARGV: shard, then for each: an ID, and 7
for at = 2, #ARGV, 8 do
  local id, l = ARGV[at], { unpack(ARGV, at + 1, at + 7) }
  if not redis.call('ZSCORE', KEYS[3], id) then
    bury(KEYS[2], KEYS[1], tonumber(ARGV[1]), l)
    redis.call('ZADD', KEYS[3], num(KEYS[1], 'batches'), id)
    count(KEYS[1], l[1], tonumber(l[5]))
    if l[1] == 'failed' then count(KEYS[1], 'accepted', tonumber(l[5])) end
  end
end
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -4097)
return 1
