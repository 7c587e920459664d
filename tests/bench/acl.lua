-- The same broker with ten rules, of which the last one allows what is measured: scripts/bench measures what
-- a check adds.
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local broker = assert(loadfile(here .. "broker.lua"))(...)

broker.acl = {
  { allow = "all", user = "admin" },
  { deny = { "publish", "subscribe" }, topic = "secret/#" },
  { allow = "publish", topic = "c/%c" },
  { allow = { "publish", "subscribe" }, topic = "u/%u/#" },
  { allow = "publish", client = "sensor-*", topic = "sensors/%c/#" },
  { deny = "publish", topic = "+/config/#", retain = true },
  { allow = "subscribe", topic = { "news/#", "weather/+" } },
  { allow = "publish", topic = "room/+/light", qos = 1 },
  { deny = "publish", topic = "fixed" },
  { allow = { "publish", "subscribe" }, topic = { "pairs/#", "fanout/#" } },
}

return broker
