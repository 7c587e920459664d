-- How many brokers of luamq.test start, work and stop in a second of CPU time:
--
--     build/luamq -e 'dofile "tests/bench/starts.lua"'
local test = require "luamq.test"

local ROUNDS <const> = 3000

local function measure(what, fn)
  collectgarbage()
  local before = os.clock()
  for _ = 1, ROUNDS do fn() end
  print(("%-50s %6.0f a second"):format(what, ROUNDS / (os.clock() - before)))
end

local script = { hooks = { publish = function() return true end } }

measure("a broker", function() local _ <close> = test.broker {} end)

measure("a broker, a client that subscribes and publishes", function()
  local broker <close> = test.broker(script)
  local client = broker:connect { id = "a" }
  client:subscribe("a", 1)
  client:publish("a", "x", 1)
  assert(client:receive())
end)

measure("the script of a file, examples/broker.lua", function()
  local _ <close> = test.broker "examples/broker.lua"
end)
