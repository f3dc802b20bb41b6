-- Adds dead letters of another queue, and counts their events. Those that were added
-- before are left out.
-- ARGV: for each: an id, and 7 values
for i = 1, #ARGV, 8 do
  if redis.call('ZADD', batches, 'NX', string.format('%.6f', seconds()), ARGV[i]) == 1 then
    letters(i + 1, 1)
    if ARGV[i + 1] == 'failed' then count(counts, 'accepted', tonumber(ARGV[i + 5])) end
  end
end
return 1
