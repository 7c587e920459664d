-- Tenants that come and go while the broker runs. An administrator publishes the password of a tenant's
-- clients to `admin/tenants/NAME`, and an empty payload ends the tenant with all of its clients. Tenants
-- are kept in luamq.shared, so a reload leaves them as they are; a file or a database in their place is a
-- matter of two functions.
--
--     mosquitto_pub -u admin -P secret -t admin/tenants/acme -m "their password"
--     mosquitto_sub -u acme -P "their password" -i acme-1 -t 'news'
--
-- Clients of a tenant see only their own topics, without a prefix, as in examples/tenants.lua.
-- examples/dynamic_tenants_spec.lua tests it.
local luamq = require "luamq"

local ADMIN_PASSWORD <const> = os.getenv "ADMIN_PASSWORD" or "secret"

local hooks = {}

local function hash_of(tenant) return (luamq.shared.tenants or {})[tenant] end

local function set_tenant(tenant, hash)
  local tenants = luamq.shared.tenants or {}
  tenants[tenant] = hash
  luamq.shared.tenants = tenants -- what was read is a copy
end

local function is_admin(client) return client.ref.admin == true end

-- Hashing and checking take some milliseconds on purpose; only this client waits for them.
function hooks.authenticate(client, username, password)
  if not username or not password then return false, "bad_user_name_or_password" end
  if username == "admin" then
    client.ref = { admin = true }
    return luamq.crypto.equal(password, ADMIN_PASSWORD) or false, "bad_user_name_or_password"
  end
  local hash = hash_of(username)
  if not hash or not luamq.password.verify(password, hash) then return false, "bad_user_name_or_password" end
  -- Sessions go by client id: ids begin with the tenant, so that none comes with an id of another.
  if client.id:sub(1, #username + 1) ~= username .. "-" then return false, "client_identifier_not_valid" end
  client.ref = { tenant = username, prefix = "t/" .. username .. "/" }
  return true
end

local function close_clients(tenant)
  for _, client in ipairs(luamq.clients()) do
    if client.ref.tenant == tenant then client:close("not_authorized", "the tenant has ended") end
  end
end

local function administer(message)
  local tenant = message.topic:match "^admin/tenants/(%w+)$"
  if not tenant or tenant == "admin" then return false, "topic_name_invalid" end
  local payload = message.payload
  if payload == "" then
    set_tenant(tenant, nil)
    close_clients(tenant)
  else
    set_tenant(tenant, assert(luamq.password.hash(payload)))
  end
  luamq.log.info(payload == "" and "tenant ended" or "tenant set", { tenant = tenant })
  return "drop" -- passwords are delivered to nobody
end

function hooks.publish(client, message)
  if is_admin(client) then return administer(message) end
  return { topic = client.ref.prefix .. message.topic }
end

function hooks.subscribe(client, subscription)
  if is_admin(client) then return false, "not_authorized" end
  return { topic = client.ref.prefix .. subscription.topic }
end

function hooks.unsubscribe(client, filter)
  if is_admin(client) then return true end
  return { topic = client.ref.prefix .. filter }
end

function hooks.dequeue(client, message)
  return { topic = message.topic:sub(#client.ref.prefix + 1) }
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
