--- Scripts that loop, take all memory, break what they find, or end the process: the broker denies what they
--- were to decide, tells where it was, and serves the others.

local brokers = require "spec.support.brokers"
local client_module = require "luamq.client"
local hostile = require "spec.support.hostile_hooks"
local process = require "spec.support.process"

local logged, start = brokers.logged, brokers.start

local function publishes(run)
  return { publish = function(client, message)
    if message.topic == "bad" then run(client, message) end
    return true
  end }
end

--- What was logged about the hook; there may be lines about memory, and about a machine that was busy.
local function hook_lines(broker)
  local lines = {}
  for _, line in ipairs(logged(broker)) do
    if line:find "^error hook publish" then lines[#lines + 1] = line end
  end
  return lines
end

describe("a script that does harm in a hook", function()
  for _, case in ipairs(hostile.list) do
    it("is denied, and others are served: " .. case.name, function()
      local broker <close> = start(publishes(case.run), { script = case.settings })
      local bad, good = broker:connect { id = "bad" }, broker:connect { id = "good" }
      good:subscribe("t", 1)
      local answer = bad:publish("bad", "x", 1)
      assert.equal(case.failed, answer.error)
      assert.equal(case.failed and "implementation_specific_error" or "success", answer.reason)
      local lines = hook_lines(broker)
      assert.equal(case.log and 1 or 0, #lines)
      if case.log then
        assert.matches(case.log, lines[1])
        assert.matches("spec/support/hostile_hooks.lua:%d+:", lines[1])
      end
      local stats = broker:stats()
      assert.equal(case.failed == "hook budget exceeded" and 1 or 0, stats.hook_budget_exceeded)
      assert.equal(case.failed and 1 or 0, stats.hooks.publish.errors)
      assert.same({ reason = "success" }, bad:publish("t", "still here", 1))
      assert.equal("still here", good:receive().payload)
    end)
  end
end)

describe("the program with a script that does harm", function()
  --- Scripts in the order of their settings: one broker for each.
  local function run(settings, cases)
    local arguments = { "spec/support/hostile_broker.lua", "lua_memory=64M" }
    for name, value in pairs(settings) do arguments[#arguments + 1] = name .. "=" .. value end
    local broker <close> = process.broker(arguments)
    for _, case in ipairs(cases) do
      local bad = assert(client_module.connect { port = broker.port, id = "bad", version = 5, timeout = 30 })
      local answer, problem = bad:publish("bad", case.name, { qos = 1 })
      assert.equal(case.failed and "implementation_specific_error" or "success",
        answer and "success" or problem, case.name)
      local good <close> = assert(client_module.connect { port = broker.port, id = "good", version = 5 })
      assert(good:subscribe("t", 1))
      assert(bad:publish("t", case.name, { qos = 1 }))
      assert.equal(case.name, good:receive(5).payload)
      bad:close()
    end
    assert.equal(0, broker:stop())
  end

  it("goes on with the next one", function()
    local quick, slow = {}, {}
    for _, case in ipairs(hostile.list) do
      local list = case.settings and slow or quick
      list[#list + 1] = case
    end
    run({}, quick)
    run({ hook_budget = 1 }, slow)
  end)
end)

describe("os.exit", function()
  it("in a hook ends the hook and the broker in order, and nothing of the script runs after it", function()
    local went_on, closed, stopped
    local broker <close> = start({
      publish = function()
        local _ <close> = setmetatable({}, { __close = function() closed = true end })
        pcall(os.exit, 3)
        went_on = true
        return true
      end,
      terminate = function() stopped = true end,
    }, { log = { level = "info" } })
    local client = broker:connect()
    logged(broker)
    assert.is_nil(broker:exit_status())
    client:publish("t", "x", 1)
    broker:run()
    assert.is_nil(went_on)
    assert.is_true(closed and stopped)
    assert.is_true(client.closed)
    assert.equal("client closed", client.close_reason)
    assert.equal(3, broker:exit_status())
    assert.matches("^info os.exit: stopping hook=publish at=spec/hostile_scripts_spec.lua:%d+ status=3$",
      logged(broker)[1] or "")
    assert.equal(0, broker:stats().hook_errors)
  end)

  it("takes booleans as a status, and no other values", function()
    for value, status in pairs { [true] = 0, [false] = 1 } do
      local broker <close> = start(publishes(function() os.exit(value) end))
      broker:connect():publish("bad", "x", 1)
      assert.equal(status, broker:exit_status())
    end
    local broker <close> = start(publishes(function() os.exit {} end))
    assert.equal("hook error", broker:connect():publish("bad", "x", 1).error)
    assert.is_nil(broker:exit_status())
  end)

  it("in a coroutine of the script's ends it as well", function()
    local broker <close> = start(publishes(function() coroutine.wrap(function() os.exit(4) end)() end))
    broker:connect():publish("bad", "x", 1)
    assert.equal(4, broker:exit_status())
  end)

  it("is the status of the program, which ends in order", function()
    for _, place in ipairs { "start", "timer", "load" } do
      local path <const> = process.script(([[
        local place = %q
        local luamq = require "luamq"
        if place == "load" then os.exit(9) end
        return { listeners = { "tcp://127.0.0.1:0" }, hooks = {
          start = function()
            if place == "start" then os.exit(9) end
            luamq.after(0, function() os.exit(9) end)
          end,
          stop = function() print "in order" end,
        } }
      ]]):format(place))
      local status, output = process.run { process.luamq, path }
      os.remove(path)
      assert.equal(9, status)
      assert.equal(place == "timer", output:find("in order", 1, true) ~= nil)
    end
  end)
end)
