-- Topic rules for each user: who may publish and subscribe where. %u stands for the user's name, %c for the
-- client id.
local luamq = require "luamq"

local rules = {
  sensor = { publish = { "sensors/%c/#" }, subscribe = { "sensors/%c/cmd" } },
  dashboard = { publish = {}, subscribe = { "sensors/#" } },
  operator = { publish = { "sensors/+/cmd" }, subscribe = { "#" } },
}

local passwords = { sensor = "s3nsor", dashboard = "d4sh", operator = "0perator" }

-- Names come from the wire: as a level of a topic they must not bring a wildcard or a level of their own.
local function plain(name) return not name:find("[+#/]") end

local function allowed(client, operation, topic)
  local rule = rules[client.username]
  if not rule or not plain(client.id) or not plain(client.username) then return false end
  for _, filter in ipairs(rule[operation]) do
    local mine = filter:gsub("%%([uc])", { u = client.username, c = client.id })
    if luamq.match(mine, topic) then return true end
  end
  return false
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  credentials = passwords,
  hooks = {
    publish = function(client, message)
      if allowed(client, "publish", message.topic) then return true end
      return false, "not_authorized"
    end,
    subscribe = function(client, subscription)
      if allowed(client, "subscribe", subscription.topic) then return true end
      return false, "not_authorized"
    end,
  },
}
