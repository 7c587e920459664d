-- Payloads that are checked before anybody sees them: for each topic filter a description of what its JSON
-- has to look like. A message that does not fit is refused, and an MQTT 5 client is told what is wrong with
-- it.
--
-- examples/validation_spec.lua tests it, functions alone and in a broker.
local json = require "cjson.safe"
local luamq = require "luamq"

local BYTES_MAX <const> = 4096

-- A description: the type, and with it `minimum`, `maximum`, `values`, `pattern`, `fields` (with `optional`
-- ones), `items`. What is not described is not allowed.
local schemas = {
  ["sensors/+/temperature"] = {
    type = "object",
    fields = {
      celsius = { type = "number", minimum = -90, maximum = 150 },
      at = { type = "string", pattern = "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$" },
      battery = { type = "number", minimum = 0, maximum = 100, optional = true },
    },
  },
  ["doors/+/state"] = { type = "string", values = { "open", "closed" } },
  ["batches/#"] = { type = "array", maximum = 100, items = { type = "number" } },
}

local check -- of a value, see below

local function check_object(schema, value, path)
  for name, field in pairs(schema.fields) do
    if value[name] ~= nil then
      local problem = check(field, value[name], path .. "." .. name)
      if problem then return problem end
    elseif not field.optional then
      return path .. "." .. name .. " is missing"
    end
  end
  for name in pairs(value) do
    if not schema.fields[name] then return path .. "." .. tostring(name) .. " is not expected" end
  end
end

local function check_array(schema, value, path)
  if #value > schema.maximum then return path .. " has more than " .. schema.maximum .. " items" end
  for i, item in ipairs(value) do
    local problem = check(schema.items, item, ("%s[%d]"):format(path, i))
    if problem then return problem end
  end
end

local function type_of(value)
  if type(value) ~= "table" then return type(value) end
  return next(value) == nil and "empty" or #value > 0 and "array" or "object"
end

local function fits(schema, value)
  local found = type_of(value)
  return found == schema.type or found == "empty" and (schema.type == "array" or schema.type == "object")
end

--- What is wrong with a value, or nil.
function check(schema, value, path)
  if not fits(schema, value) then return path .. " is not a " .. schema.type end
  if schema.type == "object" then return check_object(schema, value, path) end
  if schema.type == "array" then return check_array(schema, value, path) end
  if schema.minimum and value < schema.minimum then return path .. " is below " .. schema.minimum end
  if schema.maximum and value > schema.maximum then return path .. " is above " .. schema.maximum end
  if schema.pattern and not value:find(schema.pattern) then return path .. " has the wrong form" end
  if schema.values then
    for _, word in ipairs(schema.values) do
      if word == value then return nil end
    end
    return path .. " is none of " .. table.concat(schema.values, ", ")
  end
end

local function problem_of(schema, payload)
  if #payload > BYTES_MAX then return "longer than " .. BYTES_MAX .. " bytes" end
  local value, problem = json.decode(payload)
  if value == nil then return "no JSON: " .. (problem or "null") end
  return check(schema, value, "payload")
end

local invalid = luamq.counter("invalid_payloads_total", { "filter" }, "messages that do not fit")

local filters = {}
for filter in pairs(schemas) do filters[#filters + 1] = filter end

local hooks = {}

-- Lua is entered for these topics only.
hooks.publish = luamq.on_topics(filters, function(_, message)
  if message.payload == "" and message.retain then return true end -- takes a retained message away
  for filter, schema in pairs(schemas) do
    local problem = luamq.match(filter, message.topic) and problem_of(schema, message.payload)
    if problem then
      invalid:inc(filter)
      return false, "payload_format_invalid", problem
    end
  end
  return true
end)

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
