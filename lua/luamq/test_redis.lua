--- A small Redis made of a table, for fakes: strings, hashes, sets and lists, and times to live in the time
--- of the broker. What it does not know it says.
---
---     local answer = store.new({ ["user:alice"] = { password = "x" }, admins = { "alice" } }, now)
---     answer("HGET", "user:alice", "password")     --> "x"
---
--- The table is what a test may look at afterwards: it is the store itself. A table with names is a hash, one
--- with numbers a list or, for the commands of sets, a set.

local store = {}

local wrong_type <const> = "WRONGTYPE Operation against a key holding the wrong kind of value"
local no_integer <const> = "ERR value is not an integer or out of range"

local function fail(message) return nil, message, message:match "^%u+" end

--- An error that a command raises, and `new` answers.
local function refuse(message) error({ message = message }, 0) end

local function text_at(self, key)
  local value = self.values[key]
  if type(value) == "table" then refuse(wrong_type) end
  return value ~= nil and tostring(value) or nil
end

--- The table at a key; a new one where it is to be changed and is not there.
local function table_at(self, key, change)
  local value = self.values[key]
  if value == nil then
    value = {}
    if change then self.values[key] = value end
  end
  if type(value) ~= "table" then refuse(wrong_type) end
  return value
end

local function drop_if_empty(self, key)
  if next(self.values[key] or { true }) == nil then self.values[key] = nil end
end

local function integer_of(text)
  return math.tointeger(tonumber(text)) or refuse(no_integer)
end

local function position_of(list, member)
  for i, value in ipairs(list) do
    if tostring(value) == member then return i end
  end
  return nil
end

--- Calls a function for each of the values, and adds up what it counts.
local function count(fn, ...)
  local sum = 0
  for i = 1, select("#", ...) do sum = sum + (fn((select(i, ...))) and 1 or 0) end
  return sum
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = tostring(key) end
  table.sort(keys)
  return keys
end

local commands = {}

function commands.PING(_, text) return text or "PONG" end

function commands.ECHO(_, text) return text end

function commands.GET(self, key) return text_at(self, key) end

function commands.MGET(self, ...)
  local list = {}
  for i = 1, select("#", ...) do
    local value = self.values[(select(i, ...))]
    list[i] = value ~= nil and type(value) ~= "table" and tostring(value)
  end
  return list
end

--- Reads EX, PX, NX and XX.
local function set_options(self, key, ...)
  local i, seconds = 1, nil
  while i <= select("#", ...) do
    local name = (select(i, ...)):upper()
    if name == "EX" or name == "PX" then
      seconds = integer_of((select(i + 1, ...))) / (name == "PX" and 1000 or 1)
      i = i + 1
    elseif name == "NX" and self.values[key] ~= nil or name == "XX" and self.values[key] == nil then
      return false
    elseif name ~= "NX" and name ~= "XX" then
      refuse "ERR syntax error"
    end
    i = i + 1
  end
  return true, seconds
end

function commands.SET(self, key, value, ...)
  local allowed, seconds = set_options(self, key, ...)
  if not allowed then return nil end
  self.values[key] = value
  self.ends[key] = seconds and self.now() + seconds
  return "OK"
end

function commands.SETEX(self, key, seconds, value) return commands.SET(self, key, value, "EX", seconds) end

function commands.SETNX(self, key, value) return commands.SET(self, key, value, "NX") and 1 or 0 end

function commands.DEL(self, ...)
  return count(function(key)
    local there = self.values[key] ~= nil
    self.values[key], self.ends[key] = nil, nil
    return there
  end, ...)
end

function commands.EXISTS(self, ...)
  return count(function(key) return self.values[key] ~= nil end, ...)
end

function commands.KEYS(self, pattern)
  local lua = "^" .. pattern:gsub("[%^%$%(%)%%%.%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".") .. "$"
  local list = {}
  for _, key in ipairs(sorted_keys(self.values)) do
    if key:find(lua) then list[#list + 1] = key end
  end
  return list
end

function commands.INCRBY(self, key, by)
  local sum = integer_of(text_at(self, key) or "0") + integer_of(by)
  self.values[key] = tostring(sum)
  return sum
end

function commands.INCR(self, key) return commands.INCRBY(self, key, "1") end

function commands.DECR(self, key) return commands.INCRBY(self, key, "-1") end

function commands.DECRBY(self, key, by) return commands.INCRBY(self, key, tostring(-integer_of(by))) end

function commands.EXPIRE(self, key, seconds)
  if self.values[key] == nil then return 0 end
  self.ends[key] = self.now() + integer_of(seconds)
  return 1
end

function commands.PERSIST(self, key)
  local had = self.ends[key] ~= nil
  self.ends[key] = nil
  return had and 1 or 0
end

function commands.TTL(self, key)
  if self.values[key] == nil then return -2 end
  return self.ends[key] and math.ceil(self.ends[key] - self.now()) or -1
end

function commands.TYPE(self, key)
  local value = self.values[key]
  if value == nil then return "none" end
  if type(value) ~= "table" then return "string" end
  return value[1] ~= nil and "list" or "hash"
end

function commands.HGET(self, key, field)
  local value = table_at(self, key)[field]
  return value ~= nil and tostring(value) or nil
end

function commands.HMGET(self, key, ...)
  local hash, list = table_at(self, key), {}
  for i = 1, select("#", ...) do
    local value = hash[(select(i, ...))]
    list[i] = value ~= nil and tostring(value)
  end
  return list
end

function commands.HGETALL(self, key)
  local hash, list = table_at(self, key), {}
  for _, field in ipairs(sorted_keys(hash)) do
    list[#list + 1] = field
    list[#list + 1] = tostring(hash[field])
  end
  return list
end

function commands.HSET(self, key, ...)
  local hash, added = table_at(self, key, true), 0
  for i = 1, select("#", ...), 2 do
    local field, value = select(i, ...)
    if hash[field] == nil then added = added + 1 end
    hash[field] = value
  end
  return added
end

function commands.HDEL(self, key, ...)
  local hash = table_at(self, key)
  local removed = count(function(field)
    local there = hash[field] ~= nil
    hash[field] = nil
    return there
  end, ...)
  drop_if_empty(self, key)
  return removed
end

function commands.HEXISTS(self, key, field) return table_at(self, key)[field] ~= nil and 1 or 0 end

function commands.HKEYS(self, key) return sorted_keys(table_at(self, key)) end

function commands.HINCRBY(self, key, field, by)
  local hash = table_at(self, key, true)
  local sum = integer_of(hash[field] or "0") + integer_of(by)
  hash[field] = tostring(sum)
  return sum
end

function commands.SADD(self, key, ...)
  local set = table_at(self, key, true)
  return count(function(member)
    if position_of(set, member) then return false end
    set[#set + 1] = member
    return true
  end, ...)
end

function commands.SREM(self, key, ...)
  local set = table_at(self, key)
  local removed = count(function(member)
    local at = position_of(set, member)
    if at then table.remove(set, at) end
    return at
  end, ...)
  drop_if_empty(self, key)
  return removed
end

function commands.SISMEMBER(self, key, member) return position_of(table_at(self, key), member) and 1 or 0 end

function commands.SCARD(self, key) return #table_at(self, key) end

--- A copy, so that nobody holds what the store changes.
local function range(list, first, last)
  local copy = {}
  for i = first, last do copy[#copy + 1] = tostring(list[i]) end
  return copy
end

function commands.SMEMBERS(self, key)
  local set = table_at(self, key)
  return range(set, 1, #set)
end

function commands.LPUSH(self, key, ...)
  local list = table_at(self, key, true)
  for i = 1, select("#", ...) do table.insert(list, 1, (select(i, ...))) end
  return #list
end

function commands.RPUSH(self, key, ...)
  local list = table_at(self, key, true)
  for i = 1, select("#", ...) do list[#list + 1] = (select(i, ...)) end
  return #list
end

function commands.LPOP(self, key)
  local value = table.remove(table_at(self, key), 1)
  drop_if_empty(self, key)
  return value ~= nil and tostring(value) or nil
end

function commands.RPOP(self, key)
  local value = table.remove(table_at(self, key))
  drop_if_empty(self, key)
  return value ~= nil and tostring(value) or nil
end

function commands.LLEN(self, key) return #table_at(self, key) end

function commands.LRANGE(self, key, first, last)
  local list = table_at(self, key)
  first, last = integer_of(first), integer_of(last)
  if first < 0 then first = math.max(#list + first, 0) end
  if last < 0 then last = #list + last end
  return range(list, first + 1, math.min(last + 1, #list))
end

function commands.FLUSHALL(self)
  for key in pairs(self.values) do self.values[key], self.ends[key] = nil, nil end
  return "OK"
end

local function expire(self)
  local now = self.now()
  for key, at in pairs(self.ends) do
    if at <= now then self.values[key], self.ends[key] = nil, nil end
  end
end

--- The errors of the store itself are answers; others are mistakes in it or in how it is called.
local function answer_of(done, ...)
  if done then return ... end
  local problem = ...
  if type(problem) == "table" then return fail(problem.message) end
  error(problem, 0)
end

--- A function that answers commands.
---@param values table<string, any>  what is in the store
---@param now fun(): number
---@return fun(name: string, ...: string): any, string?, string?
function store.new(values, now)
  local self = { values = values, ends = {}, now = now }
  return function(name, ...)
    local command = commands[name:upper()]
    if not command then
      return fail(("ERR the fake knows no command %s: give a function"):format(name:upper()))
    end
    expire(self)
    local texts = table.pack(...)
    for i = 1, texts.n do texts[i] = tostring(texts[i]) end
    return answer_of(pcall(command, self, table.unpack(texts, 1, texts.n)))
  end
end

return store
