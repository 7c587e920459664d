--- The clients of luamq.test: MQTT clients at the far end of memory connections.
---
--- A request runs the broker until it is at rest, and answers what the broker decided. Where a hook waits, or
--- the broker holds the client up, there is no answer yet; it is there later:
---
---     local answer, problem = alice:publish("t/a", "hi", 1)      -- nil, "no answer"
---     broker:advance(0.2)
---     assert.equal("success", alice:answer().reason)

local check = require "luamq.client_options"
local methods = require "luamq.methods"
local reason_name = require "luamq.core".client.reason_name

local clients = {}

---@class luamq.test.Answer  what the broker decided, in every version of MQTT
---@field reason string   "success", or the name of the reason for a refusal: "not_authorized", ...
---@field error string?   what failed, when it was not decided: a hook that raised, ...
---@field code integer?   what SUBACK, CONNACK and in MQTT 5 UNSUBACK say
---@field codes integer[]?  of a list of filters
---@field qos integer?    that was granted
---@field reason_string string?       MQTT 5: what the broker says for people
---@field user_properties string[][]?  MQTT 5
---@field explanation luamq.explain.Step[]  how it came about; looked up, so that answers can be compared

---@class luamq.test.Client
---@field id string                as it was sent, or as the broker has assigned it
---@field connack luamq.client.Answer?   its CONNACK of MQTT 5, with all properties
---@field disconnected luamq.client.Answer?  the broker's DISCONNECT of MQTT 5
---@field session_present boolean  of its CONNACK
---@field closed boolean           the connection has ended
---@field close_reason string?     why: "not authorized", "client disconnected", ...
---@field private core userdata
---@field private broker luamq.test.Broker
---@field private inbox luamq.client.Message[]  that were looked at
local Client = {}
Client.__name = "luamq.test.client"


--- Fields that are asked for at each use.
local live = {}

function live.closed(self) return (self.core:closed()) end

function live.close_reason(self) return select(2, self.core:closed()) end

function live.disconnected(self) return self.core:farewell() end

function live.session_present(self) return select(2, self.core:connack()) == true end

function live.connack(self) return self.core:version() == 5 and self.core:connack() or nil end

--- As it was sent, or as it was assigned.
function live.id(self)
  local sent = self.options and self.options.id or ""
  local connack = sent == "" and self.core:connack()
  return connack and connack.assigned_client_identifier or sent
end

function Client.__index(self, key)
  local field = live[key]
  if field then return field(self) end
  return Client[key]
end

function Client.__tostring(self) return ("luamq.test.client: %s"):format(self.id) end

--- For `broker:open`.
---@param broker luamq.test.Broker
---@param core userdata
---@return luamq.test.Client
function clients.new(broker, core)
  return setmetatable({ core = core, broker = broker, inbox = {} }, Client)
end

-- Answers ------------------------------------------------------------------------------------

--- What the 3.1.1 return codes of CONNACK stand for.
local connack_reasons = {
  [0] = "success", "unsupported_protocol_version", "client_identifier_not_valid", "server_unavailable",
  "bad_user_name_or_password", "not_authorized",
}

--- The worst of what a list of codes says, of which an ack of MQTT 5 has none of its own.
local function code_of(result)
  local said, codes = result.said, result.codes
  if not said or not codes or not codes[1] then return said and said.code end
  return math.max(table.unpack(codes))
end

local function told_reason(self, result)
  local code = code_of(result)
  if not code then return "success" end
  if result.kind == "connect" and self.core:version() ~= 5 then return connack_reasons[code] end
  return code >= 0x80 and reason_name(code) or "success"
end

--- For a single filter the codes are `code`, and what was granted is `qos`.
local function add_codes(answer, result, single)
  local codes = result.codes
  if not codes or not codes[1] then return end
  answer.code = nil
  if not single then
    answer.codes = codes
    return
  end
  answer.code = codes[1]
  if result.kind == "subscribe" and codes[1] < 0x80 then answer.qos = codes[1] end
end

local steps_of = setmetatable({}, { __mode = "k" })
local Answer = { __index = function(self, key) return key == "explanation" and steps_of[self] or nil end }

--- What the core has found as what a test is told.
---@return luamq.test.Answer? answer
---@return string? problem
local function answer_of(self, result, single)
  if not result then return nil, self.closed and "connection closed" or "no answer" end
  local said = result.said or {}
  local answer = setmetatable({
    reason = result.reason or told_reason(self, result), error = result.error,
    code = (result.kind == "connect" or result.kind == "auth") and said.code or nil,
    reason_string = said.reason_string, user_properties = said.user_properties,
  }, Answer)
  steps_of[answer] = self.core:steps()
  add_codes(answer, result, single)
  return answer
end

local CONTINUE = 0x18

--- Answers AUTH packets until there is another answer.
local function converse(self, result)
  local options = self.options
  while result and result.said and result.said.code == CONTINUE do
    local said = result.said
    local data = options.authenticate and options.authenticate(said.authentication_data, said)
    if not data then return result end
    result = self.core:auth(CONTINUE,
      { authentication_method = options.authentication_method, authentication_data = data })
  end
  return result
end

--- The answer to the oldest request that has had none: for `connect`, `subscribe`, `publish` and others that
--- answered `nil, "no answer"`, one after the other.
---@return luamq.test.Answer? answer
---@return string? problem  "no answer" when it is still not there, "connection closed"
function Client:answer()
  local result, any = self.core:answer()
  if not result and not any and not self.closed then error("all requests have been answered", 2) end
  return answer_of(self, converse(self, result), result and result.codes and #result.codes == 1)
end

-- Requests -----------------------------------------------------------------------------------

--- Sends CONNECT with options that are checked and completed.
---@param self luamq.test.Client
---@param options luamq.test.ConnectOptions
---@return luamq.test.Answer
function clients.connect(self, options)
  self.options = options
  local answer, problem = answer_of(self, converse(self, self.core:connect(options)))
  return answer or { reason = "no_answer", error = self.close_reason or problem }
end

--- Sends CONNECT on a connection of `broker:open`.
---@param options luamq.test.ConnectOptions?
---@return luamq.test.Answer answer  without an answer of the broker its reason is "no_answer"
function Client:connect(options)
  return clients.connect(self, check.connect(options or {}, false, self.broker.version, 2))
end

--- MQTT 5: authenticates once more, with the method of the connection.
---@param data string?
---@return luamq.test.Answer? answer  nil when the broker has closed
---@return string? problem
function Client:reauthenticate(data)
  local method = self.options and self.options.authentication_method
  if not method then error("the connection has no authentication_method", 2) end
  local result = self.core:auth(0x19, { authentication_method = method, authentication_data = data })
  return answer_of(self, converse(self, result))
end

--- Subscribes. For a refused filter `reason` tells why; `code` is what SUBACK told.
---@param filter string|string[]
---@param options integer|luamq.client.SubscribeOptions|nil  a QoS; default 0
---@return luamq.test.Answer? answer
---@return string? problem  "no answer" or "connection closed"
function Client:subscribe(filter, options)
  local list = check.filters(filter, 2)
  local byte, fields = check.subscribe(options, self.core:version(), 2)
  return answer_of(self, self.core:subscribe(list, byte, fields), type(filter) == "string")
end

--- Unsubscribes.
---@param filter string|string[]
---@param options { user_properties: string[][]? }?  of MQTT 5
---@return luamq.test.Answer? answer
---@return string? problem
function Client:unsubscribe(filter, options)
  local list = check.filters(filter, 2)
  local fields = check.unsubscribe(options, self.core:version(), 2)
  return answer_of(self, self.core:unsubscribe(list, fields), type(filter) == "string")
end

--- Publishes, and answers what the broker decided. While it has not (the hook waits, the broker holds the
--- publisher up) it is nil, "no answer"; a message that the broker has said not to take (in MQTT 5: its size,
--- its QoS) is not sent, and gives nil and why.
---@param topic string
---@param payload string
---@param qos integer|luamq.client.PublishOptions|nil  default 0
---@param retain boolean?  default false
---@return luamq.test.Answer? answer
---@return string? problem
function Client:publish(topic, payload, qos, retain)
  local options = check.publish(topic, payload, qos, retain, self.core:version(), 2)
  local qos_level, retained = options.qos or 0, options.retain or false
  local result, refusal = self.core:publish(topic, payload, qos_level, retained, options)
  if result == false then return nil, refusal end
  return answer_of(self, result)
end

-- Messages, and the end ----------------------------------------------------------------------

--- How what the broker decided about this client since the last answer came about: deliveries, above all. See
--- luamq.explain.
---@return luamq.explain.Step[]  those of the last call are left out
function Client:steps() return self.core:steps() end

--- The next message, or nil when there is none now.
---@return luamq.client.Message?
function Client:receive()
  if #self.inbox > 0 then return table.remove(self.inbox, 1) end
  return self.core:receive()
end

--- All messages that are there, which are still to be received: the list is the client's own.
---@return luamq.client.Message[]
function Client:messages()
  local list = self.inbox
  for message in function() return self.core:receive() end do list[#list + 1] = message end
  return list
end

--- All messages that are there.
---@return luamq.client.Message[]
function Client:receive_all()
  local list = self:messages()
  self.inbox = {}
  return list
end

--- Sends DISCONNECT and closes.
---@param options luamq.client.DisconnectOptions?
function Client:disconnect(options)
  self.core:disconnect(check.disconnect(options, self.core:version(), 2))
  self.broker.live[self] = nil
end

function Client.__close(self) self:disconnect() end

--- Resets the connection without DISCONNECT: the broker sends the will.
function Client:drop()
  self.core:drop()
  self.broker.live[self] = nil
end

--- Ends its own side of the connection; it still receives.
function Client:half_close() self.core:half_close() end

--- Sends bytes as they are.
---@param bytes string
---@return boolean? sent  nil when the connection has ended
function Client:send_raw(bytes)
  if type(bytes) ~= "string" then error("send_raw expects a string", 2) end
  return self.core:send_raw(bytes)
end

--- The bytes that were received since the last call (at most the first MiB of them).
---@return string
function Client:raw() return self.core:raw() end

--- Stops reading: the broker can write this many bytes before it is blocked. Without a number it reads again.
---@param bytes integer?
function Client:set_window(bytes)
  if bytes ~= nil and (math.type(bytes) ~= "integer" or bytes < 0) then
    error("set_window expects a number of bytes", 2)
  end
  self.core:set_window(bytes)
end

--- Sends no more pings, so that its keep alive passes.
---@param on boolean?  default true
function Client:silence(on) self.core:silence(on ~= false) end

methods.guard(Client, "a client of luamq.test")

return clients
