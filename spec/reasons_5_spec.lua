--- What an MQTT 5 client is told when something is refused: reason codes, reason strings, user properties.
local brokers = require "spec.support.brokers"
local packets = require "spec.support.packets"

local logged, start = brokers.logged, brokers.start

local function refuse() return false, "quota_exceeded", "only from the office" end
local told <const> = { reason_string = "only from the office" }

--- The packet that each refusal comes in, from a client that connects with these properties.
local cases = {
  authenticate = function(broker, properties)
    return packets.connect(broker, { properties = properties }).connack
  end,
  setup = function(broker, properties)
    return packets.connect(broker, { properties = properties }).connack
  end,
  publish = function(broker, properties)
    return packets.connect(broker, { properties = properties }):ask(packets.publish("t", "x", { qos = 1 }))
  end,
  subscribe = function(broker, properties)
    return packets.connect(broker, { properties = properties }):ask(packets.subscribe(1, { { "t", 1 } }))
  end,
  unsubscribe = function(broker, properties)
    return packets.connect(broker, { properties = properties }):ask(packets.unsubscribe(1, { "t" }))
  end,
  packet = function(broker, properties)
    return packets.connect(broker, { properties = properties }):ask "\xc0\0"
  end,
}
local types = { authenticate = "connack", setup = "connack", publish = "puback", subscribe = "suback",
  unsubscribe = "unsuback", packet = "disconnect" }
--- UNSUBACK has no code for a quota.
local codes = { unsubscribe = 0x80 }

for hook, run in pairs(cases) do
  describe("a refusal of " .. hook, function()
    local function answer(hook_function, properties)
      local broker <close> = start { [hook] = hook_function }
      local packet = run(broker, properties)
      assert.same({}, logged(broker))
      assert.equal(types[hook], packet.type)
      return packet
    end

    it("tells its reason and text", function()
      local packet = answer(refuse)
      assert.equal(codes[hook] or 0x97, packet.reason_code or packet.codes[1])
      assert.same(told, packet.properties)
    end)

    it("may tell user properties", function()
      local pairs_told = { { "a", "1" }, { "a", "2" } }
      local packet = answer(function()
        return false, { reason = "quota_exceeded", reason_string = "no", user_properties = pairs_told }
      end)
      assert.equal(codes[hook] or 0x97, packet.reason_code or packet.codes[1])
      assert.same({ reason_string = "no", user_properties = pairs_told }, packet.properties)
    end)

    it("tells nothing else where it gives nothing else", function()
      local packet = answer(function() return false, {} end)
      assert.equal(0x87, packet.reason_code or packet.codes[1])
      assert.same({}, packet.properties)
    end)

    it("[MQTT5-3.1.2-29] heeds a client that wants no problem information", function()
      local ends = types[hook] == "connack" or types[hook] == "disconnect"
      assert.same(ends and told or {}, answer(refuse, { request_problem_information = 0 }).properties)
    end)

    it("[MQTT5-3.2.2-19] [MQTT5-3.14.2-3] leaves out what the client has no room for", function()
      local long <const> = ("x"):rep(200)
      local function without(refusal)
        return answer(function() return false, refusal end, { maximum_packet_size = 100 }).properties
      end
      local short = { { "a", "b" } }
      assert.same({ user_properties = short }, without { reason_string = long, user_properties = short })
      assert.same({}, without { user_properties = { { "a", long } } })
      assert.same({}, without { reason_string = long, user_properties = { { "a", long } } })
    end)

    it("is wrong with a text or a table that cannot be told", function()
      for problem, values in pairs {
        ["the text of a refusal: not valid UTF-8"] = { "banned", "\xff" },
        ["the text of a refusal is a string, not a number"] = { { reason_string = 1 } },
        ["unknown reason 'baned'"] = { { reason = "baned" } },
        ["unknown field of a refusal 'text'"] = { { text = "x" } },
        ["fields of a refusal have the form name = value"] = { { "banned" } },
        ["expected a list of { name, value }, got a string"] = { { user_properties = "x" } },
      } do
        local broker <close> = start { [hook] = function() return false, table.unpack(values) end }
        local packet = run(broker)
        assert.equal(0x87, packet.reason_code or packet.codes[1])
        assert.same({}, packet.properties)
        assert.matches(problem, logged(broker)[1], 1, true)
      end
    end)

    it("is told to older versions as before", function()
      local broker <close> = start { [hook] = refuse }
      local client = broker:open()
      local connected = client:connect { version = 4 }
      if types[hook] == "connack" then assert.equal(3, connected.code) end
      if hook == "publish" then assert.same({ reason = "quota_exceeded" }, client:publish("t", "x", 1)) end
      if hook == "subscribe" then assert.equal(0x80, client:subscribe("t", 1).code) end
      client:raw()
      if hook == "unsubscribe" then
        client:unsubscribe "t"
        assert.equal("\xb0\2", client:raw():sub(1, 2))
      end
    end)
  end)
end

describe("a refused QoS 2 publish", function()
  it("[MQTT5-4.3.3-4] is told in PUBREC, and its id is free", function()
    local broker <close> = start { publish = refuse }
    local peer = packets.connect(broker)
    for _ = 1, 2 do
      local pubrec = peer:ask(packets.publish("t", "x", { qos = 2, id = 5 }))
      assert.equal("pubrec", pubrec.type)
      assert.equal(0x97, pubrec.reason_code)
      assert.same(told, pubrec.properties)
    end
  end)
end)

describe("a refused filter", function()
  it("is one of several: the text is that of the first that is refused", function()
    local broker <close> = start { subscribe = function(_, subscription)
      if subscription.topic == "good" then return true end
      return false, "not_authorized", "not " .. subscription.topic
    end }
    local peer = packets.connect(broker)
    local suback = peer:ask(packets.subscribe(1, { { "good", 1 }, { "a", 1 }, { "b", 1 } }))
    assert.same({ 1, 0x87, 0x87 }, suback.codes)
    assert.same({ reason_string = "not a" }, suback.properties)
  end)

  it("of an UNSUBSCRIBE stays subscribed", function()
    local broker <close> = start { unsubscribe = function(_, filter) return filter ~= "stays" end }
    local peer = packets.connect(broker, { id = "c" })
    peer:send(packets.subscribe(1, { { "stays", 0 }, { "goes", 0 } }))
    assert.same({ 0x87, 0 }, peer:ask(packets.unsubscribe(2, { "stays", "goes" })).codes)
    local subscriptions = broker:session "c".subscriptions
    assert.equal(1, #subscriptions)
    assert.equal("stays", subscriptions[1].topic)
    assert.same({}, logged(broker)) -- the client has been told
  end)
end)

describe("client:close", function()
  it("tells an MQTT 5 client the reason and the text", function()
    local broker <close> = start {}
    local peer = packets.connect(broker, { id = "c" })
    broker:client "c":close("use_another_server", "moved")
    local disconnect = peer:ask()
    assert.equal(0x9c, disconnect.reason_code)
    assert.same({ reason_string = "moved" }, disconnect.properties)
    assert.is_true(peer.client.closed)
    assert.equal("client closed", peer.client.close_reason)
  end)

  it("is administrative without a reason", function()
    local broker <close> = start {}
    local peer = packets.connect(broker, { id = "c" })
    broker:client "c":close()
    local disconnect = peer:ask()
    assert.equal(0x98, disconnect.reason_code)
    assert.same({}, disconnect.properties)
  end)

  it("raises what is wrong with its arguments", function()
    local broker <close> = start {}
    packets.connect(broker, { id = "c" })
    local client = broker:client "c"
    assert.matches("unknown reason 'x'", brokers.problem(function() client:close "x" end))
    assert.matches("not valid UTF%-8", brokers.problem(function() client:close("banned", "\xff") end))
    assert.is_false(client.closing)
  end)
end)

describe("a client that takes no packets as large as CONNACK", function()
  it("[MQTT5-3.1.2-24] is refused, without a word where it has no room for any", function()
    for size, answers in pairs { [5] = 1, [4] = 0 } do
      local broker <close> = start {}
      local peer = packets.open(broker)
      local list = peer:send(packets.connect_packet { properties = { maximum_packet_size = size } })
      assert.equal(answers, #list)
      if list[1] then assert.equal("connack 149", list[1].type .. " " .. list[1].reason_code) end
      assert.is_true(peer.client.closed)
      assert.equal(0, broker:stats().clients)
    end
  end)
end)
