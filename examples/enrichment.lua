-- Messages that know more when they leave than when they came: who sent them, when, and from which room,
-- which is looked up in retained messages of the topic `devices/ID/room`. What is added are user
-- properties, which MQTT 5 subscribers see; JSON payloads of `telemetry/#` get fields, which all
-- subscribers see.
--
-- examples/enrichment_spec.lua tests it.
local json = require "cjson.safe"
local luamq = require "luamq"

local rooms = {} -- device -> room

local hooks = {}

-- Kept in step with the topic, so that no message has to look.
function hooks.start()
  for _, message in ipairs(luamq.retained "devices/+/room") do
    rooms[message.topic:match "^devices/([^/]+)/room$"] = message.payload
  end
end

local function learn(message)
  local device = message.topic:match "^devices/([^/]+)/room$"
  if device then rooms[device] = message.payload ~= "" and message.payload or nil end
end

local function timestamp() return os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(luamq.now())) end

--- The payload with fields beside its own, or nil where it is no JSON object.
local function with_fields(payload, fields)
  local value = json.decode(payload)
  if type(value) ~= "table" or value[1] ~= nil then return nil end
  for name, field in pairs(fields) do
    if value[name] == nil then value[name] = field end
  end
  return json.encode(value)
end

function hooks.publish(client, message)
  if message.retain then learn(message) end
  local room = rooms[client.id]
  local change = { add_user_properties = { { "from", client.id }, { "at", timestamp() } } }
  if room then table.insert(change.add_user_properties, { "room", room }) end
  if luamq.match("telemetry/#", message.topic) then
    change.payload = with_fields(message.payload, { device = client.id, room = room })
  end
  return change
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
