--- Where in a script a key stands, so that a message can name the line.
---
--- A table that a script returned no longer knows its lines. So the text is read once more, by a
--- tokenizer of Lua and a walk over the tokens that follows table constructors, assignments and
--- function names. Each key that is written gives a record: the name it hangs off (a variable, or
--- "return" for the returned table), the keys from there, the line, and, when its value is just a
--- name, that name as its alias. `backend.size` is then found in `return { backend = { size = 1 } }`
--- as well as in `local b = {}; b.size = 1; return { backend = b }`.
---
--- The walk knows no scopes and evaluates nothing. It may not find a key, and then answers nil.
--- It accepts any text: what isn't Lua is stepped over.
---
--- `read` and `run` do the other thing that a script's text is good for.

local source = {}

---@class luamq.Token
---@field line integer
---@field symbol string?  an operator, a bracket, a keyword
---@field name string?
---@field string string?  the value of a string
---@field number number?  the value of a number

---@class luamq.Source
---@field private records table[]
---@field private exact table<string, { line: integer, alias: string? }>
---@field private strings table<string, integer|false>
local Source = {}
Source.__index = Source

-- Tokens -------------------------------------------------------------------------------------

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
    return then true until while]]):gmatch("%a+") do
  keywords[word] = true
end

local long_symbols = {
  ["..."] = true, [".."] = true, ["=="] = true, ["~="] = true, ["<="] = true, [">="] = true,
  ["//"] = true, ["::"] = true, ["<<"] = true, [">>"] = true,
}

--- The position after a string in quotes that starts at `position`.
local function skip_quoted(text, position)
  local quote = text:sub(position, position)
  position = position + 1
  while true do
    position = text:find('["\'\\\n]', position)
    if not position then return #text + 1 end
    local char = text:sub(position, position)
    if char == quote then return position + 1 end
    if char == "\n" then return position end -- unfinished
    if char == "\\" then
      position = text:match("^z%s*()", position + 1) or position + 2
    else
      position = position + 1 -- the other quote
    end
  end
end

--- The position after a long bracket that starts at `position`, or nil when there is none.
local function skip_long(text, position)
  local level = text:match("^%[(=*)%[", position)
  if not level then return nil end
  local _, last = text:find("]" .. level .. "]", position, true)
  return (last or #text) + 1
end

--- The position after a number. Like Lua's own reader it takes more than a valid number.
local function skip_number(text, position)
  local hex = text:match("^0[xX]()", position)
  local exponent = hex and "^[pP][+-]?()" or "^[eE][+-]?()"
  position = hex or position
  while true do
    local after = text:match(exponent, position) or text:match("^[%w_.]()", position)
    if not after then return position end
    position = after
  end
end

--- The value of a string literal, as Lua reads it.
local function unquote(literal)
  local chunk = load("return " .. literal, "=literal", "t", {})
  return chunk and chunk()
end

--- The next token at `position`, without its line, and the position after it.
--- The token is nil for white space, comments and what is no token at all.
local function next_token(text, position)
  local after = text:match("^%s+()", position)
  if after then return nil, after end
  if text:find("^%-%-", position) then
    return nil, skip_long(text, position + 2) or text:find("\n", position, true) or #text + 1
  end
  local word
  word, after = text:match("^([%a_][%w_]*)()", position)
  if word then return keywords[word] and { symbol = word } or { name = word }, after end
  after = text:find("^[\"']", position) and skip_quoted(text, position) or skip_long(text, position)
  if after then return { string = unquote(text:sub(position, after - 1)) }, after end
  if text:find("^%.?%d", position) then
    after = skip_number(text, position)
    return { number = tonumber(text:sub(position, after - 1)) }, after
  end
  for length = 3, 2, -1 do
    local symbol = text:sub(position, position + length - 1)
    if long_symbols[symbol] then return { symbol = symbol }, position + length end
  end
  return { symbol = text:sub(position, position) }, position + 1
end

--- The tokens of a script. A byte order mark and a first line that starts with `#` are skipped.
---@param text string
---@return luamq.Token[]
function source.tokens(text)
  text = text:gsub("[\r\n][\r\n]?", function(breaks)
    return (breaks == "\n\n" or breaks == "\r\r") and "\n\n" or "\n"
  end)
  local tokens, line = {}, 1
  local position = text:match("^\239\187\191()") or 1
  if text:sub(position, position) == "#" then position = text:find("\n", position, true) or #text + 1 end
  while position <= #text do
    local token, after = next_token(text, position)
    if token then
      token.line = line
      tokens[#tokens + 1] = token
    end
    line = line + select(2, text:sub(position, after - 1):gsub("\n", ""))
    position = after
  end
  return tokens
end

-- Records ------------------------------------------------------------------------------------

---@class luamq.source.Walk
---@field tokens luamq.Token[]
---@field records table[]
---@field stack table[]  the open brackets and blocks; a table constructor knows its place
local Walk = {}
Walk.__index = Walk

local opening = {
  ["("] = true, ["["] = true, ["do"] = true, ["if"] = true, ["repeat"] = true,
}
local closing = { [")"] = true, ["]"] = true, ["}"] = true, ["end"] = true, ["until"] = true }
local continues = { ["."] = true, ["["] = true, ["("] = true, [":"] = true, ["{"] = true }
local not_assigned = { [","] = true, ["for"] = true, ["."] = true, [":"] = true }

function Walk:symbol(at)
  local token = self.tokens[at]
  return token and token.symbol
end

--- The constant that is written at `at`, if it can be a key.
function Walk:constant(at)
  local token = self.tokens[at]
  return token and (token.string or token.number and (math.tointeger(token.number) or token.number))
end

function Walk:push(frame)
  frame.inside = frame.inside or self.stack[#self.stack].inside
  self.stack[#self.stack + 1] = frame
end

function Walk:record(root, keys, line)
  local record = { root = root, keys = keys, line = line }
  self.records[#self.records + 1] = record
  return record
end

--- The start of the value of `record`: a constructor is entered, a name becomes the alias.
function Walk:value(at, record)
  local token = self.tokens[at]
  if not token then return at end
  if token.symbol == "{" then
    self:push { constructor = true, start = true, root = record.root, keys = record.keys, count = 0 }
    return at + 1
  end
  local after = self.tokens[at + 1]
  if token.name and not (after and (continues[after.symbol] or after.string)) then
    record.alias = token.name
    return at + 1
  end
  return at
end

--- One field of a constructor: `name = value`, `["name"] = value`, or a list element.
function Walk:field(at, frame)
  frame.start = false
  local token = self.tokens[at]
  local key, after
  if token.name and self:symbol(at + 1) == "=" then
    key, after = token.name, at + 2
  elseif token.symbol == "[" then
    if self:constant(at + 1) == nil or self:symbol(at + 2) ~= "]" then return at end -- computed
    key, after = self:constant(at + 1), at + 4
  else
    frame.count = frame.count + 1
    key, after = frame.count, at
  end
  local keys = table.move(frame.keys, 1, #frame.keys, 1, {})
  keys[#keys + 1] = key
  return self:value(after, self:record(frame.root, keys, token.line))
end

--- A name and the constant keys behind it: `config.backend["size"]`.
function Walk:chain(at)
  local root, keys = self.tokens[at].name, {}
  at = at + 1
  while true do
    local following = self.tokens[at + 1]
    if self:symbol(at) == "." and following and following.name then
      keys[#keys + 1] = following.name
      at = at + 2
    elseif self:symbol(at) == "[" and self:constant(at + 1) ~= nil and self:symbol(at + 2) == "]" then
      keys[#keys + 1] = self:constant(at + 1)
      at = at + 3
    else
      return root, keys, at
    end
  end
end

--- A name in a statement: an assignment to it is a record.
function Walk:assignment(at)
  local root, keys, after = self:chain(at)
  if self:symbol(after) == "<" and self:symbol(after + 2) == ">" then after = after + 3 end -- <const>
  if self:symbol(after) ~= "=" or not_assigned[self:symbol(at - 1)] then return after end
  return self:value(after + 1, self:record(root, keys, self.tokens[at].line))
end

--- `function name.key(` or `function (`.
function Walk:definition(at)
  local after, named = at + 1, self.tokens[at + 1]
  if named and named.name then
    local root, keys
    root, keys, after = self:chain(at + 1)
    if self:symbol(after) == ":" and self.tokens[after + 1] then
      keys[#keys + 1] = self.tokens[after + 1].name
      after = after + 2
    end
    self:record(root, keys, self.tokens[at].line)
  end
  self:push { inside = true }
  return after
end

--- One token, or several that belong together; answers the position after them.
function Walk:step(at)
  local frame, token = self.stack[#self.stack], self.tokens[at]
  local symbol = token.symbol
  if frame.start and symbol ~= "}" then return self:field(at, frame) end
  if symbol == "{" then
    return self:value(at, { root = false, keys = {} })
  elseif symbol == "function" then
    return self:definition(at)
  elseif symbol == "return" then
    local root = not frame.inside and "return"
    return self:value(at + 1, self:record(root, {}, token.line))
  elseif opening[symbol] then
    self:push {}
  elseif closing[symbol] then
    if #self.stack > 1 then self.stack[#self.stack] = nil end
  elseif symbol == "," or symbol == ";" then
    frame.start = frame.constructor
  elseif token.name and not frame.constructor then
    return self:assignment(at)
  end
  return at + 1
end

-- Answers ------------------------------------------------------------------------------------

--- An index key for a path; a number and a string are told apart.
local function identify(root, keys, first, last)
  local parts = { root }
  for i = first, last do parts[#parts + 1] = type(keys[i]) .. ":" .. tostring(keys[i]) end
  return table.concat(parts, "\0")
end

--- Reads a script.
---@param text string
---@return luamq.Source
function source.new(text)
  if type(text) ~= "string" then error("source.new expects the text of a script", 2) end
  local walk = setmetatable({ tokens = source.tokens(text), records = {}, stack = { {} } }, Walk)
  local at = 1
  while walk.tokens[at] do at = walk:step(at) end

  local self = setmetatable({ records = walk.records, exact = {}, strings = {} }, Source)
  for _, record in ipairs(self.records) do
    if record.root then
      local key = identify(record.root, record.keys, 1, #record.keys)
      local earlier = self.exact[key]
      self.exact[key] = { line = record.line, alias = record.alias or earlier and earlier.alias }
    end
  end
  for _, token in ipairs(walk.tokens) do
    local value = token.string
    if value then
      local known = self.strings[value]
      self.strings[value] = (known == nil or known == token.line) and token.line
    end
  end
  return self
end

---@private
function Source:resolve(root, keys, first, depth)
  local record = self.exact[identify(root, keys, first, #keys)]
  if record then return record.line end
  if depth == 0 then return nil end
  for last = #keys - 1, first - 1, -1 do
    local prefix = self.exact[identify(root, keys, first, last)]
    local line = prefix and prefix.alias and self:resolve(prefix.alias, keys, last + 1, depth - 1)
    if line then return line end
  end
  return nil
end

--- How many keys at the end of a record are those at the end of `keys`.
local function common_end(record, keys)
  local names = record.keys
  if record.root and record.root ~= "return" then names = { record.root, table.unpack(names) } end
  local count = 0
  while count < #keys and count < #names and names[#names - count] == keys[#keys - count] do
    count = count + 1
  end
  return count
end

--- The line of the only record that ends most like `keys`.
---@private
function Source:similar(keys)
  local best = type(keys[#keys]) == "number" and 1 or 0 -- a bare position says nothing
  local line = nil
  for _, record in ipairs(self.records) do
    local count = common_end(record, keys)
    if count > best then
      best, line = count, record.line
    elseif count == best and line ~= record.line then
      line = nil
    end
  end
  return line
end

--- The line on which a key of the returned table is written. First the key in its place counts,
--- then the only key of this name anywhere, then the only string that is the key, or `text`.
---@param keys (string|integer)[]  {"backend", "session_queue_size"}, {"listeners", 2}; {} for `return`
---@param text string?  a string that stands there
---@return integer? line  nil when it cannot be told
function Source:line_of(keys, text)
  local line = self:resolve("return", keys, 1, 4)
  if line or #keys == 0 then return line end
  return self:similar(keys) or self.strings[keys[#keys]] or text and self.strings[text] or nil
end

-- Scripts ------------------------------------------------------------------------------------

--- Reads the file of a script.
---@param path string  "-": standard input
---@return string? text
---@return string? message
function source.read(path)
  local file, problem
  if path == "-" then
    file = io.stdin
  else
    file, problem = io.open(path, "rb")
    if not file then return nil, "cannot open " .. problem end
  end
  local text, unreadable = file:read("a")
  if file ~= io.stdin then file:close() end
  if not text then return nil, ("cannot read %s: %s"):format(path, unreadable) end
  return text
end

--- Makes the directory of a script the first one in `package.path`, however often it is asked to.
local function search_first(path)
  local directory = path:match("^(.*)/[^/]*$") or "."
  local entry = directory .. "/?.lua;" .. directory .. "/?/init.lua;"
  local before, after = (";" .. package.path):match("^(.-);()" .. entry:gsub("%p", "%%%0"))
  local rest = package.path
  if before then rest = (before .. ";"):sub(2) .. rest:sub(after - 1 + #entry) end
  package.path = entry .. rest
end

--- The script's own frames of a traceback, from the error to the main chunk.
local function own_frames(chunkname)
  local lines = {}
  for level = 3, math.maxinteger do
    local info = debug.getinfo(level, "Slnf")
    if not info or info.func == source.run then break end
    local is_main = info.what == "main"
    if info.what ~= "C" then
      if #lines == 12 then
        lines[#lines + 1] = "\t..."
        break
      end
      local where = is_main and "main chunk" or info.name and ("function '%s'"):format(info.name)
        or "a function"
      lines[#lines + 1] = ("\t%s:%d: in %s"):format(info.source:gsub("^[@=]", ""), info.currentline, where)
    end
    if is_main and info.source == chunkname then break end
  end
  return table.concat(lines, "\n")
end

--- Runs the text of a script. A text that does not compile and an error while it runs are told
--- with file and line, the latter with a traceback.
---@param text string
---@param path string    the name of the script in messages; its directory is searched for modules
---@param args string[]?  what the script gets as `...`
---@return boolean success
---@return any value     the first value that the script returned, or the message
function source.run(text, path, args)
  local chunkname = "@" .. path
  local short = debug.getinfo(load("", chunkname), "S").short_src
  local function locate(message) -- Lua cuts long names short
    if message:sub(1, #short + 1) == short .. ":" then return path .. message:sub(#short + 1) end
    return message:find("^[^\n:]+:%d+: ") and message or path .. ": " .. message
  end
  text = text:gsub("^\239\187\191", ""):gsub("^#[^\r\n]*", "")
  if text:find("^\27") then return false, path .. ": this is a compiled chunk, expected Lua source" end
  local chunk, problem = load(text, chunkname, "t")
  if not chunk then
    -- A string that the error stands near may be a password.
    problem = problem:gsub("near '[\"'].*$", "near a string"):gsub("near '%[=*%[.*$", "near a string")
    return false, locate(problem)
  end

  search_first(path)
  local function describe(value)
    local meta = debug.getmetatable(value)
    local printable = type(value) == "string" or type(value) == "number" or meta and meta.__tostring
    local message = printable and tostring(value) or ("the error is a %s value"):format(type(value))
    return locate(message) .. "\n" .. own_frames(chunkname)
  end
  args = args or {}
  return xpcall(chunk, describe, table.unpack(args, 1, args.n or #args))
end

return source
