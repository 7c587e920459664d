local client = require "luamq.client"
local process = require "spec.support.process"

local script = [[
local hooks = {}
function hooks.authenticate(client, username, password)
  if username == nil then return true end
  return username == "us er" and password == "p:w"
end
function hooks.subscribe(client, subscription)
  if subscription.topic:find "^secret" then return false end
  return true
end
local port = ...
return { listeners = { "tcp://127.0.0.1:" .. (port or 0) }, hooks = hooks, log = { level = "off" } }
]]

describe("the tools", function()
  local broker, path

  setup(function()
    path = process.script(script)
    broker = process.broker { path }
  end)

  teardown(function()
    broker:stop()
    os.remove(path)
  end)

  local function connect(options)
    options = options or {}
    options.port = broker.port
    return assert(client.connect(options))
  end

  --- Runs one of the tools to its end: status and output, with what it writes on its standard error.
  local function run(tool, arguments, input)
    local words = { process.luamq, tool, "-h", "127.0.0.1", "-p", tostring(broker.port) }
    table.move(arguments, 1, #arguments, #words + 1, words)
    return process.run(words, { errors = true, input = input })
  end

  --- The next line of a sub that is no debug message, or nil.
  local function printed(sub)
    for line in function() return sub:line() end do
      if not line:find "^sent <" and not line:find "^received <" then return line end
    end
    return nil
  end

  local function wait_for(sub, text)
    repeat
      local line = assert(sub:line(), sub.output)
    until line:find(text, 1, true)
  end

  --- A `luamq sub` whose subscription is in force.
  local function sub(arguments)
    local words = { process.luamq, "sub", "-d", "-p", tostring(broker.port) }
    table.move(arguments, 1, #arguments, #words + 1, words)
    local self = process.start(words, "2>&1")
    wait_for(self, "received <Suback")
    return self
  end

  describe("luamq pub", function()
    local function received(arguments, input)
      local c <close> = connect()
      assert(c:subscribe("#", 2))
      assert.same({ 0, "" }, { run("pub", arguments, input) })
      local list = {}
      assert(c:publish("end", "", 2))
      for message in function() return c:receive() end do
        if message.topic == "end" then break end
        list[#list + 1] = message.payload
      end
      return list
    end

    it("publishes a text with every QoS", function()
      local c <close> = connect()
      assert(c:subscribe("q", 2))
      for qos = 0, 2 do
        assert.same({ 0, "" }, { run("pub", { "-t", "q", "-m", "hi", "-q", tostring(qos) }) })
        local message = c:receive()
        assert.same({ "hi", qos, false }, { message.payload, message.qos, message.retain })
      end
    end)

    it("publishes a message several times", function()
      assert.same({ "x", "x", "x" },
        received { "-t", "r", "-m", "x", "--repeat", "3", "--repeat-delay", "0.01", "-q2" })
    end)

    it("publishes lines", function()
      assert.same({ "one", "", "three" }, received({ "-t", "l", "-l" }, "one\n\nthree\n"))
      assert.same({ "one", "last" }, received({ "-t", "l", "-l", "-q", "1" }, "one\nlast"))
      assert.same({}, received({ "-t", "l", "-l" }, ""))
      local many, text = {}, {}
      for i = 1, 500 do
        many[i] = tostring(i)
        text[i] = i .. "\n"
      end
      local c <close> = connect()
      assert(c:subscribe("many", 0))
      assert.equal(0, (run("pub", { "-t", "many", "-l", "-q", "2", "-M", "3" }, table.concat(text))))
      for i = 1, 500 do assert.equal(many[i], c:receive().payload) end
    end)

    it("publishes all of stdin, a file, or nothing", function()
      assert.same({ "a\nb\0c\n" }, received({ "-t", "s", "-s" }, "a\nb\0c\n"))
      local file = process.script "content\n"
      assert.same({ "content\n" }, received { "-t", "f", "-f", file })
      os.remove(file)
      assert.same({ "" }, received { "-t", "n", "-n" })
    end)

    it("publishes retained messages", function()
      assert.equal(0, (run("pub", { "-t", "kept", "-m", "x", "-r" })))
      local c <close> = connect()
      assert(c:subscribe "kept")
      assert.is_true(c:receive().retain)
      assert.equal(0, (run("pub", { "-t", "kept", "-n", "-r" })))
    end)

    it("takes a URL, with a password that no output shows", function()
      local c <close> = connect()
      assert(c:subscribe "u/v")
      local url = ("mqtt://us%%20er:p%%3aw@127.0.0.1:%d/u/v"):format(broker.port)
      local status, output = process.run({ process.luamq, "pub", "-L", url, "-m", "x", "-d", "-V", "31" },
        { errors = true })
      assert.equal(0, status)
      assert.matches('Username="us er" Password="***"', output, 1, true)
      assert.is_nil(output:find("p:w", 1, true))
      assert.equal("x", c:receive().payload)
    end)

    it("tells why it was refused", function()
      assert.same({ 1, "luamq pub: connection refused: not authorized\n" },
        { run("pub", { "-t", "a", "-m", "x", "-u", "us er", "-P", "wrong" }) })
      assert.same({ 1, "" }, { run("pub", { "-t", "a", "-n", "-u", "us er", "-P", "wrong", "--quiet" }) })
      local status, output = run("pub", { "-p", "1", "-t", "a", "-n" })
      assert.equal(1, status)
      assert.matches("^luamq pub: cannot connect to 127.0.0.1 port 1: ", output)
    end)
  end)

  describe("luamq sub", function()
    it("prints messages by a format", function()
      local s <close> = sub { "-t", "f/#", "-q", "2", "-F", [[%t|%p|%x|%X|%l|%q|%r|%d|%m|%%|%P|@@|\t\\]] }
      run("pub", { "-t", "f/a", "-m", "J\u{e4}", "-q", "1" })
      assert.equal("f/a|J\u{e4}|4ac3a4|4AC3A4|3|1|0|0|1|%||@|\t\\", printed(s))
    end)

    it("prints JSON", function()
      local s <close> = sub { "-t", "j", "-F", "%j" }
      run("pub", { "-t", "j", "-m", 'a"\\\n\27' })
      assert.matches('^{"tst":"%d+%-%d+%-%d+T%d+:%d+:%d+%.%d+[+-]%d+","topic":"j","qos":0,"retain":0,'
        .. '"payloadlen":5,"payload":"a\\"\\\\\\u000a\\u001b"}$', printed(s))
    end)

    it("prints the topic, and no end of line, when told", function()
      local s <close> = sub { "-t", "v", "-v" }
      run("pub", { "-t", "v", "-m", "x" })
      assert.equal("v x", printed(s))
      local n = sub { "-t", "v", "-N", "-C", "2" }
      run("pub", { "-t", "v", "-m", "one" })
      run("pub", { "-t", "v", "-m", "two" })
      assert.equal(0, n:wait())
      assert.equal("onetwo", (n.output:gsub("sent <[^\n]*\n", ""):gsub("received <[^\n]*\n", "")))
    end)

    it("ends after a count, a time, or a signal", function()
      local counted = sub { "-t", "c", "-C", "2", "-W", "30" }
      run("pub", { "-t", "c", "-m", "x", "--repeat", "2" })
      assert.same({ "x", "x" }, { printed(counted), printed(counted) })
      assert.equal(0, counted:wait())
      local status, output = run("sub", { "-t", "nothing", "-W", "0.05" })
      assert.same({ 27, "luamq sub: timed out\n" }, { status, output })
      for _, signal in ipairs { "TERM", "INT" } do
        local stopped = sub { "-t", "c" }
        stopped:signal(signal)
        assert.equal(0, stopped:wait())
        assert.matches("sent <Disconnect>\n$", stopped.output)
      end
    end)

    it("leaves out what is not wanted", function()
      local c <close> = connect()
      assert(c:publish("s/old", "old", 1, true))
      local s <close> = sub { "-t", "s/#", "-R", "-T", "s/x/#" }
      assert(c:publish("s/x/y", "filtered", 1))
      assert(c:publish("s/new", "new", 1))
      assert.equal("new", printed(s))
      local r = sub { "-t", "s/#", "--retained-only" }
      assert(c:publish("s/new", "new", 1))
      assert.equal("old", printed(r))
      assert.equal(0, r:wait())
      assert(c:publish("s/old", "", 1, true))
    end)

    it("keeps its session, and unsubscribes from it", function()
      assert.equal(0, (run("sub", { "-i", "keeper", "-c", "-q", "1", "-t", "k/1", "-t", "k/2", "-E" })))
      assert.equal(0, (run("sub", { "-i", "keeper", "-c", "-U", "k/1", "-E" })))
      local c <close> = connect()
      assert(c:publish("k/1", "unsubscribed", 1))
      assert(c:publish("k/2", "kept", 1))
      local k <close> = connect { id = "keeper", clean = false }
      assert.is_true(k.session_present)
      assert.equal("kept", k:receive().payload)
    end)

    it("has a will", function()
      local c <close> = connect()
      assert(c:subscribe "w")
      local s = sub { "-t", "x", "--will-topic", "w", "--will-payload", "gone", "--will-qos=1" }
      s:signal "KILL"
      assert.equal("gone", c:receive().payload)
      s:wait()
    end)

    it("tells refused subscriptions", function()
      local status, output = run("sub", { "-t", "secret/a" })
      assert.same({ 1, "luamq sub: subscription to 'secret/a' refused\n" }, { status, output })
      local some <close> = sub { "-t", "secret/a", "-t", "free" }
      run("pub", { "-t", "free", "-m", "x" })
      assert.equal("luamq sub: subscription to 'secret/a' refused", printed(some))
      assert.equal("x", printed(some))
    end)

    it("connects again when the connection is lost", function()
      local first = process.broker { path }
      local words = { process.luamq, "sub", "-d", "-p", tostring(first.port), "-t", "a" }
      local s <close> = process.start(words, "2>&1")
      wait_for(s, "received <Suback")
      first:stop()
      local second <close> = process.broker { path, tostring(first.port) }
      wait_for(s, "connection lost: connection closed; trying again")
      wait_for(s, "received <Suback")
      local c <close> = assert(client.connect { port = second.port })
      assert(c:publish("a", "again", 1))
      assert.equal("again", printed(s))
    end)
  end)

  describe("options", function()
    it("are explained", function()
      for _, tool in ipairs { "pub", "sub" } do
        local status, output = run(tool, { "--help" })
        assert.equal(0, status)
        assert.matches("^usage: luamq " .. tool .. " %[options%]\n", output)
        assert.matches("\n  -t  --topic TOPIC  ", output, 1, true)
      end
    end)

    it("that are wrong are told, and secrets are not", function()
      for problem, case in pairs {
        ["the topic is missing (-t)"] = { "pub", { "-m", "x" } },
        ["more than one topic"] = { "pub", { "-t", "a", "-t", "b", "-m", "x" } },
        ["'a/#' is not a topic to publish to"] = { "pub", { "-t", "a/#", "-m", "x" } },
        ["what to publish: one of -m, -f, -s, -l and -n"] = { "pub", { "-t", "a", "-m", "x", "-n" } },
        ["--repeat does not go with -l"] = { "pub", { "-t", "a", "-l", "--repeat", "2" } },
        ["'a#' is not a topic filter"] = { "sub", { "-t", "a#" } },
        ["-F: malformed format"] = { "sub", { "-t", "a", "-F", "%Z" } },
        ["-c needs a client id (-i)"] = { "sub", { "-t", "a", "-c" } },
        ["a password needs a user name (-u)"] = { "sub", { "-t", "a", "-P", "hush" } },
        ["a will needs a topic (--will-topic)"] = { "sub", { "-t", "a", "--will-retain" } },
        ["-q: expected a number from 0 to 2 (see luamq sub --help)"] = { "sub", { "-t", "a", "-q", "3" } },
        ["-p: expected a number from 1 to 65535 (see luamq sub --help)"] = { "sub", { "-p", "x" } },
        ["-V: expected mqttv31, mqttv311 or mqttv5 (see luamq sub --help)"] = { "sub", { "-V", "4" } },
        ["-x: expected seconds from 0 to 4294967295, or -1 for ever (see luamq sub --help)"] =
          { "sub", { "-x", "1h" } },
        ["-x is for MQTT 5 (-V mqttv5)"] = { "sub", { "-t", "a", "-x", "1", "-V", "311" } },
        ["-D is for MQTT 5 (-V mqttv5)"] =
          { "pub", { "-t", "a", "-n", "-D", "publish", "content-type", "x", "-V", "31" } },
        ["-D: expected COMMAND NAME VALUE (see luamq sub --help)"] = { "sub", { "-D", "connect" } },
        ["-D: unknown command 'publish': expected connect, subscribe, unsubscribe, disconnect, will "
          .. "(see luamq sub --help)"] = { "sub", { "-D", "publish", "content-type", "x" } },
        ["-D: unsubscribe has no property 'content-type': it may have user-property (see luamq sub --help)"] =
          { "sub", { "-D", "unsubscribe", "content-type", "x" } },
        ["-D: disconnect has no property 'server-reference': it may have session-expiry-interval, "
          .. "reason-string, user-property (see luamq pub --help)"] =
          { "pub", { "-D", "disconnect", "server-reference", "x" } },
        ["-D: connect receive-maximum: expected a number from 1 to 65535 (see luamq pub --help)"] =
          { "pub", { "--property", "connect", "receive-maximum", "0" } },
        ["-D: publish user-property: a value is missing (see luamq pub --help)"] =
          { "pub", { "-D", "publish", "user-property", "name" } },
        ["-D: publish content-type: given twice (see luamq pub --help)"] =
          { "pub", { "-D", "publish", "content-type", "a", "-D", "publish", "content-type", "b" } },
        ["-D: publish response-topic: not a value that it may have (see luamq pub --help)"] =
          { "pub", { "-D", "publish", "response-topic", "a/#" } },
        ["-D will: a will needs a topic (--will-topic)"] =
          { "pub", { "-t", "a", "-n", "-D", "will", "will-delay-interval", "1" } },
        ["-D connect: authentication-data needs an authentication-method"] =
          { "pub", { "-t", "a", "-n", "-D", "connect", "authentication-data", "hush" } },
        ["-x and -D connect session-expiry-interval exclude each other"] =
          { "pub", { "-t", "a", "-n", "-x", "1", "-D", "connect", "session-expiry-interval", "1" } },
        ["-W: expected a number of seconds (see luamq sub --help)"] = { "sub", { "-W", "-1" } },
        ["-t: a value is missing (see luamq sub --help)"] = { "sub", { "-t" } },
        ["-Z: unknown option (see luamq sub --help)"] = { "sub", { "-vZ" } },
        ["--hush: unknown option (see luamq sub --help)"] = { "sub", { "--hush=secret" } },
        ["--help: takes no value (see luamq sub --help)"] = { "sub", { "--help=x" } },
        ["argument 7 is not an option (see luamq sub --help)"] = { "sub", { "-P", "hush", "secret" } },
        ["--ciphers: not supported in this version (see luamq sub --help)"] = { "sub", { "--ciphers", "x" } },
        ["-L: expected mqtt|mqtts|ws|wss://[username[:password]@]host[:port]/topic (see luamq sub --help)"] =
          { "sub", { "-L", "http://u:hush@h/t" } },
        ["--tls-version: expected tlsv1.2 or tlsv1.3 (see luamq sub --help)"] =
          { "sub", { "--tls-version", "tlsv1.1" } },
        ["--cert is for TLS: --cafile, --capath, --tls-use-os-certs, --psk or an mqtts:// URL"] =
          { "pub", { "-t", "a", "-n", "--cert", "x" } },
        ["--insecure is for TLS: --cafile, --capath, --tls-use-os-certs, --psk or an mqtts:// URL"] =
          { "pub", { "-t", "a", "-n", "--insecure" } },
        ["--key: missing: a certificate needs its key"] =
          { "pub", { "-t", "a", "-n", "--tls-use-os-certs", "--cert", "x" } },
        ["--psk-identity: missing: a pre-shared key needs its identity"] =
          { "pub", { "-t", "a", "-n", "--psk", "c0de" } },
        ["--psk: expected hexadecimal digits for 1 to 64 bytes"] =
          { "pub", { "-t", "a", "-n", "--psk", "hush", "--psk-identity", "x" } },
        ["--ws-path is for --ws or a ws:// URL"] = { "pub", { "-t", "a", "-n", "--ws-path", "/" } },
        ["--ws-path: expected a path that begins with '/'"] =
          { "pub", { "-t", "a", "-n", "--ws", "--ws-path", "mqtt" } },
        ["-L: the port is not a number from 1 to 65535 (see luamq sub --help)"] =
          { "sub", { "-L", "mqtt://u:hush@h:0/t" } },
      } do
        local tool, arguments = table.unpack(case)
        assert.same({ 1, ("luamq %s: %s\n"):format(tool, problem) }, { run(tool, arguments) })
      end
    end)
  end)
end)
