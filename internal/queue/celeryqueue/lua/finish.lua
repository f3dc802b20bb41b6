-- Removes finished tasks and adds dead letters in their place.
-- ARGV: tasks done, those of them from other producers, number of tags, tags, number of
--       attempt counters to delete, their ids, number of dead letters, dead letters
local n = tonumber(ARGV[3])
local tags = {}
for i = 1, n do tags[i] = ARGV[3 + i] end
if n > 0 then
  -- Done before, and the reply was lost: do not count again.
  if many('HDEL', unacked, tags) == 0 then return 0 end
  many('ZREM', unacked_index, tags)
  many('ZREM', leases, tags)
end
rate(rates, 'out', tonumber(ARGV[1]))
count(counts, 'accepted', tonumber(ARGV[2]))
local at = n + 4
local ids, k = {}, tonumber(ARGV[at])
for i = 1, k do ids[i] = ARGV[at + i] end
if k > 0 then
  many('HDEL', tries, ids)
  many('HDEL', lost, ids)
end
at = at + k + 1
letters(at + 1, tonumber(ARGV[at]))
return n
