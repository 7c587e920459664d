--- Answers that a test puts in the place of a network: what `broker:fake` of luamq.test installs, and the
--- modules that would use a network ask for.
---
---     local fake = fakes.find("http")
---     if fake then return fake(request) end
---
--- What a fake gets from its module, and what it answers in the place of the network:
---
--- | name | gets | answers |
--- |---|---|---|
--- | `http` | the request as a table | a table: `status`, `headers`, `body`, `json`; or nil, message, code |
--- | `dns` | a name, and what is asked for | a list of addresses; or nil, message, code |
--- | `redis` | the command as a list, its name in capitals | its reply; or nil, message, code |
--- | `postgres` | the statement, and its parameters as a list with `n` | a list of rows; or the same |
---
--- Fakes belong to the broker that installed them, and are found in its hooks only. A fake may wait
--- (luamq.sleep), in the virtual time of the test.

local core = require "luamq.core".test

local broker = require "luamq.core".broker

local fakes = {}

---@class luamq.fakes.Set  the fakes of a broker
---@field private functions table<string, function>
---@field private records table<string, table[]>
local Set = {}
Set.__index = Set

--- By the identity of the broker; those of hooks that a test calls by hand at `false`. Whoever made a set
--- keeps it alive.
---@type table<any, luamq.fakes.Set>
local sets = setmetatable({}, { __mode = "v" })

--- A set without fakes.
---@return luamq.fakes.Set
function fakes.new() return setmetatable({ functions = {}, records = {} }, Set) end

--- Makes a set, or nothing, the one of a broker.
---@param owner any  its identity; false: of hooks that are called by hand
---@param set luamq.fakes.Set?
function fakes.enter(owner, set) sets[owner] = set end

--- Installs a fake, or removes it.
---@param name "http"|"dns"|"redis"|"postgres"
---@param fake function?
function Set:install(name, fake) self.functions[name] = fake end

--- What the fakes of a name were asked, in order: what each one got.
---@param name string
---@return table[]
function Set:asked(name)
  self.records[name] = self.records[name] or {}
  return self.records[name]
end

--- Forgets what the fakes of a name were asked.
---@param name string
function Set:forget(name) self.records[name] = nil end

--- A command of redis with its name in capitals, however it was written.
local function plain(name, first, ...)
  if name ~= "redis" or type(first) ~= "table" then return first, ... end
  local command = table.move(first, 1, first.n or #first, 1, { n = first.n })
  command[1] = tostring(command[1]):upper()
  return command
end

--- A single table is itself what was asked; several values are a list.
local function record(set, name, ...)
  local list, first = set:asked(name), ...
  list[#list + 1] = select("#", ...) == 1 and type(first) == "table" and first or table.pack(...)
end

--- What answers where a broker has no fake of its own.
local everywhere = fakes.new()

--- Installs a fake for all brokers that have none of their own, or removes it.
---@param name "http"|"dns"|"redis"|"postgres"
---@param fake function?  as its module calls it
function fakes.install(name, fake) everywhere:install(name, fake) end

--- The fake that answers in the place of a network, for the hook that is running; nil: there is none.
---@param name "http"|"dns"|"redis"|"postgres"
---@return function?
function fakes.find(name)
  local set = sets[core.running() or false]
  local fake = set and set.functions[name] or everywhere.functions[name]
  if not fake then return nil end
  set = set or everywhere
  local function answer(...)
    record(set, name, ...)
    return fake(...)
  end
  return function(...) return answer(plain(name, ...)) end
end

--- What a fake answers. It may wait, as luamq.sleep does, in the time of the test, but no longer than so many
--- seconds. An error of it is raised here.
---@param fake function
---@param seconds number
---@param ... any  what it gets
---@return boolean in_time
---@return any ...  what it returned
function fakes.ask(fake, seconds, ...)
  local ticket, arguments, results = broker.ticket(), table.pack(...), nil
  local opens = setmetatable({}, { __close = function() ticket:open() end })
  local task, problem = broker.spawn(function()
    local _ <close> = opens
    results = table.pack(pcall(fake, table.unpack(arguments, 1, arguments.n)))
  end)
  if not task then error(problem, 0) end
  if not task:over() then ticket:wait(seconds) end
  if not results and task:over() then error("a fake ended without an answer", 0) end -- for want of memory
  if not results then
    task:cancel()
    return false
  end
  if not results[1] then error(results[2], 0) end
  return true, table.unpack(results, 2, results.n)
end

return fakes
