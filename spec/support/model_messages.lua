--- Messages and topics in the model of a broker.

local packets = require "spec.support.packets"

local messages = {}

---@class spec.Message
---@field topic string
---@field payload string
---@field qos integer
---@field retain boolean?
---@field expiry integer?   seconds
---@field arrived integer?  when its expiry began; default: now
---@field number integer?   in order of publishing

---@class spec.Owed  a message on its way to a session
---@field message spec.Message
---@field qos integer
---@field retain boolean
---@field identifiers integer[]

local function levels(text)
  local list = {}
  for level in (text .. "/"):gmatch "([^/]*)/" do list[#list + 1] = level end
  return list
end

function messages.matches(filter, topic)
  local f, t = levels(filter), levels(topic)
  for i, level in ipairs(f) do
    if level == "#" then return true end
    if t[i] == nil or (level ~= "+" and level ~= t[i]) then return false end
  end
  return #f == #t
end

function messages.is_over(message, now)
  return message.expiry and now - message.arrived >= message.expiry * 1000
end

function messages.describe(owed)
  return ("%s=%q qos=%d retain=%s ids=[%s]"):format(owed.message.topic, owed.message.payload, owed.qos,
    owed.retain, table.concat(owed.identifiers, ","))
end

--- What is left of the message expiry interval of a PUBLISH, or nil.
function messages.expiry(packet) return packet.properties and packet.properties.message_expiry_interval end

--- The subscription identifiers of a PUBLISH, in order.
function messages.identifiers(packet)
  local list = packet.properties and packet.properties.subscription_identifiers or {}
  table.sort(list)
  return list
end

--- Whether a PUBLISH is this owed message. Identifiers do not tell where the session had an older version.
function messages.is_same(owed, packet, session, now)
  local m = owed.message
  if packet.topic ~= m.topic or packet.payload ~= m.payload then return false end
  if packet.qos ~= owed.qos or packet.retain ~= owed.retain then return false end
  if session.online.version < 5 then return true end
  local left = m.expiry and math.max(0, m.expiry - (now - m.arrived) // 1000)
  if messages.expiry(packet) ~= left then return false end
  return session.is_vague
    or table.concat(messages.identifiers(packet), ",") == table.concat(owed.identifiers, ",")
end

--- Whether the client of a session takes a PUBLISH of that size. It has no topic aliases where this counts.
function messages.fits(owed, session)
  if session.online.maximum_size == math.huge then return true end
  local m = owed.message
  local bytes = packets.publish(m.topic, m.payload, {
    qos = owed.qos,
    properties = { message_expiry_interval = m.expiry, subscription_identifiers = owed.identifiers },
  })
  return #bytes <= session.online.maximum_size
end

return messages
