--- Random sequences of what clients, scripts, reloads and time do to hooks that wait. What must hold is in
--- spec/support/chaos_run.lua, what hooks do in spec/support/chaos_hooks.lua.
---
---     LUAMQ_CHAOS_SEQUENCES=10000 LUAMQ_CHAOS_SEED=1 busted spec/chaos_spec.lua
---
--- LUAMQ_CHAOS_AT names a file that has the seed under way, for what ends the process.

local run = require "spec.support.chaos_run"
local sequences = require "spec.support.model_sequences"

local first = math.tointeger(os.getenv "LUAMQ_CHAOS_SEED" or 1)
local count = math.tointeger(os.getenv "LUAMQ_CHAOS_SEQUENCES" or 300)
local at_path = os.getenv "LUAMQ_CHAOS_AT"

local function note(seed)
  if not at_path then return end
  local file <close> = assert(io.open(at_path, "w"))
  file:write(seed, "\n")
end

local function report(seed, problem, at, steps)
  local fewest = sequences.shrink(steps, function(list) return run.try(seed, list) end)
  return ("LUAMQ_CHAOS_SEED=%d: step %d of %d: %s\nthe fewest steps that fail: %s\nrun.try(%d, %s)"):format(
    seed, at, #steps, problem, run.try(seed, fewest), seed, sequences.describe(fewest))
end

describe("hooks that wait", function()
  it(("keep what must hold, in %d random sequences"):format(count), function()
    for seed = first, first + count - 1 do
      note(seed)
      local steps = run.random(seed)
      local problem, at = run.try(seed, steps)
      if problem then error(report(seed, problem, at, steps), 0) end
    end
  end)
end)
