local certificates = require "spec.support.certificates"
local client = require "luamq.client"
local process = require "spec.support.process"
local test = require "luamq.test"

local reference_run = [[
B [new connection]
B [packet received] <Connect ClientID="" KeepAlive=30 Username="" Password="" CleanSession=true ]]
  .. [[Will=nil Version=4>
B [packet sent] <Connack SessionPresent=false ReturnCode=0>
B [packet received] <Subscribe ID=1 Subscriptions=["test"=>0]>
B [packet sent] <Suback ID=1 ReturnCodes=[0]>
B [packet received] <Publish ID=0 Message=<Message Topic="test" QOS=0 Retain=false ]]
  .. [[Payload=74657374> Dup=false>
B [message published] <Message Topic="test" QOS=0 Retain=false Payload=74657374>
B [message dequeued] <Message Topic="test" QOS=0 Retain=false Payload=74657374>
B [packet sent] <Publish ID=0 Message=<Message Topic="test" QOS=0 Retain=false Payload=74657374> Dup=false>
B [message forwarded] <Message Topic="test" QOS=0 Retain=false Payload=74657374>
B [packet received] <Disconnect>
B [client disconnected]
B [lost connection]
]]

local any_port = "tcp://127.0.0.1:0"

local directory = process.directory()
certificates.make(directory)
certificates.issue(directory, "meter-7")
certificates.issue(directory, "meter-8")

lazy_teardown(function() process.remove(directory) end)

local function file(name) return directory .. "/" .. name end

describe("the example", function()
  --- The names of all examples that are scripts of brokers.
  local function scripts()
    local list = {}
    for path in process.output { "find", "examples", "-name", "*.lua" }:gmatch "[^\n]+" do
      local text = process.read(path)
      if text:find "listeners =" then list[#list + 1] = path end
    end
    return list
  end

  it("is a good script, each of them", function()
    local list = scripts()
    assert.is_true(#list >= 7)
    for _, path in ipairs(list) do
      local words = { process.luamq, "--check", path, path == "examples/tls.lua" and directory or nil }
      assert.same({ 0, path .. ": fine\n" }, { process.run(words, { errors = true }) })
    end
  end)

  it("acl.lua keeps sensors, users and guests apart", function()
    local broker <close> = test.broker "examples/acl.lua"
    local function connect(id, name)
      return assert(broker:connect { id = id, username = name, password = name })
    end
    local admin, sensor = connect("admin", "admin"), connect("s1", "sensor")
    local ann, guest = connect("c1", "ann"), connect("c2", "guest")
    local function publishes(c, topic) return c:publish(topic, "x", 1).reason == "success" end
    local function subscribes(c, filter) return c:subscribe(filter, 1).reason == "success" end

    assert.is_true(publishes(sensor, "s/s1"))
    assert.is_false(publishes(sensor, "s/s2"))
    assert.is_true(subscribes(sensor, "s/s1/command"))
    assert.is_false(subscribes(sensor, "u/sensor/#"))
    assert.is_true(publishes(ann, "u/ann/x"))
    assert.is_false(publishes(ann, "u/bob/x"))
    assert.equal(0, ann:subscribe("s/+", 1).qos)
    for _, c in ipairs { ann, guest } do
      assert.is_false(subscribes(c, "s/#"))
      assert.is_false(subscribes(c, "s/s1/secret/x"))
      assert.is_true(subscribes(c, "news/#"))
    end
    assert.is_false(publishes(guest, "u/guest/x"))
    for _, topic in ipairs { "news/internal/a", "news/b", "s/s1/secret/x" } do
      assert.is_true(publishes(admin, topic))
    end
    assert.equal("news/internal/a", ann:receive().topic)
    assert.equal("news/b", ann:receive().topic)
    assert.is_nil(ann:receive())
    assert.equal("news/b", guest:receive().topic)
    assert.is_nil(guest:receive())
  end)

  it("minimal.lua is open, on loopback", function()
    assert.matches("\ncredentials = nil, .*\n  anonymous = nil, ",
      "\n" .. process.output({ process.luamq, "--dump", "examples/minimal.lua" }):match "credentials.*")
    local broker <close> = test.broker "examples/minimal.lua"
    local c = broker:connect { username = "anyone", password = "at all" }
    c:subscribe("#", 2)
    for qos = 0, 2 do
      assert.equal("success", c:publish("a", tostring(qos), qos).reason)
      assert.equal(tostring(qos), c:receive().payload)
    end
  end)

  it("broker.lua is the home that README shows", function()
    local broker <close> = process.broker { "examples/broker.lua", any_port }
    local c <close> = assert(client.connect { port = broker.port, id = "c" })
    assert.equal(1, c:subscribe("home/#", 2))
    assert.is_nil(c:subscribe("#", 2))
    assert(c:publish("home/heating/set", "30", 1)) -- refused: nothing is delivered
    assert(c:publish("home/heating/set", "warm", 1))
    assert(c:publish("elsewhere", "x", 1))
    assert(c:publish("home/heating/set", "25", 1))
    assert(c:publish("home/kitchen/light", "on", 0))
    for _, expected in ipairs { "home/heating/set 25", "home/kitchen/light on" } do
      local message = c:receive()
      assert.equal(expected, message.topic .. " " .. message.payload)
    end
    assert.is_nil(c:receive(0))
    broker:expect " warn heating refused client=c payload_bytes=2$"
    broker:expect " warn heating refused client=c payload_bytes=4$"
  end)

  it("broker.lua is what mosquitto's tools see, too", function()
    local broker <close> = process.broker { "examples/broker.lua", any_port }
    local port = tostring(broker.port)
    -- Retained, so that it does not matter when the subscription is in force.
    local pub = { "mosquitto_pub", "-p", port, "-q", "1", "-r" }
    local sub <close> = process.start { "mosquitto_sub", "-p", port, "-t", "home/#", "-v", "-C", "1" }
    for _, message in ipairs { { "home/heating/set", "30" }, { "home/kitchen/light", "on" } } do
      table.move({ "-t", message[1], "-m", message[2] }, 1, 4, 7, pub)
      process.output(pub)
    end
    assert.equal(0, sub:wait())
    assert.equal("home/kitchen/light on\n", sub.output)
  end)

  it("reference.lua prints the reference run, byte for byte", function()
    local broker <close> = process.broker { "examples/reference.lua", any_port }
    local listening = broker.output
    assert.same({ 0, "" }, { process.run({ "lua5.4", "examples/reference_client.lua", "127.0.0.1",
      tostring(broker.port) }, { errors = true }) })
    assert.equal(0, broker:stop())
    local seen = broker.output:sub(#listening + 1):gsub("%d%S+Z info %l[^\n]+\n", "")
    assert.equal(reference_run, seen)
  end)

  it("reference_client.lua is run by the program as it says", function()
    local head = process.read "examples/reference.lua"
    local broker <close> = process.broker { "examples/reference.lua", any_port }
    local chunk = head:match "luamq %-e '([^'\n]+)'":gsub("1883", broker.port)
    assert.same({ 0, "" }, { process.run({ process.luamq, "-e", chunk }, { errors = true }) })
  end)

  it("passwords.lua lets in who is in the file", function()
    local broker <close> = test.broker "examples/passwords.lua"
    assert(broker:connect { username = "demo", password = "change me" })
    for _, wrong in ipairs {
      {}, { username = "demo" }, { username = "demo", password = "change" },
      { username = "# name", password = "hash, one a line, as `luamq passwd` writes it" },
    } do
      local refused, answer = broker:connect(wrong)
      assert.is_nil(refused)
      assert.same({ "not_authorized", 135 }, { answer.reason, answer.code })
    end
  end)

  it("passwords.lua takes another file, and an address", function()
    local users = directory .. "/users"
    process.output { process.luamq, "passwd", "-cb", users, "ann", "a:b" }
    local broker <close> = process.broker { "examples/passwords.lua", users, any_port }
    assert(client.connect { port = broker.port, username = "ann", password = "a:b" }):close()
    for name, password in pairs { bob = "a:b", ann = "a" } do
      assert.same({ n = 3, [2] = "not authorized", [3] = 5 },
        table.pack(client.connect { port = broker.port, username = name, password = password }))
    end
    assert.same({ 0, "examples/passwords.lua: fine\n" }, { process.run { process.luamq, "--check",
      "examples/passwords.lua", users, "tcp://0.0.0.0:1883" } })
  end)

  it("topics.lua has rules for each user", function()
    local broker <close> = test.broker "examples/topics.lua"
    local function connect(username, password, id)
      return broker:connect { id = id or username, username = username, password = password }
    end
    assert.is_nil(connect("pump", "d4sh"))
    local pump, wall, anna = connect("pump", "p4mp"), connect("wall", "d4sh"), connect("anna", "0perator")
    assert.equal(1, pump:subscribe("sensors/pump/cmd", 1).qos)
    assert.equal(1, wall:subscribe("sensors/#", 1).qos)
    assert.equal(1, anna:subscribe("#", 1).qos)
    assert.equal("not_authorized", pump:subscribe("sensors/+/cmd", 1).reason)
    assert.equal("not_authorized", wall:subscribe("#", 1).reason)
    assert.equal("success", pump:publish("sensors/pump/t", "20", 1).reason)
    assert.equal("not_authorized", pump:publish("sensors/boiler/t", "20", 1).reason)
    assert.equal("not_authorized", wall:publish("sensors/pump/t", "20", 1).reason)
    assert.equal("success", anna:publish("sensors/pump/cmd", "go", 1).reason)
    assert.equal("not_authorized", anna:publish("sensors/pump/t", "20", 1).reason)
    assert.equal("go", pump:receive().payload)
    assert.equal(2, #wall:receive_all())
    local thief, answer = connect("wall", "d4sh", "pump") -- no way to the session of another
    assert.is_nil(thief)
    assert.equal("client_identifier_not_valid", answer.reason)
    assert.is_false(pump.closed)
  end)

  it("tenants.lua keeps two tenants apart on the same topics", function()
    local broker <close> = test.broker "examples/tenants.lua"
    local function connect(name, password)
      return broker:connect { id = name, username = name, password = password }
    end
    local wrong = { ["a@x"] = "beta", ["c@x"] = "", a = "alpha", ["@"] = "", ["a/b@x"] = "alpha" }
    for name, password in pairs(wrong) do
      local refused, answer = connect(name, password)
      assert.is_nil(refused)
      assert.equal("bad_user_name_or_password", answer.reason)
    end
    local thief, answer = broker:connect { id = "a-1", username = "b@1", password = "beta" }
    assert.is_nil(thief)
    assert.equal("client_identifier_not_valid", answer.reason)
    local a1, a2, b = connect("a@1", "alpha"), connect("a@2", "alpha"), connect("b@1", "beta")
    for _, c in ipairs { a1, a2, b } do assert.equal(1, c:subscribe("#", 1).qos) end
    assert.equal("success", a1:publish("x/y", "of a", 1, true).reason)
    assert.equal("success", b:publish("x/y", "of b", 2).reason)
    for c, payload in pairs { [a1] = "of a", [a2] = "of a", [b] = "of b" } do
      local messages = c:receive_all()
      assert.equal(1, #messages)
      assert.same({ "x/y", payload }, { messages[1].topic, messages[1].payload })
    end
    assert.same({ "t/a/x/y" }, { broker:retained("#")[1].topic })
    assert.equal("success", a2:unsubscribe("#").reason)
    a1:publish("x", "again", 1)
    assert.equal("again", a1:receive().payload)
    assert.is_nil(a2:receive())
    assert.equal(1, b:subscribe("t/a/#", 1).qos) -- the prefix is no way round
    assert.is_nil(b:receive())
  end)

  it("tls.lua knows devices by their certificates", function()
    local broker <close> = process.broker { "examples/tls.lua", directory, "tls://127.0.0.1:0" }
    local port = broker.url:match "%d+$"
    local function publish(id, name, topic, ...)
      return (process.run { "mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-i", id, "-t", topic, "-m", "x",
        "-q", "1", "--cafile", file "ca.pem", "--cert", file(name .. ".pem"), "--key",
        file(name .. ".key"), ... })
    end
    local sub <close> = process.start { "mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-i", "meter-8", "-v",
      "-t", "devices/meter-8/#", "-C", "1", "--cafile", file "ca.pem",
      "--cert", file "meter-8.pem", "--key", file "meter-8.key" }
    broker:expect " info client connected id=meter%-8 "
    assert.equal(0, publish("meter-7", "meter-7", "devices/meter-8/set"))
    assert.are_not.equal(0, publish("meter-8", "meter-7", "devices/meter-8/set"))
    assert.equal(0, publish("meter-7", "meter-7", "devices/meter-7/kwh", "-r"))
    sub:signal "TERM"
    sub:wait()
    assert.equal("", sub.output) -- nothing of another
    local own = { "mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-i", "meter-7", "-v", "-t",
      "devices/meter-7/#", "-C", "1", "--cafile", file "ca.pem", "--cert", file "meter-7.pem",
      "--key", file "meter-7.key" }
    assert.equal("devices/meter-7/kwh x\n", process.output(own))
  end)

  it("psk.lua knows devices by their keys", function()
    local broker <close> = process.broker { "examples/psk.lua", "tls://127.0.0.1:0" }
    local words = { "-h", "127.0.0.1", "-p", broker.url:match "%d+$", "--psk-identity", "meter-7", "--psk",
      "1a2b3c4d5e6f708192a3b4c5d6e7f801", "-q", "1" }
    local function run(tool, ...)
      return process.run { tool, table.unpack(table.move({ ... }, 1, select("#", ...), #words + 1,
        table.move(words, 1, #words, 1, {}))) }
    end
    assert.equal(0, (run("mosquitto_pub", "-t", "meters/meter-7", "-m", "5", "-r")))
    assert.equal(0, (run("mosquitto_pub", "-t", "meters/meter-8", "-m", "6", "-r"))) -- refused
    assert.same({ 0, "meters/meter-7 5\n" }, { run("mosquitto_sub", "-v", "-t", "meters/#", "-C", "1") })
    words[8] = words[8]:gsub("1$", "2")
    assert.are_not.equal(0, (run("mosquitto_pub", "-t", "meters/meter-7", "-m", "7", "-r")))
  end)

  it("websocket.lua shows devices to pages of one site", function()
    local broker <close> = process.broker { "examples/websocket.lua", "ws://127.0.0.1:0", any_port }
    local port = math.tointeger(tonumber(broker.url:match ":(%d+)/mqtt$"))
    local devices = math.tointeger(tonumber(broker:expect("^listening on tcp:"):match "%d+$"))
    local c <close> = assert(client.connect { port = devices, username = "device", password = "secret" })
    assert(c:publish("kwh", "5", 1, true))
    local request = "GET /mqtt HTTP/1.1\r\nHost: dashboard.example.org\r\nUpgrade: websocket\r\n"
      .. "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n"
      .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: 192.0.2.7\r\nOrigin: "
    local packets = "\x10\x10\0\4MQTT\4\2\0\0\0\4page\xe0\0"
    local frame = "\x82" .. string.char(0x80 | #packets) .. "\0\0\0\0" .. packets
    local function ask(origin) return process.exchange(port, request .. origin .. "\r\n\r\n" .. frame) end
    assert.matches("^HTTP/1.1 403 ", ask "https://example.org")
    local answer = ask "https://dashboard.example.org"
    assert.matches("^HTTP/1.1 101 ", answer)
    assert.matches("\r\n\r\n\x82\4\x20\2\0\0", answer, 1, true)
    broker:expect " info client connected id=page remote=192.0.2.7:0 "
    assert.matches("^HTTP/1.1 404 .*\r\n\r\nnothing here\n$",
      process.exchange(port, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
  end)

  it("policy has a spec of its own", function()
    local ran = process.output { "busted", "--lua=/usr/bin/lua5.4", "-o", "TAP", "examples/policy" }
    assert.matches("^ok 1 .*\n1%.%.%d\n", ran)
    assert.is_nil(ran:find("not ok", 1, true))
    local broker <close> = process.broker({ "broker.lua", any_port }, { directory = "examples/policy" })
    local device = { port = broker.port, id = "d1", username = "device", password = "dev" }
    assert(client.connect(device)):disconnect()
  end)
end)
