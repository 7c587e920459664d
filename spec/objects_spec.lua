local brokers = require "spec.support.brokers"
local luamq = require "luamq"

local logged, problem, start = brokers.logged, brokers.problem, brokers.start

--- Names that no object has.
local strange = { "password", "nothing", "__index", "", 1, true, 1.5 }

describe("a client", function()
  local client_fields = { "session", "version", "clean_session", "keep_alive", "will", "local_address",
    "read_limit", "maximum_keep_alive", "token_timeout", "parallel_publishes", "parallel_subscribes",
    "inflight_messages", "transport" }

  it("has every field", function()
    local broker <close> = start()
    broker:connect {
      id = "c", username = "u", password = "p", keep_alive = 30, clean = false,
      will = { topic = "will", payload = "gone", qos = 1, retain = true },
    }
    local client = broker:client "c"
    local got = {}
    for _, name in ipairs { "id", "username", "version", "clean_session", "keep_alive", "ref", "closing",
      "closed", "local_address", "remote_address", "transport", "read_limit", "maximum_keep_alive",
      "token_timeout", "parallel_publishes", "parallel_subscribes", "inflight_messages" } do
      got[name] = client[name]
    end
    assert.same({
      id = "c", username = "u", version = 4, clean_session = false, keep_alive = 30, closing = false,
      closed = false, local_address = "memory", remote_address = "memory", transport = "memory",
      read_limit = 8 << 20,
      maximum_keep_alive = 300, token_timeout = 30, parallel_publishes = 100, parallel_subscribes = 10,
      inflight_messages = 10,
    }, got)
    assert.equal(broker:session "c", client.session)
    assert.same({ "will", "gone", 1, true },
      { client.will.topic, client.will.payload, client.will.qos, client.will.retain })
    for _, name in ipairs { "credentials", "certificate", "psk_identity", "tls_version", "tls_cipher" } do
      assert.is_nil(client[name]) -- of other transports
    end
    for _, name in ipairs(strange) do assert.is_nil(client[name]) end
    assert.equal('<Client ID="c">', tostring(client))
  end)

  it("has the remote address that the test gave it", function()
    local seen = {}
    local broker <close> = start {
      authenticate = function(client) seen[#seen + 1] = client.remote_address return true end,
    }
    for _, address in ipairs { "192.0.2.1:5000", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:2" } do
      assert.is_not_nil(broker:connect { remote_address = address })
    end
    assert.is_not_nil(broker:open("192.0.2.1:3"):connect())
    assert.same({ "192.0.2.1:5000", "[2001:db8::1]:1", "192.0.2.1:2", "192.0.2.1:3" }, seen)
    for _, wrong in ipairs { "192.0.2.1", "host:1", "192.0.2.1:x", "192.0.2.1:1/x", 5, "" } do
      assert.error_matches(function() broker:connect { remote_address = wrong } end,
        'connect: remote_address is an IP address with a port, such as "192.0.2.1:5000"', 1, true)
    end
    assert.equal(4, #seen)
  end)

  it("has nil for what was not sent, and the id that was assigned", function()
    local broker <close> = start()
    broker:connect { version = 4 }
    local client = broker:clients()[1]
    assert.matches("^auto%-%x+$", client.id)
    assert.is_nil(client.username)
    assert.is_nil(client.will)
    assert.is_true(client.clean_session)
  end)

  it("tells what it knows before CONNECT, and in authenticate has no session yet", function()
    local seen = {}
    local broker <close> = start {
      log = function(event, client)
        if event == "new connection" then
          seen[1] = { client.id, client.version, client.session, client.closed, client.remote_address }
        end
      end,
      authenticate = function(client)
        seen[2] = { client.id, client.version, client.session == nil, client.will.topic }
        return true
      end,
    }
    broker:connect { id = "c", version = 3, will = { topic = "w" } }
    assert.same({ { "", 0, nil, false, "memory" }, { "c", 3, true, "w" } }, seen)
  end)

  it("is the same value in every hook, with what a script keeps in ref", function()
    local first, names = nil, {}
    local ref = { print }
    local hooks = {}
    for _, name in ipairs { "authenticate", "setup", "restore", "subscribe", "unsubscribe", "publish",
      "dequeue", "packet", "terminate" } do
      hooks[name] = function(client)
        if not first then
          first = client
          client.ref = ref
        end
        names[name] = rawequal(client, first) and client.ref == ref
        return true
      end
    end
    function hooks.log(event, client)
      if event ~= "new connection" then names[event] = first == nil or rawequal(client, first) end
    end
    local broker <close> = start(hooks)
    local c = broker:connect { id = "c" }
    collectgarbage()
    c:subscribe("t", 1)
    c:publish("t", "x", 1)
    c:unsubscribe "t"
    assert.is_true(rawequal(first, broker:client "c"))
    c:disconnect()
    local count = 0
    for name, same in pairs(names) do
      count = count + 1
      assert.is_true(same, name)
    end
    assert.equal(9 + 8, count) -- hooks and events
    assert.equal(ref, first.ref)
  end)

  for what, finish in pairs {
    ["its connection"] = function(broker, c)
      c:disconnect()
      return broker
    end,
    ["its broker"] = function(broker) broker:stop() end,
  } do
    it("is a snapshot after the end of " .. what, function()
      local broker = start()
      local c = broker:connect { id = "c", username = "u", will = { topic = "w" } }
      local client = broker:client "c"
      client.ref = "kept"
      finish(broker, c)
      for _ = 1, 2 do
        assert.same({ "c", "u", "memory", "kept", true, true },
          { client.id, client.username, client.remote_address, client.ref, client.closing, client.closed })
        for _, name in ipairs(client_fields) do assert.is_nil(client[name], name) end
        assert.equal('<Client ID="c">', tostring(client))
        client:close() -- without effect
        client.inflight_messages = 5
        broker:stop()
      end
      client.ref = "new"
      assert.equal("new", client.ref)
    end)
  end

  it("takes ref and its settings, and nothing else", function()
    local broker <close> = start()
    broker:connect { id = "c" }
    local client = broker:client "c"
    for _, name in ipairs { "id", "session", "username", "closed", "anything" } do
      local message = problem(function() client[name] = 1 end)
      assert.matches("^[%./]*spec/objects_spec.lua:%d+: ", message)
      assert.matches(("client.%s cannot be set; client.ref takes"):format(name), message, 1, true)
    end
    assert.matches("a field of client is a name, got number", problem(function() client[1] = 1 end), 1, true)
    assert.matches("objects_spec.lua:%d+: client.inflight_messages: must be between 1 and 65535, got 0",
      problem(function() client.inflight_messages = 0 end))
  end)

  it("keeps its will as a copy", function()
    local will
    local broker <close> = start { authenticate = function(client)
      will = client.will
      return true
    end }
    broker:connect({ id = "c", will = { topic = "w", payload = "x" } }):disconnect()
    assert.same({ "w", "x" }, { will.topic, will.payload })
    assert.equal('<Message Topic="w" QOS=0 Retain=false Payload=78>', tostring(will))
  end)

  it("has a metatable that scripts cannot reach, and methods that check what they work on", function()
    local broker <close> = start()
    broker:connect { id = "c" }
    local client = broker:client "c"
    assert.equal("luamq.client", getmetatable(client))
    assert.has_error(function() setmetatable(client, {}) end)
    for _, self in ipairs { 1, "c", {}, io.stdout, broker:session "c" } do
      local message = problem(function() client.close(self) end)
      assert.matches("client expected, got ", message, 1, true)
    end
  end)
end)

describe("what is borrowed", function()
  --- Objects that a hook gets: how, one field, and what the error calls it.
  local borrowed = {
    { name = "message", hook = "publish", field = "topic", pick = function(_, message) return message end },
    { name = "message", hook = "dequeue", field = "payload", pick = function(_, message) return message end },
    { name = "subscription", hook = "subscribe", field = "qos", pick = function(_, s) return s end },
    { name = "packet", hook = "packet", field = "type", pick = function(_, packet) return packet end },
    { name = "packet", hook = "log", field = "type", pick = function(_, _, packet) return packet end },
    { name = "message", hook = "log", field = "topic", pick = function(_, _, _, message) return message end },
    { name = "message", hook = "log", field = "topic", what = "of a packet", pick = function(_, _, packet)
      return packet and packet.message
    end },
    { name = "message", hook = "log", field = "topic", what = "of a will", pick = function(_, _, packet)
      return packet and packet.will
    end },
  }

  for _, row in ipairs(borrowed) do
    local title = row.name .. " of " .. row.hook .. (row.what and ", " .. row.what or "")
    it("is read only, and over when its hook returned: " .. title, function()
      local kept, later, text
      local broker = start {
        setup = function() -- a later hook of another client
          if kept then
            later = { pcall(function() return kept[row.field] end) }
          end
        end,
        [row.hook] = function(...)
          local object = row.pick(...)
          if object and not kept then
            kept, text = object, tostring(object)
            assert.is_not_nil(object[row.field])
            for _, name in ipairs(strange) do assert.is_nil(object[name]) end
            local message = problem(function() object[row.field] = 1 end)
            assert.matches("objects_spec.lua:%d+: " .. row.name .. " is read only", message)
          end
          return true
        end,
      }
      local c = broker:connect { id = "c", will = { topic = "w" } }
      c:subscribe("t", 1)
      c:publish("t", "x", 1)
      assert.is_not_nil(kept)
      assert.same({}, logged(broker))
      assert.matches("^<", text)
      local over = "objects_spec.lua:%d+: " .. row.name .. " used after its hook returned$"
      for _ = 1, 2 do
        assert.matches(over, problem(function() return kept[row.field] end))
        assert.matches(over, problem(function() return kept.nothing end))
        assert.matches(row.name .. " used after its hook returned$", problem(function() tostring(kept) end))
        if broker:now() == 0 then
          broker:connect { id = "d" }
          assert.is_false(later[1])
          assert.matches(over, later[2])
          broker:advance(1)
        end
      end
      broker:stop()
      assert.matches(over, problem(function() return kept[row.field] end))
    end)
  end

  it("is over too when its hook raised or yielded", function()
    local kept
    for _, fail in ipairs { error, coroutine.yield } do
      local broker <close> = start { publish = function(_, message)
        kept = message
        fail "oh"
      end }
      broker:connect():publish("t", "x")
      assert.matches("message used after its hook returned$", problem(function() return kept.topic end))
    end
  end)

  it("is valid in nested calls and coroutines of its hook", function()
    local seen
    local broker <close> = start { publish = function(_, message)
      seen = coroutine.wrap(function() return select(2, pcall(function() return message.payload end)) end)()
      return true
    end }
    broker:connect():publish("t", "x")
    assert.equal("x", seen)
  end)
end)

describe("a packet", function()
  --- Fields of each type of packet that a log hook sees.
  local expected = {
    connect = { client_id = "c", keep_alive = 60, clean_session = true, username = "u", version = 4 },
    connack = { session_present = false, return_code = 0 },
    subscribe = { id = 1 }, suback = { id = 1 }, unsubscribe = { id = 2 }, unsuback = { id = 2 },
    publish = { dup = false }, puback = { id = 3 }, disconnect = {},
  }
  local all = { "id", "client_id", "keep_alive", "clean_session", "username", "version", "session_present",
    "return_code", "dup", "password" }

  it("has the fields of its type, and nil for others", function()
    local seen, lists = {}, {}
    local broker <close> = start { log = function(_, _, packet)
      if not packet or seen[packet.type] then return end
      local fields = {}
      for _, name in ipairs(all) do fields[name] = packet[name] end
      seen[packet.type] = fields
      lists[packet.type] = { packet.subscriptions, packet.topics, packet.return_codes,
        packet.will and packet.will.topic, packet.message and packet.message.payload }
    end }
    local c = broker:connect { id = "c", username = "u", password = "p", will = { topic = "w" } }
    c:subscribe({ "t", "#" }, 2)
    c:unsubscribe "t"
    c:publish("x", "payload", 0)
    c:publish("x", "payload", 1)
    c:disconnect()
    assert.same(expected, seen)
    assert.same({ { { topic = "t", qos = 2 }, { topic = "#", qos = 2 } } }, lists.subscribe)
    assert.same({ nil, { "t" } }, lists.unsubscribe)
    assert.same({ nil, nil, { 2, 2 } }, lists.suback)
    assert.same({ nil, nil, nil, "w" }, lists.connect)
    assert.same({ nil, nil, nil, nil, "payload" }, lists.publish)
    assert.same({}, logged(broker))
  end)

  it("has the text form of the model", function()
    local texts = {}
    local broker <close> = start {
      log = function(_, _, packet, message)
        if packet then texts[tostring(packet)] = true end
        if message then texts[tostring(message)] = true end
      end,
      subscribe = function(_, subscription)
        texts[tostring(subscription)] = true
        return subscription.topic ~= "no"
      end,
    }
    local c = broker:open()
    c:connect {
      id = 'q"\n', username = "u", keep_alive = 9, will = { topic = "w", payload = "\1\xff", qos = 1 },
    }
    c:subscribe({ "a", "no" }, 2)
    c:publish("a", "x", 2, true)
    c:unsubscribe { "a", "no" }
    c:send_raw "\xc0\0"
    c:publish("u", "", 1)
    c:disconnect()
    local wanted = {
      [[<Connect ClientID="q\"\n" KeepAlive=9 Username="u" Password="" CleanSession=true ]]
        .. [[Will=<Message Topic="w" QOS=1 Retain=false Payload=01ff> Version=4>]],
      "<Connack SessionPresent=false ReturnCode=0>",
      '<Subscribe ID=1 Subscriptions=["a"=>2, "no"=>2]>',
      "<Suback ID=1 ReturnCodes=[2, 128]>",
      '<Subscription Topic="a" QOS=2>',
      '<Publish ID=2 Message=<Message Topic="a" QOS=2 Retain=true Payload=78> Dup=false>',
      "<Pubrec ID=2>", "<Pubrel ID=2>", "<Pubcomp ID=2>", "<Puback ID=4>",
      '<Message Topic="a" QOS=2 Retain=false Payload=78>',
      '<Unsubscribe Topics=["a", "no"]>', "<Unsuback ID=3>", "<Pingreq>", "<Pingresp>", "<Disconnect>",
    }
    for _, text in ipairs(wanted) do assert.is_true(texts[text], text) end
  end)
end)

describe("a hook", function()
  it("cannot tell plain tables from objects", function()
    local hooks = {}
    function hooks.publish(client, message)
      return luamq.match("t/" .. client.ref.tenant .. "/#", message.topic) and #message.payload < 10,
        "not_authorized"
    end
    function hooks.subscribe(_, subscription) return math.min(subscription.qos, 1) end
    assert.is_true((hooks.publish({ ref = { tenant = "a" } }, { topic = "t/a/x", payload = "" })))
    assert.is_false((hooks.publish({ ref = { tenant = "b" } }, { topic = "t/a/x", payload = "" })))
    assert.equal(1, hooks.subscribe({}, { topic = "t", qos = 2 }))
    hooks.setup = function(client) client.ref = { tenant = client.id } end
    local broker <close> = start(hooks)
    local c = broker:connect { id = "a" }
    assert.equal("success", c:publish("t/a/x", "").reason)
    assert.equal("not_authorized", c:publish("t/b/x", "").reason)
    assert.equal(1, c:subscribe("t", 2).qos)
  end)
end)
