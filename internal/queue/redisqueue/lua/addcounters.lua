-- Adds to counters. KEYS: counters    ARGV: name and number of each
for at = 1, #ARGV, 2 do count(KEYS[1], ARGV[at], tonumber(ARGV[at + 1])) end
return 1
