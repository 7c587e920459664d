--- Enhanced authentication [MQTT5 4.12]: the hook `auth`, through raw packets.
local brokers = require "spec.support.brokers"
local packets = require "spec.support.packets"

local logged, start = brokers.logged, brokers.start

local function method(data) return { authentication_method = "M", authentication_data = data } end
local function connect_packet(data, more)
  local options = { id = "c", properties = method(data) }
  for name, value in pairs(more or {}) do options[name] = value end
  return packets.connect_packet(options)
end

--- A hook that asks `rounds` times on, then wants "good"; it keeps what it saw.
local function asking(rounds)
  local seen = {}
  return function(client, name, data)
    seen[#seen + 1] = ("%s %s"):format(name, data)
    client.ref = (client.ref or 0) + 1
    if client.ref <= rounds then return "continue", "question " .. client.ref end
    client.ref = nil
    if data ~= "good" then return false, "not_authorized", "wrong answer" end
    return true, "welcome"
  end, seen
end

local function answer(data) return packets.auth(0x18, method(data)) end

--- A client that has gone through `rounds`.
local function connected(broker, rounds, more)
  local peer = packets.open(broker)
  local packet = peer:ask(connect_packet(rounds == 0 and "good" or "x", more))
  for i = 1, rounds do packet = peer:ask(answer(i == rounds and "good" or "x")) end
  assert.equal("connack 0", packet.type .. " " .. packet.reason_code)
  peer.connack = packet
  return peer
end

describe("a client with an authentication method", function()
  it("[MQTT5-4.12.0-1] is refused where no hook knows it", function()
    for _, hooks in ipairs { {}, { authenticate = function() return true end } } do
      local broker <close> = start(hooks)
      local peer = packets.open(broker)
      local connack = peer:ask(connect_packet())
      assert.equal(0x8c, connack.reason_code)
      assert.is_true(peer.client.closed)
      assert.equal("unknown authentication method", peer.client.close_reason)
    end
  end)

  for rounds = 0, 3 do
    it(("[MQTT5-4.12.0-2] [MQTT5-4.12.0-3] is asked %d times before CONNACK"):format(rounds), function()
      local hook, seen = asking(rounds)
      local broker <close> = start { auth = hook }
      local peer = packets.open(broker)
      local packet = peer:ask(connect_packet(rounds == 0 and "good" or nil))
      for i = 1, rounds do
        assert.equal("auth 24", packet.type .. " " .. packet.reason_code)
        assert.same(method("question " .. i), packet.properties) -- [MQTT5-4.12.0-5]
        packet = peer:ask(answer(i == rounds and "good" or "step " .. i))
      end
      assert.equal("connack 0", packet.type .. " " .. packet.reason_code)
      assert.equal("M", packet.properties.authentication_method)
      assert.equal("welcome", packet.properties.authentication_data)
      assert.equal(rounds + 1, #seen)
      assert.equal(rounds == 0 and "M good" or "M nil", seen[1])
      assert.equal("M good", seen[#seen])
      assert.equal("pingresp", peer:ask("\xc0\0").type)
    end)
  end

  it("is not asked for a password, and setup follows", function()
    local called = {}
    local broker <close> = start {
      auth = function(client) called[#called + 1] = "auth " .. client.username return true end,
      authenticate = function() called[#called + 1] = "authenticate" return false end,
      setup = function() called[#called + 1] = "setup" return true end,
    }
    connected(broker, 0, { username = "u", password = "p" })
    assert.same({ "auth u", "setup" }, called)
    assert.equal(0x87, packets.connect(broker).connack.reason_code)
  end)

  it("gets in with empty data, and may be told none", function()
    local seen
    local broker <close> = start { auth = function(_, _, data) seen = data return true end }
    local peer = packets.open(broker)
    local connack = peer:ask(connect_packet(""))
    assert.equal("", seen)
    assert.is_nil(connack.properties.authentication_data)
  end)

  it("[MQTT5-4.12.0-4] is refused with a reason and a text, and closed", function()
    local broker <close> = start { auth = (asking(1)) }
    local peer = packets.open(broker)
    peer:send(connect_packet(nil, { will = { topic = "w" } }))
    local connack = peer:ask(answer "bad")
    assert.equal("connack 135", connack.type .. " " .. connack.reason_code)
    assert.same({ reason_string = "wrong answer" }, connack.properties)
    assert.is_true(peer.client.closed)
    assert.is_nil(broker:session "c")
    assert.equal(1, broker:stats().connects_refused)
    assert.same({}, logged(broker))
  end)

  it("is refused when the hook fails, gives no answer or a wrong one", function()
    for problem, hook in pairs {
      ["server_unavailable oops"] = function() error "oops" end,
      ["not_authorized hook auth gave no answer"] = function() end,
      ['not_authorized the only answer that is a string is "continue"'] = function() return "go on" end,
      ["not_authorized expected a string as data, got a number"] = function() return true, 1 end,
      ["not_authorized data longer than 65535 bytes"] = function() return "continue", ("x"):rep(65536) end,
      ['not_authorized expected true, false or "continue", got a table'] = function() return {} end,
    } do
      local reason, text = problem:match "^(%S+) (.*)$"
      local broker <close> = start { auth = hook }
      local peer = packets.open(broker)
      local connack = peer:ask(connect_packet())
      assert.equal(reason == "not_authorized" and 0x87 or 0x88, connack.reason_code)
      assert.same({}, connack.properties)
      assert.matches(text, logged(broker)[1], 1, true)
    end
  end)

  it("is closed with the connect timeout when it does not go on", function()
    local broker <close> = start({ auth = (asking(5)) }, { engine = { connect_timeout = 10 } })
    local peer = packets.open(broker)
    peer:send(connect_packet())
    broker:advance(6)
    peer:send(answer "x") -- the time is that of the whole exchange
    broker:advance(3.9)
    assert.is_false(peer.client.closed)
    broker:advance(0.2)
    assert.is_true(peer.client.closed)
    assert.equal("connect timeout", peer.client.close_reason)
    assert.equal(1, broker:stats().connects_timed_out)
  end)

  it("is not bound by it once it is let in", function()
    local broker <close> = start({ auth = (asking(1)) }, { engine = { connect_timeout = 1 } })
    local peer = connected(broker, 1)
    broker:advance(30)
    assert.is_false(peer.client.closed)
  end)

  it("may leave, or be lost, in the middle", function()
    local broker <close> = start { auth = (asking(2)) }
    local peer = packets.open(broker)
    peer:send(connect_packet(nil, { will = { topic = "w" } }))
    assert.same({}, peer:send(packets.disconnect(0, { session_expiry_interval = 5 })))
    assert.is_true(peer.client.closed)
    peer = packets.open(broker)
    peer:send(connect_packet())
    peer.client:drop()
    assert.equal(0, broker:stats().connections)
    assert.equal(0, broker:stats().sessions)
  end)

  it("may be closed by the hook", function()
    local broker <close> = start { auth = function(client) client:close "banned" return "continue" end }
    local peer = packets.open(broker)
    assert.same({}, peer:send(connect_packet()))
    assert.is_true(peer.client.closed)
  end)

  it("takes over the session of its id only when it is let in", function()
    local broker <close> = start { auth = (asking(1)) }
    local old = connected(broker, 1)
    local new = packets.open(broker)
    new:send(connect_packet())
    assert.is_false(old.client.closed)
    new:send(answer "good")
    assert.is_true(old.client.closed)
  end)

  it("[MQTT5-3.1.2-30] is told what it may not do in CONNACK", function()
    for name, bytes in pairs {
      publish = packets.publish("t", "x"),
      ping = "\xc0\0",
      ["second connect"] = connect_packet(),
      ["other method"] = packets.auth(0x18, { authentication_method = "N" }),
      ["no method"] = packets.auth(0x18, {}),
      ["empty auth"] = "\xf0\0",
      ["success"] = packets.auth(0, method "good"),
      ["re-authenticate"] = packets.auth(0x19, method "good"),
      ["malformed"] = "\xf0\1\x18\0",
    } do
      local hook, seen = asking(1)
      local broker <close> = start { auth = hook }
      local peer = packets.open(broker)
      peer:send(connect_packet())
      local list = peer:send(bytes)
      assert.equal("connack", list[1] and list[1].type, name)
      assert.equal(1, #list, name)
      assert.is_true(list[1].reason_code == 0x82 or name == "malformed", name)
      assert.is_true(peer.client.closed, name)
      assert.equal(1, #seen, name)
      assert.equal(1, broker:stats().connects_refused)
    end
  end)

  it("counts as a failed login when it is refused, and not when it leaves", function()
    local broker <close> = start { auth = (asking(1)) }
    for _ = 1, 3 do
      local peer = packets.open(broker)
      peer:send(connect_packet())
      peer:send(answer "bad")
      peer = packets.open(broker)
      peer:send(connect_packet())
      peer.client:drop()
    end
    assert.equal(3, broker:stats().logins_failed)
  end)

  it("passes the packet hook with its AUTH", function()
    local types = {}
    local broker <close> = start {
      auth = (asking(2)),
      packet = function(_, packet)
        types[#types + 1] = packet.type .. " " .. packet.reason
        if #types == 2 then return false, "banned", "enough" end
        return true
      end,
    }
    local peer = packets.open(broker)
    peer:send(connect_packet())
    peer:send(answer "x")
    local connack = peer:ask(answer "y")
    assert.same({ "auth continue_authentication", "auth continue_authentication" }, types)
    assert.equal(0x8a, connack.reason_code)
    assert.same({ reason_string = "enough" }, connack.properties)
  end)
end)

describe("re-authentication", function()
  it("[MQTT5-4.12.1-1] goes on beside other packets", function()
    local hook, seen = asking(1)
    local broker <close> = start { auth = hook }
    local peer = connected(broker, 1)
    local packet = peer:ask(packets.auth(0x19, method "again"))
    assert.equal("auth 24", packet.type .. " " .. packet.reason_code)
    assert.same(method "question 1", packet.properties)
    assert.equal("puback", peer:ask(packets.publish("t", "x", { qos = 1 })).type)
    packet = peer:ask(answer "good")
    assert.equal("auth 0", packet.type .. " " .. packet.reason_code)
    assert.same(method "welcome", packet.properties)
    assert.same({ "M x", "M good", "M again", "M good" }, seen)
    assert.equal("auth", peer:ask(packets.auth(0x19, method "once more")).type)
  end)

  it("[MQTT5-4.12.1-2] that fails ends in DISCONNECT, and sends the will", function()
    local broker <close> = start { auth = (asking(1)) }
    local watcher = connected(broker, 1, { id = "w" })
    watcher:send(packets.subscribe(1, { { "will" } }))
    local peer = connected(broker, 1, { will = { topic = "will", payload = "gone" } })
    peer:send(packets.auth(0x19, method "again"))
    local packet = peer:ask(answer "bad")
    assert.equal("disconnect 135", packet.type .. " " .. packet.reason_code)
    assert.same({ reason_string = "wrong answer" }, packet.properties)
    assert.is_true(peer.client.closed)
    assert.equal("gone", watcher:ask().payload)
    assert.equal(1, broker:stats().reauthentications_failed)
  end)

  it("[MQTT5-4.12.0-6] [MQTT5-4.12.0-7] out of order is a protocol error", function()
    for name, bytes in pairs {
      ["other method"] = packets.auth(0x19, { authentication_method = "N" }),
      ["no method"] = packets.auth(0x19, {}),
      ["data without method"] = packets.auth(0x19, { authentication_data = "x" }),
      ["empty"] = "\xf0\0",
      ["continue"] = answer "good",
      ["success"] = packets.auth(0, method "good"),
    } do
      local broker <close> = start { auth = (asking(1)) }
      local peer = connected(broker, 1)
      local packet = peer:ask(bytes)
      assert.equal("disconnect 130", packet.type .. " " .. packet.reason_code, name)
      assert.is_true(peer.client.closed)
    end
  end)

  it("cannot be begun twice", function()
    local broker <close> = start { auth = (asking(2)) }
    local peer = connected(broker, 2)
    peer:send(packets.auth(0x19, method "x"))
    assert.equal(0x82, peer:ask(packets.auth(0x19, method "x")).reason_code)
  end)

  it("[MQTT5-4.12.0-6] is not for a client that named no method", function()
    local called = false
    local broker <close> = start {
      auth = function() called = true return true end,
      authenticate = function() return true end,
    }
    local peer = packets.connect(broker)
    assert.is_nil(peer.connack.properties.authentication_method)
    local packet = peer:ask(packets.auth(0x19, method "x"))
    assert.equal("disconnect 130", packet.type .. " " .. packet.reason_code)
    assert.is_false(called)
  end)

  it("is malformed before MQTT 5", function()
    local function allow() return true end
    local broker <close> = start { authenticate = allow, auth = allow }
    local client = broker:connect { version = 4 }
    client:send_raw(packets.auth(0x19, method "x"))
    assert.is_true(client.closed)
  end)
end)

describe("who gets in with an auth hook", function()
  it("is nobody without a method, but for credentials, anonymous and authenticate", function()
    local function allow() return true end
    for _, row in ipairs {
      { { hooks = { auth = allow } }, nil, nil },
      { { hooks = { auth = allow }, anonymous = true }, true, nil },
      { { hooks = { auth = allow }, credentials = { u = "p" } }, nil, true },
      { { hooks = { auth = allow, authenticate = allow } }, true, true },
    } do
      local broker <close> = require "luamq.test".broker(row[1])
      for version = 4, 5 do
        local function code(options)
          if version == 5 then return packets.connect(broker, options).connack.reason_code == 0 or nil end
          options.version = 4
          return broker:connect(options) and true
        end
        assert.equal(row[2], code {})
        assert.equal(row[3], code { username = "u", password = "p" })
      end
      connected(broker, 0)
    end
  end)

  it("lets a script be served to the network", function()
    local config = require "luamq.config"
    local script = { listeners = { "tcp://0.0.0.0:0" }, hooks = { auth = function() return true end } }
    local checked = assert(config.check(script))
    assert.is_false(checked.open)
  end)
end)
