--- Runs busted inside of the program: `luamq --test [busted's options] [files]`. Specs find `luamq.test`
--- wherever luamq is installed, and what busted finds is the exit status.

local runner = {}

local missing <const> = "busted is not there for %s; Debian has it as the package lua-busted, "
  .. "LuaRocks as the rock busted"

--- busted calls itself as the chunk that calls it is named.
local call = load("local start = ... start { standalone = false }", "@luamq --test", "t")

--- Runs the tests that the global `arg` tells. Ends the program when one has failed.
---@return boolean? done
---@return string? message
function runner.run()
  local found, start = pcall(require, "busted.runner")
  if found then
    call(start)
    return true
  end
  local problem = tostring(start)
  if problem:find("module 'busted.runner' not found", 1, true) then return nil, missing:format(_VERSION) end
  return nil, "busted cannot be loaded: " .. problem
end

return runner
