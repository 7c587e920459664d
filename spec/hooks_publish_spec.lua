local brokers = require "spec.support.brokers"

local logged, start = brokers.logged, brokers.start

--- The payloads, QoS and retain flags of all that a client has received: { "x 1", "y 0 retained" }.
local function received(client)
  local list = {}
  for i, m in ipairs(client:receive_all()) do
    list[i] = ("%s %s %d%s"):format(m.topic, m.payload, m.qos, m.retain and " retained" or "")
  end
  return list
end

--- A broker with this publish hook, a watcher of "#" and a client "c".
local function with_publish(hook, overrides)
  local broker = start({ publish = function(client, message)
    if client.id == "watcher" then return true end
    return hook(client, message)
  end }, overrides)
  local watcher = broker:connect { id = "watcher" }
  watcher:subscribe("#", 2)
  return broker, broker:connect { id = "c" }, watcher
end

describe("publish", function()
  it("gets the client and the message as they are", function()
    local seen = {}
    local broker <close>, client, watcher = with_publish(function(c, message)
      seen[#seen + 1] = { c.id, message.topic, message.payload, message.qos, message.retain }
      return true
    end)
    client:publish("a/b", "\0\xff", 2, true)
    client:publish("e", "", 0)
    assert.same({ { "c", "a/b", "\0\xff", 2, true }, { "c", "e", "", 0, false } }, seen)
    assert.same({ "a/b \0\xff 2", "e  0" }, received(watcher))
    assert.equal(1, broker:stats().retained_messages)
  end)

  for qos = 0, 2 do
    it("acknowledges what is refused or dropped, and routes it to nobody: QoS " .. qos, function()
      for reason, hook in pairs {
        success = function() return "drop" end,
        quota_exceeded = function() return false, "quota_exceeded" end,
        not_authorized = function() return nil end,
        implementation_specific_error = function() error "oh" end,
      } do
        local broker <close>, client, watcher = with_publish(hook)
        assert.equal(reason, client:publish("t", "x", qos, true).reason)
        assert.is_false(client.closed)
        assert.same({}, received(watcher))
        assert.same({}, broker:retained "#")
        local stats = broker:stats()
        assert.equal(reason == "success" and 0 or 1, stats.messages_refused)
        assert.equal(0, stats.messages_published)
      end
    end)

    it("ends the connection on a refusal where that is set, without an ack: QoS " .. qos, function()
      local terminated
      local broker <close> = start({
        publish = function(_, message)
          if message.topic == "drop" then return "drop" end
          return false, "quota_exceeded"
        end,
        terminate = function(_, err) terminated = err end,
      }, { backend = { refused_publish = "disconnect" }, log = { level = "info" } })
      local client = broker:connect { id = "c" }
      assert.equal("success", client:publish("drop", "", qos).reason)
      logged(broker)
      client:raw()
      assert.same({ reason = "quota_exceeded" }, client:publish("t", "x", qos))
      assert.is_true(client.closed)
      assert.equal("", client:raw())
      assert.equal("quota_exceeded", client.close_reason)
      assert.equal("quota_exceeded", terminated)
      assert.same({
        ("info publish refused id=c remote=memory topic=t qos=%d retain=false reason=quota_exceeded "
          .. "by=hook hook=publish place=spec/hooks_publish_spec.lua:61"):format(qos),
        "info client closed id=c remote=memory reason=quota_exceeded",
      }, logged(broker))
      assert.equal(1, broker:stats().messages_refused)
    end)
  end

  it("is asked once for QoS 2: before PUBREC, and not for a duplicate [MQTT-4.3.3-2]", function()
    local calls = 0
    local broker <close> = start { publish = function() calls = calls + 1 return true end }
    local watcher, client = broker:connect { id = "w" }, broker:open()
    watcher:subscribe("t", 2)
    client:send_raw "\x10\x0d\0\4MQTT\4\2\0\0\0\1a"
    client:raw()
    client:send_raw "\x34\6\0\1t\0\7x"
    assert.equal("\x50\2\0\7", client:raw()) -- PUBREC
    assert.equal(1, calls)
    assert.is_nil(watcher:receive()) -- not before PUBREL
    client:send_raw "\x3c\6\0\1t\0\7x" -- with DUP
    client:send_raw "\x34\6\0\1t\0\7x" -- and without
    assert.equal("\x50\2\0\7\x50\2\0\7", client:raw())
    assert.equal(1, calls)
    client:send_raw "\x62\2\0\7\x62\2\0\7"
    assert.equal("\x70\2\0\7\x70\2\0\7", client:raw()) -- PUBCOMP
    assert.equal("x", watcher:receive().payload)
    assert.is_nil(watcher:receive())
    assert.equal(1, calls)
    client:send_raw "\x34\6\0\1t\0\7y" -- the id is free again
    assert.equal(2, calls)
  end)

  it("keeps its QoS 2 decision when the client comes back before PUBREL", function()
    local calls, verdict = 0, "drop"
    local broker <close> = start { publish = function() calls = calls + 1 return verdict end }
    local watcher = broker:connect { id = "w" }
    watcher:subscribe("t", 0)
    local connect = "\x10\x0d\0\4MQTT\4\0\0\0\0\1a"
    local client = broker:open()
    client:send_raw(connect .. "\x34\6\0\1t\0\7x")
    client:drop()
    verdict = true
    client = broker:open()
    client:send_raw(connect .. "\x3c\6\0\1t\0\7x\x62\2\0\7")
    assert.equal("\x20\2\1\0\x50\2\0\7\x70\2\0\7", client:raw())
    assert.is_nil(watcher:receive())
    assert.equal(1, calls)
  end)

  it("sees retained messages, and decides whether they are kept", function()
    local broker <close>, client = with_publish(function(_, message)
      if message.topic == "plain" then return { retain = false } end
      if message.topic == "keep" then return { retain = true } end
      return message.topic ~= "no" and true or "drop"
    end)
    client:publish("plain", "x", 0, true)
    client:publish("keep", "x", 0, false)
    client:publish("no", "x", 0, true)
    client:publish("yes", "x", 1, true)
    local kept = {}
    for _, m in ipairs(broker:retained "#") do kept[m.topic] = m.qos end
    assert.same({ keep = 0, yes = 1 }, kept)
    client:publish("yes", "", 0, true) -- deletes
    assert.equal(1, #broker:retained "#")
  end)

  describe("of a will", function()
    local will = { topic = "will", payload = "gone", qos = 1, retain = true }
    local function leave(hook)
      local seen
      local broker, _, watcher = with_publish(function(client, message)
        seen = { client.id, client.ref, client.closing, client.closed, message.topic, message.payload,
          message.qos, message.retain }
        return hook(client, message)
      end)
      local client = broker:connect { id = "a", will = will }
      broker:client("a").ref = "kept"
      client:drop()
      return broker, watcher, seen
    end

    it("is asked like for any publish, when the client goes", function()
      local broker <close>, watcher, seen = leave(function() return true end)
      assert.same({ "a", "kept", true, false, "will", "gone", 1, true }, seen)
      assert.same({ "will gone 1" }, received(watcher))
      assert.equal(1, #broker:retained "will")
    end)

    it("may refuse, drop or change it", function()
      for name, case in pairs {
        refused = { hook = function() return false, "banned" end, refused = 1 },
        dropped = { hook = function() return "drop" end, refused = 0 },
        failed = { hook = function() error "oh" end, refused = 1, logged = 1 },
        changed = { hook = function() return { payload = "new", retain = false } end, refused = 0,
          got = { "will new 1" } },
      } do
        local broker <close>, watcher = leave(case.hook)
        assert.same(case.got or {}, received(watcher), name)
        assert.same({}, broker:retained "will", name)
        assert.equal(case.refused, broker:stats().messages_refused, name)
        assert.equal(case.logged or 0, #logged(broker), name)
      end
    end)

    it("is not asked after a DISCONNECT", function()
      local calls = 0
      local broker <close> = start { publish = function() calls = calls + 1 return true end }
      broker:connect({ id = "a", will = will }):disconnect()
      assert.equal(0, calls)
    end)
  end)

  it("cannot let clients write to $SYS, also not by a change", function()
    local asked = {}
    local broker <close>, client = with_publish(function(_, message)
      asked[#asked + 1] = message.topic
      return message.topic == "change" and { topic = "$SYS/x" } or true
    end)
    local watcher = broker:connect { id = "watcher 2" }
    watcher:subscribe("$SYS/#", 0)
    assert.same({ reason = "not_authorized" }, client:publish("$SYS/x", "", 1, true))
    assert.same({ reason = "not_authorized" }, client:publish("change", "", 1, true))
    assert.equal("success", client:publish("$other/x", "", 1).reason)
    assert.same({ "change", "$other/x" }, asked)
    assert.is_nil(watcher:receive())
    assert.same({}, broker:retained "$SYS/#")
    assert.same({}, logged(broker))
  end)

  it("may answer with what the backend does itself: deliver to one session, and drop", function()
    local luamq = require "luamq"
    local broker <close>, client, watcher = with_publish(function(_, message)
      assert(luamq.session("one"):deliver("to/one", message.payload, { qos = 1 }))
      return "drop"
    end)
    local one = broker:connect { id = "one" }
    client:publish("t", "x", 2)
    assert.same({ "to/one x 1" }, received(one))
    assert.same({}, received(watcher))
  end)
end)

describe("a change of a message", function()
  --- Fields that both hooks take, and what becomes of "t x" with QoS 1.
  local changes = {
    [{}] = "t x 1",
    [{ topic = "other/topic" }] = "other/topic x 1",
    [{ payload = "" }] = "t  1",
    [{ payload = "\0\xff" }] = "t \0\xff 1",
    [{ qos = 0 }] = "t x 0",
    [{ qos = 1 }] = "t x 1",
    [{ topic = "a", payload = "b", qos = 0, retain = false }] = "a b 0",
    [{ topic = ("x"):rep(4096) }] = ("x"):rep(4096) .. " x 1",
    [{ content_type = "text/plain", response_topic = "r", correlation_data = "\xff", -- of MQTT 5
      payload_format_indicator = 1, message_expiry_interval = 60,
      user_properties = { { "a", "b" }, { "a", "b" } }, add_user_properties = { { "", "" } } }] = "t x 1",
  }

  for change, got in pairs(changes) do
    local fields = {}
    for name in pairs(change) do fields[#fields + 1] = name end
    table.sort(fields)
    it("by publish and dequeue: " .. table.concat(fields, ", "), function()
      local broker <close>, client, watcher = with_publish(function() return change end)
      assert.same({ reason = "success" }, client:publish("t", "x", 1))
      assert.same({ got }, received(watcher))
      local other <close> = start { dequeue = function() return change end }
      local reader = other:connect()
      reader:subscribe("t", 2)
      other:publish("t", "x", { qos = 1 })
      assert.same({ got }, received(reader))
      assert.same({}, logged(broker))
      assert.same({}, logged(other))
    end)
  end

  it("of the QoS may raise it in publish, and only lower it in dequeue", function()
    local _ <close>, client, watcher = with_publish(function() return { qos = 2 } end)
    for qos = 0, 2 do client:publish("t", "x", qos) end
    assert.same({ "t x 2", "t x 2", "t x 2" }, received(watcher))
    local other <close> = start { dequeue = function() return { qos = 2 } end }
    local reader = other:connect()
    reader:subscribe("t", 2)
    for qos = 0, 2 do other:publish("t", "x", { qos = qos }) end
    assert.same({ "t x 0", "t x 1", "t x 2" }, received(reader))
  end)

  it("of the topic decides who gets it", function()
    local _ <close>, client, watcher = with_publish(function(c, message)
      return { topic = "tenants/" .. c.id .. "/" .. message.topic }
    end)
    client:publish("t", "x", 2)
    assert.same({ "tenants/c/t x 2" }, received(watcher))
  end)

  it("of a QoS 2 message to a lower QoS still ends in PUBCOMP", function()
    local _ <close>, client, watcher = with_publish(function() return { qos = 0 } end)
    assert.same({ reason = "success" }, client:publish("t", "x", 2))
    assert.same({ "t x 0" }, received(watcher))
  end)

  --- Wrong changes, and what the log tells of them.
  local wrong = {
    { { topic = "" }, "the topic is not valid for a publish" },
    { { topic = "a/+" }, "the topic is not valid for a publish" },
    { { topic = "#" }, "the topic is not valid for a publish" },
    { { topic = "a\0b" }, "the topic is not valid" },
    { { topic = "\xff" }, "the topic is not valid UTF-8" },
    { { topic = "\xed\xa0\x80" }, "the topic is not valid UTF-8" },
    { { topic = ("x"):rep(65536) }, "the topic is not valid" },
    { { topic = 1 }, "topic: expected a string, got a number" },
    { { topic = false }, "topic: expected a string, got a boolean" },
    { { payload = 1 }, "payload: expected a string, got a number" },
    { { payload = {} }, "payload: expected a string, got a table" },
    { { qos = 3 }, "qos: a QoS is 0, 1 or 2" },
    { { qos = -1 }, "qos: a QoS is 0, 1 or 2" },
    { { qos = 0.5 }, "qos: a QoS is 0, 1 or 2" },
    { { qos = "1" }, "qos: a QoS is 0, 1 or 2" },
    { { qos = true }, "qos: a QoS is 0, 1 or 2" },
    { { retain = 1 }, "retain: expected true or false, got a number" },
    { { retain = "true" }, "retain: expected true or false, got a string" },
    { { topci = "t" }, "unknown field of a message 'topci'" },
    { { dup = true }, "unknown field of a message 'dup'" },
    { { "t" }, "fields of a message have the form name = value" },
    { { [true] = 1 }, "fields of a message have the form name = value" },
    { { content_type = "\xff" }, "content_type: not valid UTF-8" },
    { { content_type = 1 }, "content_type: expected a string, got a number" },
    { { response_topic = "a/#" }, "response_topic: not valid for a publish" },
    { { correlation_data = ("x"):rep(65536) }, "correlation_data: longer than 65535 bytes" },
    { { payload_format_indicator = 2 }, "payload_format_indicator: expected an integer between 0 and 1" },
    { { message_expiry_interval = -1 },
      "message_expiry_interval: expected an integer between 0 and 4294967295" },
    { { message_expiry_interval = 1.5 }, "message_expiry_interval: expected an integer" },
    { { user_properties = "a" }, "user_properties: expected a list of { name, value }, got a string" },
    { { user_properties = { from = "c" } }, "user_properties: expected a list of { name, value }" },
    { { user_properties = { "a", "b" } }, "user_properties: expected a pair { name, value }, got a string" },
    { { add_user_properties = { { "a" } } }, "add_user_properties: expected pairs { name, value }" },
    { { add_user_properties = { { "a", 1 } } }, "add_user_properties: expected a string, got a number" },
    { { add_user_properties = { { "a", "b", "c" } } }, "add_user_properties: expected pairs" },
    { { add_user_properties = { { "a", "\xff" } } }, "add_user_properties: not valid UTF-8" },
  }

  for _, row in ipairs(wrong) do
    local change, problem = row[1], row[2]
    it("denies when it is wrong: " .. problem, function()
      local _ <close>, client, watcher = with_publish(function() return change end)
      assert.same({ reason = "not_authorized", error = "hook gave a wrong answer" },
        client:publish("t", "x", 1, true))
      assert.same({}, received(watcher))
      local other <close> = start { dequeue = function() return change end }
      local reader = other:connect { id = "r" }
      reader:subscribe("t", 2)
      other:publish("t", "x", { qos = 1 })
      assert.same({}, received(reader))
      local lines = logged(other)
      assert.equal(1, #lines)
      assert.matches("hook dequeue gave a wrong answer: " .. problem, lines[1], 1, true)
    end)
  end

  it("is not taken from a table that runs code", function()
    local _ <close>, client, watcher = with_publish(function()
      return setmetatable({}, { __index = function() error "not asked" end })
    end)
    assert.same({ reason = "success" }, client:publish("t", "x", 1))
    assert.same({ "t x 1" }, received(watcher))
  end)
end)

describe("dequeue", function()
  it("is asked once a delivery, with what would be delivered", function()
    local seen = {}
    local broker <close> = start { dequeue = function(client, message)
      seen[#seen + 1] = { client.id, message.topic, message.payload, message.qos, message.retain }
      return client.id ~= "b"
    end }
    broker:publish("t", "kept", { retain = true })
    local a, b = broker:connect { id = "a" }, broker:connect { id = "b" }
    a:subscribe("t", 1)
    b:subscribe("t", 0)
    broker:publish("t", "x", { qos = 2 })
    broker:session("a"):deliver("direct", "y", { qos = 2 })
    assert.same({ "t kept 0 retained", "t x 1", "direct y 2" }, received(a))
    assert.same({}, received(b))
    table.sort(seen, function(x, y) return x[1] .. x[3] < y[1] .. y[3] end)
    assert.same({
      { "a", "t", "kept", 0, true }, { "a", "t", "x", 1, false }, { "a", "direct", "y", 2, false },
      { "b", "t", "kept", 0, true }, { "b", "t", "x", 0, false },
    }, seen)
    assert.equal(2, broker:stats().messages_dropped_hook)
    assert.equal(2, broker:session("b").dropped)
    assert.equal(0, broker:session("b").queued)
  end)

  it("does not see what is sent again after a reconnect", function()
    local calls = 0
    local broker <close> = start { dequeue = function() calls = calls + 1 return { payload = "changed" } end }
    local connect, client = "\x10\x0d\0\4MQTT\4\0\0\0\0\1a", broker:open()
    client:send_raw(connect .. "\x82\6\0\1\0\1t\1")
    client:raw()
    broker:publish("t", "x", { qos = 1 })
    assert.equal("\x32\x0c\0\1t\0\1changed", client:raw())
    client:drop()
    client = broker:open()
    client:send_raw(connect)
    assert.equal("\x20\2\1\0\x3a\x0c\0\1t\0\1changed", client:raw())
    assert.equal(1, calls)
  end)

  it("may set the retain flag of a delivery", function()
    local broker <close> = start { dequeue = function() return { retain = true } end }
    local client = broker:connect()
    client:subscribe("t", 0)
    broker:publish("t", "x")
    assert.same({ "t x 0 retained" }, received(client))
    assert.same({}, broker:retained "#")
  end)
end)
