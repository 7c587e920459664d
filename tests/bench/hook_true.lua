-- The broker of broker.lua with a publish hook that answers true: what any hook costs.
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local broker = assert(loadfile(here .. "broker.lua"))(...)

broker.hooks = { publish = function() return true end }

return broker
