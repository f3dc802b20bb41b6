-- Removes messages that another queue has, and no longer counts them.
-- KEYS: stream, counters, rates, due, lost    ARGV: for each: id, payload bytes
local moved, lost = 0, some(KEYS[5])
for i = 1, #ARGV, 2 do
  moved = moved + remove_message(KEYS[1], KEYS[2], KEYS[4], lost, ARGV[i], tonumber(ARGV[i + 1]))
end
count(KEYS[2], 'accepted', -moved)
return moved
