-- What hooks see of TLS, WebSocket and proxies in front, with real clients, and what a start says of files.
local certificates = require "spec.support.certificates"
local client = require "luamq.client"
local process = require "spec.support.process"

local directory = process.directory()
certificates.make(directory)
certificates.issue(directory, "meter-7", "DNS:meter-7.example.org,DNS:m7,IP:192.0.2.7,IP:2001:db8::7,"
  .. "URI:urn:meter:7,email:meter@example.org")
certificates.issue(directory, "plain")

lazy_teardown(function() process.remove(directory) end)

local function file(name) return directory .. "/" .. name end

--- Hooks that print what a client's connection tells.
local printing = [[
local function list(t) return "[" .. table.concat(t, " ") .. "]" end
local function show(c)
  if not c then return "none" end
  return table.concat({ c.subject, c.issuer, tostring(c.common_name), c.serial, c.fingerprint,
    os.date("!%Y-%m-%dT%H:%M:%SZ", c.not_before), os.date("!%Y-%m-%dT%H:%M:%SZ", c.not_after),
    list(c.dns), list(c.ip), list(c.uri), list(c.email) }, "|")
end
local hooks = {}
function hooks.authenticate(c)
  print("login", c.id, c.transport, c.tls_version, c.tls_cipher, c.psk_identity, c.remote_address,
    show(c.certificate))
  return true
end
]]

local server = ('certificate = "%s", key = "%s"'):format(file "server.pem", file "server.key")

--- Starts a broker with one listener, such as '"tls://127.0.0.1:0", ca = "x"', and these hooks.
local function serve(listener, hooks)
  local path = process.script(("%s%s\nreturn { listeners = { { %s } }, hooks = hooks }")
    :format(printing, hooks or "", listener))
  local broker = process.broker { path }
  broker.port = broker.url:match ":(%d+)/?%w*$"
  os.remove(path)
  return broker, path
end

local function tls(options) return '"tls://127.0.0.1:0", ' .. server .. (options or "") end

--- Publishes once by mosquitto's tool; its exit status.
local function publish(broker, ...)
  return (process.run { "mosquitto_pub", "-h", "127.0.0.1", "-p", broker.port, "-i", "c", "-t", "t",
    "-m", "x", ... })
end

local function with_certificate(broker, name)
  return publish(broker, "--cafile", file "ca.pem", "--cert", file(name .. ".pem"), "--key",
    file(name .. ".key"))
end

local connect <const>, disconnect <const> = "\x10\x0d\0\4MQTT\4\2\0\0\0\1c", "\xe0\0"
local connack <const> = "\x20\2\0\0"

--- A request for a WebSocket, with further fields, and a frame with a login and a goodbye.
local function web(fields)
  local packets = connect .. disconnect
  return "GET /mqtt HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n"
    .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" .. (fields or "") .. "\r\n"
    .. "\x82" .. string.char(0x80 | #packets) .. "\0\0\0\0" .. packets
end

--- The fields of the next login that is printed.
local function login(broker)
  local fields = {}
  for field in (broker:expect "^login\t" .. "\t"):gmatch "(.-)\t" do fields[#fields + 1] = field end
  return { id = fields[2], transport = fields[3], version = fields[4], cipher = fields[5], psk = fields[6],
    remote = fields[7], certificate = fields[8] }
end

--- A field of a certificate as openssl prints it, without the name.
local function openssl(name, ...)
  return (process.output { "openssl", "x509", "-noout", "-in", file(name .. ".pem"), ... }
    :gsub("^[^=]*=", ""):gsub("\n$", ""))
end

local function date(name, which)
  return (openssl(name, which, "-dateopt", "iso_8601"):gsub(" ", "T"))
end

describe("client.certificate", function()
  it("is what the client has shown", function()
    local broker <close> = serve(tls(', ca = "' .. file "ca.pem" .. '"'))
    assert.equal(0, with_certificate(broker, "meter-7"))
    local seen = login(broker)
    local digest = openssl("meter-7", "-fingerprint", "-sha256"):gsub(":", ""):lower()
    assert.equal(table.concat({
      "CN=meter-7", "CN=ca", "meter-7", openssl("meter-7", "-serial"):lower(), digest,
      date("meter-7", "-startdate"), date("meter-7", "-enddate"), "[meter-7.example.org m7]",
      "[192.0.2.7 2001:db8::7]", "[urn:meter:7]", "[meter@example.org]",
    }, "|"), seen.certificate)
    assert.same({ "tls", "TLSv1.3", "nil" }, { seen.transport, seen.version, seen.psk })
    assert.matches("^TLS_AES_", seen.cipher)
    assert.matches("^127.0.0.1:%d+$", seen.remote)
  end)

  it("has empty lists without alternative names", function()
    local broker <close> = serve(tls(', ca = "' .. file "ca.pem" .. '"'))
    assert.equal(0, with_certificate(broker, "plain"))
    assert.matches("|[]|[]|[]|[]", login(broker).certificate, 1, true)
  end)

  it("is nil without one, where that is allowed", function()
    local broker <close> = serve(tls(', verify = "optional", ca = "' .. file "ca.pem" .. '"'))
    assert.equal(0, publish(broker, "--cafile", file "ca.pem"))
    local seen = login(broker)
    assert.same({ "tls", "none" }, { seen.transport, seen.certificate })
  end)

  it("is needed with a ca: a client without one never reaches a hook", function()
    local broker <close> = serve(tls(', ca = "' .. file "ca.pem" .. '"'))
    assert.are_not.equal(0, publish(broker, "--cafile", file "ca.pem"))
    broker:expect " info connection closed remote=127.0.0.1:%d+ handshake=TLS reason="
    assert.equal(0, with_certificate(broker, "plain"))
    assert.matches("CN=plain", login(broker).certificate, 1, true)
    assert.equal(0, broker:stop())
    assert.equal(1, select(2, broker.output:gsub("login\t", "")))
  end)

  it("can be read when the client ends, and not afterwards", function()
    local broker <close> = serve(tls(', ca = "' .. file "ca.pem" .. '"'), [[
      local kept
      local function tell(what, c)
        print(what, c.transport, c.tls_version, c.certificate and c.certificate.common_name)
      end
      function hooks.terminate(c) kept = c; tell("terminate", c) end
      function hooks.log(event, c) if event == "lost connection" and kept then tell("lost", c) end end
    ]])
    assert.equal(0, with_certificate(broker, "plain"))
    broker:expect "^terminate\ttls\tTLSv1.3\tplain$"
    broker:expect "^lost\tnil\tnil\tnil$"
  end)
end)

describe("client.transport", function()
  it("is tcp, and nothing of TLS is there", function()
    local broker <close> = serve '"tcp://127.0.0.1:0"'
    assert.equal(0, publish(broker))
    local seen = login(broker)
    assert.same({ "tcp", "nil", "nil", "nil", "none" }, { seen.transport, seen.version, seen.cipher, seen.psk,
      seen.certificate })
  end)

  it("is ws and wss, and that has TLS", function()
    local broker <close> = serve '"ws://127.0.0.1:0"'
    assert.matches("\x82\4" .. connack, process.exchange(broker.port, web()), 1, true)
    local seen = login(broker)
    assert.same({ "ws", "nil", "nil" }, { seen.transport, seen.version, seen.cipher })
    local secure <close> = serve(('"wss://127.0.0.1:0", %s, ca = "%s"'):format(server, file "ca.pem"))
    local words = { "openssl", "s_client", "-quiet", "-connect", "127.0.0.1:" .. secure.port,
      "-cert", file "plain.pem", "-key", file "plain.key" }
    local _, output = process.run(words, { input = web() })
    assert.matches("\x82\4" .. connack, output, 1, true)
    seen = login(secure)
    assert.same({ "wss", "TLSv1.3" }, { seen.transport, seen.version })
    assert.matches("CN=plain", seen.certificate, 1, true)
  end)

  it("is unix for a unix socket", function()
    local path = file "luamq.sock"
    local broker <close> = serve('"unix://' .. path .. '"')
    client.connect({ unix = path, id = "u" }):disconnect()
    assert.same({ "unix", "unix" }, { login(broker).transport, "unix" })
  end)
end)

describe("hook psk", function()
  local keys = [[
    function hooks.psk(identity)
      if identity == "raises" then error("cafe01", 0) end
      return ({ joe = "C0ffee", odd = "c0f", text = "coffee!!", empty = "", long = ("ab"):rep(65),
        most = ("ab"):rep(64), number = 12, no = false, yes = true })[identity]
    end
  ]]
  --- Connects with a key, in "tls1_2" or "tls1_3"; whether the broker let it in.
  local function by_key(broker, identity, key, version)
    local words = { "openssl", "s_client", "-" .. (version or "tls1_3"), "-quiet", "-connect",
      "127.0.0.1:" .. broker.port, "-psk_identity", identity, "-psk", key or "c0ffee" }
    local _, output = process.run(words, { input = connect .. disconnect })
    return output == connack
  end

  it("lets in who has the key, in TLS 1.3 and 1.2", function()
    local broker <close> = serve('"tls://127.0.0.1:0"', keys)
    assert.is_true(by_key(broker, "joe"))
    local seen = login(broker)
    assert.same({ "tls", "TLSv1.3", "joe", "none" }, { seen.transport, seen.version, seen.psk,
      seen.certificate })
    assert.is_true(by_key(broker, "joe", "c0ffee", "tls1_2"))
    seen = login(broker)
    assert.same({ "TLSv1.2", "joe" }, { seen.version, seen.psk })
    assert.is_true(by_key(broker, "most", ("ab"):rep(64)))
    assert.equal("most", login(broker).psk)
    assert.equal(0, publish(broker, "--psk-identity", "joe", "--psk", "c0ffee"))
    assert.equal("joe", login(broker).psk)
  end)

  it("keeps out others, and tells why without a key", function()
    local broker <close>, script = serve('"tls://127.0.0.1:0"', keys)
    local line = select(2, printing:gsub("\n", "")) + 1 -- of the function
    local wrong = ("error %s:%d: hook psk gave a wrong answer: "):format(script, line)
    local text = "expected a key as hex text, or nothing where the identity is not known, got a "
    for _, case in ipairs {
      { "nobody" }, { "nobody", version = "tls1_2" }, { "no" }, { "joe", key = "c0ffef" },
      { "joe", key = "c0ffef", version = "tls1_2" },
      { "odd", wrong .. "a key is hex text of 1 to 64 bytes" },
      { "odd", wrong .. "a key is hex text of 1 to 64 bytes", version = "tls1_2" },
      { "empty", wrong .. "a key is hex text of 1 to 64 bytes" },
      { "long", wrong .. "a key is hex text of 1 to 64 bytes" },
      { "text", wrong .. "a key is hex text, and this one has other characters" },
      { "number", wrong .. text .. "number" }, { "yes", wrong .. text .. "boolean" },
      { "raises", "error hook psk: cafe01" },
    } do
      assert.is_false(by_key(broker, case[1], case.key, case.version))
      if case[2] then broker:expect(case[2], true) end
      broker:expect " info connection closed remote=127.0.0.1:%d+ handshake=TLS reason="
    end
    assert.equal(0, broker:stop())
    for _, secret in ipairs { "c0f", "C0ffee", "coffee", "abab", "login\t" } do
      assert.is_nil(broker.output:find(secret, 1, true), secret)
    end
  end)

  it("stands beside a certificate", function()
    local broker <close> = serve(tls(), keys)
    assert.is_true(by_key(broker, "joe"))
    assert.equal("joe", login(broker).psk)
    assert.equal(0, publish(broker, "--cafile", file "ca.pem"))
    assert.equal("nil", login(broker).psk)
  end)
end)

describe("client.remote_address", function()
  local header = "PROXY TCP4 192.0.2.7 192.0.2.1 5000 1883\r\n"

  it("is what a trusted proxy tells in a PROXY header", function()
    local broker <close> = serve '"tcp://127.0.0.1:0", proxy_protocol = true'
    assert.equal(connack, process.exchange(broker.port, header .. connect .. disconnect))
    assert.equal("192.0.2.7:5000", login(broker).remote)
  end)

  it("is never what somebody else tells", function()
    local broker <close> =
      serve '"tcp://127.0.0.1:0", proxy_protocol = true, trusted_proxies = { "10.0.0.0/8" }'
    assert.equal("", process.exchange(broker.port, header .. connect))
    broker:expect " info connection closed remote=127.0.0.1:%d+ handshake=\"PROXY header\" reason="
    assert.equal(0, broker:stop())
    assert.is_nil(broker.output:find("login\t", 1, true))
  end)

  local forwarded = web "X-Forwarded-For: 198.51.100.1, 192.0.2.7\r\n"

  it("is the last address of X-Forwarded-For from a trusted proxy", function()
    local broker <close> = serve '"ws://127.0.0.1:0", trusted_proxies = { "127.0.0.1" }'
    process.exchange(broker.port, forwarded)
    assert.equal("192.0.2.7:0", login(broker).remote)
  end)

  it("is the peer's where nobody is trusted", function()
    local broker <close> = serve '"ws://127.0.0.1:0"'
    process.exchange(broker.port, forwarded)
    assert.matches("^127.0.0.1:%d+$", login(broker).remote)
  end)
end)

describe("the protocol that a client lists in its hello", function()
  local function agreed(broker, protocol)
    local words = { "openssl", "s_client", "-alpn", protocol, "-connect", "127.0.0.1:" .. broker.port }
    local _, output = process.run(words, { input = "" })
    return output:match "ALPN protocol: (%S+)"
  end

  it("is mqtt for tls, and http/1.1 for wss", function()
    local broker <close> = serve(tls())
    assert.equal("mqtt", agreed(broker, "h2,mqtt"))
    assert.is_nil(agreed(broker, "http/1.1"))
    local secure <close> = serve('"wss://127.0.0.1:0", ' .. server)
    assert.equal("http/1.1", agreed(secure, "h2,http/1.1"))
    assert.is_nil(agreed(secure, "mqtt"))
  end)
end)

describe("a web page", function()
  local function answer(broker, origin)
    return process.exchange(broker.port, web("Origin: " .. origin .. "\r\n")):match "^HTTP/1.1 (%d+)"
  end

  it("of another site may not connect where clients need no login", function()
    local path = process.script 'return { listeners = { "ws://127.0.0.1:0" } }'
    local broker <close> = process.broker { path }
    os.remove(path)
    broker.port = broker.url:match ":(%d+)/mqtt$"
    assert.equal("101", answer(broker, "http://broker.example"))
    assert.equal("403", answer(broker, "http://elsewhere.example"))
  end)

  it("of any site may where a hook decides, unless the listener says which", function()
    local broker <close> = serve '"ws://127.0.0.1:0"'
    assert.equal("101", answer(broker, "http://elsewhere.example"))
    local choosy <close> = serve '"ws://127.0.0.1:0", origins = { "https://A.example:443" }'
    assert.equal("101", answer(choosy, "https://a.example"))
    assert.equal("403", answer(choosy, "http://broker.example"))
  end)
end)

describe("engine.handshake_timeout", function()
  it("is the time of all handshakes", function()
    local path = process.script(('return { engine = { handshake_timeout = 0.1 }, listeners = { { %s } } }')
      :format(tls()))
    local broker <close> = process.broker { path }
    os.remove(path)
    local _ <close> = assert(client.open { port = math.tointeger(tonumber(broker.url:match "%d+$")) })
    broker:expect " info connection closed remote=127.0.0.1:%d+ handshake=TLS reason="
  end)
end)

describe("a renewed certificate", function()
  --- The subject that the broker shows to a new connection.
  local function shown(broker)
    local words = { "openssl", "s_client", "-connect", "127.0.0.1:" .. broker.port }
    local _, output = process.run(words, { input = "" })
    return output:match "subject=([^\n]+)"
  end

  local function replace(name)
    for _, ending in ipairs { ".key", ".pem" } do
      process.write(file("live" .. ending), process.read(file(name .. ending)))
    end
  end

  local function serve_live(options)
    replace "server"
    return serve(('"tls://127.0.0.1:0", certificate = "%s", key = "%s"%s'):format(file "live.pem",
      file "live.key", options or ""))
  end

  it("is loaded on SIGHUP, and clients stay", function()
    local broker <close> = serve_live()
    assert.matches("CN = server", shown(broker))
    replace "plain"
    broker:signal "HUP"
    broker:expect " info SIGHUP: "
    assert.matches("CN = plain", shown(broker))
    process.write(file "live.pem", "no certificate")
    broker:signal "HUP"
    broker:expect(file "live.pem", true)
    assert.matches("CN = plain", shown(broker))
    assert.equal(0, broker:stop())
  end)

  it("is loaded when it changes, where files are watched", function()
    local broker <close> = serve_live ", watch = true"
    replace "plain"
    broker:expect " info certificates reloaded listener="
    assert.matches("CN = plain", shown(broker))
  end)

  it("that cannot be used is told to the hook error", function()
    replace "server"
    local broker <close> = serve(('"tls://127.0.0.1:0", certificate = "%s", key = "%s"'):format(
      file "live.pem", file "live.key"), 'function hooks.error(err) print("error", err) end')
    process.write(file "live.key", "no key")
    broker:signal "HUP"
    assert.matches(file "live.key", broker:expect "^error\ttls://127.0.0.1:%d+: ", 1, true)
    assert.matches("CN = server", shown(broker))
  end)
end)

describe("a listener's files", function()
  --- What --check and a start say about a script with this listener.
  local function problems(listener)
    local path = process.script("return { listeners = {\n{ " .. listener .. " } } }")
    local seen = {}
    for i, words in ipairs { { process.luamq, "--check", path }, { process.luamq, path } } do
      local status, output = process.run(words, { errors = true })
      assert.equal(1, status)
      seen[i] = output:gsub("^luamq: ", "")
    end
    os.remove(path)
    assert.equal(seen[1], seen[2])
    return (seen[1]:gsub("^" .. path:gsub("%p", "%%%0"), "broker.lua"):gsub("\n$", ""))
  end

  it("have to be there", function()
    assert.equal("broker.lua:2: listeners[1].certificate: cannot read '/nowhere/server.pem': "
      .. "No such file or directory",
      problems(('"tls://127.0.0.1:0", certificate = "/nowhere/server.pem", key = "%s"')
        :format(file "server.key")))
  end)

  it("have to be what they are said to be", function()
    local url = 'broker.lua:2: cannot listen on tls://127.0.0.1:0: '
    assert.matches(url .. ".*" .. file "server.key",
      problems(('"tls://127.0.0.1:0", certificate = "%s", key = "%s"'):format(file "server.key",
        file "server.key")))
    assert.matches(url .. ".*" .. file "plain.key",
      problems(('"tls://127.0.0.1:0", certificate = "%s", key = "%s"'):format(file "server.pem",
        file "plain.key")))
    assert.matches(url .. ".*" .. file "server.key", problems(tls((', ca = "%s"'):format(
      file "server.key"))))
  end)

  it("are not all there is to get wrong", function()
    assert.matches("broker.lua:2: cannot listen on tls://127.0.0.1:0: .*NOT_A_CIPHER",
      problems(tls ', ciphers = "NOT_A_CIPHER"'))
    assert.matches("broker.lua:2: cannot listen on tls://127.0.0.1:0: .*NOT_A_SUITE",
      problems(tls ', ciphersuites = "NOT_A_SUITE"'))
  end)
end)
