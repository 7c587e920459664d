--- What is wrong with a script: problems with the line where each stands, and the parts of a checked table as
--- they are read.
---
--- Reading builds new values and never touches the script's own. It goes on after a mistake, so that one
--- run tells all of them, in the order of the script's lines.

local source = require "luamq.source"
local values = require "luamq.values"
local words = require "luamq.words"

---@class luamq.Report
---@field name string?          the script, for messages
---@field directory string      of the script, with the slash: what its paths are relative to; or ""
---@field reads_files boolean   whether files that it names have to be there
---@field text string?          its source
---@field source luamq.Source?  read when the first line is asked for
---@field problems table[]
---@field positions table<luamq.Listener, integer>  in the script's list
---@field config luamq.Config   what has been checked so far
local Report = {}
Report.__index = Report

local report = {}

--- The directory of a script with this path, with the slash; "" when it has none.
---@param name string?
---@return string
function report.directory(name) return name and name:match("^.*/") or "" end

---@param name string?  the script's path, for messages
---@param text string?  its source
---@param reads_files boolean?
---@return luamq.Report
function report.new(name, text, reads_files)
  return setmetatable({ name = name, text = text, directory = report.directory(name), problems = {},
    positions = {}, reads_files = reads_files or false, config = { path = name } }, Report)
end

function Report:line_of(keys, text)
  if not self.text then return nil end
  self.source = self.source or source.new(self.text)
  return self.source:line_of(keys, text)
end

--- `listeners[2].certificate` for { "listeners", 2, "certificate" }.
local function path_text(keys)
  local parts = {}
  for _, key in ipairs(keys) do
    if type(key) == "string" and #key <= 64 and key:find("^[%a_][%w_]*$") then
      parts[#parts + 1] = (#parts > 0 and "." or "") .. key
    else
      local shown = type(key) == "boolean" and tostring(key) or words.show(key)
      parts[#parts + 1] = "[" .. shown .. "]"
    end
  end
  return table.concat(parts)
end

--- Notes a problem with the value that stands at `keys`.
---@param keys any[]
---@param problem string
---@param place { text: string?, value: any }?  what else may tell the line
function Report:add(keys, problem, place)
  place = place or {}
  local file, line = self.name, self:line_of(keys, place.text)
  if not line and type(place.value) == "function" then
    local info = debug.getinfo(place.value, "S")
    if info.source:find("^[@=]") and info.what ~= "C" then
      file, line = info.source:sub(2), info.linedefined
    end
  end
  local prefix = file and (file .. (line and ":" .. line or "") .. ": ") or ""
  local path = path_text(keys)
  self.problems[#self.problems + 1] = {
    section = keys[1],
    order = file == self.name and line or math.maxinteger,
    number = #self.problems,
    text = prefix .. (path ~= "" and path .. ": " or "") .. problem,
  }
end

function Report:has_problem(...)
  for _, problem in ipairs(self.problems) do
    for _, section in ipairs { ... } do
      if problem.section == section then return true end
    end
  end
  return false
end

function Report:message()
  table.sort(self.problems, function(a, b)
    if a.order ~= b.order then return a.order < b.order end
    return a.number < b.number
  end)
  local lines = {}
  for i, problem in ipairs(self.problems) do lines[i] = problem.text end
  return table.concat(lines, "\n")
end

-- Tables -------------------------------------------------------------------------------------

--- `keys` and one more.
---@param keys any[]
---@param key any
---@return any[]
function report.join(keys, key)
  local result = table.move(keys, 1, #keys, 1, {})
  result[#result + 1] = key
  return result
end

--- The keys of a table in a fixed order: positions, names, then what is neither.
function report.sorted_keys(t)
  local keys = {}
  for key in next, t do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    local left, right = type(a), type(b)
    if left ~= right then return left < right end
    if left == "number" or left == "string" then return a < b end
    return tostring(a) < tostring(b)
  end)
  return keys
end

--- Whether `value` is a table that can be read without running anything; else notes why not.
function Report:is_plain(keys, value, what)
  if type(value) ~= "table" then
    self:add(keys, ("expected %s, got %s"):format(what, type(value)))
  elseif debug.getmetatable(value) then
    self:add(keys, ("expected %s, got a table with a metatable"):format(what))
  else
    return true
  end
  return false
end

--- Whether a plain table has the keys 1 to n and no others; else notes the odd ones.
function Report:is_list(keys, value)
  local count, good = 0, true
  for _, key in ipairs(report.sorted_keys(value)) do
    if key == count + 1 then
      count = count + 1
    else
      good = false
      local problem = math.type(key) == "integer" and key > 0 and "expected a list without gaps"
        or "expected a list, which has no such key"
      self:add(report.join(keys, key), problem)
    end
  end
  return good
end

-- Values -------------------------------------------------------------------------------------

--- Why a file cannot be read, or nil.
local function unreadable(path)
  local file, problem = io.open(path, "rb")
  if not file then return problem:sub(#path + 3) end
  local _, reason = file:read(0)
  file:close()
  return reason -- that of a directory
end

function Report:read_path(keys, setting, value)
  local path, problem = values.read(setting, value)
  if path == "" then return path end -- none
  if path and not path:find("^/") then path = self.directory .. path end
  local reason = path and self.reads_files and unreadable(path)
  if reason then problem = ("cannot read '%s': %s"):format(path, reason) end
  if problem then self:add(keys, problem) end
  return path
end

function Report:read_list(keys, setting, value)
  if not self:is_plain(keys, value, "a " .. setting.range) then return nil end
  if not self:is_list(keys, value) then return nil end
  if #value == 0 then self:add(keys, "empty, expected a " .. setting.range) end
  local result = {}
  for position = 1, #value do
    result[position] = self:read(report.join(keys, position), setting.of, rawget(value, position))
  end
  return result
end

--- Reads the fields of `value` into `result`. `unknown` is told keys that are none of `known`.
---@param keys any[]
---@param known table<string, luamq.Setting>
---@param value table  a plain one
---@param result table
---@param unknown fun(keys: any[])
function Report:read_fields(keys, known, value, result, unknown)
  for _, key in ipairs(report.sorted_keys(value)) do
    local place = report.join(keys, key)
    if known[key] then
      local read = self:read(place, known[key], rawget(value, key))
      if read ~= nil then result[key] = read end
    else
      unknown(place)
    end
  end
end

function Report:read_table(keys, setting, value)
  if not self:is_plain(keys, value, "a " .. setting.range) then return nil end
  local result, known = {}, {}
  for _, field in ipairs(setting.keys) do
    known[field.name], result[field.name] = field, field.default
    if field.needed and rawget(value, field.name) == nil then
      self:add(keys, ("%s is missing, expected a %s"):format(field.name, setting.range))
    end
  end
  self:read_fields(keys, known, value, result, function(place)
    self:add(place, "unknown key" .. words.suggest(place[#place], known))
  end)
  return result
end

--- The value of a setting as the broker uses it; nil when it is not acceptable, which is noted.
---@param keys any[]  where it stands
---@param setting luamq.Setting
---@param value any
---@return any
function Report:read(keys, setting, value)
  if setting.type == "list" then return self:read_list(keys, setting, value) end
  if setting.type == "table" then return self:read_table(keys, setting, value) end
  if setting.type == "path" then return self:read_path(keys, setting, value) end
  local result, problem = values.read(setting, value)
  if problem then self:add(keys, problem) end
  return result
end

return report
