#!lua
--[[ Decide a whole batch of reservations of one campaign: replay first, then phase, window, back-pressure,
limit, stock. Takes the units, writes the users' records and one outbox entry, all or nothing.
KEYS   1 shard (hash)  2 campaign (hash)  3 users (hash: user id -> packed records)  4 outbox (stream)
ARGV   1 campaign id, then pairs, one a request:
       user id (decimal), member (26 bytes: reservation 16, user id 8, units 2, big-endian)
RETURN now_ms, left, admitted, then one integer a request: scripts.ReserveCode
       left and admitted are -1 when the campaign's hash is missing.
A record is 24 bytes: reservation 16, units 2, state 1, move 1, detail 4. ]]
local ACCEPTED, REPLAYED, KEY_REUSED, NOT_STARTED, ENDED = 1, 2, 3, 4, 5
local SOLD_OUT, LIMIT_REACHED, PAUSED, BUSY = 6, 7, 8, 9
local RESERVED, RELEASED = 1, 3
local RECORD, RECORDS_MAX = 24, 20

local shard_key, campaign_key, users_key, outbox_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local campaign_id = ARGV[1]
local n = (#ARGV - 1) / 2
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local c = redis.call('HMGET', campaign_key,
  'epoch', 'phase', 'starts_ms', 'ends_ms', 'limit', 'left', 'reserved', 'admitted', 'reopen_ms', 'clock_ms')
local reply = {}

if not c[1] then
  reply[1], reply[2], reply[3] = now, -1, -1
  for i = 1, n do reply[3 + i] = PAUSED end
  return reply
end

local epoch, phase, starts, ends, limit = c[1], c[2], tonumber(c[3]), tonumber(c[4]), tonumber(c[5])
local left, reserved, admitted = tonumber(c[6]), tonumber(c[7]), tonumber(c[8])
local reopen, clock = tonumber(c[9]), tonumber(c[10])
if now < clock then now = clock end -- the sale's clock never runs back

-- Read everything that will be written, so that a wrong type fails before the first write.
local load = redis.call('HMGET', shard_key, 'open', 'open_max')
local open, open_max = tonumber(load[1] or 0), tonumber(load[2] or 0)
redis.call('XLEN', outbox_key)
local users = {}
for i = 1, n do users[i] = ARGV[i * 2] end
local held = redis.call('HMGET', users_key, unpack(users))

local records, changed = {}, {}
for i = 1, n do records[users[i]] = held[i] or '' end

local function decide(user, member, units)
  local packed, sum = records[user], 0
  local id = string.sub(member, 1, 16)
  for at = 1, #packed, RECORD do
    local had = string.byte(packed, at + 16) * 256 + string.byte(packed, at + 17)
    if string.sub(packed, at, at + 15) == id then
      return had == units and REPLAYED or KEY_REUSED
    end
    if string.byte(packed, at + 18) ~= RELEASED then sum = sum + had end
  end
  if phase == 'paused' then return PAUSED end
  if phase ~= 'open' or now >= ends then return ENDED end
  if now < starts then return NOT_STARTED end
  if open >= open_max then return BUSY end
  if sum + units > limit or #packed >= RECORDS_MAX * RECORD then return LIMIT_REACHED end
  -- Units that came back to an empty campaign count from reopen_ms on: until then some process may still
  -- answer "sold out" from memory.
  if left < units or now < reopen then return SOLD_OUT end
  left, reserved, open, admitted = left - units, reserved + units, open + units, admitted + 1
  records[user] = packed .. id .. string.sub(member, 25, 26) .. string.char(RESERVED, 0, 0, 0, 0, 0)
  changed[user] = true
  return ACCEPTED
end

local entry, taken = {}, 0
for i = 1, n do
  local member = ARGV[i * 2 + 1]
  local units = string.byte(member, 25) * 256 + string.byte(member, 26)
  local code = decide(users[i], member, units)
  if code == ACCEPTED then
    entry[#entry + 1] = member
    taken = taken + units
  end
  reply[3 + i] = code
end

if taken > 0 then
  local writes = {}
  for user in pairs(changed) do
    writes[#writes + 1] = user
    writes[#writes + 1] = records[user]
  end
  redis.call('HSET', users_key, unpack(writes))
  redis.call('HSET', campaign_key, 'left', left, 'reserved', reserved, 'admitted', admitted, 'clock_ms', now)
  redis.call('HINCRBY', shard_key, 'open', taken)
  redis.call('XADD', outbox_key, '*', 'v', 1, 'campaign', campaign_id, 'epoch', epoch, 'packed', table.concat(entry))
elseif now >= ends and clock < ends then
  redis.call('HSET', campaign_key, 'clock_ms', now) -- once ended, ended
end
reply[1], reply[2], reply[3] = now, left, admitted
return reply
