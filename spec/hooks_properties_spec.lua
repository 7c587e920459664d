--- What hooks see and change of MQTT 5, through raw packets of luamq.test.
local brokers = require "spec.support.brokers"
local packets = require "spec.support.packets"

local logged, start = brokers.logged, brokers.start
local all_properties <const> = {
  payload_format_indicator = 1, message_expiry_interval = 60, content_type = "text/plain",
  response_topic = "answers/c", correlation_data = "\0\xff",
  user_properties = { { "a", "1" }, { "b", "" }, { "a", "1" } },
}

--- All fields of a message object that a spec compares.
local function fields_of(message)
  local fields = {}
  for name in pairs(all_properties) do fields[name] = message[name] end
  fields.subscription_identifiers = message.subscription_identifiers
  return fields
end

--- The PUBLISH packets that a subscriber gets.
local function publishes(peer)
  local list = {}
  for _, packet in ipairs(peer:send()) do
    if packet.type == "publish" then list[#list + 1] = packet end
  end
  return list
end

local function subscriber(broker, filter, properties)
  local peer = packets.connect(broker, { id = "reader", keep_alive = 300 })
  assert.same({ 1 }, peer:ask(packets.subscribe(1, { { filter or "#", 1 } }, properties)).codes)
  return peer
end

describe("a message of MQTT 5", function()
  it("shows its properties to publish, dequeue and luamq.retained", function()
    local seen = {}
    local broker <close> = start {
      publish = function(_, message) seen.publish = fields_of(message) return true end,
      dequeue = function(_, message) seen.dequeue = fields_of(message) return true end,
    }
    local reader = subscriber(broker, "t", { subscription_identifiers = { 300 } })
    local writer = packets.connect(broker)
    writer:send(packets.publish("t", "x", { qos = 1, retain = true, properties = all_properties }))
    assert.same(all_properties, seen.publish)
    local with_id = { subscription_identifiers = { 300 } }
    for name, value in pairs(all_properties) do with_id[name] = value end
    assert.same(with_id, seen.dequeue)
    assert.same(with_id, publishes(reader)[1].properties)
    assert.same(all_properties, fields_of(broker:retained "t"[1]))
  end)

  it("has none of those that are absent, and in older versions none at all", function()
    local seen = {}
    local broker <close> = start {
      publish = function(_, message) seen[#seen + 1] = fields_of(message) return true end,
    }
    packets.connect(broker):send(packets.publish("t", "x"))
    broker:connect { version = 4 }:publish("t", "x")
    assert.same({ {}, {} }, seen)
  end)

  it("[MQTT5-3.3.2-6] tells what is left of its expiry", function()
    local left
    local broker <close> = start {
      dequeue = function(_, message) left = message.message_expiry_interval return true end,
    }
    local peer = packets.connect(broker, { id = "r", properties = { session_expiry_interval = 600 } })
    peer:send(packets.subscribe(1, { { "t", 1 } }))
    peer:send(packets.disconnect())
    packets.connect(broker):send(packets.publish("t", "x", { properties = all_properties, qos = 1 }))
    broker:advance(25)
    peer = packets.connect(broker, { id = "r", clean = false })
    assert.equal(35, left)
    assert.is_true(peer.connack.session_present)
  end)

  it("is in the session's packets in flight, with what is left of its time", function()
    local broker <close> = start {}
    subscriber(broker, "t")
    packets.connect(broker):send(packets.publish("t", "x", { qos = 1, properties = all_properties }))
    broker:advance(10)
    local session = broker:session "reader"
    local stored = session:all_packets "outgoing"[1]
    local expected = fields_of(all_properties)
    expected.message_expiry_interval = 50
    assert.same(expected, fields_of(stored.message))
    assert.is_true(session:save_packet("incoming", { type = "publish", id = 9, message = stored.message }))
    assert.same(expected, fields_of(session:lookup_packet("incoming", 9).message))
    broker:advance(100)
    assert.equal(0, session:lookup_packet("outgoing", stored.id).message.message_expiry_interval)
  end)
end)

describe("a change of properties", function()
  --- What `change` makes of a message with all properties, by publish and by dequeue.
  local function changed(change)
    local results = {}
    for _, hook in ipairs { "publish", "dequeue" } do
      local broker <close> = start { [hook] = function() return change end }
      local reader = subscriber(broker, "t", { subscription_identifiers = { 7 } })
      packets.connect(broker):send(packets.publish("t", "x", { qos = 1, properties = all_properties }))
      assert.same({}, logged(broker))
      local packet = publishes(reader)[1]
      assert.same({ 7 }, packet.properties.subscription_identifiers)
      packet.properties.subscription_identifiers = nil
      results[#results + 1] = packet.properties
    end
    assert.same(results[1], results[2])
    return results[1]
  end

  local function with(changes)
    local expected = {}
    for name, value in pairs(all_properties) do
      if changes[name] == nil then expected[name] = value end
    end
    for name, value in pairs(changes) do expected[name] = value or nil end
    return expected
  end

  it("leaves those that are not named", function()
    assert.same(all_properties, changed { payload = "y" })
    assert.same(all_properties, changed {})
  end)

  for name, value in pairs {
    payload_format_indicator = 0, message_expiry_interval = 5, content_type = "", response_topic = "r",
    correlation_data = "", user_properties = { { "x", "y" } },
  } do
    it("sets " .. name, function() assert.same(with { [name] = value }, changed { [name] = value }) end)
    it("takes away " .. name, function() assert.same(with { [name] = false }, changed { [name] = false }) end)
  end

  it("empties user properties by an empty list", function()
    assert.same(with { user_properties = false }, changed { user_properties = {} })
  end)

  it("appends user properties, also to those that it replaces", function()
    local pairs_of = all_properties.user_properties
    local longer = { pairs_of[1], pairs_of[2], pairs_of[3], { "z", "9" }, { "z", "9" } }
    assert.same(with { user_properties = longer },
      changed { add_user_properties = { { "z", "9" }, { "z", "9" } } })
    assert.same(with { user_properties = { { "x", "y" }, { "z", "9" } } },
      changed { add_user_properties = { { "z", "9" } }, user_properties = { { "x", "y" } } })
    assert.same(with { user_properties = { { "z", "9" } } },
      changed { add_user_properties = { { "z", "9" } }, user_properties = false })
  end)

  it("gives properties to a message of MQTT 3.1.1, and its subscribers none", function()
    local change = { content_type = "a", user_properties = { { "b", "c" } } }
    local broker <close> = start { publish = function() return change end }
    local reader = subscriber(broker, "t")
    local old = broker:connect { id = "old", version = 4 }
    old:subscribe("t", 0)
    assert.same({ reason = "success" }, old:publish("t", "x", 1))
    assert.same(change, publishes(reader)[1].properties)
    assert.equal("x", old:receive().payload)
  end)

  it("of the expiry counts from the decision", function()
    local broker <close> = start { publish = function() return { message_expiry_interval = 20 } end }
    local reader = subscriber(broker, "t")
    reader.client:set_window(0)
    packets.connect(broker):send(packets.publish("t", "x", { qos = 1, retain = true }))
    broker:advance(8)
    assert.equal(12, broker:retained "t"[1].message_expiry_interval)
  end)

  local wrong = {
    { { content_type = true }, "content_type: expected a string, got a boolean" },
    { { add_user_properties = false }, "add_user_properties: expected a list of { name, value }" },
    { { topic = false }, "topic: expected a string, got a boolean" },
    { { subscription_identifiers = { 1 } }, "unknown field of a message 'subscription_identifiers'" },
    { { will_delay_interval = 1 }, "unknown field of a message 'will_delay_interval'" },
  }
  for _, row in ipairs(wrong) do
    it("denies when it is wrong: " .. row[2], function()
      local broker <close> = start { publish = function() return row[1] end }
      local reader = subscriber(broker, "#")
      local puback = packets.connect(broker):ask(packets.publish("t", "x", { qos = 1 }))
      assert.equal(0x87, puback.reason_code)
      assert.same({}, puback.properties) -- what went wrong is the script's own affair
      assert.same({}, publishes(reader))
      assert.matches(row[2], logged(broker)[1], 1, true)
    end)
  end
end)

describe("luamq.publish and session:deliver", function()
  it("take the properties of a message as options", function()
    local broker <close> = start {}
    local reader = subscriber(broker, "t")
    broker:publish("t", "1", all_properties)
    broker:session "reader":deliver("t", "2", all_properties)
    broker:run()
    local got = publishes(reader)
    assert.same(all_properties, got[1].properties)
    assert.same(all_properties, got[2].properties)
  end)

  it("raise what is wrong with them", function()
    local broker <close> = start {}
    packets.connect(broker, { id = "c" })
    for _, row in ipairs {
      { { response_topic = "+" }, "response_topic: not valid for a publish" },
      { { user_properties = { "a" } }, "user_properties: expected a pair { name, value }, got a string" },
      { { add_user_properties = {} }, "unknown field of a message 'add_user_properties'" },
      { { topic = "t" }, "unknown field of a message 'topic'" },
    } do
      for _, call in ipairs {
        function() broker:publish("t", "", row[1]) end,
        function() broker:session "c":deliver("t", "", row[1]) end,
      } do
        assert.matches(row[2], brokers.problem(call), 1, true)
      end
    end
  end)
end)
