local client = require "luamq.client"
local network = require "luamq.network"
local process = require "spec.support.process"

local script = [[
local hooks = {}
function hooks.authenticate(client, username, password)
  if username == "nobody" then return false, "bad_user_name_or_password" end
  return true
end
function hooks.subscribe(client, subscription)
  if subscription.topic == "secret" then return false end
  return true
end
return { listeners = { "tcp://127.0.0.1:0" }, hooks = hooks, log = { level = "off" } }
]]

describe("luamq.client", function()
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
    options.port = broker.port
    return client.connect(options)
  end

  it("publishes and receives with every QoS", function()
    local c <close> = assert(connect { id = "all" })
    assert.equal(2, c:subscribe("a/#", 2))
    for qos = 0, 2 do
      assert.is_true(c:publish("a/b", "payload " .. qos, qos))
      local message = assert(c:receive())
      assert.same({ "a/b", "payload " .. qos, qos, false, false },
        { message.topic, message.payload, message.qos, message.retain, message.dup })
    end
  end)

  it("keeps messages that come while it waits for something else", function()
    local c <close> = assert(connect { id = "keeps" })
    assert(c:subscribe "k")
    for i = 1, 3 do assert(c:publish("k", tostring(i), 2)) end
    assert.is_true(c:ping())
    for i = 1, 3 do assert.equal(tostring(i), c:receive(0).payload) end
    assert.same({ n = 2, [2] = "timeout" }, table.pack(c:receive(0)))
  end)

  it("subscribes to lists and tells refusals", function()
    local c <close> = assert(connect { id = "lists" })
    assert.same({ 0x80, 1 }, c:subscribe({ "secret", "x" }, 1))
    assert.same({ n = 3, [2] = "subscription refused", [3] = 0x80 }, table.pack(c:subscribe "secret"))
    assert.is_true(c:unsubscribe { "x", "unknown" })
    assert(c:publish("x", "nobody gets this", 1))
    assert.is_nil(c:receive(0))
  end)

  it("gets retained messages", function()
    local c <close> = assert(connect { id = "retains" })
    assert(c:publish("r", "kept", { qos = 1, retain = true }))
    assert(c:subscribe "r")
    assert.is_true(c:receive().retain)
    assert(c:publish("r", "", 1, true))
    assert.equal("", c:receive().payload)
  end)

  it("tells why a connection was refused", function()
    assert.same({ n = 3, [2] = "bad user name or password", [3] = 4 },
      table.pack(connect { id = "n", username = "nobody" }))
    assert.same({ n = 3, [2] = "client id rejected", [3] = 2 }, table.pack(connect { clean = false }))
  end)

  it("takes a URL", function()
    local url = ("mqtt://us%%20er:p%%3aw@127.0.0.1:%d"):format(broker.port)
    local c <close> = assert(client.connect { url = url })
    assert.is_true(c:ping())
    assert.same({ n = 3, [2] = "bad user name or password", [3] = 4 },
      table.pack(client.connect { url = ("tcp://nobody@127.0.0.1:%d/"):format(broker.port) }))
    local _, message = client.connect { url = "unix:///nonexistent/luamq.sock" }
    assert.equal("/nonexistent/luamq.sock: No such file or directory", message)
  end)

  it("takes URLs apart", function()
    for url, expected in pairs {
      ["mqtt://host"] = { host = "host", port = 1883 },
      ["tcp://[::1]:7/"] = { host = "::1", port = 7 },
      ["ssl://a%20b@host"] = { host = "host", port = 8883, tls = true, username = "a b" },
      ["mqtts://a:b:c@d@10.0.0.1:99"] =
        { host = "10.0.0.1", port = 99, tls = true, username = "a", password = "b:c@d" },
      ["ws://host"] = { host = "host", port = 80, websocket = true },
      ["wss://u:@host/?a=b"] =
        { host = "host", port = 443, tls = true, websocket = true, path = "/?a=b", username = "u",
          password = "" },
      ["unix:///run/x"] = { unix = "/run/x" },
    } do
      assert.same(expected, network.parse(url))
    end
    for _, url in ipairs { "host", "mqtt:host", "mqtt://", "mqtt://h:", "mqtt://h:x", "mqtt://h:65536",
      "mqtt://::1", "mqtt://[::1", "mqtt://[::1]x", "mqtt://u%zz@h", "unix://run", "MQTT://h" } do
      assert.is_nil((network.parse(url)), url)
    end
  end)

  it("tells which file of TLS cannot be used", function()
    local _, message = connect { tls = { ca = "/nonexistent/ca.pem" } }
    assert.equal("tls.ca: cannot read /nonexistent/ca.pem: No such file or directory", message)
    _, message = connect { tls = { psk = "hush", psk_identity = "meter" } }
    assert.equal("tls.psk: expected hexadecimal digits for 1 to 64 bytes", message)
  end)

  it("tells why there is no connection", function()
    local _, message = client.connect { port = 1, timeout = 1 }
    assert.matches("127.0.0.1 port 1: ", message, 1, true)
  end)

  it("speaks MQTT 3.1", function()
    local c <close> = assert(connect { id = "old", version = 3 })
    assert(c:subscribe("old", 1))
    assert(c:publish("old", "x", 2))
    assert.equal(1, c:receive().qos)
  end)

  it("goes on with its session", function()
    local c <close> = assert(connect { id = "stays", clean = false })
    assert.is_false(c.session_present)
    assert(c:subscribe("s", 1))
    c:close()
    local other <close> = assert(connect { id = "other" })
    assert(other:publish("s", "meanwhile", 1))
    assert(c:reconnect())
    assert.is_true(c.session_present)
    assert.equal("meanwhile", c:receive().payload)
    local last <close> = assert(connect { id = "stays" }) -- a clean session ends the stored one
    assert.is_false(last.session_present)
  end)

  it("leaves a will when it is closed, and none when it disconnects", function()
    local watcher <close> = assert(connect { id = "watcher" })
    assert(watcher:subscribe "w")
    local will = { topic = "w", payload = "gone" }
    assert(connect { id = "orderly", will = will }):disconnect()
    assert(connect { id = "lost", will = will }):close()
    assert.equal("gone", watcher:receive().payload)
    assert.is_nil(watcher:receive(0))
  end)

  it("disconnects at the end of its scope", function()
    local kept
    do
      local c <close> = assert(connect { id = "scope" })
      kept = c
      assert.is_false(kept.closed)
    end
    assert.is_true(kept.closed)
  end)

  it("answers everything with the reason once it is closed", function()
    local c = assert(connect { id = "ended" })
    c:close()
    c:close()
    c:disconnect()
    for _, call in ipairs {
      function() return c:publish("a", "x", 1) end, function() return c:subscribe "a" end,
      function() return c:unsubscribe "a" end, function() return c:receive(0) end,
      function() return c:ping() end, function() return c:send_raw "x" end,
      function() return c:receive_packet(0) end,
    } do
      assert.same({ n = 2, [2] = "connection closed" }, table.pack(call()))
    end
  end)

  it("notices that the broker ended the connection", function()
    local c <close> = assert(connect { id = "taken" })
    local thief <close> = assert(connect { id = "taken" })
    local _, problem = c:receive()
    assert.equal("connection closed", problem)
    assert.is_true(c.closed)
    assert.is_false(thief.closed)
  end)

  it("carries large payloads", function()
    local c <close> = assert(connect { id = "large" })
    assert(c:subscribe("l", 1))
    local payload = ("0123456789abcdef"):rep(1 << 16)
    assert(c:publish("l", payload, 1))
    assert.is_true(c:receive().payload == payload)
  end)

  it("sends and receives raw packets", function()
    local c = assert(client.open { port = broker.port })
    assert.is_false(c.closed)
    assert(c:send_raw "\x10\x0e\0\4MQTT\4\2\0\60\0\2ab")
    assert.equal("<Connack SessionPresent=false ReturnCode=0>", c:receive_packet().text)
    assert(c:send_raw "\x82\x06\0\7\0\1t\1\x32\x06\0\1t\0\9x")
    local suback = c:receive_packet()
    assert.same({ "Suback", 7, { 1 } }, { suback.type, suback.id, suback.codes })
    local types = {}
    for _ = 1, 2 do
      local packet = c:receive_packet()
      types[packet.type] = packet
    end
    assert.equal(9, types.Puback.id)
    assert.equal("x", types.Publish.payload)
    assert(c:send_raw "\xff\xff")
    assert.is_nil(c:receive_packet())
    assert.is_true(c.closed)
  end)

  it("raises on misuse, in the caller's line", function()
    local c <close> = assert(connect { id = "misuse" })
    for message, call in pairs {
      ["connect: unknown field 'prot'"] = function() client.connect { prot = 1 } end,
      ["connect: port must be of type integer, got string"] = function() client.connect { port = "1883" } end,
      ['connect: version must be "3.1", "3.1.1" or "5"'] = function() client.connect { version = 6 } end,
      ["connect: session_expiry_interval is of MQTT 5"] =
        function() client.connect { session_expiry_interval = 1 } end,
      ["connect: receive_maximum: expected an integer from 1 to 65535"] =
        function() client.connect { version = 5, receive_maximum = 0 } end,
      ["connect: authentication_data needs an authentication_method"] =
        function() client.connect { version = 5, authentication_data = "hush" } end,
      ["will: content_type is of MQTT 5"] =
        function() client.connect { will = { topic = "a", content_type = "x" } } end,
      ["will: response_topic: not a topic"] =
        function() client.connect { version = "5", will = { topic = "a", response_topic = "#" } } end,
      ["publish: content_type is of MQTT 5"] = function() c:publish("a", "", { content_type = "x" }) end,
      ["publish: user_properties: expected pairs { name, value }"] =
        function() c:publish("a", "", { user_properties = { { "a" } } }) end,
      ["publish: unknown field 'subscription_identifier'"] =
        function() c:publish("a", "", { subscription_identifier = 1 }) end,
      ["subscribe: all options but qos are of MQTT 5"] = function() c:subscribe("a", { no_local = true }) end,
      ["subscribe: retain_handling must be from 0 to 2"] =
        function() c:subscribe("a", { retain_handling = 3 }) end,
      ["disconnect: with_will is of MQTT 5"] = function() c:disconnect { with_will = true } end,
      ["connect: a password needs a username"] = function() client.connect { password = "x" } end,
      ["connect: will.topic is not a topic"] = function() client.connect { will = { topic = "#" } } end,
      ["connect: url: expected mqtt, mqtts, ws, wss or unix and ://"] =
        function() client.connect { url = "http://u:hush@host" } end,
      ["connect: url: has no port from 1 to 65535"] =
        function() client.connect { url = "mqtt://u:hush@host:0" } end,
      ["connect: url: has no host"] = function() client.connect { url = "mqtt://u:hush@:1883" } end,
      ["connect: url: malformed path"] = function() client.connect { url = "ws://host/a b" } end,
      ["connect: url: has a path, which is for ws:// and wss:// only"] =
        function() client.connect { url = "mqtt://host/a" } end,
      ["connect: url: has a malformed user name or password"] =
        function() client.connect { url = "mqtt://u:%0@host" } end,
      ["connect: url excludes host"] = function() client.connect { url = "mqtt://host", host = "host" } end,
      ["connect: tls does not go with the scheme of the url"] =
        function() client.connect { url = "mqtt://host", tls = {} } end,
      ["connect: unix excludes tls and websocket"] = function() client.connect { unix = "/a", tls = {} } end,
      ["connect: tls: unknown field 'cafile'"] = function() client.connect { tls = { cafile = "x" } } end,
      ["connect: tls.certificate and tls.key need each other"] =
        function() client.connect { tls = { key = "x" } } end,
      ['connect: tls.min_version must be "1.2" or "1.3"'] =
        function() client.connect { tls = { min_version = "1.1" } } end,
      ["connect: websocket.path is not a path"] =
        function() client.connect { websocket = { path = "/a\0b" } } end,
      ["connect: websocket.headers must map names to values of headers"] =
        function() client.connect { websocket = { headers = { A = "b\r\nC: d" } } } end,
      ['"a/#" is not a topic'] = function() c:publish("a/#", "") end,
      ["payload must be a string, got nil"] = function() c:publish "a" end,
      ["qos must be 0, 1 or 2"] = function() c:subscribe("a", 3) end,
      ['"a#" is not a topic filter'] = function() c:subscribe "a#" end,
      ["expected a topic filter"] = function() c:unsubscribe {} end,
      ["publish: unknown field 'retained'"] = function() c:publish("a", "", { retained = true }) end,
    } do
      local ok, problem = pcall(call)
      assert.is_false(ok)
      assert.matches("client_spec.lua:%d+: ", problem)
      assert.equal(message, (problem:gsub("^.-:%d+: ", "")))
    end
  end)
end)
