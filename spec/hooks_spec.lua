local brokers = require "spec.support.brokers"
local luamq = require "luamq"

local connect, logged, start = brokers.connect, brokers.logged, brokers.start

local CONNECT <const> = "\x10\x0d\0\4MQTT\4\2\0\0\0\1a" -- id "a", clean, no keep alive

describe("authenticate", function()
  it("gets name and password as they were sent", function()
    local seen
    local broker <close> = start { authenticate = function(client, ...)
      seen = table.pack(client.id, client.username, ...)
      return true
    end }
    broker:connect { id = "a" }
    assert.same({ n = 4, "a" }, seen)
    broker:connect { id = "a", username = "" }
    assert.same({ n = 4, "a", "", "" }, seen)
    broker:connect { id = "a", username = "\u{e4}", password = "\0\xff" }
    assert.same({ n = 4, "a", "\u{e4}", "\u{e4}", "\0\xff" }, seen)
  end)

  it("is asked alone: credentials have no say beside it", function()
    local broker <close> = start({ authenticate = function(_, name) return name ~= "known" end },
      { credentials = { known = "secret" } })
    assert.equal("not_authorized", connect(broker, { username = "known", password = "secret" }).reason)
    assert.equal("success", connect(broker).reason)
  end)

  it("runs before setup, and that before restore", function()
    local order = {}
    local function note(name, answer)
      return function(_, ...)
        order[#order + 1] = name
        order[name] = table.pack(...)
        return answer
      end
    end
    local broker <close> = start {
      restore = note "restore", setup = note "setup", authenticate = note("authenticate", true),
    }
    broker:connect { id = "a", clean = false }
    assert.same({ "authenticate", "setup", "restore" }, { table.unpack(order) })
    assert.same({ n = 2, "a", false }, order.setup)
    broker:connect()
    assert.same({ n = 2, "", true }, order.setup)
  end)
end)

describe("settings of a client", function()
  --- Values that are right, and values that are not.
  local settings = {
    read_limit = { "2K", 2048, wrong = { 1023, "2X", 1 << 29, true } },
    maximum_keep_alive = { 7, 7, wrong = { 0, 1.5, 65536, "7" } },
    token_timeout = { 0.25, 0.25, wrong = { 0, -1, 0 / 0, 86401, "1" } },
    parallel_publishes = { 3, 3, wrong = { 0, 65536, 1.5, "3" } },
    parallel_subscribes = { 65535, 65535, wrong = { 0, 65536, {} } },
    inflight_messages = { 1, 1, wrong = { 0, -1, 65536, false } },
  }

  for name, row in pairs(settings) do
    it("are an answer of authenticate, and fields in any hook: " .. name, function()
      local broker <close> = start {
        authenticate = function(client) return client.id == "answer" and { [name] = row[1] } or true end,
        setup = function(client)
          if client.id == "field" then client[name] = row[1] end
        end,
      }
      for _, id in ipairs { "answer", "field" } do
        broker:connect { id = id }
        assert.equal(row[2], broker:client(id)[name])
      end
      broker:connect { id = "other" }
      assert.not_equal(row[2], broker:client "other"[name])
      assert.same({}, logged(broker))
    end)

    it("are checked like those of a script: " .. name, function()
      for _, value in ipairs(row.wrong) do
        local broker <close> = start { authenticate = function() return { [name] = value } end }
        assert.same({ reason = "not_authorized", code = 5, error = "hook gave a wrong answer" },
          (connect(broker, { id = "c" })))
        assert.matches("hook authenticate gave a wrong answer: " .. name .. ": ", logged(broker)[1], 1, true)
        local other <close> = start { setup = function(client) client[name] = value end }
        assert.same({ reason = "server_unavailable", code = 3, error = "hook error" },
          (connect(other, { id = "c" })))
        assert.matches("hooks_spec.lua:%d+: client." .. name .. ": ", logged(other)[1])
      end
    end)
  end

  it("have known names only", function()
    for problem, answer in pairs {
      ["unknown setting of a client 'inflight'"] = { inflight = 1 },
      ["unknown setting of a client 'session_queue_size'"] = { session_queue_size = 1 },
      ["settings of a client have the form name = value"] = { 10 },
    } do
      local broker <close> = start { authenticate = function() return answer end }
      assert.equal("hook gave a wrong answer", connect(broker).error)
      assert.matches(problem, logged(broker)[1], 1, true)
    end
  end)

  it("change nothing when one of them is wrong", function()
    local broker <close> = start { authenticate = function(client)
      local ok = pcall(function() client.inflight_messages = 0 end)
      return not ok and client.inflight_messages == 10
    end }
    assert.equal("success", connect(broker).reason)
  end)

  it("let everybody in with an empty table", function()
    local broker <close> = start { authenticate = function() return {} end }
    assert.same({ reason = "success", code = 0 }, (connect(broker)))
  end)

  it("are not what setup answers: its table is one of session operations", function()
    local broker <close> = start { setup = function() return { inflight_messages = 5 } end }
    assert.equal("hook gave a wrong answer", connect(broker).error)
    assert.matches("a table of session operations has a function next_id", logged(broker)[1], 1, true)
  end)
end)

describe("packet", function()
  it("sees all packets of a client but CONNECT and DISCONNECT, before they are processed", function()
    local seen, order = {}, {}
    local broker <close> = start {
      packet = function(client, packet)
        seen[#seen + 1] = client.id .. " " .. tostring(packet)
        order[#order + 1] = "packet"
        return true
      end,
      publish = function() order[#order + 1] = "publish" return true end,
    }
    local client = broker:open()
    client:send_raw(CONNECT)
    client:send_raw "\x82\6\0\1\0\1t\2" -- SUBSCRIBE
    client:send_raw "\x34\6\0\1t\0\7x" -- PUBLISH with QoS 2
    client:send_raw "\x62\2\0\7" -- PUBREL
    client:send_raw "\x50\2\0\1\x70\2\0\1" -- PUBREC and PUBCOMP
    client:send_raw "\x40\2\0\9\xc0\0\xa2\5\0\2\0\1t" -- PUBACK, PINGREQ, UNSUBSCRIBE
    client:send_raw "\xe0\0"
    assert.same({
      'a <Subscribe ID=1 Subscriptions=["t"=>2]>',
      'a <Publish ID=7 Message=<Message Topic="t" QOS=2 Retain=false Payload=78> Dup=false>',
      "a <Pubrel ID=7>", "a <Pubrec ID=1>", "a <Pubcomp ID=1>", "a <Puback ID=9>", "a <Pingreq>",
      'a <Unsubscribe Topics=["t"]>',
    }, seen)
    assert.same({ "packet", "packet", "publish" }, { table.unpack(order, 1, 3) })
  end)

  it("closes with a refusal, and the packet has no effect", function()
    local terminated
    local function refuse(_, packet) return packet.type ~= "publish", "message_rate_too_high" end
    local broker <close> = start({
      packet = refuse,
      terminate = function(_, err) terminated = err end,
    }, { log = { level = "info" } })
    local client = broker:connect { id = "c", will = { topic = "t" } }
    assert.equal("success", client:subscribe("t", 0).reason)
    logged(broker)
    assert.same({ reason = "message_rate_too_high" }, client:publish("t", "x", 1))
    assert.is_true(client.closed)
    assert.is_nil(client:receive())
    assert.equal("message_rate_too_high", terminated)
    assert.same({ "info packet refused id=c remote=memory packet=Publish reason=message_rate_too_high "
        .. "by=hook hook=packet place=spec/hooks_spec.lua:" .. debug.getinfo(refuse, "S").linedefined,
      "info client closed id=c remote=memory reason=message_rate_too_high" }, logged(broker))
  end)
end)

describe("terminate", function()
  --- Ways to end, and the text that the hook gets.
  local ends = {
    { "client disconnected", "DISCONNECT", function(c) c:disconnect() end },
    { "client closed", "client:close", function(_, broker)
      broker:call(function() luamq.client "a":close() end)
    end },
    { "client closed", "the end of the broker", function(_, broker) broker:stop() end },
    { "client closed", "luamq.stop", function(_, broker) broker:call(luamq.stop) end },
    { "client closed", "a take-over", function(_, broker) broker:open():send_raw(CONNECT) end },
    { "connection closed by peer", "the end of the stream", function(c) c:half_close() end },
    { "Connection reset by peer", "a reset", function(c) c:drop() end },
    { "unexpected packet", "a second CONNECT", function(c) c:send_raw(CONNECT) end },
    { "read limit exceeded", "a large packet", function(c) c:send_raw "\x30\x80\x80\x80\x08" end },
    { "keep alive timeout", "silence", function(c, broker)
      c:silence()
      broker:advance(90)
    end },
  }

  for _, row in ipairs(ends) do
    local text, how, finish = table.unpack(row)
    it(("is called once, with %s: %s"):format(text, how), function()
      local calls = {}
      local broker <close> = start { terminate = function(client, ...)
        calls[#calls + 1] = table.pack(client.id, client.closing, client.closed, client.session.id, ...)
      end }
      local client = broker:connect { id = "a" }
      finish(client, broker)
      assert.is_true(client.closed)
      assert.same({ { n = 5, "a", true, false, "a", text } }, calls)
      assert.equal(text, client.close_reason)
    end)
  end

  it("is called with client closed when another one takes over", function()
    local calls = {}
    local broker <close> = start { terminate = function(client, err) calls[#calls + 1] = { client, err } end }
    broker:connect { id = "a" }
    local first = broker:client "a"
    broker:connect { id = "a" }
    assert.equal(1, #calls)
    assert.equal(first, calls[1][1])
    assert.equal("client closed", calls[1][2])
    assert.not_equal(first, broker:client "a")
    assert.equal(1, broker:stats().sessions_taken_over)
  end)

  it("names what was malformed", function()
    local text
    local broker <close> = start { terminate = function(_, err) text = err end }
    broker:connect({ id = "a" }):send_raw "\xf0\0"
    assert.is_string(text)
    assert.equal(1, broker:stats().malformed_packets)
  end)

  it("is not called for a client that was not set up", function()
    local calls = 0
    local broker <close> = start {
      authenticate = function(client) return client.id == "a" end,
      setup = function() return false end,
      terminate = function() calls = calls + 1 end,
    }
    connect(broker, { id = "a" })
    connect(broker, { id = "b" })
    broker:open():drop()
    broker:open():send_raw "\xc0\0"
    broker:stop()
    assert.equal(0, calls)
  end)
end)

describe("log", function()
  --- What the hook gets at each event: whether there is a client, a packet, a message, an error.
  local function record()
    local list = {}
    return list, function(event, client, packet, message, err)
      list[#list + 1] = ("%s [%s]%s%s%s"):format(event, client and client.id or "-",
        packet and " packet " .. packet.type or "", message and " message " .. message.payload or "",
        err and " error " .. err or "")
    end
  end

  it("gets every event with its objects", function()
    local list, hook = record()
    local broker <close> = start { log = hook }
    local client = broker:connect { id = "c" }
    client:subscribe("t", 1)
    client:publish("t", "x", 1)
    client:publish("u", "y", 2)
    client:disconnect()
    assert.same({
      "new connection []",
      "packet received [] packet connect", "packet sent [c] packet connack",
      "packet received [c] packet subscribe", "packet sent [c] packet suback",
      "packet received [c] packet publish",
      "message acknowledged [c] message x", "message published [c] message x",
      "packet sent [c] packet puback",
      "message dequeued [c] message x", "packet sent [c] packet publish", "message forwarded [c] message x",
      "packet received [c] packet puback",
      "packet received [c] packet publish", "packet sent [c] packet pubrec",
      "packet received [c] packet pubrel",
      "message acknowledged [c] message y", "message published [c] message y",
      "packet sent [c] packet pubcomp",
      "packet received [c] packet disconnect", "client disconnected [c]", "lost connection [c]",
    }, list)
  end)

  it("gets the same events that are captured, and replaces the default lines", function()
    local list, hook = record()
    local broker <close> = start({ log = hook }, { log = { level = "debug" } })
    connect(broker, { id = "a" })
    broker:connect({ id = "b" }):drop()
    local captured = broker:events()
    assert.equal(#captured, #list)
    for i, e in ipairs(captured) do assert.equal(e.event, list[i]:match "^[%a ]+%f[ ]") end
    assert.matches("^transport error %[b%] error Connection reset by peer$", list[#list - 1])
    assert.same({}, logged(broker))
  end)

  it("may raise: that harms nothing, and is logged once a time", function()
    local broker <close> = start { log = function(event)
      if event == "message published" then error "in the log" end
    end }
    local client = broker:connect { id = "c" }
    client:subscribe("t", 1)
    assert.same({ reason = "success" }, client:publish("t", "x", 1))
    assert.equal("x", client:receive().payload)
    local lines = logged(broker)
    assert.equal(1, #lines)
    assert.matches("^error hook log: spec/hooks_spec.lua:%d+: in the log id=c remote=memory", lines[1])
    assert.equal(1, broker:stats().hook_errors)
  end)

  it("is not called for what it causes itself", function()
    local calls, depth = 0, 0
    local broker <close> = start { log = function(event)
      depth = depth + 1
      assert(depth == 1)
      calls = calls + 1
      if event == "message published" then luamq.publish("logged", "x") end
      luamq.log.debug "not an event"
      depth = depth - 1
    end }
    local client = broker:connect { id = "c" }
    client:subscribe("#", 0)
    client:publish("t", "x", 0)
    assert.equal(2, #client:receive_all())
    assert.is_true(calls > 0)
    assert.equal(0, broker:stats().hook_errors)
  end)

  it("never sees a password", function()
    local texts = {}
    local broker <close> = start { log = function(_, _, packet)
      if packet then
        texts[#texts + 1] = tostring(packet)
        assert.is_nil(packet.password)
      end
    end }
    connect(broker, { id = "c", username = "u", password = "hunter2" })
    local all = table.concat(texts)
    assert.matches('Username="u" Password="***"', all, 1, true)
    assert.is_nil(all:find("hunter2", 1, true))
    assert.equal(0, broker:stats().hook_errors)
  end)
end)
