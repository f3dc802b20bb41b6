-- Writes results and wakes who waits for them. One that succeeded stays so.
-- KEYS: results' keys
-- ARGV: seconds until they expire (0: never), results in the order of KEYS
local old = redis.call('MGET', unpack(KEYS))
for i, key in ipairs(KEYS) do
  if not (old[i] and string.find(old[i], '"status": "SUCCESS"', 1, true)) then
    if ARGV[1] == '0' then
      redis.call('SET', key, ARGV[i + 1])
    else
      redis.call('SETEX', key, ARGV[1], ARGV[i + 1])
    end
    redis.call('PUBLISH', key, ARGV[i + 1])
  end
end
return #KEYS
