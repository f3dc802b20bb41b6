-- Removes finished tasks and adds dead letters in their place.
-- KEYS: unacked, unacked_index, leases, counters, rates, dead letters, tries, lost
-- ARGV: tasks done, those of them from other producers, number of tags, tags, number of
--       attempt counters to delete, their ids, number of dead letters, dead letters
local n = tonumber(ARGV[3])
local tags = {}
for i = 1, n do tags[i] = ARGV[3 + i] end
if n > 0 then
  -- Done before, and the reply was lost: do not count again.
  if many('HDEL', KEYS[1], tags) == 0 then return 0 end
  many('ZREM', KEYS[2], tags)
  many('ZREM', KEYS[3], tags)
end
rate(KEYS[5], 'out', tonumber(ARGV[1]))
count(KEYS[4], 'accepted', tonumber(ARGV[2]))
local at = n + 4
local ids, k = {}, tonumber(ARGV[at])
for i = 1, k do ids[i] = ARGV[at + i] end
if k > 0 then
  many('HDEL', KEYS[7], ids)
  many('HDEL', KEYS[8], ids)
end
at = at + k + 1
letters(KEYS[6], KEYS[4], ARGV, at + 1, tonumber(ARGV[at]))
return n
