--- Definition files that are made of tables: lua/luamq/types/settings.lua of the settings and the options of
--- listeners, types/stats.lua of the rows in src/broker/stats.h.

local dump = require "luamq.dump"
local listeners = require "luamq.listeners"
local settings = require "luamq.settings"

local definitions = {}

-- Settings -----------------------------------------------------------------------------------

local plain <const> = {
  boolean = "boolean", integer = "integer", size = "integer|string", share = "integer|string",
  string = "string", text = "string", path = "string", lines = "string", mode = "string", origin = "string",
  network = "string", account = "string|integer",
}

local type_of

local complex = {}

function complex.seconds(setting) return setting.whole and "integer" or "number" end

function complex.enum(setting)
  local words = {}
  for i, word in ipairs(setting.values) do words[i] = '"' .. word .. '"' end
  return table.concat(words, "|")
end

complex["list"] = function(setting) return type_of(setting.of) .. "[]" end

complex["table"] = function(setting)
  local fields = {}
  for i, key in ipairs(setting.keys) do
    fields[i] = ("%s: %s%s"):format(key.name, type_of(key), key.needed and "" or "?")
  end
  return "{ " .. table.concat(fields, ", ") .. " }"
end

--- The type of what a script writes.
function type_of(setting)
  if plain[setting.type] then return plain[setting.type] end
  local make = complex[setting.type] or error("no annotation for settings of the type " .. setting.type)
  return make(setting)
end

local function field(setting, suffix)
  local type = type_of(setting)
  if type:find("|", 1, true) then type = "(" .. type .. ")" end
  local text = ("%s; %s"):format(setting.doc, dump.value_text(setting))
  local default = dump.default_text(setting)
  if default then text = text .. "; default `" .. default .. "`" end
  return ("---@field %s %s?  %s%s"):format(setting.name, type, text, suffix or "")
end

local top_types <const> = {
  listeners = "(string|luamq.ListenerOptions)[]", credentials = "(table<string, string>|luamq.PasswordFile)?",
  anonymous = "boolean?", acl = "luamq.Rule[]?", hooks = "(luamq.Hooks|luamq.Hooks[])?",
}

local function class_name(section)
  return ("luamq.%sSettings"):format(section:gsub("^%l", string.upper))
end

--- Classes whose fields are rows of a table, and the heading of it on the page of the settings.
definitions.sections = { ["luamq.ListenerOptions"] = "Options of listeners" }
for _, section in ipairs(settings.sections) do
  definitions.sections[class_name(section.name)] = "All settings"
end

local function settings_file()
  local lines = {
    "---@meta luamq.types.settings", "--- What a script returns: a table of settings.",
    "", "-- Made by `make reference` of luamq.settings and luamq.listeners.", "",
    "---@class luamq.Script",
  }
  for _, entry in ipairs(settings.top) do
    local type = top_types[entry.name] or "any"
    lines[#lines + 1] = ("---@field %s %s  %s"):format(entry.name, type, entry.doc)
  end
  for _, section in ipairs(settings.sections) do
    lines[#lines + 1] = ("---@field %s %s?  %s"):format(section.name, class_name(section.name), section.doc)
  end
  for _, section in ipairs(settings.sections) do
    lines[#lines + 1] = "\n---@class " .. class_name(section.name)
    for _, setting in ipairs(section.keys) do lines[#lines + 1] = field(setting) end
  end
  lines[#lines + 1] = "\n---A listener with options. Paths are relative to the script."
  lines[#lines + 1] = "---@class luamq.ListenerOptions"
  lines[#lines + 1] = "---@field [1] string  the URL: "
    .. '"tls://[::]:8883", "ws://127.0.0.1/mqtt", "unix:///run/luamq.sock"'
  for _, entry in ipairs(dump.options_with_schemes()) do
    local of = #entry.schemes < #listeners.transports and "; of " .. table.concat(entry.schemes, ", ") or ""
    lines[#lines + 1] = field(entry.option, of)
  end
  return table.concat(lines, "\n") .. "\n"
end

-- Counters -----------------------------------------------------------------------------------

--- The rows of one of the lists in the header.
local function rows_of(header, list)
  local text = header:match("#define " .. list .. "%(X%)(.-[^\\])\n\n") or error("stats.h has no " .. list)
  local rows = {}
  for name, doc in text:gmatch 'X%(([%l%d_]+),%s*"([^"]*)"%)' do
    rows[#rows + 1] = { name = name, doc = doc }
  end
  return rows
end

local function stats_file()
  local file <close> = assert(io.open "src/broker/stats.h")
  local header = file:read "a"
  local lines = {
    "---@meta luamq.types.stats", "--- What `luamq.stats()` answers.", "",
    "-- Made by `make reference` of src/broker/stats.h.", "",
    "---Counters since the start and, last, gauges.", "---@class luamq.Stats",
  }
  for list in header:gmatch "#define ([%u_]+)%(X%)" do
    for _, row in ipairs(rows_of(header, list)) do
      lines[#lines + 1] = ("---@field %s integer  %s"):format(row.name, row.doc)
    end
  end
  lines[#lines + 1] = "---@field hooks table<string, luamq.HookStats>  by the name of the hook; also `timer` "
    .. "when one has fired"
  return table.concat(lines, "\n") .. "\n"
end

--- The definition files by path.
---@return table<string, string>
function definitions.all()
  return {
    ["lua/luamq/types/settings.lua"] = settings_file(),
    ["lua/luamq/types/stats.lua"] = stats_file(),
  }
end

return definitions
