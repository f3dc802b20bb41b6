-- Requeues or deletes dead letters, or removes those that another queue has.
-- KEYS: stream, counters, rates, dead letters
-- ARGV: requeue, purge or moved, then either most and an ID that all must be below, or 0
--   and their IDs
-- Returns how many were requeued or purged, and the lowest ID seen (0: none left).
local most, letters = tonumber(ARGV[2]), {}
if most > 0 then
  letters = redis.call('XREVRANGE', KEYS[4], '(' .. ARGV[3] .. '-0', '-', 'COUNT', most)
else
  for i = 3, #ARGV do
    letters[#letters + 1] = redis.call('XRANGE', KEYS[4], ARGV[i] .. '-0', ARGV[i] .. '-0')[1]
  end
end
local did, lowest = 0, '0'
for _, e in ipairs(letters) do
  local f = e[2] -- k kind c cause a agent e event n events t time d payload
  local kind, events, payload = f[2], tonumber(f[10]), f[14]
  lowest = string.match(e[1], '^%d+')
  if ARGV[1] ~= 'requeue' or #payload > 0 then
    remove_dead_letter(KEYS[4], KEYS[2], e)
    did = did + 1
    if ARGV[1] == 'purge' then
      count(KEYS[2], 'purged', events)
    elseif ARGV[1] == 'moved' then
      count(KEYS[2], kind, -events)
      if kind == 'failed' then count(KEYS[2], 'accepted', -events) end
    else
      add_message(KEYS[1], KEYS[2], 'letter-' .. lowest, f[6], events, payload)
      rate(KEYS[3], 'in', events)
      count(KEYS[2], 'accepted', events)
    end
  end
end
return { did, lowest }
