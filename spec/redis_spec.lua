local databases = require "spec.support.databases"
local fakes = require "luamq.fakes"
local inside = require "spec.support.inside"
local luamq_client = require "luamq.client"
local redis = require "luamq.redis"
local test = require "luamq.test"

local function prelude(options)
  return ("redis = require 'luamq.redis'\ndb = redis.new { %s }"):format(options)
end

describe("luamq.redis", function()
  local server, broker

  setup(function()
    server = databases.redis()
    broker = inside.start(prelude(("port = %d, timeout = 5"):format(server.port)))
  end)

  teardown(function()
    broker:stop()
    server:stop()
  end)

  before_each(function() broker:run "return db:flushall()" end)

  it("answers commands by any name", function()
    assert.equal("OK", broker:run "return db:set('a', 'x')")
    assert.equal("x", broker:run "return db:get 'a'")
    assert.equal("x", broker:run "return db:command('GET', 'a')")
    assert.equal(3, broker:run "return db:incrby('n', 3)")
    assert.equal("2.5", broker:run "return db:incrbyfloat('f', 2.5)")
  end)

  it("answers nil alone for what is not there", function()
    assert.same({ n = 1 }, table.pack(broker:run "return db:get 'missing'"))
  end)

  it("answers lists without holes", function()
    assert.same({ "x", false, "y" },
      broker:run "db:mset('a', 'x', 'b', 'y') return db:mget('a', 'none', 'b')")
    assert.same({ 1, { "two", { false } }, "OK" }, broker:run [[
      return db:eval("return {1, {'two', {false}}, redis.status_reply('OK')}", 0)]])
    assert.same({}, broker:run "return db:keys '*none*'")
  end)

  it("answers errors of the server with their code", function()
    local value, message, code = broker:run "db:set('a', 'x') return db:incr 'a'"
    assert.is_nil(value)
    assert.equal("ERR value is not an integer or out of range", message)
    assert.equal("ERR", code)
    assert.equal("WRONGTYPE", select(3, broker:run "db:set('a', 'x') return db:lpush('a', 'y')"))
  end)

  it("carries any bytes, and never takes a value for a command", function()
    local value = broker:run [[
      local all = {}
      for byte = 0, 255 do all[#all + 1] = string.char(byte) end
      local bytes = table.concat(all) .. "\r\n$3\r\nfoo\r\n*1\r\n$8\r\nFLUSHALL\r\n"
      db:set(bytes, bytes)
      return db:get(bytes) == bytes and db:dbsize()]]
    assert.equal(1, value)
  end)

  it("sends the commands of a pipeline together", function()
    local problem = { error = "ERR value is not an integer or out of range" }
    assert.same({ 1, true, "1", problem, false }, broker:run [[
      local replies = db:pipeline {
        { "INCR", "n" }, { "SET", "a", "x" }, { "GET", "n" }, { "INCR", "a" }, { "GET", "none" } }
      replies[2] = replies[2] == "OK"
      return replies]])
    assert.same({ 1, 2 }, broker:run "return db:pipeline(function(p) p:incr('m'):incr('m') end)")
    assert.same({}, broker:run "return db:pipeline {}")
  end)

  it("executes what stands between MULTI and EXEC as one", function()
    assert.same({ "OK", "QUEUED", "QUEUED", { 1, 2 } }, broker:run [[
      return db:pipeline { { "MULTI" }, { "INCR", "n" }, { "INCR", "n" }, { "EXEC" } }]])
  end)

  it("refuses commands that would change or hold up the connection of all hooks", function()
    for command, reason in pairs {
      ["db:select(1)"] = "SELECT is not for a connection that all hooks share",
      ["db:blpop('a', 0)"] = "BLPOP is not for a connection",
      ["db:command('subscribe', 'a')"] = "SUBSCRIBE is what db:subscribe is for",
      ["db:multi()"] = "MULTI is for db:pipeline",
      ["db:xread('COUNT', 1, 'block', 0, 'STREAMS', 's', 0)"] = "XREAD with BLOCK would hold up all hooks",
      ["db:pipeline { { 'MULTI' } }"] = "MULTI without EXEC",
      ["db:pipeline { { 'EXEC' } }"] = "EXEC without MULTI",
      ["db:subscribe({}, print)"] = "expected a channel or a list of them",
      ["db:psubscribe('a')"] = "expected a function, got nil",
      ["db:get(nil)"] = "argument 2 must be a string or a number, got nil",
      ["db:get {}"] = "argument 2 must be a string or a number, got table",
      ["db:pipeline { { 'GET', true } }"] = "argument 2 must be a string or a number, got boolean",
    } do
      local fine, message = pcall(broker.run, broker, "local x = " .. command .. " return x")
      assert.is_false(fine, command)
      assert.matches(reason, message, 1, true)
      assert.matches("inside:1: redis: ", message, 1, true)
    end
    assert.equal("PONG", broker:run "return db:ping()")
  end)

  it("shares one connection among 500 hooks at once, and gives each its own reply", function()
    local clients = broker:run "return db:info 'clients'":match "connected_clients:(%d+)"
    assert.equal(500, broker:run [[
      local right, all = 0, luamq.channel(500)
      for i = 1, 500 do
        luamq.spawn(function()
          db:set("k" .. i, i)
          all:send(db:get("k" .. i) == tostring(i))
        end)
      end
      for _ = 1, 500 do
        if all:receive() then right = right + 1 end
      end
      return right]])
    assert.equal(clients, broker:run "return db:info 'clients'":match "connected_clients:(%d+)")
  end)

  it("answers at once, with the code busy, when too many commands are under way", function()
    assert.same({ 2, "busy", "too many commands are under way (max_pending)" }, broker:run(([[
      local small = redis.new { port = %d, max_pending = 2 }
      local fine, code, message = 0
      local all = luamq.channel(3)
      for i = 1, 3 do luamq.spawn(function() all:send { small:ping() } end) end
      for _ = 1, 3 do
        local answer = all:receive()
        if answer[1] == "PONG" then fine = fine + 1 else code, message = answer[3], answer[2] end
      end
      return { fine, code, message }]]):format(server.port)))
  end)

  it("bounds the size of replies", function()
    local code, message, after = broker:run(([[
      local small = redis.new { port = %d, max_reply = 2048 }
      db:set("large", ("x"):rep(1000000))
      local _, message, code = small:get "large"
      return code, message, small:ping()]]):format(server.port))
    assert.equal("limit", code)
    assert.matches("a reply is larger than max_reply", message, 1, true)
    assert.equal("PONG", after)
    assert.equal("limit", broker:run(([[
      local small = redis.new { port = %d, max_reply = 2048 }
      return select(3, small:eval("local t = {} for i = 1, 1000 do t[i] = i end return t", 0))]])
      :format(server.port)))
    assert.equal("limit", broker:run(([[
      local small = redis.new { port = %d, max_reply = 2048 }
      db:set("medium", ("x"):rep(1000))
      return select(3, small:pipeline { { "GET", "medium" }, { "GET", "medium" }, { "GET", "medium" } })]])
      :format(server.port)))
  end)

  it("connects to a unix socket, and to a database by its number", function()
    assert.same({ "OK", "x", 0 }, broker:run(([[
      local other = redis.new { unix = %q, database = 3 }
      return { other:set("a", "x"), other:get "a", db:exists "a" }]]):format(server.folder .. "/redis.sock")))
  end)

  it("looks up the name of a host, and tries each of its addresses", function()
    assert.same({ "PONG", "connection", true }, broker:run(([[
      local named = redis.new { host = "localhost", port = %d }
      local none = redis.new { host = "none.invalid", timeout = 0.3 }
      local _, message, code
      repeat _, message, code = none:ping() until code ~= "timeout"
      return { named:ping(), code, message:find("redis at none.invalid:6379: ", 1, true) == 1 }]])
      :format(server.port)))
  end)

  it("fails what is under way when it is closed", function()
    assert.same({ "closed", "closed" }, broker:run(([[
      local other = redis.new { port = %d }
      local results = luamq.channel(1)
      luamq.spawn(function()
        results:send(select(3, other:eval("local n = 0 for i = 1, 3e7 do n = n + i end", 0)))
      end)
      other:close()
      return { results:receive(), select(3, other:get "a") }]]):format(server.port)))
    assert.equal("PONG", broker:run "return db:ping()")
  end)

  it("says what is wrong with options, where they are given", function()
    for message, options in pairs {
      ["redis.new: unknown option 'hots', known are connect_timeout, "] = { hots = "a" },
      ["redis.new: port: must be between 1 and 65535, got 70000"] = { port = 70000 },
      ["redis.new: unix excludes host and port"] = { unix = "/a", port = 1 },
      ["redis.new: a username needs a password"] = { username = "a" },
      ["redis.new: password: expected a string without a zero byte"] = { password = 12345 },
    } do
      local fine, problem = pcall(function() redis.new(options) end)
      assert.is_false(fine)
      assert.matches(message, problem, 1, true)
      assert.matches("redis_spec.lua:", problem, 1, true)
      assert.is_nil(problem:find("12345", 1, true))
    end
  end)

  it("drops the reply of a call that was cancelled, and gives it to nobody else", function()
    assert.same({ "closed", true, "PONG" }, broker:run [[
      local closed = luamq.channel(1)
      local task = luamq.spawn(function()
        local gone <close> = setmetatable({}, { __close = function() closed:send "closed" end })
        db:eval("local n = 0 for i = 1, 1e6 do n = n + i end return 'late'", 0)
        error "never reached"
      end)
      local cancelled = task:cancel()
      return { closed:receive(), cancelled, db:ping() }]])
    assert.equal(0, broker:run "return db:stats().pending")
  end)
end)

describe("a subscription of luamq.redis", function()
  local server, broker

  setup(function()
    server = databases.redis()
    broker = inside.start(prelude(("port = %d, timeout = 20, max_pending = 5"):format(server.port)))
  end)

  teardown(function()
    broker:stop()
    server:stop()
  end)

  it("calls its function for each message, in order, and is opened again", function()
    broker:run [[
      got = luamq.channel(10)
      sub = assert(db:subscribe({ "a", "b" }, function(payload, channel)
        if payload == "bad" then error "this one fails" end
        luamq.sleep(0.001)
        got:send(channel .. "=" .. payload)
      end))
      while db:publish("a", "1") == 0 do end
      db:publish("a", "bad")
      db:publish("b", "x\0y")]]
    assert.same({ "a=1", "b=x\0y" }, broker:run "return { got:receive(), got:receive() }")
    server:stop_hard()
    server:start()
    assert.equal("a=2",
      broker:run "while db:publish('a', '2') == 0 do luamq.sleep(0.01) end return got:receive()")
    assert.equal(0, broker:run "sub:close() local n repeat n = db:publish('a', '3') until n == 0 return n")
  end)

  it("tells the pattern by which a message has come", function()
    assert.same({ "x", "news.a", "news.*" }, broker:run [[
      local first = luamq.channel(1)
      local news = db:psubscribe("news.*", function(...) first:send { ... } end)
      while db:publish("news.a", "x") == 0 do end
      local message = first:receive()
      news:close()
      return message]])
  end)

  it("drops what a slow function has no time for, and counts it", function()
    assert.same({ 6, 14 }, broker:run [[
      local go, got = luamq.channel(1), {}
      local sub = db:subscribe("c", function(payload)
        got[#got + 1] = payload
        go:receive()
      end)
      while db:publish("c", "1") == 0 do end
      while #got < 1 do luamq.sleep(0.001) end
      for i = 2, 20 do db:publish("c", i) end
      while sub:dropped() < 14 do luamq.sleep(0.001) end
      for _ = 1, 5 do go:send(true) end
      while #got < 6 do luamq.sleep(0.001) end
      sub:close()
      return { #got, sub:dropped() }]])
  end)
end)

describe("luamq.redis and a server that fails", function()
  it("waits for one that comes back in time", function()
    local server <close> = databases.redis()
    local broker <close> = inside.start(prelude(("port = %d, timeout = 20"):format(server.port)))
    assert.equal("OK", broker:run "return db:set('a', 'x')")
    server:stop_hard()
    assert(broker.client:publish("run", "return db:set('b', 'y')", 1))
    server:start()
    assert.matches("OK", assert(broker.client:receive(20)).payload)
    assert.equal("y", broker:run "return db:get 'b'")
    assert.equal(2, broker:run "return db:stats().connections")
  end)

  it("says that there is none, and logs it once", function()
    local server <close> = databases.redis()
    local broker = inside.start(prelude(("port = %d, timeout = 2"):format(server.port)))
    broker:run "return db:ping()"
    server:stop_hard()
    local answers = broker:run [[
      local all, answers = luamq.channel(3), {}
      for _ = 1, 3 do luamq.spawn(function() all:send { select(2, db:ping()) } end) end
      for i = 1, 3 do answers[i] = all:receive() end
      return answers]]
    local answer = { ("redis at 127.0.0.1:%d: Connection refused"):format(server.port), "connection" }
    assert.same({ answer, answer, answer }, answers)
    server:start()
    assert.equal("PONG", broker:run "local r repeat r = db:ping() until r return r")
    local log = broker:stop()
    assert.equal(1, select(2, log:gsub("redis does not answer", "")))
  end)

  it("fails what was sent, and sends nothing twice", function()
    local server <close> = databases.redis()
    local broker <close> = inside.start(prelude(("port = %d, timeout = 20"):format(server.port)))
    broker:run [[
      db:ping()
      result = luamq.channel(1)
      luamq.spawn(function() result:send(table.pack(db:eval("while true do end", 0))) end)]]
    server:stop_hard()
    server:start()
    local answer = broker:run "return result:receive()"
    assert.equal("connection", answer[3])
    assert.equal(0, broker:run "return db:dbsize()")
  end)

  it("takes one that hangs for dead when its time is over; others go on", function()
    local server <close> = databases.redis()
    local options = ("port = %d, timeout = 0.2, connect_timeout = 0.2"):format(server.port)
    local broker <close> = inside.start(prelude(options))
    broker:run "repeat until db:set('a', 'x')"
    server:signal "STOP"
    local value, message, code = broker:run "return db:get 'a'"
    assert.is_nil(value)
    assert.equal("no answer in time", message)
    assert.equal("timeout", code)
    local other = assert(luamq_client.connect { port = broker.port, id = "other" })
    other:disconnect()
    assert.equal("timeout", broker:run "return select(3, db:get 'a')")
    server:signal "CONT"
    assert.equal("x", broker:run "local r repeat r = db:get 'a' until r return r")
  end)

  it("logs in, and tells a wrong password from nothing else but its code", function()
    local server <close> = databases.redis { "--requirepass", "sesame-1", "--maxclients", "20" }
    local options = ("port = %d, password = 'sesame-1', database = 2"):format(server.port)
    local broker = inside.start(prelude(options))
    assert.equal("PONG", broker:run "return db:ping()")
    local value, message, code = broker:run(([[
      return redis.new { port = %d, username = "default", password = "sesame-2" }:ping()]])
      :format(server.port))
    assert.is_nil(value)
    assert.equal("WRONGPASS", code)
    local code_of_none = ("return select(3, redis.new { port = %d }:ping())"):format(server.port)
    assert.equal("NOAUTH", broker:run(code_of_none))
    assert.is_nil((message .. broker:stop()):find("sesame", 1, true))
    assert.matches("warn redis does not answer code=WRONGPASS", broker.output, 1, true)
  end)
end)

describe("luamq.redis in a test", function()
  local function broker_with(asked)
    return test.broker {
      listeners = { "tcp://127.0.0.1:0" },
      hooks = {
        authenticate = function(client)
          asked.result = table.pack(redis.new():hget("users", client.id))
          asked.replies = redis.new():pipeline { { "GET", "a" }, { "INCR", "n" } }
          return true
        end,
      },
    }
  end

  it("is answered by a fake", function()
    local asked, seen = {}, {}
    fakes.install("redis", function(command)
      seen[#seen + 1] = table.concat(command, " ")
      if command[1] == "INCR" then return nil, "ERR no", "ERR" end
      if command[1] == "HGET" then return "yes" end
    end)
    finally(function() fakes.install("redis", nil) end)
    local broker <close> = broker_with(asked)
    broker:connect { id = "a" }
    assert.equal("yes", asked.result[1])
    assert.same({ false, { error = "ERR no" } }, asked.replies)
    assert.same({ "HGET users a", "GET a", "INCR n" }, seen)
  end)

  it("has no network without one", function()
    local asked = {}
    local broker <close> = broker_with(asked)
    broker:connect { id = "a" }
    assert.matches("^no network in a test: give a fake answer with broker:fake%('redis', ", asked.result[2])
    assert.equal("no_network", asked.result[3])
  end)
end)
