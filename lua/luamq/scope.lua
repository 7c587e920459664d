--- luamq.on_topics: a hook that is about some topics only. C looks at the topic first, and enters Lua only
--- for what the hook is about. Called like a function, as in a spec of a single hook, it does the same.

local core = require "luamq.core".broker
local words = require "luamq.words"

---A hook with a scope. It is called like the function in it.
---@class luamq.Scope
---@field filters string[]
---@field fn function
---@field otherwise boolean  what is answered where nobody is to be asked
local Scope = { __name = "luamq.on_topics" }
Scope.__index = Scope

local scope = {}

--- The hooks that may have one.
scope.hooks = { publish = true, dequeue = true, subscribe = true, unsubscribe = true }

--- Whether a value is one, also of another copy of this module.
function scope.is(value)
  local meta = debug.getmetatable(value)
  return type(value) == "table" and meta ~= nil and meta.__name == Scope.__name
end

function Scope.__call(self, client, subject, ...)
  local topic = type(subject) == "string" and subject or subject.topic
  for _, filter in ipairs(self.filters) do
    if core.overlaps(filter, topic) then return self.fn(client, subject, ...) end
  end
  return self.otherwise
end

function Scope.__tostring(self) return "luamq.on_topics: " .. table.concat(self.filters, ", ") end

local function check_options(options)
  if options == nil then return true end
  if type(options) ~= "table" then error("luamq.on_topics expects a table of options", 3) end
  for key in next, options do
    if key ~= "otherwise" then
      error(("luamq.on_topics has no option '%s'%s"):format(tostring(key),
        words.suggest(key, { otherwise = true })), 3)
    end
  end
  if options.otherwise ~= nil and type(options.otherwise) ~= "boolean" then
    error("luamq.on_topics: otherwise is true or false", 3)
  end
  return options.otherwise ~= false
end

local function check_filters(filters)
  if type(filters) == "string" then filters = { filters } end
  if type(filters) ~= "table" or #filters == 0 then
    error("luamq.on_topics expects a list of topic filters", 3)
  end
  local result = {}
  for position, filter in ipairs(filters) do
    local problem = type(filter) ~= "string" and "is no string" or core.filter_problem(filter)
    if problem then error(("luamq.on_topics: filter %d: %s"):format(position, problem), 3) end
    result[position] = filter
  end
  return result
end

---@param filters string|string[]
---@param fn function
---@param options { otherwise: boolean? }?
---@return luamq.Scope
function scope.new(filters, fn, options)
  filters = check_filters(filters)
  if type(fn) ~= "function" then error("luamq.on_topics expects a function behind the filters", 2) end
  return setmetatable({ filters = filters, fn = fn, otherwise = check_options(options) }, Scope)
end

--- For the core, which src/script/scope.c reads.
---@param value luamq.Scope
---@return { packed: string, otherwise: boolean, filters: string[] }
function scope.pack(value)
  local out = {}
  for position, filter in ipairs(value.filters) do out[position] = ("<s2"):pack(filter) end
  return { packed = table.concat(out), otherwise = value.otherwise, filters = value.filters }
end

return scope
