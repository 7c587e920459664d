--- The module `luamq`: what a script can do with the broker that runs it.
---
--- Functions work on the broker whose hook is running, else on the one that was started last. They raise
--- `no broker is running` where there is none, as when a script is loaded, unless it says below that they
--- work without a broker. A misuse raises; what fails at run time returns nil, a message and sometimes a code.
---
---     local luamq = require "luamq"
---     luamq.every(60, function() luamq.publish("clock", os.date("!%H:%M"), { retain = true }) end)

local core = require "luamq.core"
local password = require "luamq.password"
local scope = require "luamq.scope"
local sync = require "luamq.sync"
local broker = core.broker

---@class luamq
---@field dns luamq.dns  the module of this name, loaded at its first use
---@field http luamq.http  likewise
---@field jwt luamq.jwt  likewise
local luamq = {}

-- Topics and messages ------------------------------------------------------------------------

--- Whether a topic filter covers a topic. Given a filter as the topic, whether it covers all that this
--- one matches: `t/+` does not cover `t/#`. What is not valid matches nothing. Works without a broker.
---@type fun(filter: string, topic: string): boolean
luamq.match = broker.match

--- Publishes a message from the broker itself. It is retained and routed at once, passes the hook
--- `dequeue` but not `publish`, and never waits for room. May be called in hooks.
--- Returns nil, a message and "topic_name_invalid" for a topic that cannot be published to.
---@type fun(topic: string, payload: string?, options: luamq.PublishOptions?): done: true?, message: string?, code: string?
luamq.publish = broker.publish

--- The retained messages whose topics match a filter, in no particular order, as a list of plain tables
--- with the fields of a message. Raises when the filter is not valid.
---@type fun(filter: string): luamq.Message[]
luamq.retained = broker.retained

--- A hook that is asked about some topics only: C looks first, and enters Lua for nothing else.
---
---     hooks.publish = luamq.on_topics({ "cmd/#" }, function(client, message)
---       return client.ref.is_operator
---     end)
---
--- For `publish`, `dequeue`, `subscribe` and `unsubscribe`; the last two are about a filter when there may be
--- a topic that both match. Elsewhere it is as if this hook were not there: in a list of tables the others
--- are asked, and where none of them is about the topic either, the message or filter is allowed, or denied
--- when one has the option `otherwise = false`. Can be called like `fn`. Raises for what is no filter.
---@type fun(filters: string|string[], fn: function, options: luamq.ScopeOptions?): luamq.Scope
luamq.on_topics = scope.new

-- Clients and sessions -----------------------------------------------------------------------

--- All clients that are connected and have a session, as a list in no particular order.
---@type fun(): luamq.Client[]
luamq.clients = broker.clients

--- The connected client of this id, or nil.
---@type fun(id: string): luamq.Client?
luamq.client = broker.client

--- The session of this client id; nil and `missing session` when there is none.
---@type fun(id: string): session: luamq.Session?, message: string?
luamq.session = broker.session

--- Makes a stored session that nobody is connected to, such as one from a database; in `setup` its client
--- resumes it then. It is kept so many seconds from now on, 1 to 4294967295, which is for ever and the default,
--- and at most `backend.max_session_expiry`. nil and a text when there is one of this id, or too many are
--- stored.
---@type fun(id: string, expiry: integer?): session: luamq.Session?, message: string?
luamq.create_session = broker.create_session

-- Cryptography -------------------------------------------------------------------------------

--- Primitives of OpenSSL, for logins and signatures. Works without a broker.
---@type luamq.Crypto
luamq.crypto = broker.crypto

-- Passwords ----------------------------------------------------------------------------------

--- Hashes of passwords.
---@type luamq.Password
luamq.password = {
  hash = password.hash,
  verify = password.verify,
}

--- The users of a file, for `credentials`. It has a line `name:hash` for each, as `luamq passwd` writes it;
--- the path is relative to the script. The file is looked at once a second, and read again when it has
--- changed: whoever is no longer in it stays connected, and does not get in again.
---@type fun(path: string): luamq.PasswordFile
luamq.password_file = password.file

-- Records ------------------------------------------------------------------------------------

local record_settings <const> = {
  bytes = "record_bytes", payload = "record_payload", clients = "record_clients",
}

--- Writes what clients ask for and what is answered to a file, which `luamq replay` tries on another script.
--- Passwords are never in it; payloads are, and nobody but the broker's user may read the file. Nothing waits
--- for the disk: what it cannot take is dropped and counted. With nil the record ends, and the number of its
--- lines is returned.
---@param path string?
---@param options luamq.RecordOptions?
---@return boolean|integer|nil done
---@return string? message
function luamq.record(path, options)
  if path ~= nil and type(path) ~= "string" then error("record expects the path of a file, or nil", 2) end
  if options ~= nil and type(options) ~= "table" then error("record expects a table of options", 2) end
  local values, settings = require "luamq.values", require "luamq.settings".index.script
  local given = {}
  for name, value in pairs(options or {}) do
    local setting, problem = record_settings[name], nil
    if setting then
      given[name], problem = values.read(settings[setting], value)
    elseif name ~= "append" then
      problem = "unknown option"
    end
    if problem then error(("record: %s: %s"):format(tostring(name), problem), 2) end
  end
  local append = options and options.append or false
  return broker.record(path, given.bytes, given.payload, given.clients, append)
end

-- The broker ---------------------------------------------------------------------------------

--- All counters and gauges by name, such as `messages_published` and `connections`: a new table.
---@type fun(): luamq.Stats
luamq.stats = broker.stats

--- The time in seconds since 1970, by the broker's clock: in luamq.test it begins at 2026-01-01, and moves
--- only when the test moves it. Works without a broker.
---@type fun(): number
luamq.now = broker.now

--- Stops the broker in order: it accepts nobody any more, and clients have `timeout` seconds (0 to 3600,
--- default `engine.close_timeout`) to be sent what is on its way. Returns at once.
---@type fun(timeout: number?)
luamq.stop = broker.stop

--- Loads the script again, as SIGHUP does, and waits for the outcome: nil and why where everything stays as it
--- is. Whoever called goes on in the old
--- script, which ends with the last of its hooks; a timer and a coroutine of luamq.spawn end with success.
---@type async fun(): done: true?, message: string?
luamq.reload = broker.reload

--- Calls `fn` once, in `seconds` (0 to 1e9). An error in it is logged. Ends with the broker.
---@type fun(seconds: number, fn: fun()): luamq.Timer
luamq.after = broker.after

--- Calls `fn` every `seconds` (0.001 to 1e9). Turns that were missed are left out.
---@type fun(seconds: number, fn: fun()): luamq.Timer
luamq.every = broker.every

-- Metrics and values -------------------------------------------------------------------------

--- A metric of the script that only rises, with up to 8 labels: each combination of their values is a series.
--- It goes on after a reload; one of the same name with other labels, other buckets or of another kind takes its
--- place and begins anew. Beyond `script.max_series` samples go to the series `(other)`. Raises for what is no
--- name; `options` may be the help text. Works without a broker.
---
---     local denied = luamq.counter("acl_denied_total", { "operation" }, "publishes that were denied")
---     denied:inc("publish")
---@type fun(name: string, labels: string[]?, options: string|luamq.MetricOptions|nil): luamq.Counter
luamq.counter = broker.metrics.counter

--- A metric that goes up and down; otherwise as luamq.counter.
---@type fun(name: string, labels: string[]?, options: string|luamq.MetricOptions|nil): luamq.Gauge
luamq.gauge = broker.metrics.gauge

--- A metric that counts samples in buckets; otherwise as luamq.counter.
---@type fun(name: string, labels: string[]?, options: string|luamq.MetricOptions|nil): luamq.Histogram
luamq.histogram = broker.metrics.histogram

--- All metrics of scripts by name, as a new table. Works without a broker.
---@type fun(): table<string, luamq.Metric>
luamq.metrics = broker.metrics.all

--- Values by name that a reload leaves as they are: plain data (booleans, numbers, strings, tables of these),
--- stored as a copy and read as a copy: `luamq.shared.list = list` to change one. `pairs` goes over all.
--- Raises for what is no plain data, and for more than `script.shared_bytes` in all.
---@type table<string, any>
luamq.shared = broker.shared

-- Waiting ------------------------------------------------------------------------------------

--- Suspends the hook, timer or coroutine that calls it, for 0 to 1e9 seconds; everybody else goes on. While a hook of a client
--- waits, its packets wait in order and its socket is not read. Raises where it cannot: in `log`, `error`,
--- `psk` and `full_queue`, in coroutines of the script's own, and below C functions such as `table.sort`.
--- When the client goes, its hooks that wait are cancelled (but not `publish`): their variables that are to
--- be closed are closed, and the call never returns. `script.hook_timeout` bounds the time that one waits.
---@type async fun(seconds: number)
luamq.sleep = broker.sleep

--- Runs `fn` in a coroutine of its own, until it waits for the first time; then the call returns, and the
--- coroutine goes on by itself. An error in it is logged. It ends with the broker. Returns nil, a message and
--- "quota_exceeded" beyond `script.max_spawned`.
---@param fn function
---@param ... any  its arguments
---@return luamq.Task? task
---@return string? message
---@return string? code
function luamq.spawn(fn, ...)
  if type(fn) ~= "function" then error("luamq.spawn expects a function", 2) end
  if select("#", ...) == 0 then return broker.spawn(fn) end
  local arguments = table.pack(...)
  return broker.spawn(function() return fn(table.unpack(arguments, 1, arguments.n)) end)
end

--- What at most so many coroutines have at once.
---@type fun(slots: integer): luamq.Semaphore
luamq.semaphore = sync.semaphore

--- Values from one coroutine to another, in order.
---@type fun(capacity: integer?): luamq.Channel
luamq.channel = sync.channel

--- Lines in the broker's log. Works without a broker.
---@type luamq.Log
luamq.log = broker.log

--- The version of luamq.
---@type string
luamq.version = core.version

-- Modules with libraries that only some scripts need: loaded when they are used.
local modules = { dns = true, http = true, jwt = true }

setmetatable(luamq, {
  __index = function(_, name)
    if modules[name] then return require("luamq." .. name) end
  end,
})

return luamq
