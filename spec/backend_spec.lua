--- Backends in Lua do what the broker's own does: the model of a broker, see spec/model_spec.lua.

local client = require "luamq.client"
local kept_sessions = require "spec.support.kept_sessions"
local process = require "spec.support.process"
local run = require "spec.support.model_run"
local sequences = require "spec.support.model_sequences"

local first = math.tointeger(os.getenv "LUAMQ_MODEL_SEED" or 1)
local count = math.tointeger(os.getenv "LUAMQ_MODEL_SEQUENCES" or 200)
local restart_count = math.max(1, count // 4) -- these take longer

--- Fails with the fewest steps that find something.
---@param make fun(): (fun(): table)  makes, for a sequence, what makes the hooks of its brokers
---@param number integer
---@param change fun(steps: table[])?
local function check(make, number, change)
  for seed = first, first + number - 1 do
    local steps = sequences.random(seed)
    if change then change(steps) end
    local problem, at = run.try(steps, make())
    if problem then
      local fewest = sequences.shrink(steps, function(list) return run.try(list, make()) end)
      error(("LUAMQ_MODEL_SEED=%d: step %d of %d: %s\nthe fewest steps that fail: %s\n%s"):format(seed, at,
        #steps, problem, run.try(fewest, make()), sequences.describe(fewest)), 0)
    end
  end
end

describe("a broker whose packets in flight are kept in Lua", function()
  it(("does what its model says, in %d random sequences"):format(count), function()
    check(function()
      local kept = kept_sessions.new()
      return function() return { setup = kept.setup } end
    end, count)
  end)
end)

describe("the example backend.lua", function()
  local function hooks(path)
    local script = assert(loadfile "examples/backend.lua")
    return function() return script("tcp://127.0.0.1:0", path, "off").hooks end
  end

  it(("does what the model says, in %d random sequences"):format(count), function()
    check(function() return hooks ":memory:" end, count)
  end)

  local FOR_EVER <const> = 0xffffffff

  --- Leaves out what does not outlive a broker, and what does to the second only.
  local function with_restarts(steps)
    for i, s in ipairs(steps) do
      s.will, s.retain, s.empty, s.identifier = nil, false, false, nil
      if s.op == "publish" then
        s.expiry = nil
      elseif s.expiry and s.expiry > 0 then
        s.expiry = FOR_EVER
      end
      if i % 9 == 0 then steps[i] = { op = "restart" } end
    end
  end

  it(("does so when it is restarted, in %d random sequences"):format(restart_count), function()
    local folder, last = process.directory(), 0
    finally(function() process.remove(folder) end)
    check(function()
      last = last + 1
      return hooks(("%s/%d.db"):format(folder, last))
    end, restart_count, with_restarts)
  end)
end)

describe("the example backend.lua as a program", function()
  it("has its sessions again when it was stopped, and when it was killed", function()
    local folder = process.directory()
    finally(function() process.remove(folder) end)
    local arguments = { "examples/backend.lua", "tcp://127.0.0.1:0", folder .. "/sessions.db" }

    local function connect(broker, id)
      return assert(client.connect {
        port = broker.port, id = id, clean = false, version = "5", session_expiry_interval = 3600 })
    end

    local one <close> = process.broker(arguments)
    local a, sender = connect(one, "a"), connect(one, "s")
    assert(a:subscribe("t", 1))
    a:disconnect()
    assert(sender:publish("t", "1", 1))
    assert.equal(0, one:stop())
    local second <close> = process.broker(arguments) -- nothing changes in its time
    second:signal "KILL"
    second:wait()
    local third <close> = process.broker(arguments)
    a, sender = connect(third, "a"), connect(third, "s")
    assert.is_true(a.session_present)
    assert.equal("1", assert(a:receive(20)).payload)
    assert(sender:publish("t", "2", 1))
    assert.equal("2", assert(a:receive(20)).payload)
  end)
end)
