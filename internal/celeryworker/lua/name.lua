-- Claims the name of a node that has stopped renewing it.
-- KEYS: the name's key
-- ARGV: its holder, ms left if it was not renewed, the new holder, ms of its expiry
-- Returns 1 if it was claimed.
local holder = redis.call('GET', KEYS[1])
if holder and (holder ~= ARGV[1] or redis.call('PTTL', KEYS[1]) > tonumber(ARGV[2])) then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
