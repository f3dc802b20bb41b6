-- ARGV: an id, how many letters and bytes below it, the size of
-- the largest payload.
return list_dead_letters(dead, ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))
