--- Brokers without a network, for busted and the like: the real codec, sessions, backend and hooks in the
--- process of the test, over memory connections and with a clock that only the test moves.
---
---     local test = require "luamq.test"
---
---     it("keeps tenants apart", function()
---       local broker <close> = test.broker("broker.lua")
---       local alice = broker:connect { id = "alice" }
---       assert.equal("not_authorized", alice:publish("t/b/x", "hi", 1).reason)
---       broker:advance(3600)
---       assert.is_nil(alice:receive())
---     end)
---
--- Clients speak MQTT 5 unless `version = "3.1.1"` or "3.1" is told, to them or as `broker.version`.
---
--- Each call runs the broker until nothing is left to do without time passing, so what a call caused has
--- happened when it returns. Runs are repeatable: the broker's randomness has a fixed seed. No
--- listener is opened, a write delay is ignored, and the log level is "warn" unless it is set.

local check = require "luamq.client_options"
local clients = require "luamq.test_client"
local config = require "luamq.config"
local connection = require "luamq.test_connection"
local core = require "luamq.core".test
local explain = require "luamq.explain"
local fakes = require "luamq.fakes"
local source = require "luamq.source"
local test_fakes = require "luamq.test_fakes"
local words = require "luamq.words"

---@class luamq.test
local test = {}

---@class luamq.test.Event
---@field event string   "packet received", ...
---@field client string  the client's id; "" before its CONNECT
---@field text string?   the text form of the message or packet
---@field error string?

---@class luamq.test.ConnectOptions: luamq.client.ConnectOptions, luamq.test.ConnectionOptions
---@field version string|integer|nil  default "5"; host, tls and what else says where to connect is not here

---@class luamq.test.Broker
---@field version string  what clients speak that are not told; default "5"
---@field private core userdata
---@field private options luamq.test.BrokerOptions
---@field private live table<luamq.test.Client, boolean>
---@field private fakes luamq.fakes.Set
---@field private captured table?  what was recorded, and how much of it was answered
local Broker = {}
Broker.__index = Broker
Broker.__name = "luamq.test.broker"

-- Scripts ------------------------------------------------------------------------------------

local function copy(t)
  local result = {}
  for key, value in pairs(t) do result[key] = value end
  return result
end

--- Hooks as one list, the overrides first and in the place of those of the same name.
local function merge_hooks(hooks, overrides)
  if type(hooks) ~= "table" or type(overrides) ~= "table" then return overrides end
  local single = hooks[1] == nil and overrides[1] == nil
  if single then
    local result = copy(hooks)
    for name, hook in pairs(overrides) do result[name] = hook end
    return result
  end
  local result, replaced = {}, {}
  for _, one in ipairs(overrides[1] == nil and { overrides } or overrides) do
    result[#result + 1] = one
    if type(one) == "table" then for name in pairs(one) do replaced[name] = true end end
  end
  for _, one in ipairs(hooks[1] == nil and { hooks } or hooks) do
    local rest = one
    if type(one) == "table" then
      rest = {}
      for name, hook in pairs(one) do
        if not replaced[name] then rest[name] = hook end
      end
    end
    result[#result + 1] = rest
  end
  return result
end

--- The script's table with overrides: sections are merged, everything else is replaced.
local function merge(script, overrides)
  if type(script) ~= "table" then return script end
  local result = copy(script)
  for name, value in pairs(overrides) do
    local old = result[name]
    if name == "hooks" and old ~= nil then
      result.hooks = merge_hooks(old, value)
    elseif name ~= "listeners" and type(old) == "table" and type(value) == "table" then
      result[name] = copy(old)
      for key, setting in pairs(value) do result[name][key] = setting end
    else
      result[name] = value
    end
  end
  return result
end

--- Runs a script's text. One that ends the process would end the tests, and they would seem to have passed.
local function run_script(text, path, arguments)
  local exit = os.exit
  os.exit = function() error("os.exit in a script that a test loads", 2) end -- luacheck: ignore 122
  local loaded, value = source.run(text, path, arguments)
  os.exit = exit -- luacheck: ignore 122
  return loaded, value
end

--- The value that a script returns, its path and its text; or nil and a message.
local function load_script(path, arguments)
  local text, problem = source.read(path)
  if not text then return nil, problem end
  local loaded, value = run_script(text, path, arguments)
  if not loaded then return nil, value end
  return { value = value, path = path, text = text }
end

--- Puts `trust` before what decides who gets in.
local function let_in(checked, trust)
  local hooked = false
  for _, hooks in ipairs(checked.hooks) do hooked = hooked or hooks.authenticate ~= nil end
  local open = checked.open or checked.anonymous
  table.insert(checked.scopes, 1, {})
  table.insert(checked.hooks, 1, { authenticate = function(client)
    if trust(client) then return true end
    if not hooked then return open, "not_authorized" end
  end })
end

--- The checked table of a script, as the broker of a test takes it; or nil and a message.
local function check_script(script, overrides, options)
  local loaded, problem
  if type(script) == "string" then
    loaded, problem = load_script(script, options.arguments)
    if not loaded then return nil, problem end
  else
    loaded = { value = copy(script) }
    if loaded.value.listeners == nil then loaded.value.listeners = { "tcp://127.0.0.1:1883" } end
  end
  local value = overrides and merge(loaded.value, overrides) or loaded.value
  local checked, message = config.check(value, loaded.path, loaded.text)
  if not checked then return nil, message end
  checked.engine.max_write_delay = 0
  if type(value.log) ~= "table" or value.log.level == nil then checked.log.level = "warn" end
  checked.log.level = options.log_level or checked.log.level
  if options.trust then let_in(checked, options.trust) end
  return checked
end

local function expect_script(name, script, overrides)
  if type(script) ~= "string" and type(script) ~= "table" then
    error(name .. " expects the path of a script or its table", 3)
  end
  if overrides ~= nil and type(overrides) ~= "table" then
    error(name .. " expects overrides as a table", 3)
  end
end

local broker_options = { fakes = true, capture = true, real_time = true, trust = true, log_level = true,
  arguments = true }

local function check_options(options, level)
  if options == nil then return {} end
  if type(options) ~= "table" then error("test.broker expects options as a table", level + 1) end
  for name in pairs(options) do
    if not broker_options[name] then
      error(("test.broker has no option %s"):format(words.show(name)), level + 1)
    end
  end
  if options.fakes ~= nil and type(options.fakes) ~= "table" then
    error("test.broker: fakes must be a table of fakes by name", level + 1)
  end
  return options
end

---@class luamq.test.BrokerOptions  what is there before hooks.start is called
---@field fakes table<string, function|table>?  as of `broker:fake`
---@field capture boolean?  events and lines of the log are recorded from the start
---@field real_time boolean?  its hooks can use the network, and `advance` raises
---@field trust (fun(client: luamq.Client): boolean)?  who is let in without being asked for anything
---@field log_level string?  whatever the script says
---@field arguments string[]?  what a script that is given by its path gets as `...`

--- Starts a broker. Raises with the message of the check when the script is not right.
---@param script string|table  the path of a script, or the table that one returns; it needs no listeners
---@param overrides table?     merged into the script's table: hooks by name, sections by setting
---@param options luamq.test.BrokerOptions?
---@return luamq.test.Broker broker  stopped when it goes out of scope as a `<close>` variable
function test.broker(script, overrides, options)
  options = check_options(options, 2)
  expect_script("test.broker", script, overrides)
  local function load() return check_script(script, overrides, options) end
  local checked, message = load()
  if not checked then error(message, 0) end
  local self = setmetatable({ live = {}, version = "5", fakes = fakes.new(), options = options }, Broker)
  local started, failure = core.new(checked, load, function(made)
    self.core = made
    fakes.enter(made:identity(), self.fakes)
    if options.capture then self:capture() end
    for name, fake in pairs(options.fakes or {}) do self:fake(name, fake) end
  end, options.real_time)
  if not started then error(failure, 0) end
  return self
end

-- The broker ---------------------------------------------------------------------------------

Broker.__close = function(self) self:stop() end

--- Another script comes into force, as at a reload. Unlike there it runs in the same Lua state; `client.ref`
--- and what `save` returns are copied all the same. `luamq.reload()` in a hook takes the broker's first
--- script again.
---@param script string|table  as of test.broker
---@param overrides table?
---@return true?
---@return string? message  why everything stays as it is
function Broker:reload(script, overrides)
  expect_script("reload", script, overrides)
  local checked, message = check_script(script, overrides, self.options)
  if not checked then return nil, message end
  return self.core:replace(checked)
end

local function open(self, remote_address, facts)
  local client = clients.new(self, self.core:open(remote_address, facts))
  self.live[client] = true
  return client
end

--- A new connection that has sent nothing yet, for `send_raw`, `raw` and `connect`.
---@param options luamq.test.ConnectionOptions|string|nil  a string is its remote_address
---@return luamq.test.Client
function Broker:open(options)
  if type(options) == "string" then options = { remote_address = options } end
  if options ~= nil and type(options) ~= "table" then error("open expects a table of options", 2) end
  return open(self, connection.check(options or {}, 2))
end

--- Connects a client.
---@param options luamq.test.ConnectOptions?
---@return luamq.test.Client? client
---@return luamq.test.Answer? refusal  its reason is "no_answer" while a hook waits: see client:answer
---@return luamq.test.Client? waiting  the client that is not connected
function Broker:connect(options)
  if options ~= nil and type(options) ~= "table" then error("connect expects a table of options", 2) end
  local login = copy(options or {})
  local remote_address, facts = connection.check(connection.take(login), 2)
  login = check.connect(login, false, self.version, 2)
  local client = open(self, remote_address, facts)
  local answer = clients.connect(client, login)
  if answer.reason ~= "success" then return nil, answer, client end
  return client
end

--- Runs until nothing is left to do without time passing. Other calls do this by themselves.
function Broker:run() self.core:run() end

--- Runs a single turn of the loop.
---@return boolean happened
function Broker:turn() return self.core:turn() end

--- Moves the clock, from timer to timer, with all that each one causes. Clients send pings when they are due.
---@param seconds number
function Broker:advance(seconds)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds <= 1e10) then
    error("advance expects a number of seconds", 2)
  end
  self.core:advance(seconds)
end

--- How the broker decides about a client of its own, which is connected for it: every hook, rule and setting
--- that was asked. See luamq.explain.
---@param request luamq.explain.Request
---@return luamq.Explanation
function Broker:explain(request)
  local explanation = explain.on(self, request, 2) -- no tail call: a misuse is told where this was called
  return explanation
end

--- Seconds since the broker was started.
---@return number
function Broker:now() return self.core:now() end

--- All counters and gauges by name.
---@return table<string, integer>
function Broker:stats() return self.core:stats() end

--- What a hook has called `os.exit` with, as the status of a process: then the broker stops in order.
---@return integer?
function Broker:exit_status() return self.core:exit_status() end

--- Sets the memory that the process seems to use from now on, for `limits.memory_limit`.
---@param bytes integer
function Broker:use_memory(bytes)
  if math.type(bytes) ~= "integer" or bytes < 0 then error("use_memory expects a number of bytes", 2) end
  self.core:use_memory(bytes)
end

--- Puts an answer in the place of a network, for the hooks of this broker: `luamq.http`, `luamq.dns`,
--- `luamq.redis` and `luamq.postgres` ask it. Another one of the same name replaces it, nil takes it away.
---
---     broker:fake("http", function(request) return { status = 200, json = { tenant = "a" } } end)
---     broker:fake("http", { ["POST /auth"] = { status = 403 }, ["/slow/*"] = { delay = 0.2, body = "" } })
---     broker:fake("redis", { ["user:alice"] = { password = "x" } })         -- a store
---     broker:fake("redis", function(command, ...) return nil, "ERR no", "ERR" end)
---     broker:fake("postgres", { ["select 1"] = { { one = 1 } } })           -- or function(sql, parameters)
---     broker:fake("dns", { ["db.example"] = { "192.0.2.1" } })
---
--- A fake fails as the network would: it answers nil, a message and a code. An answer that takes its time
--- has a `delay`, or its function calls luamq.sleep: `broker:advance` lets that time pass.
---@param name "http"|"dns"|"redis"|"postgres"
---@param fake function|table|nil
---@param options luamq.test.FakeOptions?
function Broker:fake(name, fake, options)
  local function now() return self:now() end
  test_fakes.check_name(name, 2)
  local read = fake ~= nil and test_fakes.read(name, fake, options, now, 2) or nil
  self.fakes:install(name, read)
end

--- What was asked of a fake, in order: the request of http as a table, the command of redis as a list, the
--- statement and the parameters of postgres, the arguments of dns.
---@param name "http"|"dns"|"redis"|"postgres"
---@return table[]
function Broker:asked(name)
  test_fakes.check_name(name, 2)
  return self.fakes:asked(name)
end

--- Starts to record log events, and what the log writes, which is not written to standard error then.
---@param on boolean?  default true
function Broker:capture(on)
  self.core:capture(on ~= false)
  self.captured = self.captured or { events = {}, lines = {}, events_told = 0, lines_told = 0 }
end

--- A record is a line, and the lines below it that are indented.
local function append_records(records, text)
  for line in text:gmatch "[^\n]+" do
    if line:find "^ " and #records > 0 then
      records[#records] = records[#records] .. "\n" .. line
    else
      records[#records + 1] = line
    end
  end
end

--- All that was recorded: lines and events of the log, also those that `lines` and `events` have answered.
---@return string[]? lines  nil: nothing is recorded
---@return luamq.test.Event[]? events
function Broker:history()
  local all = self.captured
  if not all then return nil end
  append_records(all.lines, self.core:lines())
  for _, event in ipairs(self.core:events()) do all.events[#all.events + 1] = event end
  return all.lines, all.events
end

--- What was recorded since the last call.
local function since_last(self, name)
  if not self:history() then return {} end
  local all, told = self.captured[name], self.captured[name .. "_told"]
  self.captured[name .. "_told"] = #all
  return table.move(all, told + 1, #all, 1, {})
end

--- The log events that were recorded since the last call.
---@return luamq.test.Event[]
function Broker:events() return since_last(self, "events") end

--- What the log has written since the last call while it was recorded: a string a record, as written,
--- with its time and, after an error, its traceback.
---@return string[]
function Broker:lines() return since_last(self, "lines") end

--- Calls a function of the module `luamq` for this broker. A misuse is raised where this was called.
local function of_luamq(name)
  return function(self, ...)
    local core_broker = self.core
    local result = table.pack(pcall(core_broker.call, core_broker, require "luamq"[name], ...))
    if not result[1] then
      local problem = result[2]
      error(problem, type(problem) == "string" and not problem:find "^[^\n]-:%d+: " and 2 or 0)
    end
    core_broker:run()
    return table.unpack(result, 2, result.n)
  end
end

--- `luamq.publish` for this broker.
---@type fun(self: luamq.test.Broker, topic: string, payload: string, options: table?): boolean?, string?
Broker.publish = of_luamq "publish"
--- `luamq.client` for this broker.
---@type fun(self: luamq.test.Broker, id: string): table?
Broker.client = of_luamq "client"
--- `luamq.clients` for this broker.
---@type fun(self: luamq.test.Broker): any
Broker.clients = of_luamq "clients"
--- `luamq.session` for this broker.
---@type fun(self: luamq.test.Broker, id: string): table?
Broker.session = of_luamq "session"
--- `luamq.create_session` for this broker.
---@type fun(self: luamq.test.Broker, id: string, expiry: integer?): table?
Broker.create_session = of_luamq "create_session"
--- `luamq.retained` for this broker.
---@type fun(self: luamq.test.Broker, filter: string): any
Broker.retained = of_luamq "retained"

--- Calls `fn(...)` with this broker as the one that the functions of `luamq` mean, and runs the broker.
---@param fn function
---@param ... any
---@return any ...
function Broker:call(fn, ...)
  if type(fn) ~= "function" then error("call expects a function", 2) end
  local result = table.pack(self.core:call(fn, ...))
  self.core:run()
  return table.unpack(result, 1, result.n)
end

--- Closes all clients in order and ends. Tells whether all had closed without time passing: one that does
--- not read its last bytes has not. nil, and no effect, when it has ended.
---@return boolean? in_time
function Broker:stop()
  local in_time = self.core:stop()
  self.live = {}
  fakes.enter(self.core:identity(), nil)
  return in_time
end

-- Where busted is, it learns what to expect.
if package.loaded["luassert"] then require "luamq.assertions" end

-- Hooks that are called by hand --------------------------------------------------------------

local by_hand = fakes.new()
fakes.enter(false, by_hand)

local Handle = {}
Handle.__index = Handle
Handle.__name = "luamq.test.fake"
function Handle.__close(self) by_hand:install(self.name, nil) end

--- What was asked of it, as of `broker:asked`.
---@return table[]
function Handle:asked() return by_hand:asked(self.name) end

--- A fake for hooks that a test calls by hand, with tables in the place of objects. It answers at once.
---
---     local fake <close> = test.fake("http", { ["POST /auth"] = { status = 200 } })
---     assert.is_true(policy.hooks.authenticate({ id = "a" }, "alice", "secret"))
---     assert.equal("alice", fake:asked()[1].json.user)
---@param name "http"|"dns"|"redis"|"postgres"
---@param fake function|table
---@return any handle  it is there until this goes out of scope as a `<close>` variable
function test.fake(name, fake)
  local read = test_fakes.read(name, fake, nil, function() return 0 end, 2)
  by_hand:forget(name)
  by_hand:install(name, read)
  return setmetatable({ name = name }, Handle)
end

return test
