-- Removes messages that were processed, whichever consumer they are pending for.
-- KEYS: stream, counters, rates, due, lost    ARGV: for each: id, payload bytes
local out, lost = 0, some(KEYS[5])
for i = 1, #ARGV, 2 do
  out = out + remove_message(KEYS[1], KEYS[2], KEYS[4], lost, ARGV[i], tonumber(ARGV[i + 1]))
end
rate(KEYS[3], 'out', out)
return out
