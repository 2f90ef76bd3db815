#!lua flags=allow-oom
--[[ The database says: these reservations of one campaign do not hold their units (refused, or ended).
Gives back what the record held, never what the caller says; without a record a tombstone is left.
KEYS   1 shard (hash)  2 campaign (hash)  3 users (hash)  4 outbox (stream)
ARGV   1 outbox entry to delete when all is applied, or ''  2 the entry's epoch
       then five a reservation: reservation (16 bytes), user id, units, move, reason code
RETURN one integer a reservation: scripts.MoveCode ]]
local OK, OLD, PAUSED = 1, 2, 5
local RESERVED, CONFIRMED, RELEASED = 1, 2, 3
local RECORD, REOPEN_MS = 24, 2000 -- twice the second for which a process may say "sold out" from memory

local shard_key, campaign_key, users_key, outbox_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local entry, epoch = ARGV[1], ARGV[2]
local n = (#ARGV - 2) / 5
local codes = {}
local c = redis.call('HMGET', campaign_key,
  'epoch', 'phase', 'left', 'reserved', 'confirmed', 'allotment', 'reopen_ms', 'clock_ms')
if not c[1] then
  for i = 1, n do codes[i] = PAUSED end
  return codes
end
local phase, left, reserved, confirmed = c[2], tonumber(c[3]), tonumber(c[4]), tonumber(c[5])
local allotment, reopen, clock = tonumber(c[6]), tonumber(c[7]), tonumber(c[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now < clock then now = clock end
local decided, was_empty = 0, left == 0
redis.call('HGET', shard_key, 'open')
redis.call('XLEN', outbox_key)

local users, records, changed = {}, {}, {}
for i = 1, n do users[i] = ARGV[i * 5 - 1] end
if n > 0 then
  local held = redis.call('HMGET', users_key, unpack(users))
  for i = 1, n do records[users[i]] = held[i] or '' end
end

local function apply(user, id, units, move, reason)
  local packed, at = records[user], nil
  for p = 1, #packed, RECORD do
    if string.sub(packed, p, p + 15) == id then at = p end
  end
  local tail = string.char(RELEASED, move) .. struct.pack('>I4', reason)
  if not at then
    changed[user] = true
    records[user] = packed .. id .. struct.pack('>I2', units) .. tail
    return OK
  end
  if move <= string.byte(packed, at + 19) then return OLD end
  local held_units = string.byte(packed, at + 16) * 256 + string.byte(packed, at + 17)
  local state = string.byte(packed, at + 18)
  if state == RESERVED then
    reserved, decided = reserved - held_units, decided + held_units
  elseif state == CONFIRMED then
    confirmed = confirmed - held_units
  end
  if state ~= RELEASED then
    if phase == 'closed' then allotment = allotment - held_units else left = left + held_units end
  end
  changed[user] = true
  records[user] = string.sub(packed, 1, at + 17) .. tail .. string.sub(packed, at + RECORD)
  return OK
end

for i = 1, n do
  local at = i * 5
  codes[i] = apply(users[i], ARGV[at - 2], tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]))
end

local writes = {}
for user in pairs(changed) do
  writes[#writes + 1] = user
  writes[#writes + 1] = records[user]
end
if #writes > 0 then
  if was_empty and left > 0 then reopen = now + REOPEN_MS end
  redis.call('HSET', users_key, unpack(writes))
  redis.call('HSET', campaign_key, 'left', left, 'reserved', reserved, 'confirmed', confirmed,
    'allotment', allotment, 'reopen_ms', reopen, 'clock_ms', now)
  if decided > 0 then redis.call('HINCRBY', shard_key, 'open', -decided) end
end
if entry ~= '' and epoch == c[1] then redis.call('XDEL', outbox_key, entry) end
return codes
