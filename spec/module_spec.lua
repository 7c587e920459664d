local brokers = require "spec.support.brokers"
local core = require "luamq.core"
local luamq = require "luamq"
local process = require "spec.support.process"

local logged, problem, start = brokers.logged, brokers.problem, brokers.start

describe("luamq.match", function()
  local yes, no = true, false
  local rows = {
    { "a", "a", yes }, { "a", "b", no }, { "a/b", "a/b", yes }, { "a/+", "a/b", yes }, { "a/+", "a", no },
    { "a/+", "a/", yes }, { "a/+", "a/b/c", no }, { "+", "a", yes }, { "+", "/a", no }, { "+/+", "/a", yes },
    { "/+", "/a", yes }, { "#", "a/b/c", yes }, { "a/#", "a", yes }, { "a/#", "a/b/c", yes },
    { "a/#", "ab", no }, { "a/+/c", "a/b/c", yes }, { "a/+/#", "a/b", yes }, { "a/+/#", "a", no },
    { "#", "$SYS/x", no }, { "+/x", "$SYS/x", no }, { "$SYS/#", "$SYS/x", yes }, { "$SYS/+", "$SYS/x", yes },
    -- filters that cover filters
    { "t/#", "t/+", yes }, { "t/+", "t/#", no }, { "t/+", "t/+", yes }, { "t/#", "t/#", yes },
    { "#", "+/+", yes }, { "#", "#", yes }, { "+", "#", no }, { "t/#", "#", no }, { "t/a", "t/+", no },
    { "t/+/#", "t/+", yes }, { "t/+/#", "t/#", no }, { "+/#", "#", yes },
    -- what is not valid matches nothing
    { "", "", no }, { "", "a", no }, { "a", "", no }, { "a#", "a#", no }, { "#/a", "b/a", no },
    { "a+", "a+", no }, { "a/#/b", "a/x/b", no }, { "a", "a+", no }, { "#", "a\0b", no },
  }

  for _, row in ipairs(rows) do
    it(("%q %s %q"):format(row[1], row[3] and "covers" or "does not cover", row[2]), function()
      assert.equal(row[3], luamq.match(row[1], row[2]))
    end)
  end

  it("raises on what is no string", function()
    for _, arguments in ipairs { {}, { "a" }, { "a", {} }, { nil, "a" }, { print, "a" } } do
      assert.matches("spec/module_spec.lua:%d+: bad argument #%d to '[%a.]*match'",
        problem(function() luamq.match(arguments[1], arguments[2]) end))
    end
  end)
end)

describe("without a broker", function()
  --- What a program of its own prints: in this one, brokers of other specs may not be collected yet.
  local function run(text)
    local path = process.script('local luamq = require "luamq" ' .. text)
    local status, output = process.run({ "lua5.4", path }, { errors = true })
    os.remove(path)
    assert.equal(0, status)
    return output
  end

  local calls = {
    publish = "'t'", clients = "", client = "'c'", session = "'c'", retained = "'#'", stats = "", stop = "",
    after = "1, print", every = "1, print",
  }

  for name, arguments in pairs(calls) do
    it("raises, with its place: luamq." .. name, function()
      local output = run(("print(select(2, pcall(function() luamq.%s(%s) end)))"):format(name, arguments))
      assert.matches("^[^\n]+:1: no broker is running\n$", output)
    end)
  end

  it("matches, logs to standard error, and has a version", function()
    local output = run [[
      luamq.log.warn("no broker", { n = 1, match = luamq.match("#", "a") })
      luamq.log.debug "not wanted"
      print(luamq.version)
    ]]
    assert.matches("^%d[%d-]+T[%d:.]+Z warn no broker match=true n=1\n" .. core.version:gsub("%p", "%%%0")
      .. "\n$", output)
  end)

  it("is where a broker that has stopped leaves its script, but for its hook stop", function()
    assert.matches("^0\nfalse\t[^\n]*no broker is running\n$", run [[
      local hooks = { stop = function() print(luamq.stats().connections) end }
      require "luamq.test".broker({ hooks = hooks }):stop()
      print(pcall(luamq.stats))
    ]])
  end)
end)

describe("with several brokers", function()
  it("works on the one whose hook runs, else on the one started last", function()
    local seen = {}
    local function hooks(name)
      return { publish = function()
        seen[#seen + 1] = name .. #luamq.clients()
        return true
      end }
    end
    local one = start(hooks "one")
    local two = start(hooks "two")
    local a = one:connect()
    two:connect()
    local c = two:connect()
    a:publish("t", "")
    c:publish("t", "")
    a:publish("t", "")
    assert.same({ "one1", "two2", "one1" }, seen)
    assert.equal(2, #luamq.clients())
    two:stop()
    assert.equal(1, #luamq.clients())
    one:stop()
  end)
end)

describe("luamq.publish", function()
  it("routes and retains at once, without the hook publish", function()
    local asked = false
    local broker <close> = start { publish = function() asked = true return true end }
    local c = broker:connect()
    c:subscribe("#", 2)
    assert.same({ n = 1, true }, table.pack(broker:publish "empty"))
    assert.is_true(broker:publish("t", "\0\xff", { qos = 2, retain = true }))
    assert.is_true(broker:publish("$SYS/uptime", "1", { retain = true }))
    local list = c:receive_all()
    assert.equal(2, #list)
    assert.same({ "empty", "", 0, false }, { list[1].topic, list[1].payload, list[1].qos, list[1].retain })
    assert.same({ "t", "\0\xff", 2, false }, { list[2].topic, list[2].payload, list[2].qos, list[2].retain })
    assert.same({ { topic = "t", payload = "\0\xff", qos = 2, retain = true } }, broker:retained "#")
    assert.equal("1", broker:retained("$SYS/#")[1].payload)
    broker:publish("t", "", { retain = true })
    assert.same({}, broker:retained "#")
    assert.is_false(asked)
  end)

  it("returns nil, a message and a code for a topic that cannot be published to", function()
    local broker <close> = start()
    for _, topic in ipairs { "", "a/#", "+", "a\0", "\xff", ("x"):rep(65536) } do
      local ok, message, code = broker:publish(topic, "x")
      assert.is_nil(ok)
      assert.matches("^the topic is not valid", message)
      assert.equal("topic_name_invalid", code)
    end
    assert.equal(0, broker:stats().messages_published)
  end)

  it("never waits: a full queue drops, counted and logged", function()
    local broker <close> = start(nil, { backend = { session_queue_size = 2, inflight_messages = 1 } })
    local c = broker:open()
    c:send_raw "\x10\x0d\0\4MQTT\4\2\0\0\0\1a\x82\6\0\1\0\1t\1"
    for _ = 1, 5 do assert.is_true(broker:publish("t", "x", { qos = 1 })) end
    assert.equal(2, broker:stats().messages_dropped_queue_full)
    assert.equal(0, broker:stats().publishes_waited)
    assert.same({ "warn message dropped id=a remote=memory topic=t error=\"queue full\"" },
      { logged(broker)[1] })
  end)
end)

describe("luamq.clients, client and session", function()
  it("find who is there", function()
    local broker <close> = start()
    broker:open() -- without CONNECT it is nobody
    broker:connect { id = "a" }
    local b = broker:connect { id = "b", clean = false }
    local ids = {}
    for i, client in ipairs(broker:clients()) do ids[i] = client.id end
    table.sort(ids)
    assert.same({ "a", "b" }, ids)
    assert.equal("a", broker:client("a").id)
    assert.equal(broker:client "a", broker:session("a").client)
    b:disconnect()
    assert.equal(1, #broker:clients())
    assert.is_nil(broker:client "b")
    assert.equal("b", broker:session("b").id)
    assert.same({ n = 2, nil, "missing session" }, table.pack(broker:session "nobody"))
    assert.same({ n = 1, nil }, table.pack(broker:client "nobody"))
  end)
end)

describe("luamq.retained", function()
  it("lists what matches a filter, as plain tables", function()
    local broker <close> = start()
    for _, topic in ipairs { "a", "a/b", "a/b/c", "$SYS/x" } do
      broker:publish(topic, topic:upper(), { retain = true, qos = 1 })
    end
    for filter, count in pairs { ["#"] = 3, ["a/#"] = 3, ["+"] = 1, ["a/+"] = 1, ["$SYS/+"] = 1, none = 0 } do
      assert.equal(count, #broker:retained(filter), filter)
    end
    local found = broker:retained("a/b")[1]
    assert.equal("table", type(found))
    assert.same({ topic = "a/b", payload = "A/B", qos = 1, retain = true }, found)
  end)
end)

describe("luamq.stats", function()
  local function documented()
    local names, inside = {}, false
    for line in io.lines "lua/luamq/types/stats.lua" do
      if line:find "^%-%-%-@class" then inside = line == "---@class luamq.Stats" end
      local name, kind, text = line:match "^%-%-%-@field (%S+) (%S+)  (%S.*)$"
      if inside and name and name ~= "hooks" then
        assert.equal("integer", kind)
        names[name] = text
      end
    end
    return names
  end

  it("has the counters and gauges that are documented, each an integer", function()
    local broker <close> = start()
    local names, count = documented(), 0
    local stats = broker:call(luamq.stats)
    stats.hooks = nil
    for name, value in pairs(stats) do
      count = count + 1
      assert.is_string(names[name], name)
      assert.equal("integer", math.type(value))
      names[name] = nil
    end
    assert.is_nil((next(names)))
    assert.is_true(count > 30)
  end)

  it("is a new table of what has happened", function()
    local broker <close> = start()
    local before = broker:call(luamq.stats)
    local c = broker:connect { id = "c" }
    c:subscribe("t", 1)
    c:publish("t", "x", 1)
    brokers.connect(broker, { id = "", clean = false })
    local now, changed = broker:call(luamq.stats), {}
    for name, value in pairs(now) do
      local varies = name:find "^bytes" or name:find "memory_bytes$" or name == "hooks"
      if value ~= before[name] and not varies then changed[name] = value end
    end
    assert.same({
      connections_accepted = 2, connections_closed = 1, connections = 1, clients = 1, sessions = 1,
      connects_accepted = 1, connects_refused = 1, subscriptions = 1, packets_received = 5, packets_sent = 5,
      messages_received = 1, messages_published = 1, messages_queued = 1, messages_sent = 1,
    }, changed)
    local again = broker:stats()
    now.lua_memory_bytes, again.lua_memory_bytes = nil, nil
    assert.same(now, again)
  end)
end)

describe("luamq.after and every", function()
  it("fire in time, once and again", function()
    local broker <close> = start()
    local fired = {}
    broker:call(function()
      luamq.after(2, function() fired[#fired + 1] = ("after %g"):format(broker:now()) end)
      luamq.every(1.5, function() fired[#fired + 1] = ("every %g"):format(broker:now()) end)
      luamq.after(0, function() fired[#fired + 1] = "at once" end)
    end)
    broker:advance(5)
    assert.same({ "at once", "every 1.5", "after 2", "every 3", "every 4.5" }, fired)
  end)

  it("can be cancelled, also by themselves", function()
    local broker <close> = start()
    local fired, timers = 0, {}
    broker:call(function()
      timers.once = luamq.after(1, function() fired = fired + 1 end)
      timers.again = luamq.every(1, function()
        fired = fired + 1
        assert(timers.again:cancel() == true)
        assert(timers.again:cancel() == false)
      end)
      timers.over = luamq.after(1, function() assert(timers.over:cancel() == false) end)
    end)
    assert.equal("<Timer>", tostring(timers.once))
    assert.is_true(timers.once:cancel())
    assert.is_false(timers.once:cancel())
    assert.equal("<Timer over>", tostring(timers.once))
    broker:advance(10)
    assert.equal(1, fired)
    assert.is_false(timers.over:cancel())
    assert.same({}, logged(broker))
  end)

  it("log an error and go on, with the place", function()
    local broker <close> = start()
    local turns = 0
    broker:call(luamq.every, 1, function()
      turns = turns + 1
      if turns == 1 then error "in a timer" end
      if turns == 2 then coroutine.yield() end
    end)
    broker:advance(3)
    assert.equal(3, turns)
    local lines = logged(broker)
    assert.equal(2, #lines)
    assert.matches("^error hook timer: spec/module_spec.lua:%d+: in a timer", lines[1])
    assert.matches("^error hook timer cannot suspend here", lines[2])
  end)

  it("may publish, and make timers", function()
    local broker <close> = start()
    local c = broker:connect()
    c:subscribe "#"
    broker:call(luamq.after, 1, function()
      luamq.publish("first", "")
      luamq.after(1, function() luamq.publish("second", "") end)
    end)
    broker:advance(2)
    assert.same({ "first", "second" }, { c:receive().topic, c:receive().topic })
  end)

  it("end with their broker, and are kept while they are armed", function()
    local fired = 0
    local broker = start()
    broker:call(luamq.every, 1, function() fired = fired + 1 end)
    local timer = broker:call(luamq.after, 5, function() fired = fired + 100 end)
    collectgarbage()
    broker:advance(2)
    broker:stop()
    assert.equal(2, fired)
    assert.equal("<Timer over>", tostring(timer))
    assert.is_false(timer:cancel())
  end)
end)

describe("luamq.stop", function()
  it("closes all clients, and lets in nobody", function()
    local why = {}
    local broker <close> = start { terminate = function(client, err) why[client.id] = err end }
    local c = broker:connect { id = "c", will = { topic = "w" } }
    local waiting = broker:open()
    assert.same({ n = 0 }, table.pack(broker:call(luamq.stop, 1)))
    assert.is_true(c.closed)
    assert.is_true(waiting.closed)
    assert.same({ c = "client closed" }, why)
    assert.same({ reason = "server_unavailable", code = 3 }, (brokers.connect(broker, { id = "late" })))
    broker:call(luamq.stop) -- once is enough
  end)
end)

describe("luamq.log", function()
  it("writes a line with fields, sorted by name, in the level asked for", function()
    local broker <close> = start(nil, { log = { level = "debug" } })
    broker:call(function()
      for _, level in ipairs { "debug", "info", "warn", "error" } do
        luamq.log[level]("a text", { b = "two words", a = 1, c = true, [4] = "number", d = 1.5, e = "" })
      end
      luamq.log.info "plain"
      luamq.log.info("nil is no table of fields", nil)
    end)
    local fields = ' 4=number a=1 b="two words" c=true d=1.5 e=""'
    assert.same({ "debug a text" .. fields, "info a text" .. fields, "warn a text" .. fields,
      "error a text" .. fields, "info plain", "info nil is no table of fields" }, logged(broker))
  end)

  it("writes what is wanted, and one line for whatever it is given", function()
    local broker <close> = start()
    broker:call(function()
      luamq.log.debug "no"
      luamq.log.info "no"
      luamq.log.warn("two\nlines\27[0m", { ["a key"] = "\0\n", object = setmetatable({}, {
        __tostring = function() return "an object" end }) })
    end)
    assert.same({ [[warn two\nlines\x1b[0m "a key"="\x00\n" object="an object"]] }, logged(broker))
  end)
end)

describe("a misuse of the module", function()
  --- What is told, and a call.
  local rows = {
    { "string expected, got nil", "publish" }, { "string expected, got table", "publish", {} },
    { "string expected, got boolean", "publish", "t", true }, { "table expected", "publish", "t", "", 1 },
    { "qos: a QoS is 0, 1 or 2", "publish", "t", "", { qos = 3 } },
    { "qos: a QoS is 0, 1 or 2", "publish", "t", "", { qos = "x" } },
    { "retain: expected true or false", "publish", "t", "", { retain = "yes" } },
    { "unknown field of a message 'retian'", "publish", "t", "", { retian = true } },
    { "fields of a message have the form name = value", "publish", "t", "", { 1 } },
    { "string expected", "client" }, { "string expected", "session", {} },
    { "string expected", "retained" }, { "invalid topic filter", "retained", "a#" },
    { "invalid topic filter", "retained", "" },
    { "number expected", "after" }, { "function expected", "after", 1 },
    { "function expected", "every", 1, "f" }, { "seconds between 0 and 1e9 expected", "after", -1, print },
    { "seconds between 0 and 1e9 expected", "after", 1e10, print },
    { "seconds between 0 and 1e9 expected", "after", 0 / 0, print },
    { "seconds between 0.001 and 1e9 expected", "every", 0, print },
    { "number expected", "stop", "now" }, { "seconds between 0 and 3600 expected", "stop", -1 },
    { "seconds between 0 and 3600 expected", "stop", 0 / 0 },
  }

  for _, row in ipairs(rows) do
    it(("raises, with its place: %s: %s"):format(row[2], row[1]), function()
      local broker <close> = start()
      local function misuse() luamq[row[2]](table.unpack(row, 3, 5)) end
      local message = problem(function() broker:call(misuse) end)
      assert.matches("^[%./]*spec/module_spec.lua:%d+: bad argument #%d to ", message)
      assert.matches(row[1], message, 1, true)
      assert.equal(0, broker:stats().messages_published)
    end)
  end

  it("raises in luamq.log", function()
    for _, arguments in ipairs { {}, { {} }, { "text", "field" } } do
      assert.matches("spec/module_spec.lua:%d+: bad argument #%d",
        problem(function() luamq.log.error(table.unpack(arguments)) end))
    end
  end)

  it("raises where it stands when it is called for a broker of a test", function()
    local broker <close> = start()
    assert.matches("^[%./]*spec/module_spec.lua:%d+: bad argument #1 to ",
      problem(function() broker:publish({}) end))
    assert.matches("^[%./]*spec/module_spec.lua:%d+: bad argument #1 to ",
      problem(function() broker:retained "a#" end))
  end)
end)

describe("modules that bring libraries", function()
  it("are loaded when they are used", function()
    for _, name in ipairs { "dns", "http", "jwt" } do
      assert.equal(require("luamq." .. name), luamq[name])
    end
    assert.is_nil(luamq.nonsense)
  end)
end)
