-- Lists waiting messages, oldest first. KEYS: stream, lost    ARGV: most, most bytes
-- Returns id, deliveries, losses, fields of each.
local leased, again, lost = {}, {}, some(KEYS[2])
for _, c in ipairs(redis.call('XPENDING', KEYS[1], GROUP)[4] or {}) do
  for _, p in ipairs(pending(KEYS[1], c[1], tonumber(c[2]))) do
    if c[1] == WAITING then again[p[1]] = p[4] else leased[p[1]] = true end
  end
end
local out, from, size, most = {}, '-', 0, tonumber(ARGV[1])
while #out < 4 * most and size < tonumber(ARGV[2]) do
  local page = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 16)
  if #page == 0 then break end
  for _, e in ipairs(page) do
    from = '(' .. e[1]
    if not leased[e[1]] and #out < 4 * most then
      for _, v in ipairs({ e[1], again[e[1]] or 0, lost and lost_times(lost, e[1]) or 0, e[2] }) do out[#out + 1] = v end
      size = size + #e[2][6]
    end
  end
end
return out
