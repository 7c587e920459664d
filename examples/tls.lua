#!/usr/bin/env luamq
-- Devices that are known by their certificates: no passwords, and a device may only come with the client id that
-- its certificate names, and only write below devices/ID/. Whoever has no certificate of the authority ends in
-- the handshake.
--
--   luamq examples/tls.lua /etc/luamq          # the directory of the files
--   mosquitto_pub -p 8883 --cafile ca.pem --cert meter-7.pem --key meter-7.key -i meter-7 -t devices/meter-7/kwh -m 5
--
-- An authority, and what it signs, with openssl alone; the same again for `server` with
-- -addext subjectAltName=DNS:broker.example.org:
--
--   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj '/CN=devices' \
--     -keyout ca.key -out ca.pem
--   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj '/CN=meter-7' \
--     -CA ca.pem -CAkey ca.key -keyout meter-7.key -out meter-7.pem
local luamq = require "luamq"

local directory, address = ...
directory = directory or "/etc/luamq"

local hooks = {}

function hooks.authenticate(client)
  local name = client.certificate.common_name
  if not name or client.id ~= name then return false, "client_identifier_not_valid" end
  client.ref = { device = name, until_time = client.certificate.not_after }
  return true
end

-- A certificate is checked when the connection opens. One that expires later ends it with its next message.
function hooks.publish(client, message)
  if os.time() > client.ref.until_time then
    client:close("not_authorized")
    return false, "not_authorized"
  end
  return luamq.match("devices/" .. client.ref.device .. "/#", message.topic)
end

function hooks.subscribe(client, subscription)
  return luamq.match("devices/" .. client.ref.device .. "/#", subscription.topic)
end

return {
  listeners = {
    {
      address or "tls://[::]:8883",
      certificate = directory .. "/server.pem",
      key = directory .. "/server.key",
      ca = directory .. "/ca.pem", -- so clients need a certificate
      watch = true,                -- renewed files are loaded without a restart
    },
  },
  hooks = hooks,
}
