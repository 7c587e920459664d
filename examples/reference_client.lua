-- The client of the reference run: connects, subscribes to `test`, publishes `test` to it, receives it,
-- disconnects.
--
--   lua5.4 examples/reference_client.lua [host [port]]
local client = require "luamq.client"

local c = assert(client.connect {
  host = arg[1] or "127.0.0.1", port = tonumber(arg[2] or 1883),
  id = "", keep_alive = 30, clean = true,
})
assert(c:subscribe("test", 0))
assert(c:publish("test", "test", 0))
local message = assert(c:receive(5))
assert(message.topic == "test" and message.payload == "test")
c:disconnect()
