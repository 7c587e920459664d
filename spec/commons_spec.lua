--- What stays when a script is replaced, seen from one script: metrics and luamq.shared.

local luamq = require "luamq"
local test = require "luamq.test"

local function broker_with(settings)
  local broker = test.broker { listeners = { "tcp://127.0.0.1:0" }, script = settings }
  broker:capture()
  return broker
end

local function problem(...)
  local ok, text = pcall(...)
  assert.is_false(ok)
  return text
end

describe("luamq.counter", function()
  it("counts for each combination of label values", function()
    local broker <close> = broker_with()
    local denied = luamq.counter("denied_total", { "operation", "qos" }, "what was denied")
    broker:call(function()
      denied:inc("publish", 1)
      denied:inc("publish", 1, 2.5)
      denied:inc("subscribe", true)
      assert.equal(3.5, denied:value("publish", 1))
      assert.equal(1, denied:value("subscribe", true))
      assert.equal(0, denied:value("publish", 2))
      local all = luamq.metrics().denied_total
      assert.equal("counter", all.kind)
      assert.equal("what was denied", all.help)
      assert.same({ "operation", "qos" }, all.labels)
      table.sort(all.series, function(a, b) return a.value < b.value end)
      assert.same({ labels = { operation = "subscribe", qos = "true" }, value = 1 }, all.series[1])
      assert.same({ labels = { operation = "publish", qos = "1" }, value = 3.5 }, all.series[2])
    end)
    assert.equal(2, broker:stats().series)
  end)

  it("needs no labels, and no broker", function()
    local calls = luamq.counter "calls_without_broker_total"
    calls:inc()
    calls:inc(2)
    assert.equal(3, calls:value())
  end)

  it("is the same by the same name, and begins at 0 in each broker", function()
    do
      local broker <close> = broker_with()
      broker:call(function()
        luamq.counter("same_total"):inc()
        luamq.counter("same_total"):inc()
        assert.equal(2, luamq.counter("same_total"):value())
      end)
    end
    local broker <close> = broker_with()
    assert.equal(0, broker:call(function() return luamq.counter("same_total"):value() end))
  end)

  it("says what is wrong", function()
    local broker <close> = broker_with()
    broker:call(function()
      assert.matches("a name has letters, digits, _ and :", problem(luamq.counter, "a-b"), 1, true)
      assert.matches("a label is a name", problem(luamq.counter, "a", { "b c" }), 1, true)
      assert.matches("a metric has 8 labels at most",
        problem(luamq.counter, "a", { "a", "b", "c", "d", "e", "f", "g", "h", "i" }), 1, true)
      assert.matches("only a histogram has buckets",
        problem(luamq.counter, "a", nil, { buckets = { 1 } }), 1, true)
      local counter = luamq.counter("wrong_total", { "operation" })
      assert.matches("the value of label 'operation' expected, got no value",
        problem(counter.inc, counter), 1, true)
      assert.matches("a counter only rises", problem(counter.inc, counter, "x", -1), 1, true)
      assert.matches("a finite number expected", problem(counter.inc, counter, "x", 0 / 0), 1, true)
      assert.matches("is UTF-8 of at most 1024 bytes", problem(counter.inc, counter, "\xff"), 1, true)
      assert.matches("counter is read only", problem(function() counter.x = 1 end), 1, true)
    end)
  end)

  it("has a bounded number of series", function()
    local broker <close> = broker_with { max_series = 3 }
    broker:call(function()
      local seen = luamq.counter("seen_total", { "id" })
      for i = 1, 10 do seen:inc(i) end
      seen:inc(1)
      assert.equal(2, seen:value(1))
      assert.equal(0, seen:value(5))
      assert.equal(7, seen:value "(other)")
    end)
    assert.equal(7, broker:stats().series_refused)
    assert.matches("too many series of metrics: a sample went to %(other%) metric=seen_total max_series=3",
      table.concat(broker:lines(), "\n"))
  end)
end)

describe("luamq.gauge", function()
  it("goes up and down", function()
    local broker <close> = broker_with()
    broker:call(function()
      local level = luamq.gauge("level", { "tank" })
      level:set("a", 2.5)
      level:inc "a"
      level:dec("a", 3)
      assert.equal(0.5, level:value "a")
      assert.matches("number expected", problem(level.set, level, "a"), 1, true)
    end)
  end)
end)

describe("luamq.histogram", function()
  it("counts samples in buckets", function()
    local broker <close> = broker_with()
    broker:call(function()
      local sizes = luamq.histogram("sizes", { "topic" }, { buckets = { 1, 10, 100 }, help = "bytes" })
      assert.is_nil(sizes:value "a")
      for _, size in ipairs { 0.5, 1, 5, 50, 500 } do sizes:observe("a", size) end
      assert.same({ sum = 556.5, count = 5,
        buckets = { { le = 1, count = 2 }, { le = 10, count = 3 }, { le = 100, count = 4 } },
      }, sizes:value "a")
      assert.equal(5, luamq.metrics().sizes.series[1].count)
    end)
  end)

  it("has buckets for seconds by default, and refuses wrong ones", function()
    local broker <close> = broker_with()
    broker:call(function()
      local times = luamq.histogram "times"
      times:observe(0.3)
      assert.equal(11, #times:value().buckets)
      assert.matches("each larger than the one before",
        problem(luamq.histogram, "h", nil, { buckets = { 2, 1 } }), 1, true)
      assert.matches("1 to 32 buckets",
        problem(luamq.histogram, "h", nil, { buckets = {} }), 1, true)
    end)
  end)
end)

describe("luamq.shared", function()
  it("keeps plain data, as copies", function()
    local broker <close> = broker_with()
    broker:call(function()
      local list = { 1, "two", { three = true, [4.5] = -1 } }
      luamq.shared.list = list
      list[1] = "changed"
      assert.same({ 1, "two", { three = true, [4.5] = -1 } }, luamq.shared.list)
      luamq.shared.count = (luamq.shared.count or 0) + 1
      luamq.shared.count = luamq.shared.count + 1
      assert.equal(2, luamq.shared.count)
      luamq.shared[""] = "\0\xff"
      assert.equal("\0\xff", luamq.shared[""])
      local keys = {}
      for key, value in pairs(luamq.shared) do keys[key] = type(value) end
      assert.same({ list = "table", count = "number", [""] = "string" }, keys)
      luamq.shared.list = nil
      assert.is_nil(luamq.shared.list)
      assert.is_nil(luamq.shared[1])
    end)
    assert.equal(#"count" + 9 + 2 + 1 + 8, broker:stats().shared_bytes)
  end)

  it("may be changed while it is gone through", function()
    local broker <close> = broker_with()
    broker:call(function()
      for i = 1, 20 do luamq.shared["key" .. i] = i end
      local sum = 0
      for key, value in pairs(luamq.shared) do
        sum = sum + value
        luamq.shared[key] = nil
      end
      assert.equal(210, sum)
      assert.is_nil(next(luamq.shared.x or {}))
    end)
    assert.equal(0, broker:stats().shared_bytes)
  end)

  it("says what it does not take, and stays as it was", function()
    local broker <close> = broker_with { shared_bytes = 100 }
    broker:call(function()
      local shared = luamq.shared
      shared.a = 1
      assert.matches("luamq.shared takes plain data: the value: a function",
        problem(function() shared.a = print end), 1, true)
      assert.matches('the value["b"]: a coroutine',
        problem(function() shared.a = { b = coroutine.create(print) } end), 1, true)
      assert.matches("a key of luamq.shared is a string, got number",
        problem(function() shared[1] = 1 end), 1, true)
      assert.matches("would hold more than script.shared_bytes",
        problem(function() shared.b = ("x"):rep(100) end), 1, true)
      assert.equal(1, shared.a)
      assert.is_nil(shared.b)
      assert.is_false(pcall(setmetatable, shared, {}))
    end)
    assert.equal(1, broker:stats().shared_refused)
    local lines = table.concat(broker:lines(), "\n")
    assert.matches("warn luamq.shared is full: a value was refused shared_bytes=100", lines, 1, true)
  end)

  it("begins empty in each broker", function()
    do
      local broker <close> = broker_with()
      broker:call(function() luamq.shared.x = 1 end)
    end
    local broker <close> = broker_with()
    assert.is_nil(broker:call(function() return luamq.shared.x end))
  end)
end)
