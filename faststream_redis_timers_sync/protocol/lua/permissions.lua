-- Returns which commands the user of this connection may run. It runs none of them.
--
-- KEYS  none: the keys of the commands need not be allowed
-- ARGV  per command: how many words it has, then the words
-- Reply a character per command: '1' allowed, '0' not

local answer = {}
local i = 1
while i <= #ARGV do
  local count = tonumber(ARGV[i])
  local asked, allowed = pcall(redis.acl_check_cmd, unpack(ARGV, i + 1, i + count))
  answer[#answer + 1] = asked and allowed and '1' or '0'
  i = i + 1 + count
end
return table.concat(answer)
