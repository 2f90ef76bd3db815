#!lua
--[[ Write a campaign's hash before it is opened for the first time: a compare-and-set against "never opened".
KEYS   1 campaign (hash)
ARGV   field, value pairs of the whole hash; the phase is paused and op 0 until the campaign is opened
RETURN 1 written, 0 the campaign has been opened before and nothing changed ]]
local campaign_key = KEYS[1]
local c = redis.call('HMGET', campaign_key, 'op', 'admitted')
if c[1] and (tonumber(c[1]) > 0 or tonumber(c[2]) > 0) then return 0 end
redis.call('DEL', campaign_key)
redis.call('HSET', campaign_key, unpack(ARGV))
return 1
