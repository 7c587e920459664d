--- What luamq.redis, luamq.postgres and luamq.sqlite have in common: options that are checked and
--- completed, and a line in the log when a database stops to answer, and when it answers again.

local log = require "luamq.core".broker.log
local values = require "luamq.values"

local database = {}

---@class luamq.DatabaseOption: luamq.Setting
---@field default any?
---@field secret boolean?  its value is shown in no message

local function problem_of(row, value)
  local read, problem = values.read(row, value)
  if problem and row.secret then problem = "expected a string without a zero byte" end
  return read, problem
end

local function known_names(rows)
  local names = {}
  for name in pairs(rows) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

--- Checks options and fills in defaults. Raises what is wrong. Seconds become milliseconds under a name
--- with `_ms`.
---@param what string  "redis.new"
---@param rows table<string, luamq.DatabaseOption>
---@param given table
---@param level integer  as for error
---@return table
function database.options(what, rows, given, level)
  level = level + 1
  for name in pairs(given) do
    if not rows[name] then
      error(("%s: unknown option '%s', known are %s"):format(what, tostring(name), known_names(rows)), level)
    end
  end
  local result = {}
  for name, row in pairs(rows) do
    local value = given[name]
    if value == nil then value = row.default end
    if value ~= nil then
      local read, problem = problem_of(row, value)
      if problem then error(("%s: %s: %s"):format(what, name, problem), level) end
      result[name] = read
      if row.type == "seconds" then result[name .. "_ms"] = math.ceil(read * 1000) end
    end
  end
  return result
end

-- Also that a server does not take the login of the options, which no hook can do anything about.
local telling = { connection = true, timeout = true, WRONGPASS = true, NOAUTH = true, ["28P01"] = true,
  ["28000"] = true }

---@class luamq.DatabaseHealth
---@field failing boolean
---@field told integer

--- Takes notice of how a call went, and returns its results. A line is written when it is another way than
--- before, at most one a second.
---@param self table  with a field `health`
---@param name string  "redis"
---@param first any  the results, as the next two
---@param message string?
---@param code string?
function database.noticed(self, name, first, message, code)
  local health = self.health
  local fails = telling[code] or false
  if fails ~= health.failing and (fails or code == nil) and os.time() ~= health.told then
    health.failing, health.told = fails, os.time()
    if fails then
      log.warn(name .. " does not answer", { err = message, code = code })
    else
      log.info(name .. " answers again")
    end
  end
  if message == nil then return first end
  return first, message, code
end

---@return luamq.DatabaseHealth
function database.health() return { failing = false, told = 0 } end

return database
