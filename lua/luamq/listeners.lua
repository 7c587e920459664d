--- Listeners: the options of each transport, as data, and the check of those that a script names.

local reports = require "luamq.report"
local settings = require "luamq.settings"
local url = require "luamq.url"
local words = require "luamq.words"

local listeners = {}

---@class luamq.Listener: luamq.Url
---@field options luamq.Config.ListenerOptions
---@field same_origin boolean?  of ws and wss: without `origins`, pages of other sites may not connect
---@field psk boolean?          of tls and wss: a hook knows pre-shared keys
---@field line integer?         where the script names it

---The options of a checked listener. Paths are relative to where the broker runs.
---@class luamq.Config.ListenerOptions
---@field backlog integer
---@field proxy_protocol boolean
---@field trusted_proxies string[]?  nil: none
---@field reuse_port boolean?        of all but unix, with the next three
---@field dual_stack boolean?
---@field keepalive integer?         seconds, 0 is off, nil leaves it to the system
---@field nodelay boolean?
---@field certificate string?        of tls and wss, as all up to `watch`; nil: pre-shared keys only
---@field key string?
---@field certificates { certificate: string, key: string }[]?
---@field ca string?
---@field crl string?
---@field verify "required"|"optional"|nil  with a ca
---@field min_version "1.2"|"1.3"|nil
---@field ciphers string?
---@field ciphersuites string?
---@field session_tickets boolean?
---@field watch boolean?
---@field origins string[]?          of ws and wss, with the next one
---@field fallback { status: integer, type: string, body: string }?
---@field mode string?               of unix; four octal digits
---@field owner string|integer|nil   of unix
---@field group string|integer|nil   of unix

-- Options ------------------------------------------------------------------------------------

local backlog = { name = "backlog", type = "integer", inherits = "engine.backlog", unit = "connections",
  minimum = 1, maximum = 65535,
  doc = "connections that may wait to be accepted" }

---@type luamq.Setting[]
local tcp = {
  { name = "reuse_port", type = "boolean", default = false,
    doc = "other sockets of the same user may listen on the address too, and share its connections" },
  { name = "dual_stack", type = "boolean", default = false,
    doc = "an IPv6 address takes IPv4 connections too, as `[::]` then does" },
  { name = "keepalive", type = "seconds", unit = "seconds", whole = true, minimum = 0, maximum = 32767,
    doc = "how long a connection is idle before TCP probes it; 0 turns probes off, and without it the "
      .. "system's time counts" },
  { name = "nodelay", type = "boolean", default = true,
    doc = "small packets are sent at once, not gathered (TCP_NODELAY)" },
}

---@type luamq.Setting[]
local unix = {
  { name = "mode", type = "mode", default = "0660",
    doc = "permissions of the socket's file; connecting takes the right to write" },
  { name = "owner", type = "account", doc = "user that the file is given to" },
  { name = "group", type = "account", doc = "group that the file is given to" },
}

local certificate = { name = "certificate", type = "path", needed = true,
  doc = "PEM file with the broker's certificate, and the chain up to the root behind it; paths are "
    .. "relative to the script" }
local key = { name = "key", type = "path", needed = true,
  doc = "PEM file with the private key of `certificate`, without a passphrase" }

---@type luamq.Setting[]
local tls = {
  certificate,
  key,
  { name = "certificates", type = "list", range = "list of { certificate =, key = }",
    of = { name = "certificates", type = "table", range = "table with certificate and key",
      keys = { certificate, key } },
    doc = "further ones; the name that a client asks for (SNI) picks, else the first one is shown" },
  { name = "ca", type = "path",
    doc = "PEM file with the authorities of client certificates; with it clients need one, unless `verify` "
      .. "says otherwise" },
  { name = "crl", type = "path", doc = "PEM file with the client certificates that were revoked" },
  { name = "verify", type = "enum", values = { "required", "optional" },
    doc = 'whether clients need a certificate of `ca`: "required" with a `ca`; one that is shown must be '
      .. "valid in any case" },
  { name = "min_version", type = "enum", default = "1.2", values = { "1.2", "1.3" },
    doc = "the oldest version of TLS that is spoken" },
  { name = "ciphers", type = "text",
    doc = "of TLS 1.2, in the notation of OpenSSL; without it OpenSSL's own" },
  { name = "ciphersuites", type = "text",
    doc = "of TLS 1.3, likewise; with a `psk` hook those with SHA256 stand first" },
  { name = "session_tickets", type = "boolean", default = true,
    doc = "clients that return may resume their TLS session, which is quicker" },
  { name = "watch", type = "boolean", default = false,
    doc = "the files are read again when they change; on SIGHUP they are in any case" },
}

--- What websocket_config_init says (src/transport/websocket.c).
local fallback = { status = 426, type = "text/plain; charset=utf-8",
  body = "an MQTT broker, for WebSockets with the sub-protocol mqtt\n" }

---@type luamq.Setting[]
local web = {
  { name = "origins", type = "list", range = "list of origins", of = { name = "origins", type = "origin" },
    doc = 'web pages that may connect, such as `"https://app.example.org"`, or `"*"`; without it those of '
      .. "the same host where clients need no login or may show a certificate, else any" },
  { name = "fallback", type = "table", range = "table with status, type and body", keys = {
    { name = "status", type = "integer", default = fallback.status, minimum = 200, maximum = 599 },
    { name = "type", type = "text", default = fallback.type },
    { name = "body", type = "lines", default = fallback.body },
  }, default = fallback, doc = "the answer to requests that are no WebSocket upgrade" },
}

---@type luamq.Setting[]
local proxy = {
  { name = "proxy_protocol", type = "boolean", default = false,
    doc = "a proxy in front tells who has connected, in a header of the PROXY protocol (1 or 2), which then "
      .. "every connection needs" },
  { name = "trusted_proxies", type = "list", range = "list of addresses and networks",
    of = { name = "trusted_proxies", type = "network" },
    doc = "proxies whose word is taken: in a PROXY header, and on ws and wss in X-Forwarded-For; without it "
      .. "nobody's, but for `proxy_protocol` on a loopback or unix address: this machine's" },
}

--- A list of the options in lists.
local function all(...)
  local result = {}
  for _, list in ipairs { ... } do table.move(list, 1, #list, #result + 1, result) end
  return result
end

--- Options of a listener, which stand behind its URL, for each transport.
---@type { scheme: string, keys: luamq.Setting[] }[]
listeners.transports = {
  { scheme = "tcp", keys = all({ backlog }, tcp, proxy) },
  { scheme = "tls", keys = all({ backlog }, tcp, tls, proxy) },
  { scheme = "ws", keys = all({ backlog }, tcp, web, proxy) },
  { scheme = "wss", keys = all({ backlog }, tcp, tls, web, proxy) },
  { scheme = "unix", keys = all({ backlog }, unix, proxy) },
}

---@type table<string, table<string, luamq.Setting>> options by transport and name
local index = {}
for _, transport in ipairs(listeners.transports) do
  index[transport.scheme] = {}
  for _, option in ipairs(transport.keys) do index[transport.scheme][option.name] = option end
end

-- What options need from each other ----------------------------------------------------------

--- A row: an option, and why it has no effect beside the others, or nil.
---@type { [1]: string, [2]: fun(o: luamq.Config.ListenerOptions): string? }[]
local needs = {
  { "certificate", function(o) return not o.key and "needs key, the file of its private key" end },
  { "key", function(o) return not o.certificate and "needs certificate, which it is the key of" end },
  { "certificates", function(o)
    return not o.certificate and "needs certificate and key, which are shown where none of these fits"
  end },
  { "ca", function(o) return not o.certificate and "needs certificate and key of the broker too" end },
  { "crl", function(o) return not o.ca and "needs ca, the authorities of client certificates" end },
  { "verify", function(o) return not o.ca and "needs ca, the authorities of client certificates" end },
  { "ciphers", function(o)
    return o.min_version == "1.3" and 'are those of TLS 1.2, which min_version = "1.3" leaves out'
  end },
}

local function check_needs(report, keys, options)
  for _, row in ipairs(needs) do
    local problem = options[row[1]] ~= nil and row[2](options)
    if problem then report:add(reports.join(keys, row[1]), problem) end
  end
end

local this_machine = { "127.0.0.0/8", "::1" }

--- Who is trusted to tell who has connected.
local function check_proxies(report, keys, listener)
  local options = listener.options
  if options.trusted_proxies then
    if not options.proxy_protocol and not index[listener.scheme].origins then
      report:add(reports.join(keys, "trusted_proxies"), "has no effect without proxy_protocol = true")
    end
  elseif options.proxy_protocol then
    if listener.scheme == "unix" then
      options.trusted_proxies = { "unix" }
    elseif url.is_loopback(listener.host) then
      options.trusted_proxies = table.move(this_machine, 1, #this_machine, 1, {})
    else
      report:add(reports.join(keys, "proxy_protocol"),
        'needs trusted_proxies, the addresses of the proxies, such as { "10.0.0.0/8" }')
    end
  end
end

-- One listener -------------------------------------------------------------------------------

local example = 'listeners = { "tcp://127.0.0.1:1883" }'

--- The value of an option that the script does not give.
local function default(report, option)
  if not option.inherits then return option.default end
  local section, name = option.inherits:match("^(%w+)%.([%w_]+)$")
  return report.config[section][name]
end

--- "tls and wss": the transports that have an option; nil when none has.
local function owners(name)
  local list = {}
  for _, transport in ipairs(listeners.transports) do
    if index[transport.scheme][name] then list[#list + 1] = transport.scheme end
  end
  local last = table.remove(list)
  return #list > 0 and table.concat(list, ", ") .. " and " .. last or last
end

--- Notes a key that is no option of the listener.
local function unknown_option(report, keys, scheme)
  local name = keys[#keys]
  if name == 1 then return end -- the URL
  if type(name) ~= "string" then
    return report:add(keys, "expected an option of the form name = value")
  end
  local others = owners(name)
  if others then
    return report:add(keys, ("an option of %s listeners, not of %s ones"):format(others, scheme))
  end
  report:add(keys, ("unknown option of a %s listener%s"):format(scheme,
    words.suggest(name, index[scheme], settings.elsewhere)))
end

local function check_options(report, keys, listener, value)
  local known, options = index[listener.scheme], {}
  listener.options = options
  for name, option in pairs(known) do options[name] = default(report, option) end
  if type(value) == "table" then
    report:read_fields(keys, known, value, options, function(place)
      unknown_option(report, place, listener.scheme)
    end)
  end
  check_needs(report, keys, options)
  check_proxies(report, keys, listener)
  if options.ca then options.verify = options.verify or "required" end
  if options.dual_stack and not listener.host:find(":", 1, true) then
    report:add(reports.join(keys, "dual_stack"), 'needs an IPv6 address, such as "tcp://[::]:1883"')
  end
end

local function check_one(report, position, value)
  local keys, text = { "listeners", position }, value
  if type(value) == "table" then
    if not report:is_plain(keys, value, "a URL, or a table that starts with one") then return end
    text = rawget(value, 1)
  end
  if type(text) ~= "string" then
    local got = type(value) == "table" and "a table without one" or type(value)
    return report:add(keys, 'expected a URL such as "tcp://127.0.0.1:1883", got ' .. got)
  end
  local listener, problem = url.read(text)
  if not listener then return report:add(keys, problem, { text = text }) end
  check_options(report, keys, listener, value)
  listener.line = report:line_of(keys, text)
  return listener
end

-- All listeners ------------------------------------------------------------------------------

--- What cannot be listened on twice; nil for any free port.
local function address(listener)
  if listener.scheme == "unix" then return listener.url end
  return listener.port ~= 0 and listener.host .. " " .. listener.port or nil
end

--- Reads the list of a script into `report.config.listeners`.
---@param report luamq.Report
---@param value any
function listeners.check(report, value)
  local result, first = {}, {}
  report.config.listeners = result
  if value == nil then return report:add({}, "listeners: missing, for example " .. example) end
  if not report:is_plain({ "listeners" }, value, "a list of URLs") then return end
  if not report:is_list({ "listeners" }, value) then return end
  if #value == 0 then return report:add({ "listeners" }, "empty, expected for example " .. example) end
  for position = 1, #value do
    local listener = check_one(report, position, rawget(value, position))
    if listener then
      local place = address(listener)
      if place and first[place] then
        report:add({ "listeners", position }, ("the same address as listeners[%d]"):format(first[place]))
      end
      if place then first[place] = first[place] or position end
      report.positions[listener] = position
      result[#result + 1] = listener
    end
  end
end

-- Who reaches them ---------------------------------------------------------------------------

--- Whether every client of the listener has proved who it is before it says a word of MQTT.
local function authenticates(listener)
  local options = listener.options -- with a min_version where there is TLS
  return options.verify == "required" or options.min_version ~= nil and not options.certificate
end

local function check_secret(report, keys, listener)
  local options = listener.options
  if options.min_version and not options.certificate and not options.key then
    report:add(keys, "a " .. listener.scheme .. " listener needs certificate and key, or a psk hook")
  end
end

--- What depends on who is let in: refuses listeners that would let in everybody from the network, and those
--- with TLS and nothing to show.
---@param report luamq.Report
---@param access { open: boolean, login: boolean, psk: boolean }  nothing decides who gets in; clients need a
---  name and password, or a hook decides; there is a psk hook
function listeners.check_access(report, access)
  for _, listener in ipairs(report.config.listeners) do
    local keys = { "listeners", report.positions[listener] }
    if not access.psk then check_secret(report, keys, listener) end
    if index[listener.scheme].min_version then listener.psk = access.psk end
    if index[listener.scheme].origins then
      listener.same_origin = not access.login or listener.options.ca ~= nil
    end
    local is_local = listener.scheme == "unix" or url.is_loopback(listener.host)
    if access.open and not is_local and not authenticates(listener) then
      report:add(keys, listener.url .. " would let in everybody from the network: "
        .. "add credentials or an authenticate hook, set anonymous = true, or listen on 127.0.0.1",
        { text = listener.url })
    end
  end
end

-- Comparison ---------------------------------------------------------------------------------

local function add_signature(parts, value)
  if type(value) ~= "table" then
    parts[#parts + 1] = ("%q;"):format(value)
    return
  end
  parts[#parts + 1] = "{"
  for _, name in ipairs(reports.sorted_keys(value)) do
    parts[#parts + 1] = ("[%q]="):format(name)
    add_signature(parts, value[name])
  end
  parts[#parts + 1] = "}"
end

--- A text that is the same for two listeners that are: of their URL and all options, but not of the place
--- in the script.
---@param listener luamq.Listener
---@return string
function listeners.signature(listener)
  local parts = {}
  for _, name in ipairs(reports.sorted_keys(listener)) do
    if name ~= "line" then
      parts[#parts + 1] = name .. "="
      add_signature(parts, listener[name])
    end
  end
  return table.concat(parts)
end

return listeners
