-- Topic rules for each user: who may publish and subscribe where. %u stands for the user's name.
--
-- A session belongs to a client id, with its subscriptions and what waits for it. So that nobody resumes the
-- session of another user, a client's id has to be its user's name.
local luamq = require "luamq"

local roles = {
  sensor = { publish = { "sensors/%u/#" }, subscribe = { "sensors/%u/cmd" } },
  dashboard = { publish = {}, subscribe = { "sensors/#" } },
  operator = { publish = { "sensors/+/cmd" }, subscribe = { "#" } },
}

local users = { -- name -> role and password; names have no +, # and /
  pump = { role = "sensor", password = "p4mp" },
  boiler = { role = "sensor", password = "b01ler" },
  wall = { role = "dashboard", password = "d4sh" },
  anna = { role = "operator", password = "0perator" },
}

local credentials = {}
for name, user in pairs(users) do
  assert(not name:find("[+#/]"), name)
  credentials[name] = user.password
end

local function allowed(client, operation, topic)
  for _, filter in ipairs(roles[users[client.username].role][operation]) do
    local mine = filter:gsub("%%u", client.username)
    if luamq.match(mine, topic) then return true end
  end
  return false, "not_authorized"
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  credentials = credentials,
  hooks = {
    setup = function(client)
      if client.id ~= client.username then return false, "client_identifier_not_valid" end
    end,
    publish = function(client, message) return allowed(client, "publish", message.topic) end,
    subscribe = function(client, subscription) return allowed(client, "subscribe", subscription.topic) end,
  },
}
