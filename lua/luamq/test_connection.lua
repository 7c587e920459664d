--- What a test says of a connection that comes over no network: who is at the other end, and what TLS knows
--- of it, as hooks see it in `client`.

local url = require "luamq.url"
local words = require "luamq.words"

local connection = {}

---@class luamq.test.ConnectionOptions
---@field remote_address string?  such as "192.0.2.1:5000"; default "memory"
---@field transport string?       "tcp", "tls", "ws", "wss" or "unix"; default what the others stand for
---@field certificate luamq.Certificate?  what a test leaves out of it is empty
---@field psk_identity string?
---@field tls_version string?     default "TLSv1.3" with a certificate, an identity or the transport of TLS
---@field tls_cipher string?
---@field credentials luamq.Credentials?  of a unix socket

local types = {
  remote_address = "string", transport = "string", certificate = "table", psk_identity = "string",
  tls_version = "string", tls_cipher = "string", credentials = "table",
}

local transports = { tcp = true, tls = true, ws = true, wss = true, unix = true, memory = true }

local certificate_types = {
  subject = "string", issuer = "string", common_name = "string", serial = "string", fingerprint = "string",
  not_before = "integer", not_after = "integer", dns = "table", ip = "table", uri = "table", email = "table",
}

local credentials_types = { uid = "integer", gid = "integer", pid = "integer" }

local function fail(level, text, ...) error(text:format(...), level + 1) end

local function is_of(value, name)
  if name == "integer" then return math.type(value) == "integer" end
  return type(value) == name
end

local function names_of(known)
  local names = {}
  for name in pairs(known) do names[name] = true end
  return names
end

--- Raises when a field is not known, or has another type.
local function check_fields(what, fields, known, level)
  for name, value in pairs(fields) do
    if not known[name] then
      fail(level + 1, "%s has no field %s%s", what, words.show(name), words.suggest(name, names_of(known)))
    elseif not is_of(value, known[name]) then
      fail(level + 1, "%s.%s: expected %s, got %s", what, name, known[name], words.show(value))
    end
  end
end

local function check_remote_address(text, level)
  local parts = type(text) == "string" and url.read("tcp://" .. text)
  if not parts or not url.is_address(parts.host) or not text:find(":%d+$") then
    fail(level + 1, 'connect: remote_address is an IP address with a port, such as "192.0.2.1:5000"')
  end
end

--- A certificate with all fields that a real one has.
local function complete(certificate)
  local result = {
    subject = certificate.common_name and "CN=" .. certificate.common_name or "", issuer = "",
    serial = "01", fingerprint = ("0"):rep(64), not_before = 0, not_after = math.maxinteger,
    dns = {}, ip = {}, uri = {}, email = {},
  }
  for name, value in pairs(certificate) do result[name] = value end
  return result
end

--- What the fields that are not there stand for.
local function fill(facts)
  local by_tls = facts.certificate or facts.psk_identity or facts.tls_version or facts.tls_cipher
    or facts.transport == "tls" or facts.transport == "wss"
  if by_tls then
    facts.transport = facts.transport or "tls"
    facts.tls_version = facts.tls_version or "TLSv1.3"
    facts.tls_cipher = facts.tls_cipher or "TLS_AES_256_GCM_SHA384"
  elseif facts.credentials then
    facts.transport = facts.transport or "unix"
  end
  if facts.certificate then facts.certificate = complete(facts.certificate) end
end

--- Takes the options of a connection out of others.
---@param options table
---@return luamq.test.ConnectionOptions
function connection.take(options)
  local taken = {}
  for name in pairs(types) do
    taken[name], options[name] = options[name], nil
  end
  return taken
end

--- Checks what a test says.
---@param given luamq.test.ConnectionOptions
---@param level integer  where a misuse is raised
---@return string? remote_address
---@return table? facts  fields of `client`; nil: none
function connection.check(given, level)
  if given.remote_address ~= nil then check_remote_address(given.remote_address, level + 1) end
  check_fields("the connection", given, types, level + 1)
  if given.transport and not transports[given.transport] then
    fail(level + 1, "unknown transport %s%s", words.show(given.transport),
      words.suggest(given.transport, transports))
  end
  if given.certificate then check_fields("certificate", given.certificate, certificate_types, level + 1) end
  if given.credentials then check_fields("credentials", given.credentials, credentials_types, level + 1) end
  local facts = {}
  for name, value in pairs(given) do facts[name] = value end
  facts.remote_address = nil
  fill(facts)
  return given.remote_address, next(facts) and facts
end

return connection
