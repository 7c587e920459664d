--- A broker in a process of its own whose hook runs what a spec sends it: for modules that suspend, with a
--- real loop and a real network.
---
---     local runner = hook_runner.start 'http = require "luamq.http"'
---     local status = runner:run("return http.get(...).status", url)
---     runner:stop()
---
--- Arguments and results go as JSON: functions and userdata cannot, and of a table with a metatable its own
--- fields.

local client = require "luamq.client"
local json = require "luamq.json"
local process = require "spec.support.process"

local hook_runner = {}

local script <const> = [[
local json = require "luamq.json"
local luamq = require "luamq"
%s

local function pack(...)
  local list = { ... }
  for i = 1, select("#", ...) do if list[i] == nil then list[i] = json.null end end
  return list
end

local function run(code, arguments) return pack(pcall(assert(load(code)), table.unpack(arguments))) end

return {
  listeners = { "tcp://127.0.0.1:0" },
  hooks = {
    publish = function(client, message)
      local asked = json.decode(message.payload)
      luamq.publish("result/" .. client.id, json.encode(run(asked.code, asked.arguments)))
      return "drop"
    end,
  },
  %s
}
]]

---@class spec.HookRunner
---@field process spec.Process
---@field path string  of the script
---@field log string   the file with what the broker logged
local HookRunner = {}
HookRunner.__index = HookRunner

---@param setup string      run when the script is loaded; its globals are those of what is run later
---@param sections string?  further fields of the script
---@return spec.HookRunner
function hook_runner.start(setup, sections)
  local path = process.script(script:format(setup, sections or ""))
  local log = os.tmpname()
  local broker = process.broker({ path }, { log = log })
  return setmetatable({ process = broker, path = path, log = log, count = 0 }, HookRunner)
end

--- A client that can run things at the same time as others. It does not ping while a spec waits for others.
---@return luamq.client.Client
function HookRunner:connect()
  self.count = self.count + 1
  local c = assert(client.connect { port = self.process.port, id = "runner-" .. self.count, keep_alive = 0 })
  assert(c:subscribe("result/runner-" .. self.count, 0))
  return c
end

--- Begins to run it for a client.
function HookRunner.begin(_, c, code, ...)
  assert(c:publish("run", json.encode { code = code, arguments = { ... } }, 0))
end

--- What it returned, with nil as nil. An error of it is one here.
function HookRunner.result(_, c)
  local results = json.decode(assert(c:receive(60)).payload)
  local count = #results
  for i = 1, count do if results[i] == json.null then results[i] = nil end end
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, count)
end

--- Runs a chunk in a hook, with these arguments.
---@param code string
---@param ... any
---@return any ...  what it returned
function HookRunner:run(code, ...)
  self.client = self.client or self:connect()
  self:begin(self.client, code, ...)
  return self:result(self.client)
end

--- Ends the broker in order, and answers its status and log.
---@return integer status
---@return string log
function HookRunner:stop()
  local status = self.process:stop()
  local log = process.read(self.log)
  os.remove(self.log)
  os.remove(self.path)
  return status, log
end

return hook_runner
