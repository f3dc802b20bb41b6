-- Reads a snapshot of a shard.
-- KEYS: stream, counters, rates, dead letters
-- Returns messages, leased, leased events, letters, ms of the oldest (0: none), now, counters, rates.
local leased, events = 0, 0
for _, c in ipairs(redis.call('XPENDING', KEYS[1], GROUP)[4] or {}) do
  if c[1] ~= WAITING then
    for _, p in ipairs(pending(KEYS[1], c[1], tonumber(c[2]))) do
      leased, events = leased + 1, events + events_of(p[1])
    end
  end
end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
oldest = oldest and tonumber(string.match(oldest[1], '^%d+')) or 0
return { redis.call('XLEN', KEYS[1]), leased, events, redis.call('XLEN', KEYS[4]), oldest, millis(),
  redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3]) }
