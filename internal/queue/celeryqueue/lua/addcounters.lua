-- Adds to counters. ARGV: name and number of each
for i = 1, #ARGV, 2 do count(counts, ARGV[i], tonumber(ARGV[i + 1])) end
return 1
