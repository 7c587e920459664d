--- What fuzz_script.c does with each input: scripts made of its bytes, or its bytes as the text of a
--- script or as a URL, for the check of scripts. An error that is raised is a finding.
---
--- A made script has each key on a line of its own, so that a message can be held against the line that
--- it names.

local config = require "luamq.config"
local listeners = require "luamq.listeners"
local settings = require "luamq.settings"
local source = require "luamq.source"
local url = require "luamq.url"
local core = require "tests.fuzz.core" ---@type { broker: function, resolve: function }

local NAME <const> = "fuzz.lua"
local SECRET <const>, USER <const> = "s3cr3t", "us3r"
local MAX_KEYS <const> = 48

-- Input --------------------------------------------------------------------------------------

---@class fuzz.Reader
---@field bytes string
---@field at integer
---@field keys integer  that were made so far
local Reader = {}
Reader.__index = Reader

function Reader:byte()
  local byte = self.bytes:byte(self.at)
  self.at = self.at + 1
  return byte or 0
end

function Reader:left() return #self.bytes - self.at + 1 end

function Reader:pick(list) return list[1 + self:byte() % #list] end

--- Raw bytes, which do not hold what must not be shown elsewhere.
function Reader:raw(most)
  local length = self:byte() % most
  local text = self.bytes:sub(self.at, self.at + length - 1)
  self.at = self.at + length
  return (text:gsub(SECRET, ""):gsub(USER, ""))
end

-- Words and values ---------------------------------------------------------------------------

local words = { "script", "url", "hook_budget", "acl" }
for _, entry in ipairs(settings.top) do words[#words + 1] = entry.name end
for _, section in ipairs(settings.sections) do
  words[#words + 1] = section.name
  for _, setting in ipairs(section.keys) do words[#words + 1] = setting.name end
end
for _, transport in ipairs(listeners.transports) do
  for _, option in ipairs(transport.keys) do words[#words + 1] = option.name end
end

local hook_names = { "auth", "selftest" }
for _, name in ipairs(settings.hooks) do hook_names[#hook_names + 1] = name end

local odd_values = {
  "nil", "true", "false", "0", "1", "-1", "0.5", "-0.0", "1e308", "1/0", "-1/0", "0/0", "660", "65535",
  "65536", "1 << 31", "2147483648", "4294967296", "math.maxinteger", "math.mininteger", "{}", "{ {} }",
  "print", "function() end", "coroutine.create(print)", "setmetatable({}, {})",
  "setmetatable({}, { __index = error, __pairs = error, __len = error })", '""', '"256K"', '"1024M"',
  '"1g"', '"99999999999999999999"', '"0660"', '"7777"', '"text"', '"json"', '"debug"', '"off"',
  '"disconnect"', '"acknowledge"', '"***"', '"root"', '"\\0"', '"a\\nb"', "[[\n]]", '"\\xff\\xfe"',
  "#arg", "select('#', ...)", '"a.pem"', '"/k.pem"', '"1.2"', '"1.3"', '"required"', '"optional"',
  '{ "*" }', '{ "https://a.example:443", "x" }', '{ "10.0.0.0/8" }', '{ "unix", "::1/129" }',
  '{ { certificate = "b.pem", key = "b.key" } }', '{ { key = 1, kei = {} }, [3] = 1 }',
  "{ status = 404 }", '{ status = 1, type = "a\\n", boddy = "" }',
}

local schemes = { "tcp", "mqtt", "unix", "tls", "mqtts", "ws", "wss", "TCP", "http", "" }
local hosts = {
  "127.0.0.1", "localhost", "[::1]", "[::]", "0.0.0.0", "example.org", "", "a..b", "[fe80::1%lo]",
  "[1::2::3]", "::1", "256.0.0.1", "[::ffff:127.0.0.1]", "a-", "-a", "_x",
  USER .. ":" .. SECRET .. "@127.0.0.1",
  USER .. "@" .. SECRET .. "@", "/run/luamq.sock", "/", "/a\nb",
}
local ports = { "", ":1883", ":0", ":65535", ":65536", ":x", ":", ":01883", ":-1" }
local paths = { "", "", "/", "/mqtt", "?a=b", "#c", "//" }

local function quote(text) return (("%q"):format(text):gsub("\\\n", "\\n")) end

local function url_text(r)
  if r:byte() % 8 == 7 then return r:raw(32) end
  return r:pick(schemes) .. "://" .. r:pick(hosts) .. r:pick(ports) .. r:pick(paths)
end

--- A word with a letter lost, doubled or replaced.
local function misspelt(r)
  local word = r:pick(words)
  local at, how = 1 + r:byte() % #word, r:byte() % 4
  local letter = ({ "", word:sub(at, at):rep(2), "x", "-" })[how + 1]
  return word:sub(1, at - 1) .. letter .. word:sub(at + 1)
end

--- A value at or beside the limits of a setting, or any other.
local function value_text(r, setting)
  local how = r:byte() % 8
  if setting and setting.minimum and how < 4 then
    local limit = how < 2 and setting.minimum or setting.maximum
    return ("%s + %s"):format(limit, r:pick { "0", "1", "-1", "0.5" })
  elseif setting and setting.values and how < 4 then
    return quote(r:pick(setting.values))
  elseif how == 6 then
    return quote(r:raw(24))
  elseif how == 7 then
    return tostring(r:byte() - 100)
  end
  return r:pick(odd_values)
end

-- Scripts ------------------------------------------------------------------------------------

---@class fuzz.Script
---@field lines string[]
---@field behind boolean  the constructor is closed: settings are assigned by name
local Script = {}
Script.__index = Script

function Script:add(indent, ...) self.lines[#self.lines + 1] = ("  "):rep(indent) .. table.concat { ... } end

--- A setting of the returned table.
function Script:set(name, value)
  if self.behind then return self:add(0, "settings.", name, " = ", value) end
  self:add(1, name, " = ", value, ",")
end

function Script:open(name)
  if self.behind then return self:add(0, "settings.", name, " = {") end
  self:add(1, name, " = {")
end

function Script:close()
  self:add(self.behind and 0 or 1, self.behind and "}" or "},")
end

local function key_text(name)
  return name:find("^[%a_][%w_]*$") and not load("local " .. name .. " = 1") and "[" .. quote(name) .. "]"
    or name:find("^[%a_][%w_]*$") and name or "[" .. quote(name) .. "]"
end

--- Entries until a byte says that there are no more.
local function entries(r, make)
  while r:left() > 0 and r.keys < MAX_KEYS and r:byte() % 8 ~= 0 do
    r.keys = r.keys + 1
    make(r:byte())
  end
end

local function odd_key(r)
  return r:pick { "[0]", "[-1]", "[1.5]", "[true]", "[1 << 40]", "[{}]", "[print]", key_text(r:raw(80)) }
end

local function add_section(script, r, section)
  script:open(section.name)
  entries(r, function(kind)
    local setting = section.keys[1 + kind % #section.keys]
    local key = kind < 192 and setting.name or kind < 232 and key_text(misspelt(r)) or odd_key(r)
    script:add(2, key, " = ", value_text(r, setting), ",")
  end)
  script:close()
end

local function add_listeners(script, r)
  script:open "listeners"
  entries(r, function(kind)
    if kind < 96 then return script:add(2, quote(url_text(r)), ",") end
    if kind > 240 then return script:add(2, odd_key(r), " = ", value_text(r), ",") end
    script:add(2, "{ ", quote(url_text(r)), ",")
    local options = r:pick(listeners.transports).keys
    entries(r, function(other)
      local option = options[1 + other % #options]
      local key = other < 224 and option.name or key_text(misspelt(r))
      script:add(3, key, " = ", value_text(r, option), ",")
    end)
    script:add(2, "},")
  end)
  script:close()
end

local function add_credentials(script, r)
  script:open "credentials"
  entries(r, function(kind)
    local key = kind < 200 and key_text("user" .. kind) or odd_key(r)
    local value = kind % 4 > 0 and quote(SECRET .. r:raw(8)) or r:pick(odd_values)
    script:add(2, key, " = ", value, ",")
  end)
  script:close()
end

local function add_hooks(script, r)
  local is_list = r:byte() % 2 == 0
  local indent = is_list and 3 or 2
  script:open "hooks"
  entries(r, function(kind)
    if is_list then script:add(2, "{") end
    local key = kind < 224 and r:pick(hook_names) or key_text(misspelt(r))
    script:add(indent, key, " = ", kind % 4 > 0 and "function() end" or value_text(r), ",")
    if is_list then script:add(2, "},") end
  end)
  script:close()
end

local function add_entry(script, r, kind)
  if kind < 80 then return add_listeners(script, r) end
  if kind < 160 then return add_section(script, r, settings.sections[1 + kind % #settings.sections]) end
  if kind < 180 then return add_credentials(script, r) end
  if kind < 200 then return add_hooks(script, r) end
  if kind < 216 then return script:set("anonymous", r:pick(odd_values)) end
  if kind < 236 then return script:set(r:pick(words), value_text(r)) end
  if not script.behind then
    script:set(kind < 246 and key_text(misspelt(r)) or odd_key(r), value_text(r))
  end
end

local function script_text(r)
  local script = setmetatable({ lines = {}, behind = false }, Script)
  local by_name = r:byte() % 2 == 0
  script:add(0, by_name and "local settings = {" or "return {")
  if r:byte() % 4 > 0 then script:add(1, 'listeners = { "tcp://127.0.0.1:1883" },') end
  entries(r, function(kind) add_entry(script, r, kind) end)
  script:add(0, "}")
  if not by_name then return script.lines end
  script.behind = true
  entries(r, function(kind) add_entry(script, r, kind) end)
  script:add(0, "return settings")
  return script.lines
end

-- What has to hold ---------------------------------------------------------------------------

local function check_no_secret(text, what)
  assert(not text:find(SECRET, 1, true), what .. " shows a password:\n" .. text)
  assert(not text:find(USER, 1, true), what .. " shows a user of a URL:\n" .. text)
end

--- Each line of a message tells the script, where it can the line, and what is wrong.
local function check_message(message, lines)
  assert(type(message) == "string" and #message > 0)
  assert(not message:find("[%z\1-\9\11-\31\127]"), "a control character in:\n" .. message)
  check_no_secret(message, "a message")
  for one in message:gmatch("[^\n]*") do
    local number, path = one:match("^fuzz%.lua:?(%d*): ([^:]*)")
    assert(path and #path > 0, "no place in: " .. one)
    local is_missing = one:find(": missing, ", 1, true)
    local key = not is_missing and (path:match("^[%w_.%[%]]*%.([%a_][%w_]*)$") or path:match("^[%a_][%w_]*$"))
    local line = lines[tonumber(number)]
    assert(line or number == "" and not key, "no line in: " .. one)
    assert(not key or not line or line:find(key, 1, true), ("%s\nis not about: %s"):format(one, line))
  end
end

--- What a dump says is what was checked, where it says all.
local function check_dump(checked)
  local dump = config.dump(checked)
  check_no_secret(dump, "a dump")
  local again, problem = config.check(assert(load(dump, "=dump", "t"))(), NAME)
  if checked.credentials or #checked.hooks > 0 then return end
  assert(again, problem)
  assert(config.dump(again) == dump, "a dump changes:\n" .. dump)
end

local function check_script(r)
  local lines = script_text(r)
  local text = table.concat(lines, "\n") .. "\n"
  local all = {} -- the lines of a long string are lines too
  for line in text:gmatch("[^\n]*") do all[#all + 1] = line end
  local ran, value = source.run(text, NAME, {})
  if not ran then -- an index of nil or nan
    assert(value:find("^fuzz%.lua:%d+: "), value)
    return
  end
  local checked, message = config.check(value, NAME, text)
  if not checked then return check_message(message, all) end
  check_dump(checked)
  core.broker(checked)
end

--- Any text: what is not Lua is told with its place, and lines are those of the text.
local function check_source(text)
  local count = select(2, text:gsub("\r\n?", "\n"):gsub("\n", "\n")) + 1
  local last = 1
  for _, token in ipairs(source.tokens(text)) do
    assert(token.line >= last and token.line <= count)
    last = token.line
  end
  local read = source.new(text)
  for _, keys in ipairs { {}, { "listeners", 1 }, { "backend", "max_sessions" }, { 1.5, true } } do
    local line = read:line_of(keys, "tcp://127.0.0.1:1883")
    assert(line == nil or line >= 1 and line <= count)
  end
  local checked, message = config.check({ backend = { max_sessions = -1 }, listeners = {} }, NAME, text)
  assert(not checked and message:find "max_sessions" and message:find "listeners")
  local code = text:gsub("^\239\187\191", ""):gsub("^#[^\r\n]*", "")
  if load(code, "=text", "t") then return end -- it is not to be run
  local ran, problem = source.run(text, NAME)
  assert(not ran and problem:find "^fuzz%.lua:", problem)
end

--- Whether a word of ours stands where no user and no password do: behind the last @.
local function is_plain(text)
  local behind = text:match "@([^@]*)$" or text
  return behind:find(SECRET, 1, true) or behind:find(USER, 1, true)
end

local function check_url(text)
  local parts, problem = url.read(text)
  if not parts then
    assert(type(problem) == "string" and not problem:find "%c")
    if not is_plain(text) then check_no_secret(problem, "a problem") end
    return
  end
  local again = assert(url.read(parts.url))
  for _, name in ipairs { "url", "scheme", "host", "port", "path" } do assert(again[name] == parts[name]) end
  assert(parts.scheme == "unix" or parts.port >= 0 and parts.port <= 65535)
  local host = parts.host or ""
  if host:find "^%d+%.%d+%.%d+%.%d+$" or host:find ":" and not host:find "%%" then core.resolve(parts.url) end
end

---@param bytes string
return function(bytes)
  local r = setmetatable({ bytes = bytes, at = 1, keys = 0 }, Reader)
  local mode = r:byte()
  if mode == 0x23 then return check_source(bytes:sub(2)) end
  if mode == 0x24 then return check_url(bytes:sub(2)) end
  if mode == 0x25 then return check_url(url_text(r)) end
  check_script(r)
end
