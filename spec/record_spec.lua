local brokers = require "spec.support.brokers"
local client = require "luamq.client"
local json = require "spec.support.json"
local luamq = require "luamq"
local process = require "spec.support.process"
local replay = require "luamq.replay"

local place, problem, start = brokers.place, brokers.problem, brokers.start

describe("a record of decisions", function()
  local directory, file

  before_each(function()
    directory = process.directory()
    file = directory .. "/decisions.jsonl"
  end)
  after_each(function() process.remove(directory) end)

  local function lines()
    local list = {}
    for line in io.lines(file) do list[#list + 1] = json.read(line) end
    return list
  end

  --- Records while `fn` runs; the lines behind the header.
  local function record(broker, options, fn)
    assert.is_true(broker:call(luamq.record, file, options))
    fn()
    local count = broker:call(luamq.record, nil)
    local list = lines()
    assert.equal("0.1.0", table.remove(list, 1).luamq)
    assert.equal(#list, count)
    return list
  end

  local hooks = {}
  function hooks.authenticate(connected, username)
    connected.ref = { name = username }
    return username ~= "eve", "banned"
  end
  function hooks.publish(_, message)
    if message.topic == "drop" then return "drop" end
    if message.topic == "change" then return { payload = "other" } end
    return message.topic ~= "no", "quota_exceeded"
  end
  function hooks.subscribe() return 1 end
  function hooks.dequeue(_, message) return message.topic ~= "secret" end

  it("has who came, what was asked for and what was answered", function()
    local broker <close> = start(hooks)
    local list = record(broker, nil, function()
      broker:connect { id = "e", username = "eve", password = "hush" }
      local alice = broker:connect { id = "a", username = "alice", password = "hush", version = "5" }
      alice:subscribe("$share/g/t/#", { qos = 2, no_local = false })
      alice:publish("t/1", "x",
        { qos = 1, retain = true, content_type = "text", user_properties = { { "k", "v" } } })
      for _, topic in ipairs { "drop", "change", "no" } do alice:publish(topic, "", 2) end
      broker:session("a"):deliver("secret", "y")
      broker:run()
    end)
    for _, one in ipairs(list) do one.ms = nil end
    local refused, taken = place(hooks.authenticate), place(hooks.publish)
    assert.same({ op = "connect", id = "e", user = "eve", version = 4, address = "memory", clean = true,
      keep_alive = 60, password = true, reason = "banned", by = "hook", name = "authenticate",
      place = refused },
      list[1])
    assert.same({ op = "connect", id = "a", user = "alice", version = 5, address = "memory", clean = true,
      keep_alive = 60, password = true, reason = "success", ref = { name = "alice" } }, list[2])
    assert.same({ op = "subscribe", id = "a", filter = "$share/g/t/#", qos = 2, granted = 1,
      reason = "success" }, list[3])
    assert.same({ op = "publish", id = "a", topic = "t/1", qos = 1, retain = true, payload = "x",
      content_type = "text", user_properties = { { "k", "v" } }, reason = "success" }, list[4])
    local rest = {}
    for i = 5, #list do rest[#rest + 1] = list[i] end
    local expected = {
      { op = "deliver", id = "a", topic = "t/1", qos = 1, payload = "x", content_type = "text",
        user_properties = { { "k", "v" } }, reason = "success" },
      { op = "publish", id = "a", topic = "drop", qos = 2, reason = "success", dropped = true },
      { op = "publish", id = "a", topic = "change", qos = 2, reason = "success", changed = true,
        became = { topic = "change", qos = 2, payload = "other" } },
      { op = "publish", id = "a", topic = "no", qos = 2, reason = "quota_exceeded", by = "hook",
        name = "publish", place = taken },
      { op = "deliver", id = "a", topic = "secret", qos = 0, payload = "y", reason = "not_authorized",
        by = "hook", name = "dequeue", place = place(hooks.dequeue) },
    }
    expected[1].retain = rest[1].retain
    assert.same(expected, rest)
    assert.is_nil(process.read(file):find("hush", 1, true))
    assert.equal(#list, broker:stats().records)
  end)

  it("begins with who is there, and keeps bytes and long payloads apart", function()
    local broker <close> = start(hooks)
    local alice = broker:connect { id = "a", username = "alice" }
    local list = record(broker, { payload = 2 }, function()
      alice:publish("t", "\xff", 1)
      alice:publish("t", "long", 1)
    end)
    assert.equal("connect", list[1].op)
    assert.same({ name = "alice" }, list[1].ref)
    assert.equal("/w==", list[2].payload64)
    assert.same({ 4, "lo" }, { list[3].payload_length, list[3].payload })
  end)

  it("is its owner's alone, and never in the place of a file or through a link", function()
    local broker <close> = start(hooks)
    record(broker, nil, function() end)
    assert.equal("600 regular file\n", process.output { "stat", "-c", "%a %F", file })
    local _, told = broker:call(luamq.record, file)
    assert.equal(("cannot record to '%s': File exists"):format(file), told)
    assert.is_true(broker:call(luamq.record, file, { append = true }))
    assert.same({ nil, ("there is a record already: '%s'"):format(file) },
      { broker:call(luamq.record, file) })
    broker:call(luamq.record, nil)
    assert.same({ nil, "nothing is recorded" }, { broker:call(luamq.record, nil) })
    os.execute(("cd '%s' && ln -s /dev/null link && mkfifo pipe && chmod 644 '%s'"):format(directory, file))
    for name, why in pairs {
      link = "Too many levels of symbolic links", pipe = "No such device or address",
      ["decisions.jsonl"] = "others may read this file", ["missing/x"] = "No such file or directory",
    } do
      local path = directory .. "/" .. name
      assert.same({ nil, ("cannot record to '%s': %s"):format(path, why) },
        { broker:call(luamq.record, path, { append = true }) })
    end
  end)

  it("ends at its size, with a line in the log", function()
    local broker <close> = start(hooks, { log = { level = "warn" } })
    local alice = broker:connect { id = "a", username = "alice" }
    assert.is_true(broker:call(luamq.record, file, { bytes = "1K" }))
    for _ = 1, 20 do alice:publish("t", "payload", 1) end
    assert.matches("^warn the record ends: it has its size file=", brokers.logged(broker)[1])
    assert.is_nil((broker:call(luamq.record, nil)))
    broker:advance(2)
    assert.is_true(#process.read(file) < 1500)
  end)

  it("holds the same part of the clients each time", function()
    local broker <close> = start()
    local function some()
      os.remove(file)
      local seen = {}
      for _, one in ipairs(record(broker, { clients = 30 }, function()
        for i = 1, 100 do broker:connect { id = "c" .. i } end
      end)) do seen[#seen + 1] = one.id end
      table.sort(seen)
      return seen
    end
    local first <const> = some()
    assert.is_true(#first > 10 and #first < 60)
  end)

  it("raises for a misuse", function()
    local broker <close> = start()
    for expected, call in pairs {
      ["record expects the path of a file, or nil"] = function() luamq.record(1) end,
      ["record: bytes: must be between 1K and 1024G, got 1"] = function()
        luamq.record("x", { bytes = 1 })
      end,
      ["record: color: unknown option"] = function() luamq.record("x", { color = 1 }) end,
    } do
      assert.matches(expected, problem(function() broker:call(call) end), 1, true)
    end
  end)

  it("is made by a broker from its start on, and is whole when it has stopped", function()
    local script = process.script(([[
      return { listeners = { "tcp://127.0.0.1:0" }, script = { record = %q },
        hooks = { publish = function(_, message) return message.topic ~= "no" end } }
    ]]):format(file))
    for _ = 1, 2 do
      local broker <close> = process.broker { script }
      local one = assert(client.connect { port = broker.port, id = "c" })
      assert(one:publish("yes", "x", { qos = 1 }))
      one:publish("no", "x", { qos = 1 })
      one:disconnect()
      assert.equal(0, broker:stop())
    end
    os.remove(script)
    local reasons = {}
    for _, line in ipairs(lines()) do reasons[#reasons + 1] = line.reason or "header" end
    assert.same({ "header", "success", "success", "not_authorized",
      "header", "success", "success", "not_authorized" }, reasons)
  end)
end)

describe("luamq record", function()
  it("has a running broker record, for a time or until it is told to end", function()
    local directory = process.directory()
    local program = process.absolute(process.luamq)
    local script = process.script 'return { listeners = { "tcp://127.0.0.1:0" } }'
    local broker <close> = process.broker { script }
    local function run(...)
      return process.run({ program, "record", ... }, { directory = directory, errors = true })
    end
    local function publish()
      local one <close> = assert(client.connect { port = broker.port, id = "c" })
      assert(one:publish("t", "x", { qos = 1 }))
    end
    local pid = tostring(broker.pid)
    assert.same({ 0, "" }, { run(pid, "first.jsonl") })
    assert.same({ 1, ("luamq record: there is a record already: '%s/first.jsonl'\n"):format(directory) },
      { run(pid, "second.jsonl") })
    publish()
    assert.same({ 0, "" }, { run("--end", pid) })
    publish()
    assert.same({ 1, "luamq record: nothing is recorded\n" }, { run("--end", pid) })
    local count = 0
    for _ in io.lines(directory .. "/first.jsonl") do count = count + 1 end
    assert.equal(3, count)
    assert.same({ 0, "" }, { run("--seconds", "3600", pid, directory .. "/third.jsonl") })
    assert.same({ 1, ("luamq record: process %d is no broker of luamq that this user may ask\n"):format(1) },
      { run("1", "x") })
    local hint = " (see luamq record --help)\n"
    for words, expected in pairs {
      [{}] = "expected the number of a process", [{ "x", "f" }] = "expected the number of a process",
      [{ pid }] = "expected a file", [{ pid, "f", "g" }] = "too many arguments",
      [{ "--seconds", "0", pid, "f" }] = "--seconds: expected a number from 1 to 86400",
    } do
      assert.same({ 2, "luamq record: " .. expected .. hint }, { run(table.unpack(words)) })
    end
    os.remove(script)
    process.remove(directory)
  end)
end)

describe("a replay", function()
  local directory, file

  setup(function()
    directory = process.directory()
    file = directory .. "/decisions.jsonl"
  end)
  teardown(function() process.remove(directory) end)

  local function script(name, text)
    process.write(directory .. "/" .. name, text)
    return directory .. "/" .. name
  end

  local old = [[
local hooks = {}
function hooks.authenticate(client, username, password)
  client.ref = { tenant = username }
  return password == "hush" or password == nil and username ~= "eve", "banned"
end
function hooks.publish(client, message)
  if message.topic == "drop" then return "drop" end
  return message.topic:find("^" .. client.ref.tenant) ~= nil
end
function hooks.subscribe(_, subscription) return math.min(subscription.qos, 1) end
function hooks.dequeue(_, message) return message.topic ~= "bob/secret" end
return { listeners = { "tcp://127.0.0.1:1" }, hooks = hooks }
]]

  --- A record of what two clients did an hour apart.
  local function make_record()
    os.remove(file)
    local test = require "luamq.test"
    local broker <close> = test.broker(script("old.lua", old))
    assert.is_true(broker:call(luamq.record, file))
    local ann = broker:connect { id = "a", username = "ann", password = "hush" }
    broker:connect { id = "e", username = "eve" }
    local bob = broker:connect { id = "b", username = "bob", version = "3.1", remote_address = "192.0.2.1:5" }
    ann:subscribe("ann/#", 2)
    ann:publish("ann/1", "\xff", { qos = 1, user_properties = { { "k", "v" } } })
    broker:advance(3600)
    bob:publish("ann/1", "x", 2)
    bob:publish("drop", "x", 0)
    broker:session("b"):deliver("bob/secret", "x")
    broker:run()
    broker:call(luamq.record, nil)
  end

  it("of the same script changes nothing", function()
    make_record()
    local report = replay.run(file, directory .. "/old.lua")
    assert.same({}, report.changes)
    assert.equal(9, report.lines)
    assert.equal(8, report.compared)
    assert.same({ ["logins with a password"] = 1 }, report.skipped)
  end)

  it("lists what another one decides otherwise, with places", function()
    make_record()
    local new = script("new.lua", [[
local luamq, hooks = require "luamq", {}
local early = true
function hooks.start() luamq.after(1800, function() early = false end) end
function hooks.authenticate(client, username) client.ref = { tenant = username } return true end
function hooks.publish(client, message)
  luamq.sleep(0.1)
  if early and message.user_properties then return { payload = "z" } end
  return true
end
function hooks.subscribe() return true end
return { listeners = { "tcp://127.0.0.1:1" }, hooks = hooks }
]])
    local report, wrong = replay.run(file, new)
    assert.is_nil(wrong)
    local told = replay.text(report, "R"):gsub(directory .. "/", "")
    assert.equal([[
R:3: e connect: banned [old.lua:2] -> success [new.lua:4]
R:5: a subscribe ann/#: success, QoS 1 -> success, QoS 2 [new.lua:10]
R:6: a publish ann/1: success -> success, changed [new.lua:5]
R:8: b publish ann/1: not_authorized [old.lua:6] -> success [new.lua:5]
R:9: b publish drop: success, dropped -> success [new.lua:5]
R:10: b deliver bob/secret: not_authorized [old.lua:11] -> success
9 decisions, 8 compared, 6 would change; not compared: 1 logins with a password
]], told)
  end)

  it("compares what messages and filters became, and asks with the options of a subscription", function()
    local test = require "luamq.test"
    local policy = [[
local hooks = {}
function hooks.publish(_, message)
  if message.topic == "keep" then return true end
  return { payload = message.payload .. "%s", user_properties = { { "k", "v" } } }
end
function hooks.subscribe(_, subscription)
  if subscription.topic == "rename" then return { topic = "%s" } end
  return subscription.no_local == true and subscription.retain_handling == 2
    and subscription.subscription_identifier == 7
end
return { listeners = { "tcp://127.0.0.1:1" }, hooks = hooks }
]]
    local first = script("first.lua", policy:format("!", "one"))
    os.remove(file)
    local broker <close> = test.broker(first)
    assert.is_true(broker:call(luamq.record, file, { payload = 4 }))
    local one = broker:connect { id = "c" }
    one:publish("keep", "x", 1)
    one:publish("t", "abc", 1)
    one:publish("t", "long payload", 1)
    one:subscribe("rename", 1)
    one:subscribe("t", { qos = 1, no_local = true, retain_handling = 2, subscription_identifier = 7 })
    broker:call(luamq.record, nil)
    local report = assert(replay.run(file, first))
    assert.same({}, report.changes)
    report = assert(replay.run(file, script("second.lua", policy:format("?", "two"))))
    assert.equal([[
R:4: c publish t: success, changed -> success, changed otherwise [second.lua:2]
R:6: c subscribe rename: success, filter one, QoS 1 -> success, filter two, QoS 1 [second.lua:6]
6 decisions, 6 compared, 2 would change
]], (replay.text(report, "R"):gsub(directory .. "/", "")))
    assert.equal("abc!", report.changes[1].old.became.payload)
    assert.equal("abc?", report.changes[1].new.became.payload)
  end)

  it("is a command with an exit status", function()
    make_record()
    local program = process.absolute(process.luamq)
    local function run(...)
      return process.run({ program, "replay", ... }, { directory = directory, errors = true })
    end
    assert.same({ 0, "9 decisions, 8 compared, 0 would change; not compared: 1 logins with a password\n" },
      { run("decisions.jsonl", "old.lua") })
    script("none.lua", "return { listeners = { 'tcp://127.0.0.1:1' } }")
    local status, output = run("--json", "decisions.jsonl", "none.lua")
    assert.equal(1, status)
    assert.equal(9, json.read(output).lines)
    script("wrong.lua", "return { listeners = 3 }")
    process.write(directory .. "/cut.jsonl", '{"luamq":"0","record":1,"ms":1}\n{"ms":1,"op":"pub')
    local hint = " (see luamq replay --help)\n"
    for words, expected in pairs {
      [{ "decisions.jsonl" }] = "expected a record and a script" .. hint,
      [{ "missing", "old.lua" }] = "cannot open missing: No such file or directory\n",
      [{ "old.lua", "old.lua" }] = "old.lua:1: this is no record of decisions\n",
      [{ "cut.jsonl", "old.lua" }] = "cut.jsonl:2: this is no line of a record\n",
      [{ "decisions.jsonl", "wrong.lua" }] = "wrong.lua:1: listeners: expected a list of URLs, got number\n",
    } do
      assert.same({ 2, "luamq replay: " .. expected }, { run(table.unpack(words)) })
    end
  end)
end)
