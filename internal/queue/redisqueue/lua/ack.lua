-- Removes messages that are done with, whoever holds them by now.
-- KEYS: stream, counters, rates, due    ARGV: for each: id, payload bytes
local out = 0
for i = 1, #ARGV, 2 do
  out = out + remove(KEYS[1], KEYS[2], KEYS[4], ARGV[i], tonumber(ARGV[i + 1]))
end
rate(KEYS[3], 'out', out)
return out
