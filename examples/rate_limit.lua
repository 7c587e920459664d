-- A rate limit of publishes with the `packet` hook: a token bucket for each client, refilled every second.
-- Who sends more than a burst is closed.
local luamq = require "luamq"

local RATE, BURST = 50, 100 -- publishes a second, publishes at once

local hooks = {}

function hooks.authenticate(client)
  client.ref = { tokens = BURST }
  return true
end

function hooks.packet(client, packet)
  if packet.type ~= "publish" then return true end
  local bucket = client.ref
  if bucket.tokens == 0 then return false, "message_rate_too_high" end
  bucket.tokens = bucket.tokens - 1
  return true
end

function hooks.start()
  luamq.every(1, function()
    for _, client in ipairs(luamq.clients()) do
      local bucket = client.ref
      if bucket then bucket.tokens = math.min(BURST, bucket.tokens + RATE) end
    end
  end)
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
