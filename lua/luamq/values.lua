--- The value of a setting: what may be written, and what the broker makes of it. A type of settings is a
--- row of `kinds`. Lists and tables, whose parts have values, are read by luamq.report.

local url = require "luamq.url"
local words = require "luamq.words"

local values = {}

local multipliers = { [""] = 1, K = 1 << 10, M = 1 << 20, G = 1 << 30 }

---@class luamq.Kind
---@field expected string|fun(setting: luamq.Setting): string  what a message says that it is
---@field range string?  what the reference says that it is; default the type's name, or from where to where
---@field read fun(value: any, setting: luamq.Setting): any    the value, or nil when it is not of the kind

---@type table<string, luamq.Kind>
local kinds = {}

kinds.boolean = {
  expected = "a boolean",
  read = function(value)
    if type(value) == "boolean" then return value end
  end,
}

kinds.integer = {
  expected = "an integer",
  read = function(value) return type(value) == "number" and math.tointeger(value) or nil end,
}

kinds.size = {
  expected = 'a size such as 262144 or "256K"',
  read = function(value)
    if type(value) == "number" then return math.tointeger(value) end
    if type(value) ~= "string" or #value > 20 then return nil end
    local digits, unit = value:match("^(%d+)([KMGkmg]?)$")
    if not digits then return nil end
    return (tonumber(digits) + 0.0) * multipliers[unit:upper()] -- a float: it cannot wrap around
  end,
}

--- A size, or a percentage, which stays text.
kinds.share = {
  expected = 'a size such as "2G" or a share such as "80%"',
  read = function(value)
    local percent = type(value) == "string" and value:match "^(%d%d?%d?)%%$"
    if not percent then return kinds.size.read(value) end
    percent = tonumber(percent)
    return percent >= 1 and percent <= 100 and ("%d%%"):format(percent) or nil
  end,
}

kinds.seconds = {
  expected = function(setting)
    return setting.whole and "a whole number of seconds" or "a number of seconds"
  end,
  read = function(value, setting)
    if type(value) ~= "number" or value ~= value then return nil end
    if setting.whole then return math.tointeger(value) end
    return value
  end,
}

--- `"text" or "json"`.
local function choice(setting)
  local shown = {}
  for i, word in ipairs(setting.values) do shown[i] = '"' .. word .. '"' end
  local last = table.remove(shown)
  return #shown > 0 and table.concat(shown, ", ") .. " or " .. last or last
end

kinds.enum = {
  expected = choice,
  read = function(value, setting)
    for _, word in ipairs(setting.values) do
      if value == word then return word end
    end
  end,
}

--- One line that C can have as a string.
kinds.text = {
  expected = "a string without control characters",
  range = "string",
  read = function(value) return type(value) == "string" and not value:find("%c") and value or nil end,
}

--- Text for the wire.
kinds.string = {
  expected = function(setting)
    return ("a string of at most %d bytes of UTF-8 without control characters"):format(setting.maximum)
  end,
  read = function(value, setting)
    local fits = type(value) == "string" and #value <= setting.maximum
    return fits and utf8.len(value) and not value:find "%c" and value or nil
  end,
}

--- Any number of them.
kinds.lines = {
  expected = "a string without a zero byte",
  range = "string",
  read = function(value)
    return type(value) == "string" and not value:find("\0", 1, true) and value or nil
  end,
}

kinds.path = {
  expected = "the path of a file",
  range = "path",
  read = function(value, setting)
    if value == "" and setting.default == "" then return value end -- none
    return type(value) == "string" and value:find("^[^%c]+$") and #value < 4096 and value or nil
  end,
}

--- Digits as chmod takes them. The number 0660 would be 660, which is not what is meant.
kinds.mode = {
  expected = 'octal digits in a string, such as "0660"',
  range = "octal digits in a string",
  read = function(value)
    return type(value) == "string" and value:find("^0?[0-7][0-7][0-7]$") and ("0" .. value):sub(-4) or nil
  end,
}

--- The name of a user or group, or its id; -1 is none.
kinds.account = {
  expected = "a name or an id",
  range = "name or id",
  read = function(value)
    if type(value) == "string" then return value:find("^[^%c:/]+$") and #value <= 64 and value or nil end
    local id = type(value) == "number" and math.tointeger(value)
    return id and id >= 0 and id < (1 << 32) - 1 and id or nil
  end,
}

kinds.network = {
  expected = 'an address, a network such as "10.0.0.0/8", or "unix"',
  read = function(value) return type(value) == "string" and url.network(value) or nil end,
}

kinds.origin = {
  expected = 'an origin such as "https://app.example.org", or "*"',
  read = function(value) return type(value) == "string" and url.origin(value) or nil end,
}

---@param setting luamq.Setting
---@param number number
---@return string
local function number_text(setting, number)
  local is_size = setting.type == "size" or setting.type == "share"
  return is_size and words.size_text(number) or tostring(number)
end

--- What a setting's value may be: "1K to 256M" or `"text" or "json"`.
---@param setting luamq.Setting
---@return string
function values.range(setting)
  if setting.range then return setting.range end
  if setting.type == "enum" then return choice(setting) end
  if not setting.minimum then return kinds[setting.type].range or setting.type end
  local range = number_text(setting, setting.minimum) .. " to " .. number_text(setting, setting.maximum)
  return setting.type == "share" and range .. ', or "1%" to "100%"' or range
end

--- The value of a setting as the broker uses it.
---@param setting luamq.Setting
---@param value any  what the script says
---@return any value   nil when it is not acceptable
---@return string? problem
function values.read(setting, value)
  local kind = kinds[setting.type]
  local result = kind.read(value, setting)
  if result == nil then
    local expected = type(kind.expected) == "string" and kind.expected or kind.expected(setting)
    return nil, ("expected %s, got %s"):format(expected, words.show(value))
  end
  if type(result) == "string" then return result end
  if setting.minimum and (result < setting.minimum or result > setting.maximum) then
    return nil, ("must be between %s and %s, got %s"):format(number_text(setting, setting.minimum),
      number_text(setting, setting.maximum), words.show(value))
  end
  local is_size = setting.type == "size" or setting.type == "share"
  return is_size and math.tointeger(result) or result
end

return values
