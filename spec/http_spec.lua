local certificates = require "spec.support.certificates"
local fakes = require "luamq.fakes"
local hook_runner = require "spec.support.hook_runner"
local http = require "luamq.http"
local json = require "luamq.json"
local luamq = require "luamq"
local process = require "spec.support.process"
local test = require "luamq.test"

local directory = process.directory()
certificates.make(directory)

local function serve(...)
  local words = { "python3", process.absolute "spec/support/http_server.py", ... }
  local server = process.start(words, nil, { directory = directory })
  return server, assert(server:line(), "the server did not start")
end

--- What is run for the status of a URL.
local status_of <const> = "return http.get(...).status"

local runner, server, url

setup(function()
  runner = hook_runner.start 'http = require "luamq.http"'
  local port
  server, port = serve()
  url = "http://127.0.0.1:" .. port
end)

teardown(function()
  server:stop()
  local status, log = runner:stop()
  assert.equal(0, status, log)
  process.remove(directory)
end)

--- What the server got of a request, in JSON.
local function echo(options, method)
  return runner:run([[
    local url, options, method = ...
    local answer = assert(http[method](url .. "/echo", options))
    return answer.json
  ]], url, options or {}, method or "get")
end

--- The three results of a request; of an answer its status.
local function get(target, options)
  return runner:run([[
    local url, options = ...
    local answer, message, code = http.get(url, options)
    return answer and answer.status, message, code
  ]], target, options or {})
end

--- The error that a call raises.
local function problem(code, ...)
  local good, text = pcall(runner.run, runner, code, ...)
  assert.is_false(good)
  return (text:gsub('^%[string.-%]:%d+: ', ""))
end

describe("luamq.http", function()
  it("sends each method, with and without a body", function()
    for _, method in ipairs { "get", "post", "put", "patch", "delete" } do
      local got = echo(nil, method)
      assert.equal(method:upper(), got.method)
      assert.equal("", got.body)
      local has_length = method == "post" or method == "put" or method == "patch"
      assert.equal(has_length and "0" or nil, got.headers["content-length"])
    end
    for _, method in ipairs { "post", "put", "patch", "delete" } do
      local got = echo({ body = "a\nb" }, method)
      assert.same({ method:upper(), "a\nb", "3" }, { got.method, got.body, got.headers["content-length"] })
      assert.is_nil(got.headers["content-type"])
      assert.is_nil(got.headers.expect)
    end
    local method = runner:run('return http.request(..., { method = "options" }).json.method', url .. "/echo")
    assert.equal("OPTIONS", method)
    local status, body = runner:run("local a = http.head(...) return a.status, a.body", url .. "/echo")
    assert.same({ 200, "" }, { status, body })
  end)

  it("sends a body of some MiB", function()
    local size = runner:run([[
      local body = ("x"):rep(3 << 20)
      return #http.post(..., { body = body, max_size = 4 << 20 }).json.body
    ]], url .. "/echo")
    assert.equal(3 << 20, size)
  end)

  it("encodes JSON and forms, and says so", function()
    local got = echo({ json = { user = "ä", n = 1 } }, "post")
    assert.equal("Ã¤", json.decode(got.body).user) -- the server shows bytes as Latin-1
    assert.equal("application/json", got.headers["content-type"])
    assert.equal("application/json", got.headers.accept)
    got = echo({ form = { user = "a b&c", list = { 1, 2 }, on = true } }, "post")
    assert.equal("list=1&list=2&on=true&user=a%20b%26c", got.body)
    assert.equal("application/x-www-form-urlencoded", got.headers["content-type"])
    got = echo({ json = { 1 }, headers = { ["Content-Type"] = "application/x-own" } }, "post")
    assert.equal("application/x-own", got.headers["content-type"])
  end)

  it("adds a query to the URL", function()
    assert.equal("/echo?a=%26&b=1&b=2", echo({ query = { a = "&", b = { 1, 2 } } }).target)
    local target = runner:run("return http.get(..., { query = { b = 1 } }).json.target", url .. "/echo?a=1#x")
    assert.equal("/echo?a=1&b=1", target)
  end)

  it("sends headers, and its name", function()
    local got = echo({ headers = { ["X-One"] = "a: b", ["X-Number"] = 7, ["X-Empty"] = "" } }).headers
    assert.same({ "a: b", "7", "" }, { got["x-one"], got["x-number"], got["x-empty"] })
    assert.matches("^luamq/%d", got["user-agent"])
    assert.equal("me", echo({ headers = { ["User-Agent"] = "me" } }).headers["user-agent"])
  end)

  it("reads headers by name in any case", function()
    local one, cookies, spaces, none = runner:run([[
      local headers = http.get(...).headers
      return headers["x-ONE"], headers["Set-Cookie"], headers["X-Spaces"], headers["X-None"]
    ]], url .. "/headers")
    assert.same({ "a, b", "a=1, x\nb=2", "c" }, { one, cookies, spaces, none })
  end)

  it("takes the last answer, not one that goes before", function()
    local status, early = runner:run([[
      local answer = http.get(...)
      return answer.status, answer.headers["X-Early"]
    ]], url .. "/continue")
    assert.same({ 200 }, { status, early })
  end)

  it("decodes JSON when it is asked for", function()
    local both <const> = "local answer = http.get(...) return answer.json, answer.json_error"
    local value, why = runner:run(both, url .. "/text?text=[1,2]")
    assert.same({ { 1, 2 } }, { value, why })
    value, why = runner:run(both, url .. "/text?text=nothing")
    assert.is_nil(value)
    assert.matches("invalid token", why)
    assert.same({ true, false }, { runner:run([[
      local answer = http.get(...)
      return answer.json.a == http.null, answer.json.a == nil
    ]], url .. '/text?text={"a":null}') })
  end)

  it("answers with each status", function()
    for _, code in ipairs { 204, 404, 500 } do
      assert.equal(code, (get(url .. "/status?code=" .. code)))
    end
  end)

  it("sends a name and a password", function()
    local got = echo { username = "me", password = "a:b" }
    assert.equal("Basic bWU6YTpi", got.headers.authorization)
    assert.is_nil(echo().headers.authorization)
  end)

  it("uses a connection again, unless it is told not to", function()
    local first, second = echo().connection, echo().connection
    assert.equal(first, second)
    local third = echo({ keep_alive = false }).connection
    assert.equal(first, third)
    assert.equal(first + 1, echo().connection)
  end)

  it("connects to a unix socket", function()
    local other = serve("--unix", "socket")
    local status = get("http://service.example/status?code=202", { unix = directory .. "/socket" })
    other:stop()
    assert.equal(202, status)
  end)

  it("goes through a proxy only when it is told", function()
    local got = runner:run([[
      local url = ...
      return http.get("http://service.example/echo", { proxy = url }).json.target
    ]], url)
    assert.equal("http://service.example/echo", got)
  end)

  describe("without an answer", function()
    it("says that a connection was refused", function()
      local holder = process.start { "python3", "-uc", [[
import signal, socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1]); signal.pause()]] }
      local target = "http://127.0.0.1:" .. holder:line()
      local status, message, code = get(target .. "/a?secret=1")
      holder:stop()
      assert.same({ nil, target .. ": connection refused", "connection_refused" }, { status, message, code })
    end)

    it("says that a name is not known", function()
      local _, message, code = get "http://luamq.invalid/"
      assert.same({ "http://luamq.invalid:80: the host name is not known", "dns" }, { message, code })
    end)

    it("says that its time was over", function()
      local status, message, code = get(url .. "/hang", { timeout = 0.05 })
      assert.same({ nil, url .. ": no answer in time", "timeout" }, { status, message, code })
      server:expect "^hangs"
      server:expect "^gone"
    end)

    it("says that the connection ended", function()
      assert.equal("connection_closed", (select(3, get(url .. "/close"))))
      assert.equal("connection_closed", (select(3, get(url .. "/cut"))))
    end)

    it("says that it is no HTTP", function()
      assert.same({ nil, url .. ": what answers does not speak HTTP/1.1", "protocol" },
        { get(url .. "/garbage") })
    end)

    it("says that the answer is too large", function()
      assert.equal(200, (get(url .. "/bytes?count=1000", { max_size = 1000 })))
      assert.same({ nil, url .. ": the answer is too large", "too_large" },
        { get(url .. "/bytes?count=1001", { max_size = 1000 }) })
      assert.equal(200, (get(url .. "/bytes?count=" .. (1 << 20))))
      assert.equal("too_large", (select(3, get(url .. "/bytes?count=" .. (1 << 20) + 1))))
      assert.equal("too_large", (select(3, get(url .. "/large_header"))))
    end)
  end)
end)

describe("luamq.http with TLS", function()
  local tls, tls_url

  setup(function()
    local port
    tls, port = serve("--tls", "server")
    tls_url = "https://127.0.0.1:" .. port
  end)
  teardown(function() tls:stop() end)

  local function file(name) return directory .. "/" .. name end

  it("takes a certificate of an authority that it trusts", function()
    assert.equal(204, (get(tls_url .. "/status?code=204", { ca = file "ca.pem" })))
  end)

  it("refuses one of a stranger", function()
    local status, message, code = get(tls_url .. "/status?code=204&secret=1")
    assert.same({ nil, "tls" }, { status, code })
    assert.equal(tls_url .. ": SSL certificate problem: unable to get local issuer certificate", message)
  end)

  it("refuses one of another host", function()
    local other, port = serve("--tls", "elsewhere")
    local _, message, code = get("https://127.0.0.1:" .. port, { ca = file "ca.pem" })
    other:stop()
    assert.equal("tls", code)
    assert.matches("SSL: .*127%.0%.0%.1", message)
  end)

  it("does not keep a connection that was not verified for one that is to be", function()
    assert.equal(204, (get(tls_url .. "/status?code=204", { verify = false })))
    assert.equal("tls", (select(3, get(tls_url .. "/status?code=204"))))
  end)

  it("does not keep a connection for other authorities than those that it was verified against", function()
    assert.equal(204, (get(tls_url .. "/status?code=204", { ca = file "ca.pem" })))
    assert.equal("tls", (select(3, get(tls_url .. "/status?code=204", { ca = file "stranger.pem" }))))
    assert.equal("tls", (select(3, get(tls_url .. "/status?code=204"))))
    assert.equal(204, (get(tls_url .. "/status?code=204", { ca = file "ca.pem" })))
  end)

  it("takes a file of authorities that has changed", function()
    local trusted = file "trusted.pem"
    process.write(trusted, "none\n")
    local _, message = get(tls_url .. "/status?code=204", { ca = trusted })
    assert.equal(tls_url .. ": cannot load authorities from " .. trusted .. ": no certificate or crl found",
      message)
    process.write(trusted, process.read(file "stranger.pem"))
    assert.equal("tls", (select(3, get(tls_url .. "/status?code=204", { ca = trusted }))))
    process.write(trusted, process.read(file "ca.pem"))
    assert.equal(204, (get(tls_url .. "/status?code=204", { ca = trusted })))
  end)

  it("tells once that it does not verify", function()
    local one = hook_runner.start 'http = require "luamq.http"'
    for _ = 1, 2 do
      local code <const> = "return http.get(..., { verify = false }).status"
      assert.equal(204, one:run(code, tls_url .. "/status?code=204"))
    end
    local _, log = one:stop()
    local _, lines = log:gsub("a certificate is not verified host=" .. tls_url:gsub("%p", "%%%0"), "")
    assert.equal(1, lines, log)
  end)

  it("shows its own certificate", function()
    local strict, port = serve("--tls", "server", "--client-ca", "ca.pem")
    local target = "https://127.0.0.1:" .. port .. "/status?code=204"
    local ca = file "ca.pem"
    assert.equal(204, (get(target, { ca = ca, certificate = file "client.pem", key = file "client.key" })))
    assert.is_nil((get(target, { ca = ca })))
    local _, message, code = get(target, { ca = ca, certificate = file "none.pem", key = file "client.key" })
    strict:stop()
    assert.equal("tls", code)
    assert.matches("could not load PEM client certificate", message)
  end)

  it("says that a file of authorities cannot be read", function()
    local _, message, code = get(tls_url, { ca = file "none.pem" })
    assert.equal("tls", code)
    assert.matches("none.pem", message, 1, true)
  end)

  it("says that what answers does not speak TLS", function()
    local _, _, code = get((url:gsub("http", "https")))
    assert.equal("tls", code)
  end)
end)

describe("luamq.http at a redirect", function()
  local function location(to, status, from)
    return runner:run("return (...) .. http.escape(select(2, ...)) .. select(3, ...)",
      (from or url) .. "/redirect?to=", to, "&status=" .. (status or 302))
  end

  local function follow(target, options, method)
    return runner:run([[
      local url, options, method = ...
      local answer, message, code = http[method](url, options)
      return answer and (answer.json or answer.status), message or answer.url, code
    ]], target, options, method or "get")
  end

  it("answers with it", function()
    local status, to = runner:run([[
      local answer = http.get(...)
      return answer.status, answer.headers.Location
    ]], location "/echo")
    assert.same({ 302, "/echo" }, { status, to })
  end)

  it("follows as many as it may", function()
    local got, at = follow(location "/echo?a=1", { redirects = 1 })
    assert.same({ "/echo?a=1", url .. "/echo?a=1" }, { got.target, at })
    local twice = location(location "/echo")
    assert.equal("/echo", follow(twice, { redirects = 2 }).target)
    assert.same({ nil, url .. ": too many redirects", "redirect" }, { follow(twice, { redirects = 1 }) })
  end)

  it("repeats a body only when it is asked to", function()
    local got = follow(location("/echo", 307), { redirects = 1, json = { 1 } }, "post")
    assert.same({ "POST", "[1]", "application/json" }, { got.method, got.body, got.headers["content-type"] })
    got = follow(location("/echo", 303), { redirects = 1, json = { 1 } }, "post")
    assert.same({ "GET", "" }, { got.method, got.body })
    assert.is_nil(got.headers["content-type"])
  end)

  it("shows secrets to the same host only", function()
    local secret = { authorization = "Bearer secret", ["x-key"] = "secret", accept = "text/plain" }
    local got = follow(location "/echo", { redirects = 1, headers = secret })
    assert.equal("Bearer secret", got.headers.authorization)
    local other, port = serve()
    local elsewhere = "http://127.0.0.1:" .. port
    local options = { redirects = 1, headers = secret, username = "a", password = "b" }
    got = follow(location(elsewhere .. "/echo"), options)
    assert.equal("text/plain", got.headers.accept)
    assert.is_nil(got.headers.authorization)
    assert.is_nil(got.headers["x-key"])
    assert.same({ nil, url .. ": a redirect to another host, with a body", "redirect" },
      { follow(location(elsewhere .. "/echo", 307), { redirects = 1, body = "secret" }, "post") })
    other:stop()
  end)

  it("does not leave TLS, nor HTTP", function()
    local tls, port = serve("--tls", "server")
    local from = "https://127.0.0.1:" .. port
    local options = { redirects = 1, ca = directory .. "/ca.pem" }
    assert.same({ nil, from .. ": a redirect from https to http", "redirect" },
      { follow(location(url .. "/echo", 302, from), options) })
    tls:stop()
    assert.same({ nil, url .. ": a redirect to what is no place: expected http:// or https://", "redirect" },
      { follow(location "file:///etc/passwd", { redirects = 1 }) })
  end)
end)

describe("luamq.http raises for", function()
  local cases = {
    ["a header with a line break"] = { { headers = { ["X-A"] = "a\r\nB: c" } },
      "http: the header X-A has a line break or a zero byte in it" },
    ["a name of a header that is none"] = { { headers = { ["a b"] = "c" } },
      'http: "a b" is not the name of a header' },
    ["a header that is its own"] = { { headers = { ["Content-Length"] = "1" } },
      "http: the header Content-Length is the request's own" },
    ["an unknown option"] = { { jsn = 1 }, "http: unknown option 'jsn' (did you mean 'json'?)" },
    ["a value of a wrong type"] = { { timeout = "1" }, "http: timeout must be of type number, got string" },
    ["a value out of range"] = { { timeout = 0 }, "http: timeout must be from 0.001 to 3600" },
    ["two bodies"] = { { body = "a", json = 1 }, "http: both body and json are given" },
    ["a body where there is none"] = { { body = "a" }, "http: GET has no body" },
    ["half an identity"] = { { certificate = "a" }, "http: certificate and key belong together" },
    ["a password of nobody"] = { { password = "a" }, "http: a password needs a username" },
    ["a path that is too long"] = { { unix = ("a"):rep(108) }, "http: unix has more than 107 bytes" },
    ["a proxy that is none"] = { { proxy = "ftp://a" },
      "http: proxy must be http://, https://, socks5:// or socks5h:// with host and port" },
  }
  for name, case in pairs(cases) do
    it(name, function()
      assert.equal(case[2], problem("return http.get('http://127.0.0.1/', ...)", case[1]))
    end)
  end

  it("a URL that it does not take, which it does not show", function()
    for target, text in pairs {
      ["ftp://127.0.0.1/secret"] = "http: expected http:// or https://",
      ["127.0.0.1/secret"] = "http: expected http:// or https://",
      ["file:///secret"] = "http: expected http:// or https://",
      ["http://me:secret@127.0.0.1/"] = "http: a user in the URL; use the options username and password",
      ["http://127.0.0.1:70000/secret"] = "http: no port from 1 to 65535",
      ["http://127.0.0.1/secret\r\nX: y"] = "http: not a URL",
      ["http://127.0.0.1/a secret"] = "http: not a URL",
      [""] = "http: expected http:// or https://",
    } do
      assert.equal(text, problem("return http.get(...)", target), target)
    end
  end)

  it("limits that it does not know", function()
    assert.equal("http: unknown limit 'max_connection' (did you mean 'max_connections'?)",
      problem "http.configure { max_connection = 1 }")
    assert.equal("http: max_connections must be from 1 to 65535",
      problem "http.configure { max_connections = 0 }")
  end)
end)

describe("the connections of luamq.http", function()
  local one
  before_each(function() one = hook_runner.start 'http = require "luamq.http"' end)

  --- Begins a request for each of so many clients, and answers the clients.
  local function begin(count, code, ...)
    local clients = {}
    for i = 1, count do clients[i] = one:connect() end
    for _, c in ipairs(clients) do one:begin(c, code, ...) end
    return clients
  end

  it("are no more with a host than its limit; who waits gets its turn", function()
    local fresh, port = serve()
    local target = "http://127.0.0.1:" .. port
    one:run "http.configure { max_connections_per_host = 3 }"
    for _, c in ipairs(begin(20, status_of, target .. "/slow?ms=5")) do
      assert.equal(200, one:result(c))
    end
    local seen, stats = one:run('return http.get(...).json, http.stats()', target .. "/counts")
    fresh:stop()
    assert.same({ 3, 3 }, { seen.connections, seen.most_at_once })
    assert.same({ 21, 0, 3 }, { stats.requests, stats.failed, stats.connections })
    assert.equal(17, stats.queued)
    local status, log = one:stop()
    assert.equal(0, status)
    assert.matches("warn http: requests had to wait for a connection requests=", log, 1, true)
  end)

  it("are not held up by another host that is slow", function()
    local fresh, port = serve()
    one:run "http.configure { max_connections_per_host = 1 }"
    local slow = begin(3, "return http.get(..., { timeout = 60 })", "http://127.0.0.1:" .. port .. "/hang")
    fresh:expect "^hangs"
    for _ = 1, 3 do assert.equal(204, one:run(status_of, url .. "/status?code=204")) end
    assert.same({ 1, 2 }, { one:run "local s = http.stats() return s.active, s.waiting" })
    fresh:stop()
    for _, c in ipairs(slow) do c:disconnect() end
    assert.equal(0, (one:stop()))
  end)

  it("have no room in time for who waits too long", function()
    local fresh, port = serve()
    local target = "http://127.0.0.1:" .. port
    one:run "http.configure { max_connections_per_host = 1 }"
    begin(1, "return http.get(..., { timeout = 60 })", target .. "/hang")
    fresh:expect "^hangs"
    local status, message, code = one:run([[
      local answer, message, code = http.get(..., { timeout = 0.02 })
      return answer, message, code
    ]], target .. "/status?code=204")
    fresh:stop()
    assert.same({ nil, target .. ": no connection was free in time", "timeout" }, { status, message, code })
    assert.equal(0, (one:stop()))
  end)

  it("serve a thousand clients that log in at once, and others meanwhile", function()
    local words = { "tests/logins/run", "--luamq", process.luamq, "--echoes", "1" }
    local seen = assert(json.decode(process.output(words)))
    assert.equal(1000, seen.accepted)
    assert.is_true(seen.at_once > 1 and seen.at_once <= 256)
    assert.is_true(seen.echoes > 1)
    assert.equal(0, (one:stop()))
  end)

  it("end with the request of a client that is gone", function()
    local fresh, port = serve()
    local target = "http://127.0.0.1:" .. port
    local path = process.script(([[
      local http = require "luamq.http"
      return { listeners = { "tcp://127.0.0.1:0" }, hooks = { authenticate = function()
        return http.get("%s/hang", { timeout = 60 }).status == 200
      end } }
    ]]):format(target))
    local broker = process.broker { path }
    local mqtt = process.start { "python3", "-c", ([[
import signal, socket, struct
s = socket.create_connection(("127.0.0.1", %d))
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it ends with a reset
s.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a")
signal.pause()]]):format(broker.port) }
    fresh:expect "^hangs"
    mqtt:signal "KILL"
    fresh:expect "^gone"
    assert.equal(0, broker:stop())
    mqtt:wait()
    fresh:stop()
    os.remove(path)
    assert.equal(0, (one:stop()))
  end)

  it("end with the broker, in the middle of a request", function()
    local fresh, port = serve()
    begin(1, "return http.get(..., { timeout = 60 })", "http://127.0.0.1:" .. port .. "/hang")
    fresh:expect "^hangs"
    one.process:signal "TERM"
    one.process:signal "TERM"
    fresh:expect "^gone"
    one:stop()
    fresh:stop()
  end)

  it("are of a script: a reload lets its requests end, then closes them", function()
    local fresh, port = serve()
    local target = "http://127.0.0.1:" .. port
    assert.equal(200, one:run(status_of, target .. "/watch"))
    local c = begin(1, status_of, target .. "/held")[1]
    fresh:expect "^holds"
    assert.is_true(one:run 'return require "luamq".reload()')
    assert.equal(204, one:run(status_of, target .. "/release"))
    assert.equal(200, one:result(c))
    fresh:expect "^left"
    fresh:stop()
    assert.equal(0, (one:stop()))
  end)

  it("are closed when nobody used them for a while", function()
    local fresh, port = serve()
    one:run "http.configure { idle_timeout = 1 }"
    assert.equal(200, one:run(status_of, "http://127.0.0.1:" .. port .. "/watch"))
    fresh:expect "^left"
    fresh:stop()
    assert.equal(0, (one:stop()))
  end)
end)

describe("luamq.http in a test", function()
  local broker, results

  --- Does it in a hook, and answers what it returned; nil when it has not returned yet.
  local function in_hook(fn)
    results = nil
    broker = test.broker { hooks = { authenticate = function()
      results = table.pack(fn())
      return true
    end } }
    broker:capture()
    broker:connect()
    return results
  end

  local function logged() return table.concat(broker:lines(), "\n") end

  after_each(function()
    fakes.install "http"
    broker:stop()
  end)

  it("has no network", function()
    assert.same({ nil, "no network in a test: give a fake answer with broker:fake('http', function ...)",
      "no_network", n = 3 }, in_hook(function() return http.get "http://127.0.0.1/" end))
  end)

  it("asks a fake, and takes its answer for one of a server", function()
    local request
    fakes.install("http", function(given)
      request = given
      return { json = { n = 1 }, headers = { ["X-One"] = 1 } }
    end)
    local answer = in_hook(function()
      return http.put("http://a/b", { json = { 1 }, query = { c = 2 }, headers = { ["X-A"] = "b" } })
    end)[1]
    assert.same({ "PUT", "http://a/b?c=2", "[1]", "b", "application/json" }, { request.method, request.url,
      request.body, request.headers["x-a"], request.headers["Content-Type"] })
    assert.same({ 1 }, request.json)
    assert.same({ 200, '{"n":1}', "1", "http://a/b?c=2" },
      { answer.status, answer.body, answer.headers["x-one"], answer.url })
    assert.equal("1", tostring(answer.json.n))
  end)

  it("follows the redirects of a fake", function()
    fakes.install("http", function(request)
      if request.url == "http://a/" then return { status = 302, headers = { Location = "/b" } } end
      return { body = request.url }
    end)
    local answer = in_hook(function() return http.get("http://a/", { redirects = 1 }) end)[1]
    assert.equal("http://a/b", answer.body)
  end)

  it("waits for a fake in the time of the test, no longer than it may", function()
    fakes.install("http", function() luamq.sleep(3) return {} end)
    in_hook(function() return http.get "http://a/" end)
    broker:advance(2.9)
    assert.is_nil(results)
    broker:advance(0.2)
    assert.equal(200, results[1].status)
    in_hook(function() return http.get("http://a/", { timeout = 2 }) end)
    broker:advance(2)
    assert.same({ nil, "http://a:80: no answer in time", "timeout", n = 3 }, results)
  end)

  it("lets the error of a fake be one of the hook", function()
    fakes.install("http", function() error("oops", 0) end)
    assert.is_nil(in_hook(function() return http.get "http://a/" end))
    assert.matches("hook authenticate: oops", logged(), 1, true)
    fakes.install("http", function() return 404 end)
    assert.is_nil(in_hook(function() return http.get "http://a/" end))
    assert.matches("the fake for http must answer a table, got number", logged(), 1, true)
  end)

  it("says where a hook cannot wait", function()
    broker = test.broker { hooks = { log = function() http.get "http://a/" end } }
    broker:capture()
    broker:connect()
    assert.matches("luamq.http: hook log cannot suspend", logged(), 1, true)
  end)
end)
