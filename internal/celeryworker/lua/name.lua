-- Takes a node's name from one that does not renew it.
-- KEYS: the name's key
-- ARGV: who had it, ms that it has left if it was not renewed, who takes it, ms
-- Returns 1 if it was taken.
local holder = redis.call('GET', KEYS[1])
if holder and (holder ~= ARGV[1] or redis.call('PTTL', KEYS[1]) > tonumber(ARGV[2])) then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
