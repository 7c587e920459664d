--- Packets of MQTT 5 as bytes and back, for specs that speak it without a client: an encoder and a strict
--- decoder, which share nothing with those in C. Where they are told another version, 3 or 4, there are
--- neither properties nor reasons.
---
---     local peer = packets.connect(broker, { id = "c", properties = { receive_maximum = 1 } })
---     local suback = peer:send(packets.subscribe(1, { { "a/#", 1 } }))[1]
---     assert.equal("suback", suback.type)

local packets = {}

local types = { "connect", "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp", "subscribe",
  "suback", "unsubscribe", "unsuback", "pingreq", "pingresp", "disconnect", "auth" }

--- Name, id and format of each property; "v" is a variable byte integer, "p" a pair of strings.
local rows = {
  payload_format_indicator = { 1, "B" }, message_expiry_interval = { 2, ">I4" }, content_type = { 3, ">s2" },
  response_topic = { 8, ">s2" }, correlation_data = { 9, ">s2" },
  subscription_identifiers = { 11, "v" }, session_expiry_interval = { 17, ">I4" },
  assigned_client_identifier = { 18, ">s2" }, server_keep_alive = { 19, ">I2" },
  authentication_method = { 21, ">s2" }, authentication_data = { 22, ">s2" },
  request_problem_information = { 23, "B" }, will_delay_interval = { 24, ">I4" },
  request_response_information = { 25, "B" }, reason_string = { 31, ">s2" }, receive_maximum = { 33, ">I2" },
  topic_alias_maximum = { 34, ">I2" }, topic_alias = { 35, ">I2" }, maximum_qos = { 36, "B" },
  retain_available = { 37, "B" }, user_properties = { 38, "p" }, maximum_packet_size = { 39, ">I4" },
  wildcard_subscription_available = { 40, "B" },
  subscription_identifier_available = { 41, "B" },
  shared_subscription_available = { 42, "B" },
}
local names = {}
for name, row in pairs(rows) do names[row[1]] = name end

local function varint(n)
  local bytes = {}
  repeat
    local rest = n >> 7
    bytes[#bytes + 1] = string.char(n & 127 | (rest > 0 and 128 or 0))
    n = rest
  until n == 0
  return table.concat(bytes)
end

local function read_varint(bytes, at)
  local value, shift = 0, 0
  while true do
    local byte = bytes:byte(at)
    value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
    if byte < 128 then return value, at end
  end
end

--- Properties with their length, from a table of names; nil stands for none.
---@param list table?
---@param version integer?
---@return string
function packets.properties(list, version)
  if version and version < 5 then return "" end
  local sorted, out = {}, {}
  for name in pairs(list or {}) do sorted[#sorted + 1] = name end
  table.sort(sorted)
  for _, name in ipairs(sorted) do
    local row, value = rows[name], list[name]
    local id = string.char(row[1])
    if row[2] == "p" then
      for _, pair in ipairs(value) do out[#out + 1] = id .. string.pack(">s2s2", pair[1], pair[2]) end
    elseif row[2] == "v" then
      for _, number in ipairs(value) do out[#out + 1] = id .. varint(number) end
    else
      out[#out + 1] = id .. string.pack(row[2], value)
    end
  end
  local bytes = table.concat(out)
  return varint(#bytes) .. bytes
end

local function read_properties(bytes, at, version)
  if version < 5 then return nil, at end
  local list, len, from = {}, read_varint(bytes, at)
  local last = from + len
  at = from
  while at < last do
    local name = assert(names[bytes:byte(at)], "unknown property")
    local format = rows[name][2]
    local key, value
    at = at + 1
    if format == "p" then
      key, value, at = string.unpack(">s2s2", bytes, at)
      list[name] = list[name] or {}
      table.insert(list[name], { key, value })
    elseif format == "v" then
      value, at = read_varint(bytes, at)
      list[name] = list[name] or {}
      table.insert(list[name], value)
    else
      assert(list[name] == nil, "a property twice")
      list[name], at = string.unpack(format, bytes, at)
    end
  end
  assert(at == last, "properties longer than their length")
  return list, at
end

local function frame(first, body) return string.char(first) .. varint(#body) .. body end

--- CONNECT, with `version`; `will` has topic, payload, qos, retain and properties.
---@param options table
---@return string
function packets.connect_packet(options)
  local will = options.will
  local flags = (options.clean ~= false and 2 or 0) | (options.username and 0x80 or 0)
    | (options.password and 0x40 or 0)
  if will then flags = flags | 4 | (will.qos or 0) << 3 | (will.retain and 0x20 or 0) end
  local version = options.version or 5
  local name = version == 3 and "MQIsdp" or "MQTT"
  local body = string.pack(">s2BBI2", name, version, flags, options.keep_alive or 60)
    .. packets.properties(options.properties, version) .. string.pack(">s2", options.id or "")
  if will then
    body = body .. packets.properties(will.properties, version)
      .. string.pack(">s2s2", will.topic, will.payload or "")
  end
  if options.username then body = body .. string.pack(">s2", options.username) end
  if options.password then body = body .. string.pack(">s2", options.password) end
  return frame(0x10, body)
end

--- `options` are qos, id, retain, dup, properties, version.
function packets.publish(topic, payload, options)
  options = options or {}
  local qos = options.qos or 0
  local flags = (options.dup and 8 or 0) | qos << 1 | (options.retain and 1 or 0)
  return frame(0x30 | flags, string.pack(">s2", topic)
    .. (qos > 0 and string.pack(">I2", options.id or 1) or "")
    .. packets.properties(options.properties, options.version) .. payload)
end

--- PUBACK, PUBREC, PUBREL, PUBCOMP.
function packets.ack(kind, id, reason)
  local body = string.pack(">I2", id) .. (reason and string.char(reason) or "")
  for type, name in ipairs(types) do
    if name == kind then return frame(type << 4 | (kind == "pubrel" and 2 or 0), body) end
  end
end

--- Each of the list is { filter, options }.
function packets.subscribe(id, list, properties, version)
  local body = string.pack(">I2", id) .. packets.properties(properties, version)
  for _, one in ipairs(list) do body = body .. string.pack(">s2B", one[1], one[2] or 0) end
  return frame(0x82, body)
end

function packets.unsubscribe(id, list, properties, version)
  local body = string.pack(">I2", id) .. packets.properties(properties, version)
  for _, filter in ipairs(list) do body = body .. string.pack(">s2", filter) end
  return frame(0xa2, body)
end

function packets.auth(reason, properties)
  return frame(0xf0, string.char(reason) .. packets.properties(properties))
end

function packets.disconnect(reason, properties, version)
  if version and version < 5 then return frame(0xe0, "") end
  return frame(0xe0, string.char(reason or 0) .. packets.properties(properties))
end

--- A body of [id] [reason [properties]].
local function read_reason(packet, body, at, version)
  packet.reason_code = at <= #body and body:byte(at) or 0
  packet.properties = at + 1 <= #body and read_properties(body, at + 1, version) or {}
end

local function read_list(packet, body, version)
  local at
  packet.id = string.unpack(">I2", body)
  packet.properties, at = read_properties(body, 3, version)
  packet.codes = { body:byte(at, -1) }
end

local function read_ack(packet, body, version)
  packet.id = string.unpack(">I2", body)
  read_reason(packet, body, 3, version)
end

local readers = {
  connack = function(packet, body, version)
    packet.session_present = body:byte(1) == 1
    packet.reason_code = body:byte(2)
    packet.properties = read_properties(body, 3, version)
  end,
  publish = function(packet, body, version)
    local at
    packet.dup, packet.qos, packet.retain = packet.flags & 8 > 0, packet.flags >> 1 & 3, packet.flags & 1 == 1
    packet.topic, at = string.unpack(">s2", body)
    if packet.qos > 0 then packet.id, at = string.unpack(">I2", body, at) end
    packet.properties, at = read_properties(body, at, version)
    packet.payload = body:sub(at)
  end,
  suback = read_list, unsuback = read_list,
  puback = read_ack, pubrec = read_ack, pubrel = read_ack, pubcomp = read_ack,
  disconnect = function(packet, body, version) read_reason(packet, body, 1, version) end,
  auth = function(packet, body, version) read_reason(packet, body, 1, version) end,
  pingresp = function() end,
}

--- All packets that a broker has sent.
---@param bytes string
---@param version integer?
---@return table[]
function packets.read(bytes, version)
  local list, at = {}, 1
  while at <= #bytes do
    local first = bytes:byte(at)
    local len, from = read_varint(bytes, at + 1)
    local body = bytes:sub(from, from + len - 1)
    assert(#body == len, "a packet is cut off")
    local packet = { type = types[first >> 4], flags = first & 15, size = from + len - at }
    readers[packet.type](packet, body, version or 5)
    list[#list + 1] = packet
    at = from + len
  end
  return list
end

---@class spec.Peer
---@field connack table?
---@field client luamq.test.Client
local Peer = {}
Peer.__index = Peer

--- Sends bytes and returns the packets that came for them.
---@param bytes string?  nil: only what has come meanwhile
---@return table[]
function Peer:send(bytes)
  if bytes then self.client:send_raw(bytes) end
  return packets.read(self.client:raw())
end

--- The same where exactly one packet is to come.
function Peer:ask(bytes)
  local list = self:send(bytes)
  if #list ~= 1 then error(("expected one packet, got %d"):format(#list), 2) end
  return list[1]
end

--- A connection of a luamq.test broker that has sent nothing.
---@param broker luamq.test.Broker
---@return spec.Peer
function packets.open(broker) return setmetatable({ client = broker:open() }, Peer) end

--- One that has sent CONNECT and whose answer is in `connack`.
---@param broker luamq.test.Broker
---@param options table?
---@return spec.Peer
function packets.connect(broker, options)
  local peer = packets.open(broker)
  peer.connack = peer:send(packets.connect_packet(options or {}))[1]
  return peer
end

return packets
