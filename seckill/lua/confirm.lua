#!lua flags=allow-oom
--[[ The database says: these reservations of one campaign hold their units (their row is pending or paid).
KEYS   1 shard (hash)  2 campaign (hash)  3 users (hash)  4 outbox (stream)
ARGV   1 outbox entry to delete when all is applied, or ''  2 the entry's epoch
       then four a reservation: reservation (16 bytes), user id, move, pay-by (epoch seconds)
RETURN one integer a reservation: scripts.MoveCode
       reserved -> confirmed; released -> confirmed is a late payment and needs free units and quota. ]]
local OK, OLD, UNKNOWN, SOLD_OUT, PAUSED = 1, 2, 3, 4, 5
local RESERVED, CONFIRMED, RELEASED = 1, 2, 3
local RECORD = 24

local shard_key, campaign_key, users_key, outbox_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local entry, epoch = ARGV[1], ARGV[2]
local n = (#ARGV - 2) / 4
local codes = {}
local c = redis.call('HMGET', campaign_key, 'epoch', 'phase', 'left', 'reserved', 'confirmed', 'limit')
if not c[1] then
  for i = 1, n do codes[i] = PAUSED end
  return codes
end
local phase, left, reserved, confirmed = c[2], tonumber(c[3]), tonumber(c[4]), tonumber(c[5])
local limit, decided = tonumber(c[6]), 0
redis.call('HGET', shard_key, 'open')
redis.call('XLEN', outbox_key)

local users, records, changed = {}, {}, {}
for i = 1, n do users[i] = ARGV[i * 4] end
if n > 0 then
  local held = redis.call('HMGET', users_key, unpack(users))
  for i = 1, n do records[users[i]] = held[i] or '' end
end

local function apply(user, id, move, pay_by)
  local packed, quota, at = records[user], 0, nil
  for p = 1, #packed, RECORD do
    if string.sub(packed, p, p + 15) == id then at = p
    elseif string.byte(packed, p + 18) ~= RELEASED then
      quota = quota + string.byte(packed, p + 16) * 256 + string.byte(packed, p + 17)
    end
  end
  if not at then return UNKNOWN end
  local units = string.byte(packed, at + 16) * 256 + string.byte(packed, at + 17)
  local state = string.byte(packed, at + 18)
  if move <= string.byte(packed, at + 19) then return OLD end
  if state == RESERVED then
    reserved, confirmed, decided = reserved - units, confirmed + units, decided + units
  elseif state == RELEASED then
    if move == 1 then return OLD end
    if left < units or quota + units > limit or phase ~= 'open' then return SOLD_OUT end
    left, confirmed = left - units, confirmed + units
  end
  records[user] = string.sub(packed, 1, at + 17) .. string.char(CONFIRMED, move)
    .. struct.pack('>I4', pay_by) .. string.sub(packed, at + RECORD)
  changed[user] = true
  return OK
end

local settled = true
for i = 1, n do
  codes[i] = apply(users[i], ARGV[i * 4 - 1], tonumber(ARGV[i * 4 + 1]), tonumber(ARGV[i * 4 + 2]))
  if codes[i] == UNKNOWN then settled = false end
end

local writes = {}
for user in pairs(changed) do
  writes[#writes + 1] = user
  writes[#writes + 1] = records[user]
end
if #writes > 0 then
  redis.call('HSET', users_key, unpack(writes))
  redis.call('HSET', campaign_key, 'left', left, 'reserved', reserved, 'confirmed', confirmed)
  if decided > 0 then redis.call('HINCRBY', shard_key, 'open', -decided) end
end
if entry ~= '' and settled and epoch == c[1] then redis.call('XDEL', outbox_key, entry) end
return codes
