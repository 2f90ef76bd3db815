#!lua flags=allow-oom
--[[ Finish a close whose units the database has handed to ordinary stock: nothing is left to reserve.
KEYS   1 campaign (hash)
RETURN scripts.SwitchCode: 1 applied, 2 it was closed already, 5 the hash is missing ]]
local campaign_key = KEYS[1]
local c = redis.call('HMGET', campaign_key, 'phase', 'reserved', 'confirmed')
if not c[1] then return 5 end
if c[1] == 'closed' then return 2 end
redis.call('HSET', campaign_key, 'phase', 'closed', 'left', 0, 'allotment', tonumber(c[2]) + tonumber(c[3]))
return 1
