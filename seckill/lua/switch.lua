#!lua flags=allow-oom
--[[ Apply a numbered operation of staff that changes a campaign's phase; each number once.
KEYS   1 campaign (hash)
ARGV   1 operation number  2 phase: open, paused or closing
RETURN scripts.SwitchCode: 1 applied, 2 old (that number or a later one was applied), 5 the hash is missing ]]
local campaign_key = KEYS[1]
local number, phase = tonumber(ARGV[1]), ARGV[2]
local c = redis.call('HMGET', campaign_key, 'op', 'phase')
if not c[1] then return 5 end
if number <= tonumber(c[1]) then return 2 end
redis.call('HSET', campaign_key, 'op', number, 'phase', phase)
return 1
