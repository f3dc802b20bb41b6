-- Adds messages and the dead letters of the events rejected with them. A batch
-- that is known is a duplicate and changes nothing. The IDs of 4,096 batches are
-- kept: first those that are not confirmed, then those confirmed last.
-- KEYS: stream, counters, rates, dead letters, batches
-- ARGV: shard, most bytes of rejected dead letters, number of batches confirmed,
--   their IDs, then for each request:
--   batch, agent, events, payload, number of dead letters, and 7 for each
local UNCONFIRMED = 4503599627370496 -- 2^52, added to the scores of unconfirmed batches
local shard, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local at, accepted = 4 + tonumber(ARGV[3]), 0
if at > 4 then
  local score = num(KEYS[2], 'batches')
  for i = 4, at - 1 do redis.call('ZADD', KEYS[5], 'XX', score, ARGV[i]) end
end
while at <= #ARGV do
  local batch, events, letters = ARGV[at], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 4])
  local known = events > 0 and redis.call('ZSCORE', KEYS[5], batch)
  if events > 0 and not known then
    add_message(KEYS[1], KEYS[2], batch, ARGV[at + 1], events, ARGV[at + 3])
    redis.call('ZADD', KEYS[5], whole(UNCONFIRMED + redis.call('HINCRBY', KEYS[2], 'batches', 1)), batch)
    accepted = accepted + events
  end
  at = at + 5
  local last = at + 7 * letters
  if known then at = last end
  while at < last do
    local l = { unpack(ARGV, at, at + 6) }
    at = at + 7
    count(KEYS[2], 'rejected', tonumber(l[5]))
    if num(KEYS[2], 'rbytes') + #l[2] + #l[3] + #l[4] + #l[7] > most then
      count(KEYS[2], 'dropped', tonumber(l[5]))
    else
      bury(KEYS[4], KEYS[2], shard, l)
    end
  end
end
redis.call('ZREMRANGEBYRANK', KEYS[5], 0, -4097)
count(KEYS[2], 'accepted', accepted)
rate(KEYS[3], 'in', accepted)
return accepted
