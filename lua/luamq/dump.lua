--- Prints settings: those of a checked script with all defaults, as Lua, and all there are, in Markdown.

local listeners = require "luamq.listeners"
local reports = require "luamq.report"
local rules = require "luamq.rules"
local settings = require "luamq.settings"
local values = require "luamq.values"
local words = require "luamq.words"

local dump = {}

-- A script -----------------------------------------------------------------------------------

--- A path as the script has it: relative to its directory.
local function relative(path, directory)
  return directory ~= "" and path:sub(1, #directory) == directory and path:sub(#directory + 1) or path
end

--- A value as Lua source, in one line.
---@param value any
---@param setting luamq.Setting?    what a table or a path needs to be told
---@param directory string?         of the script
local function literal(value, setting, directory)
  if type(value) == "table" then
    local parts = {}
    for position, item in ipairs(value) do parts[position] = literal(item, setting.of, directory) end
    for _, field in ipairs(setting.keys or {}) do
      parts[#parts + 1] = field.name .. " = " .. literal(value[field.name], field, directory)
    end
    return "{ " .. table.concat(parts, ", ") .. " }"
  elseif type(value) == "string" then
    local is_path = setting and setting.type == "path" and directory and value ~= ""
    local text = is_path and relative(value, directory) or value
    return (("%q"):format(text):gsub("\n", "n"))
  end
  local text = tostring(value)
  return type(value) == "number" and tonumber(text) ~= value and ("%.17g"):format(value) or text
end

local function dump_setting(setting, section)
  local value, is_set = section[setting.name], section[setting.name .. "_set"]
  local unit = setting.unit or values.range(setting)
  return ("    %s%s = %s, -- %s, default %s; %s"):format(is_set == false and "-- " or "", setting.name,
    literal(value), unit, literal(setting.default), setting.doc)
end

--- A listener with its options.
local function dump_listener(lines, listener, directory)
  lines[#lines + 1] = "    { " .. literal(listener.url) .. ","
  for _, transport in ipairs(listeners.transports) do
    for _, option in ipairs(transport.scheme == listener.scheme and transport.keys or {}) do
      local default = option.default ~= nil and literal(option.default, option) or option.inherits or "none"
      lines[#lines + 1] = ("      %s = %s, -- %s, default %s; %s"):format(option.name,
        literal(listener.options[option.name], option, directory), option.unit or values.range(option),
        default, option.doc)
    end
  end
  lines[#lines + 1] = "    },"
end

local function dump_credentials(lines, checked, directory)
  if checked.password_file then
    lines[#lines + 1] = ("  credentials = require \"luamq\".password_file(%s),"):format(
      literal(checked.password_file, { type = "path" }, directory))
  elseif not checked.credentials then
    lines[#lines + 1] = "  credentials = nil, -- passwords by user name, default none"
  else
    lines[#lines + 1] = "  credentials = {"
    for _, name in ipairs(reports.sorted_keys(checked.credentials)) do
      lines[#lines + 1] = ("    [%s] = \"***\","):format(literal(name))
    end
    lines[#lines + 1] = "  },"
  end
  local anonymous = checked.open and "nil" or tostring(checked.anonymous)
  lines[#lines + 1] = ("  anonymous = %s, -- boolean, default false; %s"):format(anonymous,
    checked.open and "without it, credentials and an authenticate hook everybody gets in"
    or "let in clients that send neither name nor password")
end

local function dump_acl(lines, acl)
  if not acl then
    lines[#lines + 1] = "  acl = nil, -- list of rules, default none"
    return
  end
  lines[#lines + 1] = "  acl = { -- the first rule that applies decides; "
    .. "behind the last one everything is denied"
  for number, rule in ipairs(acl) do
    lines[#lines + 1] = ("    %s, -- %d"):format(rules.text(rule), number)
  end
  lines[#lines + 1] = "  },"
end

local function dump_hooks(lines, hooks, scopes)
  lines[#lines + 1] = "  hooks = {"
  for position, one in ipairs(hooks) do
    if #hooks > 1 then lines[#lines + 1] = "    {" end
    for _, name in ipairs(reports.sorted_keys(one)) do
      local info = debug.getinfo(one[name], "S")
      local place = info.what == "C" and "a C function"
        or (info.source:find("^[@=]") and info.source:sub(2) or info.short_src) .. ":" .. info.linedefined
      local indent = #hooks > 1 and "      " or "    "
      local about = scopes[position][name]
      about = about and ", for " .. table.concat(about.filters, " ") .. " only" or ""
      lines[#lines + 1] = indent .. "-- " .. name .. ": " .. (place .. about):gsub("%c", "?")
    end
    if #hooks > 1 then lines[#lines + 1] = "    }," end
  end
  lines[#lines + 1] = "  },"
end

--- A checked configuration as Lua source.
---@param checked luamq.Config
---@return string
function dump.script(checked)
  local name = checked.path and " of " .. checked.path:gsub("%c", "?") or ""
  local lines = { "-- the settings" .. name .. ", with all defaults", "return {", "  listeners = {" }
  local directory = reports.directory(checked.path)
  for _, listener in ipairs(checked.listeners) do dump_listener(lines, listener, directory) end
  lines[#lines + 1] = "  },"
  dump_credentials(lines, checked, directory)
  dump_acl(lines, checked.acl)
  for _, section in ipairs(settings.sections) do
    lines[#lines + 1] = ("  %s = { -- %s"):format(section.name, section.doc)
    for _, setting in ipairs(section.keys) do
      lines[#lines + 1] = dump_setting(setting, checked[section.name])
    end
    lines[#lines + 1] = "  },"
  end
  dump_hooks(lines, checked.hooks, checked.scopes)
  lines[#lines + 1] = "}\n"
  return table.concat(lines, "\n")
end

-- Reference ----------------------------------------------------------------------------------

--- The default, as a script would write it; for an option that inherits one, the setting; nil: none.
---@param setting luamq.Setting
---@return string?
function dump.default_text(setting)
  local value = setting.default
  if value == nil then return setting.inherits end
  if setting.type == "size" and value > 0 then value = words.size_text(value) end
  return literal(value, setting)
end

--- What may be written, with its unit.
---@param setting luamq.Setting
---@return string
function dump.value_text(setting)
  local value = values.range(setting)
  return setting.unit and setting.unit .. ", " .. value or value
end

--- Options with the transports that have them, in the order of the first.
---@return { option: luamq.Setting, schemes: string[] }[]
function dump.options_with_schemes()
  local list, at = {}, {}
  for _, listener in ipairs(listeners.transports) do
    for _, option in ipairs(listener.keys) do
      local seen = at[option]
      if not seen then
        seen = { option = option, schemes = {} }
        at[option], list[#list + 1] = seen, seen
      end
      seen.schemes[#seen.schemes + 1] = listener.scheme
    end
  end
  return list
end

--- Tables of all settings, and of the options of listeners.
---@return string
function dump.reference()
  local lines = { "| Setting | Default | Value | Meaning |", "|---|---|---|---|" }
  local function row(name, default, ...)
    default = default and "`" .. default .. "`" or "-"
    lines[#lines + 1] = ("| `%s` | %s | "):format(name, default) .. table.concat({ ... }, " | ") .. " |"
  end
  for _, entry in ipairs(settings.top) do row(entry.name, entry.default, entry.kind, entry.doc) end
  for _, section in ipairs(settings.sections) do
    for _, setting in ipairs(section.keys) do
      row(section.name .. "." .. setting.name, dump.default_text(setting), dump.value_text(setting),
        setting.doc)
    end
  end
  lines[#lines + 1] = "\n| Option of a listener | Default | Value | Of | Meaning |\n|---|---|---|---|---|"
  for _, entry in ipairs(dump.options_with_schemes()) do
    local option = entry.option
    row(option.name, dump.default_text(option), dump.value_text(option), table.concat(entry.schemes, ", "),
      option.doc)
  end
  return table.concat(lines, "\n") .. "\n"
end

return dump
