-- Renews the leases of a consumer. Returns the IDs whose leases it has lost.
-- KEYS: stream    ARGV: consumer, then ids
local lost = {}
for i = 2, #ARGV do
  if holder(KEYS[1], ARGV[i]) == ARGV[1] then
    redis.call('XCLAIM', KEYS[1], GROUP, ARGV[1], 0, ARGV[i], 'JUSTID')
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
