local brokers = require "spec.support.brokers"
local json = require "spec.support.json"
local process = require "spec.support.process"
local test = require "luamq.test"

local place, problem = brokers.place, brokers.problem

describe("broker:explain", function()
  local hooks = {}
  function hooks.authenticate(client, username, password)
    client.ref = username
    return password ~= "wrong", "bad_user_name_or_password", "who are you?"
  end
  function hooks.setup(client) return client.id ~= "banned", "banned" end
  function hooks.publish(client, message)
    if message.topic == "drop" then return "drop" end
    if message.topic == "change" then return { payload = "other" } end
    if message.topic == "fail" then error "broken" end
    return message.topic == client.ref, "not_authorized"
  end
  function hooks.subscribe(_, subscription) return math.min(subscription.qos, 1) end
  function hooks.dequeue(_, message) return message.topic ~= "secret" end

  local function explain(request, overrides)
    local broker <close> = test.broker({ hooks = hooks }, overrides)
    request.username = request.username or "ann"
    return broker:explain(request)
  end

  --- Each step in short.
  local function steps(explanation)
    local list = {}
    for i, step in ipairs(explanation.steps) do
      list[i] = ("%s %s %s"):format(step.operation, step.hook or step.limit or step.by, step.reason)
    end
    return list
  end

  it("tells of a login who let it in", function()
    local explanation = explain {}
    assert.is_true(explanation.allowed)
    assert.equal("connect", explanation.asked)
    assert.same({ "connect authenticate success", "connect setup success" }, steps(explanation))
    assert.equal(place(hooks.setup), explanation.place)
  end)

  it("tells of a login who refused it, whatever was asked", function()
    local explanation = explain { password = "wrong", publish = "ann" }
    assert.is_false(explanation.allowed)
    assert.equal("publish", explanation.asked)
    assert.equal("connect", explanation.operation)
    assert.equal("bad_user_name_or_password", explanation.reason)
    assert.equal("who are you?", explanation.reason_string)
    assert.equal(place(hooks.authenticate), explanation.place)
    assert.same({ "connect authenticate bad_user_name_or_password" }, steps(explanation))
    assert.equal("setup", explain({ id = "banned" }).hook)
  end)

  it("tells of a message that it is routed, dropped, changed or refused, and by whom", function()
    for topic, expected in pairs {
      ann = { allowed = true, reason = "success" },
      drop = { allowed = true, reason = "success", dropped = true },
      change = { allowed = true, reason = "success", changed = true },
      other = { allowed = false, reason = "not_authorized" },
      fail = { allowed = false, reason = "implementation_specific_error", error = "hook error" },
    } do
      for qos = 0, 2 do
        local explanation = explain({ publish = topic, qos = qos }, { log = { level = "off" } })
        assert.equal(place(hooks.publish), explanation.place)
        local found = {}
        for _, name in ipairs { "allowed", "reason", "dropped", "changed", "error" } do
          found[name] = explanation[name]
        end
        assert.same(expected, found)
      end
    end
  end)

  it("tells of a subscription what is granted, and of a delivery whether it arrives", function()
    local explanation = explain { subscribe = "a/#", qos = 2 }
    assert.equal(1, explanation.qos)
    assert.is_true(explanation.changed)
    explanation = explain { deliver = "ann", payload = "x", qos = 1 }
    assert.is_true(explanation.allowed)
    assert.equal("x", explanation.message.payload)
    explanation = explain { deliver = "secret" }
    assert.is_false(explanation.allowed)
    assert.equal(place(hooks.dequeue), explanation.place)
  end)

  it("names credentials, settings and MQTT where they decide", function()
    local broker <close> = test.broker({}, { credentials = { ann = "right" }, limits = { topic_levels = 2 } })
    local login = { username = "ann", password = "right" }
    local function asked(fields)
      for name, value in pairs(login) do fields[name] = fields[name] or value end
      return broker:explain(fields)
    end
    assert.equal("credentials", asked({ password = "no" }).by)
    assert.same({ "connect credentials success" }, steps(asked { publish = "a" }))
    local explanation = asked { publish = "a/b/c", qos = 1 }
    assert.equal("limits.topic_levels", explanation.limit)
    assert.equal("topic_name_invalid", explanation.reason)
    assert.equal("limits.topic_levels", asked({ subscribe = "a/b/c" }).limit)
    assert.equal("protocol", asked({ publish = "$SYS/x", qos = 1 }).by)
  end)

  it("has a step for each rule that decided, with its number and place", function()
    local broker <close> = test.broker({ hooks = { publish = function() return true end } }, { acl = {
      { allow = "publish", topic = "a/#" }, { deny = "publish", topic = "b/#" },
      { allow = { "subscribe", "deliver" }, topic = "a/#", qos = 1 },
    } })
    local function rule_step(request)
      local explanation = broker:explain(request)
      local step = explanation.steps[#explanation.steps]
      return { step.operation, step.by, step.rule, step.place and step.place:match "%d+$", step.reason,
        step.changed, explanation.allowed }
    end
    local first = rule_step { publish = "a/1" }
    assert.same({ "publish", "rule", 1, first[4], "success", nil, true }, first)
    local refused = rule_step { publish = "b/1", qos = 1 }
    assert.same({ "publish", "rule", 2, refused[4], "not_authorized", nil, false }, refused)
    assert.same({ "publish", "rule", nil, nil, "not_authorized", nil, false },
      rule_step { publish = "c", qos = 1 })
    local lowered = rule_step { subscribe = "a/1", qos = 2 }
    assert.same({ "subscribe", "rule", 3, lowered[4], "success", true, true }, lowered)
    assert.same({ "subscribe", "rule", nil, nil, "not_authorized", nil, false },
      rule_step { subscribe = "b" })
    assert.same({ "deliver", "rule", 3, lowered[4], "success", nil, true }, rule_step { deliver = "a/1" })
    assert.same({ "deliver", "rule", nil, nil, "not_authorized", nil, false }, rule_step { deliver = "b" })
  end)

  it("has a step where no function of luamq.on_topics is for the topic", function()
    local luamq = require "luamq"
    local function take() return true end
    for otherwise, reason in pairs { [true] = "success", [false] = "not_authorized" } do
      local scoped = luamq.on_topics({ "a/#" }, take, { otherwise = otherwise })
      local broker <close> = test.broker { hooks = { publish = scoped } }
      assert.same({ "connect credentials success", "publish publish " .. reason },
        steps(broker:explain { publish = "b", qos = 1 }))
    end
  end)

  it("tells of a login that is refused before anybody is asked", function()
    local broker <close> = test.broker { hooks = hooks }
    local explanation = broker:explain { id = "", clean = false, version = "3.1.1", publish = "a" }
    assert.same({ false, "connect", "protocol", "client_identifier_not_valid" },
      { explanation.allowed, explanation.operation, explanation.by, explanation.reason })
    assert.same({ "connect protocol client_identifier_not_valid" }, steps(explanation))
  end)

  it("leaves nobody behind", function()
    local broker <close> = test.broker { hooks = hooks }
    broker:explain { publish = "x", username = "ann" }
    assert.equal(0, broker:stats().clients)
  end)

  it("raises for a misuse where it was called", function()
    local broker <close> = test.broker {}
    for request, expected in pairs {
      [{ publish = "a", subscribe = "b" }] = "explain: publish and subscribe are two questions",
      [{ publish = 1 }] = "explain: publish must be of type string, got integer",
      [{ color = 1 }] = "connect: unknown field 'color'",
    } do
      local function call() broker:explain(request) end
      assert.equal(place(call) .. ": " .. expected, problem(call))
    end
  end)
end)

describe("an answer of luamq.test", function()
  it("has its explanation, which does not count when answers are compared", function()
    local function pass() end
    local function refuse() return false, "quota_exceeded", "enough" end
    local broker <close> = test.broker { hooks = { { publish = pass }, { publish = refuse } } }
    local client = broker:connect { id = "c", version = "3.1.1" }
    local answer = client:publish("t", "", 1)
    assert.same({ reason = "quota_exceeded" }, answer)
    assert.same({ { operation = "publish", reason = "quota_exceeded", reason_string = "enough", by = "hook",
      hook = "publish", place = place(refuse), running = 0, waiting = 0 } }, answer.explanation)
    assert.same({}, client:steps())
  end)

  it("tells how long a hook waited", function()
    local luamq = require "luamq"
    local broker <close> = test.broker { hooks = { publish = function() luamq.sleep(0.2) return true end } }
    local client = broker:connect()
    assert.is_nil(client:publish("t", "", 1))
    broker:advance(1)
    assert.near(0.2, client:answer().explanation[1].waiting, 0.01)
  end)
end)

describe("luamq explain", function()
  local directory, program = nil, process.absolute(process.luamq)

  setup(function()
    directory = process.directory()
    process.write(directory .. "/policy.lua", [[
local luamq, hooks = require "luamq", {}
function hooks.authenticate(client, username, password)
  client.ref = { tenant = username }
  return password == "hush", "not_authorized"
end
function hooks.publish(client, message)
  luamq.sleep(0.01)
  return message.topic:find("^" .. client.ref.tenant .. "/") ~= nil, "not_authorized", "only your own"
end
return { listeners = { "tcp://127.0.0.1:1" }, hooks = hooks }
]])
    process.write(directory .. "/password", "hush\n")
  end)
  teardown(function() process.remove(directory) end)

  local function run(arguments, input)
    return process.run({ program, "explain", table.unpack(arguments) },
      { directory = directory, redirect = input and "2>&1 <" .. input or "2>&1 </dev/null" })
  end

  --- The output without times.
  local function timeless(status, output)
    return status, (output:gsub(" +%(ran [^\n]*%)\n", "\n"))
  end

  local login = "connect      allowed  hook authenticate, policy.lua:2\n"

  it("tells each step and the decision, in real time", function()
    local words = { "policy.lua", "-u", "ann", "--client", "c", "--password-stdin", "publish", "ann/1" }
    local status, output = run(words, "password")
    assert.matches("  hook publish, policy.lua:6  %(ran [^ ]+ [^ ]+, waited %d+%.%d ms%)\n", output)
    assert.same({ 0, login .. "publish      allowed  hook publish, policy.lua:6\npublish: allowed\n" },
      { timeless(status, output) })
    words = { "--password-file=password", "-u", "ann", "policy.lua", "publish", "bob/1", "--qos", "1" }
    assert.same({ 1, login
      .. 'publish      refused  hook publish, policy.lua:6  not_authorized: "only your own"\n'
      .. 'publish: refused, not_authorized: "only your own" (hook publish, policy.lua:6)\n' },
      { timeless(run(words)) })
    assert.same({ 1, "connect      refused  hook authenticate, policy.lua:2  not_authorized\n"
      .. "subscribe: refused, not_authorized (hook authenticate, policy.lua:2)\n" },
      { timeless(run { "policy.lua", "subscribe", "a/#" }) })
  end)

  it("trusts a client, with a reference that a hook would have given", function()
    assert.same({ 0, "publish      allowed  hook publish, policy.lua:6\npublish: allowed\n" },
      { timeless(run { "policy.lua", "--ref", "{ tenant = 'x' }", "publish", "x/1" }) })
    assert.same({ 0, "connect: allowed\n" }, { run { "policy.lua", "--trust", "connect" } })
  end)

  it("has a step for a password of a file, and hands arguments to the script", function()
    process.write(directory .. "/files.lua", [[
local luamq, topic = require "luamq", ...
assert(arg[0] == "files.lua" and arg[1] == topic)
return { listeners = { "tcp://127.0.0.1:1" }, credentials = luamq.password_file "users", acl = {
  { allow = "publish", topic = topic },
} }
]])
    process.run({ program, "passwd", "-b", "-c", "users", "ann", "hush" }, { directory = directory })
    local words = { "files.lua", "-u", "ann", "--password-file", "password", "publish", "a/1", "--", "a/#" }
    assert.same({ 0, "connect      allowed  credentials\npublish      allowed  rule 1, files.lua:4\n"
      .. "publish: allowed\n" }, { run(words) })
    assert.same({ 1, "connect      refused  credentials  not_authorized\n"
      .. "connect: refused, not_authorized (credentials)\n" },
      { run { "files.lua", "-u", "ann", "connect", "--", "a/#" } })
  end)

  it("prints JSON", function()
    local words = { "policy.lua", "--json", "--address", "192.0.2.1:5", "-V", "3.1.1", "connect" }
    local status, output = run(words)
    local explanation = json.read(output)
    assert.equal(1, status)
    assert.is_false(explanation.allowed)
    assert.same({ "hook", "authenticate", "policy.lua:2", "not_authorized" },
      { explanation.by, explanation.hook, explanation.place, explanation.steps[1].reason })
  end)

  it("tells what is wrong with the command line or the script, and never a value", function()
    process.write(directory .. "/wrong.lua", "return { listeners = 3 }\n")
    local hint = " (see luamq explain --help)\n"
    for words, expected in pairs {
      [{}] = "the script is missing" .. hint,
      [{ "policy.lua" }] = "what is to be explained? connect, publish, subscribe or deliver" .. hint,
      [{ "policy.lua", "publish" }] = "publish: the topic is missing" .. hint,
      [{ "policy.lua", "connect", "x" }] = "too many arguments" .. hint,
      [{ "policy.lua", "connect", "--password=hush" }] = "unknown option --password" .. hint,
      [{ "policy.lua", "connect", "-q", "3" }] = "--qos: expected a number from 0 to 2" .. hint,
      [{ "policy.lua", "connect", "--user" }] = "--user: a value is missing" .. hint,
      [{ "missing.lua", "connect" }] = "cannot open missing.lua: No such file or directory" .. hint,
      [{ "wrong.lua", "connect" }] = "wrong.lua:1: listeners: expected a list of URLs, got number\n",
    } do
      assert.same({ 2, "luamq explain: " .. expected }, { run(words) })
    end
  end)
end)
