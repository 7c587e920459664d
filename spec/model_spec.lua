--- Random sequences of what clients do, against a model of what a broker owes them: nothing that was
--- acknowledged is lost, nothing of QoS 2 comes twice, order, windows, expiry, retained messages, sessions.
--- The rules are in spec/support/model.lua, the steps in spec/support/model_run.lua.
---
---     LUAMQ_MODEL_SEQUENCES=10000 LUAMQ_MODEL_SEED=1 busted spec/model_spec.lua

local run = require "spec.support.model_run"
local sequences = require "spec.support.model_sequences"

local first = math.tointeger(os.getenv "LUAMQ_MODEL_SEED" or 1)
local count = math.tointeger(os.getenv "LUAMQ_MODEL_SEQUENCES" or 500)

--- What a sequence of this seed found, with the fewest steps that find something.
local function report(seed, problem, at, steps)
  local fewest = sequences.shrink(steps)
  return ("LUAMQ_MODEL_SEED=%d: step %d of %d: %s\nthe fewest steps that fail: %s\nrun.try %s"):format(
    seed, at, #steps, problem, run.try(fewest), sequences.describe(fewest))
end

describe("a broker", function()
  it(("does what its model says, in %d random sequences"):format(count), function()
    for seed = first, first + count - 1 do
      local steps = sequences.random(seed)
      local problem, at = run.try(steps)
      if problem then error(report(seed, problem, at, steps), 0) end
    end
  end)
end)

describe("sequences", function()
  it("depend on nothing but their seed", function()
    assert.same(sequences.random(7), sequences.random(7))
    assert.not_same(sequences.random(7), sequences.random(8))
  end)

  it("are shrunk to the steps that matter", function()
    local steps = {}
    for i = 1, 50 do steps[i] = { op = "advance", ms = i } end
    local function fails(list)
      local found = {}
      for _, s in ipairs(list) do found[s.ms] = true end
      return found[3] and found[4] and found[41]
    end
    assert.same({ { op = "advance", ms = 3 }, { op = "advance", ms = 4 }, { op = "advance", ms = 41 } },
      sequences.shrink(steps, fails))
  end)

  it("are told as Lua that runs", function()
    local steps = sequences.random(3)
    assert.same(steps, load("return " .. sequences.describe(steps))())
  end)
end)
