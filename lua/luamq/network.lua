--- Where `luamq.client` connects to, from the options that a user gives: a URL or fields, checked and made
--- into what the C side takes.

local core = require "luamq.core".client
local schemes = require "luamq.url".schemes

local network = {}

---@class luamq.client.Tls
---@field ca string?            PEM file of trusted authorities; default the system's
---@field ca_path string?       a folder of them, as c_rehash makes it
---@field certificate string?   PEM file of this client's certificate
---@field key string?           PEM file of its key
---@field insecure boolean?     the certificate may be for another host; default false
---@field psk string?           a pre-shared key in hex, instead of certificates
---@field psk_identity string?  whose key it is
---@field min_version string?   "1.2" or "1.3"; default "1.2"
---@field alpn string?          default "mqtt"; over a WebSocket "http/1.1"

---@class luamq.client.WebSocket
---@field path string?                    default "/mqtt"
---@field origin string?                  the header Origin, as a browser sends it
---@field headers table<string, string>?  further headers of the request

local tls_types = {
  ca = "string", ca_path = "string", certificate = "string", key = "string", insecure = "boolean",
  psk = "string", psk_identity = "string", min_version = "string", alpn = "string",
}
local websocket_types = { path = "string", origin = "string", headers = "table" }

--- The types of the fields that say where to connect.
network.types = {
  host = "string", port = "integer", unix = "string", url = "string", tls = "table", websocket = "table",
}

local function unescape(text)
  local bad = text:gsub("%%%x%x", ""):find("%", 1, true)
  return not bad and text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end) or nil
end

--- "host", "host:port", "[::1]:port" into `found`; or a problem.
local function set_authority(found, text)
  local host, port = text:match "^%[([%x:.]+)%](.*)$"
  if not host then host, port = text:match "^([^:%[%]]+)(.*)$" end
  if not host then return "has no host" end
  found.host = host
  if port == "" then return nil end
  found.port = tonumber(port:match "^:(%d%d?%d?%d?%d?)$" or "")
  if not found.port or found.port < 1 or found.port > 65535 then return "has no port from 1 to 65535" end
end

--- What a URL says: `host`, `port`, `tls`, `websocket`, `path`, `unix`, `username`, `password`.
---@param url string
---@return table? found
---@return string? problem  "has no host", ...: never the URL, which may hold a password
function network.parse(url)
  local name, rest = url:match "^(%l+)://(.*)$"
  local scheme = schemes[name]
  if not scheme then return nil, "expected mqtt, mqtts, ws, wss or unix and ://" end
  if name == "unix" then
    if rest:sub(1, 1) ~= "/" then return nil, "expected an absolute path behind unix://" end
    return { unix = rest }
  end
  local found = { port = scheme.port, tls = scheme.tls, websocket = scheme.websocket }
  local authority, path = rest:match "^([^/]*)(.*)$"
  if scheme.websocket then
    found.path = path ~= "" and path or nil
  elseif path ~= "" and path ~= "/" then
    return nil, "has a path, which is for ws:// and wss:// only"
  end
  local user, host = authority:match "^(.*)@([^@]*)$"
  if user then
    local username, password = user:match "^([^:]*):?(.*)$"
    found.username = unescape(username)
    found.password = user:find(":", 1, true) and unescape(password) or nil
    if not found.username or (user:find(":", 1, true) and not found.password) then
      return nil, "has a malformed user name or password"
    end
  end
  local problem = set_authority(found, host or authority)
  if problem then return nil, problem end
  return found
end

local function check_tls(tls, check_fields, level)
  check_fields(tls, tls_types, "connect: tls", level + 1)
  if tls.min_version and tls.min_version ~= "1.2" and tls.min_version ~= "1.3" then
    error("connect: tls.min_version must be \"1.2\" or \"1.3\"", level + 1)
  end
  for _, pair in ipairs { { "certificate", "key" }, { "psk", "psk_identity" } } do
    if (tls[pair[1]] == nil) ~= (tls[pair[2]] == nil) then
      error(("connect: tls.%s and tls.%s need each other"):format(pair[1], pair[2]), level + 1)
    end
  end
end

local function check_websocket(websocket, check_fields, level)
  check_fields(websocket, websocket_types, "connect: websocket", level + 1)
  if websocket.path and not core.is_path(websocket.path) then
    error("connect: websocket.path is not a path", level + 1)
  end
  if websocket.origin and not core.is_header("Origin", websocket.origin) then
    error("connect: websocket.origin is not the value of a header", level + 1)
  end
  for name, value in pairs(websocket.headers or {}) do
    if type(name) ~= "string" or type(value) ~= "string" or not core.is_header(name, value) then
      error("connect: websocket.headers must map names to values of headers", level + 1)
    end
  end
end

--- Checks the fields of `options` that say where to connect. Raises.
---@param options table
---@param check_fields fun(fields: table, types: table, what: string, level: integer)
---@param level integer
function network.check(options, check_fields, level)
  level = level + 1
  if options.tls then check_tls(options.tls, check_fields, level) end
  if options.websocket then check_websocket(options.websocket, check_fields, level) end
  local unix = options.unix
  if options.url then
    for _, name in ipairs { "host", "port", "unix" } do
      if options[name] then error("connect: url excludes " .. name, level) end
    end
    local found, problem = network.parse(options.url)
    if not found then error("connect: url: " .. problem, level) end
    unix = found.unix
    for _, name in ipairs { "tls", "websocket" } do
      if options[name] and not found[name] then
        error(("connect: %s does not go with the scheme of the url"):format(name), level)
      end
    end
    if found.username and options.username then error("connect: the url has a username as well", level) end
    if found.path and options.websocket and options.websocket.path then
      error("connect: the url has a path as well", level)
    end
    if found.path and not core.is_path(found.path) then error("connect: url: malformed path", level) end
  end
  if not unix then return end
  if options.host or options.port then error("connect: unix excludes host and port", level) end
  if options.tls or options.websocket then error("connect: unix excludes tls and websocket", level) end
end

local function header_lines(headers)
  local lines = {}
  for name, value in pairs(headers or {}) do lines[#lines + 1] = ("%s: %s\r\n"):format(name, value) end
  table.sort(lines)
  return table.concat(lines)
end

--- Options as the C side takes them: checked ones with the url taken apart, and `host` and `port` filled in.
---@param options table
---@return table
function network.resolve(options)
  local resolved = {}
  for name, value in pairs(options) do resolved[name] = value end
  local found = options.url and network.parse(options.url) or {}
  for _, name in ipairs { "host", "port", "unix", "username", "password" } do
    resolved[name] = resolved[name] or found[name]
  end
  resolved.tls = options.tls or found.tls and {} or nil
  if options.websocket or found.websocket then
    local websocket = options.websocket or {}
    resolved.websocket = { path = websocket.path or found.path, origin = websocket.origin }
    resolved.websocket.headers = header_lines(websocket.headers)
  end
  local usual = resolved.websocket and (resolved.tls and schemes.wss or schemes.ws)
    or resolved.tls and schemes.mqtts or schemes.mqtt
  resolved.host = resolved.host or "127.0.0.1"
  resolved.port = resolved.port or usual.port
  return resolved
end

return network
