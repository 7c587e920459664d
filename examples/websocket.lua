#!/usr/bin/env luamq
-- A dashboard in web pages, and the devices that it shows. Pages come by WebSocket through a web server on
-- this machine, which has the certificate and tells who they are; devices come over TCP. Pages of the
-- dashboard's own site may connect, no other ones, and pages only read.
--
-- nginx:
--   location /mqtt {
--     proxy_pass http://127.0.0.1:8080;
--     proxy_http_version 1.1;
--     proxy_set_header Upgrade $http_upgrade;
--     proxy_set_header Connection upgrade;
--     proxy_set_header Host $host;
--     proxy_set_header X-Forwarded-For $remote_addr;
--     proxy_read_timeout 1h;
--   }
local web, devices = ...

local hooks = {}

function hooks.authenticate(client, username, password)
  if client.transport == "ws" then return username == nil end
  return username == "device" and password == "secret"
end

function hooks.publish(client) return client.transport ~= "ws" end

function hooks.subscribe(_, subscription) return math.min(subscription.qos, 1) end

return {
  listeners = {
    {
      web or "ws://127.0.0.1:8080/mqtt",
      origins = { "https://dashboard.example.org" },
      trusted_proxies = { "127.0.0.1", "::1" },
      fallback = { status = 404, body = "nothing here\n" },
    },
    devices or "tcp://127.0.0.1:1883",
  },
  hooks = hooks,
}
