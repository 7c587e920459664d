--- What a script needs to route itself, and to keep sessions: "drop" and session:deliver, unsubscribe and
--- restore that act, session:subscribe, luamq.create_session.

local brokers = require "spec.support.brokers"
local luamq = require "luamq"

local problem, start = brokers.problem, brokers.start

local function payloads(client)
  local list = {}
  for i, message in ipairs(client:receive_all()) do list[i] = message.payload end
  return list
end

describe("routing in Lua", function()
  --- A publish hook that gives each message to the sessions of a list, by topic.
  local function router(routes, wait)
    return function(_, message)
      if wait then luamq.sleep(1) end
      for _, id in ipairs(routes[message.topic] or {}) do
        local session = luamq.session(id)
        local options = { qos = message.qos, retain = message.retain }
        if session then session:deliver(message.topic, message.payload, options) end
      end
      return "drop"
    end
  end

  for _, wait in ipairs { false, true } do
    it("reaches sessions without a subscription, on- and offline" .. (wait and ", having waited" or ""),
      function()
        local broker <close> = start { publish = router({ t = { "a", "b" } }, wait) }
        broker.version = "5"
        local a = broker:connect { id = "a" }
        broker:connect({ id = "b", clean = false, session_expiry_interval = 60 }):disconnect()
        local other = broker:connect { id = "c" }
        other:subscribe("#", 2)
        local sender = broker:connect { id = "s" }
        for qos = 0, 2 do sender:publish("t", "qos" .. qos, qos) end
        broker:advance(5)
        assert.same({ "qos0", "qos1", "qos2" }, payloads(a))
        local b = broker:connect { id = "b", clean = false, session_expiry_interval = 60 }
        assert.same({ "qos1", "qos2" }, payloads(b))
        assert.same({}, payloads(other))
        assert.equal(0, broker:stats().messages_published)
      end)
  end

  it("keeps the retain flag, and retains nothing by itself", function()
    local broker <close> = start { publish = router { t = { "a" } } }
    local a = broker:connect { id = "a" }
    broker:connect({ id = "s" }):publish("t", "x", 1, true)
    local message = a:receive()
    assert.same({ "x", true, 1 }, { message.payload, message.retain, message.qos })
    assert.equal(0, broker:stats().retained_messages)
  end)

  it("is told that a session has ended while its hook waited", function()
    local answers
    local broker <close> = start { publish = function()
      local session = luamq.session "a"
      luamq.sleep(1)
      answers = table.pack(session:deliver("t", "x", { qos = 1 }))
      return "drop"
    end }
    local a = broker:connect { id = "a" }
    broker:connect({ id = "s" }):publish("t", "x", 1)
    a:disconnect()
    broker:advance(2)
    assert.same({ n = 2, nil, "missing session" }, answers)
  end)
end)

describe("restore", function()
  local function with_queue(hooks)
    local broker = start(hooks)
    broker:create_session("a"):subscribe("t", 1)
    for i = 1, 2 do broker:publish("t", tostring(i), { qos = 1 }) end
    return broker
  end

  it("may deliver: it comes behind what is queued", function()
    local broker <close> = with_queue { restore = function(client)
      client.session:deliver("t", "late", { qos = 1 })
    end }
    assert.same({ "1", "2", "late" }, payloads(broker:connect { id = "a", clean = false }))
  end)

  it("may wait: until it is through nothing is delivered, and packets wait", function()
    local broker <close> = with_queue { restore = function(client)
      luamq.sleep(4)
      client.session:deliver("t", "late", { qos = 1 })
    end }
    local a = broker:connect { id = "a", clean = false }
    local suback = a:subscribe("u", 1)
    assert.is_nil(suback)
    broker:publish("t", "3", { qos = 1 })
    broker:advance(3.9)
    assert.same({}, payloads(a))
    broker:advance(0.2)
    assert.same({ "1", "2", "3", "late" }, payloads(a))
    assert.equal("success", a:answer().reason)
  end)

  it("that waits is given up when its client goes, and what is queued stays", function()
    local waits = true
    local broker <close> = with_queue { restore = function()
      if waits then luamq.sleep(4) end
    end }
    broker:connect({ id = "a", clean = false }):drop()
    broker:run()
    assert.equal(2, broker:session("a").queued)
    waits = false
    assert.same({ "1", "2" }, payloads(broker:connect { id = "a", clean = false }))
  end)

  it("may subscribe", function()
    local broker <close> = start { restore = function(client) client.session:subscribe("t", 1) end }
    local a = broker:connect { id = "a" }
    broker:publish("t", "x", { qos = 2 })
    assert.equal(1, a:receive().qos)
  end)
end)

describe("unsubscribe", function()
  it("may wait and change the filter", function()
    local broker <close> = start { unsubscribe = function(client, filter)
      luamq.sleep(1)
      return { topic = client.id .. "/" .. filter }
    end }
    broker.version = "5"
    local a = broker:connect { id = "a" }
    a:subscribe("a/t", 1)
    a:subscribe("t", 1)
    a:unsubscribe "t"
    broker:advance(2)
    assert.equal("success", a:answer().reason)
    assert.equal("t", broker:session("a").subscriptions[1].topic)
    assert.equal(1, #broker:session("a").subscriptions)
  end)
end)

describe("session:subscribe", function()
  it("subscribes online and offline, past hook and rules, and answers the QoS", function()
    local broker <close> = start({ subscribe = function() return false end },
      { acl = { { deny = "subscribe", topic = "#" } }, backend = { maximum_qos = 1 } })
    local a = broker:connect { id = "a", clean = false }
    assert.is_true(broker:session("a"):subscribe "x" == 0)
    assert.equal(1, broker:session("a"):subscribe("y", 2))
    a:disconnect()
    assert.equal(1, broker:session("a"):subscribe("z", 1))
    for i, topic in ipairs { "x", "y", "z" } do broker:publish(topic, tostring(i), { qos = 1 }) end
    assert.same({ "2", "3" }, payloads(broker:connect { id = "a", clean = false }))
    assert.equal(3, broker:stats().subscriptions)
  end)

  it("takes what session.subscriptions tells", function()
    local broker <close> = start()
    broker:connect { id = "a" }
    local list = {
      { topic = "a/#", qos = 1, no_local = true, retain_as_published = false, identifier = 7 },
      { topic = "b", qos = 2, no_local = false, retain_as_published = true },
      { topic = "c", qos = 0, share = "g" },
    }
    local session = broker:session "a"
    for _, s in ipairs(list) do assert.equal(s.qos, session:subscribe(s)) end
    local found = session.subscriptions
    table.sort(found, function(x, y) return x.topic < y.topic end)
    assert.same(list, found)
    for _, s in ipairs(found) do assert.is_true(session:unsubscribe(s)) end
    assert.same({}, session.subscriptions)
    assert.equal(0, broker:stats().subscriptions)
    assert.is_false(session:unsubscribe "a/#")
  end)

  it("has retained messages sent, but where they are not wanted", function()
    local broker <close> = start()
    broker:publish("t/1", "x", { qos = 1, retain = true })
    local a = broker:connect { id = "a" }
    local session = broker:session "a"
    session:subscribe { topic = "t/#", qos = 1, retain_handling = 2 }
    broker:run()
    assert.is_nil(a:receive())
    session:subscribe { topic = "t/#", qos = 1, retain_handling = 1 }
    broker:run()
    assert.is_nil(a:receive())
    session:subscribe("t/#", 1)
    broker:run()
    assert.is_true(a:receive().retain)
  end)

  it("subscribes a group", function()
    local broker <close> = start()
    broker:connect { id = "a" }
    assert.equal(1, broker:session("a"):subscribe("$share/g/t", 1))
    assert.same({ { topic = "t", qos = 1, share = "g" } }, broker:session("a").subscriptions)
    assert.is_true(broker:session("a"):unsubscribe "$share/g/t")
  end)

  it("is bounded as SUBSCRIBE is", function()
    local broker <close> = start(nil, { limits = { subscriptions = 1 } })
    broker:connect { id = "a" }
    local session = broker:session "a"
    assert.equal(0, session:subscribe "t")
    assert.same({ n = 2, nil, "quota_exceeded" }, table.pack(session:subscribe "u"))
  end)

  local misuse = {
    { "not a valid topic filter", "a/#/b" },
    { "not a valid topic filter", "\xff" },
    { "not a valid topic filter", {} },
    { "not a valid topic filter", "$share//t" },
    { "not a valid name of a group", "$share/a+/t" },
    { "a shared subscription cannot be no_local", { topic = "t", share = "g", no_local = true } },
    { "a QoS is 0, 1 or 2", "t", 3 },
    { "qos: expected an integer between 0 and 2", { topic = "t", qos = 3 } },
    { "retain_handling: expected an integer between 0 and 2", { topic = "t", retain_handling = "1" } },
    { "identifier: expected an integer between 0 and 268435455", { topic = "t", identifier = -1 } },
    { "no_local: expected true or false, got a number", { topic = "t", no_local = 1 } },
    { "unknown field of a subscription 'filter'", { topic = "t", filter = "t" } },
    { "string expected, got nil", nil },
  }
  for i, row in ipairs(misuse) do
    it("raises on misuse: " .. i, function()
      local broker <close> = start()
      broker:connect { id = "a" }
      local session = broker:session "a"
      local text = problem(function() session:subscribe(row[2], row[3]) end)
      assert.matches(row[1], text, 1, true)
      assert.matches("routing_spec.lua:%d+: ", text)
      assert.same({}, session.subscriptions)
    end)
  end
end)

describe("session:all_messages", function()
  it("tells what is queued, in order, with its QoS, and stays valid", function()
    local broker <close> = start()
    local a = broker:connect { id = "a", clean = false }
    a:subscribe("t", 1)
    a:disconnect()
    local session = broker:session "a"
    assert.same({}, session:all_messages())
    for i = 1, 70 do broker:publish("t", tostring(i), { qos = i % 2 + 1 }) end
    local list = session:all_messages()
    assert.equal(70, #list)
    for i, message in ipairs(list) do assert.same({ tostring(i), 1 }, { message.payload, message.qos }) end
    broker:connect({ id = "a", clean = true }):disconnect()
    assert.equal("1", list[1].payload)
    assert.same({ n = 2, nil, "missing session" }, table.pack(session:all_messages()))
  end)
end)

describe("luamq.create_session", function()
  it("makes one that a client resumes", function()
    local broker <close> = start()
    local session = broker:create_session "a"
    assert.same({ "a", 30 * 86400, 0 }, { session.id, session.session_expiry_interval, session.queued })
    assert.is_nil(session.client)
    session:subscribe("t", 1)
    broker:publish("t", "x", { qos = 1 })
    local a = broker:connect { id = "a", clean = false }
    assert.is_true(a.session_present)
    assert.same({ "x" }, payloads(a))
  end)

  it("makes it in setup for the client that is let in", function()
    local broker <close> = start { setup = function(_, id)
      assert(luamq.create_session(id)):subscribe("t", 1)
      return true
    end }
    assert.is_true(broker:connect({ id = "a", clean = false }).session_present)
    assert.is_false(broker:connect({ id = "b", clean = true }).session_present)
    assert.equal(0, #broker:session("b").subscriptions)
  end)

  it("ends when its time is over", function()
    local broker <close> = start()
    broker:create_session("a", 10)
    broker:advance(9.9)
    assert.is_not_nil(broker:session "a")
    broker:advance(0.2)
    assert.is_nil(broker:session "a")
    assert.equal(1, broker:stats().sessions_expired)
  end)

  it("is bounded by backend.max_sessions, and makes none twice", function()
    local broker <close> = start(nil, { backend = { max_sessions = 1 } })
    assert.is_not_nil(broker:create_session "a")
    assert.same({ n = 2, nil, "there is a session of this id" }, table.pack(broker:create_session "a"))
    assert.same({ n = 2, nil, "too many stored sessions" }, table.pack(broker:create_session "b"))
    assert.equal(1, broker:stats().sessions_refused)
  end)

  it("raises on misuse", function()
    local broker <close> = start()
    assert.matches("not a valid client id", problem(function() broker:create_session "" end), 1, true)
    assert.matches("not a valid client id", problem(function() broker:create_session "\xff" end), 1, true)
    for _, expiry in ipairs { 0, 0x100000000 } do
      assert.matches("expected 1 to 4294967295 seconds",
        problem(function() broker:create_session("a", expiry) end), 1, true)
    end
  end)
end)
