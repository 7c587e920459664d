local luamq = require "luamq"
local process = require "spec.support.process"
local test = require "luamq.test"

local quiet = { level = "off" }

--- A broker that logs nothing, unless a spec wants it to.
local function start(hooks, overrides)
  return test.broker({ hooks = hooks, log = quiet }, overrides)
end

--- `fn` raises a message that has this pattern; with the place, which error_matches would cut off.
local function raises(pattern, fn)
  local ok, message = pcall(fn)
  assert.is_false(ok)
  assert.matches(pattern, message)
end

describe("luamq.test", function()
  describe("a broker", function()
    it("runs the script of a path", function()
      local path = process.script [[
        local hooks = {}
        function hooks.publish(client, message) return message.topic == "free", "not_authorized" end
        return { listeners = { "tcp://127.0.0.1:1883" }, hooks = hooks }
      ]]
      local broker <close> = test.broker(path)
      os.remove(path)
      local c = broker:connect { id = "c" }
      assert.equal("success", c:publish("free", "", 1).reason)
      assert.equal("not_authorized", c:publish("other", "", 1).reason)
    end)

    it("raises what the check says", function()
      local path = process.script [[
return { listeners = { "tcp://0.0.0.0:1883" },
  backend = { session_queue_siz = 1 } }
]]
      local ok, message = pcall(test.broker, path)
      os.remove(path)
      assert.is_false(ok)
      assert.matches("would let in everybody from the network", message, 1, true)
      assert.matches(path .. ":2: backend.session_queue_siz: unknown setting", message, 1, true)
      raises("^cannot open /nowhere/x.lua", function() test.broker "/nowhere/x.lua" end)
      raises("did you mean 'publish'", function() test.broker { hooks = { publsh = print } } end)
      raises("test_spec.lua:%d+: test.broker expects", function() test.broker(1) end)
    end)

    it("is not ended by a script that ends the process", function()
      local path = process.script "os.exit(0)"
      raises(path .. ":1: os.exit in a script that a test loads", function() test.broker(path) end)
      os.remove(path)
    end)

    it("merges overrides: hooks by name, sections by setting", function()
      local seen = {}
      local script = {
        listeners = { "tcp://127.0.0.1:1883" },
        backend = { session_queue_size = 5, kill_timeout = 2 },
        log = quiet,
        hooks = {
          publish = function() return false, "quota_exceeded" end,
          setup = function(client) seen[#seen + 1] = client.id end,
        },
      }
      local broker <close> = test.broker(script, {
        backend = { session_queue_size = 7 },
        hooks = { publish = function() return true end },
      })
      local c = broker:connect { id = "c" }
      assert.equal("success", c:publish("a", "", 1).reason)
      assert.same({ "c" }, seen)
      assert.equal(5, script.backend.session_queue_size)
      assert.equal("quota_exceeded", test.broker(script):connect():publish("a", "", 1).reason)
    end)

    it("merges overrides into a list of hook tables", function()
      local order = {}
      local function note(name, answer)
        return function()
          order[#order + 1] = name
          return answer
        end
      end
      local list = { { publish = note "first" }, { publish = note("second", true), setup = note "setup" } }
      local broker <close> = start(list, { hooks = { publish = note("mine", true) } })
      broker:connect():publish("a", "", 1)
      assert.same({ "setup", "mine" }, order)
    end)

    it("lives beside others", function()
      local one <close> = start()
      local two <close> = start()
      local a, b = one:connect { id = "same" }, two:connect { id = "same" }
      assert(a:subscribe "t")
      assert(b:subscribe "t")
      assert(a:publish("t", "one"))
      assert.equal("one", a:receive().payload)
      assert.is_nil(b:receive())
      two:advance(100)
      assert.same({ 0, 100 }, { one:now(), two:now() })
    end)

    it("behaves the same in every run", function()
      local function run()
        local broker <close> = start()
        broker:capture()
        broker:connect()
        broker:connect()
        return broker:events()
      end
      local events = run()
      assert.matches("^auto%-%x+$", events[3].client)
      assert.same(events, run())
    end)

    it("counts", function()
      local broker <close> = start()
      local c = broker:connect { id = "c" }
      c:subscribe("a/#", 1)
      c:publish("a/b", "x", 1)
      local stats = broker:stats()
      assert.same({ 1, 1, 1, 1, 1 }, { stats.connections, stats.clients, stats.subscriptions,
        stats.messages_published, stats.messages_sent })
    end)

    it("calls start and stop", function()
      local calls = {}
      local hooks = {
        start = function() calls[#calls + 1] = "start" end,
        stop = function() calls[#calls + 1] = "stop" end,
      }
      do
        local broker <close> = start(hooks)
        assert.same({ "start" }, calls)
        broker:stop()
        broker:stop()
      end
      assert.same({ "start", "stop" }, calls)
    end)

    it("raises after its end, where it is used", function()
      local broker = start()
      local c = broker:connect { id = "c" }
      assert.is_true(broker:stop())
      assert.is_nil(broker:stop())
      raises("test_spec.lua:%d+: the broker is stopped$", function() broker:connect() end)
      raises("test_spec.lua:%d+: the broker is stopped$", function() broker:advance(1) end)
      assert.is_true(c.closed)
      assert.same({ n = 2, [2] = "connection closed" }, table.pack(c:publish("a", "x", 1)))
      assert.is_nil(c:receive())
      assert.equal("client closed", c.close_reason)
    end)

    it("may be forgotten, with its clients", function()
      for _ = 1, 50 do
        local broker = start()
        broker:connect({ id = "a" }):subscribe "#"
        broker:connect({ id = "b" }):publish("t", "x", 2)
      end
      collectgarbage()
      collectgarbage()
    end)

    it("cannot be used by its own hooks", function()
      local broker, problem
      broker = start { publish = function()
        local _, message = pcall(broker.run, broker)
        problem = message
        return true
      end }
      broker:connect():publish("a", "", 1)
      assert.matches("a hook cannot use the broker of the test that it runs in", problem, 1, true)
      broker:stop()
    end)
  end)

  describe("time", function()
    it("passes only when it is told to", function()
      local broker <close> = start()
      local fired = {}
      broker:call(luamq.after, 10, function() fired[#fired + 1] = broker:now() end)
      broker:advance(9.999)
      assert.same({}, fired)
      broker:advance(0.001)
      assert.same({ 10 }, fired)
    end)

    it("goes from timer to timer", function()
      local broker <close> = start()
      local count = 0
      broker:call(luamq.every, 60, function() count = count + 1 end)
      broker:advance(3600)
      assert.equal(60, count)
      assert.equal(3600, broker:now())
    end)

    it("lets clients ping, unless they are silent", function()
      local broker <close> = start()
      local pings, silent = broker:connect { id = "p" }, broker:connect { id = "s", keep_alive = 10 }
      silent:silence()
      broker:advance(14)
      assert.is_false(silent.closed)
      broker:advance(2)
      assert.is_true(silent.closed)
      assert.equal("keep alive timeout", silent.close_reason)
      broker:advance(36000)
      assert.is_false(pings.closed)
      assert.equal(1, broker:stats().keep_alives_timed_out)
    end)

    it("ends connections without a CONNECT", function()
      local broker <close> = start()
      local c = broker:open()
      broker:advance(9)
      assert.is_false(c.closed)
      broker:advance(2)
      assert.is_true(c.closed)
    end)
  end)

  describe("an answer", function()
    local hooks = {}
    function hooks.authenticate(_, username)
      if username == "broken" then error "the service is gone" end
      if username == "silent" then return nil end
      return username ~= "banned", "banned"
    end
    function hooks.subscribe(_, subscription)
      if subscription.topic == "no" then return false, "quota_exceeded" end
      return math.min(subscription.qos, 1)
    end
    function hooks.publish(_, message)
      if message.topic == "broken" then error "oh" end
      if message.topic == "drop" then return "drop" end
      return message.topic ~= "no", "topic_name_invalid"
    end

    it("to a connection tells the reason", function()
      local broker <close> = start(hooks)
      local function refusal(options)
        local client, answer = broker:connect(options)
        assert.is_nil(client)
        return answer
      end
      for version, codes in pairs { ["5"] = { 138, 136, 135 }, ["3.1.1"] = { 5, 3, 5 } } do
        broker.version = version
        assert.same({ reason = "banned", code = codes[1] }, refusal { username = "banned" })
        assert.same({ reason = "server_unavailable", code = codes[2], error = "hook error" },
          refusal { username = "broken" })
        assert.same({ reason = "not_authorized", code = codes[3], error = "hook gave no answer" },
          refusal { username = "silent" })
      end
      assert.same({ reason = "client_identifier_not_valid", code = 2 },
        refusal { username = "u", clean = false, version = "3.1.1" })
    end)

    it("to a subscription tells reason, code and QoS", function()
      local broker <close> = start(hooks)
      for version, refused in pairs { ["5"] = 0x97, ["3.1.1"] = 0x80 } do
        local c <close> = broker:connect { username = "u", version = version }
        assert.same({ reason = "success", qos = 1, code = 1 }, c:subscribe("yes", 2))
        assert.same({ reason = "quota_exceeded", code = refused }, c:subscribe("no", 2))
        assert.same({ reason = "quota_exceeded", codes = { 0, refused } }, c:subscribe({ "yes", "no" }, 0))
        assert.same({ reason = "success", code = version == "5" and 0 or nil }, c:unsubscribe "yes")
      end
    end)

    it("to a publish tells the reason with every QoS", function()
      local broker <close> = start(hooks)
      local c = broker:connect { username = "u" }
      for qos = 0, 2 do
        assert.same({ reason = "success" }, c:publish("yes", "", qos))
        assert.same({ reason = "success" }, c:publish("drop", "", qos))
        assert.same({ reason = "topic_name_invalid" }, c:publish("no", "", qos))
        assert.same({ reason = "implementation_specific_error", error = "hook error" },
          c:publish("broken", "", qos))
      end
      assert.same({ reason = "success" }, c:publish("yes", "", 1))
    end)

    it("is there when a refused publish ends the connection", function()
      local broker <close> = start(hooks, { backend = { refused_publish = "disconnect" } })
      local c = broker:connect { username = "u", version = "3.1.1" }
      assert.same({ reason = "topic_name_invalid" }, c:publish("no", "", 1))
      assert.is_true(c.closed)
      assert.same({ n = 2, [2] = "connection closed" }, table.pack(c:publish("no", "", 0)))
    end)

    it("is missing while the publisher has to wait", function()
      local broker <close> = start(nil, { backend = { session_queue_size = 1, inflight_messages = 1 } })
      local slow, c = broker:connect { id = "slow" }, broker:connect { id = "c" }
      slow:subscribe("t", 1)
      slow:set_window(0)
      local problem
      for _ = 1, 10 do
        _, problem = c:publish("t", "x", 1)
        if problem then break end
      end
      assert.equal("no answer", problem)
      broker:advance(1) -- full_queue_wait: the message is dropped
      assert.equal("success", c:publish("other", "x", 1).reason)
    end)
  end)

  describe("a client", function()
    it("receives messages as they were sent", function()
      local broker <close> = start()
      local c = broker:connect { id = "c" }
      c:publish("r", "kept", 1, true)
      c:subscribe("#", 2)
      c:publish("a", "x", 2)
      assert.same({ { topic = "r", payload = "kept", qos = 1, retain = true, dup = false, id = 1 },
        { topic = "a", payload = "x", qos = 2, retain = false, dup = false, id = 2 } }, c:receive_all())
      assert.is_nil(c:receive())
    end)

    it("goes on with its session", function()
      local broker <close> = start()
      local c = broker:connect { id = "c", clean = false }
      assert.is_false(c.session_present)
      c:subscribe("t", 1)
      c:disconnect()
      assert.is_true(c.closed)
      assert.equal("client disconnected", c.close_reason)
      broker:connect({ id = "p" }):publish("t", "meanwhile", 1)
      local again = broker:connect { id = "c", clean = false }
      assert.is_true(again.session_present)
      assert.equal("meanwhile", again:receive().payload)
    end)

    it("leaves a will when it is dropped, and none when it disconnects", function()
      local broker <close> = start()
      local watcher = broker:connect { id = "w" }
      watcher:subscribe "will"
      local will = { topic = "will", payload = "gone" }
      broker:connect({ id = "a", will = will }):disconnect()
      assert.is_nil(watcher:receive())
      broker:connect({ id = "b", will = will }):drop()
      assert.equal("gone", watcher:receive().payload)
    end)

    it("is told why it was closed", function()
      local broker <close> = start()
      local c = broker:connect { id = "same" }
      assert.is_nil(c.close_reason)
      local thief = broker:connect { id = "same" }
      assert.is_true(c.closed)
      assert.is_string(c.close_reason)
      assert.is_false(thief.closed)
    end)

    it("may close its side only", function()
      local broker <close> = start()
      local c, watcher = broker:connect { id = "c" }, broker:connect { id = "w" }
      watcher:subscribe "t"
      c:publish("t", "last", 0)
      c:half_close()
      assert.equal("last", watcher:receive().payload)
      assert.is_true(c.closed)
    end)

    it("may stop reading", function()
      local broker <close> = start()
      local c, p = broker:connect { id = "c" }, broker:connect { id = "p" }
      c:subscribe("t", 0)
      c:set_window(10)
      for i = 1, 5 do p:publish("t", "message " .. i, 0) end
      assert.same({}, c:receive_all())
      c:set_window()
      assert.equal(5, #c:receive_all())
    end)

    it("sends and receives raw bytes", function()
      local broker <close> = start()
      local c = broker:open()
      c:send_raw "\x10\x0d\0\4MQTT\4\2\0\0\0\1a"
      assert.equal("\x20\2\0\0", c:raw())
      c:send_raw "\xc0\0"
      assert.equal("\xd0\0", c:raw())
      assert.equal("", c:raw())
      c:send_raw "\xf0\0"
      assert.is_true(c.closed)
      assert.is_nil(c:send_raw "\xc0\0")
    end)

    it("disconnects at the end of its scope", function()
      local broker <close> = start()
      do
        local c <close> = broker:connect { id = "c" }
        assert.is_false(c.closed)
      end
      assert.equal(0, broker:stats().clients)
    end)

    it("may connect late", function()
      local broker <close> = start()
      local c = broker:open()
      broker:advance(5)
      assert.same({ reason = "success", code = 0 }, c:connect { id = "late" })
      assert.equal("success", c:publish("a", "", 2).reason)
    end)

    it("speaks MQTT 3.1", function()
      local broker <close> = start()
      local c = broker:connect { id = "old", version = 3 }
      assert.equal(3, broker:client("old").version)
      assert.equal("success", c:publish("a", "", 2).reason)
    end)

    it("raises on misuse, in the caller's line", function()
      local broker <close> = start()
      local c = broker:connect { id = "c" }
      for message, call in pairs {
        ["connect: unknown field 'port'"] = function() broker:connect { port = 1883 } end,
        ["connect expects a table of options"] = function() broker:connect "c" end,
        ['"a/#" is not a topic'] = function() c:publish("a/#", "") end,
        ['"a#" is not a topic filter'] = function() c:subscribe "a#" end,
        ["qos must be 0, 1 or 2"] = function() c:subscribe("a", 3) end,
        ["payload must be a string, got number"] = function() c:publish("a", 1) end,
        ["send_raw expects a string"] = function() c:send_raw() end,
        ["set_window expects a number of bytes"] = function() c:set_window(-1) end,
        ["advance expects a number of seconds"] = function() broker:advance "1" end,
      } do
        local ok, problem = pcall(call)
        assert.is_false(ok)
        assert.matches("test_spec.lua:%d+: ", problem)
        assert.equal(message, (problem:gsub("^.-:%d+: ", "")))
      end
    end)
  end)

  describe("log events", function()
    it("are those of the reference run", function()
      local broker <close> = start()
      broker:capture()
      local c = broker:connect { keep_alive = 30, version = "3.1.1" }
      c:subscribe("test", 0)
      c:publish("test", "test", 0)
      c:disconnect()
      local lines = {}
      for i, e in ipairs(broker:events()) do
        lines[i] = ("B [%s] %s"):format(e.event, e.error or e.text or ""):gsub(" $", "")
      end
      assert.same({
        "B [new connection]",
        'B [packet received] <Connect ClientID="" KeepAlive=30 Username="" Password="" '
          .. "CleanSession=true Will=nil Version=4>",
        "B [packet sent] <Connack SessionPresent=false ReturnCode=0>",
        'B [packet received] <Subscribe ID=1 Subscriptions=["test"=>0]>',
        "B [packet sent] <Suback ID=1 ReturnCodes=[0]>",
        'B [packet received] <Publish ID=0 Message=<Message Topic="test" QOS=0 Retain=false '
          .. "Payload=74657374> Dup=false>",
        'B [message published] <Message Topic="test" QOS=0 Retain=false Payload=74657374>',
        'B [message dequeued] <Message Topic="test" QOS=0 Retain=false Payload=74657374>',
        'B [packet sent] <Publish ID=0 Message=<Message Topic="test" QOS=0 Retain=false '
          .. "Payload=74657374> Dup=false>",
        'B [message forwarded] <Message Topic="test" QOS=0 Retain=false Payload=74657374>',
        "B [packet received] <Disconnect>",
        "B [client disconnected]",
        "B [lost connection]",
      }, lines)
    end)

    it("are recorded while it is wanted, beside the hook", function()
      local heard = 0
      local broker <close> = start { log = function() heard = heard + 1 end }
      broker:connect { id = "a" }
      local before = heard
      assert.same({}, broker:events())
      broker:capture()
      broker:connect { id = "b" }
      local events = broker:events()
      assert.equal(heard - before, #events)
      assert.equal("b", events[#events].client)
      broker:capture(false)
      broker:connect { id = "c" }
      assert.same({}, broker:events())
    end)
  end)

  describe("the functions of luamq", function()
    it("work on the broker that they are called for", function()
      local one <close> = start()
      local two <close> = start()
      local c = one:connect { id = "c", username = "u" }
      c:subscribe("t", 1)
      assert(one:publish("t", "from luamq", { qos = 1 }))
      assert.equal("from luamq", c:receive().payload)
      assert.equal("c", one:session("c").id)
      assert.equal("u", one:client("c").username)
      assert.is_nil(two:session "c")
      assert.is_nil(two:client "c")
    end)

    it("deliver to a session", function()
      local broker <close> = start()
      local c = broker:connect { id = "c" }
      assert(broker:session("c"):deliver("direct", "x"))
      broker:run()
      assert.equal("direct", c:receive().topic)
    end)

    it("raise through call", function()
      local broker <close> = start()
      raises("^mine$", function() broker:call(error, "mine", 0) end)
      assert.same({ n = 3, 1, nil, 3 }, table.pack(broker:call(function(...) return ... end, 1, nil, 3)))
    end)
  end)
end)
