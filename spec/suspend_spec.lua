local luamq = require "luamq"
local test = require "luamq.test"

local function broker_with(hooks, settings)
  local script = { listeners = { "tcp://127.0.0.1:0" }, hooks = hooks, script = settings }
  local broker = test.broker(script)
  broker:capture()
  return broker
end

local function let_in() return true end

local function log_of(broker) return table.concat(broker:lines(), "\n") end

describe("a hook that waits", function()
  it("lets others go on, and its client in when it has answered", function()
    local broker <close> = broker_with {
      authenticate = function(client)
        if client.id == "slow" then luamq.sleep(2) end
        return true
      end,
    }
    local slow = broker:open()
    assert.equal("no_answer", slow:connect({ id = "slow" }).reason)
    broker:connect { id = "quick" }
    assert.equal(1, broker:stats().hooks_suspended)
    assert.equal(1, broker:stats().clients)
    broker:advance(2)
    assert.equal(2, broker:stats().clients)
    assert.equal(0, broker:stats().hooks_suspended)
  end)

  it("may refuse, with its reason and text", function()
    local broker <close> = broker_with {
      authenticate = function()
        luamq.sleep(1)
        return false, "banned", "not you"
      end,
    }
    local client = broker:open()
    client:connect { id = "a", version = 5 }
    broker:advance(1)
    assert.matches("\x8a", client:raw(), 1, true)
    assert.equal(0, broker:stats().connections)
  end)

  it("keeps the order of its client's packets", function()
    local seen = {}
    local broker <close> = broker_with {
      publish = function(_, message)
        if message.topic == "first" then luamq.sleep(1) end
        seen[#seen + 1] = message.topic
        return true
      end,
    }
    local listener <close> = broker:connect { id = "listener" }
    listener:subscribe("#")
    local client <close> = broker:connect { id = "a" }
    client:publish("first", "1", 1)
    client:publish("second", "2", 1)
    client:publish("third", "3", 0)
    assert.same({}, seen)
    broker:advance(1)
    assert.same({ "first", "second", "third" }, seen)
    local topics = {}
    for _, message in ipairs(listener:receive_all()) do topics[#topics + 1] = message.topic end
    assert.same({ "first", "second", "third" }, topics)
  end)

  it("sees its message and client as before, and changes the message", function()
    local broker <close> = broker_with {
      publish = function(client, message)
        luamq.sleep(1)
        return { payload = message.payload .. client.id, topic = message.topic .. "/b" }
      end,
    }
    local client <close> = broker:connect { id = "me" }
    client:subscribe("#")
    client:publish("a", "for ", 2)
    broker:advance(1)
    local message = client:receive()
    assert.equal("a/b", message.topic)
    assert.equal("for me", message.payload)
  end)

  it("is denied when it has waited too long", function()
    local broker <close> = broker_with({
      authenticate = function()
        luamq.sleep(100)
        return true
      end,
    }, { hook_timeout = 3 })
    local client = broker:open()
    client:connect { id = "a", version = 5 }
    broker:advance(2.9)
    assert.equal("", client:raw())
    broker:advance(0.2)
    assert.matches("\x88", client:raw(), 1, true)
    assert.equal(1, broker:stats().hook_timeouts)
    local lines = log_of(broker)
    assert.matches("hook authenticate: waited longer than 3 s, at last for luamq.sleep", lines, 1, true)
    assert.matches("suspend_spec.lua:", lines, 1, true)
  end)

  it("waits hook_timeout in all, not each time", function()
    local broker <close> = broker_with({
      publish = function()
        for _ = 1, 4 do luamq.sleep(1) end
        return true
      end,
    }, { hook_timeout = 3 })
    local client <close> = broker:connect { id = "a" }
    client:publish("a", "x", 1)
    broker:advance(10)
    assert.equal(1, broker:stats().hook_timeouts)
    assert.equal(0, broker:stats().messages_published)
  end)

  it("ends with an error of its own, where it was", function()
    local broker <close> = broker_with {
      publish = function()
        luamq.sleep(1)
        error "after the sleep"
      end,
    }
    local client <close> = broker:connect { id = "a" }
    client:publish("a", "x", 1)
    broker:advance(1)
    assert.matches("after the sleep", log_of(broker), 1, true)
    assert.equal(1, broker:stats().hook_errors)
  end)

  it("passes through pcall and iterators of Lua", function()
    local broker <close> = broker_with {
      publish = function()
        local ok, value = pcall(function()
          luamq.sleep(1)
          return "fine"
        end)
        for _ in (function() luamq.sleep(1) return nil end) do ok = false end
        return ok and value == "fine"
      end,
    }
    local client <close> = broker:connect { id = "a" }
    client:publish("a", "x", 1)
    broker:advance(2)
    assert.equal(1, broker:stats().messages_published)
  end)

  it("may be one of several in a list of tables", function()
    local broker <close> = broker_with {
      { publish = function() luamq.sleep(1) return nil end },
      { publish = function() luamq.sleep(1) return true end },
    }
    local client <close> = broker:connect { id = "a" }
    client:publish("a", "x", 1)
    broker:advance(1)
    assert.equal(0, broker:stats().messages_published)
    broker:advance(1)
    assert.equal(1, broker:stats().messages_published)
  end)
end)

describe("each hook that decides may wait:", function()
  it("setup", function()
    local broker <close> = broker_with {
      setup = function(client, id)
        luamq.sleep(1)
        client.ref = id
        return true
      end,
    }
    local client = broker:open()
    client:connect { id = "a", clean = false }
    assert.equal(0, broker:stats().clients)
    broker:advance(1)
    assert.equal(1, broker:stats().clients)
    assert.equal("a", broker:call(function() return luamq.client("a").ref end))
    client:disconnect()
    local again = broker:open()
    again:connect { id = "a", clean = false }
    broker:advance(1)
    assert.equal(0x20, again:raw():byte(1))
    assert.equal(1, broker:stats().sessions)
  end)

  it("setup of a client that has no id", function()
    local broker <close> = broker_with { setup = function() luamq.sleep(1) return true end }
    local client = broker:open()
    client:connect { id = "" }
    broker:advance(1)
    assert.equal(1, broker:stats().clients)
  end)

  it("subscribe, for each filter of a packet", function()
    local asked = {}
    local broker <close> = broker_with {
      subscribe = function(_, subscription)
        asked[#asked + 1] = subscription.topic
        luamq.sleep(1)
        return subscription.topic ~= "b"
      end,
    }
    local client <close> = broker:connect { id = "a" }
    client:raw()
    client:subscribe({ "a", "b", "c" }, 1)
    broker:advance(1)
    assert.same({ "a", "b" }, asked)
    assert.equal(0, broker:stats().subscriptions)
    broker:advance(2)
    assert.equal(2, broker:stats().subscriptions)
    assert.equal("\x01\x87\x01", client:raw():sub(-3))
  end)

  it("subscribe again for a session of before a reload, and nothing turns meanwhile", function()
    local broker <close> = broker_with {}
    local client = broker:connect { id = "a", version = "3.1.1", clean = false }
    client:subscribe("a", 1)
    client:set_window(1000)
    broker:call(luamq.publish, "a", "not acknowledged", { qos = 1 })
    client:drop()
    assert.is_true(broker:reload {
      hooks = { subscribe = function() luamq.sleep(1) return true end }, script = { reauthorize = true },
    })
    local again <close> = broker:connect { id = "a", version = "3.1.1", clean = false }
    assert.equal(1, broker:stats().hooks_suspended)
    assert.is_false(broker:turn())
    broker:advance(1)
    assert.equal("not acknowledged", again:receive().payload)
  end)

  it("unsubscribe", function()
    local broker <close> = broker_with {
      unsubscribe = function(_, filter)
        luamq.sleep(1)
        return filter == "a"
      end,
    }
    local client <close> = broker:connect { id = "a", version = 5 }
    client:subscribe({ "a", "b" })
    client:unsubscribe { "a", "b" }
    assert.equal(2, broker:stats().subscriptions)
    broker:advance(2)
    assert.equal(1, broker:stats().subscriptions)
  end)

  it("publish of a QoS 2 message, before PUBREC", function()
    local calls = 0
    local broker <close> = broker_with {
      publish = function()
        calls = calls + 1
        luamq.sleep(1)
        return true
      end,
    }
    local client <close> = broker:connect { id = "a" }
    client:subscribe("a", 2)
    client:publish("a", "x", 2)
    assert.is_nil(client:receive())
    broker:advance(1)
    assert.equal("x", client:receive().payload)
    assert.equal(1, calls)
  end)

  it("publish of a will", function()
    local broker <close> = broker_with {
      publish = function(client, message)
        luamq.sleep(1)
        return { payload = message.payload .. " of " .. client.id }
      end,
    }
    local listener <close> = broker:connect { id = "listener" }
    listener:subscribe("will")
    local client = broker:connect { id = "a", will = { topic = "will", payload = "last" } }
    client:drop()
    assert.is_nil(listener:receive())
    broker:advance(1)
    assert.equal("last of a", listener:receive().payload)
  end)

  it("dequeue, and deliveries keep their order", function()
    local broker <close> = broker_with {
      dequeue = function(_, message)
        if message.payload == "1" then luamq.sleep(1) end
        return message.payload ~= "2"
      end,
    }
    local client <close> = broker:connect { id = "a" }
    client:subscribe("a", 1)
    for i = 1, 3 do broker:call(luamq.publish, "a", tostring(i), { qos = 1 }) end
    broker:run()
    assert.is_nil(client:receive())
    broker:advance(1)
    local list = client:receive_all()
    assert.equal(2, #list)
    assert.equal("1", list[1].payload)
    assert.equal("3", list[2].payload)
  end)

  it("dequeue, and what it was asked about stays queued when its client goes", function()
    local waits = true
    local broker <close> = broker_with {
      dequeue = function(_, message)
        if waits then luamq.sleep(10) end
        return { payload = message.payload .. "!" }
      end,
    }
    local client = broker:connect { id = "a", clean = false }
    client:subscribe("a", 1)
    for i = 1, 40 do broker:call(luamq.publish, "a", tostring(i), { qos = 1 }) end
    broker:run()
    client:drop()
    assert.equal(40, broker:call(function() return luamq.session("a").queued end))
    assert.equal(0, broker:stats().hooks_suspended)
    waits = false
    local again <close> = broker:connect { id = "a", clean = false }
    local list = again:receive_all()
    assert.equal(40, #list)
    for i, message in ipairs(list) do assert.equal(i .. "!", message.payload) end
  end)

  it("dequeue of a retained message, and nothing turns meanwhile", function()
    local broker <close> = broker_with { dequeue = function() luamq.sleep(1) return true end }
    for i = 1, 3 do broker:call(luamq.publish, "a/" .. i, "kept", { retain = true }) end
    local client <close> = broker:connect { id = "a" }
    client:subscribe("a/+", 1)
    assert.is_false(broker:turn())
    broker:advance(3)
    assert.equal(3, #client:receive_all())
  end)

  it("dequeue of what the last flush of a client would take", function()
    for _, version in ipairs { "3.1.1", "5" } do
      local broker <close> = broker_with { dequeue = function() luamq.sleep(1) return true end }
      local client = broker:connect { id = "a", version = version, clean = false }
      client:subscribe("a", 1)
      for i = 1, 3 do broker:call(luamq.publish, "a", tostring(i), { qos = 1 }) end
      broker:run()
      broker:call(function() luamq.client("a"):close() end)
      assert.equal(0, broker:stats().clients)
      assert.equal(0, broker:stats().hooks_suspended)
      assert.equal(3, broker:call(function() return luamq.session("a").queued end))
    end
  end)

  it("packet, which stays what it was", function()
    local seen
    local broker <close> = broker_with {
      packet = function(_, packet)
        if packet.type ~= "publish" then return true end
        local message = packet.message
        luamq.sleep(1)
        seen = tostring(packet) .. message.payload
        return true
      end,
    }
    local client <close> = broker:connect { id = "a" }
    client:subscribe("#", 1)
    client:publish("a/b", ("x"):rep(200), 1)
    client:publish("c", "later", 1)
    broker:advance(1)
    assert.matches('Topic="a/b".*' .. ("x"):rep(200) .. "$", seen)
    broker:advance(1)
    assert.equal("a/b", client:receive().topic)
    assert.equal("c", client:receive().topic)
  end)

  it("packet that refuses", function()
    local broker <close> = broker_with {
      packet = function(_, packet)
        if packet.type ~= "publish" then return true end
        luamq.sleep(1)
        return false
      end,
    }
    local client = broker:connect { id = "a" }
    client:publish("a", "x", 0)
    broker:advance(1)
    assert.equal(0, broker:stats().clients)
    assert.equal(0, broker:stats().messages_published)
  end)
end)

describe("hooks that take notice may wait:", function()
  it("restore, before anything else of its client", function()
    local order = {}
    local broker <close> = broker_with {
      restore = function()
        luamq.sleep(1)
        order[#order + 1] = "restored"
      end,
      publish = function()
        order[#order + 1] = "published"
        return true
      end,
    }
    local client <close> = broker:connect { id = "a" }
    client:publish("a", "x", 0)
    assert.same({}, order)
    broker:advance(1)
    assert.same({ "restored", "published" }, order)
  end)

  it("terminate, while the session has long been left", function()
    local ended
    local broker <close> = broker_with {
      terminate = function(client, why)
        luamq.sleep(1)
        ended = client.id .. ": " .. why .. " " .. tostring(client.closed)
      end,
    }
    broker:connect({ id = "a" }):disconnect()
    assert.equal(0, broker:stats().sessions)
    assert.is_nil(ended)
    broker:advance(1)
    assert.equal("a: client disconnected true", ended)
  end)

  it("start, before anybody is let in, and stop", function()
    local order = {}
    local broker = broker_with {
      start = function()
        luamq.sleep(1)
        order[#order + 1] = "started"
      end,
      stop = function()
        luamq.sleep(1)
        order[#order + 1] = "stopped"
      end,
    }
    assert.same({ "started" }, order)
    broker:connect { id = "a" }
    broker:stop()
    assert.same({ "started", "stopped" }, order)
  end)

  it("an error in a start that waited fails it", function()
    local ok, problem = pcall(broker_with, { start = function() luamq.sleep(1) error "no database" end })
    assert.is_false(ok)
    assert.matches("no database", problem, 1, true)
  end)
end)

describe("a hook of a client that goes", function()
  local closed
  local function waits()
    local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
    luamq.sleep(4)
    closed = "never"
    return true
  end

  before_each(function() closed = 0 end)

  it("is cancelled by a reset, also when it waits in short steps", function()
    local broker <close> = broker_with {
      authenticate = function()
        local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
        for _ = 1, 100 do luamq.sleep(0.04) end
        return true
      end,
    }
    local client = broker:open()
    client:connect { id = "a" }
    client:drop()
    broker:advance(1)
    assert.equal(1, closed)
    assert.equal(1, broker:stats().hooks_cancelled)
  end)

  it("is cancelled by a reset, and what is to be closed is closed", function()
    local broker <close> = broker_with { authenticate = waits }
    local client = broker:open()
    client:connect { id = "a" }
    client:drop()
    broker:advance(1)
    assert.equal(1, closed)
    assert.equal(0, broker:stats().connections)
    assert.equal(1, broker:stats().hooks_cancelled)
    assert.equal(0, broker:stats().logins_failed)
    broker:advance(5)
    assert.equal(1, closed)
  end)

  it("is cancelled by a take-over", function()
    local broker <close> = broker_with { subscribe = waits }
    local old = broker:connect { id = "a" }
    old:subscribe("x")
    local new <close> = broker:connect { id = "a" }
    assert.equal("success", new:publish("x", "y", 1).reason)
    assert.equal(1, closed)
    assert.equal(0, broker:stats().subscriptions)
    assert.is_not_nil(old.closed or old.close_reason)
  end)

  it("is cancelled by client:close()", function()
    local broker <close> = broker_with { setup = waits, authenticate = function(client)
      luamq.after(1, function() client:close() end)
      return true
    end }
    broker:open():connect { id = "a" }
    broker:advance(1)
    assert.equal(1, closed)
    assert.equal(0, broker:stats().connections)
    assert.equal(0, broker:stats().sessions)
  end)

  it("is not cancelled by the end of what it sends: that is still processed", function()
    local broker <close> = broker_with { authenticate = function() luamq.sleep(2) return true end }
    local listener = broker:open()
    listener:connect { id = "listener" }
    broker:advance(2)
    listener:subscribe("#")
    local client = broker:open()
    client:connect { id = "a" }
    client:send_raw("\x30\x05\x00\x01a\x00x") -- a PUBLISH of MQTT 5
    client:half_close()
    broker:advance(2)
    assert.equal("x", listener:receive().payload)
  end)

  it("is not cancelled when it is publish", function()
    local broker <close> = broker_with { publish = function() luamq.sleep(2) return true end }
    local listener <close> = broker:connect { id = "listener" }
    listener:subscribe("#")
    local client = broker:connect { id = "a" }
    client:publish("a", "x", 1)
    client:drop()
    broker:advance(2)
    assert.equal("x", listener:receive().payload)
    assert.equal(1, broker:stats().clients)
  end)

  it("ends with the broker, whatever it waits for", function()
    local broker = broker_with { publish = waits, authenticate = let_in }
    broker:connect({ id = "a" }):publish("a", "x", 1)
    broker:stop()
    assert.equal(1, closed)
  end)

  it("cannot wait again while it is closed", function()
    local problem
    local broker <close> = broker_with { authenticate = function()
      local _ <close> = setmetatable({}, { __close = function()
        problem = select(2, pcall(luamq.sleep, 1))
      end })
      luamq.sleep(4)
      return true
    end }
    local client = broker:open()
    client:connect { id = "a" }
    client:drop()
    broker:advance(1)
    assert.matches("cannot suspend while what is to be closed is being closed", problem, 1, true)
  end)
end)

describe("coroutines that end together", function()
  --- Two that cancel each other when they end.
  local function pair()
    local one, other
    one = luamq.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() other:cancel() end })
      luamq.sleep(100)
    end)
    other = luamq.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() one:cancel() end })
      luamq.sleep(100)
    end)
  end

  it("may cancel each other at a reload", function()
    local broker <close> = broker_with { start = function() for _ = 1, 3 do pair() end end }
    assert.equal(6, broker:stats().hooks_suspended)
    assert.is_true(broker:reload { hooks = { authenticate = let_in } })
    assert.equal(0, broker:stats().hooks_suspended)
  end)

  it("may be a long chain", function()
    local first
    local broker <close> = broker_with {
      start = function()
        for _ = 1, 10000 do
          local child = first
          first = luamq.spawn(function()
            local _ <close> = setmetatable({}, { __close = function() if child then child:cancel() end end })
            luamq.sleep(100)
          end)
        end
      end,
    }
    assert.equal(10000, broker:stats().hooks_suspended)
    assert.is_true(broker:call(function() return first:cancel() end))
    assert.equal(0, broker:stats().hooks_suspended)
  end)

  it("cannot keep the broker from its end by beginning again", function()
    local ended = 0
    local function again()
      local _ <close> = setmetatable({}, { __close = function()
        ended = ended + 1
        if ended < 1000 then luamq.spawn(again) end
      end })
      luamq.sleep(100)
    end
    local broker = broker_with { start = function() luamq.spawn(again) end }
    broker:stop()
    assert.equal(true, ended < 100)
  end)
end)

describe("the number of hooks that wait", function()
  it("is bounded: the others wait for one of them", function()
    local broker <close> = broker_with({
      authenticate = function()
        luamq.sleep(1)
        return true
      end,
    }, { max_suspended = 2, hook_timeout = 60 })
    for i = 1, 5 do broker:open():connect { id = "c" .. i } end
    assert.equal(5, broker:stats().hooks_suspended)
    assert.equal(3, broker:stats().hooks_queued)
    broker:advance(1)
    assert.equal(2, broker:stats().clients)
    broker:advance(1)
    assert.equal(4, broker:stats().clients)
    broker:advance(1)
    assert.equal(5, broker:stats().clients)
    assert.matches("too many hooks wait", log_of(broker), 1, true)
  end)

  it("and the time in which they wait for their turn counts", function()
    local broker <close> = broker_with({
      authenticate = function()
        luamq.sleep(1)
        return true
      end,
    }, { max_suspended = 1, hook_timeout = 2.5 })
    for i = 1, 4 do broker:open():connect { id = "c" .. i } end
    broker:advance(10)
    assert.equal(2, broker:stats().clients)
    assert.equal(2, broker:stats().hook_timeouts)
  end)

  it("gives the slot of one that is cancelled to the next", function()
    local broker <close> = broker_with({
      authenticate = function()
        luamq.sleep(3)
        return true
      end,
    }, { max_suspended = 1 })
    local first, second = broker:open(), broker:open()
    first:connect { id = "first" }
    second:connect { id = "second" }
    first:drop()
    broker:advance(4)
    assert.equal(1, broker:stats().clients)
  end)
end)

describe("what cannot wait says so:", function()
  local function problem_of(hooks, act)
    local broker <close> = broker_with(hooks)
    local client <close> = broker:connect { id = "a" }
    if act then act(client) end
    return log_of(broker)
  end

  it("table.sort", function()
    local lines = problem_of({ publish = function()
      table.sort({ 3, 2, 1 }, function(a, b) luamq.sleep(1) return a < b end)
      return true
    end }, function(client) client:publish("a", "x") end)
    assert.matches("luamq.sleep: it cannot suspend here: a C function stands between", lines, 1, true)
    assert.matches("suspend_spec.lua:", lines, 1, true)
  end)

  it("a coroutine of the script's own", function()
    local lines = problem_of({ publish = function()
      return coroutine.wrap(function() luamq.sleep(1) return true end)()
    end }, function(client) client:publish("a", "x") end)
    assert.matches("cannot suspend inside of a coroutine of the script's own", lines, 1, true)
  end)

  it("the hook log", function()
    local lines = problem_of { log = function() luamq.sleep(1) end }
    assert.matches("luamq.sleep: hook log cannot suspend", lines, 1, true)
  end)

  it("a script that is being loaded", function()
    assert.has_error(function() luamq.sleep(1) end,
      "luamq.sleep: it suspends: call it from a hook, a timer or a function of luamq.spawn")
  end)

  it("a hook that yields by itself", function()
    local lines = problem_of({ publish = function() coroutine.yield(1) return true end },
      function(client) client:publish("a", "x") end)
    assert.matches("hook publish cannot suspend here: it yielded by itself", lines, 1, true)
  end)
end)

describe("luamq.spawn", function()
  it("runs in the background, with its arguments", function()
    local seen = {}
    local broker <close> = broker_with {}
    local task = broker:call(luamq.spawn, function(a, b)
      for i = 1, 3 do
        luamq.sleep(1)
        seen[i] = a .. b .. i
      end
    end, "x", "y")
    assert.is_false(task:over())
    assert.equal("<Task>", tostring(task))
    broker:advance(2)
    assert.same({ "xy1", "xy2" }, seen)
    broker:advance(1)
    assert.same({ "xy1", "xy2", "xy3" }, seen)
    assert.is_true(task:over())
    assert.is_false(task:cancel())
  end)

  it("may wait longer than a hook", function()
    local over
    local broker <close> = broker_with({}, { hook_timeout = 1 })
    broker:call(luamq.spawn, function() luamq.sleep(100) over = true end)
    broker:advance(100)
    assert.is_true(over)
  end)

  it("can be cancelled", function()
    local closed
    local broker <close> = broker_with {}
    local task = broker:call(luamq.spawn, function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      luamq.sleep(100)
    end)
    assert.is_true(task:cancel())
    assert.is_true(closed)
    assert.is_true(task:over())
    assert.equal(0, broker:stats().hooks_suspended)
  end)

  it("logs an error in it", function()
    local broker <close> = broker_with {}
    broker:call(luamq.spawn, function() luamq.sleep(1) error "oh" end)
    broker:advance(1)
    assert.matches("hook spawn: .*oh", log_of(broker))
  end)

  it("is bounded", function()
    local broker <close> = broker_with({}, { max_spawned = 2 })
    local function sleep() luamq.sleep(10) end
    assert.is_truthy(broker:call(luamq.spawn, sleep))
    assert.is_truthy(broker:call(luamq.spawn, sleep))
    local task, problem, code = broker:call(luamq.spawn, sleep)
    assert.is_nil(task)
    assert.equal("more than script.max_spawned = 2 coroutines", problem)
    assert.equal("quota_exceeded", code)
    assert.equal(1, broker:stats().spawns_refused)
    assert.matches("coroutines of luamq.spawn: one was refused max_spawned=2", log_of(broker), 1, true)
  end)

  it("wants a function, and a broker", function()
    assert.has_error(function() luamq.spawn(1) end, "luamq.spawn expects a function")
    assert.has_error(function() luamq.spawn(print) end,
      "luamq.spawn: no broker is running; the hook start is called when there is one")
  end)
end)

describe("a timer that waits", function()
  it("is not called again meanwhile", function()
    local calls, over = 0, 0
    local broker <close> = broker_with {}
    local timer = broker:call(luamq.every, 1, function()
      calls = calls + 1
      luamq.sleep(2.5)
      over = over + 1
    end)
    broker:advance(3.4)
    assert.equal(1, calls)
    broker:advance(0.6)
    assert.equal(2, calls)
    assert.equal(1, over)
    assert.is_true(timer:cancel())
    broker:advance(10)
    assert.equal(2, calls)
    assert.equal(2, over)
  end)

  it("of luamq.after ends when it has waited", function()
    local over
    local broker <close> = broker_with {}
    broker:call(luamq.after, 1, function() luamq.sleep(1) over = true end)
    collectgarbage()
    broker:advance(1)
    collectgarbage()
    broker:advance(1)
    assert.is_true(over)
  end)
end)

describe("luamq.semaphore", function()
  it("lets so many in, in order", function()
    local slots, order = luamq.semaphore(2), {}
    local broker <close> = broker_with {
      authenticate = function(client)
        local _ <close> = assert(slots:acquire())
        order[#order + 1] = client.id
        luamq.sleep(1)
        return true
      end,
    }
    for i = 1, 5 do broker:open():connect { id = tostring(i) } end
    assert.same({ "1", "2" }, order)
    broker:advance(1)
    assert.same({ "1", "2", "3", "4" }, order)
    broker:advance(2)
    assert.equal(5, broker:stats().clients)
    assert.equal(2, slots.free)
  end)

  it("gives up after a time", function()
    local slots, results = luamq.semaphore(1), {}
    local broker <close> = broker_with {}
    broker:call(luamq.spawn, function()
      local _ <close> = slots:acquire()
      luamq.sleep(10)
    end)
    broker:call(luamq.spawn, function() results = table.pack(slots:acquire(2)) end)
    broker:advance(2)
    assert.same({ nil, "timeout", "timeout", n = 3 }, results)
    broker:advance(8)
    assert.equal(1, slots.free)
  end)

  it("loses no slot to one that is cancelled", function()
    local slots = luamq.semaphore(1)
    local broker <close> = broker_with {}
    local function hold(seconds)
      return broker:call(luamq.spawn, function()
        local _ <close> = slots:acquire()
        luamq.sleep(seconds)
      end)
    end
    hold(1)
    local second, third = hold(5), hold(5)
    second:cancel()
    broker:advance(1)
    assert.equal(0, slots.free)
    third:cancel()
    assert.equal(1, slots.free)
    local served = hold(1)
    local last = hold(1)
    broker:call(function()
      luamq.after(1, function() last:cancel() end)
    end)
    broker:advance(3)
    assert.is_true(served:over())
    assert.equal(1, slots.free)
  end)

  it("has a slot at least", function()
    assert.has_error(function() luamq.semaphore(0) end, "a semaphore has 1 slot or more")
  end)
end)

describe("a slot that nobody has any more", function()
  it("goes to the next when it is collected, and one that was never taken goes to nobody", function()
    local slots, got = luamq.semaphore(1), nil
    local broker <close> = broker_with({})
    broker:call(luamq.spawn, function() slots:acquire() end)
    broker:call(luamq.spawn, function() assert.is_nil(slots:acquire(1)) end)
    broker:call(luamq.spawn, function() got = slots:acquire() end)
    broker:advance(2)
    assert.is_nil(got)
    collectgarbage()
    broker:run()
    assert.equal(0, slots.free)
    got:release()
    assert.equal(1, slots.free)
  end)
end)

describe("luamq.channel", function()
  it("lets each sender wait for a receiver of its own where no value may wait in it", function()
    local channel, sent = luamq.channel(), 0
    local broker <close> = broker_with({})
    for i = 1, 2 do
      broker:call(luamq.spawn, function()
        channel:send(i)
        sent = sent + 1
      end)
    end
    broker:call(luamq.spawn, function() assert.equal(1, channel:receive()) end)
    broker:run()
    assert.equal(1, sent)
    broker:call(luamq.spawn, function() assert.equal(2, channel:receive()) end)
    broker:run()
    assert.equal(2, sent)
  end)

  it("hands values over in order", function()
    local channel, got = luamq.channel(), {}
    local broker <close> = broker_with {}
    broker:call(luamq.spawn, function()
      for value in function() return channel:receive() end do got[#got + 1] = value end
      got[#got + 1] = "end"
    end)
    broker:call(luamq.spawn, function()
      for i = 1, 3 do assert(channel:send(i)) end
      channel:close()
    end)
    broker:run()
    assert.same({ 1, 2, 3, "end" }, got)
  end)

  it("makes its senders wait when it is full", function()
    local channel, sent = luamq.channel(2), 0
    local broker <close> = broker_with {}
    broker:call(luamq.spawn, function()
      for i = 1, 4 do
        channel:send(i)
        sent = i
      end
    end)
    broker:run()
    assert.equal(2, sent)
    local got = {}
    broker:call(luamq.spawn, function() for i = 1, 4 do got[i] = channel:receive() end end)
    broker:run()
    assert.same({ 1, 2, 3, 4 }, got)
    assert.equal(4, sent)
  end)

  it("tells when the time is over, and when it is closed", function()
    local channel, answers = luamq.channel(), {}
    local broker <close> = broker_with {}
    broker:call(luamq.spawn, function() answers[1] = table.pack(channel:receive(1)) end)
    broker:call(luamq.spawn, function() answers[2] = table.pack(channel:receive()) end)
    broker:advance(1)
    assert.same({ nil, "timeout", "timeout", n = 3 }, answers[1])
    channel:close()
    broker:run()
    assert.same({ nil, "channel closed", "closed", n = 3 }, answers[2])
    assert.same({ nil, "channel closed", "closed", n = 3 }, table.pack(channel:send(1)))
    assert.has_error(function() channel:send(nil) end, "a channel takes no nil")
  end)

  it("gives the value of a receiver that is cancelled to the next", function()
    local channel, got = luamq.channel(), nil
    local broker <close> = broker_with {}
    local first = broker:call(luamq.spawn, function() channel:receive() end)
    broker:call(function()
      channel:send("for you")
      first:cancel()
    end)
    broker:call(luamq.spawn, function() got = channel:receive() end)
    broker:run()
    assert.equal("for you", got)
  end)
end)
