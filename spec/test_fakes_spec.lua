local fakes = require "luamq.fakes"
local luamq = require "luamq"
local test = require "luamq.test"

--- `fn` raises a message that has this text, with the place in this file.
local function raises(text, fn)
  local ok, message = pcall(fn)
  assert.is_false(ok)
  assert.matches(text, tostring(message), 1, true)
  assert.matches("^spec/test_fakes_spec.lua:%d+: ", message)
end

--- A broker whose publish hook calls `ask(find, message)` with a function that asks a fake as modules do.
local function broker_asking(ask)
  return test.broker({ hooks = { publish = function(_, message) return ask(fakes.find, message) end } }, nil,
    { capture = true })
end

--- What the hook of a broker answers for this.
local function asks(broker, name, ...)
  local result
  local arguments = table.pack(...)
  broker:call(function()
    local fake = fakes.find(name)
    result = fake and table.pack(fake(table.unpack(arguments, 1, arguments.n))) or { n = 0 }
  end)
  return table.unpack(result, 1, result.n)
end

local function request(method, url) return { method = method, url = url, headers = {} } end

describe("a fake", function()
  it("is found in the hooks of its broker only", function()
    local function ask(find) return find "redis" ~= nil end
    local with <close> = broker_asking(ask)
    local without <close> = broker_asking(ask)
    with:fake("redis", {})
    local a, b = with:connect(), without:connect()
    assert.allowed(a:publish("t", "x", 1))
    assert.denied(b:publish("t", "x", 1))
    assert.is_nil(fakes.find "redis")
    with:fake("redis", nil)
    assert.denied(a:publish("t", "x", 1))
  end)

  it("ends with its broker", function()
    local broker = test.broker {}
    broker:fake("dns", {})
    asks(broker, "dns", "a")
    broker:stop()
    assert.same({ { n = 1, "a" } }, broker:asked "dns")
    for _ = 1, 20 do
      local other <close> = test.broker {}
      assert.is_nil(asks(other, "dns", "a"))
    end
  end)

  it("is there when hooks.start is called", function()
    local seen
    local hooks = { start = function() seen = fakes.find "dns" "a" end }
    local broker <close> = test.broker({ hooks = hooks }, nil, { fakes = { dns = { a = "192.0.2.1" } } })
    assert.same({ "192.0.2.1" }, seen)
    assert.asked(broker, "dns")
  end)

  it("may take its time, in the time of the broker", function()
    local broker <close> = broker_asking(function(find) return find "redis" { "GET", "a" } == "yes" end)
    broker:fake("redis", function()
      luamq.sleep(0.5)
      return "yes"
    end)
    local client = broker:connect()
    assert.same({ n = 2, [2] = "no answer" }, table.pack(client:publish("t", "x", 1)))
    broker:fake("redis", { a = "yes" }, { delay = 2 })
    broker:advance(0.5)
    assert.allowed(client:answer())
    client:publish("t", "x", 1)
    broker:advance(1.9)
    assert.same({ n = 2, [2] = "no answer" }, table.pack(client:answer()))
    broker:advance(0.1)
    assert.allowed(client:answer())
  end)

  it("whose function raises fails the hook", function()
    local broker <close> = broker_asking(function(find) return find "http" {} end)
    broker:fake("http", function() error "no such host" end)
    local answer = broker:connect():publish("t", "x", 1)
    assert.equal("hook error", answer.error)
    assert.logged(broker, "no such host")
  end)

  it("records what it was asked", function()
    local broker <close> = test.broker {}
    broker:fake("http", { ["*"] = { status = 204 } })
    broker:fake("postgres", function() return {} end)
    asks(broker, "http", request("GET", "http://h/a"))
    asks(broker, "postgres", "select $1", { n = 1, 5 })
    assert.equal("http://h/a", broker:asked "http"[1].url)
    assert.same({ { n = 2, "select $1", { n = 1, 5 } } }, broker:asked "postgres")
    assert.same({}, broker:asked "dns")
    assert.asked(broker, "http", { method = "GET" })
    assert.asked(broker, "postgres", { "select $1" })
    assert.is_not.asked(broker, "http", { method = "POST" })
    local ok, message = pcall(assert.asked, broker, "http", { method = "POST" })
    assert.is_false(ok)
    assert.matches('expected http to be asked for { method = "POST" }, got:\n  {', message, 1, true)
  end)

  it("is refused where it is given when it is not right", function()
    local broker <close> = test.broker {}
    raises("fake: there is none for \"htp\" (did you mean 'http'?)", function() broker:fake("htp", {}) end)
    raises("fake expects a function or a table of answers", function() broker:fake("http", 1) end)
    raises('fake: a route is "GET /path"', function() broker:fake("http", { ["GET a"] = {} }) end)
    raises('the answer of "/a" must be a table or a function',
      function() broker:fake("http", { ["/a"] = 1 }) end)
    raises("delay must be a number", function() broker:fake("dns", {}, { delay = "1" }) end)
    raises("test.broker has no option \"fake\"", function() test.broker({}, nil, { fake = {} }) end)
    raises("test.broker: fakes must be a table", function() test.broker({}, nil, { fakes = print }) end)
  end)
end)

describe("a fake of http", function()
  it("answers by the most exact route", function()
    local broker <close> = test.broker {}
    broker:fake("http", {
      ["*"] = { status = 404 },
      ["/auth/*"] = { status = 200 },
      ["GET /auth/*"] = { status = 201 },
      ["GET /auth/a.b"] = { status = 202 },
      ["POST https://other/auth/*"] = function(asked) return { status = 203, body = asked.body } end,
    })
    local function status(...) return asks(broker, "http", request(...)).status end
    assert.equal(202, status("GET", "http://h:80/auth/a.b?x=1"))
    assert.equal(201, status("GET", "http://h/auth/axb"))
    assert.equal(200, status("PUT", "http://h/auth/a.b"))
    assert.equal(203, status("POST", "https://other/auth/x"))
    assert.equal(404, status("GET", "http://h"))
  end)

  it("fails without a route", function()
    local broker <close> = test.broker {}
    broker:fake("http", { ["GET /a"] = {} })
    assert.same({ n = 3, [2] = "the fake has no route for PUT http://h/a", [3] = "failed" },
      table.pack(asks(broker, "http", request("PUT", "http://h/a"))))
  end)
end)

describe("a fake of postgres", function()
  it("answers by the statement", function()
    local broker <close> = test.broker {}
    broker:fake("postgres", {
      ["select hash from users where name = $1"] = function(name) return { { hash = name .. "!" } } end,
      ["select 1"] = { { one = 1 } },
    })
    assert.same({ { hash = "a!" } },
      asks(broker, "postgres", "select hash\n  from users where name = $1 ", { n = 1, "a" }))
    assert.same({ { one = 1 } }, asks(broker, "postgres", "select 1", { n = 0 }))
    assert.same({ n = 3, [2] = "the fake has no answer for select 2", [3] = "failed" },
      table.pack(asks(broker, "postgres", "select 2", { n = 0 })))
  end)
end)

describe("a fake of redis", function()
  local broker, store

  before_each(function()
    store = { user = { password = "x" }, admins = { "alice" }, hits = 3 }
    broker = test.broker {}
    broker:fake("redis", store)
  end)

  after_each(function() broker:stop() end)

  local function redis(...) return asks(broker, "redis", { ... }) end

  it("may be a function of the command and its arguments", function()
    broker:fake("redis", function(command, ...) return command .. select("#", ...) .. ... end)
    assert.equal("GET1a", redis("get", "a"))
    assert.asked(broker, "redis", { "GET", "a" })
  end)

  it("has strings, with times to live", function()
    assert.equal("3", redis("GET", "hits"))
    assert.equal(4, redis("INCR", "hits"))
    assert.equal("OK", redis("SET", "a", "1", "EX", "10"))
    assert.is_nil(redis("SET", "a", "2", "NX"))
    assert.equal(10, redis("TTL", "a"))
    broker:advance(9)
    assert.equal("1", redis("get", "a"))
    broker:advance(1)
    assert.is_nil(redis("GET", "a"))
    assert.equal(-2, redis("TTL", "a"))
    assert.same({ "4", false }, redis("MGET", "hits", "a"))
    assert.same({ "hits" }, redis("KEYS", "h*"))
    assert.equal(1, redis("DEL", "hits", "a"))
    assert.equal(0, redis("EXISTS", "hits"))
  end)

  it("has hashes", function()
    assert.equal("x", redis("HGET", "user", "password"))
    assert.is_nil(redis("HGET", "nobody", "password"))
    assert.equal(1, redis("HSET", "user", "password", "y", "role", "b"))
    assert.same({ "password", "y", "role", "b" }, redis("HGETALL", "user"))
    assert.same({ "y", false }, redis("HMGET", "user", "password", "age"))
    assert.equal(1, redis("HDEL", "user", "role"))
    assert.equal(0, redis("HEXISTS", "user", "role"))
    assert.same({ password = "y" }, store.user)
    assert.equal(2, redis("HINCRBY", "counts", "a", "2"))
  end)

  it("has sets and lists", function()
    assert.equal(1, redis("SISMEMBER", "admins", "alice"))
    assert.equal(1, redis("SADD", "admins", "alice", "bob"))
    assert.same({ "alice", "bob" }, redis("SMEMBERS", "admins"))
    assert.equal(2, redis("SREM", "admins", "alice", "bob"))
    assert.equal("none", redis("TYPE", "admins"))
    assert.equal(2, redis("RPUSH", "log", "b", "c"))
    assert.equal(3, redis("LPUSH", "log", "a"))
    assert.same({ "b", "c" }, redis("LRANGE", "log", "1", "-1"))
    assert.equal("a", redis("LPOP", "log"))
    assert.equal("c", redis("RPOP", "log"))
    assert.equal(1, redis("LLEN", "log"))
  end)

  it("answers errors as a server does", function()
    assert.same({ n = 3, [2] = "WRONGTYPE Operation against a key holding the wrong kind of value",
      [3] = "WRONGTYPE" }, table.pack(redis("GET", "user")))
    assert.same({ n = 3, [2] = "ERR value is not an integer or out of range", [3] = "ERR" },
      table.pack(redis("INCRBY", "hits", "x")))
    assert.same({ n = 3, [2] = "ERR the fake knows no command XADD: give a function", [3] = "ERR" },
      table.pack(redis("XADD", "s", "*")))
  end)
end)

describe("test.fake", function()
  it("is for hooks that are called by hand", function()
    local function authenticate(client)
      local answer = fakes.find "http" { method = "GET", url = "http://h/" .. client.id }
      return answer.status == 200
    end
    do
      local routes = { ["/a"] = { status = 200, delay = 5 }, ["*"] = { status = 403 } }
      local fake <close> = test.fake("http", routes)
      assert.is_true(authenticate { id = "a" })
      assert.is_false(authenticate { id = "b" })
      assert.equal("http://h/b", fake:asked()[2].url)
      local broker <close> = test.broker {}
      assert.is_nil(asks(broker, "http", {}))
    end
    assert.is_nil(fakes.find "http")
  end)
end)
