local client = require "luamq.client"
local process = require "spec.support.process"

local script = [[
local hooks = {}
function hooks.authenticate(client, username, password)
  if username == "nobody" then return false, "banned" end
  return true
end
function hooks.subscribe(client, subscription)
  if subscription.topic == "secret" then return false, "quota_exceeded" end
  return true
end
function hooks.publish(client, message)
  if message.topic == "no" then return false, "not_authorized" end
  return true
end
return { listeners = { "tcp://127.0.0.1:0" }, hooks = hooks, log = { level = "off" },
  backend = { maximum_keep_alive = 20, parallel_publishes = 3 }, engine = { read_limit = 1024 } }
]]

describe("luamq.client with MQTT 5", function()
  local broker, path

  setup(function()
    path = process.script(script)
    broker = process.broker { path }
  end)

  teardown(function()
    assert.equal(0, broker:stop())
    os.remove(path)
  end)

  local function connect(options)
    options = options or {}
    options.port = broker.port
    options.version = options.version or "5"
    return client.connect(options)
  end

  it("publishes and receives properties", function()
    local c <close> = assert(connect { id = "all" })
    assert.equal(2, (c:subscribe("a/#", { qos = 2, subscription_identifier = 7 })))
    local properties = {
      payload_format_indicator = 1, message_expiry_interval = 100, content_type = "text/plain",
      response_topic = "answers", correlation_data = "\0\255",
      user_properties = { { "from", "meter" }, { "a", "1" }, { "a", "2" } },
    }
    for qos = 0, 2 do
      local options = { qos = qos }
      for name, value in pairs(properties) do options[name] = value end
      assert.is_true((c:publish("a/b", "payload", options)))
      local message = assert(c:receive())
      assert.same({ "a/b", "payload", qos }, { message.topic, message.payload, message.qos })
      assert.same({ 7 }, message.subscription_identifiers)
      for name, value in pairs(properties) do assert.same(value, message[name], name) end
    end
  end)

  it("gets the id that the broker has assigned, and what it announces", function()
    local c <close> = assert(connect())
    assert.not_equal("", c.id)
    assert.equal(c.id, c.connack.assigned_client_identifier)
    assert.same({ "success", 0, 20, 3, 1024 }, {
      c.connack.reason, c.connack.code, c.connack.server_keep_alive, c.connack.receive_maximum,
      c.connack.maximum_packet_size })
  end)

  it("keeps a session as long as it asks for", function()
    for _, case in ipairs {
      { false, {} }, { true, { clean = false } }, { true, { session_expiry_interval = 60 } },
      { false, { clean = false, session_expiry_interval = 0 } },
    } do
      local kept, options = table.unpack(case)
      options.id = "session"
      local first = assert(connect(options))
      assert(first:subscribe("later", 1))
      first:disconnect()
      local second <close> = assert(connect { id = "session", clean_start = false })
      assert.equal(kept, second.session_present)
    end
  end)

  it("changes the time that a session is kept when it disconnects", function()
    local first = assert(connect { id = "changed", session_expiry_interval = 60 })
    first:disconnect { session_expiry_interval = 0, reason_string = "for good" }
    local second <close> = assert(connect { id = "changed", clean_start = false })
    assert.is_false(second.session_present)
  end)

  it("tells reasons of refusals by name, and the whole answer", function()
    local refused = table.pack(connect { username = "nobody" })
    assert.same({ n = 4, "banned", 138 }, { n = refused.n, refused[2], refused[3] })
    assert.equal("banned", refused[4].reason)
    local c <close> = assert(connect())
    local subscription = table.pack(c:subscribe "secret")
    assert.same({ n = 4, "quota_exceeded", 151 }, { n = subscription.n, subscription[2], subscription[3] })
    assert.same({ 151, 1 }, (c:subscribe({ "secret", "x" }, 1)))
    assert.same({ 17, 0 }, (c:unsubscribe { "unknown", "x" }))
    for qos = 1, 2 do
      local publish = table.pack(c:publish("no", "", qos))
      assert.same({ n = 4, "not_authorized", 135 }, { n = publish.n, publish[2], publish[3] })
    end
    assert.is_true((c:publish("yes", "", 2)))
  end)

  it("does not get its own messages, nor retained ones, when it does not want them", function()
    local c <close> = assert(connect())
    assert(c:publish("options", "kept", 1, true))
    assert(c:subscribe("options", { qos = 1, no_local = true, retain_handling = 2 }))
    assert(c:publish("options", "own", 1))
    assert.is_true(c:ping())
    assert.is_nil(c:receive(0))
    local other <close> = assert(connect())
    assert(other:subscribe("options", { retain_as_published = true, retain_handling = 2 }))
    assert(other:publish("options", "", 1, true))
    assert.is_true(other:receive().retain)
  end)

  it("does not send what the broker does not take", function()
    local c <close> = assert(connect())
    assert.same({ n = 2, [2] = "the message is larger than the server takes" },
      table.pack(c:publish("large", ("x"):rep(1024), 1)))
    assert.is_true((c:publish("small", "x", 1)))
  end)

  it("has no more under way than the broker takes", function()
    local c <close> = assert(connect())
    assert(c:subscribe("many", 1))
    for i = 1, 20 do assert(c:publish("many", tostring(i), { qos = 2, wait = false })) end
    for i = 1, 20 do assert.equal(tostring(i), c:receive().payload) end
  end)

  it("uses aliases, and resolves the broker's", function()
    local c <close> = assert(connect { topic_alias_maximum = 10, topic_aliases = 10 })
    assert(c:subscribe("alias/#", 1))
    for i = 1, 5 do
      assert(c:publish("alias/of/a/topic", tostring(i), i % 2))
      local message = assert(c:receive())
      assert.same({ "alias/of/a/topic", tostring(i) }, { message.topic, message.payload })
    end
  end)

  it("is told when another one takes its session", function()
    local first <close> = assert(connect { id = "taken" })
    local second <close> = assert(connect { id = "taken" })
    assert.same({ n = 2, [2] = "disconnected by the server: session taken over" },
      table.pack(first:receive()))
    assert.same({ "session_taken_over", 142 }, { first.disconnected.reason, first.disconnected.code })
    assert.is_true(first.closed)
    assert.is_nil(second.disconnected)
  end)

  it("leaves a will with properties, also when it says goodbye", function()
    local watcher <close> = assert(connect())
    assert(watcher:subscribe("wills", 1))
    local c = assert(connect { will = { topic = "wills", payload = "gone", qos = 1, content_type = "x/y",
      user_properties = { { "a", "b" } } } })
    c:disconnect { with_will = true }
    local will = assert(watcher:receive())
    assert.same({ "gone", "x/y", { { "a", "b" } } },
      { will.payload, will.content_type, will.user_properties })
  end)

  it("hands out packets as they are", function()
    local c <close> = assert(client.open { port = broker.port, version = "5" })
    assert(c:send_raw "\x10\x0f\0\4MQTT\5\2\0\0\0\0\2ab")
    local connack = assert(c:receive_packet())
    assert.same({ "Connack", 0, 3 }, { connack.type, connack.code, connack.receive_maximum })
    assert(c:send_raw "\xa2\6\0\1\0\0\1a")
    assert.same({ 17 }, c:receive_packet().codes)
    assert(c:send_raw "\x62\2\0\7")
    assert.same({ "Pubcomp", 146 }, (function(p) return { p.type, p.code } end)(c:receive_packet()))
  end)

  it("is told what was wrong with what it sent", function()
    local c <close> = assert(connect())
    assert(c:send_raw "\xff\xff")
    assert.is_nil((c:receive()))
    assert.equal("malformed_packet", c.disconnected.reason)
  end)
end)

describe("luamq.client with enhanced authentication", function()
  local method = "\21\0\4ROT5"

  local function data(text) return "\22" .. (">s2"):pack(text) end

  --- A packet of the type with properties behind its first bytes.
  local function packet(first, head, properties)
    return string.char(first) .. ("s1"):pack(head .. ("s1"):pack(properties))
  end

  local function hex(bytes)
    return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
  end

  --- A server that answers packet by packet, and the address of it.
  local function server(...)
    local words = { "/usr/bin/python3", "spec/support/scripted_server.py" }
    for _, answer in ipairs { ... } do words[#words + 1] = hex(answer) end
    local self = process.start(words)
    return self, math.tointeger(tonumber(self:line()))
  end

  local function connect(port, authenticate)
    return client.connect { port = port, version = "5", authentication_method = "ROT5",
      authentication_data = "hello", authenticate = authenticate }
  end

  it("answers until it is let in, and does so again", function()
    local s, port = server(
      packet(0xf0, "\x18", method .. data "one"), packet(0xf0, "\x18", method .. data "two"),
      packet(0x20, "\0\0", method .. data "welcome"),
      packet(0xf0, "\x18", method .. data "three"), packet(0xf0, "\0", method))
    local asked = {}
    local c = assert(connect(port, function(question, answer)
      asked[#asked + 1] = { question, answer.reason }
      return question .. "!"
    end))
    assert.equal("welcome", c.connack.authentication_data)
    assert.equal("success", assert(c:reauthenticate "again").reason)
    assert.same({ { "one", "continue_authentication" }, { "two", "continue_authentication" },
      { "three", "continue_authentication" } }, asked)
    c:close()
    assert.equal(0, s:wait())
    local got = {}
    for line in s.output:gmatch "[^\n]+" do if line:find "^f0" then got[#got + 1] = line end end
    assert.same({
      hex(packet(0xf0, "\x18", method .. data "one!")), hex(packet(0xf0, "\x18", method .. data "two!")),
      hex(packet(0xf0, "\x19", method .. data "again")), hex(packet(0xf0, "\x18", method .. data "three!")),
    }, got)
  end)

  it("gives up where it has no answer", function()
    for _, authenticate in ipairs { function() return nil end, false } do
      local s, port = server(packet(0xf0, "\x18", method .. data "one"))
      local c, problem = connect(port, authenticate or nil)
      assert.is_nil(c)
      assert.equal("the broker asks for more, and `authenticate` has no answer", problem)
      assert.equal(0, s:wait())
    end
  end)

  it("tells a refusal, and what the server says of it", function()
    local s, port = server(packet(0x20, "\0\x8c", "\31" .. (">s2"):pack "no such method"))
    local result = table.pack(connect(port))
    assert.same({ n = 4, "bad_authentication_method", 0x8c },
      { n = result.n, result[2], result[3] })
    assert.equal("no such method", result[4].reason_string)
    assert.equal(0, s:wait())
  end)

  it("ends when it was not asked for", function()
    local s, port = server(packet(0xf0, "\x18", method .. data "one"))
    local c, problem = client.connect { port = port, version = "5" }
    assert.is_nil(c)
    assert.equal("unexpected packet", problem)
    assert.equal(0, s:wait())
  end)
end)
