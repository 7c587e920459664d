--- Lua code that runs inside of a broker of its own process, where it may wait, as a hook of it.
---
---     local broker <close> = inside.start [[ db = require "luamq.redis".new { port = ... } ]]
---     local value, err = broker:run [[ return db:get "key" ]]      -- raises what it raises
---
--- Globals last. What is returned are copies: tables, strings, numbers and booleans.

local luamq_client = require "luamq.client"
local process = require "spec.support.process"

local inside = {}

local script <const> = [[
luamq = require "luamq"

local function show(value)
  local kind = type(value)
  if kind == "number" then return ("%q"):format(value) end
  if kind == "string" then
    return '"' .. value:gsub("[^%w ]", function(c) return ("\\%03d"):format(c:byte()) end) .. '"'
  end
  if kind ~= "table" then return tostring(value) end
  local parts = {}
  for name, field in pairs(value) do parts[#parts + 1] = ("[%s] = %s"):format(show(name), show(field)) end
  return "{" .. table.concat(parts, ", ") .. "}"
end

local function answer(id, fine, ...)
  local values = table.pack(...)
  for i = 1, values.n do values[i] = show(values[i]) end
  luamq.publish("answer/" .. id, ("return %s, %d, {%s}"):format(fine, values.n, table.concat(values, ", ")))
end

PRELUDE

return {
  listeners = { "tcp://127.0.0.1:0" },
  anonymous = true,
  script = { hook_timeout = 30, max_suspended = 10000, SETTINGS },
  hooks = {
    authenticate = authenticate or function() return true end,
    subscribe = function() return true end,
    publish = function(client, message)
      if message.topic ~= "run" then return true end
      local id, code = client.id, message.payload
      luamq.spawn(function()
        local chunk = assert(load(code, "=inside"))
        answer(id, xpcall(chunk, tostring))
      end)
      return "drop"
    end,
  },
}
]]

---@class spec.Inside
---@field process spec.Process
---@field port integer
---@field private client luamq.client.Client
local Inside = {}
Inside.__index = Inside

--- What code must come to an end in; far more than any needs.
local DEADLINE <const> = 40

--- Runs code, and returns what it returns.
---@param code string
---@return any ...
function Inside:run(code)
  assert(self.client:publish("run", code, 1))
  local message = assert(self.client:receive(DEADLINE))
  local fine, count, values = assert(load(message.payload))()
  if not fine then error(values[1], 2) end
  return table.unpack(values, 1, count)
end

--- Ends the broker, in order. Its log is in `output`.
---@return string output
function Inside:stop()
  if not self.output then
    self.client:disconnect()
    self.process:stop()
    os.remove(self.path)
    self.output = self.process.output
    assert(self.process.status == 0, self.output)
  end
  return self.output
end

function Inside:__close() self:stop() end

--- Starts a broker.
---@param prelude string    code at its beginning; a global `authenticate` is its hook
---@param settings string?  of its section `script`
---@return spec.Inside
function inside.start(prelude, settings)
  local replaced = { PRELUDE = prelude, SETTINGS = settings or "" }
  local path = process.script((script:gsub("PRELUDE", replaced):gsub("SETTINGS", replaced)))
  local broker = process.broker { path }
  local self = setmetatable({ process = broker, port = broker.port, path = path }, Inside)
  self.client = assert(luamq_client.connect { port = broker.port, id = "inside", keep_alive = 0 })
  assert(self.client:subscribe("answer/inside", 1))
  return self
end

return inside
