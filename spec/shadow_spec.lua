local brokers = require "spec.support.brokers"
local luamq = require "luamq"
local process = require "spec.support.process"
local test = require "luamq.test"

describe("script.shadow", function()
  local directory

  before_each(function() directory = process.directory() end)
  after_each(function() process.remove(directory) end)

  --- A broker with these hooks beside which the script of this text is asked.
  local function start(hooks, text, overrides)
    process.write(directory .. "/candidate.lua", text)
    overrides = overrides or {}
    overrides.script = { shadow = directory .. "/candidate.lua" }
    overrides.log = overrides.log or { level = "info" }
    local broker = test.broker({ hooks = hooks }, overrides)
    broker:capture()
    return broker
  end

  --- Lines about differences, without their beginning.
  local function told(broker)
    local list = {}
    for _, line in ipairs(brokers.logged(broker)) do
      line = line:gsub(directory .. "/", "")
      list[#list + 1] = line:match "^info the shadow decides otherwise (.*)$"
    end
    return list
  end

  it("is asked what the script in force is asked, and told of what it decides otherwise", function()
    local hooks = {}
    function hooks.authenticate(client, username) client.ref = "mine" return username ~= "eve", "banned" end
    function hooks.publish(_, message) return message.topic ~= "no" end
    function hooks.subscribe() return true end
    function hooks.dequeue() return true end
    local broker <close> = start(hooks, [[
local hooks = {}
function hooks.authenticate(client, username) client.ref = { username } return true end
function hooks.publish(client, message)
  if message.topic == "drop" then return "drop" end
  if message.topic == "ref" then return client.ref[1] == "ann" end
  return message.topic ~= "secret", "quota_exceeded"
end
function hooks.subscribe(_, subscription) return subscription.share and true or 1 end
function hooks.dequeue(_, message) return message.topic ~= "t" end
return { listeners = { "tcp://127.0.0.1:1" }, hooks = hooks }
]])
    assert.is_nil((broker:connect { id = "e", username = "eve" }))
    local ann = broker:connect { id = "c", username = "ann" }
    for _, topic in ipairs { "yes", "no", "drop", "secret", "ref" } do ann:publish(topic, "x", 1) end
    ann:subscribe("a/#", 2)
    ann:subscribe("a/#", 1)
    ann:subscribe("$share/g/t", 2)
    ann:publish("t", "x", 1)
    assert.equal("x", ann:receive().payload)
    local function place(name) return brokers.place(hooks[name]) end
    local client = "id=c remote=memory username=ann "
    assert.same({
      "id=e remote=memory username=eve operation=connect answer=banned place=" .. place "authenticate"
        .. " shadow=success shadow_place=candidate.lua:2",
      client .. "operation=publish topic=no answer=not_authorized place=" .. place "publish"
        .. " shadow=success shadow_place=candidate.lua:3",
      client .. "operation=publish topic=drop answer=success shadow=dropped shadow_place=candidate.lua:3",
      client .. "operation=publish topic=secret answer=success shadow=quota_exceeded "
        .. "shadow_place=candidate.lua:3",
      client .. 'operation=subscribe filter=a/# answer="success, QoS 2" shadow="success, QoS 1" '
        .. "shadow_place=candidate.lua:8",
      client .. "operation=deliver topic=t answer=success shadow=not_authorized "
        .. "shadow_place=candidate.lua:9",
    }, told(broker))
    local stats = broker:stats()
    assert.same({ 12, 6, 0 }, { stats.shadow_calls, stats.shadow_differences, stats.shadow_errors })
    assert.equal("mine", broker:client("c").ref)
  end)

  it("is compared by rules as well, and without hooks", function()
    local broker <close> = start({ publish = function() return true end }, [[
return { listeners = { "tcp://127.0.0.1:1" }, acl = {
  { allow = "publish", topic = "a/#" },
  { allow = "subscribe", topic = "a/#" },
} }
]])
    local client = broker:connect { id = "c" }
    client:publish("a/1", "", 1)
    client:publish("b/1", "", 1)
    client:subscribe "b"
    assert.same({
      "id=c remote=memory operation=publish topic=b/1 answer=success shadow=not_authorized",
      "id=c remote=memory operation=subscribe filter=b answer=success shadow=not_authorized",
    }, told(broker))
  end)

  it("has no effect, and cannot harm", function()
    local broker <close> = start({ publish = function() return true end }, [[
local luamq, hooks = require "luamq", {}
function hooks.start() shared = 1 luamq.every(1, function() luamq.publish("x/timer", "") end) end
function hooks.publish(client, message)
  luamq.publish("x/shadow", "")
  luamq.shared.key = 1
  luamq.stop()
  client.read_limit = 1024
  client:close()
  string.rep = nil
  if message.topic == "fail" then error "broken" end
  return { topic = "x/changed" }
end
return { listeners = { "tcp://127.0.0.1:1" }, hooks = hooks }
]], { log = { level = "off" } })
    local client = broker:connect { id = "c" }
    local watcher = broker:connect { id = "w" }
    watcher:subscribe "#"
    client:publish("t", "x", 1)
    client:publish("fail", "x", 1)
    broker:advance(10)
    local topics = {}
    for i, message in ipairs(watcher:receive_all()) do topics[i] = message.topic end
    assert.same({ "t", "fail" }, topics)
    assert.is_false(client.closed)
    assert.is_nil(rawget(_G, "shared"))
    assert.is_function(string.rep)
    assert.equal(8 << 20, broker:client("c").read_limit)
    assert.is_nil(broker:call(function() return luamq.shared.key end))
    local stats = broker:stats()
    assert.same({ 1, 0 }, { stats.shadow_errors, stats.hook_errors })
  end)

  it("may wait, and nobody waits for it; who goes meanwhile ends it", function()
    local broker <close> = start({ publish = function() return true end }, [[
local luamq = require "luamq"
local function wait() luamq.sleep(1) return false end
return { listeners = { "tcp://127.0.0.1:1" }, hooks = { publish = wait, subscribe = wait } }
]])
    local client = broker:connect { id = "c" }
    assert.equal("success", client:publish("t", "", 1).reason)
    assert.equal("success", client:subscribe("t", 1).reason)
    assert.equal(0, broker:stats().hooks.publish.shadow_calls)
    broker:advance(2)
    assert.equal(2, #told(broker))
    client:subscribe("u", 1)
    client:publish("u", "", 1)
    client:drop()
    broker:advance(2)
    local counted = broker:stats().hooks
    assert.same({ 2, 2 }, { counted.publish.shadow_calls, counted.subscribe.shadow_calls })
    local other = broker:connect { id = "d" }
    other:publish("t", "", 1) -- the broker ends while it waits
  end)

  it("writes at most ten lines a second", function()
    local broker <close> = start({ publish = function() return true end }, [[
return { listeners = { "tcp://127.0.0.1:1" }, hooks = { publish = function() return false end } }
]])
    local client = broker:connect { id = "c" }
    for _ = 1, 15 do client:publish("t", "", 1) end
    assert.equal(10, #told(broker))
    broker:advance(1)
    client:publish("t", "", 1)
    assert.matches("suppressed=5$", told(broker)[1])
  end)

  it("is loaded again with the script", function()
    local broker <close> = start({ publish = function() return true end }, [[
return { listeners = { "tcp://127.0.0.1:1" }, hooks = { publish = function() return false end } }
]])
    local client = broker:connect { id = "c" }
    client:publish("t", "", 1)
    assert.equal(1, broker:stats().shadow_differences)
    assert.is_true(broker:reload { hooks = { publish = function() return true end } })
    client:publish("t", "", 1)
    assert.equal(1, broker:stats().hooks.publish.shadow_calls)
  end)

  it("counts by hook", function()
    local broker <close> = start({ publish = function() return true end }, [[
return { listeners = { "tcp://127.0.0.1:1" }, hooks = { dequeue = function() return false end } }
]])
    local client = broker:connect { id = "c" }
    client:subscribe "t"
    client:publish("t", "", 1)
    local counted = {}
    for name, times in pairs(broker:stats().hooks) do
      counted[name] = { times.calls, times.shadow_calls, times.shadow_differences }
    end
    assert.same({ authenticate = { 0, 1, 0 }, subscribe = { 0, 1, 0 }, publish = { 1, 1, 0 } }, counted)
  end)

  it("is compared by its credentials, and its rules of a client alone", function()
    local broker <close> = start({ publish = function() return true end }, [[
return { listeners = { "tcp://127.0.0.1:1" }, credentials = { ann = "right" } }
]], { credentials = { ann = "right", bob = "x" } })
    broker:connect { username = "ann", password = "right" }
    broker:connect { username = "ann", password = "wrong" }
    broker:connect { id = "b", username = "bob", password = "x" }
    assert.same({ "id=b remote=memory username=bob operation=connect answer=success shadow=not_authorized" },
      told(broker))
    local other <close> = start({ authenticate = function() return true end }, [[
return { listeners = { "tcp://127.0.0.1:1" }, acl = { { allow = "publish", topic = "all" } }, hooks = {
  authenticate = function(client) return { acl = { { allow = "publish", topic = client.id .. "/#" } } } end,
} }
]])
    local client = other:connect { id = "c" }
    for _, topic in ipairs { "c/1", "all", "x" } do client:publish(topic, "", 1) end
    assert.same({ "id=c remote=memory operation=publish topic=x answer=success shadow=not_authorized" },
      told(other))
  end)

  it("tells of messages and filters that are changed in another way", function()
    local hooks = {}
    function hooks.publish(_, message) return { payload = message.topic } end
    function hooks.subscribe(_, subscription) return { topic = "x/" .. subscription.topic } end
    local broker <close> = start(hooks, [[
local hooks = {}
function hooks.publish(_, message) return { payload = message.payload } end
function hooks.subscribe(_, subscription) return { topic = subscription.share and "x/t" or "y/t" } end
return { listeners = { "tcp://127.0.0.1:1" }, hooks = hooks }
]])
    local client = broker:connect { id = "c" }
    client:publish("same", "same", 1)
    client:publish("t", "other", 1)
    client:subscribe "$share/g/t"
    client:subscribe "t"
    local lines = told(broker)
    for i, line in ipairs(lines) do lines[i] = line:gsub(" place=%S+", ""):gsub(" shadow_place=%S+", "") end
    assert.same({
      "id=c remote=memory operation=publish topic=t answer=changed shadow=\"changed otherwise\"",
      "id=c remote=memory operation=subscribe filter=t answer=success shadow=success answer_filter=x/t "
        .. "shadow_filter=y/t",
    }, lines)
  end)

  it("has for a client from before what a reload would leave it with", function()
    local function authenticate(client)
      client.ref = { tenant = client.username }
      return { acl = { { allow = "publish", topic = "t/#" } } }
    end
    local broker <close> = test.broker { hooks = { authenticate = authenticate } }
    local client = broker:connect { id = "c", username = "ann" }
    process.write(directory .. "/candidate.lua", [[
return { listeners = { "tcp://127.0.0.1:1" }, hooks = {
  authenticate = function(client) client.ref = { tenant = "other" } return true end,
  publish = function(client) return client.ref.tenant == "ann" end,
} }
]])
    broker:capture()
    assert.is_true(broker:reload({ hooks = { authenticate = authenticate }, log = { level = "info" } },
      { script = { shadow = directory .. "/candidate.lua" } }))
    client:publish("t/1", "", 1)
    client:publish("u", "", 1)
    assert.same({}, told(broker))
    client = broker:connect { id = "c", username = "ann" }
    client:publish("t/1", "", 1)
    assert.equal(1, #told(broker))
    assert.equal("ann", broker:client("c").ref.tenant)
  end)

  it("refuses a reload where it is wrong, and the one before goes on", function()
    local allow = { publish = function() return true end }
    local broker <close> = start(allow, [[
return { listeners = { "tcp://127.0.0.1:1" }, hooks = { publish = function() return false end } }
]])
    local client = broker:connect { id = "c" }
    local path = directory .. "/candidate.lua"
    local start_text = 'return { listeners = { "tcp://127.0.0.1:1" }, hooks = { start = %s } }'
    for text, problem in pairs {
      ["return { listeners = 3 }"] = path .. ":1: listeners: expected a list of URLs, got number",
      [start_text:format "function() error('no', 0) end"] = "hook start: no",
    } do
      process.write(path, text)
      local done, why = broker:reload({ hooks = allow }, { script = { shadow = path } })
      assert.is_nil(done)
      assert.equal("script.shadow: " .. problem, (why:gsub("\n.*", "")))
      client:publish("t", "", 1)
    end
    assert.equal(2, broker:stats().hooks.publish.shadow_differences)
  end)

  it("fails the start and --check where it is wrong", function()
    process.write(directory .. "/candidate.lua", "return { listeners = { 'tcp://127.0.0.1:1' }, hoks = {} }")
    process.write(directory .. "/broker.lua", [[
return {
  listeners = { "tcp://127.0.0.1:0" },
  script = { shadow = "candidate.lua" },
}
]])
    local program = process.absolute(process.luamq)
    local problem = "script.shadow: candidate.lua:1: hoks: unknown setting (did you mean 'hooks'?)\n"
    for _, words in ipairs { { "broker.lua" }, { "--check", "broker.lua" } } do
      local status, output = process.run({ program, table.unpack(words) },
        { directory = directory, errors = true })
      assert.equal(1, status)
      assert.matches(problem, output, 1, true)
    end
    process.remove(directory .. "/candidate.lua")
    local status, output = process.run({ program, "--check", "broker.lua" },
      { directory = directory, errors = true })
    assert.equal(1, status)
    problem = "broker.lua:3: script.shadow: cannot read 'candidate.lua': No such file or directory\n"
    assert.equal(problem, output)
  end)
end)
