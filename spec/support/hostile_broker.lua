-- A broker for the program whose publish hook does what the topic "bad" says: the payload is the name of one
-- of hostile_hooks.lua, which stands beside it. Arguments: name = value of the section `script`.
local cases = {}
for _, case in ipairs(require("hostile_hooks").list) do cases[case.name] = case end

local settings = {}
for _, argument in ipairs { ... } do
  local name, value = argument:match "^(.-)=(.*)$"
  settings[name] = tonumber(value) or value
end

local function publish(client, message)
  if message.topic == "bad" then cases[message.payload].run(client, message) end
  return true
end

return {
  listeners = { "tcp://127.0.0.1:0" },
  script = settings,
  limits = { loop_lag = 0 }, -- what its hooks do makes it late, and nobody is to be turned away for it
  hooks = { publish = publish },
}
