-- Publishes tasks, and keeps letters of what intake rejected.
-- KEYS: list, binding, counters, rates, dead letters
-- ARGV: binding's member, number of tasks, tasks, letters for which there is no
--       room, number of letters, letters
local n = tonumber(ARGV[2])
if n > 0 then
  if ARGV[1] ~= '' then redis.call('SADD', KEYS[2], ARGV[1]) end
  local tasks = {}
  for i = 1, n do tasks[i] = ARGV[2 + i] end
  many('LPUSH', KEYS[1], tasks)
  count(KEYS[3], 'accepted', n)
  rate(KEYS[4], 'in', n)
end
local dropped = tonumber(ARGV[n + 3])
count(KEYS[3], 'rejected', dropped)
count(KEYS[3], 'dropped', dropped)
letters(KEYS[5], KEYS[3], ARGV, n + 5, tonumber(ARGV[n + 4]))
return n
