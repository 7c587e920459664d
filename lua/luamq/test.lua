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
local config = require "luamq.config"
local core = require "luamq.core".test
local reason_name = require "luamq.core".client.reason_name
local source = require "luamq.source"
local url = require "luamq.url"

local test = {}

---@class luamq.test.Answer  what the broker decided, in every version of MQTT
---@field reason string   "success", or the name of the reason for a refusal: "not_authorized", ...
---@field error string?   what failed, when it was not decided: a hook that raised, ...
---@field code integer?   what SUBACK, CONNACK and in MQTT 5 UNSUBACK say
---@field codes integer[]?  of a list of filters
---@field qos integer?    that was granted
---@field reason_string string?       MQTT 5: what the broker says for people
---@field user_properties string[][]?  MQTT 5

---@class luamq.test.Event
---@field event string   "packet received", ...
---@field client string  the client's id; "" before its CONNECT
---@field text string?   the text form of the message or packet
---@field error string?

---@class luamq.test.ConnectOptions: luamq.client.ConnectOptions
---@field version string|integer|nil  default "5"; host, tls and what else says where to connect is not here
---@field remote_address string?  what `client.remote_address` is, such as "192.0.2.1:5000"; default "memory"

---@class luamq.test.Broker
---@field version string  what clients speak that are not told; default "5"
---@field private core userdata
---@field private live table<luamq.test.Client, boolean>
local Broker = {}
Broker.__index = Broker
Broker.__name = "luamq.test.broker"

---@class luamq.test.Client
---@field id string                as it was sent, or as the broker has assigned it
---@field connack luamq.client.Answer?   its CONNACK of MQTT 5, with all properties
---@field disconnected luamq.client.Answer?  the broker's DISCONNECT of MQTT 5
---@field session_present boolean
---@field closed boolean           the connection has ended
---@field close_reason string?     why: "not authorized", "client disconnected", ...
---@field private core userdata
---@field private broker luamq.test.Broker
local Client = {}
Client.__name = "luamq.test.client"

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

--- The value that a script returns, its path and its text; or nil and a message.
local function load_script(path)
  local text, problem = source.read(path)
  if not text then return nil, problem end
  local loaded, value = source.run(text, path)
  if not loaded then return nil, value end
  return { value = value, path = path, text = text }
end

--- The checked table of a script, as the broker of a test takes it; or nil and a message.
local function check_script(script, overrides)
  local loaded, problem
  if type(script) == "string" then
    loaded, problem = load_script(script)
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

--- Starts a broker. Raises with the message of the check when the script is not right.
---@param script string|table  the path of a script, or the table that one returns; it needs no listeners
---@param overrides table?     merged into the script's table: hooks by name, sections by setting
---@return luamq.test.Broker broker  stopped when it goes out of scope as a `<close>` variable
function test.broker(script, overrides)
  expect_script("test.broker", script, overrides)
  local function load() return check_script(script, overrides) end
  local checked, message = load()
  if not checked then error(message, 0) end
  local broker, failure = core.new(checked, load)
  if not broker then error(failure, 0) end
  return setmetatable({ core = broker, live = {}, version = "5" }, Broker)
end

-- The broker ---------------------------------------------------------------------------------

Broker.__close = function(self) self:stop() end

--- Another script comes into force, as at a reload. Unlike there it runs in the same Lua state; `client.ref`
--- and what `save` returns are copied all the same. `luamq.reload()` in a hook takes the broker's first script
--- again.
---@param script string|table  as of test.broker
---@param overrides table?
---@return true?
---@return string? message  why everything stays as it is
function Broker:reload(script, overrides)
  expect_script("reload", script, overrides)
  local checked, message = check_script(script, overrides)
  if not checked then return nil, message end
  return self.core:replace(checked)
end

--- Raises when it is no address with a port.
local function check_remote_address(text, level)
  local parts = type(text) == "string" and url.read("tcp://" .. text)
  if not parts or not url.is_address(parts.host) or not text:find(":%d+$") then
    error('connect: remote_address is an IP address with a port, such as "192.0.2.1:5000"', level + 1)
  end
end

--- A new connection that has sent nothing yet, for `send_raw`, `raw` and `connect`.
---@param remote_address string?  what hooks see as `client.remote_address`; default "memory"
---@return luamq.test.Client
function Broker:open(remote_address)
  if remote_address ~= nil then check_remote_address(remote_address, 2) end
  local client = setmetatable({
    core = self.core:open(remote_address), broker = self, id = "", session_present = false,
  }, Client)
  self.live[client] = true
  return client
end

local connect

--- Connects a client.
---@param options luamq.test.ConnectOptions?
---@return luamq.test.Client? client
---@return luamq.test.Answer? refusal
function Broker:connect(options)
  if options ~= nil and type(options) ~= "table" then error("connect expects a table of options", 2) end
  local login = copy(options or {})
  login.remote_address = nil
  login = check.connect(login, false, self.version, 2)
  if options and options.remote_address ~= nil then check_remote_address(options.remote_address, 2) end
  local client = self:open(options and options.remote_address)
  local answer = connect(client, login)
  if answer.reason ~= "success" then return nil, answer end
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
  if type(seconds) ~= "number" then error("advance expects a number of seconds", 2) end
  self.core:advance(seconds)
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

--- Starts to record log events, and what the log writes, which is not written to standard error then.
---@param on boolean?  default true
function Broker:capture(on) self.core:capture(on ~= false) end

--- The log events that were recorded since the last call.
---@return luamq.test.Event[]
function Broker:events() return self.core:events() end

--- What the log has written since the last call while it was recorded: a string a record, as written,
--- with its time and, after an error, its traceback.
---@return string[]
function Broker:lines()
  local records = {}
  for line in self.core:lines():gmatch "[^\n]+" do
    if line:find "^ " then
      records[#records] = records[#records] .. "\n" .. line
    else
      records[#records + 1] = line
    end
  end
  return records
end

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
--- `luamq.retained` for this broker.
---@type fun(self: luamq.test.Broker, filter: string): any
Broker.retained = of_luamq "retained"

--- Calls `fn(...)` with this broker as the one that the functions of `luamq` mean, and runs the broker.
---@param fn function
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
  return in_time
end

-- Clients ------------------------------------------------------------------------------------

function Client.__index(self, key)
  if key == "closed" then
    return (rawget(self, "core"):closed())
  elseif key == "close_reason" then
    return select(2, rawget(self, "core"):closed())
  elseif key == "disconnected" then
    return rawget(self, "core"):farewell()
  end
  return Client[key]
end

function Client.__tostring(self) return ("luamq.test.client: %s"):format(self.id) end

--- What the 3.1.1 return codes of CONNACK stand for.
local connack_reasons = {
  [0] = "success", "unsupported_protocol_version", "client_identifier_not_valid", "server_unavailable",
  "bad_user_name_or_password", "not_authorized",
}

--- What the broker decided, with what its packet said; `done`: it came to its end.
---@return luamq.test.Answer? answer
---@return string? problem
local function answer_of(self, done, said)
  local reason, failure = self.core:decision()
  if not reason and not done then return nil, self.closed and "connection closed" or "no answer" end
  said = said or {}
  local told = said.code and said.code >= 0x80 and said.reason or "success"
  return {
    reason = reason or told, error = failure, code = said.code,
    reason_string = said.reason_string, user_properties = said.user_properties,
  }
end

local CONTINUE = 0x18

--- Answers AUTH packets until there is another answer.
local function converse(core_client, said, options)
  while said and said.code == CONTINUE do
    local data = options.authenticate and options.authenticate(said.authentication_data, said)
    if not data then return said end
    said = core_client:auth(CONTINUE,
      { authentication_method = options.authentication_method, authentication_data = data })
  end
  return said
end

--- `options` are checked and completed.
function connect(self, options)
  self.id, self.options = options.id or "", options
  local said = converse(self.core, self.core:connect(options), options)
  local answer = answer_of(self, said, said)
  if not answer then return { reason = "no_answer", error = self.close_reason or "no answer" } end
  self.session_present = said.session_present == true
  if options.version == 5 then
    self.id = said.assigned_client_identifier or self.id
    self.connack = said
  elseif not self.core:decision() then
    answer.reason = connack_reasons[said.code]
  end
  return answer
end

--- Sends CONNECT on a connection of `broker:open`.
---@param options luamq.test.ConnectOptions?
---@return luamq.test.Answer answer  without an answer of the broker its reason is "no_answer"
function Client:connect(options)
  return connect(self, check.connect(options or {}, false, self.broker.version, 2))
end

--- MQTT 5: authenticates once more, with the method of the connection.
---@param data string?
---@return luamq.test.Answer? answer  nil when the broker has closed
function Client:reauthenticate(data)
  local method = self.options and self.options.authentication_method
  if not method then error("the connection has no authentication_method", 2) end
  local said = self.core:auth(0x19, { authentication_method = method, authentication_data = data })
  return converse(self.core, said, self.options)
end

--- What a list of codes answers: for a single filter as `code`.
local function with_codes(answer, codes, filter)
  if not answer or not codes or not codes[1] then return answer end
  answer.code = nil
  if type(filter) == "table" then
    answer.codes = codes
  else
    answer.code = codes[1]
  end
  return answer
end

--- Refused filters make a refusal of what an ack of MQTT 5 says, which has no code of its own.
local function said_of(said, codes)
  if said then
    said.code = codes[1]
    for _, code in ipairs(codes) do said.code = math.max(said.code, code) end
    said.reason = reason_name(said.code)
  end
  return said
end

--- Subscribes. For a refused filter `reason` tells why; `code` is what SUBACK told.
---@param filter string|string[]
---@param options integer|luamq.client.SubscribeOptions|nil  a QoS; default 0
---@return luamq.test.Answer? answer
---@return string? problem  "no answer" or "connection closed"
function Client:subscribe(filter, options)
  local list = check.filters(filter, 2)
  local byte, fields = check.subscribe(options, self.core:version(), 2)
  local codes, said = self.core:subscribe(list, byte, fields)
  local answer, problem = answer_of(self, codes, said_of(said, codes))
  answer = with_codes(answer, codes, filter)
  if answer and answer.code and answer.code < 0x80 then answer.qos = answer.code end
  return answer, problem
end

--- Unsubscribes.
---@param filter string|string[]
---@param options { user_properties: string[][]? }?  of MQTT 5
---@return luamq.test.Answer? answer
---@return string? problem
function Client:unsubscribe(filter, options)
  local list = check.filters(filter, 2)
  local fields = check.unsubscribe(options, self.core:version(), 2)
  local codes, said = self.core:unsubscribe(list, fields)
  local answer, problem = answer_of(self, codes, said_of(said, codes))
  return with_codes(answer, codes, filter), problem
end

--- Publishes, and answers what the broker decided. A QoS 1 or 2 message that is not acknowledged by now
--- (the hook waits, the broker holds the publisher up) gives nil, "no answer"; one that the broker has said
--- not to take (in MQTT 5: its size, its QoS) is not sent, and gives nil and why.
---@param topic string
---@param payload string
---@param qos integer|luamq.client.PublishOptions|nil  default 0
---@param retain boolean?  default false
---@return luamq.test.Answer? answer
---@return string? problem
function Client:publish(topic, payload, qos, retain)
  local options = check.publish(topic, payload, qos, retain, self.core:version(), 2)
  local done, said = self.core:publish(topic, payload, options.qos or 0, options.retain or false, options)
  if done == false then return nil, said end
  local answer, problem = answer_of(self, done, said)
  if answer then answer.code = nil end
  return answer, problem
end

--- The next message, or nil when there is none now.
---@return luamq.client.Message?
function Client:receive() return self.core:receive() end

--- All messages that are there.
---@return luamq.client.Message[]
function Client:receive_all()
  local list = {}
  for message in function() return self:receive() end do list[#list + 1] = message end
  return list
end

--- Sends DISCONNECT and closes.
---@param options luamq.client.DisconnectOptions?
function Client:disconnect(options)
  self.core:disconnect(check.disconnect(options, self.core:version(), 2))
  self.broker.live[self] = nil
end

function Client.__close(self) self:disconnect() end

--- Resets the connection without DISCONNECT: the broker sends the will.
function Client:drop()
  self.core:drop()
  self.broker.live[self] = nil
end

--- Ends its own side of the connection; it still receives.
function Client:half_close() self.core:half_close() end

--- Sends bytes as they are.
---@param bytes string
---@return boolean? sent  nil when the connection has ended
function Client:send_raw(bytes)
  if type(bytes) ~= "string" then error("send_raw expects a string", 2) end
  return self.core:send_raw(bytes)
end

--- The bytes that were received since the last call (at most the first MiB of them).
---@return string
function Client:raw() return self.core:raw() end

--- Stops reading: the broker can write this many bytes before it is blocked. Without a number it reads again.
---@param bytes integer?
function Client:set_window(bytes)
  if bytes ~= nil and (math.type(bytes) ~= "integer" or bytes < 0) then
    error("set_window expects a number of bytes", 2)
  end
  self.core:set_window(bytes)
end

--- Sends no more pings, so that its keep alive passes.
---@param on boolean?  default true
function Client:silence(on) self.core:silence(on ~= false) end

return test
