--- What a hostile or a broken script may do in a hook. Used by a spec in its own process, and by
--- hostile_broker.lua in that of the program.
---
--- Each is a function that gets the client and the message. `failed`: what the answer tells (nil: it is let
--- pass); `log`: a pattern of the line in the log. In `settings` is what it needs to come to its own end.

local hostile = {}

---@class spec.Hostile
---@field name string
---@field run fun(client: table, message: table)
---@field failed string?
---@field log string?
---@field settings table?  of the section `script`

local list = {}
hostile.list = list

local function case(name, failed, log, run, settings)
  list[#list + 1] = { name = name, failed = failed, log = log, run = run, settings = settings }
end

local function forever() while true do end end

local kept = {} -- what later hooks find

-- Loops --------------------------------------------------------------------------------------

local over <const>, ran <const> = "hook budget exceeded", "hook budget exceeded: ran longer than 0%.05 s"

case("an endless loop", over, ran, forever)

case("a loop of pcall", over, ran, function() while true do pcall(forever) end end)

case("a loop of xpcall, with a handler that loops", over, ran, function()
  while true do xpcall(forever, forever) end
end)

case("a loop that calls itself in pcall", over, ran, function()
  local function again() while true do pcall(again) end end
  again()
end)

case("a loop in a coroutine", over, ran, function() coroutine.wrap(forever)() end)

case("a loop in coroutines of coroutines, each in pcall", over, ran, function()
  local function deeper(depth)
    if depth == 0 then forever() end
    while true do pcall(coroutine.wrap(function() pcall(deeper, depth - 1) end)) end
  end
  deeper(20)
end)

case("a loop that makes coroutines which loop", over, ran, function()
  while true do coroutine.resume(coroutine.create(forever)) end
end)

case("coroutines that yield to each other for ever", over, ran, function()
  local ping = coroutine.wrap(function() while true do coroutine.yield() end end)
  while true do ping() end
end)

case("a loop in a metamethod", over, ran, function()
  return setmetatable({}, { __index = forever }).field
end)

case("a loop in a metamethod that C calls", over, ran, function()
  return tostring(setmetatable({}, { __tostring = forever }))
end)

case("a loop in a comparator of table.sort", over, ran, function() table.sort({ 1, 2, 3, 4 }, forever) end)

case("a loop around pcall in a comparator", over, ran, function()
  while true do table.sort({ 1, 2, 3, 4 }, function() while true do pcall(forever) end end) end
end)

case("a coroutine that loops in a comparator", over, ran, function()
  table.sort({ 1, 2, 3, 4 }, function() while true do pcall(coroutine.wrap(forever)) end end)
end)

case("a loop in a function for string.gsub", over, ran, function() return (("x"):gsub(".", forever)) end)

case("a loop in a reader of load", over, ran, function() return load(forever) end)

case("a loop in a finalizer", over, ran, function()
  setmetatable({}, { __gc = forever })
  collectgarbage()
end)

case("a loop in finalizers in pcall, again and again", over, ran, function()
  while true do
    setmetatable({}, { __gc = function() while true do pcall(forever) end end })
    collectgarbage()
  end
end)

case("a loop in a finalizer that is a callable table", over, ran, function()
  setmetatable({}, { __gc = setmetatable({}, { __call = forever }) })
  collectgarbage()
end)

case("a loop in a finalizer that is a coroutine", over, ran, function()
  setmetatable({}, { __gc = coroutine.wrap(forever) })
  collectgarbage()
end)

case("a loop in a comparator in a finalizer", over, ran, function()
  setmetatable({}, { __gc = function() table.sort({ 1, 2, 3 }, forever) end })
  collectgarbage()
end)

case("a loop in __close", over, ran, function()
  local _ <close> = setmetatable({}, { __close = forever })
end)

case("loops in __close after a loop", over, ran, function()
  local _ <close> = setmetatable({}, { __close = forever })
  local _ <close> = setmetatable({}, { __close = forever })
  forever()
end)

case("a loop in __close of a coroutine that loops", over, ran, function()
  coroutine.wrap(function()
    local _ <close> = setmetatable({}, { __close = forever })
    forever()
  end)()
end)

case("a loop in __close by coroutine.close", over, ran, function()
  local co = coroutine.create(function()
    local _ <close> = setmetatable({}, { __close = forever })
    coroutine.yield()
  end)
  coroutine.resume(co)
  coroutine.close(co)
end)

case("a loop in __tostring of an error", over, "error in error handling", function()
  error(setmetatable({}, { __tostring = forever }))
end)

case("a coroutine that is stopped, and closed by a later hook", over, ran, function()
  kept.stopped = coroutine.create(function()
    local _ <close> = setmetatable({}, { __close = forever })
    table.sort({ 1, 2, 3, 4 }, forever)
  end)
  coroutine.resume(kept.stopped)
end)

case("closing it", nil, nil, function()
  local co = kept.stopped
  kept.stopped = nil
  assert(coroutine.status(co) == "dead")
  coroutine.close(co)
end)

-- Memory -------------------------------------------------------------------------------------

local small <const> = { lua_memory = "64M", hook_budget = 10 }
local no_memory <const> = "not enough memory"

case("a string that is doubled for ever", "hook error", no_memory, function()
  local text = "x"
  while true do text = text .. text end
end, small)

case("a string of a terabyte", "hook error", "memory", function() return ("x"):rep(1 << 40) end, small)

case("a table that grows for ever", "hook error", no_memory, function()
  local last
  while true do last = { last } end
end, small)

case("a table that grows for ever, in pcall", over, "hook budget exceeded", function()
  local all = {}
  local function grow() while true do all[#all + 1] = ("x"):rep(10000) .. #all end end
  while true do pcall(grow) end
end, { lua_memory = "64M", hook_budget = 0.3 })

case("table.concat of too much", "hook error", no_memory, function()
  local t = {}
  for i = 1, 2000 do t[i] = ("x"):rep(1 << 16, i) end
  return table.concat(t)
end, small)

case("coroutines without end", "hook error", no_memory, function()
  local t = {}
  for i = 1, math.huge do t[i] = coroutine.create(function() return t end) end
end, small)

case("garbage without a collector", "hook error", no_memory, function()
  local _ <close> = setmetatable({}, { __close = function() collectgarbage "restart" end })
  collectgarbage "stop"
  local last
  while true do last = { last } end
end, small)

case("garbage while the collector stands still", nil, nil, function()
  collectgarbage "stop"
  for _ = 1, 100 do local _ = ("x"):rep(1 << 20) end
  collectgarbage "restart"
end, small)

-- Recursion ----------------------------------------------------------------------------------

case("endless recursion", "hook error", "stack overflow", function()
  local function deeper() return 1 + deeper() end
  deeper()
end, { hook_budget = 10 })

case("recursion through string.gsub", "hook error", "C stack overflow", function()
  local function deeper(text) return (text:gsub(".", deeper)) end
  deeper "x"
end)

case("recursion in a pattern", "hook error", "pattern too complex", function()
  return (("x"):rep(300000)):find(("x?"):rep(300000))
end)

case("a chain of __tostring", "hook error", "C stack overflow", function()
  local t = setmetatable({}, { __tostring = function(self) return tostring(self) end })
  return tostring(t)
end)

case("a chain of __index", "hook error", "loop", function()
  local t = {}
  setmetatable(t, { __index = t })
  return t.field
end)

-- Yields -------------------------------------------------------------------------------------

case("a yield of its own", "hook cannot suspend", "nobody would resume it", function() coroutine.yield(1) end)

case("a yield across table.sort", "hook error", "yield across a C%-call boundary", function()
  table.sort({ 1, 2, 3 }, function() coroutine.yield() end)
end)

case("a yield in a finalizer", nil, nil, function()
  setmetatable({}, { __gc = function() coroutine.yield() end })
  collectgarbage()
end)

-- Errors -------------------------------------------------------------------------------------

case("nil as error", "hook error", "the error is a nil value", function() error(nil) end)
case("a coroutine as error", "hook error", "the error is a thread value", function()
  error(coroutine.create(print))
end)
case("a table with a __tostring that fails", "hook error", "error in error handling", function()
  error(setmetatable({}, { __tostring = function() error "no" end }))
end)
case("a table with a __tostring that gives no text", "hook error", "error in error handling", function()
  error(setmetatable({}, { __tostring = function() return {} end }))
end)
case("a table with a __name of a megabyte", "hook error", "is a table value", function()
  error(setmetatable({}, { __name = ("x"):rep(1 << 20) }))
end)
case("an error in a finalizer", nil, nil, function()
  setmetatable({}, { __gc = function() error "no" end })
  collectgarbage()
end)

-- Lua's own libraries ------------------------------------------------------------------------

local function without(names, run)
  local saved = {}
  for _, name in ipairs(names) do saved[name] = _G[name] end
  for _, name in ipairs(names) do _G[name] = nil end
  local ok, problem = saved.pcall(run)
  for name, value in saved.next, saved do _G[name] = value end
  if not ok then saved.error(problem, 0) end
end

local basic = { "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "print", "rawget",
  "rawset", "require", "select", "setmetatable", "tonumber", "tostring", "type", "coroutine", "string" }

case("an error without Lua's functions", "hook error", "attempt to call a nil value", function(client)
  without(basic, function()
    client.read_limit = "64K"
    return pcall()
  end)
end)

case("a metatable of strings that fails", "hook error", "attempt to index a string", function()
  local meta = getmetatable ""
  local index <const> = meta.__index
  meta.__index = nil
  local ok, problem = pcall(function() return ("x"):rep(2) end)
  meta.__index = index
  if not ok then error(problem, 0) end
end)

case("another metatable for a client", "hook error", "table expected", function(client)
  setmetatable(client, { __index = forever })
end)

case("a table that says it is a client", "hook error", "client expected", function(client)
  local close = client.close
  close(setmetatable({}, { __index = client, __name = "luamq.client" }))
end)

case("fields of a message that are set", "hook error", "message is read only", function(_, message)
  message.topic = "other"
end)

case("keeping what is borrowed", nil, nil, function(_, message) kept.message = message end)

case("using it later", "hook error", "message used after its hook returned", function()
  return kept.message.topic
end)

case("a module that is not there", "hook error", "module 'no.such.module' not found", function()
  require "no.such.module"
end)

return hostile
