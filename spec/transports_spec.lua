--- The client over TLS and WebSocket, in Lua and as the tools have it, against the servers of
--- spec/support/servers.lua.

local certificates = require "spec.support.certificates"
local client = require "luamq.client"
local process = require "spec.support.process"
local servers = require "spec.support.servers"

local folder

setup(function()
  folder = process.directory()
  certificates.make(folder)
end)

teardown(function() process.remove(folder) end)

local function file(name) return folder .. "/" .. name end

--- What every server is asked for.
---@param kind spec.ServerKind
local function transports(kind)
  local server

  setup(function() server = kind.start(folder) end)
  teardown(function() server:stop() end)

  local function connect(listener, options)
    options.port = options.url == nil and server.ports[listener] or nil
    return client.connect(options)
  end

  local function tls(more)
    local options = { ca = file "ca.pem" }
    for name, value in pairs(more or {}) do options[name] = value end
    return options
  end

  --- Connects, sends messages to itself with every QoS, and gets them.
  local function talk(listener, options, size)
    local c <close> = assert(connect(listener, options))
    assert.equal(2, c:subscribe("talk/#", 2))
    for qos = 0, 2 do
      local payload = ("0123456789abcdef"):rep(size // 16)
      assert(c:publish("talk/" .. qos, payload, qos))
      local message = assert(c:receive())
      assert.equal(qos, message.qos)
      assert.is_true(message.payload == payload)
    end
    assert(c:ping())
  end

  local function problem(listener, options)
    local c, message = connect(listener, options)
    assert.is_nil(c)
    return (message:gsub("^%S+ port %d+: ", ""))
  end

  describe("over TLS", function()
    it("connects by name and by address", function()
      talk("tls", { host = "localhost", tls = tls() }, kind.large.tls)
      talk("tls", { host = "127.0.0.1", tls = tls() }, 16)
      talk("tls", { url = ("mqtts://localhost:%d"):format(server.ports.tls), tls = tls() }, 16)
    end)

    it("speaks TLS 1.3 alone", function()
      talk("tls", { tls = tls { min_version = "1.3" } }, 16)
    end)

    it("goes on with a session on a new connection", function()
      local c <close> = assert(connect("tls", { id = "tls", clean = false, tls = tls() }))
      assert(c:subscribe("again", 1))
      c:close()
      local other <close> = assert(connect("tls", { tls = tls() }))
      assert(other:publish("again", "meanwhile", 1))
      assert(c:reconnect())
      assert.is_true(c.session_present)
      assert.equal("meanwhile", c:receive().payload)
      local last <close> = assert(connect("tls", { id = "tls", tls = tls() }))
      assert.is_false(last.session_present)
    end)

    it("trusts nobody whom it was not told to trust", function()
      assert.matches("^certificate verify failed: ", problem("tls", { tls = { ca = file "stranger.pem" } }))
      assert.matches("^certificate verify failed: ", problem("tls", { tls = {} }))
      assert.matches("^certificate verify failed: ",
        problem("tls", { tls = { ca = file "stranger.pem", insecure = true } }))
    end)

    it("does not take another host's certificate, unless it is told so", function()
      assert.equal("certificate verify failed: hostname mismatch",
        problem("elsewhere", { host = "localhost", tls = tls() }))
      assert.equal("certificate verify failed: IP address mismatch", problem("elsewhere", { tls = tls() }))
      talk("elsewhere", { tls = tls { insecure = true } }, 16)
    end)

    it("shows its own certificate", function()
      local own = { certificate = file "client.pem", key = file "client.key" }
      local other = { certificate = file "stranger.pem", key = file "stranger.key" }
      talk("required", { tls = tls(own) }, 16)
      assert.matches("alert", problem("required", { tls = tls() }))
      assert.matches("alert", problem("required", { tls = tls(other) }))
    end)

    it("has a pre-shared key instead of certificates", function()
      local identity, key = servers.psk_identity, servers.psk
      talk("psk", { tls = { psk = key, psk_identity = identity } }, 16)
      talk("psk", { tls = { psk = key, psk_identity = identity, min_version = "1.3" } }, 16)
      local wrongs = { { psk = key:reverse(), psk_identity = identity }, { psk = key, psk_identity = "x" } }
      for _, wrong in ipairs(wrongs) do
        local message = problem("psk", { tls = wrong })
        assert.matches("^TLS: ", message)
        assert.is_nil(message:find(wrong.psk, 1, true))
      end
    end)

    it("tells when the other side does not speak it", function()
      assert.matches("TLS", problem("tcp", { tls = tls() }))
      assert.matches("TLS", problem("ws", { tls = tls() }))
    end)
  end)

  describe("over WebSocket", function()
    it("connects", function()
      talk("ws", { websocket = {} }, kind.large.ws)
      talk("ws", { host = "localhost", websocket = { path = "/mqtt", headers = { ["X-Meter"] = "7" } } }, 16)
      talk("ws", { url = ("ws://127.0.0.1:%d/mqtt"):format(server.ports.ws) }, 16)
    end)

    it("connects over TLS as well", function()
      talk("wss", { websocket = {}, tls = tls() }, kind.large.wss)
      talk("wss", { url = ("wss://localhost:%d/mqtt"):format(server.ports.wss), tls = tls() }, 16)
      assert.matches("^certificate verify failed: ", problem("wss", { websocket = {}, tls = {} }))
    end)

    if kind.picky then
      it("tells how the server refuses it", function()
        local url = ("ws://127.0.0.1:%d/elsewhere"):format(server.ports.ws)
        assert.equal("the server answered 404 Not Found instead of upgrading to WebSocket",
          problem("ws", { url = url }))
        assert.equal("the server answered 403 Forbidden instead of upgrading to WebSocket",
          problem("ws", { websocket = { origin = "https://elsewhere.example" } }))
      end)
    end

    it("tells when the other side does not speak it", function()
      assert.matches("WebSocket", problem("tcp", { websocket = {} }))
      assert.matches("WebSocket", problem("tls", { websocket = {} }))
    end)
  end)

  describe("the tools", function()
    --- Publishes with luamq pub and these arguments; what a subscriber over TCP gets, and what it prints.
    local function publish(arguments, environment)
      local c <close> = assert(connect("tcp", {}))
      assert(c:subscribe("tools/#", 1))
      local words = { process.luamq, "pub", "-m", "hi", "-q", "1" }
      table.move(arguments, 1, #arguments, #words + 1, words)
      local status, output = process.run(words, { errors = true, environment = environment })
      local message = status == 0 and assert(c:receive())
      return message and message.payload, output
    end

    local function port(listener) return tostring(server.ports[listener]) end

    it("have the flags of mosquitto_pub", function()
      local ca = file "ca.pem"
      for _, arguments in ipairs {
        { "-p", port "tls", "--cafile", ca, "--tls-version", "tlsv1.3", "--tls-alpn", "mqtt" },
        { "-h", "127.0.0.1", "-p", port "tls", "--cafile", ca },
        { "-p", port "elsewhere", "--cafile", ca, "--insecure" },
        { "-p", port "required", "--cafile", ca, "--cert", file "client.pem", "--key", file "client.key" },
        { "-p", port "psk", "--psk", servers.psk, "--psk-identity", servers.psk_identity },
        { "-p", port "ws", "--ws", "--ws-path", "/mqtt" },
        { "-p", port "wss", "--ws", "--cafile", ca },
      } do
        table.move({ "-t", "tools/flags" }, 1, 2, #arguments + 1, arguments)
        assert.same({ "hi", "" }, { publish(arguments) })
      end
    end)

    it("trust a folder of authorities, or the system's", function()
      local authorities = folder .. "/authorities"
      process.output { "mkdir", "-p", authorities }
      process.write(authorities .. "/ca.pem", process.read(file "ca.pem"))
      process.output { "openssl", "rehash", authorities }
      local target = { "-t", "tools/trust", "-p", port "tls" }
      assert.same({ "hi", "" }, { publish { "--capath", authorities, table.unpack(target) } })
      local environment = { SSL_CERT_FILE = file "ca.pem" } -- is the system's for OpenSSL
      assert.same({ "hi", "" }, { publish({ "--tls-use-os-certs", table.unpack(target) }, environment) })
      local _, output = publish { "--tls-use-os-certs", table.unpack(target) }
      assert.matches("certificate verify failed", output)
    end)

    it("take URLs", function()
      for _, case in ipairs { { "mqtt", "tcp" }, { "mqtts", "tls" }, { "ws", "ws" }, { "wss", "wss" } } do
        local scheme, listener = table.unpack(case)
        local url = ("%s://localhost:%s/tools/url"):format(scheme, port(listener))
        local trust = scheme:find "s$" and scheme ~= "ws" and { "--cafile", file "ca.pem" } or {}
        assert.same({ "hi", "" }, { publish { "-L", url, table.unpack(trust) } })
      end
    end)

    it("tell why there is no connection", function()
      local _, output = publish { "-t", "tools/x", "-p", port "tls", "--cafile", file "stranger.pem" }
      assert.matches("^luamq pub: cannot connect to localhost port %d+: certificate verify failed: ", output)
      local none = file "none.pem"
      _, output = publish { "-t", "tools/x", "-p", port "tls", "--cafile", none }
      assert.equal(("luamq pub: --cafile: cannot read %s: No such file or directory\n"):format(none), output)
    end)

    it("measure", function()
      for _, arguments in ipairs {
        { "--port", port "tls", "--tls", file "ca.pem" }, { "--port", port "ws", "--ws" },
        { "--port", port "wss", "--ws", "--tls", file "ca.pem" },
      } do
        local words = { process.luamq, "bench", "--scenario", "pairs", "--clients", "3", "--messages", "300",
          "--window", "10", "--qos", "1" }
        table.move(arguments, 1, #arguments, #words + 1, words)
        local status, output = process.run(words, { errors = true })
        assert.equal(0, status, output)
        assert.matches('"delivered": 300,', output, 1, true)
      end
    end)
  end)
end

for _, kind in ipairs { servers.mosquitto, servers.luamq } do
  if kind.available() then
    describe("a client of " .. kind.name, function() transports(kind) end)
  else
    pending("a client of " .. kind.name)
  end
end

describe("files of TLS that cannot be used", function()
  local function problem(tls)
    local c, message = client.open { port = 1, tls = tls }
    assert.is_nil(c)
    return (message:gsub(folder, "FOLDER"))
  end

  local function own(certificate, key) return { certificate = file(certificate), key = file(key) } end

  it("are told with what is wrong with them", function()
    process.write(file "words", "no PEM\n")
    process.output { "openssl", "pkey", "-in", file "client.key", "-aes256", "-passout", "pass:hush",
      "-out", file "encrypted.key" }
    assert.matches("^tls.ca: FOLDER/words holds no certificates in PEM form: ", problem { ca = file "words" })
    assert.equal("tls.ca_path: cannot read FOLDER/none: No such file or directory",
      problem { ca_path = file "none" })
    assert.matches("^tls.certificate: FOLDER/words holds no certificate in PEM form: ",
      problem(own("words", "client.key")))
    assert.matches("^tls.key: FOLDER/words holds no private key in PEM form: ",
      problem(own("client.pem", "words")))
    assert.equal("tls.key: FOLDER/server.key is not the key of FOLDER/client.pem",
      problem(own("client.pem", "server.key")))
    assert.equal("tls.key: FOLDER/encrypted.key is encrypted, and must not be",
      problem(own("client.pem", "encrypted.key")))
  end)
end)

describe("a client that shakes hands over TLS", function()
  --- openssl's server, with these further arguments, and where it listens.
  local function start(arguments)
    local words = { "openssl", "s_server", "-accept", "0", "-naccept", "1", "-www", "-cert", "server.pem",
      "-key", "server.key" }
    table.move(arguments, 1, #arguments, #words + 1, words)
    local server = process.start(words, "2>&1", { directory = folder })
    return server, math.tointeger(tonumber(server:expect("^ACCEPT"):match ":(%d+)$"))
  end

  --- What such a server tells about the hello of a client.
  local function hello(host, alpn, arguments)
    local server <close>, port = start(arguments)
    assert(client.open { host = host, port = port, tls = { ca = file "ca.pem", alpn = alpn } }):close()
    server:wait()
    return server.output
  end

  it("does not trust a server that ignores its pre-shared key", function()
    local server <close>, port = start {}
    local tls = { psk = servers.psk, psk_identity = servers.psk_identity }
    local c, message = client.open { port = port, tls = tls }
    assert.is_nil(c)
    assert.matches("certificate verify failed: ", message)
    server:stop()
  end)

  it("names the server, but not by an address", function()
    local by_name = { "-servername", "localhost", "-cert2", "server.pem", "-key2", "server.key" }
    local pattern = 'Hostname in TLS extension: "localhost"'
    assert.matches(pattern, hello("localhost", nil, by_name), 1, true)
    assert.is_nil(hello("127.0.0.1", nil, by_name):find "Hostname in TLS extension")
  end)

  it("names the protocol that follows", function()
    local protocols = { "-alpn", "mqtt,http/1.1,x-meter" }
    for _, case in ipairs { { nil, "mqtt" }, { "x-meter", "x-meter" } } do
      assert.matches("ALPN protocols advertised by the client: " .. case[2] .. "\n",
        hello("localhost", case[1], protocols), 1, true)
    end
  end)
end)
