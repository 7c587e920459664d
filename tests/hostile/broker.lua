-- The broker that tests/hostile/run attacks: luamq broker.lua FOLDER [LISTENER | SECTION.NAME=VALUE ...]
-- The folder has the certificate. Listeners are opened in their order, behind one of plain TCP; the others
-- are settings, such as limits.connections=200, or anonymous=true. It tells its counters all the time, as
-- lines on standard output: "stats NAME=VALUE ...".
local luamq = require "luamq"

local folder = ...
local script = { listeners = { "tcp://127.0.0.1:0" }, hooks = {} }

local listeners = {
  tls = { "tls://127.0.0.1:0", certificate = folder .. "/server.pem", key = folder .. "/server.key" },
  ws = { "ws://127.0.0.1:0/mqtt" },
  proxy = { "tcp://127.0.0.1:0", proxy_protocol = true },
}

local function read(value)
  if value == "true" then return true end
  return tonumber(value) or value
end

local function set(argument)
  local section, name, value = ("." .. argument):match "^%.?(%l*)%.([%l_]+)=(.*)$"
  if not name then error("not a setting: " .. argument) end
  local home = script
  if section ~= "" then
    script[section] = script[section] or {}
    home = script[section]
  end
  home[name] = read(value)
end

for _, argument in ipairs { select(2, ...) } do
  if listeners[argument] then
    table.insert(script.listeners, listeners[argument])
  else
    set(argument)
  end
end

function script.hooks.start()
  luamq.every(0.05, function()
    local words = { "stats" }
    for name, value in pairs(luamq.stats()) do
      if type(value) == "number" then words[#words + 1] = name .. "=" .. value end
    end
    io.write(table.concat(words, " "), "\n")
    io.flush()
  end)
end

return script
