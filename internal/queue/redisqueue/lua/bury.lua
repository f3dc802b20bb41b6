-- Replaces a message by dead letters, if the caller still holds its lease.
-- KEYS: stream, counters, rates, due, dead letters, lost
-- ARGV: shard, consumer, id, deliveries, payload bytes, then 7 for each dead letter
local id = ARGV[3]
local who, times = holder(KEYS[1], id)
if who ~= ARGV[2] or times ~= tonumber(ARGV[4]) then return 0 end
rate(KEYS[3], 'out', remove_message(KEYS[1], KEYS[2], KEYS[4], some(KEYS[6]), id, tonumber(ARGV[5])))
for at = 6, #ARGV, 7 do
  local l = { unpack(ARGV, at, at + 6) }
  count(KEYS[2], 'failed', tonumber(l[5]))
  bury(KEYS[5], KEYS[2], tonumber(ARGV[1]), l)
end
return 1
