local test = require "luamq.test"

local quiet <const> = { level = "off" }

local function start(hooks, overrides) return test.broker({ hooks = hooks, log = quiet }, overrides) end

describe("luamq.test with MQTT 5", function()
  it("speaks it unless the broker or the client is told otherwise", function()
    local broker <close> = start()
    local function version(options)
      local c <close> = assert(broker:connect(options))
      return c.core:version()
    end
    assert.equal(5, version())
    assert.equal(4, version { version = "3.1.1" })
    broker.version = "3.1"
    assert.equal(3, version { id = "c" })
    assert.equal(5, version { version = "5" })
  end)

  it("tells what CONNACK says", function()
    local broker <close> = start(nil, { backend = { maximum_keep_alive = 30, parallel_publishes = 7 } })
    local c = assert(broker:connect())
    assert.not_equal("", c.id)
    assert.same({ c.id, 30, 7, "success" }, {
      c.connack.assigned_client_identifier, c.connack.server_keep_alive, c.connack.receive_maximum,
      c.connack.reason })
    broker:advance(100) -- its pings keep to the server's keep alive
    assert.is_false(c.closed)
    local older = assert(broker:connect { version = "3.1.1" })
    assert.is_nil(older.connack)
  end)

  it("carries properties", function()
    local broker <close> = start()
    local c = assert(broker:connect())
    assert.same({ reason = "success", qos = 2, code = 2 },
      c:subscribe("a", { qos = 2, subscription_identifier = 9 }))
    local properties = {
      content_type = "text/plain", response_topic = "r", correlation_data = "\0\1",
      user_properties = { { "a", "1" }, { "a", "2" } }, payload_format_indicator = 1,
      message_expiry_interval = 60,
    }
    for qos = 0, 2 do
      local options = { qos = qos }
      for name, value in pairs(properties) do options[name] = value end
      assert.same({ reason = "success" }, c:publish("a", "x", options))
      local message = assert(c:receive())
      for name, value in pairs(properties) do assert.same(value, message[name], name) end
      assert.same({ 9 }, message.subscription_identifiers)
    end
  end)

  it("lets messages expire when time passes", function()
    local broker <close> = start()
    local c = assert(broker:connect { id = "c", session_expiry_interval = 1000 })
    c:subscribe("a", 1)
    c:disconnect()
    local sender = assert(broker:connect())
    sender:publish("a", "short", { qos = 1, message_expiry_interval = 10 })
    sender:publish("a", "long", { qos = 1, message_expiry_interval = 100 })
    broker:advance(60)
    local again = assert(broker:connect { id = "c", clean_start = false })
    assert.is_true(again.session_present)
    local message = assert(again:receive())
    assert.same({ "long", 40 }, { message.payload, message.message_expiry_interval })
    assert.is_nil(again:receive())
  end)

  it("keeps a session as long as it was asked for", function()
    local broker <close> = start()
    for _, case in ipairs {
      { 59, true, { session_expiry_interval = 60 } }, { 61, false, { session_expiry_interval = 60 } },
      { 0, false, {} }, { 86400, true, { clean = false } },
    } do
      local seconds, kept, options = table.unpack(case)
      options.id = "c"
      assert(broker:connect(options)):disconnect()
      broker:advance(seconds)
      local again <close> = assert(broker:connect { id = "c", clean_start = false })
      assert.equal(kept, again.session_present)
    end
  end)

  it("tells who has taken over", function()
    local broker <close> = start()
    local first, second = broker:connect { id = "c" }, broker:connect { id = "c" }
    assert.is_true(first.closed)
    assert.same({ reason = "session_taken_over", code = 142 }, first.disconnected)
    assert.is_nil(second.disconnected)
  end)

  it("tells a refusal in every kind of answer", function()
    local broker <close> = start {
      publish = function() return false, "quota_exceeded" end,
      subscribe = function() return false, "not_authorized" end,
      unsubscribe = function() return false, "implementation_specific_error" end,
    }
    local c = assert(broker:connect())
    for qos = 0, 2 do assert.same({ reason = "quota_exceeded" }, c:publish("a", "", qos)) end
    assert.same({ reason = "not_authorized", code = 135 }, c:subscribe "a")
    assert.same({ reason = "implementation_specific_error", code = 131 }, c:unsubscribe "a")
    assert.same({ reason = "implementation_specific_error", codes = { 131, 131 } },
      c:unsubscribe { "a", "b" })
    assert.is_false(c.closed)
  end)

  it("does not send what the broker does not take", function()
    local broker <close> = start(nil, { engine = { read_limit = 1024 } })
    local c = assert(broker:connect())
    assert.same({ n = 2, [2] = "the message is larger than the server takes" },
      table.pack(c:publish("a", ("x"):rep(1024), 1)))
    assert.same({ reason = "success" }, c:publish("a", "x", 1))
  end)

  it("sends a will with properties, also on goodbye", function()
    local broker <close> = start()
    local watcher = assert(broker:connect())
    watcher:subscribe "w"
    local function leave(how, options)
      local c = assert(broker:connect { will = { topic = "w", payload = "gone", content_type = "x" } })
      c[how](c, options)
      local message = watcher:receive()
      return message and message.content_type
    end
    assert.equal("x", leave "drop")
    assert.is_nil(leave "disconnect")
    assert.equal("x", leave("disconnect", { with_will = true }))
  end)

  it("raises on misuse, in the caller's line", function()
    local broker <close> = start()
    local c = assert(broker:connect())
    local older = assert(broker:connect { version = "3.1.1" })
    for message, call in pairs {
      ["connect: receive_maximum: expected an integer from 1 to 65535"] =
        function() broker:connect { receive_maximum = 65536 } end,
      ["connect: unknown field 'content_type'"] = function() broker:connect { content_type = "x" } end,
      ["connect: session_expiry_interval is of MQTT 5"] =
        function() broker:connect { version = "3.1.1", session_expiry_interval = 1 } end,
      ["subscribe: subscription_identifier: expected an integer from 1 to 268435455"] =
        function() c:subscribe("a", { subscription_identifier = 0 }) end,
      ["publish: correlation_data must be of type string, got integer"] =
        function() c:publish("a", "", { correlation_data = 1 }) end,
      ["publish: content_type: not valid UTF-8, or longer than 65535 bytes"] =
        function() c:publish("a", "", { content_type = "\xff" }) end,
      ["publish: user_properties is of MQTT 5"] =
        function() older:publish("a", "", { user_properties = {} }) end,
      ["the connection has no authentication_method"] = function() c:reauthenticate() end,
    } do
      local ok, problem = pcall(call)
      assert.is_false(ok, message)
      assert.matches("test_5_spec.lua:%d+: ", problem)
      assert.equal(message, (problem:gsub("^.-:%d+: ", "")))
    end
  end)
end)
