-- Tenants on one broker, apart by a prefix that they never see: a client of tenant `a` publishes to `x`,
-- the broker routes `t/a/x`, and clients of tenant `a` receive `x` again. The tenant is what stands before
-- the @ of the user name.
local tenants = { a = "alpha", b = "beta" } -- tenant -> password of all its clients

local hooks = {}

function hooks.authenticate(client, username, password)
  local tenant = username and username:match("^(%w+)@")
  if not tenant or tenants[tenant] == nil or tenants[tenant] ~= password then
    return false, "bad_user_name_or_password"
  end
  -- Sessions go by client id: ids begin with the tenant, so that none comes with an id of another.
  if client.id:match("^(%w+)[-@]") ~= tenant then return false, "client_identifier_not_valid" end
  client.ref = { prefix = "t/" .. tenant .. "/" }
  return true
end

function hooks.publish(client, message)
  return { topic = client.ref.prefix .. message.topic }
end

function hooks.subscribe(client, subscription)
  return { topic = client.ref.prefix .. subscription.topic }
end

function hooks.unsubscribe(client, filter)
  return { topic = client.ref.prefix .. filter }
end

function hooks.dequeue(client, message)
  return { topic = message.topic:sub(#client.ref.prefix + 1) }
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
