--- What a user gives to luamq.http, checked and completed. A misuse raises; `level` is that of error for the
--- function that calls. No message names a URL beyond its host: the rest may be a secret.

local core = require "luamq.core.http"
local json = require "luamq.json"
local words = require "luamq.words"

local options_of = {}

local default_timeout <const>, longest_timeout <const> = 4, 3600 -- seconds
local default_size <const>, largest_size <const> = 1 << 20, 1 << 30 -- bytes
local most_redirects <const> = 20
local longest_path <const> = 107 -- bytes, see unix(7)

local types = {
  method = "string", headers = "table", query = "table", body = "string", json = "any", form = "table",
  timeout = "number", connect_timeout = "number", max_size = "integer", ca = "string", verify = "boolean",
  certificate = "string", key = "string", username = "string", password = "string", redirects = "integer",
  keep_alive = "boolean", unix = "string", proxy = "string",
}

--- Names that a misspelt one may be meant to be.
local names = {}
for name in pairs(types) do names[name] = true end

--- Those that the request computes itself.
local own_headers = {
  ["content-length"] = true, ["transfer-encoding"] = true, connection = true, expect = true, upgrade = true,
  ["keep-alive"] = true, te = true, trailer = true, ["proxy-connection"] = true,
}

local function type_of(value) return math.type(value) == "integer" and "integer" or type(value) end

local function check_types(options, level)
  for name, value in pairs(options) do
    local expected = types[name]
    if not expected then
      error(("http: unknown option '%s'%s"):format(tostring(name), words.suggest(name, names)), level + 1)
    end
    local found = type_of(value)
    if expected ~= "any" and found ~= expected and not (expected == "number" and found == "integer") then
      error(("http: %s must be of type %s, got %s"):format(name, expected, found), level + 1)
    end
    if expected == "string" and name ~= "body" and value:find("\0", 1, true) then
      error(("http: %s has a zero byte"):format(name), level + 1)
    end
  end
end

--- Raises unless the number is in the range.
local function check_range(value, first, last, what, level)
  if value < first or value > last or value ~= value then
    error(("http: %s must be from %s to %s"):format(what, first, last), level + 1)
  end
end

-- Headers ------------------------------------------------------------------------------------

local function check_header(name, value, level)
  if type(name) ~= "string" or not name:find "^[%w!#$%%&'*+.^_`|~-]+$" then
    error("http: " .. words.show(name) .. " is not the name of a header", level + 1)
  end
  if own_headers[name:lower()] then
    error(("http: the header %s is the request's own"):format(name), level + 1)
  end
  if type(value) ~= "string" and type(value) ~= "number" then
    error(("http: the header %s must be a string, got %s"):format(name, type(value)), level + 1)
  end
  if tostring(value):find "[\r\n\0]" then
    error(("http: the header %s has a line break or a zero byte in it"):format(name), level + 1)
  end
  return name:lower(), tostring(value)
end

--- The headers with lower-case names.
local function read_headers(given, level)
  local result = {}
  for name, value in pairs(given or {}) do
    local key, text = check_header(name, value, level + 1)
    if result[key] then error(("http: the header %s is given twice"):format(key), level + 1) end
    result[key] = text
  end
  return result
end

-- Query and form -----------------------------------------------------------------------------

--- A text as it stands in a URL: all but letters, digits and `-._~` as %XX.
---@param text string
---@return string
function options_of.escape(text)
  if type(text) ~= "string" then error("http.escape expects a string, got " .. type(text), 2) end
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function add_pair(list, name, value, what, level)
  local kind = type(value)
  if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
    error(("http: %s.%s must be a string, a number or a boolean, got %s"):format(what, name, kind), level + 1)
  end
  list[#list + 1] = options_of.escape(name) .. "=" .. options_of.escape(tostring(value))
end

--- "a=1&b=2", in the order of the names; a list is one pair for each of its values.
local function encode_pairs(given, what, level)
  local sorted, list = {}, {}
  for name in pairs(given) do
    if type(name) ~= "string" then error(("http: %s has a key that is no string"):format(what), level + 1) end
    sorted[#sorted + 1] = name
  end
  table.sort(sorted)
  for _, name in ipairs(sorted) do
    local value = given[name]
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      add_pair(list, name, one, what, level + 1)
    end
  end
  return table.concat(list, "&")
end

-- The body -----------------------------------------------------------------------------------

local function only_one(options, level)
  local given
  for _, name in ipairs { "body", "json", "form" } do
    if options[name] ~= nil then
      if given then error(("http: both %s and %s are given"):format(given, name), level + 1) end
      given = name
    end
  end
  return given
end

local function encode_json(value, level)
  local text, problem = json.encode(value)
  return text or error("http: json cannot be encoded: " .. problem, level + 1)
end

--- The body, with what its headers are unless they are given.
local function read_body(options, method, headers, level)
  local kind = only_one(options, level + 1)
  if not kind then
    return (method == "POST" or method == "PUT" or method == "PATCH") and "" or nil
  end
  if method == "GET" or method == "HEAD" then
    error(("http: %s has no %s"):format(method, kind), level + 1)
  end
  if kind == "body" then return options.body end
  if kind == "form" then
    headers["content-type"] = headers["content-type"] or "application/x-www-form-urlencoded"
    return encode_pairs(options.form, "form", level + 1)
  end
  headers["content-type"] = headers["content-type"] or "application/json"
  headers.accept = headers.accept or "application/json"
  return encode_json(options.json, level + 1)
end

-- Connections --------------------------------------------------------------------------------

local most_connections <const> = 65535
local limit_ranges = {
  max_connections_per_host = { 1, most_connections }, max_connections = { 1, most_connections },
  idle_timeout = { 1, 3600 },
}

--- The limits of connections as the core takes them. Raises.
---@param limits luamq.http.Limits
---@param level integer
---@return table
function options_of.limits(limits, level)
  level = level + 1
  if type(limits) ~= "table" then error("http.configure expects a table", level) end
  for name, value in pairs(limits) do
    local range = limit_ranges[name]
    if not range then
      error(("http: unknown limit '%s'%s"):format(tostring(name), words.suggest(name, limit_ranges)), level)
    elseif type(value) ~= "number" or name ~= "idle_timeout" and math.type(value) ~= "integer" then
      error(("http: %s must be a number"):format(name), level)
    end
    check_range(value, range[1], range[2], name, level)
  end
  return {
    max_per_host = limits.max_connections_per_host, max_total = limits.max_connections,
    idle_ms = limits.idle_timeout and math.ceil(limits.idle_timeout * 1000),
  }
end

-- The whole ----------------------------------------------------------------------------------

local function read_method(name, level)
  local method = name:upper()
  if not method:find "^%u+$" or method == "CONNECT" or method == "TRACE" then
    error("http: " .. words.show(name) .. " is not a method", level + 1)
  end
  return method
end

local function with_query(url, query, level)
  if not query or next(query) == nil then return url end
  local before, fragment = url:match "^([^#]*)(.*)$"
  local joint = not before:find("?", 1, true) and "?" or before:find "[?&]$" and "" or "&"
  return before .. joint .. encode_pairs(query, "query", level + 1) .. fragment
end

local function check_proxy(proxy, level)
  if proxy and not proxy:find "^https?://[^/]+/?$" and not proxy:find "^socks5h?://[^/]+/?$" then
    error("http: proxy must be http://, https://, socks5:// or socks5h:// with host and port", level + 1)
  end
end

--- Sets where a request goes to: its URL and origin.
---@param request table
---@param url string
---@param base string?  a URL that this one may be relative to
---@return boolean? set
---@return string? problem
function options_of.aim(request, url, base)
  if url:find("\0", 1, true) then return nil, "not a URL" end
  local origin, whole, scheme = core.origin(url, base)
  if not origin then return nil, whole end
  request.origin, request.url, request.scheme = origin, whole, scheme
  request.key = table.concat({ origin, request.unix or "", request.proxy or "" }, "\n")
  return true
end

--- The request that a user describes. Raises.
---@param url string
---@param options luamq.http.Options?
---@param method string?  what options cannot say then
---@param level integer
---@return table request  what the core takes; `headers` is a table from lower-case names to values
function options_of.request(url, options, method, level)
  level = level + 1
  if type(url) ~= "string" then error("http: the URL must be a string, got " .. type(url), level) end
  if options ~= nil and type(options) ~= "table" then error("http: options must be a table", level) end
  options = options or {}
  check_types(options, level)
  if method and options.method then error("http: method is an option of http.request", level) end
  method = method or read_method(options.method or "GET", level)
  local timeout = options.timeout or default_timeout
  local connect_timeout = options.connect_timeout or timeout
  local max_size, redirects = options.max_size or default_size, options.redirects or 0
  check_range(timeout, 0.001, longest_timeout, "timeout", level)
  check_range(connect_timeout, 0.001, longest_timeout, "connect_timeout", level)
  check_range(max_size, 0, largest_size, "max_size", level)
  check_range(redirects, 0, most_redirects, "redirects", level)
  if (options.certificate == nil) ~= (options.key == nil) then
    error("http: certificate and key belong together", level)
  end
  if options.password and not options.username then error("http: a password needs a username", level) end
  if options.unix and #options.unix > longest_path then
    error(("http: unix has more than %d bytes"):format(longest_path), level)
  end
  check_proxy(options.proxy, level)
  local headers = read_headers(options.headers, level)
  local body = read_body(options, method, headers, level)
  local request = {
    method = method, headers = headers, body = body, redirects = redirects, timeout = timeout,
    connect_timeout_ms = math.ceil(connect_timeout * 1000), max_size = max_size,
    verify = options.verify ~= false, keep_alive = options.keep_alive ~= false,
    ca = options.ca, certificate = options.certificate, key_file = options.key, username = options.username,
    password = options.password, unix = options.unix, proxy = options.proxy, json = options.json,
    form = options.form, query = options.query,
  }
  local aimed, problem = options_of.aim(request, with_query(url, options.query, level))
  if not aimed then error("http: " .. problem, level) end
  return request
end

return options_of
