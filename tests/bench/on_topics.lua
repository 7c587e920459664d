-- A publish hook that is about other topics than those that are measured.
local luamq = require "luamq"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local broker = assert(loadfile(here .. "broker.lua"))(...)

broker.hooks = {
  publish = luamq.on_topics({ "cmd/#", "+/config/#" }, function(client)
    return client.username == "admin"
  end),
}

return broker
