-- Adds messages, each with the letters of what intake rejected beside it.
-- KEYS: stream, counters, rates, dead letters
-- ARGV: shard, most bytes of rejected letters, then for each request:
--   batch, agent, events, payload, number of letters, and each letter's 6
local shard, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local at, accepted = 3, 0
while at <= #ARGV do
  local events = tonumber(ARGV[at + 2])
  if events > 0 then
    put(KEYS[1], KEYS[2], ARGV[at], ARGV[at + 1], events, ARGV[at + 3])
    accepted = accepted + events
  end
  local letters = tonumber(ARGV[at + 4])
  at = at + 5
  for _ = 1, letters do
    local l = { 'rejected', ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5] }
    at = at + 6
    count(KEYS[2], 'rejected', tonumber(l[5]))
    if num(KEYS[2], 'rbytes') + #l[2] + #l[3] + #l[4] + #l[7] > most then
      count(KEYS[2], 'dropped', tonumber(l[5]))
    else
      letter(KEYS[4], KEYS[2], shard, l)
    end
  end
end
count(KEYS[2], 'accepted', accepted)
rate(KEYS[3], 'in', accepted)
return accepted
