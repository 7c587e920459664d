--- Answers that a test puts in the place of a network: what `broker:fake` of luamq.test installs, and the
--- modules that would use a network ask for.
---
---     local fake = fakes.find("http")
---     if fake then return fake(request) end

local broker = require "luamq.core".broker

local fakes = {}

local installed = {}

--- Installs a fake, or removes it.
---@param name "http"|"dns"|"redis"|"postgres"
---@param fake function?  gets what the module would have sent, and returns what it would have answered
function fakes.install(name, fake) installed[name] = fake end

--- The fake that answers in the place of a network; nil: there is none.
---@param name "http"|"dns"|"redis"|"postgres"
---@return function?
function fakes.find(name) return installed[name] end

--- What a fake answers. It may wait, as luamq.sleep does, in the time of the test, but no longer than so many
--- seconds. An error of it is raised here.
---@param fake function
---@param seconds number
---@param ... any  what it gets
---@return boolean in_time
---@return any ...  what it returned
function fakes.ask(fake, seconds, ...)
  local ticket, arguments, results = broker.ticket(), table.pack(...), nil
  local task, problem = broker.spawn(function()
    results = table.pack(pcall(fake, table.unpack(arguments, 1, arguments.n)))
    ticket:open()
  end)
  if not task then error(problem, 0) end
  if not results then ticket:wait(seconds) end
  if not results then
    task:cancel()
    return false
  end
  if not results[1] then error(results[2], 0) end
  return true, table.unpack(results, 2, results.n)
end

return fakes
