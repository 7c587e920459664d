--- What a script can set, as data: sections, keys, defaults, limits, and the words that are known.
---
--- Everything else reads these tables: the check of a script, its dump, and the reference. A new
--- setting is one more row. `read` turns what a script wrote into the value that the broker uses
--- (sizes become bytes), `read_url` does the same for the address of a listener, and `suggest`
--- finds the name that a misspelt one was probably meant to be.

local settings = {}

---@class luamq.Setting
---@field name string
---@field type "size"|"share"|"seconds"|"integer"|"boolean"|"enum"|"string"|"mode"|"account"
---@field default any       already normalized: a size is a number of bytes; nil for an option without one
---@field inherits string?  of a listener's option: the setting whose value is the default
---@field unit string?      what a number counts
---@field minimum number?
---@field maximum number?
---@field whole boolean?    seconds without a fraction
---@field values string[]?  the words of an enum
---@field doc string        its meaning, in one line

---@class luamq.Section
---@field name string
---@field doc string
---@field keys luamq.Setting[]

-- The sections of a checked configuration, to be kept like the rows below.

---@class luamq.Config.Engine
---@field read_limit integer          bytes
---@field connect_read_limit integer  bytes
---@field max_write_delay number      seconds
---@field connect_timeout number      seconds
---@field backlog integer
---@field close_timeout number        seconds

---@class luamq.Config.Backend
---@field session_queue_size integer
---@field session_queue_bytes integer     bytes
---@field kill_timeout number             seconds
---@field maximum_keep_alive integer      seconds
---@field maximum_keep_alive_set boolean  whether the script sets it
---@field parallel_publishes integer
---@field parallel_subscribes integer
---@field inflight_messages integer
---@field token_timeout number            seconds
---@field full_queue "wait"|"drop_new"|"drop_old"|"disconnect"
---@field full_queue_wait number          seconds
---@field inflight_bytes integer          bytes
---@field publish_rate integer            messages a second; 0 is no limit
---@field publish_bytes integer           bytes a second; 0 is no limit
---@field incoming_bytes integer          bytes
---@field max_sessions integer
---@field max_session_expiry number       seconds; 0 is for ever
---@field max_retained_messages integer
---@field max_retained_bytes integer      bytes
---@field refused_publish "acknowledge"|"disconnect"

---@class luamq.Config.Limits  0 is no limit where a setting takes it
---@field connections integer
---@field loop_lag number                   seconds
---@field topic_levels integer
---@field topic_length integer              bytes
---@field subscriptions integer
---@field connections_per_address integer
---@field connections_per_user integer
---@field connect_rate integer              a second
---@field connect_rate_per_address integer  a second
---@field failed_logins integer
---@field login_delay number                seconds
---@field login_delay_maximum number        seconds
---@field packet_time number                seconds
---@field queued_bytes integer              bytes
---@field memory_limit integer|string       bytes, or "80%"

---@class luamq.Config.ListenerOptions
---@field backlog integer
---@field reuse_port boolean?       of tcp
---@field dual_stack boolean?       of tcp
---@field keepalive integer?        of tcp; seconds, 0 is off, nil leaves it to the system
---@field nodelay boolean?          of tcp
---@field mode string?              of unix; four octal digits
---@field owner string|integer|nil  of unix
---@field group string|integer|nil  of unix

---@class luamq.Config.Log
---@field format "text"|"json"
---@field level "debug"|"info"|"warn"|"error"|"off"

local KIB <const>, MIB <const>, GIB <const> = 1 << 10, 1 << 20, 1 << 30

--- The sections, in the order in which they are printed.
---@type luamq.Section[]
settings.sections = {
  { name = "engine", doc = "connections and sockets", keys = {
    { name = "read_limit", type = "size", default = 8 * MIB, unit = "bytes",
      minimum = KIB, maximum = 256 * MIB,
      doc = "largest packet accepted from a client" },
    { name = "connect_read_limit", type = "size", default = 384 * KIB, unit = "bytes",
      minimum = KIB, maximum = 256 * MIB,
      doc = "largest packet accepted before a client is let in" },
    { name = "max_write_delay", type = "seconds", default = 0, unit = "seconds",
      minimum = 0, maximum = 10,
      doc = "longest time a written packet may wait to be sent together with others" },
    { name = "connect_timeout", type = "seconds", default = 10, unit = "seconds",
      minimum = 0.001, maximum = 3600,
      doc = "time a new connection has to send its first packet" },
    { name = "backlog", type = "integer", default = 1024, unit = "connections",
      minimum = 1, maximum = 65535,
      doc = "connections that may wait to be accepted, for each listener that does not say otherwise" },
    { name = "close_timeout", type = "seconds", default = 5, unit = "seconds",
      minimum = 0, maximum = 3600,
      doc = "how long a stop waits for the clients to close" },
  } },
  { name = "backend", doc = "sessions, queues and clients", keys = {
    { name = "session_queue_size", type = "integer", default = 100, unit = "messages",
      minimum = 1, maximum = 10000000,
      doc = "messages that may wait in the queue of a session" },
    { name = "session_queue_bytes", type = "size", default = 64 * MIB, unit = "bytes",
      minimum = KIB, maximum = 2 * 1024 * MIB,
      doc = "memory of the messages in the queue of a session; with more it is full" },
    { name = "kill_timeout", type = "seconds", default = 5, unit = "seconds",
      minimum = 0.001, maximum = 3600,
      doc = "how long a new client waits for the old one with its id to close" },
    { name = "maximum_keep_alive", type = "seconds", default = 300, unit = "seconds", whole = true,
      minimum = 1, maximum = 65535,
      doc = "a missing or higher keep alive is set to it; MQTT 3.1 and 3.1.1 clients are held to it "
        .. "only when a script sets it" },
    { name = "parallel_publishes", type = "integer", default = 100, unit = "packets",
      minimum = 1, maximum = 65535,
      doc = "unacknowledged QoS 1 and 2 publishes accepted from a client" },
    { name = "parallel_subscribes", type = "integer", default = 10, unit = "packets",
      minimum = 1, maximum = 65535,
      doc = "unacknowledged subscribes and unsubscribes accepted from a client" },
    { name = "inflight_messages", type = "integer", default = 10, unit = "messages",
      minimum = 1, maximum = 65535,
      doc = "unacknowledged messages sent to a client" },
    { name = "inflight_bytes", type = "size", default = 16 * MIB, unit = "bytes",
      minimum = KIB, maximum = 2 * 1024 * MIB,
      doc = "of unacknowledged messages sent to a client; the last one may exceed it" },
    { name = "publish_rate", type = "integer", default = 0, unit = "messages a second",
      minimum = 0, maximum = 100000000,
      doc = "that a client may publish, a second's worth at once; with more it is not read for a while; "
        .. "0 is no limit" },
    { name = "publish_bytes", type = "size", default = 0, unit = "bytes a second",
      minimum = 0, maximum = 2 * 1024 * MIB,
      doc = "of topics and payloads that a client may publish, likewise; 0 is no limit" },
    { name = "token_timeout", type = "seconds", default = 30, unit = "seconds",
      minimum = 0.001, maximum = 86400,
      doc = "how long a client may be at one of its limits before it is closed" },
    { name = "full_queue", type = "enum", default = "wait",
      values = { "wait", "drop_new", "drop_old", "disconnect" },
      doc = "what happens when the queue of an online subscriber is full: the publisher waits, the new or "
        .. "the oldest message is dropped, or the subscriber disconnected; an offline one drops the new "
        .. "message, with `drop_old` the oldest" },
    { name = "full_queue_wait", type = "seconds", default = 0.1, unit = "seconds",
      minimum = 0, maximum = 86400,
      doc = "how long a publisher waits for room in the queue of an online subscriber" },
    { name = "incoming_bytes", type = "size", default = 64 * MIB, unit = "bytes",
      minimum = KIB, maximum = 2 * 1024 * MIB,
      doc = "QoS 2 messages that a client may leave unreleased; with more it is closed" },
    { name = "max_sessions", type = "integer", default = 1000000, unit = "sessions",
      minimum = 1, maximum = 100000000,
      doc = "stored sessions; a client that asks for one more is refused" },
    { name = "max_session_expiry", type = "seconds", default = 30 * 24 * 3600, unit = "seconds",
      minimum = 0, maximum = 10 * 365 * 24 * 3600,
      doc = "how long a stored session waits for its client to return; 0 is for ever" },
    { name = "max_retained_messages", type = "integer", default = 1000000, unit = "messages",
      minimum = 0, maximum = 100000000,
      doc = "retained messages; one more is routed, and not retained" },
    { name = "max_retained_bytes", type = "size", default = 1024 * MIB, unit = "bytes",
      minimum = 0, maximum = 1024 * 1024 * MIB,
      doc = "memory of all retained messages" },
    { name = "refused_publish", type = "enum", default = "acknowledge",
      values = { "acknowledge", "disconnect" },
      doc = "what an MQTT 3.1 or 3.1.1 client sees when its publish is refused" },
  } },
  { name = "limits", doc = "what clients may ask for", keys = {
    { name = "connections", type = "integer", default = 100000, unit = "connections",
      minimum = 1, maximum = 10000000,
      doc = "open connections; a further one is closed at once" },
    { name = "loop_lag", type = "seconds", default = 0.5, unit = "seconds", minimum = 0, maximum = 60,
      doc = "how late the loop may come to what is ready before new connections are closed at once; at "
        .. "twice of it QoS 0 messages are dropped as well; 0 sheds nothing" },
    { name = "topic_levels", type = "integer", default = 128, unit = "levels",
      minimum = 1, maximum = 65536,
      doc = "of a topic that is published to or a filter; one with more is refused" },
    { name = "topic_length", type = "integer", default = 65535, unit = "bytes",
      minimum = 1, maximum = 65535,
      doc = "of a topic that is published to or a filter; a longer one is refused" },
    { name = "subscriptions", type = "integer", default = 10000, unit = "subscriptions",
      minimum = 1, maximum = 10000000,
      doc = "of a session; further ones are refused" },
    { name = "connections_per_address", type = "integer", default = 20000, unit = "connections",
      minimum = 0, maximum = 10000000,
      doc = "of an IPv4 address or an IPv6 network of 64 bits; a further one is closed at once; "
        .. "0 is no limit" },
    { name = "connections_per_user", type = "integer", default = 0, unit = "clients",
      minimum = 0, maximum = 10000000,
      doc = "that are logged in with a user name; a further one is refused; 0 is no limit" },
    { name = "connect_rate", type = "integer", default = 5000, unit = "connections a second",
      minimum = 0, maximum = 10000000,
      doc = "that are accepted in total; further ones wait in the backlog; 0 is no limit" },
    { name = "connect_rate_per_address", type = "integer", default = 1000, unit = "connections a second",
      minimum = 0, maximum = 10000000,
      doc = "of an address, with bursts of two seconds' worth; further ones are closed at once; "
        .. "0 is no limit" },
    { name = "failed_logins", type = "integer", default = 10, unit = "logins",
      minimum = 0, maximum = 1000000,
      doc = "of an address that may fail before its next ones are delayed; 0 never delays" },
    { name = "login_delay", type = "seconds", default = 1, unit = "seconds",
      minimum = 0.001, maximum = 3600,
      doc = "how long after a failed login the next one of the address waits; doubles with each failure" },
    { name = "login_delay_maximum", type = "seconds", default = 60, unit = "seconds",
      minimum = 0.001, maximum = 3600,
      doc = "the longest such delay; a login that has waited so long is refused" },
    { name = "packet_time", type = "seconds", default = 60, unit = "seconds",
      minimum = 0, maximum = 86400,
      doc = "that a packet may take from its first byte to its last, beside a second for each 16 KiB of it; "
        .. "0 is no limit" },
    { name = "queued_bytes", type = "size", default = GIB, unit = "bytes",
      minimum = 0, maximum = 1024 * GIB,
      doc = "memory of the messages in all queues; with more, what cannot be sent at once is dropped; "
        .. "0 is no limit" },
    { name = "memory_limit", type = "share", default = "80%", unit = "bytes",
      minimum = 0, maximum = 1024 * GIB,
      doc = "memory of the process, or its share of what the machine or control group grants; with more, "
        .. "nothing new is taken on; 0 is no limit" },
  } },
  { name = "log", doc = "what the broker writes about itself", keys = {
    { name = "format", type = "enum", default = "text", values = { "text", "json" },
      doc = "how a line is written" },
    { name = "level", type = "enum", default = "info",
      values = { "debug", "info", "warn", "error", "off" },
      doc = "the least important lines that are written" },
  } },
}

local backlog = { name = "backlog", type = "integer", inherits = "engine.backlog", unit = "connections",
  minimum = 1, maximum = 65535,
  doc = "connections that may wait to be accepted" }

--- Options of a listener, which stand behind its URL, for each transport.
---@type { scheme: string, keys: luamq.Setting[] }[]
settings.listeners = {
  { scheme = "tcp", keys = {
    backlog,
    { name = "reuse_port", type = "boolean", default = false,
      doc = "other sockets of the same user may listen on the address too, and share its connections" },
    { name = "dual_stack", type = "boolean", default = false,
      doc = "an IPv6 address takes IPv4 connections too, as `[::]` then does" },
    { name = "keepalive", type = "seconds", unit = "seconds", whole = true, minimum = 0, maximum = 32767,
      doc = "how long a connection is idle before TCP probes it; 0 turns probes off, and without it the "
        .. "system's time counts" },
    { name = "nodelay", type = "boolean", default = true,
      doc = "small packets are sent at once, not gathered (TCP_NODELAY)" },
  } },
  { scheme = "unix", keys = {
    backlog,
    { name = "mode", type = "mode", default = "0660",
      doc = "permissions of the socket's file; connecting takes the right to write" },
    { name = "owner", type = "account", doc = "user that the file is given to" },
    { name = "group", type = "account", doc = "group that the file is given to" },
  } },
}

--- What stands beside the sections at the top level, for people: `kind` says what to write.
settings.top = {
  { name = "listeners", kind = "list of URLs",
    doc = "the addresses to accept clients on, such as `\"tcp://127.0.0.1:1883\"`; one with options is a "
      .. "table, such as `{ \"unix:///run/luamq.sock\", mode = \"0600\" }`" },
  { name = "credentials", kind = "table",
    doc = "passwords by user name; with it every client needs one of them" },
  { name = "anonymous", default = "false", kind = "boolean",
    doc = "let in clients that send neither name nor password" },
  { name = "hooks", kind = "table, or list of tables",
    doc = "the functions that decide, by name" },
}

--- Hooks that a script may define.
settings.hooks = {
  "authenticate", "setup", "restore", "subscribe", "unsubscribe", "publish", "dequeue", "terminate",
  "packet", "full_queue", "log", "error", "start", "stop",
}

local function set(...)
  local result = {}
  for _, word in ipairs { ... } do result[word] = true end
  return result
end

--- Words that are known, but have no effect in this version.
settings.later = {
  top = set("acl", "storage", "metrics", "cluster"),
  backend = set("check_payload_format"),
  script = set("hook_budget", "hook_timeout", "lua_memory", "shadow", "reauthorize"),
  hooks = set("psk", "auth", "selftest", "save", "adopt"),
  schemes = set("tls", "ssl", "mqtts", "ws", "wss"),
}

--- Schemes of a listener and the transport that each stands for.
settings.schemes = { tcp = "tcp", mqtt = "tcp", unix = "unix" }
settings.default_port = 1883

---@type table<string, table<string, luamq.Setting>> settings by section and name
settings.index = {}
for _, section in ipairs(settings.sections) do
  settings.index[section.name] = {}
  for _, setting in ipairs(section.keys) do settings.index[section.name][setting.name] = setting end
end

---@type table<string, table<string, luamq.Setting>> options by transport and name
settings.listener_index = {}
for _, listener in ipairs(settings.listeners) do
  settings.listener_index[listener.scheme] = {}
  for _, option in ipairs(listener.keys) do
    settings.listener_index[listener.scheme][option.name] = option
  end
end

-- Values -------------------------------------------------------------------------------------

--- A value for a message: a type, or what it says when that is short and helps.
---@param value any
---@return string
function settings.show(value)
  if type(value) == "number" then
    if value ~= value then return "nan" end -- its sign is noise
    return tostring(value)
  elseif type(value) == "string" then
    if #value > 40 then value = value:sub(1, 37) .. "..." end
    local special = utf8.len(value) and "[%c\\\"]" or "[%c\\\"\128-\255]"
    return '"' .. value:gsub(special, function(c) return ("\\%d"):format(c:byte()) end) .. '"'
  end
  return value == nil and "nothing" or type(value)
end

--- 262144 as "256K", for people.
---@param bytes integer
---@return string
function settings.size_text(bytes)
  for _, unit in ipairs { { GIB, "G" }, { MIB, "M" }, { KIB, "K" } } do
    if bytes >= unit[1] and bytes % unit[1] == 0 then return bytes // unit[1] .. unit[2] end
  end
  return tostring(bytes)
end

---@param setting luamq.Setting
---@param number number
---@return string
local function number_text(setting, number)
  local is_size = setting.type == "size" or setting.type == "share"
  return is_size and settings.size_text(number) or tostring(number)
end

--- What a setting's value may be: "1K to 256M" or `"text" or "json"`.
---@param setting luamq.Setting
---@return string
function settings.range_text(setting)
  if setting.type == "mode" then return "octal digits in a string" end
  if setting.type == "account" then return "name or id" end
  if setting.type == "enum" then
    local words = {}
    for i, word in ipairs(setting.values) do words[i] = '"' .. word .. '"' end
    local last = table.remove(words)
    return #words > 0 and table.concat(words, ", ") .. " or " .. last or last
  end
  if not setting.minimum then return setting.type end
  local range = number_text(setting, setting.minimum) .. " to " .. number_text(setting, setting.maximum)
  return setting.type == "share" and range .. ', or "1%" to "100%"' or range
end

local multipliers = { [""] = 1, K = KIB, M = MIB, G = GIB }

--- The number in `value`, or nil when it is not of the setting's kind.
local parse = {}

function parse.size(_, value)
  if type(value) == "number" then return math.tointeger(value) end
  if type(value) ~= "string" or #value > 20 then return nil end
  local digits, unit = value:match("^(%d+)([KMGkmg]?)$")
  if not digits then return nil end
  return (tonumber(digits) + 0.0) * multipliers[unit:upper()] -- a float: it cannot wrap around
end

--- A size, or a percentage, which stays text.
function parse.share(_, value)
  local percent = type(value) == "string" and value:match "^(%d%d?%d?)%%$"
  if not percent then return parse.size(_, value) end
  percent = tonumber(percent)
  return percent >= 1 and percent <= 100 and ("%d%%"):format(percent) or nil
end

function parse.seconds(setting, value)
  if type(value) ~= "number" or value ~= value then return nil end
  if setting.whole then return math.tointeger(value) end
  return value
end

function parse.integer(_, value)
  return type(value) == "number" and math.tointeger(value) or nil
end

--- Digits as chmod takes them. The number 0660 would be 660, which is not what is meant.
function parse.mode(_, value)
  return type(value) == "string" and value:find("^0?[0-7][0-7][0-7]$") and ("0" .. value):sub(-4) or nil
end

--- The name of a user or group, or its id; -1 is none.
function parse.account(_, value)
  if type(value) == "string" then return value:find("^[^%c:/]+$") and #value <= 64 and value or nil end
  local id = type(value) == "number" and math.tointeger(value)
  return id and id >= 0 and id < (1 << 32) - 1 and id or nil
end

local function expected(setting)
  if setting.type == "size" then return 'a size such as 262144 or "256K"' end
  if setting.type == "share" then return 'a size such as "2G" or a share such as "80%"' end
  if setting.type == "integer" then return "an integer" end
  if setting.type == "mode" then return 'octal digits in a string, such as "0660"' end
  if setting.type == "account" then return "a name or an id" end
  if setting.type == "seconds" then
    return setting.whole and "a whole number of seconds" or "a number of seconds"
  end
  return setting.type == "enum" and settings.range_text(setting) or "a " .. setting.type
end

--- The value of a setting as the broker uses it.
---@param setting luamq.Setting
---@param value any  what the script says
---@return any value   nil when it is not acceptable
---@return string? problem
function settings.read(setting, value)
  local result
  if parse[setting.type] then
    result = parse[setting.type](setting, value)
  elseif setting.type == "enum" then
    for _, word in ipairs(setting.values) do
      if value == word then result = word end
    end
  elseif type(value) == setting.type then
    result = value
  end
  if result == nil then
    return nil, ("expected %s, got %s"):format(expected(setting), settings.show(value))
  end
  if type(result) == "string" then return result end
  if setting.minimum and (result < setting.minimum or result > setting.maximum) then
    return nil, ("must be between %s and %s, got %s"):format(number_text(setting, setting.minimum),
      number_text(setting, setting.maximum), settings.show(value))
  end
  local is_size = setting.type == "size" or setting.type == "share"
  return is_size and math.tointeger(result) or result
end

-- Addresses ----------------------------------------------------------------------------------

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

--- Whether only programs on this machine can reach a listener on `host`.
---@param host string  a normalized host, without brackets
---@return boolean
function settings.is_loopback(host)
  if host == "localhost" then return true end
  if host:find(":", 1, true) then
    return is_ipv6(host) and host:find("^[0:]*:0*1$") ~= nil
  end
  return is_ipv4(host) and host:find("^127%.") ~= nil
end

--- A URL for a message: without what may be a password.
local function show_url(url)
  local secret = url:match("^.*()@")
  if secret then url = (url:match("^%a[%w+.-]*://") or "") .. "***" .. url:sub(secret) end
  return settings.show(url)
end

local known_schemes = set("tcp", "mqtt", "unix")

--- The longest path that an address of the system has room for (unix(7)).
local longest_path <const> = 107

--- The path of a unix listener, or why it is none.
local function read_path(path, url)
  if path:find("^/") == nil or path:find("/$") then
    return nil, 'expected an absolute path, as in "unix:///run/luamq.sock", got ' .. show_url(url)
  elseif path:find("%c") then
    return nil, "a control character in the path, got " .. show_url(url)
  elseif #path > longest_path then
    return nil, ("the path has %d bytes, more than the %d that an address has room for")
      :format(#path, longest_path)
  end
  return { url = "unix://" .. path, scheme = "unix", path = path }
end

local function split_authority(authority)
  local host, rest = authority:match("^%[(.-)%](.*)$")
  if host then
    if not is_ipv6(host) then return nil, settings.show("[" .. host .. "]") .. " is not an IPv6 address" end
  else
    if select(2, authority:gsub(":", "")) > 1 then
      return nil, 'an IPv6 address stands in [ ], as in "tcp://[::1]:1883"'
    end
    host, rest = authority:match("^([^:]*)(.*)$")
    if host == "" then return nil, "the host is missing (0.0.0.0 and [::] are all addresses)" end
    if not is_ipv4(host) and not is_hostname(host) then
      return nil, settings.show(host) .. " is not an IP address or host name"
    end
  end
  if rest == "" then return host:lower(), settings.default_port end
  local port = rest:match("^:(%d+)$")
  if not port or #port > 9 or tonumber(port) > 65535 then
    return nil, "the port must be a number between 0 and 65535, got " .. settings.show(rest:gsub("^:", ""))
  end
  return host:lower(), tonumber(port)
end

--- The parts of a listener's URL.
---@param url string
---@return { url: string, scheme: string, host: string?, port: integer?, path: string? }? parts
---@return string? problem
function settings.read_url(url)
  local scheme, rest = url:match("^(%a[%w+.-]*)://(.*)$")
  if not scheme or #url > 512 then
    return nil, 'expected a URL such as "tcp://127.0.0.1:1883", got ' .. show_url(url)
  end
  scheme = scheme:lower()
  if settings.later.schemes[scheme] then
    return nil, scheme .. " listeners are not supported in this version"
  end
  local transport = settings.schemes[scheme]
  if not transport then
    return nil, ("unknown scheme '%s'%s"):format(scheme, settings.suggest(scheme, known_schemes))
  end
  if transport == "unix" then return read_path(rest, url) end
  if rest:find("@", 1, true) then
    return nil, "the address of a listener has no user name or password (see 'credentials')"
  end
  if rest:find("[/?#]") then
    return nil, "the address of a " .. transport .. " listener ends after the port, got " .. show_url(url)
  end
  local host, port = split_authority(rest)
  if not host then return nil, port end
  local shown = host:find(":", 1, true) and "[" .. host .. "]" or host
  return { url = ("%s://%s:%d"):format(transport, shown, port), scheme = transport, host = host, port = port }
end

-- Suggestions --------------------------------------------------------------------------------

--- Edits between two short words: insert, delete, replace, or swap two neighbours.
local function distance(a, b, bound)
  if math.abs(#a - #b) > bound then return bound + 1 end
  local before, previous, current = {}, {}, {}
  for j = 0, #b do current[j] = j end
  for i = 1, #a do
    before, previous, current = previous, current, before
    current[0] = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local cost = math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        cost = math.min(cost, before[j - 2] + 1)
      end
      current[j] = cost
    end
  end
  return current[#b]
end

--- The nearest of the names that are keys of the given tables, asked in order: a later table must
--- be nearer to win. The values of a table may be what to show for a name.
---@param word any
---@param ... table<string, any>
---@return string  " (did you mean 'x'?)", or "" when nothing is near
function settings.suggest(word, ...)
  if type(word) ~= "string" or #word > 64 then return "" end
  local plain = word:lower():gsub("-", "_")
  local best, found = math.min(3, 1 + #word // 4) + 1, nil
  for _, names in ipairs { ... } do
    local nearest = best
    for name, shown in pairs(names) do
      local edits = distance(plain, name, nearest)
      shown = type(shown) == "string" and shown or name
      if edits < best or found and edits == best and nearest > best and shown < found then
        best, found = edits, shown
      end
    end
  end
  return found and (" (did you mean '%s'?)"):format(found) or ""
end

-- Reference ----------------------------------------------------------------------------------

local function default_text(setting)
  local value = setting.default
  if value == nil then return setting.inherits end
  if setting.type == "size" and value > 0 then value = settings.size_text(value) end
  return type(value) == "string" and '"' .. value .. '"' or tostring(value)
end

local function value_text(setting)
  local value = settings.range_text(setting)
  return setting.unit and setting.unit .. ", " .. value or value
end

--- Options with the transports that have them, in the order of the first.
local function options_with_schemes()
  local list, at = {}, {}
  for _, listener in ipairs(settings.listeners) do
    for _, option in ipairs(listener.keys) do
      local seen = at[option]
      if not seen then
        seen = { option = option, schemes = {} }
        at[option], list[#list + 1] = seen, seen
      end
      seen.schemes[#seen.schemes + 1] = listener.scheme
    end
  end
  return list
end

--- Tables of all settings, and of the options of listeners, in Markdown.
---@return string
function settings.reference()
  local lines = { "| Setting | Default | Value | Meaning |", "|---|---|---|---|" }
  local function row(name, default, ...)
    default = default and "`" .. default .. "`" or "-"
    lines[#lines + 1] = ("| `%s` | %s | "):format(name, default) .. table.concat({ ... }, " | ") .. " |"
  end
  for _, entry in ipairs(settings.top) do row(entry.name, entry.default, entry.kind, entry.doc) end
  for _, section in ipairs(settings.sections) do
    for _, setting in ipairs(section.keys) do
      row(section.name .. "." .. setting.name, default_text(setting), value_text(setting), setting.doc)
    end
  end
  lines[#lines + 1] = "\n| Option of a listener | Default | Value | Of | Meaning |\n|---|---|---|---|---|"
  for _, entry in ipairs(options_with_schemes()) do
    local option = entry.option
    row(option.name, default_text(option), value_text(option), table.concat(entry.schemes, ", "), option.doc)
  end
  return table.concat(lines, "\n") .. "\n"
end

return settings
