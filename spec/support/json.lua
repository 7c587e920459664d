--- A strict reader of JSON (RFC 8259), for specs that check what luamq writes. Anything else is an error.

local json = {}

local escapes = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local literals = { ["true"] = true, ["false"] = false, null = json }

--- What `null` is read as.
json.null = json

local value

local function fail(text, at, what)
  error(("%s at byte %d of %s"):format(what, at, text), 0)
end

local function skip(text, at) return text:match("^[ \t\r\n]*()", at) end

local function string(text, at)
  local parts = {}
  at = at + 1
  while true do
    local plain, after = text:match('^([^"\\%c]*)()', at)
    parts[#parts + 1] = plain
    local c = text:sub(after, after)
    if c == '"' then return table.concat(parts), after + 1 end
    if c ~= "\\" then fail(text, after, "a control character or the end in a string") end
    local digits = text:match("^u(%x%x%x%x)", after + 1)
    local letter = escapes[text:sub(after + 1, after + 1)]
    if not digits and not letter then fail(text, after, "an unknown escape") end
    parts[#parts + 1] = letter or utf8.char(tonumber(digits, 16))
    at = after + (digits and 6 or 2)
  end
end

--- The items of an array or object up to `close`; `item` reads one.
local function items(text, at, close, item)
  at = skip(text, at + 1)
  if text:sub(at, at) == close then return at + 1 end
  while true do
    at = skip(text, item(at))
    local c = text:sub(at, at)
    if c == close then return at + 1 end
    if c ~= "," then fail(text, at, "no comma") end
    at = skip(text, at + 1)
  end
end

local function array(text, at)
  local list = {}
  return list, items(text, at, "]", function(from)
    local after
    list[#list + 1], after = value(text, from)
    return after
  end)
end

local function object(text, at)
  local result = {}
  return result, items(text, at, "}", function(from)
    if text:sub(from, from) ~= '"' then fail(text, from, "no name") end
    local name, colon = string(text, from)
    colon = skip(text, colon)
    if text:sub(colon, colon) ~= ":" then fail(text, colon, "no colon") end
    if result[name] ~= nil then fail(text, from, "a name twice") end
    local after
    result[name], after = value(text, skip(text, colon + 1))
    return after
  end)
end

local function number(text, at)
  local digits = text:match("^-?[1-9]%d*", at) or text:match("^-?0", at)
  if not digits then fail(text, at, "no value") end
  local all = digits .. (text:match("^%.%d+", at + #digits) or "")
  all = all .. (text:match("^[eE][+-]?%d+", at + #all) or "")
  return tonumber(all), at + #all
end

function value(text, at)
  local c = text:sub(at, at)
  if c == '"' then return string(text, at) end
  if c == "[" then return array(text, at) end
  if c == "{" then return object(text, at) end
  local word = text:match("^%l+", at)
  if literals[word] ~= nil then return literals[word], at + #word end
  return number(text, at)
end

--- The value of a text. Raises where it is not JSON, or not UTF-8.
---@param text string
---@return any
function json.read(text)
  if not utf8.len(text) then fail(text, select(2, utf8.len(text)), "invalid UTF-8") end
  local result, after = value(text, skip(text, 1))
  after = skip(text, after)
  if after <= #text then fail(text, after, "something behind the value") end
  return result
end

return json
