--- What client, packet, subscription and session objects show of MQTT 5.
local brokers = require "spec.support.brokers"
local packets = require "spec.support.packets"

local start = brokers.start

--- A broker whose hook `name` keeps what `read` takes from its arguments.
local function seeing(name, read)
  local seen = {}
  local broker = start { [name] = function(...)
    seen[#seen + 1] = read(...)
    return true
  end }
  return broker, seen
end

describe("a client of MQTT 5", function()
  local names = { "version", "session_expiry_interval", "receive_maximum", "maximum_packet_size",
    "topic_alias_maximum", "user_properties", "authentication_method" }
  local function read(client)
    local fields = {}
    for _, name in ipairs(names) do fields[name] = client[name] end
    return fields
  end

  it("shows what its CONNECT told", function()
    local broker <close>, seen = seeing("authenticate", read)
    local told = { session_expiry_interval = 4294967295, receive_maximum = 5, maximum_packet_size = 1000,
      topic_alias_maximum = 200, user_properties = { { "a", "b" }, { "a", "b" } } }
    packets.connect(broker, { id = "c", properties = told })
    told.version = 5
    assert.same(told, seen[1])
    told.session_expiry_interval = 2592000 -- what backend.max_session_expiry made of it
    assert.same(told, read(broker:client "c"))
    assert.equal(2592000, broker:session "c".session_expiry_interval)
  end)

  it("has defaults where it told nothing, and in older versions nothing", function()
    local broker <close>, seen = seeing("authenticate", read)
    packets.connect(broker)
    broker:connect { version = 4 }
    assert.same({
      { version = 5, session_expiry_interval = 0, receive_maximum = 65535, topic_alias_maximum = 0 },
      { version = 4 },
    }, seen)
  end)

  it("is nil in all of these when it is gone", function()
    local kept
    local broker <close> = start { authenticate = function(client) kept = client return true end }
    local told = { receive_maximum = 5, user_properties = { { "a", "b" } } }
    local peer = packets.connect(broker, { properties = told })
    peer:send(packets.disconnect())
    assert.is_true(kept.closed)
    assert.same({}, read(kept))
  end)

  it("has a will with its properties", function()
    local broker <close>, seen = seeing("setup", function(client) return client.will end)
    local properties = { will_delay_interval = 5, message_expiry_interval = 9, content_type = "c",
      user_properties = { { "a", "b" } }, correlation_data = "d", response_topic = "r",
      payload_format_indicator = 1 }
    packets.connect(broker, { will = { topic = "w", payload = "gone", qos = 1, properties = properties } })
    collectgarbage()
    local will = seen[1]
    assert.equal("w gone 1", ("%s %s %d"):format(will.topic, will.payload, will.qos))
    for name, value in pairs(properties) do assert.same(value, will[name]) end
  end)
end)

describe("a packet of MQTT 5", function()
  --- What the log hook sees of packets: a list a type.
  local function logging(names)
    local seen = {}
    local broker = start { log = function(event, _, packet)
      if not packet or not event:find "^packet" then return end
      local fields = {}
      for _, name in ipairs(names) do fields[name] = packet[name] end
      seen[packet.type] = fields
    end }
    return broker, seen
  end

  it("shows the properties of CONNECT and CONNACK", function()
    local broker <close>, seen = logging { "session_expiry_interval", "receive_maximum",
      "maximum_packet_size", "topic_alias_maximum", "user_properties", "request_problem_information",
      "request_response_information",
      "assigned_client_identifier", "server_keep_alive", "reason", "reason_code", "version", "content_type" }
    local told = { session_expiry_interval = 1, receive_maximum = 2, maximum_packet_size = 300,
      topic_alias_maximum = 4, user_properties = { { "a", "b" } }, request_problem_information = 0,
      request_response_information = 1 }
    packets.connect(broker, { keep_alive = 1000, properties = told })
    told.version = 5
    assert.same(told, seen.connect)
    local connack = seen.connack
    assert.equal("success 0", connack.reason .. " " .. connack.reason_code)
    assert.equal(300, connack.server_keep_alive)
    assert.matches("^auto%-", connack.assigned_client_identifier)
  end)

  it("shows reasons and what goes with them", function()
    local broker <close>, seen = logging { "reason", "reason_code", "reasons", "return_codes",
      "reason_string", "user_properties", "session_expiry_interval", "subscription_identifier",
      "topic_alias" }
    local peer = packets.connect(broker)
    peer:send(packets.subscribe(1, { { "a", 1 }, { "b", 0 } }, { subscription_identifiers = { 77 } }))
    peer:send(packets.unsubscribe(2, { "a", "x" }, { user_properties = { { "u", "v" } } }))
    peer:send(packets.publish("nobody", "", { qos = 1, properties = { topic_alias = 3 } }))
    peer:send(packets.disconnect(4, { reason_string = "bye", session_expiry_interval = 0 }))
    assert.same({ subscription_identifier = 77 }, seen.subscribe)
    assert.same({ return_codes = { 1, 0 }, reasons = { "granted_qos_1", "granted_qos_0" } }, seen.suback)
    assert.same({ user_properties = { { "u", "v" } } }, seen.unsubscribe)
    assert.same({ return_codes = { 0, 17 }, reasons = { "success", "no_subscription_existed" } },
      seen.unsuback)
    assert.same({ topic_alias = 3 }, seen.publish)
    assert.same({ reason_code = 16, reason = "no_matching_subscribers" }, seen.puback)
    assert.same({ reason_code = 4, reason = "disconnect_with_will_message", reason_string = "bye",
      session_expiry_interval = 0 }, seen.disconnect)
  end)

  it("shows no reasons in older versions", function()
    local broker <close>, seen = logging { "reason", "reason_code", "reasons", "user_properties" }
    local client = broker:connect { version = 4 }
    client:publish("t", "x", 1)
    client:unsubscribe "t"
    client:disconnect()
    for _, type in ipairs { "connect", "connack", "publish", "puback", "unsuback", "disconnect" } do
      assert.same({}, seen[type], type)
    end
  end)

  it("never shows authentication data", function()
    local data = {}
    local broker <close> = start {
      auth = function() return "continue", "question" end,
      log = function(_, _, packet)
        if packet then data[#data + 1] = packet.authentication_data or tostring(packet) end
      end,
    }
    packets.connect(broker, { properties = { authentication_method = "M", authentication_data = "secret" } })
    assert.equal(2, #data)
    local text = table.concat(data)
    assert.matches('AuthenticationMethod="M", AuthenticationData=%*%*%*', text)
    assert.is_nil(text:find "secret" or text:find "736563726574" or text:find "question")
  end)
end)

describe("a subscription of MQTT 5", function()
  local names = { "topic", "qos", "share", "no_local", "retain_as_published", "retain_handling",
    "identifier" }
  local function read(_, subscription)
    local fields = {}
    for _, name in ipairs(names) do fields[name] = subscription[name] end
    return fields
  end

  it("shows its options and its identifier", function()
    local broker <close>, seen = seeing("subscribe", read)
    local peer = packets.connect(broker, { id = "c" })
    peer:send(packets.subscribe(1, { { "a", 0x2d } }, { subscription_identifiers = { 9 } }))
    peer:send(packets.subscribe(2, { { "b", 0 } }))
    assert.same({
      { topic = "a", qos = 1, no_local = true, retain_as_published = true, retain_handling = 2,
        identifier = 9 },
      { topic = "b", qos = 0, no_local = false, retain_as_published = false, retain_handling = 0 },
    }, seen)
    assert.same({
      { topic = "a", qos = 1, no_local = true, retain_as_published = true, identifier = 9 },
      { topic = "b", qos = 0, no_local = false, retain_as_published = false },
    }, broker:session "c".subscriptions)
  end)

  it("has none of them in older versions", function()
    local broker <close>, seen = seeing("subscribe", read)
    local client = broker:connect { id = "c", version = 4 }
    client:subscribe("a", 1)
    assert.same({ { topic = "a", qos = 1 } }, seen)
    assert.same({ { topic = "a", qos = 1 } }, broker:session "c".subscriptions)
  end)

  it("shows the name of a shared one apart from its filter, in all versions", function()
    local seen, ended, changed = {}, {}, nil
    local broker <close> = start {
      subscribe = function(client, subscription)
        seen[#seen + 1] = read(client, subscription)
        return changed and { topic = changed } or true
      end,
      unsubscribe = function(_, filter, share)
        ended[#ended + 1] = filter .. " " .. tostring(share)
        return true
      end,
    }
    local peer = packets.connect(broker, { id = "c" })
    peer:send(packets.subscribe(1, { { "$share/group/a/+", 1 } }, { subscription_identifiers = { 4 } }))
    local expected = { topic = "a/+", share = "group", qos = 1, no_local = false, retain_as_published = false,
      retain_handling = 0, identifier = 4 }
    assert.same(expected, seen[1])
    expected.retain_handling = nil
    assert.same({ expected }, broker:session "c".subscriptions)
    peer:send(packets.unsubscribe(2, { "$share/group/a/+", "b" }))
    assert.same({ "a/+ group", "b nil" }, ended)
    changed = "tenant/a"
    local old = broker:connect { id = "old", version = 4 }
    old:subscribe("$share/group/a", 0)
    assert.same({ topic = "a", share = "group", qos = 0 }, seen[2])
    assert.same({ { topic = "tenant/a", share = "group", qos = 0 } }, broker:session "old".subscriptions)
  end)

  it("shows in a packet what was sent", function()
    local broker <close>, seen = seeing("packet", function(_, packet) return packet.subscriptions end)
    packets.connect(broker):send(packets.subscribe(1, { { "a", 0x16 } }))
    broker:connect({ version = 4 }):subscribe("a", 1)
    assert.same({
      { { topic = "a", qos = 2, no_local = true, retain_as_published = false, retain_handling = 1 } },
      { { topic = "a", qos = 1 } },
    }, seen)
  end)
end)
