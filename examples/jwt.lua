-- Logins by JSON Web Token: the password is a token that somebody else has signed, by a key whose public
-- half is in a PEM file. Its claims say who the client is and what it may do; when it expires the client is
-- closed.
--
--   luamq examples/jwt.lua public.pem tcp://0.0.0.0:1883
--
-- {"iss": "id.example.org", "aud": "luamq", "sub": "meter-7", "exp": 1767225600, "publish": ["meters/7/#"],
--  "subscribe": ["commands/7/#"]}
local luamq = require "luamq"
local jwt = require "luamq.jwt"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""
local path, listener = ...

local function read_key(name)
  local file <close> = assert(io.open(name, "rb"))
  return assert(jwt.key(file:read "a"))
end

local options = {
  key = read_key(path or here .. "jwt.pem"),
  algorithms = { "ES256", "RS256" },
  issuer = "id.example.org",
  audience = "luamq",
  required = { "exp", "sub" },
  leeway = 5,
}

local hooks = {}

-- Who knows what a token is about may take it for the name of the client; no other name will do.
function hooks.authenticate(client, _, password)
  local claims, problem, code = jwt.verify(password, options)
  if not claims then
    luamq.log.info("token refused", { id = client.id, code = code, reason = problem })
    return false
  end
  if client.id ~= claims.sub then return false, "client_identifier_not_valid" end
  client.ref = { claims = claims, expiry = luamq.after(math.max(0, claims.exp - luamq.now()), function()
    client:close("maximum_connect_time", "the token has expired")
  end) }
  return true
end

function hooks.terminate(client)
  client.ref.expiry:cancel()
end

local function any_covers(filters, topic)
  for _, filter in ipairs(type(filters) == "table" and filters or {}) do
    if luamq.match(filter, topic) then return true end
  end
  return false, "not_authorized"
end

function hooks.publish(client, message)
  return any_covers(client.ref.claims.publish, message.topic)
end

function hooks.subscribe(client, subscription)
  return any_covers(client.ref.claims.subscribe, subscription.topic)
end

return {
  listeners = { listener or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
