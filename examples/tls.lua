#!/usr/bin/env luamq
-- Devices that are known by their certificates: no passwords, and a device may only come with the client id
-- that its certificate names, and only read and write below devices/ID/. Whoever has no certificate of the
-- authority ends in the handshake.
--
--   luamq examples/tls.lua /etc/luamq          # the directory of the files
--   mosquitto_pub -p 8883 --cafile ca.pem --cert meter-7.pem --key meter-7.key \
--     -i meter-7 -t devices/meter-7/kwh -m 5
--
-- An authority and what it signs, with openssl alone. The broker's own files, server.pem and server.key, are
-- made as those of a device are, with -addext subjectAltName=DNS:broker.example.org in the first command and
-- -copy_extensions copy in the second:
--
--   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=devices \
--     -keyout ca.key -out ca.pem
--   openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=meter-7 \
--     -keyout meter-7.key -out meter-7.request
--   openssl x509 -req -in meter-7.request -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -out meter-7.pem
local luamq = require "luamq"

local directory, address = ...
directory = directory or "/etc/luamq"

local hooks = {}

function hooks.authenticate(client)
  local name = client.certificate.common_name
  if not name or client.id ~= name then return false, "client_identifier_not_valid" end
  client.ref = { device = name, expires = client.certificate.not_after }
  return true
end

-- A certificate is checked when the connection opens. One that expires later ends it with its next message.
function hooks.publish(client, message)
  if os.time() > client.ref.expires then
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
