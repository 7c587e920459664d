-- What openssl's own client sees of a TLS listener, and what a revoked certificate is worth to mosquitto's.
local certificates = require "spec.support.certificates"
local process = require "spec.support.process"

local folder = process.directory()

lazy_setup(function()
  certificates.make(folder)
  certificates.issue(folder, "second", "DNS:second.example,DNS:*.wild.example")
  certificates.issue(folder, "stolen")
  certificates.revoke(folder, "stolen")
end)

lazy_teardown(function() process.remove(folder) end)

local function file(name) return folder .. "/" .. name end

-- CONNECT of an empty id, and DISCONNECT: whoever has been let in is closed in order.
local session <const> = "\x10\x0c\0\4MQTT\4\2\0\60\0\0\xe0\0"
local connack <const> = "\x20\2\0\0"

local function pair(name)
  return ('certificate = "%s", key = "%s"'):format(file(name .. ".pem"), file(name .. ".key"))
end

--- Starts a broker with one TLS listener that has these options, beside the certificate.
local function serve(options)
  local script = process.script(('return { listeners = { { "tls://127.0.0.1:0", %s, %s } } }')
    :format(pair "server", options or ""))
  local broker = process.broker { script }
  broker.port = broker.url:match "%d+$"
  os.remove(script)
  return broker
end

--- Opens a session by s_client with these options; its exit status and what it says.
local function connect(broker, ...)
  return process.run({ "openssl", "s_client", "-connect", "127.0.0.1:" .. broker.port, "-CAfile",
    file "ca.pem", "-verify_return_error", "-nocommands", "-ign_eof", ... },
    { input = session, errors = true })
end

--- The same, for one that has to be let in.
local function connected(broker, ...)
  local status, output = connect(broker, ...)
  assert.equal(0, status, output)
  assert.matches(connack, output, 1, true)
  assert.matches("Verify return code: 0 (ok)", output, 1, true)
  return output
end

--- Waits for the line of a handshake that has failed; its reason.
local function refusal(broker)
  local line = broker:expect " info connection closed remote=127.0.0.1:%d+ handshake=TLS reason="
  return line:match "reason=(.*)$"
end

describe("a TLS listener and openssl s_client", function()
  it("speak TLS 1.3 and 1.2", function()
    local broker <close> = serve()
    assert.matches("New, TLSv1.3, Cipher is TLS_", connected(broker, "-tls1_3"), 1, true)
    assert.matches("New, TLSv1.2, Cipher is ECDHE-", connected(broker, "-tls1_2"), 1, true)
  end)

  it("do not speak what is older", function()
    local broker <close> = serve()
    for _, version in ipairs { "-tls1_1", "-tls1" } do
      local status, output = connect(broker, version, "-cipher", "DEFAULT:@SECLEVEL=0")
      assert.equal(1, status)
      assert.matches("alert protocol version", output, 1, true)
      assert.matches("unsupported protocol", refusal(broker), 1, true)
    end
  end)

  it("speak 1.3 alone where that is asked for", function()
    local broker <close> = serve 'min_version = "1.3"'
    connected(broker)
    local status, output = connect(broker, "-tls1_2")
    assert.equal(1, status)
    assert.matches("alert protocol version", output, 1, true)
  end)

  it("agree on mqtt (ALPN), and on nothing else", function()
    local broker <close> = serve()
    assert.matches("ALPN protocol: mqtt", connected(broker, "-alpn", "mqtt"), 1, true)
    assert.matches("ALPN protocol: mqtt", connected(broker, "-alpn", "h2,mqtt"), 1, true)
    assert.matches("No ALPN negotiated", connected(broker), 1, true)
    local status, output = connect(broker, "-alpn", "h2,http/1.1")
    assert.equal(1, status)
    assert.matches("alert no application protocol", output, 1, true)
  end)

  it("pick the certificate by the name that is asked for (SNI)", function()
    local broker <close> = serve("certificates = { { " .. pair "second" .. " } }")
    for name, subject in pairs {
      ["second.example"] = "second", ["a.wild.example"] = "second",
      ["localhost"] = "server", ["nobody.example"] = "server",
    } do
      local output = connected(broker, "-servername", name)
      assert.matches("subject=CN = " .. subject .. "\n", output, 1, true)
    end
    assert.matches("subject=CN = server\n", connected(broker, "-noservername"), 1, true)
  end)

  it("resume a session by its ticket", function()
    local broker <close> = serve()
    for _, version in ipairs { "3", "2" } do
      local ticket = file("ticket" .. version)
      local option, name = "-tls1_" .. version, "TLSv1." .. version
      assert.matches("New, " .. name, connected(broker, option, "-sess_out", ticket), 1, true)
      assert.matches("Reused, " .. name, connected(broker, option, "-sess_in", ticket), 1, true)
    end
  end)

  it("resume nothing where tickets are off", function()
    local broker <close> = serve "session_tickets = false"
    local output = connected(broker, "-tls1_2")
    assert.is_nil(output:find("TLS session ticket:", 1, true))
    output = connected(broker, "-tls1_3")
    assert.is_nil(output:find("New Session Ticket arrived", 1, true))
  end)

  it("tell an authority that the client does not trust", function()
    local broker <close> = serve()
    local status, output = process.run({ "openssl", "s_client", "-connect", "127.0.0.1:" .. broker.port,
      "-verify_return_error", "-no-CAfile", "-no-CApath", "-no-CAstore" }, { errors = true })
    assert.equal(1, status)
    assert.matches("verify error", output, 1, true)
    assert.matches("unknown ca", refusal(broker), 1, true)
  end)
end)

describe("a client's certificate", function()
  local function publish(broker, name)
    local words = { "mosquitto_pub", "-h", "127.0.0.1", "-p", broker.port, "-t", "t", "-m", "x", "--cafile",
      file "ca.pem" }
    if name then
      for _, word in ipairs { "--cert", file(name .. ".pem"), "--key", file(name .. ".key") } do
        words[#words + 1] = word
      end
    end
    return (process.run(words))
  end

  local function options(more) return ('ca = "%s"%s'):format(file "ca.pem", more or "") end
  local crl = (', crl = "%s"'):format(file "crl.pem")

  it("is refused once it has been revoked, and others are not", function()
    local broker <close> = serve(options(crl))
    assert.are_not.equal(0, publish(broker, "stolen"))
    assert.matches("certificate revoked", refusal(broker), 1, true)
    assert.equal(0, publish(broker, "client"))
  end)

  it("is good without the list", function()
    local broker <close> = serve(options())
    assert.equal(0, publish(broker, "stolen"))
  end)

  it("is refused when revoked, also where none is needed", function()
    local broker <close> = serve(options(crl .. ', verify = "optional"'))
    assert.equal(0, publish(broker))
    assert.equal(0, publish(broker, "client"))
    assert.are_not.equal(0, publish(broker, "stolen"))
    assert.matches("certificate revoked", refusal(broker), 1, true)
  end)

  it("is refused when another authority has signed it", function()
    local broker <close> = serve(options())
    local status, output = connect(broker, "-tls1_2", "-cert", file "stranger.pem", "-key",
      file "stranger.key")
    assert.equal(1, status)
    assert.matches("alert unknown ca", output, 1, true)
  end)
end)
