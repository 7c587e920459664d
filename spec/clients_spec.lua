local client = require "luamq.client"
local process = require "spec.support.process"

-- Prints who is let in, has subscribed, and has gone: what a spec waits for.
local script = [[
local hooks = {}
function hooks.authenticate(client, username, password)
  return username == nil or username == "user" and password == "hush"
end
function hooks.log(event, client, packet)
  if event == "packet sent" and (packet.type == "connack" or packet.type == "suback") then
    print(packet.type, client.id)
  elseif event == "lost connection" then
    print("gone", client.id)
  end
end
return { listeners = { "tcp://127.0.0.1:0" }, hooks = hooks, log = { level = "off" },
  backend = { full_queue_wait = 20 } }
]]

describe("a real client", function()
  local broker, path, port

  before_each(function()
    path = process.script(script)
    broker = process.broker { path }
    port = tostring(broker.port)
  end)

  after_each(function()
    assert.equal(0, broker:stop())
    os.remove(path)
  end)

  local function connect(options)
    options = options or {}
    options.port = broker.port
    return assert(client.connect(options))
  end

  --- The words of one of the tools, with the broker's address.
  local function words(program, arguments)
    local list = { table.unpack(program) }
    table.move({ "-h", "127.0.0.1", "-p", port, table.unpack(arguments) }, 1, #arguments + 4, #list + 1, list)
    return list
  end

  -- mosquitto's tools and our own take the same flags; what they print on errors is their own.
  local tools = {
    { name = "mosquitto", pub = { "mosquitto_pub" }, sub = { "mosquitto_sub" },
      refused = "not authorised" },
    { name = "luamq", pub = { process.luamq, "pub" }, sub = { process.luamq, "sub" },
      refused = "not authorized" },
  }

  for _, tool in ipairs(tools) do
    local function pub(arguments, input)
      local status, output = process.run(words(tool.pub, arguments), { errors = true, input = input })
      assert.same({ 0, "" }, { status, output })
    end

    --- A sub of the id "sub" whose subscriptions are in force; it writes a line for each message.
    local function sub(arguments)
      local common = { "-i", "sub", "-F", "%t %q %r %p", table.unpack(arguments) }
      local self = process.start(words(tool.sub, common))
      broker:expect "^suback\tsub$"
      return self
    end

    describe("of " .. tool.name, function()
      for _, version in ipairs { "mqttv31", "mqttv311", "mqttv5" } do
        it("publishes and subscribes with every QoS, " .. version, function()
          for qos = 0, 2 do
            local s <close> = sub { "-V", version, "-t", "q/+", "-q", tostring(qos), "-C", "3" }
            for sent = 0, 2 do
              pub { "-V", version, "-t", "q/" .. sent, "-m", "m" .. sent, "-q", tostring(sent) }
              assert.equal(("q/%d %d 0 m%d"):format(sent, math.min(qos, sent), sent), s:line())
            end
            assert.equal(0, s:wait())
          end
        end)
      end

      it("gets retained messages, and deletes them", function()
        pub { "-t", "r/a", "-m", "old", "-r" }
        pub { "-t", "r/a", "-m", "new", "-r", "-q", "1" }
        local s = sub { "-t", "r/#", "-q", "2", "-C", "2" }
        assert.equal("r/a 1 1 new", s:line())
        pub { "-t", "r/a", "-m", "live", "-r", "-q", "2" }
        assert.equal("r/a 2 0 live", s:line())
        assert.equal(0, s:wait())
        pub { "-t", "r/a", "-n", "-r" }
        local c <close> = connect()
        assert(c:subscribe "r/#")
        assert.is_true(c:ping())
        assert.is_nil(c:receive(0))
      end)

      it("gets what came while it was away, in order", function()
        local stored = { "-c", "-t", "s/#", "-q", "2" }
        local s = sub { "-E", table.unpack(stored) }
        assert.equal(0, s:wait())
        for i = 1, 20 do pub { "-t", "s/" .. i, "-m", tostring(i), "-q", "1" } end
        pub { "-t", "s/0", "-m", "QoS 0 is not kept" }
        local again = sub { "-C", "20", table.unpack(stored) }
        for i = 1, 20 do assert.equal(("s/%d 1 0 %d"):format(i, i), again:line()) end
        assert.equal(0, again:wait())
      end)

      it("leaves a will when it is killed, and none when it ends", function()
        local c <close> = connect()
        assert(c:subscribe("w", 1))
        local will = { "--will-topic", "w", "--will-payload", "gone", "--will-qos", "1", "-t", "x" }
        local orderly = sub { "-C", "1", table.unpack(will) }
        pub { "-t", "x", "-m", "the one" }
        assert.equal(0, orderly:wait())
        broker:expect "^gone\tsub$"
        local killed = sub(will)
        killed:signal "KILL"
        local message = c:receive()
        assert.same({ "gone", 1 }, { message.payload, message.qos })
        assert.equal(128 + 9, killed:wait())
        assert.is_nil(c:receive(0))
      end)

      it("is refused with a wrong password, and let in with the right one", function()
        pub { "-t", "a", "-m", "x", "-u", "user", "-P", "hush" }
        for _, login in ipairs { { "user", "wrong" }, { "user", "" }, { "x", "hush" }, { "", "" } } do
          local wrong = words(tool.pub, { "-t", "a", "-m", "x", "-u", login[1], "-P", login[2] })
          local status, output = process.run(wrong, { errors = true })
          assert.not_equal(0, status)
          assert.matches(tool.refused, output)
        end
      end)

      it("carries a large payload, and many lines", function()
        local large = ("0123456789abcdef"):rep(1 << 16)
        local file = process.script(large)
        local c <close> = connect()
        assert(c:subscribe("#", 2))
        pub { "-t", "large", "-f", file, "-q", "2" }
        os.remove(file)
        assert.is_true(c:receive().payload == large)
        local lines = {}
        for i = 1, 100 do lines[i] = "line " .. i end
        pub({ "-t", "lines", "-l", "-q", "1" }, table.concat(lines, "\n") .. "\n")
        for i = 1, 100 do assert.equal(lines[i], c:receive().payload) end
      end)

      it("is taken over by another of its id", function()
        local first <close> = sub { "-t", "a" }
        local second <close> = connect { id = "sub" }
        broker:expect "^gone\tsub$"
        assert.is_false(second.session_present)
        first:signal "KILL"
      end)
    end)
  end

  it("that speaks MQTT 5 hears one that speaks 3.1.1, and the other way round", function()
    local one = { "-t", "v/#", "-q", "1", "-C", "1", "-v", "-i" }
    local subs = {}
    for _, version in ipairs { "5", "311" } do
      one[9] = "sub" .. version
      subs[version] = process.start(words({ "mosquitto_sub", "-V", version }, one))
      broker:expect("^suback\tsub" .. version .. "$")
    end
    process.output(words({ "mosquitto_pub", "-V", "5" }, { "-t", "v/new", "-m", "x", "-q", "1" }))
    assert.same({ 0, "v/new x\n" }, { subs["311"]:wait(), subs["311"].output })
    assert.same({ 0, "v/new x\n" }, { subs["5"]:wait(), subs["5"].output })
  end)

  it("of mosquitto hears one of ours, and the other way round", function()
    local two = { "-t", "x/#", "-q", "2", "-C", "2", "-v", "-i" }
    local each = {}
    for i, tool in ipairs(tools) do
      two[9] = tool.name
      each[i] = process.start(words(tool.sub, two))
      broker:expect("^suback\t" .. tool.name .. "$")
    end
    process.output(words({ "mosquitto_pub" }, { "-t", "x/a", "-m", "one", "-q", "2" }))
    process.output(words({ process.luamq, "pub" }, { "-t", "x/b", "-m", "two", "-q", "2" }))
    for _, sub in ipairs(each) do
      assert.equal(0, sub:wait())
      assert.equal("x/a one\nx/b two\n", sub.output)
    end
  end)

  for _, scenario in ipairs { "each_qos", "many_in_flight", "will", "retained", "session" } do
    it("of paho: " .. scenario, function()
      local drains = { "/usr/bin/python3", "spec/support/paho_client.py", broker.url, scenario }
      local status, output = process.run(drains, { errors = true })
      assert.same({ 0, "" }, { status, output })
    end)
  end

  it("keeps its session over a restart of the connection in the middle of QoS 2", function()
    local sender = connect { id = "sender" }
    local receiver = connect { id = "receiver", clean = false }
    assert(receiver:subscribe("x", 2))
    for i = 1, 40 do assert(sender:publish("x", tostring(i), 2)) end
    local seen = {}
    for i = 1, 3 do seen[i] = receiver:receive().payload end
    receiver:close()
    assert(receiver:reconnect())
    assert.is_true(receiver.session_present)
    while #seen < 40 do seen[#seen + 1] = assert(receiver:receive()).payload end
    for i = 1, 40 do assert.equal(tostring(i), seen[i]) end -- none lost, none twice
    assert.is_nil(receiver:receive(0))
    receiver:disconnect()
    sender:disconnect()
  end)
end)
