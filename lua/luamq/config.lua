--- Loads a script, checks the table that it returns, and prints it with all defaults.
---
--- The check builds a new table and never touches the script's own. It goes on after a mistake, so
--- that one run tells all of them, in the order of the script's lines. No message and no dump ever
--- holds a value of `credentials`, nor the user part of a URL.

local dump = require "luamq.dump"
local listeners = require "luamq.listeners"
local passwords = require "luamq.password"
local reports = require "luamq.report"
local rules = require "luamq.rules"
local scope = require "luamq.scope"
local settings = require "luamq.settings"
local source = require "luamq.source"
local words = require "luamq.words"

local config = {}

---A checked configuration: every setting is there, with its default where the script has none.
---@class luamq.Config
---@field path string?                        the script
---@field listeners luamq.Listener[]
---@field credentials table<string, string>?  passwords by user name; nil when the script has none
---@field password_file string?               in their place; relative to where the broker runs
---@field anonymous boolean                   clients that send neither name nor password get in
---@field open boolean                        nothing decides who gets in: everybody does
---@field engine luamq.Config.Engine
---@field backend luamq.Config.Backend
---@field limits luamq.Config.Limits
---@field script luamq.Config.Script
---@field log luamq.Config.Log
---@field acl luamq.CheckedRule[]?             nil when the script has no rules
---@field rules string?                       the same for the core
---@field hooks table<string, function>[]     asked in order; empty without hooks
---@field scopes table<string, table>[]       of these, by luamq.on_topics

-- Sections -----------------------------------------------------------------------------------

local no_name = "expected a setting of the form name = value"

local elsewhere, top = settings.elsewhere, {}
for _, entry in ipairs(settings.top) do top[entry.name] = entry.name end
for _, section in ipairs(settings.sections) do top[section.name] = section.name end

--- Notes a key that is no setting; `names` are those that could stand in its place.
local function unknown_setting(report, keys, names)
  local key = keys[#keys]
  local later = settings.later[keys[#keys - 1] or "top"]
  if type(key) ~= "string" then
    report:add(keys, no_name)
  elseif later and later[key] then
    report:add(keys, "not supported in this version")
  elseif elsewhere[key] or top[key] then
    report:add(keys, ("unknown setting (did you mean '%s'?)"):format(elsewhere[key] or key))
  else
    report:add(keys, "unknown setting" .. words.suggest(key, names, elsewhere, top))
  end
end

local function check_section(report, section, value)
  local result, keys = {}, { section.name }
  for _, setting in ipairs(section.keys) do result[setting.name] = setting.default end
  report.config[section.name] = result
  if value == nil or not report:is_plain(keys, value, "a table of settings") then return end
  local known = settings.index[section.name]
  report:read_fields(keys, known, value, result, function(place) unknown_setting(report, place, known) end)
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

--- A file that can be read has to be right in all of its lines.
local function check_password_file(report, value)
  local keys, before = { "credentials" }, #report.problems
  local path = report:read_path(keys, { type = "path" }, value)
  report.config.password_file = path
  if not path or not report.reads_files or #report.problems > before then return end
  local problems, reason = passwords.problems(path)
  if not problems then return report:add(keys, ("cannot read '%s': %s"):format(path, reason)) end
  for _, problem in ipairs(problems) do report:add(keys, problem) end
end

local function check_credentials(report, value)
  local file = passwords.path_of(value)
  if file then return check_password_file(report, file) end
  local expected = "a table of user name = password, or luamq.password_file"
  if value == nil or not report:is_plain({ "credentials" }, value, expected) then return end
  local result = {}
  for _, name in ipairs(reports.sorted_keys(value)) do
    local password, keys = rawget(value, name), { "credentials", name }
    if type(name) ~= "string" then
      report:add(keys, "expected a user name, got " .. type(name))
    elseif type(password) ~= "string" then
      report:add(keys, "expected a password as a string, got " .. type(password))
    else
      local problem = unsendable(name, "the user name") or unsendable(password, "the password")
      if problem then
        report:add(keys, problem .. ", so no client can send it")
      elseif password == "***" then
        report:add(keys, "a masked password, as --dump prints it: put the real one in its place")
      end
      result[name] = password
    end
  end
  report.config.credentials = result
end

local function check_anonymous(report, value)
  report.config.anonymous = value == true
  if value ~= nil and type(value) ~= "boolean" then
    report:add({ "anonymous" }, "expected true or false, got " .. words.show(value))
  end
end

local function has_hook(checked, name)
  for _, hooks in ipairs(checked.hooks) do
    if hooks[name] then return true end
  end
  return false
end

--- Refuses what would let everybody in without saying so, and what would let nobody in.
local function check_access(report, anonymous)
  local checked, hooked = report.config, has_hook(report.config, "authenticate")
  local asked = checked.credentials ~= nil or checked.password_file ~= nil or has_hook(checked, "auth")
  local decided = hooked or asked or anonymous == true
  checked.open = not decided
  if report:has_problem("credentials", "anonymous", "hooks") then return end
  if not decided and anonymous == false then
    return report:add({ "anonymous" }, "nobody could log in: "
      .. "add credentials or an authenticate hook, set it to true, or leave it out")
  end
  listeners.check_access(report, {
    open = not decided,
    login = hooked or asked and anonymous ~= true,
    psk = has_hook(checked, "psk"),
  })
end

-- Rules --------------------------------------------------------------------------------------

local function check_acl(report, value)
  if value == nil then return end
  local good = true
  local list = rules.read(value, function(keys, problem)
    report:add({ "acl", table.unpack(keys) }, problem)
    good = false
  end)
  local position, mistake = nil, nil
  if good then position, mistake = rules.mistake(list) end
  if position then report:add({ "acl", position }, mistake) end
  if not good or position then return end
  for number, rule in ipairs(list) do rule.line = report:line_of({ "acl", number }) end
  report.config.acl, report.config.rules = list, rules.pack(list)
end

-- Hooks --------------------------------------------------------------------------------------

local known_hooks = {}
for _, name in ipairs(settings.hooks) do known_hooks[name] = true end

--- Notes what a hook is about, and answers its function.
local function take_scope(report, path, hook, scopes)
  local name = path[#path]
  if not scope.is(hook) then return hook end
  if not scope.hooks[name] then
    report:add(path, "luamq.on_topics is for publish, dequeue, subscribe and unsubscribe",
      { value = hook.fn })
  end
  scopes[name] = scope.pack(hook)
  return hook.fn
end

local function check_hook_table(report, keys, value)
  local result, scopes = {}, {}
  report.config.scopes[#report.config.scopes + 1] = scopes
  for _, name in ipairs(reports.sorted_keys(value)) do
    local path = table.move(keys, 1, #keys, 1, {})
    path[#path + 1] = name
    local hook = take_scope(report, path, rawget(value, name), scopes)
    local place = { value = hook }
    if type(name) ~= "string" then
      report:add(path, "expected the name of a hook, got " .. type(name), place)
    elseif settings.later.hooks[name] then
      report:add(path, "not supported in this version", place)
    elseif not known_hooks[name] then
      report:add(path, "unknown hook" .. words.suggest(name, known_hooks), place)
    elseif type(hook) ~= "function" then
      report:add(path, "expected a function, got " .. type(hook))
    else
      result[name] = hook
    end
  end
  return result
end

local function check_hooks(report, value)
  local result, keys = {}, { "hooks" }
  report.config.hooks, report.config.scopes = result, {}
  if value == nil then return end
  if not report:is_plain(keys, value, "a table of functions, or a list of them") then return end
  if next(value) == nil then return end
  if rawget(value, 1) == nil or type(rawget(value, 1)) == "function" then
    result[1] = check_hook_table(report, keys, value)
  elseif report:is_list(keys, value) then
    for position = 1, #value do
      local one, place = rawget(value, position), { "hooks", position }
      if report:is_plain(place, one, "a table of functions") then
        result[#result + 1] = check_hook_table(report, place, one)
      end
    end
  end
end

-- Check --------------------------------------------------------------------------------------

local function check(value, name, text, reads_files)
  local report = reports.new(name and name:gsub("^[@=]", ""), text, reads_files)
  if report:is_plain({}, value, "the script to return a table of settings") then
    for _, key in ipairs(reports.sorted_keys(value)) do
      if not top[key] then unknown_setting(report, { key }, top) end
    end
    for _, section in ipairs(settings.sections) do
      check_section(report, section, rawget(value, section.name))
    end
    local backend = rawget(value, "backend")
    report.config.backend.maximum_keep_alive_set = type(backend) == "table"
      and rawget(backend, "maximum_keep_alive") ~= nil
    listeners.check(report, rawget(value, "listeners"))
    check_credentials(report, rawget(value, "credentials"))
    check_anonymous(report, rawget(value, "anonymous"))
    check_acl(report, rawget(value, "acl"))
    check_hooks(report, rawget(value, "hooks"))
    check_access(report, rawget(value, "anonymous"))
  end
  if #report.problems > 0 then return nil, report:message() end
  return report.config
end

--- Checks what a script returned. All problems are told in one message, one on each line. Files that it
--- names are not looked for: that is a matter of the machine that serves it.
---@param value any      the table; it is not modified
---@param name string?   the script's path or chunk name, for messages
---@param text string?   the script's source, so that messages can name lines
---@return luamq.Config? checked
---@return string? message
function config.check(value, name, text)
  if name ~= nil and type(name) ~= "string" then error("config.check expects a name as a string", 2) end
  return check(value, name, text, false)
end

--- What `luamq` serves without a script.
---@return luamq.Config
function config.default()
  return assert(config.check { listeners = { "tcp://127.0.0.1:1883" } })
end

--- Loads a script and checks what it returns, and that files which it names can be read. Its directory
--- becomes the first one in `package.path`.
---@param path string
---@param args string[]?  what the script gets as `...`
---@return luamq.Config? checked
---@return string? message
function config.load(path, args)
  if type(path) ~= "string" then error("config.load expects the path of a script", 2) end
  local text, problem = source.read(path)
  if not text then return nil, problem end
  local name = path == "-" and "stdin" or path
  local loaded, value = source.run(text, name, args)
  if not loaded then return nil, value end
  return check(value, name, text, true)
end

-- Printing -----------------------------------------------------------------------------------

--- A checked configuration as Lua source: every key, with its unit and default in a comment.
--- Passwords are masked, and hooks are comments that tell where each function is.
---@param checked luamq.Config
---@return string
function config.dump(checked)
  if type(checked) ~= "table" or type(checked.listeners) ~= "table" then
    error("config.dump expects a checked configuration", 2)
  end
  return dump.script(checked)
end

--- Tables of all settings, and of the options of listeners, in Markdown.
---@return string
function config.reference() return dump.reference() end

return config
