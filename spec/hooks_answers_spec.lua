local brokers = require "spec.support.brokers"

local connect, logged, start = brokers.connect, brokers.logged, brokers.start

--- Each reason of a refusal, and the CONNACK code that MQTT 3.1.1 has for it.
local connack_codes = {
  unspecified_error = 3, malformed_packet = 5, protocol_error = 5, implementation_specific_error = 3,
  unsupported_protocol_version = 1, client_identifier_not_valid = 2, bad_user_name_or_password = 4,
  not_authorized = 5, server_unavailable = 3, server_busy = 3, banned = 5, server_shutting_down = 3,
  bad_authentication_method = 5, keep_alive_timeout = 5, session_taken_over = 5, topic_filter_invalid = 5,
  topic_name_invalid = 5, packet_identifier_in_use = 5, packet_identifier_not_found = 5,
  receive_maximum_exceeded = 5, topic_alias_invalid = 5, packet_too_large = 5, message_rate_too_high = 5,
  quota_exceeded = 3, administrative_action = 5, payload_format_invalid = 5, retain_not_supported = 5,
  qos_not_supported = 5, use_another_server = 3, server_moved = 3, shared_subscriptions_not_supported = 5,
  connection_rate_exceeded = 3, maximum_connect_time = 5, subscription_identifiers_not_supported = 5,
  wildcard_subscriptions_not_supported = 5,
}

local function constant(...)
  local values = table.pack(...)
  return function() return table.unpack(values, 1, values.n) end
end

describe("a reason", function()
  for reason, code in pairs(connack_codes) do
    it(("%s is told by every hook that refuses, with CONNACK %d"):format(reason, code), function()
      local refuse = constant(false, reason, "a text for the peer")
      for _, hook in ipairs { "authenticate", "setup" } do
        local broker <close> = start { [hook] = refuse }
        local answer, client = connect(broker, { id = "c" })
        assert.same({ reason = reason, code = code }, answer)
        assert.is_true(client.closed)
        assert.equal(1, broker:stats().connects_refused)
      end
      local broker <close> = start { subscribe = refuse, publish = refuse }
      local client = broker:connect { id = "c" }
      assert.same({ reason = reason, code = 0x80 }, client:subscribe("t", 1))
      assert.same({ reason = reason }, client:publish("t", "", 1))
      assert.is_false(client.closed)
      local strict <close> = start { packet = refuse }
      client = strict:connect { id = "c" }
      assert.same({ reason = reason }, client:publish("t", "", 0))
      assert.is_true(client.closed)
    end)
  end

  it("is not_authorized when none is given", function()
    local refuse = constant(false)
    local broker <close> = start { authenticate = refuse }
    assert.same({ reason = "not_authorized", code = 5 }, (connect(broker)))
    local other <close> = start { subscribe = refuse, publish = refuse }
    local client = other:connect()
    assert.equal("not_authorized", client:subscribe("t", 0).reason)
    assert.equal("not_authorized", client:publish("t", "", 0).reason)
  end)

  it("is what ends the connection, in the log's words", function()
    for reason, text in pairs { not_authorized = "not authorized", banned = "banned" } do
      local broker <close> = start({ authenticate = constant(false, reason) }, { log = { level = "info" } })
      local _, client = connect(broker, { id = "c", username = "u" })
      assert.equal(text, client.close_reason)
      local lines = logged(broker)
      assert.equal(1, #lines)
      assert.matches("^info client refused id=c remote=memory username=u reason=", lines[1])
      assert.matches(text, lines[1], 1, true)
    end
  end)

  it("is not an error: a refusal is not logged as a failure", function()
    local broker <close> = start {
      subscribe = constant(false), publish = constant(false), dequeue = constant(false),
    }
    local client = broker:connect()
    client:subscribe("t", 0)
    client:publish("t", "", 0)
    assert.same({}, logged(broker))
    assert.equal(0, broker:stats().hook_errors)
  end)
end)

describe("a refused login", function()
  it("gives the events of the model, and no terminate", function()
    local terminated = 0
    local broker <close> = start {
      authenticate = constant(false),
      terminate = function() terminated = terminated + 1 end,
    }
    connect(broker, { id = "c", username = "u", password = "secret" })
    local events = {}
    for i, e in ipairs(broker:events()) do events[i] = e.event .. ": " .. (e.error or e.text or "") end
    assert.same({
      "new connection: ",
      'packet received: <Connect ClientID="c" KeepAlive=60 Username="u" Password="***" '
        .. "CleanSession=true Will=nil Version=4>",
      "packet sent: <Connack SessionPresent=false ReturnCode=5>",
      "client error: not authorized",
      "lost connection: ",
    }, events)
    assert.equal(0, terminated)
  end)

  it("leaves no will and no session", function()
    for _, hook in ipairs { "authenticate", "setup" } do
      local broker <close> = start { [hook] = function(client) return client.id == "w" end }
      local watcher = broker:connect { id = "w" }
      watcher:subscribe "#"
      connect(broker, { id = "c", clean = false, will = { topic = "will", payload = "x" } })
      assert.is_nil(watcher:receive())
      assert.is_nil(broker:session "c")
    end
  end)

  it("ends in a closed socket, and what comes behind CONNECT is not processed", function()
    local packets = 0
    local broker <close> = start {
      authenticate = constant(false),
      packet = function() packets = packets + 1 return true end,
    }
    local client = broker:open()
    client:send_raw "\x10\x0d\0\4MQTT\4\2\0\0\0\1a\xc0\0"
    assert.equal("\x20\2\0\5", client:raw())
    assert.is_true(client.closed)
    assert.equal(0, packets)
  end)
end)

describe("a list of hook tables", function()
  local hook_names = { "authenticate", "setup", "subscribe", "unsubscribe", "publish", "dequeue", "packet" }

  --- Connects, subscribes, publishes, receives and unsubscribes; a table of what came of it.
  local function tour(broker)
    local result = {}
    local client
    result.connect, client = connect(broker, { id = "c" })
    if result.connect.reason ~= "success" then return result end
    result.subscribe = client:subscribe("t", 1)
    result.publish = client:publish("t", "x", 1)
    result.received = client:receive() ~= nil
    result.unsubscribe = client:unsubscribe "t"
    return result
  end

  local all_is_well = {
    connect = { reason = "success", code = 0 },
    subscribe = { reason = "success", code = 1, qos = 1 },
    publish = { reason = "success" },
    received = true,
    unsubscribe = { reason = "success" },
  }

  for _, name in ipairs(hook_names) do
    it("is asked in order, up to the first answer that is not nil: " .. name, function()
      local asked = {}
      local function table_of(number, answer)
        return { [name] = function(client)
          asked[#asked + 1] = number
          assert.equal("c", client.id)
          return answer
        end }
      end
      local broker <close> = start { table_of(1), {}, table_of(2), table_of(3, true), table_of(4, false) }
      assert.same(all_is_well, tour(broker))
      assert.is_true(#asked >= 3)
      for i, number in ipairs(asked) do assert.equal((i - 1) % 3 + 1, number) end
      assert.same({}, logged(broker))
    end)
  end

  it("stops at an error: a later table cannot allow", function()
    for _, name in ipairs { "authenticate", "subscribe", "publish" } do
      local asked = false
      local broker <close> = start {
        { [name] = function() error "first" end },
        { [name] = function() asked = true return true end },
      }
      local result = tour(broker)
      assert.equal("hook error", (result[name] or result.connect).error)
      assert.is_false(asked)
    end
  end)

  it("denies when none of them answers, and names the last", function()
    local function first() end
    local function last() end
    local broker <close> = start { { publish = first }, { publish = last } }
    assert.equal("hook gave no answer", broker:connect({ id = "c" }):publish("t", "").error)
    assert.same({ "error " .. brokers.place(last) .. ": hook publish gave no answer id=c remote=memory" },
      logged(broker))
  end)

  it("calls all that only take notice, also after an error in one", function()
    local seen = {}
    local function note(name, number)
      return function()
        seen[#seen + 1] = name .. number
        if number == 1 then error "one is broken" end
        return false, "ignored"
      end
    end
    local list = {}
    for i = 1, 3 do list[i] = { restore = note("restore ", i), terminate = note("terminate ", i) } end
    local broker <close> = start(list)
    broker:connect({ id = "c" }):disconnect()
    assert.same({ "restore 1", "restore 2", "restore 3", "terminate 1", "terminate 2", "terminate 3" }, seen)
    assert.equal(2, broker:stats().hook_errors)
    assert.equal(2, #logged(broker))
  end)

  it("may leave hooks out: what nobody defines is allowed", function()
    local broker <close> = start { { restore = function() end }, {} }
    assert.same(all_is_well, tour(broker))
  end)
end)

describe("subscribe", function()
  --- Subscribes to "t" with a hook that answers this, and returns the answer, the broker, and the client.
  local function subscribe(qos, ...)
    local broker = start { subscribe = constant(...) }
    local client = broker:connect { id = "c" }
    return client:subscribe("t", qos), broker, client
  end

  it("may lower the QoS, and never raise it", function()
    local function granting(asked, answer)
      local got, broker = subscribe(asked, answer)
      broker:stop()
      return got
    end
    for asked = 0, 2 do
      for answer = 0, 2 do
        local granted = math.min(asked, answer)
        assert.same({ reason = "success", code = granted, qos = granted }, granting(asked, answer))
        assert.same({ reason = "success", code = granted, qos = granted }, granting(asked, { qos = answer }))
      end
      assert.same({ reason = "success", code = asked, qos = asked }, granting(asked, true))
      assert.same({ reason = "success", code = asked, qos = asked }, granting(asked, {}))
    end
  end)

  it("stores another filter", function()
    local answer, broker, client = subscribe(2, { topic = "tenant/t/#", qos = 1 })
    assert.same({ reason = "success", code = 1, qos = 1 }, answer)
    assert.same({ { topic = "tenant/t/#", qos = 1 } }, broker:session("c").subscriptions)
    broker:publish("t", "not this one")
    broker:publish("tenant/t/x", "this one", { qos = 2 })
    local messages = client:receive_all()
    assert.equal(1, #messages)
    assert.same({ "tenant/t/x", 1 }, { messages[1].topic, messages[1].qos })
    broker:stop()
  end)

  for problem, answer in pairs {
    ["a QoS is 0, 1 or 2"] = 3,
    ["expected true, false, a QoS or a table with topic and qos, got a string"] = "1",
    ["topic: not a valid topic filter"] = { topic = "a#" },
    ["expected a string as topic, got a number"] = { topic = 1 },
    ["unknown field of a subscription 'qso'"] = { qso = 1 },
    ["fields of a subscription have the form name = value"] = { "t" },
  } do
    it("denies on a wrong answer: " .. problem, function()
      local got, broker = subscribe(1, answer)
      assert.same({ reason = "not_authorized", code = 0x80, error = "hook gave a wrong answer" }, got)
      assert.matches(problem, logged(broker)[1], 1, true)
      assert.equal(0, broker:stats().subscriptions)
      broker:stop()
    end)
  end

  it("denies on a QoS or filter that is nearly right", function()
    for _, answer in ipairs { -1, 1.5, 0 / 0, math.huge, { qos = "1" }, { qos = 3 }, { topic = "" },
      { topic = "\xff" }, { topic = "a\0b" }, { topic = ("x"):rep(65536) } } do
      local got, broker = subscribe(1, answer)
      assert.equal("hook gave a wrong answer", got.error)
      assert.equal(1, #logged(broker))
      broker:stop()
    end
  end)

  it("is asked once a filter", function()
    local seen = {}
    local broker <close> = start { subscribe = function(_, subscription)
      seen[#seen + 1] = ("%s=%d"):format(subscription.topic, subscription.qos)
      if subscription.topic == "no" then return false, "quota_exceeded" end
      if subscription.topic == "broken" then error "oh" end
      return subscription.topic == "low" and 0 or true
    end }
    local client = broker:connect { id = "c" }
    local answer = client:subscribe({ "yes", "no", "low", "broken", "yes" }, 2)
    assert.same({ 2, 0x80, 0, 0x80, 2 }, answer.codes)
    assert.same({ "yes=2", "no=2", "low=2", "broken=2", "yes=2" }, seen)
    assert.equal(2, broker:stats().subscriptions)
  end)

  it("keeps an older subscription when the new one is refused", function()
    local allowed = true
    local broker <close> = start { subscribe = function() return allowed end }
    local client = broker:connect { id = "c" }
    client:subscribe("t", 1)
    allowed = false
    client:subscribe("t", 2)
    assert.same({ { topic = "t", qos = 1 } }, broker:session("c").subscriptions)
  end)

  it("shows retained messages only to those it allows", function()
    local broker <close> = start { subscribe = function(_, s) return s.topic ~= "no" end }
    broker:publish("no", "x", { retain = true })
    local client = broker:connect { id = "c" }
    client:subscribe("no", 0)
    assert.is_nil(client:receive())
  end)
end)

describe("unsubscribe", function()
  local function unsubscribe(level, ...)
    local broker = start({ unsubscribe = constant(...) }, { log = { level = level } })
    local client = broker:connect { id = "c" }
    client:subscribe({ "t", "other" }, 0)
    logged(broker)
    local answer = client:unsubscribe "t"
    return answer, broker, client
  end

  it("ends the subscription", function()
    local answer, broker = unsubscribe("info", true)
    assert.same({ reason = "success" }, answer)
    assert.same({ { topic = "other", qos = 0 } }, broker:session("c").subscriptions)
    assert.same({}, logged(broker))
    broker:stop()
  end)

  it("cannot be refused in MQTT 3.1.1: that is logged, with who and why", function()
    local answer, broker, client = unsubscribe("info", false, "quota_exceeded")
    assert.same({ reason = "quota_exceeded" }, answer) -- what was decided; the client got its UNSUBACK
    assert.same({ reason = "success", code = 0, qos = 0 }, client:subscribe("other", 0))
    assert.same({ { topic = "other", qos = 0 } }, broker:session("c").subscriptions)
    assert.same({ "info unsubscribe refused, and done as MQTT 3.1.1 demands "
      .. "id=c remote=memory filter=t reason=quota_exceeded "
      .. "by=hook hook=unsubscribe place=spec/hooks_answers_spec.lua:21" }, logged(broker))
    broker:stop()
  end)

  it("may end another one", function()
    local answer, broker = unsubscribe("info", { topic = "other" })
    assert.same({ reason = "success" }, answer)
    assert.same({ { topic = "t", qos = 0 } }, broker:session("c").subscriptions)
    broker:stop()
  end)

  it("tells what is wrong with an answer", function()
    for problem, wrong in pairs {
      ["expected true, false or a table with topic, got a number"] = 1,
      ["unknown field of a subscription 'qos'"] = { qos = 1 },
      ["topic: not a valid topic filter"] = { topic = "#/a" },
    } do
      local _, broker = unsubscribe("warn", wrong)
      local lines = logged(broker)
      assert.equal(1, #lines)
      assert.matches(problem, lines[1], 1, true)
      broker:stop()
    end
  end)
end)
