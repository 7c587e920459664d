--- The tools of mosquitto and our own, and paho, in MQTT 5: each against luamq, ours against mosquitto too.

local certificates = require "spec.support.certificates"
local process = require "spec.support.process"
local servers = require "spec.support.servers"

local folder

setup(function()
  folder = process.directory()
  certificates.make(folder)
end)

teardown(function() process.remove(folder) end)

local tools = {
  { name = "mosquitto", pub = { "mosquitto_pub" }, sub = { "mosquitto_sub" } },
  { name = "luamq", pub = { process.luamq, "pub" }, sub = { process.luamq, "sub" } },
}

local message_options <const> = {
  "-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "r/t",
  "-D", "publish", "correlation-data", "c0de", "-D", "publish", "payload-format-indicator", "1",
  "-D", "publish", "user-property", "a", "1", "-D", "publish", "user-property", "a", "2",
}

--- What a tool says of all that a server has to be able to do with it.
---@param kind spec.ServerKind
---@param tool table
local function conversation(kind, tool)
  local server

  setup(function() server = kind.start(folder) end)
  teardown(function() server:stop() end)

  local function words(program, arguments)
    local list = { table.unpack(program) }
    for _, word in ipairs { "-h", "127.0.0.1", "-p", tostring(server.ports.tcp), "-V", "5" } do
      list[#list + 1] = word
    end
    return table.move(arguments, 1, #arguments, #list + 1, list)
  end

  local function run(program, ...)
    local list = {}
    for _, part in ipairs { ... } do table.move(part, 1, #part, #list + 1, list) end
    return { process.run(words(program, list), { errors = true }) }
  end

  local function pub(...) assert.same({ 0, "" }, run(tool.pub, ...)) end

  --- What is printed of messages that wait in a session: nothing has to be timed.
  local function sub(id, filter, count, ...)
    return run(tool.sub, { "-i", id, "-c", "-x", "60", "-t", filter, "-q", "2", "-C", tostring(count) }, ...)
  end

  local function subscribed(id, filter, ...)
    assert.same({ 0, "" },
      run(tool.sub, { "-i", id, "-c", "-x", "60", "-t", filter, "-q", "2", "-E" }, ...))
  end

  it("carries properties", function()
    subscribed("properties", "p/#", { "-D", "subscribe", "subscription-identifier", "7" })
    for qos = 1, 2 do pub({ "-t", "p/" .. qos, "-m", "hi", "-q", tostring(qos) }, message_options) end
    local again = { "-D", "subscribe", "subscription-identifier", "7" }
    assert.same({ 0, "p/1 1 text/plain r/t c0de 1 a:1 a:2 7 hi\np/2 2 text/plain r/t c0de 1 a:1 a:2 7 hi\n" },
      sub("properties", "p/#", 2, again, { "-F", "%t %q %C %R %D %F %P %S %p" }))
  end)

  it("tells how long a message is still of use", function()
    subscribed("expiry", "e")
    pub { "-t", "e", "-m", "hi", "-q", "1", "-D", "publish", "message-expiry-interval", "600" }
    local status, output = table.unpack(sub("expiry", "e", 1, { "-F", "%E" }))
    assert.equal(0, status)
    local left = math.tointeger(tonumber(output))
    assert.is_true(left <= 600 and left > 500)
  end)

  it("prints all of a message as JSON", function()
    subscribed("json", "j")
    pub({ "-t", "j", "-m", "hi", "-q", "1" }, message_options)
    local status, output = table.unpack(sub("json", "j", 1, { "-F", "%j" }))
    assert.equal(0, status)
    assert.truthy(output:find('"user-properties":{"a":"1","a":"2"}', 1, true), output)
    assert.truthy(output:find('"content-type":"text/plain"', 1, true), output)
    assert.truthy(output:find('"payload":"hi"', 1, true), output)
  end)

  it("uses a topic alias", function()
    subscribed("alias", "a/#")
    pub { "-t", "a/long/topic", "-m", "hi", "-q", "1", "--repeat", "3", "-D", "publish", "topic-alias", "1" }
    assert.same({ 0, ("a/long/topic hi\n"):rep(3) }, sub("alias", "a/#", 3, { "-v" }))
  end)

  it("leaves a will with properties", function()
    subscribed("wills", "w")
    local options = { "-t", "x", "-i", "willing", "-F", "%p",
      "--will-topic", "w", "--will-payload", "gone", "--will-qos", "1", "-D", "will", "content-type", "x/y" }
    local killed = process.start(words(tool.sub, options))
    pub { "-t", "x", "-m", "ready", "-r" } -- retained: it comes whenever the sub has subscribed
    assert.equal("ready", killed:line())
    killed:signal "KILL"
    killed:wait()
    pub { "-t", "x", "-n", "-r" }
    assert.same({ 0, "gone x/y\n" }, sub("wills", "w", 1, { "-F", "%p %C" }))
  end)
end

for _, kind in ipairs { servers.luamq, servers.mosquitto } do
  for _, tool in ipairs(tools) do
    if kind.available() then
      describe(("%s in MQTT 5, with the tools of %s,"):format(kind.name, tool.name), function()
        conversation(kind, tool)
      end)
    end
  end
end

describe("luamq with paho in MQTT 5", function()
  local server

  setup(function() server = servers.luamq.start(folder) end)
  teardown(function() server:stop() end)

  local scenarios = { "carries_properties", "options_of_subscriptions", "session_expires", "many_in_flight",
    "take_over" }
  for _, scenario in ipairs(scenarios) do
    it(scenario, function()
      local port = tostring(server.ports.tcp)
      local python = { "/usr/bin/python3", "spec/support/paho_client_5.py", port, scenario }
      assert.same({ 0, "" }, { process.run(python, { errors = true }) })
    end)
  end
end)

describe("luamq bench in MQTT 5", function()
  local server

  setup(function() server = servers.luamq.start(folder) end)
  teardown(function() server:stop() end)

  local function bench(...)
    return process.run({ process.luamq, "bench", "-V", "5", "--port", tostring(server.ports.tcp),
      "--clients", "3", "--messages", "300", ... }, { errors = true })
  end

  it("loses nothing, with every QoS", function()
    for qos = 0, 2 do
      local status, output = bench("--scenario", "pairs", "--window", "50", "--qos", tostring(qos))
      assert.equal(0, status, output)
      assert.truthy(output:find('"lost": 0', 1, true), output)
    end
  end)

  it("does not send more than the broker takes at once", function()
    assert.same({ 1, "luamq bench: the broker takes 100 messages at once: --window is larger\n" },
      { bench("--scenario", "pairs", "--window", "101", "--qos", "1") })
  end)
end)

describe("the tools tell", function()
  local script = [[
    return { listeners = { "tcp://127.0.0.1:0" }, log = { level = "off" }, hooks = {
      authenticate = function(client, name) return name ~= "nobody", "banned" end,
      publish = function(client, message) return message.topic ~= "no", "quota_exceeded" end,
      subscribe = function(client, subscription) return subscription.topic ~= "no", "not_authorized" end,
      unsubscribe = function() return false, "not_authorized" end,
    } }]]
  local broker, path

  setup(function()
    path = process.script(script)
    broker = process.broker { path }
  end)

  teardown(function()
    assert.equal(0, broker:stop())
    os.remove(path)
  end)

  local function run(tool, ...)
    local words = { process.luamq, tool, "-p", tostring(broker.port), "-V", "5", ... }
    return { process.run(words, { errors = true }) }
  end

  it("why something was refused", function()
    assert.same({ 1, "luamq pub: connection refused: banned\n" }, run("pub", "-u", "nobody", "-t", "a", "-n"))
    for qos = 1, 2 do
      assert.same({ 1, "luamq pub: message 1 refused: quota exceeded\n" },
        run("pub", "-t", "no", "-n", "-q", tostring(qos)))
    end
    assert.same({ 0, "" }, run("pub", "-t", "no", "-n"))
    assert.same({ 1, "luamq sub: subscription to 'no' refused: not authorized\n" }, run("sub", "-t", "no"))
    assert.same({ 0, "luamq sub: unsubscription from 'a' refused: not authorized\n" },
      run("sub", "-i", "c", "-U", "a", "-E"))
  end)

  it("what the broker does not take", function()
    assert.same({ 1, "luamq pub: cannot publish: the server does not take this topic alias\n" },
      run("pub", "-t", "a", "-n", "-D", "publish", "topic-alias", "65535"))
  end)

  it("that another one has the session now, and let it", function()
    local first = process.start({ process.luamq, "sub", "-p", tostring(broker.port), "-V", "5", "-i", "same",
      "-t", "a", "-F", "%p" }, "2>&1")
    assert.same({ 0, "" }, run("pub", "-t", "a", "-m", "ready", "-r"))
    assert.equal("ready", first:line())
    assert.same({ 0, "" }, run("pub", "-i", "same", "-t", "a", "-n", "-r"))
    assert.equal(1, first:wait())
    assert.equal("ready\nluamq sub: disconnected by the server: session taken over\n", first.output)
  end)
end)
