-- Ten rules that are asked for each delivery as well.
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local broker = assert(loadfile(here .. "acl.lua"))(...)

local last = broker.acl[#broker.acl]
last.allow = { "publish", "subscribe", "deliver" }

return broker
