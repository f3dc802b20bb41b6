-- Removes dead letters, to requeue or purge them, or because another queue has them.
-- KEYS: lists
-- ARGV: requeue, purge or moved, then for each its id, how many events that accepts, the number
--       of a list, the number of tasks to publish there, and the tasks
-- Returns how many were removed.
local did, i = 0, 2
while i <= #ARGV do
  local id, accepted = ARGV[i] .. '-0', tonumber(ARGV[i + 1])
  local key, tasks = list(tonumber(ARGV[i + 2])), tonumber(ARGV[i + 3])
  local e = redis.call('XRANGE', dead, id, id)[1]
  if e then
    local f = e[2] -- k kind c cause a agent e event n events t time d payload
    local kind, events = f[2], tonumber(f[10])
    remove_dead_letter(dead, counts, e)
    did = did + 1
    if ARGV[1] == 'purge' then
      count(counts, 'purged', events)
    elseif ARGV[1] == 'moved' then
      count(counts, kind, -events)
      if kind == 'failed' then count(counts, 'accepted', -events) end
    else
      for k = 1, tasks do redis.call('LPUSH', key, ARGV[i + 3 + k]) end
      rate(rates, 'in', events)
      count(counts, 'accepted', accepted)
    end
  end
  i = i + 4 + tasks
end
return did
