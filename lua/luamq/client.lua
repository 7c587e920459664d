--- An MQTT 3.1.1 (and 3.1) client for scripts and tests, over TCP or a unix socket, with TLS and WebSocket.
---
--- Every call waits until it is done or its time is over; messages that arrive meanwhile are kept for
--- `receive`. Pings are sent in the course of a call, so a client that is idle for longer than its keep
--- alive has to call something. It is no client for hooks, for a hook that waits holds up the broker.
---
---     local client = require "luamq.client"
---     local c <close> = assert(client.connect { host = "127.0.0.1", id = "meter" })
---     assert(c:subscribe("meters/#", 1))
---     assert(c:publish("meters/1", "42", 1))
---     print(c:receive(1).payload)
---
---     client.connect { url = "mqtts://broker.example.com", tls = { ca = "ca.pem" } }
---     client.connect { url = "wss://broker.example.com/mqtt" }    -- trusts the system's authorities
---
--- What fails at run time returns nil, a message and, for a refused connection, the return code of
--- CONNACK. Once the connection has ended, every call returns nil and why ("connection closed").

local core = require "luamq.core".client
local network = require "luamq.network"

local client = {}

---@class luamq.client.Will
---@field topic string
---@field payload string?  default ""
---@field qos integer?     default 0
---@field retain boolean?  default false

---@class luamq.client.ConnectOptions
---@field host string?         default "127.0.0.1"
---@field port integer?        default 1883; with TLS 8883; for a WebSocket 80, and with TLS 443
---@field unix string?         the path of a unix socket, instead of host and port
---@field url string?          instead of these: mqtt|mqtts|ws|wss://[username[:password]@]host[:port][/path]
---                            or unix:///path; tcp, tls and ssl are as mqtt, mqtts and mqtts
---@field tls luamq.client.Tls?              with TLS; {} trusts the system's authorities
---@field websocket luamq.client.WebSocket?  over a WebSocket
---@field id string?           default "": the broker assigns one
---@field clean boolean?       a clean session; default true
---@field keep_alive integer?  seconds, 0 is off; default 60
---@field username string?
---@field password string?     needs a username
---@field will luamq.client.Will?
---@field version integer?     3 (MQTT 3.1) or 4 (MQTT 3.1.1); default 4
---@field timeout number?      seconds that a call may take unless told otherwise; default 5

---@class luamq.client.Message
---@field topic string
---@field payload string
---@field qos integer
---@field retain boolean
---@field dup boolean
---@field id integer?  of QoS 1 and 2

---@class luamq.client.Packet  a packet as it came
---@field type string               "Connack", "Publish", ...
---@field text string               its text form
---@field id integer?
---@field code integer?             of a Connack
---@field session_present boolean?  of a Connack
---@field codes integer[]?          of a Suback
---@field topic string?             of a Publish, with all fields of a message

---@class luamq.client.PublishOptions
---@field qos integer?      default 0
---@field retain boolean?   default false
---@field timeout number?   seconds; default the client's
---@field wait boolean?     false: does not wait for the acknowledgement of QoS 1 or 2

---@class luamq.client.Client
---@field id string                the id that was sent
---@field session_present boolean  the broker had a session of this id; false before `connect`
---@field closed boolean           the connection has ended
---@field timeout number           seconds that a call may take
---@field private core userdata
---@field private options luamq.client.ConnectOptions
local Client = {}

-- Arguments ----------------------------------------------------------------------------------

local connect_types = {
  id = "string", clean = "boolean", keep_alive = "integer", username = "string", password = "string",
  will = "table", version = "integer",
}
local network_types = { timeout = "number" }
for _, types in ipairs { connect_types, network.types } do
  for name, expected in pairs(types) do network_types[name] = expected end
end
local will_types = { topic = "string", payload = "string", qos = "integer", retain = "boolean" }
local publish_types = { qos = "integer", retain = "boolean", timeout = "number", wait = "boolean" }

local function type_of(value)
  return math.type(value) == "integer" and "integer" or type(value)
end

--- Raises for a field that is not known or not of its type. `level` is that of error.
local function check_fields(fields, types, what, level)
  for name, value in pairs(fields) do
    local expected = types[name]
    if not expected then error(("%s: unknown field '%s'"):format(what, tostring(name)), level + 1) end
    if type_of(value) ~= expected and not (expected == "number" and type_of(value) == "integer") then
      error(("%s: %s must be of type %s, got %s"):format(what, name, expected, type_of(value)), level + 1)
    end
  end
end

local function check_range(value, first, last, what, level)
  if value and (value < first or value > last) then
    error(("%s must be from %d to %d"):format(what, first, last), level + 1)
  end
end

--- Checks the options of a connection, for this module and for luamq.test. Raises.
---@param options table
---@param remote boolean  what says where to connect, and timeout, may be there
---@param level integer
function client.check_options(options, remote, level)
  level = level + 1
  check_fields(options, remote and network_types or connect_types, "connect", level)
  check_range(options.keep_alive, 0, 65535, "connect: keep_alive", level)
  check_range(options.version, 3, 4, "connect: version", level)
  check_range(options.port, 1, 65535, "connect: port", level)
  network.check(options, check_fields, level)
  for _, name in ipairs { "id", "username", "password" } do
    if options[name] and #options[name] > 65535 then
      error(("connect: %s is longer than 65535 bytes"):format(name), level)
    end
  end
  if options.password and not options.username then error("connect: a password needs a username", level) end
  local will = options.will
  if not will then return end
  check_fields(will, will_types, "connect: will", level)
  check_range(will.qos, 0, 2, "connect: will.qos", level)
  if not will.topic or not core.is_topic(will.topic) then
    error("connect: will.topic is not a topic", level)
  end
  if will.payload and #will.payload > 65535 then
    error("connect: will.payload is longer than 65535 bytes", level)
  end
end

--- A value for a message: a string in quotes, or its type.
local function show(value)
  return type(value) == "string" and ("%q"):format(value) or type(value)
end

--- The list of filters that a call names, each one valid.
---@param filter string|string[]
---@param level integer
---@return string[]
function client.check_filters(filter, level)
  local list = type(filter) == "table" and filter or { filter }
  if #list == 0 then error("expected a topic filter", level + 1) end
  for _, one in ipairs(list) do
    if type(one) ~= "string" or not core.is_filter(one) then
      error(show(one) .. " is not a topic filter", level + 1)
    end
  end
  return list
end

function client.check_topic(topic, level)
  if type(topic) ~= "string" or not core.is_topic(topic) then
    error(show(topic) .. " is not a topic", level + 1)
  end
end

--- QoS as a number from 0 to 2, default 0.
function client.check_qos(qos, level)
  if qos == nil then return 0 end
  if math.type(qos) ~= "integer" or qos < 0 or qos > 2 then error("qos must be 0, 1 or 2", level + 1) end
  return qos
end

-- Connecting ---------------------------------------------------------------------------------

Client.__name = "luamq.client"

function Client.__index(self, key)
  if key == "closed" then return rawget(self, "core"):closed() end
  return Client[key]
end

function Client.__close(self) self:disconnect() end

function Client.__tostring(self) return ("luamq.client: %s"):format(self.id) end

---@return luamq.client.Client
local function new(options)
  options = network.resolve(options)
  return setmetatable({
    core = core.new(options), options = options, id = options.id or "", session_present = false,
    timeout = options.timeout or 5,
  }, Client)
end

--- Connects and waits for CONNACK.
---@param options luamq.client.ConnectOptions?
---@return luamq.client.Client? client  disconnected when it goes out of scope as a `<close>` variable
---@return string? message              "not authorized", ...
---@return integer? code                the return code of a CONNACK that refused
function client.connect(options)
  if options ~= nil and type(options) ~= "table" then error("connect expects a table of options", 2) end
  client.check_options(options or {}, true, 2)
  local self = new(options or {})
  local ok, message, code = self:reconnect()
  if not ok then return nil, message, code end
  return self
end

--- Opens a connection without sending anything, for `send_raw` and `receive_packet`.
---@param options luamq.client.ConnectOptions?  of these the ones that say where to connect, and timeout
---@return luamq.client.Client? client
---@return string? message
function client.open(options)
  if options ~= nil and type(options) ~= "table" then error("open expects a table of options", 2) end
  client.check_options(options or {}, true, 2)
  local self = new(options or {})
  local ok, message = self.core:open(self.options, self.timeout)
  if not ok then return nil, message end
  return self
end

--- Connects again, with the same options; files are read again. Without a clean session messages that are
--- not acknowledged are sent once more.
---@return boolean? ok
---@return string? message
---@return integer? code
function Client:reconnect()
  local ok, present, code = self.core:connect(self.options, self.timeout)
  if not ok then return nil, present, code end
  self.session_present = present
  return true
end

-- Requests -----------------------------------------------------------------------------------

--- Subscribes and waits for SUBACK.
---@param filter string|string[]
---@param qos integer?  default 0
---@return integer|integer[]|nil granted  for a list of filters a list; 128 is a refusal in it
---@return string? message                "subscription refused" for a single filter
---@return integer? code
function Client:subscribe(filter, qos)
  local list = client.check_filters(filter, 2)
  local codes, message = self.core:subscribe(list, client.check_qos(qos, 2), self.timeout)
  if not codes then return nil, message end
  if type(filter) == "table" then return codes end
  if codes[1] >= 0x80 then return nil, "subscription refused", codes[1] end
  return codes[1]
end

--- Unsubscribes and waits for UNSUBACK.
---@param filter string|string[]
---@return boolean? ok
---@return string? message
function Client:unsubscribe(filter)
  return self.core:unsubscribe(client.check_filters(filter, 2), self.timeout)
end

--- Publishes, and for QoS 1 and 2 waits until the broker has acknowledged it.
---@param topic string
---@param payload string
---@param qos integer|luamq.client.PublishOptions|nil  default 0
---@param retain boolean?                               default false
---@return boolean? ok
---@return string? message
function Client:publish(topic, payload, qos, retain)
  client.check_topic(topic, 2)
  if type(payload) ~= "string" then error("payload must be a string, got " .. type(payload), 2) end
  local options = type(qos) == "table" and qos or { qos = qos, retain = retain and true or nil }
  check_fields(options, publish_types, "publish", 2)
  return self.core:publish(topic, payload, client.check_qos(options.qos, 2), options.retain or false,
    options.timeout or self.timeout, options.wait ~= false)
end

--- The next message.
---@param timeout number?  seconds; default the client's
---@return luamq.client.Message? message
---@return string? problem  "timeout", or why the connection ended
function Client:receive(timeout)
  return self.core:receive(timeout or self.timeout)
end

--- Sends a PINGREQ and waits for the answer.
---@return boolean? ok
---@return string? message
function Client:ping() return self.core:ping(self.timeout) end

-- Raw ----------------------------------------------------------------------------------------

--- Sends bytes as they are.
---@param bytes string
---@return boolean? ok
---@return string? message
function Client:send_raw(bytes)
  if type(bytes) ~= "string" then error("send_raw expects a string", 2) end
  return self.core:send_raw(bytes, self.timeout)
end

--- The next packet as it is. Nothing is answered: PUBACK and the like are the caller's.
---@param timeout number?  seconds; default the client's
---@return luamq.client.Packet? packet
---@return string? problem
function Client:receive_packet(timeout)
  return self.core:receive_packet(timeout or self.timeout)
end

-- The end ------------------------------------------------------------------------------------

--- Sends DISCONNECT and closes when the broker has read it. No effect on a closed connection.
function Client:disconnect() self.core:disconnect(self.timeout) end

--- Drops the connection without DISCONNECT: the broker sends the will.
function Client:close() self.core:close() end

return client
