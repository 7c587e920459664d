-- Ten rules behind 9,990 others.
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local broker = assert(loadfile(here .. "acl.lua"))(...)

local acl = {}
for i = 1, 9990 do
  local topic = ("site/%d/%s/#"):format(i, i % 2 == 0 and "%u" or "+")
  acl[i] = { allow = { "publish", "subscribe" }, user = i % 3 == 0 and "user-" .. i or nil, topic = topic }
end
broker.acl = table.move(broker.acl, 1, #broker.acl, #acl + 1, acl)

return broker
