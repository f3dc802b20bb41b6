-- Functions for the scripts of all queues on Redis, prepended to each script.

-- millis returns the server's time in milliseconds since 1970.
local function millis()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- whole formats a number without exponent or decimals.
local function whole(n) return string.format('%.0f', n) end

local function num(key, field) return tonumber(redis.call('HGET', key, field) or 0) end

local function count(key, field, by)
  if by ~= 0 then redis.call('HINCRBY', key, field, whole(by)) end
end

-- rate adds n events to the current slot of a ring of 13 slots of 5 seconds.
local function rate(key, dir, n)
  if n == 0 then return end
  local slot = math.floor(millis() / 5000)
  local k = slot % 13
  if num(key, 's' .. k) ~= slot then
    redis.call('HSET', key, 's' .. k, slot, 'in' .. k, 0, 'out' .. k, 0)
  end
  redis.call('HINCRBY', key, dir .. k, whole(n))
  redis.call('EXPIRE', key, 90)
end

-- add_dead_letter adds a dead letter with the given id. Its fields (reason,
-- cause, agent, event, events, µs, payload) begin at argv[i]. It counts the
-- bytes held, those of rejected events also separately.
local function add_dead_letter(dead, cnt, id, argv, i)
  redis.call('XADD', dead, whole(id) .. '-0', 'k', argv[i], 'c', argv[i + 1], 'a', argv[i + 2], 'e', argv[i + 3],
    'n', argv[i + 4], 't', argv[i + 5], 'd', argv[i + 6])
  local size = #argv[i + 1] + #argv[i + 2] + #argv[i + 3] + #argv[i + 6]
  count(cnt, 'bytes', size)
  if argv[i] == 'rejected' then count(cnt, 'rbytes', size) end
end

-- list_dead_letters returns up to n dead letters with ids below an id, newest first,
-- as many as take up to max_bytes (DeadLetter.EstimateListedBytes), but at least one,
-- without payloads of more than max_payload bytes. Before them it returns 1 if there are more, else 0.
local function list_dead_letters(dead, below, n, max_bytes, max_payload)
  local out, bytes, from = {0}, 0, '(' .. below .. '-0'
  while true do
    local e = redis.call('XREVRANGE', dead, from, '-', 'COUNT', 1)[1]
    if not e then return out end
    local f = e[2]
    if #f[14] > max_payload then f[14] = '' end
    bytes = bytes + 128 + 6 * (#f[4] + #f[6] + #f[8]) + #f[14]
    if #out > n or #out > 1 and bytes > max_bytes then
      out[1] = 1
      return out
    end
    out[#out + 1] = e
    from = '(' .. e[1]
  end
end

-- remove_dead_letter removes the dead letter of stream entry e.
local function remove_dead_letter(dead, cnt, e)
  local f = e[2]
  redis.call('XDEL', dead, e[1])
  local size = #f[4] + #f[6] + #f[8] + #f[14]
  count(cnt, 'bytes', -size)
  if f[2] == 'rejected' then count(cnt, 'rbytes', -size) end
end
