--- Brokers of luamq.test whose events and log lines are captured, and what specs ask of them.

local test = require "luamq.test"

local brokers = {}

--- A broker with these hooks that records its events and its log. Its clients speak MQTT 3.1.1 unless told.
---@param hooks table?
---@param overrides table?  sections of a script, such as `backend`
---@return luamq.test.Broker
function brokers.start(hooks, overrides)
  local broker = test.broker({ hooks = hooks }, overrides)
  broker.version = "3.1.1"
  broker:capture()
  return broker
end

--- What was logged since the last call, without the times: "error spec/x_spec.lua:3: ... id=c".
---@param broker luamq.test.Broker
---@return string[]
function brokers.logged(broker)
  local lines = broker:lines()
  for i, line in ipairs(lines) do lines[i] = line:gsub("^%S+ ", "") end
  return lines
end

--- Where a function is defined: "spec/x_spec.lua:12".
---@param fn function
---@return string
function brokers.place(fn)
  local info = debug.getinfo(fn, "S")
  return info.source:sub(2) .. ":" .. info.linedefined
end

--- The error of `fn`, with its place, which error_matches would cut off.
---@param fn function
---@return any
function brokers.problem(fn)
  local ok, problem = pcall(fn)
  if ok then error("nothing was raised", 2) end
  return problem
end

--- What a client answers when it was let in, refused or not answered: always a table.
---@param broker luamq.test.Broker
---@param options luamq.test.ConnectOptions?
---@return luamq.test.Answer
---@return luamq.test.Client client
function brokers.connect(broker, options)
  local client = broker:open()
  return client:connect(options), client
end

return brokers
