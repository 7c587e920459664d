local brokers = require "spec.support.brokers"
local client_module = require "luamq.client"
local luamq = require "luamq"
local process = require "spec.support.process"
local test = require "luamq.test"

local connect, logged, problem, start = brokers.connect, brokers.logged, brokers.problem, brokers.start

--- The hooks that get a client.
local hook_names = {
  "authenticate", "setup", "restore", "subscribe", "unsubscribe", "publish", "dequeue", "terminate", "packet",
  "log",
}

--- Connects, and as far as it goes subscribes, publishes, receives, unsubscribes and disconnects.
local function tour(broker, options)
  local answer, client = connect(broker, options)
  if answer.reason ~= "success" then return answer, client end
  client:subscribe("t", 1)
  client:publish("t", "x", 2)
  client:receive()
  client:unsubscribe "t"
  client:disconnect()
  return answer, client
end

describe("start and stop", function()
  it("frame the life of a broker", function()
    local order = {}
    local function note(name, answer)
      return function()
        order[#order + 1] = name
        return answer
      end
    end
    local broker = start {
      start = note "start", authenticate = note("authenticate", true), terminate = note "terminate",
      stop = note "stop",
    }
    broker:connect { id = "a" }
    broker:connect { id = "b" }
    broker:stop()
    broker:stop()
    assert.same({ "start", "authenticate", "authenticate", "terminate", "terminate", "stop" }, order)
  end)

  it("are called in the order of the list, with the broker", function()
    local order = {}
    local function hooks(number)
      local function note(name)
        return function(broker)
          order[#order + 1] = name .. number
          assert.same({ listeners = {} }, broker)
        end
      end
      return { start = note "start", stop = note "stop" }
    end
    start({ hooks(1), hooks(2) }):stop()
    assert.same({ "start1", "start2", "stop1", "stop2" }, order)
  end)

  it("may use the module", function()
    local seen = {}
    local broker <close> = start {
      start = function()
        assert(luamq.publish("greeting", "hello", { retain = true }))
        luamq.every(60, function() luamq.publish("clock", "tick") end)
        seen.stats = luamq.stats().retained_messages
      end,
      stop = function() seen.clients = #luamq.clients() end,
    }
    local client = broker:connect()
    client:subscribe "#"
    broker:advance(61)
    assert.equal("hello", client:receive().payload)
    assert.equal("tick", client:receive().payload)
    broker:stop()
    assert.same({ stats = 1, clients = 0 }, seen)
  end)

  it("fails the start with an error in it, which is told", function()
    local stopped, second = false, false
    local message = problem(function()
      test.broker { log = { level = "off" }, hooks = {
        { start = function() error "no database" end, stop = function() stopped = true end },
        { start = function() second = true end },
      } }
    end)
    assert.matches("^hook start: spec/hooks_life_spec.lua:%d+: no database$", message)
    assert.is_false(stopped)
    assert.is_false(second)
  end)

  it("ends in order with an error in stop, which is logged", function()
    local broker = start { stop = function() error "at the end" end }
    broker:connect { id = "c" }
    broker:stop()
    local lines = logged(broker)
    assert.equal(1, #lines)
    assert.matches("^error hook stop: spec/hooks_life_spec.lua:%d+: at the end", lines[1])
  end)

  it("of a real broker tell the bound addresses, and come before and after the clients", function()
    local path = process.script [[
      local hooks = {}
      function hooks.start(broker) print(#broker.listeners, broker.listeners[1]) io.stdout:flush() end
      function hooks.terminate(_, err) print("terminate", err) io.stdout:flush() end
      function hooks.stop(broker) print("stop", #broker.listeners) end
      return { listeners = { "tcp://127.0.0.1:0" }, hooks = hooks, log = { level = "off" } }
    ]]
    local broker <close> = process.start({ process.luamq, path })
    local line = broker:line()
    local port = math.tointeger(tonumber(line:match "^1\ttcp://127.0.0.1:(%d+)$"))
    assert.is_true(port ~= nil and port > 0)
    local client <close> = assert(client_module.connect { port = port, id = "c" })
    assert.equal(0, broker:stop())
    os.remove(path)
    assert.matches("terminate\tclient closed\nstop\t%d+\n$", broker.output)
    assert.is_nil(client:publish("t", "x", 1))
  end)
end)

describe("error", function()
  it("is told when an accept fails, and the broker goes on", function()
    local path = process.script [[
      return { listeners = { "tcp://127.0.0.1:0" }, log = { level = "off" }, hooks = {
        start = function(broker) print(broker.listeners[1]) io.stdout:flush() end,
        error = function(err) print("engine: " .. err) io.stdout:flush() end,
      } }
    ]]
    -- So few descriptors that a second dozen of clients cannot be accepted.
    local limited = ("ulimit -n 20; exec %s %s"):format(process.luamq, path)
    local broker <close> = process.start({ "sh", "-c", limited })
    local port = math.tointeger(tonumber(broker:line():match ":(%d+)$"))
    local clients = {}
    for _ = 1, 24 do
      local client = client_module.connect { port = port, timeout = 0.5 }
      if not client then break end
      clients[#clients + 1] = client
    end
    local line
    repeat line = broker:line() until not line or line:find "^engine: "
    assert.matches("^engine: %S", line)
    assert.equal("success", clients[1]:publish("t", "x", 1) and "success")
    for _, client in ipairs(clients) do client:disconnect() end
    broker:stop()
    os.remove(path)
  end)
end)

describe("client:close", function()
  for _, name in ipairs(hook_names) do
    it("may be called in " .. name, function()
      local calls, terminated, armed = 0, {}, true
      local hooks = {
        terminate = function(client, err) terminated[#terminated + 1] = client.id .. ": " .. err end,
      }
      local inner = hooks[name]
      hooks[name] = function(client, ...)
        if name == "log" then client = ... end
        calls = calls + 1
        if armed then
          client:close "administrative_action"
          client:close() -- once is enough
          assert(client.closing)
        end
        if inner then inner(client, ...) end
        return true
      end
      local broker <close> = start(hooks)
      local _, client = tour(broker, { id = "bad" })
      assert.is_true(client.closed)
      assert.is_true(calls > 0)
      local had_session = name ~= "authenticate" and name ~= "setup" and name ~= "log"
      local why = name == "terminate" and "client disconnected" or "client closed"
      assert.same(had_session and { "bad: " .. why } or {}, terminated)
      local stats = broker:stats()
      assert.same({ 0, 0, 0, 0 },
        { stats.connections, stats.clients, stats.sessions, stats.hook_errors })
      armed = false
      assert.same({ reason = "success", code = 0 }, (tour(broker, { id = "good" })))
    end)
  end

  it("sends the will, and no CONNACK before the client is let in", function()
    local broker <close> = start { authenticate = function(client)
      if client.id == "bad" then client:close() end
      return true
    end }
    local watcher = broker:connect { id = "w" }
    watcher:subscribe "will"
    assert.same({ reason = "no_answer", error = "client closed" },
      (connect(broker, { id = "bad", will = { topic = "will", payload = "early" } })))
    assert.is_nil(watcher:receive())
    broker:connect { id = "c", will = { topic = "will", payload = "gone" } }
    broker:call(function() luamq.client "c":close() end)
    assert.equal("gone", watcher:receive().payload)
  end)

  it("lets what was published before count", function()
    local broker <close> = start { publish = function(client) client:close() return true end }
    local watcher = broker:connect { id = "w" }
    watcher:subscribe "t"
    local client = broker:connect { id = "c" }
    client:publish("t", "last", 1)
    assert.is_true(client.closed)
    assert.equal("last", watcher:receive().payload)
  end)

  it("takes reasons that are known", function()
    local broker <close> = start()
    local client = broker:connect { id = "c" }
    for text, reason in pairs { ["unknown reason 'because'"] = "because",
      ["string expected, got table"] = {} } do
      local message = problem(function()
        broker:call(function() luamq.client "c":close(reason) end)
      end)
      assert.matches("hooks_life_spec.lua:%d+: bad argument #1 to 'close'", message)
      assert.matches(text, message, 1, true)
    end
    assert.is_false(client.closed)
  end)
end)

describe("a hook that calls the broker", function()
  for _, name in ipairs(hook_names) do
    it("may publish, deliver and ask: " .. name, function()
      local calls, ready = 0, false
      local function hook(first, second)
        local client = name == "log" and second or first
        if not ready or client.id == "watcher" then return true end
        ready = false -- for what it causes itself
        calls = calls + 1
        assert(luamq.publish("from/hook", name, { qos = 1 }))
        assert(luamq.session "watcher":deliver("direct", name))
        assert(#luamq.clients() >= 1 and luamq.client "watcher" and luamq.stats().clients >= 1)
        assert(#luamq.retained "#" == 0)
        luamq.log.debug "in a hook"
        luamq.after(1, function() end)
        ready = true
        return true
      end
      local broker <close> = start { [name] = hook }
      local watcher = broker:connect { id = "watcher" }
      watcher:subscribe("from/hook", 1)
      ready = true
      tour(broker, { id = "c" })
      local stats = broker:stats()
      assert.equal(0, stats.hook_errors)
      assert.is_true(calls > 0)
      local got = { ["from/hook"] = 0, direct = 0 }
      for _, m in ipairs(watcher:receive_all()) do
        assert.equal(name, m.payload)
        got[m.topic] = got[m.topic] + 1
      end
      assert.same({ ["from/hook"] = calls, direct = calls }, got)
    end)

    it("may stop it: " .. name, function()
      local stopped = 0
      local hooks = { stop = function() stopped = stopped + 1 end }
      hooks[name] = function()
        luamq.stop(0)
        return true
      end
      local broker = start(hooks)
      local _, client = tour(broker, { id = "c" })
      assert.is_true(client.closed)
      assert.same({ 0, 0, 0 },
        { broker:stats().connections, broker:stats().clients, broker:stats().hook_errors })
      local answer = connect(broker, { id = "late" })
      assert.not_equal("success", answer.reason)
      broker:stop()
      assert.equal(1, stopped)
    end)
  end

  it("is not asked again by luamq.publish: that passes dequeue only", function()
    local seen = {}
    local broker <close> = start {
      publish = function(_, message)
        seen[#seen + 1] = "publish " .. message.topic
        luamq.publish("more", "")
        return true
      end,
      dequeue = function(_, message)
        seen[#seen + 1] = "dequeue " .. message.topic
        return true
      end,
    }
    local client = broker:connect()
    client:subscribe "#"
    client:publish("t", "", 0)
    assert.same({ "publish t", "dequeue more", "dequeue t" }, seen)
  end)

  it("may end a take-over of its own client", function()
    local broker <close> = start { restore = function(client)
      for _, other in ipairs(luamq.clients()) do
        if other ~= client and other.username == client.username then other:close() end
      end
    end }
    local first = broker:connect { id = "1", username = "u" }
    local second = broker:connect { id = "2", username = "u" }
    assert.is_true(first.closed)
    assert.is_false(second.closed)
  end)

  it("may use its own objects while it collects garbage", function()
    local broker <close> = start { publish = function(client, message)
      collectgarbage()
      client.ref = { message.topic }
      collectgarbage()
      return { payload = client.ref[1] .. message.payload }
    end }
    local client = broker:connect()
    client:subscribe "t"
    client:publish("t", "x")
    assert.equal("tx", client:receive().payload)
  end)
end)
