--- Addresses, as text: the URL of a listener, networks, and the origins of web pages.

local words = require "luamq.words"

local url = {}

---@class luamq.Url
---@field url string     normalized: "tcp://127.0.0.1:1883", "wss://[::1]:443/mqtt", "unix:///run/luamq.sock"
---@field scheme "tcp"|"tls"|"ws"|"wss"|"unix"  the transport: "tcp" also for mqtt://, "tls" for mqtts://
---@field host string?   of all but unix: an IP address without brackets, or a host name, in lower case
---@field port integer?  likewise; 0 for any free port
---@field path string?   of unix the file, of ws and wss the path of the upgrade

---@class luamq.Scheme
---@field transport string   that it stands for
---@field port integer?      the usual one, of all but unix
---@field tls boolean?
---@field websocket boolean?

--- The schemes, of listeners and of clients.
---@type table<string, luamq.Scheme>
url.schemes = {
  tcp = { transport = "tcp", port = 1883 },
  mqtt = { transport = "tcp", port = 1883 },
  tls = { transport = "tls", port = 8883, tls = true },
  ssl = { transport = "tls", port = 8883, tls = true },
  mqtts = { transport = "tls", port = 8883, tls = true },
  ws = { transport = "ws", port = 80, websocket = true },
  wss = { transport = "wss", port = 443, tls = true, websocket = true },
  unix = { transport = "unix" },
}

local default_path <const> = "/mqtt"

-- Hosts --------------------------------------------------------------------------------------

local function is_ipv4(host)
  local octets = { host:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$") }
  for _, octet in ipairs(octets) do
    if #octet > 3 or tonumber(octet) > 255 or octet:find("^0%d") then return false end
  end
  return #octets == 4
end

--- The number of 16-bit groups in one side of an IPv6 address, or nil.
local function count_groups(side)
  if side == "" then return 0 end
  local count = 0
  for group in (side .. ":"):gmatch("([^:]*):") do
    if not group:find("^%x%x?%x?%x?$") then return nil end
    count = count + 1
  end
  return count
end

local function is_ipv6(host)
  local address = host:gsub("%%[%w_.-]+$", "") -- a zone: fe80::1%eth0
  address = address:gsub("[%d.]+$", function(tail) -- an IPv4 address for the last two groups
    return is_ipv4(tail) and "0:0" or nil
  end)
  local left, right = address:match("^(.-)::(.*)$")
  if not left then return count_groups(address) == 8 end
  local before, after = count_groups(left), count_groups(right)
  return before ~= nil and after ~= nil and before + after <= 7
end

local function is_hostname(host)
  if #host > 253 or host:find("^[%d.]+$") then return false end
  for label in (host .. "."):gmatch("([^.]*)%.") do
    if #label > 63 or not label:find("^[%w_][%w_-]*$") or label:find("-$") then return false end
  end
  return true
end

--- Whether a host is an IP address, not a name.
---@param host string  without brackets
---@return boolean
function url.is_address(host) return is_ipv4(host) or is_ipv6(host) end

--- Whether only programs on this machine can reach a listener on `host`.
---@param host string  a normalized host, without brackets
---@return boolean
function url.is_loopback(host)
  if host == "localhost" then return true end
  if host:find(":", 1, true) then
    return is_ipv6(host) and host:find("^[0:]*:0*1$") ~= nil
  end
  return is_ipv4(host) and host:find("^127%.") ~= nil
end

-- URLs ---------------------------------------------------------------------------------------

--- A URL for a message: without what may be a password.
local function show_url(text)
  local secret = text:match("^.*()@")
  if secret then text = (text:match("^%a[%w+.-]*://") or "") .. "***" .. text:sub(secret) end
  return words.show(text)
end

--- The longest path that an address of the system has room for (unix(7)).
local longest_path <const> = 107

--- The parts of a unix listener's URL, whose path is this, or why it is none.
local function read_file(path, text)
  if path:find("^/") == nil or path:find("/$") then
    return nil, 'expected an absolute path, as in "unix:///run/luamq.sock", got ' .. show_url(text)
  elseif path:find("%c") then
    return nil, "a control character in the path, got " .. show_url(text)
  elseif #path > longest_path then
    return nil, ("the path has %d bytes, more than the %d that an address has room for")
      :format(#path, longest_path)
  end
  return { url = "unix://" .. path, scheme = "unix", path = path }
end

--- Host and port at the start of what follows a scheme; the default port is `port`.
local function split_authority(authority, port)
  local host, rest = authority:match("^%[(.-)%](.*)$")
  if host then
    if not is_ipv6(host) then return nil, words.show("[" .. host .. "]") .. " is not an IPv6 address" end
  else
    if select(2, authority:gsub(":", "")) > 1 then
      return nil, 'an IPv6 address stands in [ ], as in "tcp://[::1]:1883"'
    end
    host, rest = authority:match("^([^:]*)(.*)$")
    if host == "" then return nil, "the host is missing (0.0.0.0 and [::] are all addresses)" end
    if not is_ipv4(host) and not is_hostname(host) then
      return nil, words.show(host) .. " is not an IP address or host name"
    end
  end
  if rest == "" then return host:lower(), port end
  local digits = rest:match("^:(%d+)$")
  if not digits or #digits > 9 or tonumber(digits) > 65535 then
    return nil, "the port must be a number between 0 and 65535, got " .. words.show(rest:gsub("^:", ""))
  end
  return host:lower(), tonumber(digits)
end

--- What may stand in the path of a request, with no query behind it (RFC 3986).
local path_pattern <const> = "^/[%w%-._~!$&'()*+,;=:%%/]*$"

--- Splits the path off what follows the scheme of a WebSocket listener.
local function split_path(rest, text)
  local authority, path = rest:match("^([^/?#]*)(.*)$")
  if path == "" then return authority, default_path end
  if not path:find(path_pattern) then
    return nil, "the path of a WebSocket listener has no query, no fragment and no odd characters, got "
      .. show_url(text)
  end
  return authority, path
end

--- The parts of a listener's URL.
---@param text string
---@return luamq.Url? parts
---@return string? problem
function url.read(text)
  local name, rest = text:match("^(%a[%w+.-]*)://(.*)$")
  if not name or #text > 512 then
    return nil, 'expected a URL such as "tcp://127.0.0.1:1883", got ' .. show_url(text)
  end
  name = name:lower()
  local scheme = url.schemes[name]
  if not scheme then return nil, ("unknown scheme '%s'%s"):format(name, words.suggest(name, url.schemes)) end
  if scheme.transport == "unix" then return read_file(rest, text) end
  if rest:find("@", 1, true) then
    return nil, "the address of a listener has no user name or password (see 'credentials')"
  end
  local path
  if scheme.websocket then
    rest, path = split_path(rest, text)
    if not rest then return nil, path end
  elseif rest:find("[/?#]") then
    return nil, "the address of a " .. scheme.transport .. " listener ends after the port, got "
      .. show_url(text)
  end
  local host, port = split_authority(rest, scheme.port)
  if not host then return nil, port end
  local shown = host:find(":", 1, true) and "[" .. host .. "]" or host
  return { url = ("%s://%s:%d%s"):format(scheme.transport, shown, port, path or ""), path = path,
    scheme = scheme.transport, host = host, port = port }
end

-- Networks and origins -----------------------------------------------------------------------

--- A network in CIDR notation, an address, or "unix", in lower case; nil when it is none of them.
---@param text string
---@return string?
function url.network(text)
  if text == "unix" then return text end
  local address, bits = text:match("^([^/]+)/(%d%d?%d?)$")
  address = address or text
  local longest = is_ipv4(address) and 32 or is_ipv6(address) and 128
  if not longest or address:find("%", 1, true) then return nil end
  if bits and (bits:find("^0%d") or tonumber(bits) > longest) then return nil end
  return text:lower()
end

local default_ports = { http = ":80", https = ":443" }

--- The origin of a web page as browsers send it (RFC 6454), or "*"; nil when it is neither.
---@param text string
---@return string?
function url.origin(text)
  if text == "*" then return text end
  local scheme, authority = text:lower():match("^(%a[%w+.-]*)://([^/?#@]+)$")
  if not scheme then return nil end
  if not split_authority(authority, 0) then return nil end
  local port = default_ports[scheme]
  if port and authority:sub(-#port) == port then authority = authority:sub(1, -#port - 1) end
  return scheme .. "://" .. authority
end

return url
