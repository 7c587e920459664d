--- Loads a script, checks the table that it returns, and prints it with all defaults.
---
--- The check builds a new table and never touches the script's own. It goes on after a mistake, so
--- that one run tells all of them, in the order of the script's lines. No message and no dump ever
--- holds a value of `credentials`, nor the user part of a URL.

local settings = require "luamq.settings"
local source = require "luamq.source"

local config = {}

---@class luamq.Listener
---@field url string     normalized: "tcp://127.0.0.1:1883", "tcp://[::1]:1883", "unix:///run/luamq.sock"
---@field scheme "tcp"|"unix"  the transport; "tcp" also for mqtt://
---@field host string?   of tcp: an IP address without brackets, or a host name, in lower case
---@field port integer?  of tcp: 0 for any free port
---@field path string?   of unix
---@field options luamq.Config.ListenerOptions
---@field line integer?  where the script names it

---A checked configuration: every setting is there, with its default where the script has none.
---@class luamq.Config
---@field path string?                        the script
---@field listeners luamq.Listener[]
---@field credentials table<string, string>?  passwords by user name; nil when the script has none
---@field anonymous boolean                   clients that send neither name nor password get in
---@field open boolean                        nothing decides who gets in: everybody does
---@field engine luamq.Config.Engine
---@field backend luamq.Config.Backend
---@field limits luamq.Config.Limits
---@field log luamq.Config.Log
---@field hooks table<string, function>[]     asked in order; empty without hooks

-- Problems -----------------------------------------------------------------------------------

---@class luamq.config.Report
---@field name string?          the script, for messages
---@field text string?          its source
---@field source luamq.Source?  read when the first line is asked for
---@field problems table[]
---@field config luamq.Config   what has been checked so far
local Report = {}
Report.__index = Report

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
      local shown = type(key) == "boolean" and tostring(key) or settings.show(key)
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

--- The keys of a table in a fixed order: positions, names, then what is neither.
local function sorted_keys(t)
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
  for _, key in ipairs(sorted_keys(value)) do
    if key == count + 1 then
      count = count + 1
    else
      good = false
      local problem = math.type(key) == "integer" and key > 0 and "expected a list without gaps"
        or "expected a list, which has no such key"
      self:add({ keys[1], key }, problem)
    end
  end
  return good
end

-- Sections -----------------------------------------------------------------------------------

local no_name = "expected a setting of the form name = value"

--- All settings as "section.name", for a name that stands in the wrong place.
local elsewhere = {}
for _, section in ipairs(settings.sections) do
  for _, setting in ipairs(section.keys) do
    elsewhere[setting.name] = section.name .. "." .. setting.name
  end
end
local top = {}
for _, entry in ipairs(settings.top) do top[entry.name] = entry.name end
for _, section in ipairs(settings.sections) do top[section.name] = section.name end

--- Notes a key that is no setting; `names` are those that could stand in its place.
function Report:unknown_setting(keys, names)
  local key = keys[#keys]
  local later = settings.later[keys[#keys - 1] or "top"]
  if type(key) ~= "string" then
    self:add(keys, no_name)
  elseif later and later[key] then
    self:add(keys, "not supported in this version")
  elseif elsewhere[key] or top[key] then
    self:add(keys, ("unknown setting (did you mean '%s'?)"):format(elsewhere[key] or key))
  else
    self:add(keys, "unknown setting" .. settings.suggest(key, names, elsewhere, top))
  end
end

function Report:check_section(section, value)
  local known, result = settings.index[section.name], {}
  for _, setting in ipairs(section.keys) do result[setting.name] = setting.default end
  self.config[section.name] = result
  if value == nil or not self:is_plain({ section.name }, value, "a table of settings") then return end
  for _, key in ipairs(sorted_keys(value)) do
    local keys = { section.name, key }
    if known[key] then
      local read, problem = settings.read(known[key], rawget(value, key))
      if problem then self:add(keys, problem) else result[key] = read end
    else
      self:unknown_setting(keys, known)
    end
  end
end

--- `script` has no settings yet, but its keys are known.
function Report:check_script(value)
  if value == nil or not self:is_plain({ "script" }, value, "a table of settings") then return end
  for _, key in ipairs(sorted_keys(value)) do self:unknown_setting({ "script", key }, {}) end
end

-- Listeners ----------------------------------------------------------------------------------

local listener_example = 'listeners = { "tcp://127.0.0.1:1883" }'

--- The value of an option that the script does not give.
function Report:inherited(option)
  if not option.inherits then return option.default end
  local section, name = option.inherits:match("^(%w+)%.([%w_]+)$")
  return self.config[section][name]
end

--- Notes a key that is no option of the listener.
function Report:unknown_option(keys, scheme)
  local key, known = keys[#keys], settings.listener_index
  if type(key) ~= "string" then
    return self:add(keys, "expected an option of the form name = value")
  end
  for other, options in pairs(known) do
    if options[key] then
      return self:add(keys, ("an option of %s listeners, not of %s ones"):format(other, scheme))
    end
  end
  self:add(keys, ("unknown option of a %s listener%s"):format(scheme,
    settings.suggest(key, known[scheme], elsewhere)))
end

function Report:check_options(position, listener, value)
  local known, result = settings.listener_index[listener.scheme], {}
  listener.options = result
  for name, option in pairs(known) do result[name] = self:inherited(option) end
  if type(value) ~= "table" then return end
  for _, key in ipairs(sorted_keys(value)) do
    local keys = { "listeners", position, key }
    if known[key] then
      local read, problem = settings.read(known[key], rawget(value, key))
      if problem then self:add(keys, problem) else result[key] = read end
    elseif key ~= 1 then
      self:unknown_option(keys, listener.scheme)
    end
  end
  if result.dual_stack and not listener.host:find(":", 1, true) then
    self:add({ "listeners", position, "dual_stack" }, 'needs an IPv6 address, such as "tcp://[::]:1883"')
  end
end

function Report:check_listener(position, value)
  local keys, url = { "listeners", position }, value
  if type(value) == "table" then
    if not self:is_plain(keys, value, "a URL, or a table that starts with one") then return end
    url = rawget(value, 1)
  end
  if type(url) ~= "string" then
    local got = type(value) == "table" and "a table without one" or type(value)
    return self:add(keys, 'expected a URL such as "tcp://127.0.0.1:1883", got ' .. got)
  end
  local listener, problem = settings.read_url(url)
  if not listener then return self:add(keys, problem, { text = url }) end
  self:check_options(position, listener, value)
  listener.line = self:line_of(keys, url)
  return listener
end

function Report:check_listeners(value)
  local result, first = {}, {}
  self.config.listeners = result
  if value == nil then
    return self:add({}, "listeners: missing, for example " .. listener_example)
  end
  if not self:is_plain({ "listeners" }, value, "a list of URLs") then return end
  if not self:is_list({ "listeners" }, value) then return end
  if #value == 0 then return self:add({ "listeners" }, "empty, expected for example " .. listener_example) end
  for position = 1, #value do
    local listener = self:check_listener(position, rawget(value, position))
    if listener then
      local earlier = listener.port ~= 0 and first[listener.url]
      if earlier then
        self:add({ "listeners", position }, ("the same address as listeners[%d]"):format(earlier))
      end
      first[listener.url] = first[listener.url] or position
      result[#result + 1] = listener
    end
  end
end

-- Who gets in --------------------------------------------------------------------------------

--- Why no client could send this text, or nil.
local function unsendable(text, what)
  if #text > 65535 then return what .. " is longer than 65535 bytes" end
  if what == "the user name" and (not utf8.len(text) or text:find("\0", 1, true)) then
    return what .. " is not valid UTF-8 text"
  end
  return nil
end

function Report:check_credentials(value)
  if value == nil or not self:is_plain({ "credentials" }, value, "a table of user name = password") then
    return
  end
  local result = {}
  for _, name in ipairs(sorted_keys(value)) do
    local password, keys = rawget(value, name), { "credentials", name }
    if type(name) ~= "string" then
      self:add(keys, "expected a user name, got " .. type(name))
    elseif type(password) ~= "string" then
      self:add(keys, "expected a password as a string, got " .. type(password))
    else
      local problem = unsendable(name, "the user name") or unsendable(password, "the password")
      if problem then
        self:add(keys, problem .. ", so no client can send it")
      elseif password == "***" then
        self:add(keys, "a masked password, as --dump prints it: put the real one in its place")
      end
      result[name] = password
    end
  end
  self.config.credentials = result
end

function Report:check_anonymous(value)
  self.config.anonymous = value == true
  if value ~= nil and type(value) ~= "boolean" then
    self:add({ "anonymous" }, "expected true or false, got " .. settings.show(value))
  end
end

--- Refuses what would let everybody in without saying so, and what would let nobody in.
function Report:check_access(anonymous)
  local decided = self.config.credentials ~= nil or anonymous == true
  for _, hooks in ipairs(self.config.hooks) do decided = decided or hooks.authenticate ~= nil end
  self.config.open = not decided
  if decided or self:has_problem("credentials", "anonymous", "hooks") then return end
  if anonymous == false then
    return self:add({ "anonymous" }, "nobody could log in: "
      .. "add credentials or an authenticate hook, set it to true, or leave it out")
  end
  for position, listener in ipairs(self.config.listeners) do
    if listener.scheme == "tcp" and not settings.is_loopback(listener.host) then
      self:add({ "listeners", position }, listener.url .. " would let in everybody from the network: "
        .. "add credentials or an authenticate hook, set anonymous = true, or listen on 127.0.0.1",
        { text = listener.url })
    end
  end
end

-- Hooks --------------------------------------------------------------------------------------

local known_hooks = {}
for _, name in ipairs(settings.hooks) do known_hooks[name] = true end

function Report:check_hook_table(keys, value)
  local result = {}
  for _, name in ipairs(sorted_keys(value)) do
    local hook = rawget(value, name)
    local place = { value = hook }
    local path = table.move(keys, 1, #keys, 1, {})
    path[#path + 1] = name
    if type(name) ~= "string" then
      self:add(path, "expected the name of a hook, got " .. type(name), place)
    elseif settings.later.hooks[name] then
      self:add(path, "not supported in this version", place)
    elseif not known_hooks[name] then
      self:add(path, "unknown hook" .. settings.suggest(name, known_hooks), place)
    elseif type(hook) ~= "function" then
      self:add(path, "expected a function, got " .. type(hook))
    else
      result[name] = hook
    end
  end
  return result
end

function Report:check_hooks(value)
  local result, keys = {}, { "hooks" }
  self.config.hooks = result
  if value == nil then return end
  if not self:is_plain(keys, value, "a table of functions, or a list of them") then return end
  if next(value) == nil then return end
  if rawget(value, 1) == nil or type(rawget(value, 1)) == "function" then
    result[1] = self:check_hook_table(keys, value)
  elseif self:is_list(keys, value) then
    for position = 1, #value do
      local one, place = rawget(value, position), { "hooks", position }
      if self:is_plain(place, one, "a table of functions") then
        result[#result + 1] = self:check_hook_table(place, one)
      end
    end
  end
end

-- Check --------------------------------------------------------------------------------------

--- Checks what a script returned. All problems are told in one message, one on each line.
---@param value any      the table; it is not modified
---@param name string?   the script's path or chunk name, for messages
---@param text string?   the script's source, so that messages can name lines
---@return luamq.Config? checked
---@return string? message
function config.check(value, name, text)
  if name ~= nil and type(name) ~= "string" then error("config.check expects a name as a string", 2) end
  name = name and name:gsub("^[@=]", "")
  local report = setmetatable({ name = name, text = text, problems = {}, config = { path = name } }, Report)
  if report:is_plain({}, value, "the script to return a table of settings") then
    for _, key in ipairs(sorted_keys(value)) do
      if not top[key] and key ~= "script" then report:unknown_setting({ key }, top) end
    end
    for _, section in ipairs(settings.sections) do
      report:check_section(section, rawget(value, section.name))
    end
    local backend = rawget(value, "backend")
    report.config.backend.maximum_keep_alive_set = type(backend) == "table"
      and rawget(backend, "maximum_keep_alive") ~= nil
    report:check_script(rawget(value, "script"))
    report:check_listeners(rawget(value, "listeners"))
    report:check_credentials(rawget(value, "credentials"))
    report:check_anonymous(rawget(value, "anonymous"))
    report:check_hooks(rawget(value, "hooks"))
    report:check_access(rawget(value, "anonymous"))
  end
  if #report.problems > 0 then return nil, report:message() end
  return report.config
end

--- What `luamq` serves without a script.
---@return luamq.Config
function config.default()
  return assert(config.check { listeners = { "tcp://127.0.0.1:1883" } })
end

--- Loads a script and checks what it returns. Its directory becomes the first one in `package.path`.
---@param path string
---@param args string[]?  what the script gets as `...`
---@return luamq.Config? checked
---@return string? message
function config.load(path, args)
  if type(path) ~= "string" then error("config.load expects the path of a script", 2) end
  local text, problem = source.read(path)
  if not text then return nil, problem end
  local loaded, value = source.run(text, path, args)
  if not loaded then return nil, value end
  return config.check(value, path, text)
end

-- Dump ---------------------------------------------------------------------------------------

--- A value as Lua source, in one line.
local function literal(value)
  if type(value) == "string" then return (("%q"):format(value):gsub("\n", "n")) end
  local text = tostring(value)
  return type(value) == "number" and tonumber(text) ~= value and ("%.17g"):format(value) or text
end

local function dump_setting(setting, section)
  local value, is_set = section[setting.name], section[setting.name .. "_set"]
  local unit = setting.unit or settings.range_text(setting)
  return ("    %s%s = %s, -- %s, default %s; %s"):format(is_set == false and "-- " or "", setting.name,
    literal(value), unit, literal(setting.default), setting.doc)
end

--- A listener with its options. One that has no value is a comment.
local function dump_listener(lines, listener)
  lines[#lines + 1] = "    { " .. literal(listener.url) .. ","
  for _, entry in ipairs(settings.listeners) do
    for _, option in ipairs(entry.scheme == listener.scheme and entry.keys or {}) do
      local default = option.default ~= nil and literal(option.default) or option.inherits or "none"
      lines[#lines + 1] = ("      %s = %s, -- %s, default %s; %s"):format(option.name,
        literal(listener.options[option.name]), option.unit or settings.range_text(option), default,
        option.doc)
    end
  end
  lines[#lines + 1] = "    },"
end

local function dump_credentials(lines, checked)
  if not checked.credentials then
    lines[#lines + 1] = "  credentials = nil, -- passwords by user name, default none"
  else
    lines[#lines + 1] = "  credentials = {"
    for _, name in ipairs(sorted_keys(checked.credentials)) do
      lines[#lines + 1] = ("    [%s] = \"***\","):format(literal(name))
    end
    lines[#lines + 1] = "  },"
  end
  local anonymous = checked.open and "nil" or tostring(checked.anonymous)
  lines[#lines + 1] = ("  anonymous = %s, -- boolean, default false; %s"):format(anonymous,
    checked.open and "without it, credentials and an authenticate hook everybody gets in"
    or "let in clients that send neither name nor password")
end

local function dump_hooks(lines, hooks)
  lines[#lines + 1] = "  hooks = {"
  for _, one in ipairs(hooks) do
    if #hooks > 1 then lines[#lines + 1] = "    {" end
    for _, name in ipairs(sorted_keys(one)) do
      local info = debug.getinfo(one[name], "S")
      local place = info.what == "C" and "a C function"
        or (info.source:find("^[@=]") and info.source:sub(2) or info.short_src) .. ":" .. info.linedefined
      local indent = #hooks > 1 and "      " or "    "
      lines[#lines + 1] = indent .. "-- " .. name .. ": " .. place:gsub("%c", "?")
    end
    if #hooks > 1 then lines[#lines + 1] = "    }," end
  end
  lines[#lines + 1] = "  },"
end

--- A checked configuration as Lua source: every key, with its unit and default in a comment.
--- Passwords are masked, and hooks are comments that tell where each function is.
---@param checked luamq.Config
---@return string
function config.dump(checked)
  if type(checked) ~= "table" or type(checked.listeners) ~= "table" then
    error("config.dump expects a checked configuration", 2)
  end
  local name = checked.path and " of " .. checked.path:gsub("%c", "?") or ""
  local lines = { "-- the settings" .. name .. ", with all defaults", "return {", "  listeners = {" }
  for _, listener in ipairs(checked.listeners) do dump_listener(lines, listener) end
  lines[#lines + 1] = "  },"
  dump_credentials(lines, checked)
  for _, section in ipairs(settings.sections) do
    lines[#lines + 1] = ("  %s = { -- %s"):format(section.name, section.doc)
    for _, setting in ipairs(section.keys) do
      lines[#lines + 1] = dump_setting(setting, checked[section.name])
    end
    lines[#lines + 1] = "  },"
  end
  dump_hooks(lines, checked.hooks)
  lines[#lines + 1] = "}\n"
  return table.concat(lines, "\n")
end

--- Tables of all settings, and of the options of listeners, in Markdown.
---@return string
function config.reference()
  return settings.reference()
end

return config
