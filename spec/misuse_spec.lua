-- Wrong arguments raise at the place of the call, which is in this file, and never end the process.
local luamq = require "luamq"
local postgres = require "luamq.postgres"
local redis = require "luamq.redis"
local sqlite = require "luamq.sqlite"
local test = require "luamq.test"

local http, dns, jwt = luamq.http, luamq.dns, luamq.jwt
local nan <const>, inf <const> = 0 / 0, math.huge
local absent <const> = {}

local function broken() error "a metamethod was called" end

local values <const> = {
  absent, true, 0, -1, 1.5, nan, inf, -inf, math.maxinteger, math.mininteger, 1e300, "", "a\0b", "\xff\xfe",
  {}, { {} }, setmetatable({}, { __index = broken, __pairs = broken, __len = broken }), print,
  coroutine.create(print), io.stdout,
}

--- "1, ?, table" for a message.
local function shown(arguments)
  local out = {}
  for i = 1, arguments.n do out[i] = ("%q"):format(tostring(arguments[i])) end
  return table.concat(out, ", ")
end

--- A call either succeeds or raises here.
local function call(name, fn, ...)
  local arguments = table.pack(...)
  for i = 1, arguments.n do
    if arguments[i] == absent then arguments[i] = nil end
  end
  local fine, message = pcall(function()
    local result = fn(table.unpack(arguments, 1, arguments.n))
    return result
  end)
  if fine then return end
  if tostring(message):find "cannot open" or tostring(message):find "it suspends" then return end -- no misuse
  assert.matches("^spec/misuse_spec.lua:%d+: ", message, ("%s(%s)"):format(name, shown(arguments)))
end

--- All values in the place of each of the first arguments, the others of which are `good`.
local function try(name, fn, ...)
  local good = table.pack(...)
  call(name, fn)
  for i = 1, good.n + 1 do
    for _, value in ipairs(values) do
      local arguments = table.move(good, 1, good.n, 1, {})
      arguments[i] = value
      call(name, fn, table.unpack(arguments, 1, math.max(good.n, i)))
    end
  end
end

describe("wrong arguments of", function()
  local broker

  before_each(function() broker = test.broker({ log = { level = "off" } }) end)
  after_each(function() broker:stop() end)

  it("luamq raise where they were given", function()
    try("match", luamq.match, "a", "b")
    try("publish", luamq.publish, "a", "b", { qos = 1 })
    try("retained", luamq.retained, "#")
    try("on_topics", luamq.on_topics, "#", print, {})
    try("client", luamq.client, "c")
    try("session", luamq.session, "c")
    try("after", luamq.after, 1, print)
    try("every", luamq.every, 1, print)
    try("sleep", luamq.sleep)
    try("spawn", luamq.spawn)
    try("semaphore", luamq.semaphore, 1)
    try("channel", luamq.channel, 1)
    try("counter", luamq.counter, "a", { "b" }, "help")
    try("gauge", luamq.gauge, "a", { "b" }, { help = "x" })
    try("histogram", luamq.histogram, "a", { "b" }, { buckets = { 1 } })
    try("log", luamq.log.debug, "a", { b = 1 })
    try("password_file", luamq.password_file, "/nowhere")
    try("password.hash", luamq.password.hash)
    try("password.verify", luamq.password.verify, nil, "x")
    for _, name in ipairs { "hash", "hmac", "pbkdf2", "equal", "random", "base64_encode", "base64_decode" } do
      try("crypto." .. name, luamq.crypto[name], "sha256", "a", "b", 1)
    end
  end)

  it("the values of luamq raise where they were given", function()
    broker:connect { id = "c" }
    local client, session, timer = luamq.client "c", luamq.session "c", luamq.after(1, print)
    local counter, gauge = luamq.counter("m1", { "a" }), luamq.gauge "m2"
    local histogram = luamq.histogram("m3", { "a" })
    try("counter:inc", counter.inc, counter, "a", 1)
    try("gauge:set", gauge.set, gauge, 1)
    try("histogram:observe", histogram.observe, histogram, "a", 1)
    try("histogram:value", histogram.value, histogram, "a")
    try("timer:cancel", timer.cancel, timer)
    try("client:close", client.close, client, "banned", "x")
    try("session:deliver", session.deliver, session, "t", "x", {})
    try("session:save_packet", session.save_packet, session, "incoming", { type = "pubrel", id = 1 })
    try("session:lookup_packet", session.lookup_packet, session, "incoming", 1)
    local semaphore, channel = luamq.semaphore(1), luamq.channel(1)
    semaphore:acquire()
    try("semaphore:acquire", semaphore.acquire, semaphore)
    try("channel:receive", channel.receive, channel)
    channel:send(1)
    try("channel:send", channel.send, channel)
    for _, value in ipairs(values) do
      pcall(function() luamq.shared.misuse = value end)
      call("shared", function() return luamq.shared[value] end)
    end
  end)

  it("http, dns and jwt raise where they were given", function()
    for _, name in ipairs { "get", "post", "request" } do try("http." .. name, http[name]) end
    try("http.configure", http.configure, { max_connections = 1 })
    try("http.escape", http.escape, "x")
    local names = { "timeout", "max_size", "redirects", "headers", "query", "unix", "method", "json" }
    for _, name in ipairs(names) do
      for _, value in ipairs(values) do call(name, http.request, "http://h/", { [name] = value, x = 1 }) end
    end
    try("dns.lookup", dns.lookup, nil, "any")
    try("dns.reverse", dns.reverse)
    try("jwt.key", jwt.key, "x")
    try("jwt.secret", jwt.secret, ("x"):rep(32))
    local options = { key = jwt.secret(("x"):rep(32)), algorithms = { "HS256" } }
    try("jwt.verify", jwt.verify, "x.x.x", options)
    try("jwt.sign", jwt.sign, { exp = 1 }, { key = options.key })
    for _, value in ipairs(values) do
      options.leeway = value
      call("jwt.verify", jwt.verify, "x.x.x", options)
    end
  end)

  it("databases raise where they were given", function()
    try("redis.new", redis.new, {})
    try("postgres.new", postgres.new, {})
    try("sqlite.open", sqlite.open, ":memory:", {})
    try("sqlite.blob", sqlite.blob, "x")
    for _, name in ipairs { "port", "timeout", "max_pending", "host", "max_rows", "uri", "statements" } do
      for _, value in ipairs(values) do
        call("redis.new", redis.new, { [name] = value })
        call("postgres.new", postgres.new, { [name] = value })
        call("sqlite.open", sqlite.open, ":memory:", { [name] = value })
      end
    end
    local all = { redis.new(), postgres.new {}, sqlite.open ":memory:" }
    local methods = { "command", "get", "pipeline", "subscribe", "query", "transaction", "exec", "stats" }
    for _, name in ipairs(methods) do
      for _, db in ipairs(all) do
        if db ~= all[1] and not db[name] then goto continue end
        call(name, db[name], 1, "x")
        call(name, db[name], {}, "x")
        call(name, db[name], db, {}, {})
        call(name, db[name], db, "x\0y", {})
        ::continue::
      end
    end
  end)

  it("luamq.test raise where they were given", function()
    local client = broker:connect { id = "c" }
    local methods = { "publish", "subscribe", "unsubscribe", "send_raw", "disconnect", "drop", "receive" }
    for _, name in ipairs(methods) do
      for _, value in ipairs(values) do
        call(name, client[name], value, "x")
        call(name, client[name], client, value, {})
      end
    end
    for _, name in ipairs { "connect", "open", "fake", "call", "reload", "use_memory", "advance" } do
      for _, value in ipairs(values) do
        if not (name == "advance" and type(value) == "number" and value > 1e6) then
          call(name, broker[name], broker, value)
        end
      end
    end
  end)
end)

describe("a batch of sqlite", function()
  it("takes no statement that its function has not packed", function()
    local broker <close> = test.broker {}
    local db, message = sqlite.open ":memory:", nil
    broker:call(luamq.spawn, function()
      message = select(2, pcall(db.transaction, db, function(batch) batch[1] = "select 1" end))
    end)
    assert.matches("a list of statements expected", message)
  end)
end)

describe("a session", function()
  it("is equal to no value of another kind", function()
    local broker <close> = test.broker {}
    broker:connect { id = "c" }
    assert.is_false(luamq.session "c" == luamq.client "c")
    assert.is_true(luamq.session "c" == luamq.session "c")
  end)
end)
