-- The broker that scripts/bench measures: luamq broker.lua [port]
-- The limits are as wide as those it gives to mosquitto: what is left outstanding fits into both.
local port = ... or "0"

return {
  listeners = { "tcp://127.0.0.1:" .. port },
  backend = { session_queue_size = 200000, inflight_messages = 2000, parallel_publishes = 2000 },
  limits = { connect_rate = 0, connect_rate_per_address = 0 }, -- it is the broker that is measured
  log = { level = "error" },
}
