local brokers = require "spec.support.brokers"

local problem, start = brokers.problem, brokers.start

describe("a session", function()
  it("tells shared subscriptions by the name of their group", function()
    local broker <close> = start()
    local c = broker:connect { id = "c" }
    c:subscribe("$share/g/c/#", 1)
    assert.same({ { topic = "c/#", qos = 1, share = "g" } }, broker:session "c".subscriptions)
    c:unsubscribe "$share/g/c/#"
    assert.same({}, broker:session "c".subscriptions)
  end)

  it("has its fields, online and offline", function()
    local broker <close> = start()
    local c = broker:connect { id = "c", clean = false }
    c:subscribe("a", 0)
    c:subscribe("b/#", 2)
    local session = broker:session "c"
    assert.same({ "c", false, 0, 0 }, { session.id, session.clean, session.queued, session.dropped })
    assert.equal(broker:client "c", session.client)
    local subscriptions = session.subscriptions
    table.sort(subscriptions, function(x, y) return x.topic < y.topic end)
    assert.same({ { topic = "a", qos = 0 }, { topic = "b/#", qos = 2 } }, subscriptions)
    c:disconnect()
    assert.is_nil(session.client)
    broker:publish("b/x", "offline", { qos = 1 })
    assert.equal(1, session.queued)
    assert.equal('<Session ID="c">', tostring(session))
    assert.is_nil(session.nothing)
    broker:connect { id = "d" }
    assert.is_true(broker:session("d").clean)
  end)

  it("is equal to another one of the same id, and read only", function()
    local broker <close> = start()
    broker:connect { id = "c" }
    broker:connect { id = "d" }
    local session = broker:session "c"
    assert.is_true(session == broker:client("c").session)
    assert.is_false(session == broker:session "d")
    assert.matches("session_object_spec.lua:%d+: session is read only",
      problem(function() session.queued = 0 end))
  end)

  local methods = {
    next_id = {}, save_packet = { "outgoing", { type = "pubrel", id = 1 } },
    lookup_packet = { "outgoing", 1 }, delete_packet = { "outgoing", 1 }, all_packets = { "outgoing" },
    deliver = { "t", "x" }, all_messages = {}, subscribe = { "t" }, unsubscribe = { "t" },
  }

  for name, arguments in pairs(methods) do
    it("is missing after its end, and after that of its broker: " .. name, function()
      local broker = start()
      local c = broker:connect { id = "c" }
      local session = broker:session "c"
      c:disconnect()
      for _ = 1, 2 do
        for _, field in ipairs { "client", "clean", "queued", "dropped", "subscriptions" } do
          assert.is_nil(session[field])
        end
        assert.equal("c", session.id)
        assert.same({ n = 2, nil, "missing session" },
          table.pack(session[name](session, table.unpack(arguments))))
        broker:stop()
      end
      assert.equal('<Session ID="c">', tostring(session))
    end)

    it("raises where a method is called on something else: " .. name, function()
      local broker <close> = start()
      broker:connect { id = "c" }
      local session = broker:session "c"
      assert.matches("session expected, got table", problem(function() session[name]({}) end), 1, true)
    end)
  end

  it("gives ids that are not in flight, from 1 to 65535 and again", function()
    local broker <close> = start()
    broker:connect { id = "c" }
    local session = broker:session "c"
    for id = 1, 65535 do assert(session:next_id() == id) end
    assert.equal(1, session:next_id())
    assert(session:save_packet("outgoing", { type = "pubrel", id = 3 }))
    for _ = 1, 65535 do
      local id = session:next_id()
      assert(id >= 1 and id <= 65535 and id ~= 3)
    end
  end)

  it("keeps, finds and forgets packets in each direction", function()
    local broker <close> = start()
    broker:connect { id = "c" }
    local session = broker:session "c"
    for _, direction in ipairs { "incoming", "outgoing" } do
      assert.same({}, session:all_packets(direction))
      local message = { topic = "t", payload = "x", qos = 2, retain = true }
      assert.is_true(session:save_packet(direction, { type = "publish", id = 7, message = message }))
      assert.is_true(session:save_packet(direction, { type = "pubrel", id = 65535 }))
      local found = session:lookup_packet(direction, 7)
      assert.same({ "publish", 7 }, { found.type, found.id })
      assert.same({ "t", "x", 2, true },
        { found.message.topic, found.message.payload, found.message.qos, found.message.retain })
      local ids = {}
      for i, packet in ipairs(session:all_packets(direction)) do ids[i] = packet.type .. packet.id end
      assert.same({ "publish7", "pubrel65535" }, ids)
      assert.is_true(session:save_packet(direction, { type = "pubrel", id = 7 })) -- replaces
      assert.same({ type = "pubrel", id = 7 }, session:lookup_packet(direction, 7))
      assert.equal("x", found.message.payload) -- it holds what it was
      assert.is_true(session:delete_packet(direction, 7))
      assert.is_true(session:delete_packet(direction, 7))
      assert.is_nil(session:lookup_packet(direction, 7))
    end
  end)

  it("sends again what a script saved, after a reconnect", function()
    local broker <close> = start()
    broker:connect({ id = "c", clean = false }):disconnect()
    local session = broker:session "c"
    assert(session:save_packet("outgoing",
      { type = "publish", id = 9, message = { topic = "t", payload = "x", qos = 1 } }))
    local message = broker:connect({ id = "c", clean = false }):receive()
    assert.same({ topic = "t", payload = "x", qos = 1, retain = false, dup = true, id = 9 }, message)
  end)

  --- Misuse: what the error tells, and the call.
  local misuse = {
    { "invalid option 'both'", "save_packet", "both", {} },
    { "a packet id is between 1 and 65535", "lookup_packet", "incoming", 0 },
    { "a packet id is between 1 and 65535", "delete_packet", "incoming", 65536 },
    { "number expected, got no value", "lookup_packet", "incoming" },
    { "type must be \"publish\" or \"pubrel\"", "save_packet", "incoming", { id = 1, type = "puback" } },
    { "a packet id is between 1 and 65535", "save_packet", "incoming", { id = 0, type = "pubrel" } },
    { "a publish has a message", "save_packet", "outgoing", { id = 1, type = "publish" } },
    { "a packet in flight has QoS 1 or 2", "save_packet", "incoming",
      { id = 1, type = "publish", message = { topic = "t" } } },
    { "the topic is not valid for a publish", "save_packet", "incoming",
      { id = 1, type = "publish", message = { topic = "#", qos = 1 } } },
    { "string expected, got no value", "deliver" },
    { "qos: a QoS is 0, 1 or 2", "deliver", "t", "x", { qos = 3 } },
    { "retain: expected true or false", "deliver", "t", "x", { retain = 1 } },
    { "unknown field of a message 'qso'", "deliver", "t", "x", { qso = 1 } },
  }

  for _, row in ipairs(misuse) do
    it(("raises on misuse: %s: %s"):format(row[2], row[1]), function()
      local broker <close> = start()
      broker:connect { id = "c" }
      local session = broker:session "c"
      local message = problem(function() session[row[2]](session, table.unpack(row, 3)) end)
      assert.matches(row[1], message, 1, true)
      assert.matches("^[%./]*spec/session_object_spec.lua:%d+: ", message)
      assert.same({}, session:all_packets "incoming")
    end)
  end
end)

describe("session:deliver", function()
  it("queues for one session, with the message's QoS, without a subscription", function()
    local broker <close> = start()
    local c, other = broker:connect { id = "c", clean = false }, broker:connect { id = "d" }
    other:subscribe "#"
    for qos = 0, 2 do
      assert.is_true(broker:session("c"):deliver("t", "x" .. qos, { qos = qos, retain = qos == 2 }))
    end
    broker:run()
    for qos = 0, 2 do
      local m = c:receive()
      assert.same({ "t", "x" .. qos, qos, qos == 2 }, { m.topic, m.payload, m.qos, m.retain })
    end
    assert.is_nil(other:receive())
    assert.same({}, broker:retained "#")
  end)

  it("queues QoS 1 and 2 for a session that is offline", function()
    local broker <close> = start(nil, { backend = { session_queue_size = 2 } })
    broker:connect({ id = "c", clean = false }):disconnect()
    local session = broker:session "c"
    assert.is_true(session:deliver("t", "1", { qos = 1 }))
    assert.same({ n = 2, nil, "queue full" }, table.pack(session:deliver("t", "0")))
    assert.is_true(session:deliver("t", "2", { qos = 2 }))
    assert.same({ n = 2, nil, "queue full" }, table.pack(session:deliver("t", "3", { qos = 1 })))
    assert.equal(1, broker:stats().messages_dropped_offline)
    local c = broker:connect { id = "c", clean = false }
    assert.same({ "1", "2" }, { c:receive().payload, c:receive().payload })
  end)

  it("returns why a topic cannot be published to", function()
    local broker <close> = start()
    broker:connect { id = "c" }
    local session = broker:session "c"
    assert.same({ n = 2, nil, "the topic is not valid for a publish" }, table.pack(session:deliver "a/#"))
    assert.same({ n = 2, nil, "the topic is not valid UTF-8" }, table.pack(session:deliver "\xff"))
  end)

  it("passes dequeue, not publish", function()
    local seen = {}
    local broker <close> = start {
      publish = function() seen[#seen + 1] = "publish" return true end,
      dequeue = function(_, message)
        seen[#seen + 1] = "dequeue"
        return { payload = message.payload .. "!" }
      end,
    }
    local c = broker:connect { id = "c" }
    assert(broker:session("c"):deliver("t", "x"))
    broker:run()
    assert.equal("x!", c:receive().payload)
    assert.same({ "dequeue" }, seen)
  end)
end)
