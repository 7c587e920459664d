--- JSON, by lua-cjson, for modules of luamq: with an answer in the place of an error, and whole numbers as
--- integers, so that 1 is not shown as 1.0.

local cjson = require "cjson".new()

cjson.decode_invalid_numbers(false)
cjson.encode_invalid_numbers(false)

local json = {}

--- What null is in a value.
json.null = cjson.null

local function with_integers(value)
  if type(value) == "number" then return math.tointeger(value) or value end
  if type(value) == "table" then
    for key, one in pairs(value) do
      if type(one) == "number" or type(one) == "table" then value[key] = with_integers(one) end
    end
  end
  return value
end

--- The value of a text.
---@param text string
---@return any value  nil when it is not JSON
---@return string? problem
function json.decode(text)
  local good, value = pcall(cjson.decode, text)
  if not good then return nil, value end
  return with_integers(value)
end

--- The text of a value.
---@param value any
---@return string? text  nil for what JSON cannot say: functions, endless tables, ...
---@return string? problem
function json.encode(value)
  local good, text = pcall(cjson.encode, value)
  if not good then return nil, text end
  return text
end

return json
