--- What hooks may take: script.hook_budget and script.lua_memory; and what luamq.stats tells of their calls.

local brokers = require "spec.support.brokers"
local luamq = require "luamq"
local process = require "spec.support.process"

local logged, start = brokers.logged, brokers.start

local function spin(seconds)
  local until_ = os.clock() + seconds
  while os.clock() < until_ do end
end

describe("script.hook_budget", function()
  it("is told with the place and the innermost frames, at a bounded rate", function()
    local function loop() while true do end end
    local broker <close> = start { publish = function() loop() end }
    local client = broker:connect { id = "c" }
    for _ = 1, 12 do client:publish("t", "", 1) end
    assert.equal(12, broker:stats().hook_budget_exceeded)
    local lines = {}
    for _, line in ipairs(logged(broker)) do
      if line:find "^error" then lines[#lines + 1] = line end -- there may be one about a machine that is busy
    end
    assert.equal(10, #lines)
    local place = brokers.place(loop)
    assert.matches("^error hook publish: " .. place .. ": hook budget exceeded: ran longer than 0.05 s id=c",
      lines[1])
    assert.matches("\n    " .. place .. ": in upvalue 'loop'\n", lines[1])
  end)

  it("is a hook's own setting of the broker", function()
    local function hooks() return { publish = function() spin(0.1) return true end } end
    local short <close> = start(hooks(), { script = { hook_budget = 0.02 } })
    local long <close> = start(hooks(), { script = { hook_budget = 2 } })
    local none <close> = start(hooks(), { script = { hook_budget = 0 } })
    assert.equal("hook budget exceeded", short:connect():publish("t", "", 1).error)
    assert.same({ reason = "success" }, long:connect():publish("t", "", 1))
    assert.same({ reason = "success" }, none:connect():publish("t", "", 1))
    assert.matches("ran longer than 0.02 s", logged(short)[1])
  end)

  it("denies by each deciding hook", function()
    local function loop(client) while client.id == "bad" do end return true end
    local broker <close> = start { authenticate = loop, subscribe = loop }
    local answer = brokers.connect(broker, { id = "bad" })
    assert.same({ reason = "server_unavailable", code = 3, error = "hook budget exceeded" }, answer)
    assert.equal("success", broker:connect({ id = "good" }):subscribe("t", 1).reason)
  end)

  it("is of timers and of luamq.spawn as well", function()
    local broker <close> = start {}
    broker:call(function()
      luamq.after(1, function() while true do end end)
      luamq.spawn(function() while true do end end)
    end)
    broker:advance(2)
    assert.equal(2, broker:stats().hook_budget_exceeded)
  end)

  it("is ten times as much for start", function()
    local broker <close> = start { start = function() spin(0.2) end }
    assert.equal(0, broker:stats().hook_budget_exceeded)
  end)

  it("begins anew when a hook has waited", function()
    local broker <close> = start { publish = function()
      for _ = 1, 4 do
        spin(0.03)
        luamq.sleep(0.1)
      end
      return true
    end }
    local client = broker:connect()
    client:publish("t", "", 1)
    broker:advance(1)
    local stats = broker:stats()
    assert.equal(0, stats.hook_budget_exceeded)
    assert.equal(1, stats.messages_published)
  end)

  it("ends a hook that loops after it has waited, and what is to be closed is closed", function()
    local closed = 0
    local broker <close> = start { publish = function()
      local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
      luamq.sleep(1)
      while true do end
    end }
    local client = broker:connect()
    client:publish("t", "", 1)
    broker:advance(2)
    assert.equal(1, closed)
    assert.equal(1, broker:stats().hook_budget_exceeded)
    assert.equal(0, broker:stats().hooks_suspended)
  end)

  it("counts a nested hook for itself, and ends it alone", function()
    local inner
    local broker <close> = start {
      publish = function()
        spin(0.03)
        luamq.publish("out", "x", { qos = 1 })
        luamq.log.warn "on"
        return true
      end,
      log = function(event)
        if event == "message published" then
          inner = true
          while true do end
        end
      end,
    }
    broker:connect():publish("t", "", 1)
    assert.is_true(inner)
    local hooks = broker:stats().hooks
    assert.equal(0, hooks.publish.errors)
    assert.is_true(hooks.log.errors >= 1)
  end)

  it("bounds a hook with all that it causes by ten times as much", function()
    local broker <close> = start({
      publish = function()
        while true do luamq.publish("out", "x") end
      end,
      log = function() spin(0.01) end,
    })
    local before = os.clock()
    assert.equal("hook budget exceeded", broker:connect():publish("t", "", 1).error)
    assert.is_true(os.clock() - before < 10)
  end)

  it("does not count time in which the process does not run", function()
    local broker <close> = start { publish = function()
      os.execute "sleep 0.2"
      return true
    end }
    assert.same({ reason = "success" }, broker:connect():publish("t", "", 1))
  end)

  it("leaves no debug hook behind, nor one of the script's own", function()
    local broker <close> = start { publish = function()
      debug.sethook(function() end, "l")
      while true do end
    end, subscribe = function() return debug.gethook() == nil end }
    local client = broker:connect()
    assert.equal("hook budget exceeded", client:publish("t", "", 1).error)
    assert.equal("success", client:subscribe("t", 0).reason)
  end)

  it("tells what a function of C has taken, which cannot be stopped", function()
    local broker <close> = start({ publish = function()
      return (("a"):rep(21):find(("a?"):rep(21) .. ("a"):rep(21)))
    end }, { script = { hook_budget = 0.005 } })
    assert.equal("hook budget exceeded", broker:connect():publish("t", "", 1).error)
    assert.matches("0.005 s, %d+.%d s, in a call of a C function that nothing could interrupt",
      logged(broker)[1])
  end)
end)

describe("script.lua_memory", function()
  it("is a gauge, with its limit", function()
    local broker <close> = start(nil, { script = { lua_memory = "512M" } })
    local stats = broker:stats()
    assert.equal(512 << 20, stats.lua_memory_limit_bytes)
    local used = collectgarbage "count" * 1024
    assert.is_true(math.abs(stats.lua_memory_bytes - used) < 100000)
  end)

  it("is told with what is used, once a second, and counted", function()
    local broker <close> = start({ publish = function() return (("x"):rep(1 << 30)) end },
      { script = { lua_memory = "128M" } })
    local client = broker:connect { id = "c" }
    for _ = 1, 3 do assert.equal("hook error", client:publish("t", "", 1).error) end
    assert.equal(3, broker:stats().hook_memory_exceeded)
    local told = 0
    for _, line in ipairs(logged(broker)) do
      local bytes = line:match "^error script.lua_memory is used up hook=publish id=c .* limit_bytes=(%d+)$"
      if bytes == "134217728" then told = told + 1 end
    end
    assert.equal(1, told)
  end)

  it("is told once a minute when what is in use stays near it", function()
    local kept = {}
    local broker <close> = start({
      publish = function()
        collectgarbage "stop"
        while collectgarbage "count" < 0.93 * 131072 do kept[#kept + 1] = ("x"):rep(1 << 16, #kept % 10) end
        for i = 1, 1000 do local _ = { ("y"):rep(1 << 16, i % 10) } end
        collectgarbage "restart"
        return true
      end,
    }, { script = { lua_memory = "128M", hook_budget = 10 } })
    local client = broker:connect { id = "c" }
    assert.same({ reason = "success" }, client:publish("t", "", 1))
    assert.same({ reason = "success" }, client:publish("t", "", 1))
    local function told()
      local count = 0
      for _, line in ipairs(logged(broker)) do
        if line:find "^warn script.lua_memory is nearly used up hook=publish id=c" then count = count + 1 end
      end
      return count
    end
    assert.equal(1, told())
    broker:advance(61)
    client:publish("t", "", 1)
    assert.equal(1, told())
    kept = nil
    collectgarbage()
  end)
end)

describe("luamq.stats().hooks", function()
  local function total(histogram) return histogram.buckets[#histogram.buckets].count end

  it("has the hooks that are defined, their calls, denials and errors", function()
    local broker <close> = start {
      publish = function(_, message)
        if message.topic == "error" then error "oh" end
        return message.topic == "good"
      end,
      terminate = function() end,
    }
    local client = broker:connect()
    for _, topic in ipairs { "good", "good", "bad", "error" } do client:publish(topic, "", 1) end
    local hooks = broker:call(luamq.stats).hooks
    local publish = hooks.publish
    assert.same({ 4, 2, 1 }, { publish.calls, publish.denials, publish.errors })
    assert.equal(0, hooks.terminate.calls)
    assert.is_nil(hooks.subscribe)
    assert.is_nil(hooks.timer)
  end)

  it("are cumulative histograms in seconds", function()
    local broker <close> = start({ publish = function(_, message)
      spin(tonumber(message.payload))
      return true
    end }, { script = { hook_budget = 1 } })
    local client = broker:connect()
    for _, seconds in ipairs { "0", "0", "0.01", "0.2" } do client:publish("t", seconds, 1) end
    local running = broker:stats().hooks.publish.running
    assert.equal(4, running.count)
    assert.equal(4, total(running))
    assert.is_true(running.sum >= 0.21)
    local before, below = 0, {}
    for _, bucket in ipairs(running.buckets) do
      assert.is_true(bucket.count >= before)
      before = bucket.count
      below[bucket.le] = bucket.count
    end
    assert.equal(math.huge, running.buckets[#running.buckets].le)
    assert.is_true(below[0.003] <= 2 and below[0.1] <= 3)
  end)

  it("tell the time of those that have waited", function()
    local broker <close> = start { publish = function(_, message)
      if message.topic == "slow" then luamq.sleep(2) end
      return true
    end }
    local client = broker:connect()
    client:publish("fast", "", 1)
    client:publish("slow", "", 1)
    broker:advance(3)
    local publish = broker:stats().hooks.publish
    assert.equal(2, publish.calls)
    assert.equal(1, publish.waiting.count)
    assert.is_true(math.abs(publish.waiting.sum - 2) < 0.001)
    assert.is_true(publish.running.sum < 1)
  end)
end)

describe("functions of Lua that luamq replaces", function()
  local chunk = [==[
    local function show(...)
      local list = table.pack(...)
      for i = 1, list.n do list[i] = tostring(list[i]):gsub("0x%x+", "ADDRESS") end
      print(table.concat(list, " ", 1, list.n))
    end
    local co = coroutine.create(function(a, b)
      show("in", a, b, coroutine.status(coroutine.running()))
      show("on", coroutine.yield(1, nil, 3))
      error({})
    end)
    show(coroutine.resume(co, "x"))
    show(coroutine.resume(co, "y", nil))
    show(coroutine.resume(co), coroutine.status(co))
    show(pcall(coroutine.resume, 1))
    show(pcall(coroutine.wrap, 1))
    show(pcall(coroutine.wrap(function() error "text" end)))
    local object = setmetatable({}, { __tostring = function() return "t" end })
    show(pcall(coroutine.wrap(function() error(object) end)))
    local dead = coroutine.wrap(function() return 1, 2 end)
    show(dead())
    show(pcall(dead))
    show(pcall(coroutine.wrap(function()
      local _ <close> = setmetatable({}, { __close = function(_, e)
        show("closing", e)
        error("other", 0)
      end })
      error("first", 0)
    end)))
    local self
    self = coroutine.wrap(function() return self() end)
    show(pcall(self))
    for i in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) do show(i) end
    local open = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function(_, e) show("closed", e) end })
      coroutine.yield()
    end)
    coroutine.resume(open)
    show(coroutine.close(open), coroutine.status(open))
    show(coroutine.close(open))
    show(coroutine.close(coroutine.create(print)))
    local failing = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() error("in close", 0) end })
      coroutine.yield()
    end)
    coroutine.resume(failing)
    show(coroutine.close(failing))
    show(pcall(coroutine.close, coroutine.running()))
    local outer
    outer = coroutine.create(function()
      show(pcall(coroutine.wrap(function() coroutine.close(outer) end)))
    end)
    coroutine.resume(outer)
    local many = {}
    for i = 1, 100 do many[i] = i end
    show(select("#", coroutine.wrap(function(...) return ... end)(table.unpack(many))))
    local counting = coroutine.create(function(...) return select("#", ...) end)
    show(coroutine.resume(counting, table.unpack(many, 1, 200)))
    show(pcall(setmetatable, 1, {}))
    show(pcall(setmetatable, {}))
    show(pcall(setmetatable, {}, 1))
    show(getmetatable(setmetatable(setmetatable({}, {}), nil)))
    show(pcall(setmetatable, setmetatable({}, { __metatable = "mine" }), {}))
    local seen = {}
    do
      local meta = { __gc = function(o) seen[#seen + 1] = o.name end }
      for i = 1, 3 do setmetatable({ name = "n" .. i }, meta) end
      setmetatable({}, { __gc = true })
      setmetatable({}, { __gc = function() error "ignored" end })
      setmetatable({ name = "callable" }, { __gc = setmetatable({}, { __call = function(_, o)
        seen[#seen + 1] = o.name
      end }) })
    end
    collectgarbage()
    collectgarbage()
    table.sort(seen)
    show(table.unpack(seen))
    local meta = { __gc = function(...) coroutine.yield(...) return select("#", ...), "direct" end }
    setmetatable({}, meta)
    local direct = coroutine.wrap(function() return meta.__gc(1, 2) end)
    show(direct())
    show(direct())
    show(pcall(os.exit, {}))
  ]==]

  it("do what the originals do", function()
    local path = process.script(chunk)
    local _, expected = process.run { "/usr/bin/lua5.4", path }
    local status, output = process.run { process.luamq, "-e", ("dofile(%q)"):format(path) }
    os.remove(path)
    assert.equal(0, status)
    assert.is_true(#expected > 800)
    assert.equal(expected, output)
  end)
end)

describe("in the program", function()
  it("load takes text only, and debug leaves alone what is luamq's", function()
    local path = process.script [==[
      local function show(...)
        print((table.concat({ tostring((...)), (select(2, ...)) }, " "):gsub("\n.*", "")))
      end
      local binary = string.dump(function() end)
      show(load(binary))
      show(load(binary, "x", "b"))
      show(load("return 1", "x", "b"))
      show(load("return x", "x", "bt", { x = "env" })())
      show(load(function() return nil end)())
      local name = os.tmpname()
      local file <close> = io.open(name, "wb")
      file:write(binary)
      file:flush()
      show(loadfile(name))
      show(pcall(dofile, name))
      os.remove(name)
      show(pcall(debug.getregistry))
      show(pcall(debug.setmetatable, io.stdout, {}))
      show(pcall(debug.setuservalue, io.stdout, 1))
      show(pcall(debug.setupvalue, string.gmatch("", ""), 1, 1))
      show(pcall(debug.setmetatable, 1, nil))
      show(pcall(debug.sethook))
    ]==]
    local status, output = process.run { process.luamq, "-e", ("dofile(%q)"):format(path) }
    os.remove(path)
    assert.equal(0, status)
    assert.same({
      "nil attempt to load a binary chunk (mode is 't')",
      "nil attempt to load a binary chunk (mode is 'none')",
      "nil attempt to load a text chunk (mode is 'none')",
      "env",
      "nil",
    }, { table.unpack((function()
      local lines = {}
      for line in output:gmatch "[^\n]*" do lines[#lines + 1] = line end
      return lines
    end)(), 1, 5) })
    assert.matches("attempt to load a binary chunk.*attempt to load a binary chunk.*attempt to load a binary",
      output)
    assert.matches("debug.getregistry is not available in luamq", output, 1, true)
    assert.matches("cannot change a protected metatable", output, 1, true)
    assert.matches("debug.setuservalue is not available in luamq", output, 1, true)
    assert.matches("cannot change an upvalue of a C function", output, 1, true)
    assert.matches("\ntrue 1\ntrue\n$", output)
  end)
end)
