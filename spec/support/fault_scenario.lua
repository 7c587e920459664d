--- What clients do at a broker one call of which fails: they subscribe, publish with each QoS, a large
--- payload and a retained message, and disconnect. A client whose connection is lost connects again. What has
--- to hold whatever fails: no call of a client waits until its time is over, and each message that was
--- acknowledged arrives, the one of QoS 2 once.

local client = require "luamq.client"

local scenario = {}

local LARGE <const> = ("luamq"):rep(100 * 1024 // 5)
local TRIES <const> = 3 -- of a connection; one call fails, so two are enough

---@class spec.FaultRun
---@field options table             of client.connect: where the broker is
---@field name string               of this run: its topics and client ids
---@field losses integer            connections that were lost
---@field acknowledged table<string, integer>  QoS by topic
---@field received table<string, integer>      how often, by topic

--- Fails for what must not be; a lost connection is no such thing.
local function lost(run, problem)
  if problem == "timeout" then error(run.name .. ": a client waited in vain", 0) end
  run.losses = run.losses + 1
end

local function connect(run, id, clean)
  local options = { id = run.name .. id, clean = clean }
  for name, value in pairs(run.options) do options[name] = value end
  for _ = 1, TRIES do
    local c, problem = client.connect(options)
    if c then return c end
    lost(run, problem)
  end
  error(run.name .. ": no connection", 0)
end

--- Calls a method of a client until it is done, over a new connection if need be.
local function insist(run, c, method, ...)
  for _ = 1, TRIES do
    local result, problem = c[method](c, ...)
    if result then return result end
    lost(run, problem)
    local ok
    ok, problem = c:reconnect()
    if not ok then lost(run, problem) end
  end
  error(run.name .. ": " .. method .. " failed", 0)
end

--- Publishes once: what is not acknowledged is not sent again.
local function publish(run, c, topic, payload, options)
  local ok, problem = c:publish(run.name .. topic, payload, options)
  if ok then
    run.acknowledged[run.name .. topic] = options.qos
  else
    lost(run, problem)
    insist(run, c, "ping")
  end
end

local function is_complete(run)
  for topic, qos in pairs(run.acknowledged) do
    if not run.received[topic] and (qos > 0 or run.losses == 0) then return false end
  end
  return true
end

local function receive_all(run, c)
  while not is_complete(run) do
    local message = insist(run, c, "receive")
    assert(message.payload == "" or message.payload == LARGE or message.payload == "payload", "other bytes")
    run.received[message.topic] = (run.received[message.topic] or 0) + 1
  end
  insist(run, c, "ping") -- what came twice has come by now
  local message = c:receive(0)
  while message do
    run.received[message.topic] = (run.received[message.topic] or 0) + 1
    message = c:receive(0)
  end
end

--- Runs it once.
---@param options table  of client.connect: where the broker is
---@param name string    for topics and client ids
function scenario.run(options, name)
  local run = { options = options, name = name, losses = 0, acknowledged = {}, received = {} }
  local sub <close> = connect(run, "sub", false)
  local pub <close> = connect(run, "pub", true)
  insist(run, sub, "subscribe", name .. "/#", 2)
  publish(run, pub, "/0", "payload", { qos = 0 })
  publish(run, pub, "/1", "payload", { qos = 1 })
  publish(run, pub, "/2", "payload", { qos = 2 })
  publish(run, pub, "/large", LARGE, { qos = 1 })
  publish(run, pub, "/kept", "payload", { qos = 1, retain = true })
  receive_all(run, sub)
  if run.acknowledged[name .. "/2"] and run.received[name .. "/2"] ~= 1 then
    error(name .. ": QoS 2 arrived more than once", 0)
  end
end

--- Leaves nothing of a run at the broker, and tells that it serves as ever.
---@param options table  of client.connect: where the broker is
---@param name string    of the run
---@param look function?   called while the client of the check is the only one
---@return any looked     what it answers
function scenario.check(options, name, look)
  local run = { options = options, name = name, losses = 0 }
  local c <close> = connect(run, "sub", true)
  assert(c:publish(name .. "/kept", "", { qos = 1, retain = true }))
  assert(c:subscribe(name .. "/#", 1))
  assert(c:publish(name .. "/check", "x", 1))
  local message = assert(c:receive())
  assert(message.topic == name .. "/check" and not message.retain, "another message")
  assert(run.losses == 0, "a connection was lost though nothing failed")
  assert(c:ping()) -- in the turn after those that ended the others
  return look and look()
end

return scenario
