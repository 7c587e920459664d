#!/usr/bin/env luamq
-- Small devices that have a secret each and no certificates: TLS with pre-shared keys. Who has come through
-- the handshake is who the identity says.
--
--   mosquitto_pub -p 8883 --psk-identity meter-7 --psk 1a2b3c4d5e6f708192a3b4c5d6e7f801 \
--     -t meters/meter-7 -m 5
local luamq = require "luamq"

-- Identity -> key, in hex. A real one comes from a file that only the broker's user may read.
local keys = {
  ["meter-7"] = "1a2b3c4d5e6f708192a3b4c5d6e7f801",
  ["meter-8"] = "00112233445566778899aabbccddeeff",
}

local hooks = {}

function hooks.psk(identity) return keys[identity] end

function hooks.publish(client, message)
  return luamq.match("meters/" .. client.psk_identity .. "/#", message.topic)
end

return {
  listeners = { (...) or "tls://[::]:8883" },
  hooks = hooks,
}
