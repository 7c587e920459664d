local brokers = require "spec.support.brokers"
local luamq = require "luamq"

local connect, logged, start = brokers.connect, brokers.logged, brokers.start

--- Replaces the script by one with these hooks.
local function reload(broker, hooks, overrides) return broker:reload({ hooks = hooks }, overrides) end

local function yes() return true end

describe("a reload", function()
  it("puts another script in force, and keeps clients, sessions and retained messages", function()
    local broker <close> = start { publish = yes }
    local _, c = connect(broker, { id = "c", clean = false })
    c:subscribe("a/#", 1)
    c:publish("a/kept", "r", 1, { retain = true })
    assert.equal("r", c:receive().payload)
    assert.is_true(reload(broker, { publish = function(_, m) return { payload = m.payload .. "!" } end }))
    c:publish("a/b", "x", 1)
    assert.equal("x!", c:receive().payload)
    local _, other = connect(broker, { id = "d" })
    other:subscribe "a/kept"
    assert.equal("r", other:receive().payload)
    assert.equal(1, broker:stats().reloads)
  end)

  it("leaves out hooks that the new script does not have, and takes on those that it has", function()
    local events = 0
    local broker <close> = start {
      publish = function() return false end, packet = yes, dequeue = function() return false end,
      log = function() events = events + 1 end,
    }
    local _, c = connect(broker)
    c:subscribe("t", 1)
    assert.equal("not_authorized", c:publish("t", "x", 1).reason)
    assert.is_true(reload(broker))
    local before = events
    assert.equal("success", c:publish("t", "x", 1).reason)
    assert.equal("x", c:receive().payload)
    assert.equal(before, events)
    local packets = {}
    assert.is_true(reload(broker, { packet = function(_, p) packets[#packets + 1] = p.type return true end }))
    c:publish("t", "x", 0)
    assert.same({ "publish" }, packets)
  end)

  it("replaces settings, also for clients that are there", function()
    local broker <close> = start(nil, { backend = { refused_publish = "acknowledge" } })
    local _, c = connect(broker)
    assert.is_true(reload(broker, { publish = function() return false end },
      { backend = { refused_publish = "disconnect" }, engine = { read_limit = "1K" } }))
    c:publish("t", ("x"):rep(2000), 1)
    assert.is_true(c.closed)
    assert.equal("read limit exceeded", c.close_reason)
    local _, d = connect(broker)
    d:publish("t", "x", 1)
    assert.is_true(d.closed)
  end)

  it("leaves the keep alive of clients that are there, which cannot know of another one", function()
    for _, version in ipairs { "3.1.1", "5" } do
      local broker <close> = start()
      broker.version = version
      local _, c = connect(broker, { keep_alive = 120 })
      assert.is_true(reload(broker, nil, { backend = { maximum_keep_alive = 10 } }))
      broker:advance(100)
      assert.is_false(c.closed)
      local seen
      assert.is_true(reload(broker, { adopt = function(client) seen = client.keep_alive end }))
      assert.equal(120, seen)
    end
  end)

  it("counts users and failed logins from when there is a limit", function()
    local broker <close> = start({ authenticate = function() luamq.sleep(1) return true end },
      { limits = { failed_logins = 3 } })
    local function login(id) return select(2, connect(broker, { id = id, username = "u" })) end
    login "a"
    assert.is_true(reload(broker, nil, { limits = { connections_per_user = 1, failed_logins = 0 } }))
    broker:advance(2)
    local b, c = login "b", login "c"
    assert.is_true(b.closed)
    assert.is_true(c.closed)
    assert.is_true(reload(broker, nil, { limits = { failed_logins = 3 } }))
    local d = login "d"
    assert.is_false(d.closed)
    d:disconnect()
    assert.equal(0, broker:stats().hook_errors)
  end)

  it("replaces credentials and who gets in", function()
    local broker <close> = start(nil, { credentials = { old = "1" } })
    assert.equal("success", connect(broker, { username = "old", password = "1" }).reason)
    assert.is_true(reload(broker, nil, { credentials = { new = "2" } }))
    assert.equal("not_authorized", connect(broker, { username = "old", password = "1" }).reason)
    assert.equal("success", connect(broker, { username = "new", password = "2" }).reason)
    assert.is_true(reload(broker))
    assert.equal("success", connect(broker).reason)
  end)

  it("replaces the rules", function()
    local function rules(topic) return { acl = { { allow = "all", topic = topic } } } end
    local broker <close> = start(nil, rules "a")
    local _, c = connect(broker, { id = "c" })
    for _, topic in ipairs { "a", "b", "c" } do
      for _, other in ipairs { "a", "b", "c" } do
        assert.equal(topic == other and "success" or "not_authorized", c:publish(other, "x", 1).reason)
      end
      assert.is_true(broker:reload(rules(topic == "a" and "b" or "c")))
    end
    assert.is_true(reload(broker))
    assert.equal("success", c:publish("a", "x", 1).reason)
  end)

  it("replaces level and format of the log", function()
    local broker <close> = start()
    assert.is_true(reload(broker, { start = function() luamq.log.info "hi" end },
      { log = { level = "info", format = "json" } }))
    local text = table.concat(broker:lines(), "\n")
    assert.matches('"text":"hi"', text, 1, true)
    assert.matches('"text":"reload: another script is in force"', text, 1, true)
  end)

  it("ends timers and coroutines of the old script", function()
    local fired = 0
    local broker <close> = start {
      start = function()
        luamq.every(1, function() fired = fired + 1 end)
        luamq.spawn(function()
          while true do luamq.sleep(1) fired = fired + 1 end
        end)
      end,
    }
    broker:advance(1)
    assert.equal(2, fired)
    assert.is_true(reload(broker))
    broker:advance(10)
    assert.equal(2, fired)
  end)

  it("does not call stop", function()
    local stopped = {}
    local broker = start { stop = function() stopped[#stopped + 1] = "old" end }
    assert.is_true(reload(broker, { stop = function() stopped[#stopped + 1] = "new" end }))
    assert.same({}, stopped)
    broker:stop()
    assert.same({ "new" }, stopped)
  end)
end)

describe("a reload that fails", function()
  local broker

  before_each(function()
    broker = start { publish = function(_, m) return { payload = "old " .. m.payload } end }
  end)
  after_each(function() broker:stop() end)

  --- Nothing has changed, and the failure is counted.
  local function assert_same_as_before()
    local _, c = connect(broker)
    c:subscribe "t"
    c:publish("t", "x", 1)
    assert.equal("old x", c:receive().payload)
    assert.equal(0, broker:stats().reloads)
  end

  it("because of the check", function()
    local done, message = broker:reload { hooks = { publsh = yes } }
    assert.is_nil(done)
    assert.matches("unknown hook %(did you mean 'publish'%?%)", message)
    assert_same_as_before()
  end)

  for _, case in ipairs {
    { "selftest raises", { selftest = function() error "no database" end }, "no database" },
    { "selftest answers false", { selftest = function() return false, "no database" end },
      "^hook selftest: no database$" },
    { "selftest answers only false", { selftest = function() return false end },
      "^hook selftest: it answered false$" },
    { "selftest answers something else", { selftest = function() return 5 end },
      "hook selftest gave a wrong answer: expected true, or false and a text, got a number$" },
    { "selftest takes too long", { selftest = function() luamq.sleep(60) end },
      "^hook selftest: waited longer than 5 s, at last for luamq.sleep$" },
    { "start raises", { start = function() error "no port" end }, "no port" },
    { "start raises after a wait", { start = function() luamq.sleep(1) error "no port" end }, "no port" },
  } do
    it("because " .. case[1], function()
      local done, message = reload(broker, case[2])
      assert.is_nil(done)
      assert.matches(case[3], message)
      assert.equal(1, broker:stats().reloads_failed)
      local lines = table.concat(logged(broker), "\n")
      assert.matches("error reload failed: everything stays as it is\n", lines)
      assert_same_as_before()
    end)
  end

  it("has no effect of timers that start made", function()
    local fired = false
    reload(broker, { start = function() luamq.after(1, function() fired = true end) error "x" end })
    broker:advance(10)
    assert.is_false(fired)
    assert_same_as_before()
  end)
end)

describe("selftest", function()
  it("of each table of hooks has to be content, and may wait", function()
    local asked = {}
    local function test(name, answer)
      return { selftest = function() luamq.sleep(1) asked[#asked + 1] = name return answer end }
    end
    local broker <close> = start()
    assert.is_true(reload(broker, { test "a", test("b", true), test "c" }))
    assert.same({ "a", "b", "c" }, asked)
  end)
end)

describe("save", function()
  it("reaches the next start as broker.saved, once", function()
    local saved = { text = "a\0b", list = { 1, 2.5, { deep = true } }, [7] = false }
    local got = {}
    local function hooks(value)
      return {
        save = function() return value end,
        start = function(b) got[#got + 1] = b.saved or "nothing" end,
      }
    end
    local broker <close> = start(hooks(saved))
    assert.is_true(reload(broker, hooks(nil)))
    assert.same(saved, got[2])
    assert.are_not.equal(saved, got[2])
    assert.is_true(reload(broker, hooks(5)))
    assert.is_true(reload(broker, hooks(5)))
    assert.same({ "nothing", saved, "nothing", 5 }, got)
  end)

  it("refuses the reload when it raises, and when it is no plain data", function()
    local cycle = {}
    cycle.a = { cycle }
    for pattern, value in pairs {
      ['^hook save: not plain data: saved%["f"%]: a function$'] = { f = print },
      ['^hook save: not plain data: saved%["a"%]%[1%]: a table inside of itself$'] = cycle,
      ["^hook save: not plain data: saved: a table with a metatable$"] = setmetatable({}, {}),
      ["^hook save: not plain data: saved%[1%]: a coroutine$"] = { coroutine.create(print) },
      ["^hook save: not plain data: saved%[a table%]: a key that is no plain data$"] = { [{}] = 1 },
      ["boom"] = false,
    } do
      local broker <close> = start { save = function() return value or error "boom" end }
      local done, message = reload(broker)
      assert.is_nil(done)
      assert.matches(pattern, message)
    end
  end)
end)

describe("client.ref", function()
  local function login(ref)
    return function(client) client.ref = ref return true end
  end

  it("goes over as a copy of what is plain data", function()
    local ref = { tenant = "a", list = { 1, 2 } }
    local broker <close> = start { authenticate = login(ref) }
    local _, c = connect(broker, { id = "c" })
    local seen
    assert.is_true(reload(broker, { publish = function(client) seen = client.ref return true end }))
    c:publish("t", "x", 1)
    assert.same(ref, seen)
    assert.are_not.equal(ref, seen)
  end)

  it("loses the rest, which is logged at a bounded rate", function()
    local broker <close> = start { authenticate = login { tenant = "a", f = print, g = print } }
    for i = 1, 30 do connect(broker, { id = "c" .. i }) end
    local seen = {}
    assert.is_true(reload(broker, { adopt = function(client) seen[client.id] = client.ref end }))
    local count = 0
    for id, ref in pairs(seen) do
      assert.same({ tenant = "a" }, ref, id)
      count = count + 1
    end
    assert.equal(30, count)
    local lines = 0
    local pattern = 'warn reload: not all of client.ref is plain data id=c%d+ .*'
      .. 'lost="ref%[\\".\\"%]: a function" others=1'
    for _, line in ipairs(logged(broker)) do
      if line:find(pattern) then lines = lines + 1 end
    end
    assert.equal(10, lines)
  end)

  it("is set by adopt, and is the same value from then on", function()
    local object = setmetatable({}, {})
    local broker <close> = start { authenticate = login(setmetatable({}, {})) }
    local _, c = connect(broker)
    local adopted, seen
    assert.is_true(reload(broker, {
      adopt = function(client) adopted = client client.ref = object end,
      publish = function(client) seen = client return true end,
    }))
    c:publish("t", "x", 1)
    assert.equal(adopted, seen)
    assert.equal(object, seen.ref)
  end)

  it("goes over many times", function()
    local broker <close> = start { authenticate = login { n = 0 } }
    local _, c = connect(broker)
    for i = 1, 50 do
      assert.is_true(reload(broker, { adopt = function(client)
        assert.equal(i - 1, client.ref.n)
        client.ref.n = i
      end }))
    end
    assert.equal("success", c:publish("t", "x", 1).reason)
    assert.equal(50, broker:stats().reloads)
    assert.equal(0, broker:stats().hook_errors)
  end)
end)

describe("adopt", function()
  it("is called once for each live client", function()
    local broker <close> = start()
    for i = 1, 300 do connect(broker, { id = "c" .. i }) end
    local calls = {}
    local function adopt(client) calls[client.id] = (calls[client.id] or 0) + 1 end
    assert.is_true(reload(broker, { adopt = adopt }))
    connect(broker, { id = "late" })
    broker:run()
    for i = 1, 300 do assert.equal(1, calls["c" .. i]) end
    assert.is_nil(calls.late)
  end)

  it("comes before the first packet, and before what is delivered, also when it waits", function()
    local order = {}
    local broker <close> = start()
    local _, c = connect(broker, { id = "c" })
    c:subscribe("t", 1)
    assert.is_true(reload(broker, {
      adopt = function()
        order[#order + 1] = "adopt"
        luamq.sleep(1)
        order[#order + 1] = "adopted"
      end,
      packet = function(_, p) order[#order + 1] = p.type return true end,
      dequeue = function() order[#order + 1] = "dequeue" return true end,
    }))
    broker:call(luamq.publish, "t", "x", { qos = 1 })
    c:publish("u", "y", 0)
    assert.same({ "adopt" }, order)
    broker:advance(1)
    assert.same({ "adopt", "adopted" }, { order[1], order[2] })
    table.sort(order)
    assert.same({ "adopt", "adopted", "dequeue", "puback", "publish" }, order)
  end)

  it("that raises is logged, and the client goes on", function()
    local broker <close> = start()
    local _, c = connect(broker, { id = "c" })
    assert.is_true(reload(broker, { adopt = function() error "oh" end }))
    assert.equal("success", c:publish("t", "x", 1).reason)
    assert.matches("error hook adopt: .*oh id=c", table.concat(logged(broker), "\n"))
  end)
end)

describe("a hook that waits at a reload", function()
  it("ends in the old script, and its answer counts", function()
    local broker <close> = start {
      authenticate = function(client)
        luamq.sleep(1)
        client.ref = { old = true }
        return client.username == "good"
      end,
    }
    local _, good = connect(broker, { id = "good", username = "good" })
    local _, bad = connect(broker, { id = "bad", username = "bad" })
    local refs = {}
    assert.is_true(reload(broker, {
      setup = function(client) refs.setup = client.ref return true end,
      adopt = function(client) refs.adopt = client.ref end,
      publish = function(client) refs.publish = client.ref return true end,
    }))
    broker:advance(1)
    assert.same({ old = true }, refs.setup)
    assert.is_true(bad.closed)
    assert.is_false(good.closed)
  end)

  it("finds its client as it was, and may go on waiting", function()
    local kept, after
    local broker <close> = start {
      authenticate = function(client) client.ref = { a = 1 } return true end,
      publish = function(client)
        luamq.sleep(1)
        kept = { client.id, client.ref.a, luamq.client(client.id) == client }
        luamq.sleep(1)
        after = luamq.after(1, function() error "never" end)
        luamq.spawn(function() luamq.sleep(1) error "never" end)
        return { payload = "from the old" }
      end,
    }
    local _, c = connect(broker, { id = "c" })
    c:subscribe("t", 1)
    c:publish("t", "x", 0)
    assert.is_true(reload(broker, { publish = function() return { payload = "from the new" } end }))
    broker:advance(3)
    assert.same({ "c", 1, true }, kept)
    assert.equal("from the old", c:receive().payload)
    assert.is_false(after:cancel())
    c:publish("t", "x", 0)
    assert.equal("from the new", c:receive().payload)
    broker:advance(10)
    assert.equal(0, broker:stats().hook_errors)
    assert.equal(0, broker:stats().hooks_suspended)
  end)

  it("ends in its own script over several reloads", function()
    local function hooks(name)
      return { publish = function(client, m)
        if m.topic == "slow" then luamq.sleep(m.payload) end
        return { payload = name .. (client.ref or "?") }
      end }
    end
    local first = hooks "a"
    function first.authenticate(client) client.ref = "!" return true end
    local broker <close> = start(first)
    local _, s = connect(broker, { id = "s" })
    s:subscribe("slow", 1)
    for i, name in ipairs { "b", "c", "d" } do
      local _, c = connect(broker, { id = "c" .. i })
      c:publish("slow", tostring(4 - i), 0)
      assert.is_true(reload(broker, hooks(name)))
    end
    local _, c = connect(broker, { id = "last" })
    c:publish("slow", "0", 0)
    broker:advance(4)
    local payloads = {}
    for i = 1, 4 do payloads[i] = (s:receive() or { payload = "nothing" }).payload end
    table.sort(payloads)
    assert.same({ "a!", "b?", "c?", "d?" }, payloads)
  end)

  it("is cancelled with its client, whichever script it is of", function()
    local closed = false
    local broker <close> = start {
      subscribe = function()
        local _ <close> = setmetatable({}, { __close = function() closed = true end })
        luamq.sleep(100)
        return true
      end,
    }
    local _, c = connect(broker)
    c:subscribe "t"
    assert.is_true(reload(broker))
    c:drop()
    broker:advance(2)
    assert.is_true(closed)
  end)
end)

describe("a will", function()
  it("that is sent after a reload is decided by the new script, with the ref of its client", function()
    local broker <close> = start {
      authenticate = function(client) client.ref = { of = client.id } return true end,
    }
    local will = { topic = "w", payload = "x", qos = 1, will_delay_interval = 10 }
    local _, c = connect(broker, { id = "c", version = "5", session_expiry_interval = 100, will = will })
    local _, s = connect(broker, { id = "s" })
    s:subscribe("w", 1)
    c:drop()
    broker:run()
    local seen
    assert.is_true(reload(broker, { publish = function(client, m)
      seen = { client.id, client.ref and client.ref.of, client.closed }
      return { payload = m.payload .. "!" }
    end }))
    broker:advance(11)
    assert.same({ "c", "c", true }, seen)
    assert.equal("x!", s:receive().payload)
  end)
end)

describe("luamq.reload", function()
  it("loads the script again, and tells the caller in the old one", function()
    local starts, outcome = 0, nil
    local broker <close> = start {
      start = function() starts = starts + 1 end,
      publish = function()
        outcome = table.pack(luamq.reload())
        return true
      end,
    }
    local _, c = connect(broker)
    assert.equal("success", c:publish("t", "x", 1).reason)
    assert.same({ true, n = 1 }, outcome)
    assert.equal(2, starts)
  end)

  it("tells why it failed", function()
    local starts, outcome = 0, nil
    local broker <close> = start {
      start = function()
        starts = starts + 1
        if starts > 1 then error("not again", 0) end
      end,
      publish = function()
        outcome = table.pack(luamq.reload())
        return true
      end,
    }
    local _, c = connect(broker)
    assert.equal("success", c:publish("t", "x", 1).reason)
    assert.same({ nil, "hook start: not again", n = 2 }, outcome)
  end)

  it("of several hooks at once is one reload; one that comes while it is under way is another one", function()
    local starts, done = 0, 0
    local broker <close> = start {
      start = function() starts = starts + 1 if starts > 1 then luamq.sleep(1) end end,
      publish = function()
        if luamq.reload() then done = done + 1 end
        return true
      end,
    }
    local clients = {}
    for i = 1, 3 do clients[i] = select(2, connect(broker, { id = "c" .. i })) end
    for i = 1, 3 do clients[i]:publish("t", "x", 0) end
    broker:advance(5)
    assert.equal(3, done)
    assert.is_true(starts <= 3)
  end)

  it("cannot be called by a script that is not in force yet", function()
    local function reloads() luamq.reload() end
    local text = "luamq.reload: the script is not in force yet"
    assert.matches(text, brokers.problem(function()
      start({ start = reloads }, { log = { level = "off" } })
    end), 1, true)
    local broker <close> = start()
    for _, name in ipairs { "start", "selftest" } do
      local done, message = reload(broker, { [name] = reloads })
      assert.is_nil(done)
      assert.matches(text, message, 1, true)
    end
  end)

  it("cannot be called where nothing can wait", function()
    local problem
    local broker <close> = start { log = function() problem = select(2, pcall(luamq.reload)) end }
    connect(broker)
    assert.equal("luamq.reload: hook log cannot suspend", problem)
    assert.matches("luamq.reload: it suspends: call it from a hook", brokers.problem(luamq.reload))
  end)
end)

describe("script.reauthorize", function()
  --- A `subscribe` that refuses what starts with "secret".
  local function no_secrets(_, subscription)
    if subscription.topic:find "^secret" then return false, "not_authorized" end
    return true
  end

  local function filters(broker, id)
    local list = broker:call(function()
      local list = {}
      for _, s in ipairs(luamq.session(id).subscriptions) do
        list[#list + 1] = (s.share and s.share .. ":" or "") .. s.topic .. "=" .. s.qos
      end
      return list
    end)
    table.sort(list)
    return list
  end

  local on = { script = { reauthorize = true } }

  it("ends subscriptions that the new script refuses, with a line each", function()
    local broker <close> = start()
    local _, c = connect(broker, { id = "c" })
    for _, filter in ipairs { "open/#", "secret/a", "$share/g/secret/b", "$share/g/open" } do
      c:subscribe(filter, 1)
    end
    assert.is_true(reload(broker, { subscribe = no_secrets }, on))
    assert.same({ "g:open=1", "open/#=1" }, filters(broker, "c"))
    local lines = table.concat(logged(broker), "\n")
    local revoked = "warn subscription revoked id=c remote=memory "
    assert.matches(revoked .. "filter=secret/a reason=not_authorized", lines, 1, true)
    assert.matches(revoked .. "filter=secret/b share=g reason=not_authorized", lines, 1, true)
    assert.equal(2, broker:stats().subscriptions_revoked)
    assert.equal(2, broker:stats().subscriptions)
    broker:call(luamq.publish, "secret/a", "x")
    broker:call(luamq.publish, "open/a", "y")
    assert.equal("y", c:receive().payload)
    assert.is_nil(c:receive())
  end)

  it("asks the rules as well", function()
    local broker <close> = start()
    local _, c = connect(broker, { id = "c" })
    c:subscribe("secret", 1)
    c:subscribe("open", 2)
    assert.is_true(broker:reload({ acl = {
      { deny = "subscribe", topic = "secret" }, { allow = "all", topic = "#", qos = 1 },
    } }, on))
    assert.same({ "open=1" }, filters(broker, "c"))
    local lines = table.concat(logged(broker), "\n")
    assert.matches('filter=secret reason=not_authorized by=rule acl="rule 1"', lines, 1, true)
  end)

  it("lowers the QoS to the one that is granted now", function()
    local broker <close> = start()
    local _, c = connect(broker, { id = "c" })
    c:subscribe("a", 2)
    c:subscribe("$share/g/b", 2)
    assert.is_true(reload(broker, { subscribe = function() return 1 end }, on))
    assert.same({ "a=1", "g:b=1" }, filters(broker, "c"))
    assert.equal(0, broker:stats().subscriptions_revoked)
  end)

  it("comes before what is delivered, also when the hook waits", function()
    local broker <close> = start()
    local _, c = connect(broker, { id = "c" })
    c:subscribe("secret", 1)
    c:subscribe("open", 1)
    local function subscribe(...) luamq.sleep(1) return no_secrets(...) end
    assert.is_true(reload(broker, { subscribe = subscribe }, on))
    broker:call(luamq.publish, "open", "1", { qos = 1 })
    broker:run()
    assert.is_nil(c:receive())
    broker:advance(2)
    assert.equal("1", c:receive().payload)
    assert.same({ "open=1" }, filters(broker, "c"))
  end)

  it("asks about a stored session when its client comes back", function()
    local broker <close> = start()
    local _, c = connect(broker, { id = "c", clean = false })
    c:subscribe("secret", 1)
    c:subscribe("open", 1)
    c:disconnect()
    local asked = {}
    assert.is_true(reload(broker, {
      subscribe = function(client, s)
        asked[#asked + 1] = client.id .. s.topic
        return no_secrets(client, s)
      end,
      adopt = function() error "it was not there" end,
    }, on))
    assert.same({ "open=1", "secret=1" }, filters(broker, "c"))
    local answer, again = connect(broker, { id = "c", clean = false })
    assert.equal("success", answer.reason)
    assert.is_true(again.session_present)
    assert.same({ "open=1" }, filters(broker, "c"))
    assert.same({ "csecret", "copen" }, asked)
    again:disconnect()
    connect(broker, { id = "c", clean = false })
    assert.equal(2, #asked)
    assert.equal(0, broker:stats().hook_errors)
  end)

  it("is off unless it is asked for", function()
    local broker <close> = start()
    local _, c = connect(broker, { id = "c" })
    c:subscribe("secret", 1)
    assert.is_true(reload(broker, { subscribe = no_secrets }))
    assert.same({ "secret=1" }, filters(broker, "c"))
  end)

  it("fails closed", function()
    local broker <close> = start()
    local _, c = connect(broker, { id = "c" })
    c:subscribe("a", 1)
    assert.is_true(reload(broker, { subscribe = function() error "oh" end }, on))
    assert.same({}, filters(broker, "c"))
    assert.matches('filter=a reason="hook error"', table.concat(logged(broker), "\n"), 1, true)
  end)
end)
