-- A policy as a module of its own: plain functions over plain data, so that a spec can call them without a
-- broker.
local luamq = require "luamq"

local policy = {}

--- Devices write below their own id; staff reads everything and writes commands.
function policy.publish(client, message)
  if client.ref.role == "device" then
    if luamq.match("devices/" .. client.id .. "/#", message.topic) then return true end
  elseif luamq.match("devices/+/cmd/#", message.topic) then
    return true
  end
  return false, "not_authorized"
end

function policy.subscribe(client, subscription)
  if client.ref.role == "staff" then return true end
  if luamq.match("devices/" .. client.id .. "/cmd/#", subscription.topic) then return true end
  return false, "not_authorized"
end

local passwords = { device = "dev", staff = "st4ff" }

function policy.authenticate(client, username, password)
  if not username or passwords[username] ~= password or client.id:find("[+#/]") then return false end
  client.ref = { role = username }
  return true
end

return policy
