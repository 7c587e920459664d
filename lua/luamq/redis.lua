--- Redis from hooks. A call suspends the hook until the reply is there; the broker goes on.
---
---     local redis = require "luamq.redis"
---     local db = redis.new { host = "127.0.0.1", timeout = 0.5 }
---
---     function hooks.authenticate(client, username, password)
---       local hash, err = db:hget("user:" .. username, "password")
---       if err then return false, "server_unavailable" end
---       ...
---
--- All hooks share one connection, on which commands follow each other without waiting for replies. It is
--- opened by the first command, and again by the next one after it was lost; a server that is away for less
--- than `timeout` is only slow. A command that was sent is never sent again: with the code "connection" or
--- "timeout" it may have been executed or not.
---
--- **Replies.** Strings and numbers as they are; a nil reply is `nil` alone, an error `nil, message, code`;
--- so ask for the message: `local value, err = db:get(key); if err then ...`. In lists a nil reply is
--- `false`, and an error a table with a field `error`.
---
--- **Codes.** That of the server, such as "WRONGTYPE" or "NOAUTH"; "timeout"; "connection" (there is none,
--- or it was lost); "busy" (`max_pending` are under way); "limit" (larger than `max_reply`); "closed".

local database = require "luamq.database"
local methods = require "luamq.methods"
local core = require "luamq.core.redis" -- which calls functions of luamq.core
local fakes = require "luamq.fakes"
local luamq = require "luamq"

---@class luamq.redis
local redis = {}

---@class luamq.redis.Options
---@field host string?             default "127.0.0.1"
---@field port integer?            default 6379
---@field unix string?             path of a unix socket, instead of both
---@field username string?         of Redis 6 and later
---@field password string?
---@field database integer?        number of the database, default 0
---@field timeout number?          seconds that a call may take, default 1
---@field connect_timeout number?  seconds until a connection takes commands, default 1
---@field max_pending integer?     calls under way at once, default 1000
---@field max_reply integer|string?  bytes of the replies to a call, default "1M"

---@type table<string, luamq.DatabaseOption>
local options = {
  host = { type = "text" },
  port = { type = "integer", minimum = 1, maximum = 65535, default = 6379 },
  unix = { type = "path" },
  username = { type = "lines" },
  password = { type = "lines", secret = true },
  database = { type = "integer", minimum = 0, maximum = 65535, default = 0 },
  timeout = { type = "seconds", minimum = 0.001, maximum = 3600, default = 1 },
  connect_timeout = { type = "seconds", minimum = 0.001, maximum = 3600, default = 1 },
  max_pending = { type = "integer", minimum = 1, maximum = 1000000, default = 1000 },
  max_reply = { type = "size", minimum = 1024, maximum = 256 << 20, default = "1M" },
}

local shared <const> = "is not for a connection that all hooks share"
local refused = {
  SUBSCRIBE = "is what db:subscribe is for", PSUBSCRIBE = "is what db:psubscribe is for",
}
for name in ([[SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR SELECT AUTH HELLO RESET QUIT SYNC
  PSYNC WATCH BLPOP BRPOP BRPOPLPUSH BLMOVE BLMPOP BZPOPMIN BZPOPMAX BZMPOP WAIT WAITAOF]]):gmatch "%u+" do
  refused[name] = refused[name] or shared
end
local only_together = { MULTI = true, EXEC = true, DISCARD = true }
local blocking_reads = { XREAD = true, XREADGROUP = true }

---Any name that is not a method below is a command: `db:hget(key, field)`.
---@class luamq.redis.Database
---@field [string] async fun(self: luamq.redis.Database, ...: string|number): reply: any, message: string?, code: string?
---@field private link any
---@field private feed fun(command: string[]): any
---@field private health luamq.DatabaseHealth
local Database = {}

local function fail(level, ...) error((...):format(select(2, ...)), level + 1) end

local function text_of(value, i, level)
  local kind = type(value)
  if kind == "string" then return value end
  if math.type(value) == "float" then return ("%.17g"):format(value) end
  if kind == "number" then return tostring(value) end
  fail(level + 1, "redis: argument %d must be a string or a number, got %s", i, kind)
end

local function check_name(command, together, level)
  local name = command[1]:upper()
  local problem = refused[name]
  if only_together[name] and not together then problem = "is for db:pipeline: hooks share the connection" end
  for i = 2, blocking_reads[name] and #command or 1 do
    if command[i]:upper() == "BLOCK" then problem = "with BLOCK would hold up all hooks" end
    if command[i]:upper() == "STREAMS" then break end
  end
  if problem then fail(level + 1, "redis: %s %s", name, problem) end
  return name
end

--- A list of strings from what a user gave: a name and arguments.
local function command_of(together, level, count, ...)
  if count == 0 then fail(level + 1, "redis: a command must have a name") end
  local command = {}
  for i = 1, count do command[i] = text_of((select(i, ...)), i, level + 1) end
  return command, check_name(command, together, level + 1)
end

local function run(self, command)
  local fake = fakes.find "redis"
  if fake then return fake(command) end
  return database.noticed(self, "redis", self.link:command(command))
end

--- Sends a command and waits for its reply.
---@param name string  "HGET"
---@param ... string|number
---@return any reply
---@return string? message
---@return string? code
---@async
function Database:command(name, ...)
  return run(self, (command_of(false, 2, select("#", ...) + 1, name, ...)))
end

local Pipeline = {}
Pipeline.__index = function(_, name)
  return function(self, ...)
    self[#self + 1] = table.pack(name, ...)
    return self
  end
end

--- MULTI has to be followed by its EXEC or DISCARD, so that nobody else's commands come between.
local function check_pairs(names, level)
  local inside = false
  for _, name in ipairs(names) do
    if name == "MULTI" and inside then fail(level + 1, "redis: MULTI inside of MULTI") end
    if (name == "EXEC" or name == "DISCARD") and not inside then
      fail(level + 1, "redis: %s without MULTI", name)
    end
    if only_together[name] then inside = name == "MULTI" end
  end
  if inside then fail(level + 1, "redis: MULTI without EXEC") end
end

local function answer_by(fake, commands)
  local replies = {}
  for i, command in ipairs(commands) do
    local reply, message = fake(command)
    if message ~= nil then reply = { error = message } end
    replies[i] = reply or false
  end
  return replies
end

--- Sends commands together, and waits for all of their replies. Commands between MULTI and EXEC are
--- executed as one.
---
---     local replies, err = db:pipeline { { "INCR", key }, { "EXPIRE", key, 60 } }
---     local replies, err = db:pipeline(function(p) p:incr(key):expire(key, 60) end)
---
---@param commands (string|number)[][]|fun(pipeline: any)
---@return any[]? replies  one for each command
---@return string? message
---@return string? code
---@async
function Database:pipeline(commands)
  if type(commands) == "function" then
    local list = setmetatable({}, Pipeline)
    commands(list)
    commands = list
  end
  if type(commands) ~= "table" then error("redis: pipeline wants a list of commands or a function", 2) end
  local list, names = {}, {}
  for i = 1, rawlen(commands) do
    local command = rawget(commands, i)
    if type(command) ~= "table" then error("redis: each command of a pipeline must be a list", 2) end
    local count = command.n or #command
    list[i], names[i] = command_of(true, 2, count, table.unpack(command, 1, count))
  end
  check_pairs(names, 2)
  if #list == 0 then return {} end
  local fake = fakes.find "redis"
  if fake then return answer_by(fake, list) end
  return database.noticed(self, "redis", self.link:pipeline(list))
end

---@class luamq.redis.Subscription
---@field private feed any
local Subscription = {}
Subscription.__index = Subscription

--- Ends it, and its connection.
function Subscription:close()
  if self.feed then self.feed:close() end
end

--- Messages that there was no room for: `max_pending` of them wait for the function.
---@return integer
function Subscription:dropped() return self.feed and self.feed:dropped() or 0 end

local function serve(feed, fn)
  local function next_message(payload, ...)
    if payload == nil then return false end
    local fine, message = xpcall(fn, debug.traceback, payload, ...)
    if not fine then
      luamq.log.error("redis: the function of a subscription failed", { err = tostring(message) })
    end
    return true
  end
  while next_message(feed:receive()) do end
end

local function subscribe(self, name, channels, fn, level)
  level = level + 1
  if type(channels) == "string" then channels = { channels } end
  if type(channels) ~= "table" or #channels == 0 then
    error("redis: expected a channel or a list of them", level)
  end
  if type(fn) ~= "function" then error("redis: expected a function, got " .. type(fn), level) end
  local command = { name }
  for i, channel in ipairs(channels) do command[i + 1] = text_of(channel, i, level) end
  local fake = fakes.find "redis"
  if fake then
    fake(command)
    return setmetatable({}, Subscription)
  end
  local feed, message, code = self.feed(command)
  if not feed then return nil, message, code end
  local task
  task, message, code = luamq.spawn(serve, feed, fn)
  if task then return setmetatable({ feed = feed }, Subscription) end
  feed:close()
  return nil, message, code
end

--- Calls `fn(payload, channel)` for each message that is published on channels, one after the other, in a
--- coroutine of its own, where it may wait. For this there is another connection, which is opened again
--- whenever it is lost; what is published meanwhile is not received. Needs a broker that runs: call it in
--- `hooks.start`.
---@param channels string|string[]
---@param fn fun(payload: string, channel: string)
---@return luamq.redis.Subscription? subscription
---@return string? message
---@return string? code
function Database:subscribe(channels, fn)
  return subscribe(self, "SUBSCRIBE", channels, fn, 1) -- a tail call
end

--- As `subscribe`, for patterns such as "news.*": `fn(payload, channel, pattern)`.
---@param patterns string|string[]
---@param fn fun(payload: string, channel: string, pattern: string)
---@return luamq.redis.Subscription? subscription
---@return string? message
---@return string? code
function Database:psubscribe(patterns, fn)
  return subscribe(self, "PSUBSCRIBE", patterns, fn, 1) -- a tail call
end

--- What happened so far, as a table of numbers: commands, replies, timeouts, refused, connections, failures,
--- pending.
---@return table<string, integer>
function Database:stats() return self.link:stats() end

--- Ends the connection; calls that are under way fail with the code "closed".
function Database:close() self.link:close() end

--- Any other name is a command: `db:hget(key, field)`.
local metatable = {}
methods.guard(Database, "a database of redis", metatable)
methods.guard(Subscription, "a subscription of redis")

function metatable.__index(_, name)
  local method = Database[name]
  if method or type(name) ~= "string" then return method end
  return function(self, ...) return Database.command(self, name, ...) end -- a tail call
end

--- A database, without connecting to it: this may be called while the script is loaded. Raises for options
--- that are not right.
---@param given luamq.redis.Options?
---@return luamq.redis.Database
function redis.new(given)
  if given ~= nil and type(given) ~= "table" then error("redis.new: expected a table of options", 2) end
  local checked = database.options("redis.new", options, given or {}, 2)
  if checked.unix and (checked.host or given.port) then error("redis.new: unix excludes host and port", 2) end
  if checked.username and not checked.password then error("redis.new: a username needs a password", 2) end
  if not checked.unix then checked.host = checked.host or "127.0.0.1" end
  local function feed(command) return core.feed(checked, command) end
  return setmetatable({ link = core.new(checked), feed = feed, health = database.health() }, metatable)
end

return redis
