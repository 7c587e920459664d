--- MQTT packets, written and read in Lua: a second codec, which shares nothing with the one that is tested.
--- It takes tables and gives tables, checks nothing of what it writes, and raises when it reads what is
--- malformed.
---
---     connection:send_raw(packets.connect { id = "a", version = 5, clean = true })
---     local reader = packets.reader(5)
---     for _, packet in ipairs(reader(connection:raw())) do print(packet.type, packet.topic) end

local packets = {}

packets.CONNACK, packets.PUBLISH, packets.PUBACK, packets.PUBREC = 2, 3, 4, 5
packets.PUBREL, packets.PUBCOMP, packets.SUBACK, packets.UNSUBACK, packets.DISCONNECT = 6, 7, 9, 11, 14

local MESSAGE_EXPIRY, IDENTIFIER, USER_PROPERTY = 2, 11, 38

--- How the values of properties are packed; "v" is a variable byte integer, and a pair is two strings.
local formats = {
  [1] = ">B", [2] = ">I4", [3] = ">s2", [8] = ">s2", [9] = ">s2", [11] = "v", [17] = ">I4",
  [18] = ">s2", [19] = ">I2", [21] = ">s2", [22] = ">s2", [23] = ">B", [24] = ">I4", [25] = ">B",
  [26] = ">s2", [28] = ">s2", [31] = ">s2", [33] = ">I2", [34] = ">I2", [35] = ">I2", [36] = ">B",
  [37] = ">B", [38] = ">s2s2", [39] = ">I4", [40] = ">B", [41] = ">B", [42] = ">B",
}

-- Writing ------------------------------------------------------------------------------------

local function varint(value)
  local bytes = ""
  while value > 127 do
    bytes, value = bytes .. string.char(value % 128 + 128), value // 128
  end
  return bytes .. string.char(value)
end

local function fixed(first, body) return string.char(first) .. varint(#body) .. body end

--- A list of { id, value } (a pair has two values), with its length; nothing before MQTT 5.
local function properties(version, list)
  if version < 5 then return "" end
  local parts = {}
  for _, property in ipairs(list or {}) do
    local id, value = property[1], property[2]
    local format = formats[id]
    local bytes = format == "v" and varint(value) or format:pack(value, property[3])
    parts[#parts + 1] = string.char(id) .. bytes
  end
  local all = table.concat(parts)
  return varint(#all) .. all
end

function packets.connect(c)
  local flags, will = c.clean and 2 or 0, ""
  if c.will then
    flags = flags + 4 + 8 * c.will.qos + (c.will.retain and 32 or 0)
    will = properties(c.version, c.will.properties) .. (">s2s2"):pack(c.will.topic, c.will.payload)
  end
  local name = c.version == 3 and "MQIsdp" or "MQTT"
  return fixed(0x10, (">s2BBI2"):pack(name, c.version, flags, c.keep_alive or 0)
    .. properties(c.version, c.properties) .. (">s2"):pack(c.id) .. will)
end

function packets.publish(p)
  local first = 0x30 + (p.dup and 8 or 0) + 2 * p.qos + (p.retain and 1 or 0)
  local id = p.qos > 0 and (">I2"):pack(p.id) or ""
  return fixed(first, (">s2"):pack(p.topic) .. id .. properties(p.version, p.properties) .. p.payload)
end

--- PUBACK, PUBREC, PUBREL, PUBCOMP.
function packets.ack(type, id, reason)
  local first = type * 16 + (type == packets.PUBREL and 2 or 0)
  return fixed(first, (">I2"):pack(id) .. (reason and string.char(reason) or ""))
end

--- `filters` are { filter, options }.
function packets.subscribe(version, id, filters, list)
  local body = (">I2"):pack(id) .. properties(version, list)
  for _, entry in ipairs(filters) do body = body .. (">s2B"):pack(entry[1], entry[2]) end
  return fixed(0x82, body)
end

function packets.unsubscribe(version, id, filters)
  local body = (">I2"):pack(id) .. properties(version)
  for _, filter in ipairs(filters) do body = body .. (">s2"):pack(filter) end
  return fixed(0xa2, body)
end

function packets.disconnect(version, reason, list)
  if version < 5 then return fixed(0xe0, "") end
  return fixed(0xe0, string.char(reason or 0) .. properties(version, list))
end

-- Reading ------------------------------------------------------------------------------------

--- A variable byte integer at `at`, and where it ends; nil when it is not there whole.
local function read_varint(bytes, at)
  local value, unit = 0, 1
  for i = at, at + 3 do
    local byte = bytes:byte(i)
    if not byte then return nil end
    value, unit = value + byte % 128 * unit, unit * 128
    if byte < 128 then return value, i + 1 end
  end
  error "a variable byte integer of more than four bytes"
end

--- Properties by id. Identifiers and user properties are lists.
local function read_properties(bytes, at)
  local len, from = read_varint(bytes, at)
  local list, stop = { [IDENTIFIER] = {}, [USER_PROPERTY] = {} }, from + len
  at = from
  while at < stop do
    local id = bytes:byte(at)
    local format = assert(formats[id], "an unknown property")
    if format == "v" then
      local value, after = read_varint(bytes, at + 1)
      at = after
      table.insert(list[IDENTIFIER], value)
    elseif id == USER_PROPERTY then
      local name, value, after = format:unpack(bytes, at + 1)
      at = after
      table.insert(list[USER_PROPERTY], { name, value })
    else
      assert(list[id] == nil, "a repeated property")
      list[id], at = format:unpack(bytes, at + 1)
    end
  end
  assert(at == stop, "properties that do not end where they should")
  return list, at
end

local bodies = {}

bodies[packets.CONNACK] = function(p, body, version)
  p.session_present, p.code = body:byte(1) == 1, body:byte(2)
  if version == 5 then p.properties = read_properties(body, 3) end
end

bodies[packets.PUBLISH] = function(p, body, version)
  local at
  p.dup, p.qos, p.retain = p.flags >= 8, p.flags // 2 % 4, p.flags % 2 == 1
  p.topic, at = (">s2"):unpack(body)
  if p.qos > 0 then p.id, at = (">I2"):unpack(body, at) end
  if version == 5 then p.properties, at = read_properties(body, at) end
  p.payload = body:sub(at)
end

local function ack(p, body)
  p.id, p.reason = (">I2"):unpack(body), body:byte(3) or 0
end
for type = packets.PUBACK, packets.PUBCOMP do bodies[type] = ack end

local function codes(p, body, version)
  local at
  p.id, at = (">I2"):unpack(body)
  if version == 5 then p.properties, at = read_properties(body, at) end
  p.codes = { body:byte(at, -1) }
end
bodies[packets.SUBACK], bodies[packets.UNSUBACK] = codes, codes

bodies[packets.DISCONNECT] = function(p, body) p.reason = body:byte(1) or 0 end

--- A function that takes the next bytes of a connection, and answers the packets that are whole by now.
function packets.reader(version)
  local rest = ""
  return function(bytes)
    local list = {}
    rest = rest .. bytes
    while #rest >= 2 do
      local len, from = read_varint(rest, 2)
      if not len or #rest < from + len - 1 then break end
      local packet = { type = rest:byte() // 16, flags = rest:byte() % 16 }
      local read = bodies[packet.type]
      if read then read(packet, rest:sub(from, from + len - 1), version) end
      list[#list + 1], rest = packet, rest:sub(from + len)
    end
    return list
  end
end

--- What is left of the message expiry interval of a PUBLISH, or nil.
function packets.expiry(packet) return packet.properties and packet.properties[MESSAGE_EXPIRY] end

--- The subscription identifiers of a PUBLISH, in order.
function packets.identifiers(packet)
  local list = packet.properties and packet.properties[IDENTIFIER] or {}
  table.sort(list)
  return list
end

return packets
