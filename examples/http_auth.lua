-- Logins that a web service decides. It is asked with the id, the name and the password of each client, in
-- JSON, and answers with status 200 and the tenant of the client, or with 401 or 403. The hook waits for it;
-- the broker does not.
--
--     luamq examples/http_auth.lua                        asks http://127.0.0.1:9000/auth
--     AUTH_URL=https://auth.example.com/mqtt luamq examples/http_auth.lua
--
-- examples/http_auth_spec.lua tests it without a network.
local luamq = require "luamq"
local http = require "luamq.http"

local url = os.getenv "AUTH_URL" or "http://127.0.0.1:9000/auth"

local hooks = {}

-- Without an answer nobody gets in: the client may try again, and the log tells why, but not what was asked.
function hooks.authenticate(client, username, password)
  local answer, message, code = http.post(url, {
    json = { id = client.id, user = username, password = password },
    timeout = 2,
  })
  if not answer then
    luamq.log.error("auth service", { error = message, code = code })
    return false, "server_unavailable"
  end
  if answer.status == 401 or answer.status == 403 then return false, "bad_user_name_or_password" end
  local tenant = answer.status == 200 and type(answer.json) == "table" and answer.json.tenant
  if type(tenant) ~= "string" or not tenant:find "^%w+$" then
    luamq.log.error("auth service", { status = answer.status, error = answer.json_error or "no tenant" })
    return false, "server_unavailable"
  end
  client.ref = { tenant = tenant }
  return true
end

local function is_own(client, topic) return luamq.match("t/" .. client.ref.tenant .. "/#", topic) end

function hooks.publish(client, message)
  if is_own(client, message.topic) then return true end
  return false, "not_authorized"
end

function hooks.subscribe(client, subscription)
  if is_own(client, subscription.topic) then return true end
  return false, "not_authorized"
end

return {
  listeners = { "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
