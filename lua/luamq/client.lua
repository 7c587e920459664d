--- An MQTT 5, 3.1.1 and 3.1 client for scripts and tests, over TCP or a unix socket, with TLS and WebSocket.
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
--- MQTT 5 is spoken when it is asked for, and properties have the specification's names in snake case:
---
---     local c <close> = assert(client.connect { id = "meter", version = 5, session_expiry_interval = 3600,
---       will = { topic = "gone", will_delay_interval = 10 } })
---     assert(c:subscribe("jobs/#", { qos = 1, no_local = true, subscription_identifier = 7 }))
---     assert(c:publish("jobs/1", "{}", { qos = 1, content_type = "application/json",
---       user_properties = { { "from", "meter" } } }))
---     print(c:receive(1).subscription_identifiers[1])
---
--- What fails at run time returns nil, a message and, for a refusal, the code of the packet that refused; in
--- MQTT 5 the message of a refusal is the name of the reason ("not_authorized"), and the whole answer comes
--- behind the code. Once the connection has ended, every call returns nil and why ("connection closed").

local core = require "luamq.core".client
local check = require "luamq.client_options"
local network = require "luamq.network"

---@class luamq.client
local client = {}

---@class luamq.client.MessageProperties  of MQTT 5
---@field payload_format_indicator integer?  0, or 1: the payload is UTF-8
---@field message_expiry_interval integer?   seconds
---@field content_type string?
---@field response_topic string?
---@field correlation_data string?
---@field user_properties string[][]?        a list of { name, value }

---@class luamq.client.Will: luamq.client.MessageProperties
---@field topic string
---@field payload string?               default ""
---@field qos integer?                  default 0
---@field retain boolean?               default false
---@field will_delay_interval integer?  MQTT 5: seconds; default 0

---@class luamq.client.ConnectOptions
---@field host string?         default "127.0.0.1"
---@field port integer?        default 1883; with TLS 8883; for a WebSocket 80, and with TLS 443
---@field unix string?         the path of a unix socket, instead of host and port
---instead of these: mqtt|mqtts|ws|wss://[username[:password]@]host[:port][/path] or unix:///path; tcp, tls
---and ssl are as mqtt, mqtts and mqtts
---@field url string?
---@field tls luamq.client.Tls?              with TLS; {} trusts the system's authorities
---@field websocket luamq.client.WebSocket?  over a WebSocket
---@field id string?           default "": the broker assigns one
---a clean session; default true. In MQTT 5 false keeps the session for ever, unless session_expiry_interval
---or clean_start is given
---@field clean boolean?
---@field clean_start boolean? MQTT 5: only whether an old session is dropped; default is `clean`
---@field keep_alive integer?  seconds, 0 is off; default 60
---@field username string?
---@field password string?     needs a username before MQTT 5
---@field will luamq.client.Will?
---@field version integer|string|nil  "3.1" or 3, "3.1.1" or 4, "5" or 5; default "3.1.1"
---@field timeout number?      seconds that a call may take unless told otherwise; default 5
---@field session_expiry_interval integer?  MQTT 5: seconds; default 0: the session ends with its connection
---@field receive_maximum integer?  MQTT 5: QoS 1 and 2 messages that are taken at once
---@field maximum_packet_size integer?  MQTT 5: bytes
---@field topic_alias_maximum integer?  MQTT 5: aliases that the broker may use; default 0
---@field topic_aliases integer?  MQTT 5: aliases that this client uses, if the broker allows; default 0
---@field request_response_information integer?  MQTT 5: 0 or 1
---@field request_problem_information integer?  MQTT 5: 0 or 1
---@field user_properties string[][]?  MQTT 5
---@field authentication_method string?  MQTT 5
---@field authentication_data string?  MQTT 5
---@field authenticate luamq.client.Authenticate?  MQTT 5: answers AUTH packets

--- Gets what the broker's AUTH holds, and returns the data to answer with. nil ends the connection.
---@alias luamq.client.Authenticate fun(data: string?, answer: luamq.client.Answer): string?

---@class luamq.client.Answer  what a packet of the broker says; its properties are fields, too
---@field code integer
---@field reason string          the name of the code: "success", "not_authorized", ...
---@field reason_string string?  for people
---@field user_properties string[][]?

---@class luamq.client.Message: luamq.client.MessageProperties
---@field topic string
---@field payload string
---@field qos integer
---@field retain boolean
---@field dup boolean
---@field id integer?  of QoS 1 and 2
---@field subscription_identifiers integer[]?

---@class luamq.client.Packet  a packet as it came
---@field type string               "Connack", "Publish", ...
---@field text string               its text form
---@field id integer?
---@field code integer?             of a Connack; in MQTT 5 of all acks, Disconnect and Auth
---@field session_present boolean?  of a Connack
---@field codes integer[]?          of a Suback; in MQTT 5 of an Unsuback
---@field topic string?             of a Publish, with all fields of a message

---@class luamq.client.SubscribeOptions  all but qos are of MQTT 5
---@field qos integer?                  default 0
---@field no_local boolean?             not what this client publishes; default false
---@field retain_as_published boolean?  messages keep their retain flag; default false
---@field retain_handling integer?      retained messages: 0 (default), 1: if it is new, 2: never
---@field subscription_identifier integer?
---@field user_properties string[][]?

---@class luamq.client.DisconnectOptions  of MQTT 5
---@field with_will boolean?                the broker sends the will; default false
---@field session_expiry_interval integer?  seconds
---@field reason_string string?
---@field user_properties string[][]?

---@class luamq.client.PublishOptions: luamq.client.MessageProperties
---@field qos integer?      default 0
---@field retain boolean?   default false
---@field timeout number?   seconds; default the client's
---@field wait boolean?     false: does not wait for the acknowledgement of QoS 1 or 2

---@class luamq.client.Client
---@field id string                the id that was sent, or that an MQTT 5 broker has assigned
---@field session_present boolean  the broker had a session of this id; false before `connect`
---@field closed boolean           the connection has ended
---@field disconnected luamq.client.Answer?  the broker's DISCONNECT
---@field connack luamq.client.Answer?       what an MQTT 5 broker said of the last connection
---@field timeout number           seconds that a call may take
---@field private core userdata
---@field private options luamq.client.ConnectOptions
local Client = {}

-- Connecting ---------------------------------------------------------------------------------

Client.__name = "luamq.client"

function Client.__index(self, key)
  if key == "closed" then return rawget(self, "core"):closed() end
  if key == "disconnected" then return rawget(self, "core"):farewell() end
  return Client[key]
end

function Client.__close(self) self:disconnect() end

function Client.__tostring(self) return ("luamq.client: %s"):format(self.id) end

---@return luamq.client.Client
local function new(options)
  options = network.resolve(options)
  local version = options.version
  return setmetatable({
    core = core.new(options), options = options, id = options.id or "", session_present = false,
    timeout = options.timeout or 5, version = version,
  }, Client)
end

local CONTINUE, REAUTHENTICATE = 0x18, 0x19

--- Answers AUTH packets until there is another answer.
local function converse(self, answer, message)
  local options = self.options
  while answer and answer.code == CONTINUE do
    local data = options.authenticate and options.authenticate(answer.authentication_data, answer)
    if not data then
      self.core:close()
      return nil, "the broker asks for more, and `authenticate` has no answer"
    end
    answer, message = self.core:auth(CONTINUE,
      { authentication_method = options.authentication_method, authentication_data = data }, self.timeout)
  end
  return answer, message
end

--- Connects and waits for CONNACK.
---@param options luamq.client.ConnectOptions?
---@return luamq.client.Client? client  disconnected when it goes out of scope as a `<close>` variable
---@return string? message              "not authorized", ...; in MQTT 5 "not_authorized", ...
---@return integer? code                the return code of a CONNACK that refused
---@return luamq.client.Answer? answer  of MQTT 5: all of it
function client.connect(options)
  if options ~= nil and type(options) ~= "table" then error("connect expects a table of options", 2) end
  local self = new(check.connect(options or {}, true, "3.1.1", 2))
  local ok, message, code, answer = self:reconnect()
  if ok then return self end
  if answer then return nil, message, code, answer end
  return nil, message, code
end

--- Opens a connection without sending anything, for `send_raw` and `receive_packet`.
---@param options luamq.client.ConnectOptions?  of these the ones that say where to connect, and timeout
---@return luamq.client.Client? client
---@return string? message
function client.open(options)
  if options ~= nil and type(options) ~= "table" then error("open expects a table of options", 2) end
  local self = new(check.connect(options or {}, true, "3.1.1", 2))
  local ok, message = self.core:open(self.options, self.timeout)
  if not ok then return nil, message end
  return self
end

--- Connects again, with the same options; files are read again. Without a clean session messages that are
--- not acknowledged are sent once more.
---@return boolean? ok
---@return string? message
---@return integer? code
---@return luamq.client.Answer? answer
function Client:reconnect()
  local answer, message = converse(self, self.core:connect(self.options, self.timeout))
  if not answer then return nil, message end
  local of_5 = self.version == 5
  self.connack = of_5 and answer or nil
  if answer.error and of_5 then return nil, answer.error, answer.code, answer end
  if answer.error then return nil, answer.error, answer.code end
  self.session_present = answer.session_present
  self.id = answer.assigned_client_identifier or self.id
  return true
end

--- MQTT 5: authenticates once more, with the method of the connection.
---@param data string?
---@return luamq.client.Answer? answer
---@return string? message
function Client:reauthenticate(data)
  local fields = { authentication_method = self.options.authentication_method, authentication_data = data }
  if not fields.authentication_method then error("the connection has no authentication_method", 2) end
  return converse(self, self.core:auth(REAUTHENTICATE, fields, self.timeout))
end

-- Requests -----------------------------------------------------------------------------------

--- nil and what an answer of MQTT 5 refuses, or its success.
local function refusal(code, answer, text)
  if not answer then return nil, text, code end
  return nil, core.reason_name(code), code, answer
end

--- Subscribes and waits for SUBACK.
---@param filter string|string[]
---@param options integer|luamq.client.SubscribeOptions|nil  a QoS; default 0
---@return integer|integer[]|nil granted  for a list of filters a list; 128 and more is a refusal in it
---@return any message  for a single filter that is refused "subscription refused", in MQTT 5
---                     "not_authorized", ...; without a refusal the answer of MQTT 5
---@return integer? code
---@return luamq.client.Answer? answer
function Client:subscribe(filter, options)
  local list = check.filters(filter, 2)
  local byte, fields = check.subscribe(options, self.version, 2)
  local codes, answer = self.core:subscribe(list, byte, self.timeout, fields)
  if not codes then return nil, answer end
  if type(filter) == "table" then return codes, answer end
  if codes[1] >= 0x80 then return refusal(codes[1], answer, "subscription refused") end
  return codes[1], answer
end

--- Unsubscribes and waits for UNSUBACK.
---@param filter string|string[]
---@param options { user_properties: string[][]? }?  of MQTT 5
---@return boolean|integer[]|nil ok  in MQTT 5 a list of codes for a list of filters
---@return any message  of a single filter in MQTT 5 "not_authorized", ...; without a refusal the answer
---@return integer? code
---@return luamq.client.Answer? answer
function Client:unsubscribe(filter, options)
  local list = check.filters(filter, 2)
  local fields = check.unsubscribe(options, self.version, 2)
  local codes, answer = self.core:unsubscribe(list, self.timeout, fields)
  if not codes then return nil, answer end
  if type(filter) == "table" and codes[1] then return codes, answer end
  if codes[1] and codes[1] >= 0x80 then return refusal(codes[1], answer) end
  return true, answer
end

--- Publishes, and for QoS 1 and 2 waits until the broker has acknowledged it.
---@param topic string
---@param payload string
---@param qos integer|luamq.client.PublishOptions|nil  default 0
---@param retain boolean?                               default false
---@return boolean? ok
---@return any message  of a refusal in MQTT 5 "not_authorized", ...; else the answer that was waited for
---@return integer? code
---@return luamq.client.Answer? answer
function Client:publish(topic, payload, qos, retain)
  local options = check.publish(topic, payload, qos, retain, self.version, 2)
  local ok, answer = self.core:publish(topic, payload, options.qos or 0, options.retain or false,
    options.timeout or self.timeout, options.wait ~= false, options)
  if ok and answer and answer.code >= 0x80 then return refusal(answer.code, answer) end
  return ok, answer
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
---@param options luamq.client.DisconnectOptions?
function Client:disconnect(options)
  local code, fields = check.disconnect(options, self.version, 2)
  self.core:disconnect(self.timeout, code, fields)
end

--- Drops the connection without DISCONNECT: the broker sends the will.
function Client:close() self.core:close() end

return client
