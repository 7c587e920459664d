-- What a script may say about TLS, WebSocket and proxies in front: as data, without a connection.
local config = require "luamq.config"
local process = require "spec.support.process"
local url = require "luamq.url"

local hook = { psk = function() end }

--- The checked listener for what a script writes.
local function checked(value, script)
  script = script or { anonymous = true }
  script.listeners = { value }
  return assert(config.check(script)).listeners[1]
end

local function refused(value, script)
  script = script or { anonymous = true }
  script.listeners = { value }
  local ok, problem = config.check(script)
  assert.is_nil(ok)
  return (problem:gsub("^listeners%[1%]%.?", ""):gsub("^: ", ""))
end

--- A listener with a certificate, and what else it has.
local function tls(options)
  local value = { "tls://127.0.0.1", certificate = "server.pem", key = "server.key" }
  for name, option in pairs(options or {}) do value[name] = option end
  return value
end

describe("the address of a listener", function()
  it("has a transport and its port for every scheme", function()
    for written, normal in pairs {
      ["tcp://h"] = "tcp://h:1883", ["mqtt://h"] = "tcp://h:1883", ["tls://h"] = "tls://h:8883",
      ["ssl://H:1"] = "tls://h:1", ["MQTTS://[::1]"] = "tls://[::1]:8883", ["ws://h"] = "ws://h:80/mqtt",
      ["wss://h"] = "wss://h:443/mqtt", ["ws://h:0/"] = "ws://h:0/", ["wss://[::1]:8/a/b%20c"] =
      "wss://[::1]:8/a/b%20c",
    } do
      local parts = assert(url.read(written))
      assert.equal(normal, parts.url)
      assert.equal(normal:match("^%a+"), parts.scheme)
      assert.equal(normal:match("^wss?://[^/]+(/.*)$"), parts.path)
    end
  end)

  it("has a path where there is HTTP, and no query", function()
    for _, path in ipairs { "/?a", "/#a", "?", "/a b", "/\1", "/a\\b", '/"', "/ä" } do
      assert.matches("^the path of a WebSocket listener has no query, no fragment and no odd characters",
        refused("ws://h:1" .. path))
    end
    assert.equal('the address of a tls listener ends after the port, got "tls://h:1/a"',
      refused "tls://h:1/a")
  end)

  it("never shows the user part", function()
    for _, text in ipairs { "wss://joe:hunter2@h/x", "ws://joe:hun/hunter2@h:1", "tls://h/hunter2@x",
      "ws://h/hunter2@x" } do
      assert.is_nil(refused(text):find("hunter2", 1, true), text)
    end
  end)

  it("is there once, whatever the transport and the path", function()
    for _, other in ipairs { "ws://127.0.0.1:1/a", "ws://127.0.0.1:1/b", tls { "tls://127.0.0.1:1" } } do
      assert.equal("listeners[2]: the same address as listeners[1]", select(2, config.check {
        listeners = { "tcp://127.0.0.1:1", other },
      }))
    end
  end)

  it("is told with the nearest scheme", function()
    assert.equal("unknown scheme 'tsl' (did you mean 'ssl'?)", refused "tsl://h")
    assert.equal("unknown scheme 'https'", refused "https://h")
  end)
end)

describe("networks", function()
  it("are addresses, CIDR or unix", function()
    for text, normal in pairs { ["10.0.0.0/8"] = true, ["10.0.0.1"] = true, ["::/0"] = true, ["unix"] = true,
      ["FD00::/8"] = "fd00::/8", ["::ffff:10.0.0.0/104"] = true, ["0.0.0.0/0"] = true } do
      assert.equal(normal == true and text or normal, url.network(text))
    end
    for _, text in ipairs { "", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "::/129", "::/x", "h", "10.0.0.0/08",
      "fe80::1%eth0", "10.0.0.0/8/8", " 10.0.0.1", "10.0.0.1:80", "Unix" } do
      assert.is_nil(url.network(text), text)
    end
  end)
end)

describe("origins", function()
  it("are as browsers send them", function()
    for text, normal in pairs { ["*"] = "*", ["https://app.example.org"] = "https://app.example.org",
      ["HTTPS://App.Example.Org:443"] = "https://app.example.org", ["http://h:80"] = "http://h",
      ["http://h:8080"] = "http://h:8080", ["https://[::1]:8443"] = "https://[::1]:8443",
      ["app://local"] = "app://local" } do
      assert.equal(normal, url.origin(text))
    end
    for _, text in ipairs { "", "example.org", "https://", "https://h/", "https://h/x", "https://a@h",
      "https://h:x", "null", "https://*.example.org" } do
      assert.is_nil(url.origin(text), text)
    end
  end)
end)

describe("options of TLS", function()
  it("have these defaults", function()
    assert.same({
      backlog = 1024, reuse_port = false, dual_stack = false, nodelay = true, proxy_protocol = false,
      certificate = "server.pem", key = "server.key", min_version = "1.2", session_tickets = true,
      watch = false,
    }, checked(tls()).options)
    assert.equal("required", checked(tls { ca = "ca.pem" }).options.verify)
    assert.is_false(checked(tls()).psk)
  end)

  it("are taken as they are written", function()
    local given = {
      certificates = { { certificate = "b.pem", key = "b.key" } }, ca = "ca.pem", crl = "crl.pem",
      verify = "optional", min_version = "1.2", ciphers = "ECDHE+AESGCM",
      ciphersuites = "TLS_AES_128_GCM_SHA256", session_tickets = false, watch = true,
    }
    local options = checked(tls(given)).options
    for name, value in pairs(given) do assert.same(value, options[name]) end
  end)

  it("have paths that are relative to the script", function()
    local text = [[return { listeners = { { "tls://127.0.0.1", certificate = "a.pem", key = "/b/a.key",
      certificates = { { certificate = "c/d.pem", key = "../k" } } } } }]]
    local script = assert(load(text))()
    local options = assert(config.check(script, "etc/x/broker.lua", text)).listeners[1].options
    assert.same({ "etc/x/a.pem", "/b/a.key", "etc/x/c/d.pem", "etc/x/../k" }, { options.certificate,
      options.key, options.certificates[1].certificate, options.certificates[1].key })
    assert.equal("a.pem", assert(config.check(script, "broker.lua", text)).listeners[1].options.certificate)
  end)

  for problem, options in pairs {
    ["key: needs certificate, which it is the key of"] = { "tls://127.0.0.1", key = "x" },
    ["certificate: needs key, the file of its private key"] = { "wss://127.0.0.1", certificate = "x" },
    ["a tls listener needs certificate and key, or a psk hook"] = "tls://127.0.0.1",
    ["a wss listener needs certificate and key, or a psk hook"] = { "wss://127.0.0.1" },
    ["verify: needs ca, the authorities of client certificates"] = tls { verify = "required" },
    ["crl: needs ca, the authorities of client certificates"] = tls { crl = "x" },
    ['verify: expected "required" or "optional", got boolean'] = tls { ca = "x", verify = true },
    ['min_version: expected "1.2" or "1.3", got 1.2'] = tls { min_version = 1.2 },
    ['min_version: expected "1.2" or "1.3", got "1.1"'] = tls { min_version = "1.1" },
    ['ciphers: are those of TLS 1.2, which min_version = "1.3" leaves out'] =
      tls { min_version = "1.3", ciphers = "HIGH" },
    ["ciphersuites: expected a string without control characters, got boolean"] = tls { ciphersuites = true },
    ["ca: expected the path of a file, got table"] = tls { ca = {} },
    ['ca: expected the path of a file, got ""'] = tls { ca = "" },
    ["session_tickets: expected a boolean, got 0"] = tls { session_tickets = 0 },
    ['watch: expected a boolean, got "yes"'] = tls { watch = "yes" },
    ["certificates: expected a list of { certificate =, key = }, got string"] = tls { certificates = "x" },
    ["certificates: empty, expected a list of { certificate =, key = }"] = tls { certificates = {} },
    ["certificates[1]: expected a table with certificate and key, got string"] =
      tls { certificates = { "x" } },
    ["certificates[1]: key is missing, expected a table with certificate and key"] =
      tls { certificates = { { certificate = "x" } } },
    ["certificates[1].kei: unknown key (did you mean 'key'?)"] =
      tls { certificates = { { certificate = "x", key = "y", kei = 1 } } },
    ["certificates[1].key: expected the path of a file, got number"] =
      tls { certificates = { { certificate = "x", key = {} } } },
    ["certificates.certificate: expected a list, which has no such key"] =
      tls { certificates = { certificate = "x" } },
    ["certifikate: unknown option of a tls listener (did you mean 'certificate'?)"] =
      tls { certifikate = "x" },
    ["origins: an option of ws and wss listeners, not of tls ones"] = tls { origins = { "*" } },
    ["ca: an option of tls and wss listeners, not of ws ones"] = { "ws://127.0.0.1", ca = "x" },
  } do
    it("are refused: " .. problem, function()
      assert.equal((problem:gsub("got number$", "got table")), refused(options))
    end)
  end

  it("may be pre-shared keys alone", function()
    local listener = checked("tls://127.0.0.1", { hooks = hook })
    assert.is_true(listener.psk)
    assert.is_nil(listener.options.certificate)
    assert.equal("ca: needs certificate and key of the broker too",
      refused({ "tls://127.0.0.1", ca = "x" }, { hooks = hook }))
    assert.equal("certificates: needs certificate and key, which are shown where none of these fits",
      refused({ "tls://h", certificates = { { certificate = "x", key = "y" } } }, { hooks = hook }))
  end)

  it("that lack a file are told by config.load, with the lines", function()
    local directory = process.directory()
    process.write(directory .. "/broker.lua", [[
return { anonymous = true, listeners = {
  { "tls://127.0.0.1",
    certificate = "no.pem",
    key = "broker.lua" },
  { "wss://127.0.0.1", certificate = "broker.lua", key = "broker.lua",
    certificates = {
      { certificate = "broker.lua",
        key = "/nowhere/x.key" } },
    ca = "." } } }
]])
    local expected = ([[
D/broker.lua:3: listeners[1].certificate: cannot read 'D/no.pem': No such file or directory
D/broker.lua:8: listeners[2].certificates[1].key: cannot read '/nowhere/x.key': No such file or directory
D/broker.lua:9: listeners[2].ca: cannot read 'D/.': Is a directory]]):gsub("D/", function()
      return directory .. "/"
    end)
    local loaded, problem = config.load(directory .. "/broker.lua")
    process.remove(directory)
    assert.is_nil(loaded)
    assert.equal(expected, problem)
  end)
end)

describe("options of WebSocket", function()
  it("have these defaults", function()
    local listener = checked "ws://127.0.0.1:1"
    assert.same({ backlog = 1024, reuse_port = false, dual_stack = false, nodelay = true,
      proxy_protocol = false, fallback = { status = 426, type = "text/plain; charset=utf-8",
        body = "an MQTT broker, for WebSockets with the sub-protocol mqtt\n" } }, listener.options)
    assert.equal("/mqtt", listener.path)
  end)

  it("are normalized", function()
    local options = checked({ "ws://h", origins = { "HTTPS://A.example:443", "http://b:80" },
      fallback = { status = 404.0 } }).options
    assert.same({ "https://a.example", "http://b" }, options.origins)
    assert.equal("integer", math.type(options.fallback.status))
    assert.same({ 404, "text/plain; charset=utf-8" }, { options.fallback.status, options.fallback.type })
  end)

  for problem, options in pairs {
    ['origins[2]: expected an origin such as "https://app.example.org", or "*", got "h"'] =
      { "ws://h", origins = { "*", "h" } },
    ["origins: expected a list of origins, got string"] = { "ws://h", origins = "*" },
    ["origins: empty, expected a list of origins"] = { "ws://h", origins = {} },
    ["origins[3]: expected a list without gaps"] = { "ws://h", origins = { "*", [3] = "*" } },
    ["fallback: expected a table with status, type and body, got number"] = { "ws://h", fallback = 404 },
    ["fallback.status: must be between 200 and 599, got 101"] = { "ws://h", fallback = { status = 101 } },
    ["fallback.stauts: unknown key (did you mean 'status'?)"] = { "ws://h", fallback = { stauts = 404 } },
    [ [[fallback.type: expected a string without control characters, got "a\13\10b: c"]] ] =
      { "ws://h", fallback = { type = "a\r\nb: c" } },
    ["fallback.body: expected a string without a zero byte, got boolean"] =
      { "ws://h", fallback = { body = true } },
  } do
    it("are refused: " .. problem, function() assert.equal(problem, refused(options)) end)
  end

  it("keep pages of other sites out where clients need no login", function()
    local function same_origin(script, listener)
      return checked(listener or "ws://127.0.0.1", script).same_origin
    end
    assert.is_true(same_origin {})
    assert.is_true(same_origin { anonymous = true })
    assert.is_true(same_origin { credentials = { a = "b" }, anonymous = true })
    assert.is_false(same_origin { credentials = { a = "b" } })
    local login = { hooks = { authenticate = function() end } }
    assert.is_false(same_origin(login))
    -- A browser shows its certificate to any page's connection.
    assert.is_true(same_origin(login, { "wss://h", certificate = "a", key = "b", ca = "c" }))
    assert.is_nil(checked("tcp://127.0.0.1").same_origin)
  end)
end)

describe("options of proxies", function()
  local machine = { "127.0.0.0/8", "::1" }

  it("trust this machine on its own addresses", function()
    assert.same(machine, checked({ "tcp://127.0.0.1", proxy_protocol = true }).options.trusted_proxies)
    assert.same(machine, checked({ "ws://[::1]", proxy_protocol = true }).options.trusted_proxies)
    assert.same({ "unix" }, checked({ "unix:///x", proxy_protocol = true }).options.trusted_proxies)
    assert.is_nil(checked("ws://127.0.0.1").options.trusted_proxies)
  end)

  it("are whom the script names", function()
    local given = { "10.0.0.0/8", "FD00::1" }
    local options = checked(tls { proxy_protocol = true, trusted_proxies = given }).options
    assert.same({ "10.0.0.0/8", "fd00::1" }, options.trusted_proxies)
    options = checked({ "ws://h", trusted_proxies = { "10.0.0.1" } }).options
    assert.same({ "10.0.0.1" }, options.trusted_proxies)
  end)

  for problem, options in pairs {
    ['proxy_protocol: needs trusted_proxies, the addresses of the proxies, such as { "10.0.0.0/8" }'] =
      { "tcp://0.0.0.0", proxy_protocol = true },
    ["trusted_proxies: has no effect without proxy_protocol = true"] =
      { "tcp://127.0.0.1", trusted_proxies = { "127.0.0.1" } },
    ["trusted_proxies: empty, expected a list of addresses and networks"] =
      { "tcp://127.0.0.1", proxy_protocol = true, trusted_proxies = {} },
    ['trusted_proxies[1]: expected an address, a network such as "10.0.0.0/8", or "unix", got "::/x"'] =
      { "ws://h", trusted_proxies = { "::/x" } },
    ["proxy_protocol: expected a boolean, got 2"] = { "tcp://127.0.0.1", proxy_protocol = 2 },
  } do
    it("are refused: " .. problem, function() assert.equal(problem, refused(options)) end)
  end

  it("have no effect on unix sockets either, without proxy_protocol", function()
    assert.equal("trusted_proxies: has no effect without proxy_protocol = true",
      refused { "unix:///x", trusted_proxies = { "unix" } })
  end)
end)

describe("who gets in over TLS", function()
  local function remote(options)
    local listener = tls(options)
    listener[1] = "tls://0.0.0.0:1"
    return listener
  end

  it("is nobody from the network with a certificate of the broker alone", function()
    local open = "tls://0.0.0.0:1 would let in everybody from the network: "
    assert.matches(open, refused(remote(), {}), 1, true)
    assert.matches(open, refused(remote { ca = "ca.pem", verify = "optional" }, {}), 1, true)
    assert.matches(open, refused(remote(), { hooks = hook }), 1, true)
    assert.matches("ws://0.0.0.0:80/mqtt would let in", refused("ws://0.0.0.0", {}), 1, true)
  end)

  it("is whoever has a certificate of the ca, or a pre-shared key", function()
    assert.equal("required", checked(remote { ca = "ca.pem" }, {}).options.verify)
    assert.is_not_nil(checked("tls://0.0.0.0:1", { hooks = hook }))
    assert.is_not_nil(checked("wss://0.0.0.0:1", { hooks = { {}, hook } }))
  end)
end)

describe("a dump", function()
  it("has all options of each transport, and loads again", function()
    local text = [[return { anonymous = true, listeners = {
      { "wss://[::]:1/a", certificate = "a.pem", key = "/k", ca = "b/ca.pem", proxy_protocol = true,
        certificates = { { certificate = "c.pem", key = "d" } }, trusted_proxies = { "10.0.0.0/8" },
        origins = { "*" }, fallback = { body = "no\n" } },
      { "unix:///x", proxy_protocol = true }, { "tls://127.0.0.1", certificate = "a.pem", key = "/k" } } }]]
    local first = assert(config.check(load(text)(), "etc/broker.lua", text))
    local dump = config.dump(first)
    for _, line in ipairs {
      '      certificate = "a.pem", -- path, default none; ',
      '      key = "/k", -- path, default none; ',
      '      certificates = { { certificate = "c.pem", key = "d" } }, -- list of { certificate =, ',
      '      verify = "required", -- "required" or "optional", default none; ',
      '      origins = { "*" }, -- list of origins, default none; ',
      '      fallback = { status = 426, type = "text/plain; charset=utf-8", body = "no\\n" }, -- table ',
      '      trusted_proxies = { "unix" }, -- list of addresses and networks, default none; ',
    } do
      assert.truthy(dump:find("\n" .. line, 1, true), line .. " in\n" .. dump)
    end
    local again = assert(config.check(assert(load(dump))(), "etc/broker.lua", dump))
    for _, checks in ipairs { first, again } do
      for _, listener in ipairs(checks.listeners) do listener.line = nil end
    end
    assert.same(first, again)
  end)
end)
