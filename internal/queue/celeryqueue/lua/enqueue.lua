-- Publishes tasks, and adds dead letters of rejected events.
-- KEYS: the list, the set of its queue's bindings
-- ARGV: binding's member, then for each request the id of its batch, number of tasks,
--       tasks, number of dead letters to drop, number of dead letters, dead letters
-- A batch that was published before, by a request whose reply was lost, is not published
-- again.
redis.call('SADD', list(2), ARGV[1])
local i, known = 2, 4096
while i <= #ARGV do
  local id, n = ARGV[i], tonumber(ARGV[i + 1])
  local dropped, kept = tonumber(ARGV[i + 2 + n]), tonumber(ARGV[i + 3 + n])
  if n == 0 or redis.call('ZADD', batches, 'NX', string.format('%.6f', seconds()), id) == 1 then
    local tasks = {}
    for k = 1, n do tasks[k] = ARGV[i + 1 + k] end
    if n > 0 then many('LPUSH', list(1), tasks) end
    count(counts, 'accepted', n)
    rate(rates, 'in', n)
    count(counts, 'rejected', dropped)
    count(counts, 'dropped', dropped)
    letters(i + 4 + n, kept)
  end
  i = i + 4 + n + kept * 7
end
redis.call('ZREMRANGEBYRANK', batches, 0, -known - 1)
return 1
