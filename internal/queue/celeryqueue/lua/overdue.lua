-- Lists the tasks to return to their lists: those whose leases have expired, those that
-- are due, and those that others hold past the visibility timeout.
-- ARGV: most of each, visibility timeout in seconds
-- Returns for each its tag, the reason (lost, due or unseen) and its unacked entry.
local now, out = seconds(), {}
local function add(why, tags)
  for _, tag in ipairs(tags) do
    out[#out + 1] = tag
    out[#out + 1] = why
    out[#out + 1] = redis.call('HGET', unacked, tag) or ''
  end
end
local function upto(key, most)
  return redis.call('ZRANGEBYSCORE', key, '-inf', string.format('%.6f', most), 'LIMIT', 0, ARGV[1])
end
add('lost', upto(leases, now))
add('due', upto(parked, now))
add('unseen', upto(unacked_index, now - tonumber(ARGV[2])))
return out
