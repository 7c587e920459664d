-- The same broker with a publish hook that lets pass what is below one prefix: scripts/bench measures what
-- it adds.
local luamq = require "luamq"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local broker = assert(loadfile(here .. "broker.lua"))(...)

broker.hooks = {
  publish = function(_, message)
    return luamq.match("pairs/#", message.topic)
  end,
}

return broker
