-- Publishes tasks, and adds dead letters of rejected events.
-- KEYS: list, binding, counters, rates, dead letters, batches
-- ARGV: binding's member, then for each request the id of its batch, number of tasks,
--       tasks, number of dead letters to drop, number of dead letters, dead letters
-- A batch that was published before, by a request whose reply was lost, is not published
-- again.
redis.call('SADD', KEYS[2], ARGV[1])
local i, known = 2, 4096
while i <= #ARGV do
  local id, n = ARGV[i], tonumber(ARGV[i + 1])
  local dropped, kept = tonumber(ARGV[i + 2 + n]), tonumber(ARGV[i + 3 + n])
  if n == 0 or redis.call('ZADD', KEYS[6], 'NX', string.format('%.6f', seconds()), id) == 1 then
    local tasks = {}
    for k = 1, n do tasks[k] = ARGV[i + 1 + k] end
    if n > 0 then many('LPUSH', KEYS[1], tasks) end
    count(KEYS[3], 'accepted', n)
    rate(KEYS[4], 'in', n)
    count(KEYS[3], 'rejected', dropped)
    count(KEYS[3], 'dropped', dropped)
    letters(KEYS[5], KEYS[3], ARGV, i + 4 + n, kept)
  end
  i = i + 4 + n + kept * 7
end
redis.call('ZREMRANGEBYRANK', KEYS[6], 0, -known - 1)
return 1
