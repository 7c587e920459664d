-- Who may do what, as rules that never enter Lua: luamq examples/acl.lua
--
--   admin       everything
--   a sensor    publishes to s/<its client id>, and listens to its commands
--   a user      has what is below u/<user name> to himself, and reads what sensors tell
--   guest       reads the news, without what is internal there
local passwords = { admin = "admin", sensor = "sensor", ann = "ann", bob = "bob", guest = "guest" }

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  credentials = passwords,
  acl = {
    { allow = "all", user = "admin" },

    -- A filter is denied that covers any of it: nobody gets at the secrets by "s/#" either.
    { deny = "all", topic = "s/+/secret/#" },

    { allow = "publish", user = "sensor", topic = "s/%c", qos = 1 },
    { allow = "subscribe", user = "sensor", topic = "s/%c/command" },
    { deny = "all", user = "sensor" }, -- what follows is for people

    -- Guests may subscribe to all news, and are not delivered what is internal.
    { allow = "subscribe", topic = "news/#" },
    { deny = "deliver", user = "guest", topic = "news/internal/#" },
    { deny = { "publish", "subscribe" }, user = "guest" },

    { allow = { "publish", "subscribe" }, topic = "u/%u/#" },
    { allow = "subscribe", topic = "s/+", qos = 0 },

    -- Rules that name "deliver" are asked for each delivery: the others are fine.
    { allow = "deliver" },
  },
}
