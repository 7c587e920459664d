--- Reads the LuaCATS annotations of a Lua file: classes, aliases, functions and values with their types.
---
---     local file = annotations.read "lua/luamq/http.lua"
---     file.head                   -- lines of the comment at the top
---     for _, item in ipairs(file.items) do print(item.kind, item.name, item.line) end
---
--- An item is one of
---
---     { kind = "class", name, parents, text, fields }  fields: a list of { name, type, text, private }
---     { kind = "alias", name, type, text, choices }    choices, in the place of a type: of { type, text }
---     { kind = "function", owner, name, method, params, returns, async, text, arguments }
---     { kind = "value", owner, name, type, text }
---     { kind = "section", name }                       a line `-- Name ----`
---
--- where `owner` is the name of the class of the variable that it is stored in, else that of the variable;
--- `params` are lists of { name, type, text }, `returns` of { type, name, text }, `arguments` the names that
--- the source has, nil where it has none (a value of a function's type). Raises, with file and line, for what
--- is no annotation.

local annotations = {}

-- Types --------------------------------------------------------------------------------------

local Reader = {}
Reader.__index = Reader

local function reader(text) return setmetatable({ text = text, at = 1, names = {} }, Reader) end

function Reader:fail(expected) error(("expected %s at '%s'"):format(expected, self.text:sub(self.at)), 0) end

function Reader:skip() self.at = self.text:match("^%s*()", self.at) end

--- Goes over a pattern, when it is next.
function Reader:take(pattern)
  local found, behind = self.text:match("^(" .. pattern .. ")()", self.at)
  if found then self.at = behind end
  return found
end

function Reader:need(pattern, expected) return self:take(pattern) or self:fail(expected or pattern) end

--- Goes over white space and a pattern when that is next, else over nothing.
function Reader:next_is(pattern)
  local behind = self.text:match("^%s*" .. pattern .. "()", self.at)
  if behind then self.at = behind end
  return behind ~= nil
end

local read_type

--- "name: type, ..." up to a closing sign.
local function read_named_list(r, closing, each)
  r:skip()
  while not r:take(closing) do
    each()
    r:skip()
    if not r:take "," and not r.text:find("^" .. closing, r.at) then r:fail "," end
    r:skip()
  end
end

local function read_params(r)
  local params = {}
  read_named_list(r, "%)", function()
    local name = r:need("[%w_.]+", "the name of a parameter")
    local optional = r:take "%?"
    r:skip()
    local type = "any"
    if r:take ":" then
      r:skip()
      type = read_type(r)
    end
    params[#params + 1] = { name = name, type = optional and type .. "?" or type, text = "" }
  end)
  return params
end

local function read_returns(r)
  local returns = {}
  if not r:next_is ":" then return returns end
  repeat
    r:skip()
    local name = r:take "[%a_][%w_]*:%s" or r:take "%.%.%.:%s"
    r:skip()
    local type = r:take "%.%.%." or read_type(r)
    returns[#returns + 1] = { name = name and name:match "[^:]+", type = type, text = "" }
  until not r:next_is ","
  return returns
end

local function read_function(r)
  r:need "%("
  local result = { params = read_params(r) }
  result.returns = read_returns(r)
  return result
end

local function read_fields(r)
  read_named_list(r, "}", function()
    if r:take "%[" then
      read_type(r)
      r:need "%]"
    else
      r:need("[%w_]+%??", "the name of a field")
    end
    r:skip()
    r:need ":"
    r:skip()
    read_type(r)
  end)
end

local function read_list_of_types(r, closing)
  read_named_list(r, closing, function() read_type(r) end)
end

--- One type without `|`. Answers the parts of a function.
local function read_single(r)
  local fn
  if r:take "%(" then
    r:skip()
    fn = select(2, read_type(r))
    r:skip()
    r:need "%)"
  elseif r:take "{" then
    read_fields(r)
  elseif r:take "%[" then
    read_list_of_types(r, "%]")
  elseif r:take '"[^"]*"' then
    return nil
  elseif r:take "async fun" then
    fn = read_function(r)
    fn.async = true
  elseif r:take "fun" then
    if r.text:find("^%(", r.at) then
      fn = read_function(r)
    else
      r:need("ction", "a type")
    end
  else
    local name = r:need("%-?[%w_][%w_.%-]*", "a type")
    r.names[#r.names + 1] = name
    if r:take "<" then read_list_of_types(r, ">") end
  end
  repeat until not (r:take "%[%]" or r:take "%?")
  return fn
end

--- The text of the type that is next, and the parts of the function in it.
function read_type(r)
  local from, fn = r.at, nil
  repeat
    r:skip()
    fn = read_single(r) or fn
  until not r:next_is "|"
  return r.text:sub(from, r.at - 1), fn
end

---@class annotations.Type
---@field text string      as it stands
---@field names string[]   types that it names
---@field fn table?        params, returns and async, of the function that it is or may be
---@field rest string      what stands behind it

--- Reads the type at the beginning of a text.
---@param text string
---@return annotations.Type
function annotations.type(text)
  local r = reader(text)
  local type, fn = read_type(r)
  return { text = type, names = r.names, fn = fn, rest = text:sub(r.at):match "^%s*(.-)%s*$" }
end

-- Lines --------------------------------------------------------------------------------------

local function join(text, more) return text == "" and more or text .. " " .. more end

--- What an annotation does with the block that it stands in.
local tags = {}

local function new_class(block, rest)
  local name, parents, text = rest:match "^([%w_.]+)(:?)%s*(.*)$"
  if not name then error("expected the name of a class", 0) end
  local class = { kind = "class", name = name, parents = {}, fields = {}, line = block.line }
  if parents == ":" then
    repeat
      local read = annotations.type(text)
      class.parents[#class.parents + 1] = read.text
      local comma, behind = read.rest:match "^(,)%s*(.*)$"
      text = behind or read.rest
    until not comma
  end
  class.text = block:take_text()
  if text ~= "" then class.text[#class.text + 1] = text end
  return class
end

tags["class"] = function(block, rest)
  block.class = new_class(block, rest)
  block.items[#block.items + 1] = block.class
end

function tags.field(block, rest)
  if not block.class then error("a field without a class", 0) end
  local private, name, behind = "", rest:match "^(%S+)%s+(.*)$"
  if name == "private" or name == "protected" then
    private = name
    name, behind = behind:match "^(%S+)%s+(.*)$"
  end
  if not name then error("expected a name and a type", 0) end
  local read = annotations.type(behind)
  local text = block:take_text()
  if read.rest ~= "" then text[#text + 1] = read.rest end
  local field = {
    name = name:match "^(.-)%??$", type = name:find "%?$" and read.text .. "?" or read.text, fn = read.fn,
    private = private ~= "", text = text, line = block.line,
  }
  block.class.fields[#block.class.fields + 1] = field
  block.continued = text
end

function tags.alias(block, rest)
  local name, behind = rest:match "^(%S+)%s*(.*)$"
  if not name then error("expected the name of an alias", 0) end
  local alias = { kind = "alias", name = name, text = block:take_text(), choices = {}, line = block.line }
  if behind ~= "" then
    local read = annotations.type(behind)
    alias.type, alias.fn = read.text, read.fn
    if read.rest ~= "" then alias.text[#alias.text + 1] = read.rest end
  end
  block.alias = alias
  block.items[#block.items + 1] = alias
end

function tags.param(block, rest)
  local name, optional, behind = rest:match "^([%w_.]+)(%??)%s+(.*)$"
  if not name then error("expected a name and a type", 0) end
  local read = annotations.type(behind)
  local text = { read.rest ~= "" and read.rest or nil }
  block.params[#block.params + 1] = { name = name, type = read.text .. optional, text = text }
  block.continued = text
end

tags["return"] = function(block, rest)
  local read = annotations.type(rest)
  local name, text = read.rest:match "^([%a_][%w_]*)%s%s+(.*)$"
  if not name then name, text = read.rest:match "^([%a_][%w_]*)()$" end
  if not name then name, text = read.rest:match "^(%.%.%.)%s*(.*)$" end
  if not name then text = read.rest end
  local list = { type(text) == "string" and text ~= "" and text or nil }
  block.returns[#block.returns + 1] = { type = read.text, name = name, text = list }
  block.continued = list
end

function tags.type(block, rest)
  local read = annotations.type(rest)
  block.type, block.fn = read.text, read.fn
  if read.rest ~= "" then block.text[#block.text + 1] = read.rest end
end

function tags.async(block) block.async = true end

function tags.private(block) block.private = true end

function tags.meta(block) block.meta = true end

local Block = {}
Block.__index = Block

local function new_block(line)
  return setmetatable({ text = {}, items = {}, params = {}, returns = {}, line = line, first = line }, Block)
end

function Block:take_text()
  local text = self.text
  self.text = {}
  return text
end

--- Takes a line of comment without its `---`.
function Block:add(text)
  local tag, rest = text:match "^@(%a+)%s*(.*)$"
  if tag then
    self.continued = nil
    if not tags[tag] then error("unknown annotation @" .. tag, 0) end
    return tags[tag](self, rest)
  end
  local choice = text:match "^%s*|%s*(.*)$"
  if choice and self.alias then
    local read = annotations.type(choice)
    self.alias.choices[#self.alias.choices + 1] = { type = read.text, text = read.rest:match "^#?%s*(.*)$" }
    return
  end
  if self.continued and text:find "^%s%s+%S" then
    self.continued[1] = join(self.continued[1] or "", text:match "%S.*")
    return
  end
  self.text[#self.text + 1] = text:gsub("^ ", "")
end

-- Files --------------------------------------------------------------------------------------

local function arguments_of(text)
  local list = {}
  for name in text:gmatch "[%w_.]+" do list[#list + 1] = name end
  return list
end

--- The statement below a block.
local function read_code(code)
  local path, arguments = code:match "^function ([%w_.:]+)%s*%((.-)%)"
  if path then
    local variable, sign, name = path:match "^([%w_]+)([.:])([%w_]+)$"
    if variable then
      return { variable = variable, name = name, method = sign == ":", arguments = arguments_of(arguments) }
    end
  end
  local variable = code:match "^local ([%w_]+)%f[%W]"
  if variable and variable ~= "function" then return { declares = variable } end
  local of, name = code:match "^([%w_]+)%.([%w_]+) = "
  return of and { variable = of, name = name } or {}
end

--- Makes an item of a block, and of the statement below it.
local function close(file, block, code)
  local items = file.items
  for _, item in ipairs(block.items) do items[#items + 1] = item end
  if code.declares and block.class then file.owners[code.declares] = block.class.name end
  if not code.name then return end
  local fn = block.fn
  items[#items + 1] = {
    kind = (fn or code.arguments) and "function" or "value",
    owner = file.owners[code.variable] or code.variable, variable = code.variable, name = code.name,
    method = code.method, arguments = code.arguments, text = block.text,
    params = fn and fn.params or block.params, returns = fn and fn.returns or block.returns,
    async = block.async or fn and fn.async or false, type = block.type,
    documented = #block.text + #block.params + #block.returns > 0 or block.type ~= nil,
    private = block.private,
    line = block.line,
  }
end

--- What a file's annotations say.
---@param path string
---@param text string?  what is, or will be, in it
---@return { path: string, head: string[], meta: boolean, items: table[], owners: table<string, string> }
function annotations.read(path, text)
  local file = { path = path, head = {}, items = {}, owners = {}, meta = false }
  local block, at = nil, 0
  for line in text and text:gmatch "([^\n]*)\n" or io.lines(path) do
    at = at + 1
    local comment = line:match "^%-%-%-(.*)$"
    if comment and not comment:find "^%-" then
      block = block or new_block(at)
      block.line = at
      local fine, problem = pcall(block.add, block, comment)
      if not fine then error(("%s:%d: %s"):format(path, at, problem), 0) end
    elseif block then
      if block.meta then file.meta = true end
      if line == "" and block.first == 1 and #block.items == 0 then file.head, block.text = block.text, {} end
      close(file, block, read_code(line))
      block = nil
    else
      local section = line:match "^%-%- (.-) %-%-%-+$"
      if section then file.items[#file.items + 1] = { kind = "section", name = section } end
      close(file, new_block(at), read_code(line))
    end
  end
  if block then close(file, block, {}) end
  return file
end

return annotations
