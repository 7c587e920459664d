-- The broker that scripts/bench measures: luamq broker.lua [port [transport [folder]]]
-- The limits are as wide as those it gives to mosquitto: what is left outstanding fits into both. The folder
-- has the certificate of the transport tls.
local port, transport, folder = ...

local listeners = {
  tcp = { "tcp://127.0.0.1:" .. (port or "0") },
  tls = {
    "tls://127.0.0.1:" .. (port or "0"),
    certificate = (folder or ".") .. "/server.pem", key = (folder or ".") .. "/server.key",
  },
  ws = { "ws://127.0.0.1:" .. (port or "0") .. "/mqtt" },
}

return {
  listeners = { listeners[transport or "tcp"] },
  backend = { session_queue_size = 200000, inflight_messages = 2000, parallel_publishes = 2000 },
  limits = { connect_rate = 0, connect_rate_per_address = 0 }, -- it is the broker that is measured
  log = { level = "error" },
}
