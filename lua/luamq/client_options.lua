--- What a user gives to luamq.client and luamq.test, checked: options of connections and requests. A misuse
--- raises; `level` is that of error for the function that calls.

local core = require "luamq.core".client
local network = require "luamq.network"

local options_of = {}

local connect_types = {
  id = "string", clean = "boolean", keep_alive = "integer", username = "string", password = "string",
  will = "table", version = "version", clean_start = "boolean", topic_aliases = "integer",
  authenticate = "function",
}
local only_5 = { clean_start = true, topic_aliases = true, authenticate = true }
for name, expected in pairs(core.property_types "connect") do
  connect_types[name] = expected
  only_5[name] = true
end
local network_types = { timeout = "number" }
for _, types in ipairs { connect_types, network.types } do
  for name, expected in pairs(types) do network_types[name] = expected end
end
local will_types = { topic = "string", payload = "string", qos = "integer", retain = "boolean" }
local publish_types = { qos = "integer", retain = "boolean", timeout = "number", wait = "boolean" }
local subscribe_types = {
  qos = "integer", no_local = "boolean", retain_as_published = "boolean", retain_handling = "integer",
}
local unsubscribe_types = {}
local disconnect_types = { with_will = "boolean" }
for what, types in pairs {
  will = will_types, publish = publish_types, subscribe = subscribe_types, unsubscribe = unsubscribe_types,
  disconnect = disconnect_types,
} do
  for name, expected in pairs(core.property_types(what)) do types[name] = expected end
end

local versions = { [3] = 3, [4] = 4, [5] = 5, ["3.1"] = 3, ["3.1.1"] = 4, ["5"] = 5, ["5.0"] = 5 }
local for_ever = 0xffffffff

local function type_of(value)
  return math.type(value) == "integer" and "integer" or type(value)
end

--- Raises for a field that is not known or not of its type. `level` is that of error.
local function check_fields(fields, types, what, level)
  for name, value in pairs(fields) do
    local expected = types[name]
    if not expected then error(("%s: unknown field '%s'"):format(what, tostring(name)), level + 1) end
    local as_number = expected == "number" and type_of(value) == "integer"
    if expected ~= "version" and type_of(value) ~= expected and not as_number then
      error(("%s: %s must be of type %s, got %s"):format(what, name, expected, type_of(value)), level + 1)
    end
  end
end

local function check_range(value, first, last, what, level)
  if value and (value < first or value > last) then
    error(("%s must be from %d to %d"):format(what, first, last), level + 1)
  end
end

--- Raises for a property that is not right, or that the version has not.
local function check_properties(fields, what, version, level)
  local problem = core.property_problem(what, fields)
  if problem then error(("%s: %s"):format(what, problem), level + 1) end
  if version == 5 then return end
  for name in pairs(core.property_types(what)) do
    if fields[name] ~= nil then error(("%s: %s is of MQTT 5"):format(what, name), level + 1) end
  end
end

local function check_version(options, default, level)
  local version = versions[options.version == nil and default or options.version]
  if not version then error('connect: version must be "3.1", "3.1.1" or "5"', level + 1) end
  for name in pairs(only_5) do
    if version ~= 5 and options[name] ~= nil then
      error(("connect: %s is of MQTT 5"):format(name), level + 1)
    end
  end
  return version
end

--- The options as the core takes them: version as a number, clean start as `clean`.
local function complete(options, version)
  local result = {}
  for name, value in pairs(options) do result[name] = value end
  result.version = version
  if version ~= 5 then return result end
  if options.clean == false and options.session_expiry_interval == nil and options.clean_start == nil then
    result.session_expiry_interval = for_ever
  end
  if options.clean_start ~= nil then result.clean = options.clean_start end
  return result
end

--- Checks the options of a connection, for this module and for luamq.test, and completes them. Raises.
---@param options table
---@param remote boolean  what says where to connect, and timeout, may be there
---@param version string  of a table that does not say
---@param level integer
---@return table completed
function options_of.connect(options, remote, version, level)
  level = level + 1
  check_fields(options, remote and network_types or connect_types, "connect", level)
  local number = check_version(options, version, level)
  check_properties(options, "connect", number, level)
  check_range(options.keep_alive, 0, 65535, "connect: keep_alive", level)
  check_range(options.topic_aliases, 0, 65535, "connect: topic_aliases", level)
  check_range(options.port, 1, 65535, "connect: port", level)
  network.check(options, check_fields, level)
  for _, name in ipairs { "id", "username", "password" } do
    if options[name] and #options[name] > 65535 then
      error(("connect: %s is longer than 65535 bytes"):format(name), level)
    end
  end
  if options.password and not options.username and number ~= 5 then
    error("connect: a password needs a username", level)
  end
  local will = options.will
  if not will then return complete(options, number) end
  check_properties(will, "will", number, level)
  check_fields(will, will_types, "connect: will", level)
  check_range(will.qos, 0, 2, "connect: will.qos", level)
  if not will.topic or not core.is_topic(will.topic) then
    error("connect: will.topic is not a topic", level)
  end
  if will.payload and #will.payload > 65535 then
    error("connect: will.payload is longer than 65535 bytes", level)
  end
  return complete(options, number)
end

--- A value for a message: a string in quotes, or its type.
local function show(value)
  return type(value) == "string" and ("%q"):format(value) or type(value)
end

--- The list of filters that a call names, each one valid.
---@param filter string|string[]
---@param level integer
---@return string[]
function options_of.filters(filter, level)
  local list = type(filter) == "table" and filter or { filter }
  if #list == 0 then error("expected a topic filter", level + 1) end
  for _, one in ipairs(list) do
    if type(one) ~= "string" or not core.is_filter(one) then
      error(show(one) .. " is not a topic filter", level + 1)
    end
  end
  return list
end

function options_of.topic(topic, level)
  if type(topic) ~= "string" or not core.is_topic(topic) then
    error(show(topic) .. " is not a topic", level + 1)
  end
end

--- QoS as a number from 0 to 2, default 0.
function options_of.qos(qos, level)
  if qos == nil then return 0 end
  if math.type(qos) ~= "integer" or qos < 0 or qos > 2 then error("qos must be 0, 1 or 2", level + 1) end
  return qos
end

--- The options of a request: a QoS, a table or nil.
local function request_options(options, types, what, version, level)
  if type(options) ~= "table" then options = { qos = options } end
  if options.qos ~= nil then options_of.qos(options.qos, level + 1) end
  check_fields(options, types, what, level + 1)
  check_properties(options, what, version, level + 1)
  return options
end

--- The byte of subscription options, and the options; for this module and for luamq.test.
---@param options integer|luamq.client.SubscribeOptions|nil
---@param version integer
---@param level integer
---@return integer byte
---@return luamq.client.SubscribeOptions
function options_of.subscribe(options, version, level)
  options = request_options(options, subscribe_types, "subscribe", version, level + 1)
  check_range(options.retain_handling, 0, 2, "subscribe: retain_handling", level + 1)
  local byte = (options.qos or 0) | (options.no_local and 4 or 0) | (options.retain_as_published and 8 or 0)
    | (options.retain_handling or 0) << 4
  if byte > 2 and version ~= 5 then error("subscribe: all options but qos are of MQTT 5", level + 1) end
  return byte, options
end

---@param options table?
---@param version integer
---@param level integer
function options_of.unsubscribe(options, version, level)
  return request_options(options or {}, unsubscribe_types, "unsubscribe", version, level) -- a tail call
end

--- The options of a publish; for this module and for luamq.test.
---@param topic string
---@param payload string
---@param qos integer|luamq.client.PublishOptions|nil
---@param retain boolean?
---@param version integer
---@param level integer
function options_of.publish(topic, payload, qos, retain, version, level)
  options_of.topic(topic, level + 1)
  if type(payload) ~= "string" then error("payload must be a string, got " .. type(payload), level + 1) end
  local options = type(qos) == "table" and qos or { qos = qos, retain = retain and true or nil }
  return request_options(options, publish_types, "publish", version, level) -- a tail call
end

---@param options luamq.client.DisconnectOptions?
---@param version integer
---@param level integer
---@return integer code
---@return luamq.client.DisconnectOptions
function options_of.disconnect(options, version, level)
  options = request_options(options or {}, disconnect_types, "disconnect", version, level + 1)
  if options.with_will and version ~= 5 then error("disconnect: with_will is of MQTT 5", level + 1) end
  return options.with_will and 4 or 0, options
end

return options_of
