--- SQLite from hooks. Statements run in a worker thread and suspend the hook until their rows are there;
--- the broker goes on.
---
---     local sqlite = require "luamq.sqlite"
---     local db = sqlite.open "sessions.db"
---
---     function hooks.start()
---       luamq.spawn(function()
---         assert(db:exec "create table if not exists seen (id text primary key, at real)")
---       end)
---     end
---
---     function hooks.authenticate(client)
---       local rows, err = db:query("select at from seen where id = ?", client.id)
---       ...
---
--- The file is opened by the first statement. Statements of one database run one after the other, in the
--- order in which they were called, and stay prepared. Transactions are lists of statements, for a thread
--- runs no Lua: nothing that a hook does comes between them. Two databases of the same file are two
--- connections to it.
---
--- **Values.** Parameters: nil, booleans (0 and 1), integers, floats, and strings, which are text;
--- `sqlite.blob(bytes)` is a blob. Columns: what is stored; text and blobs are strings of any bytes; a NULL
--- is absent.
---
--- **Codes.** SQLite's, such as "SQLITE_CONSTRAINT_UNIQUE" or "SQLITE_BUSY" (another process has held its
--- lock for longer than `busy_timeout`); "timeout" (what ran is rolled back, unless it was through
--- already); "busy" (`max_pending` wait already, or the workers have too much to do); "limit" (more than
--- `max_rows` or `max_bytes`); "closed".

local database = require "luamq.database"
local methods = require "luamq.methods"
local core = require "luamq.core.sqlite" -- which calls functions of luamq.core

---@class luamq.sqlite
local sqlite = {}

---@class luamq.sqlite.Options
---@field create boolean?          a file that is not there is made, default true
---@field readonly boolean?        default false
---@field wal boolean?             write-ahead log: readers do not wait for a writer; default true
---@field foreign_keys boolean?    are enforced, default true
---@field synchronous string?      "off", "normal", "full" (default) or "extra": what survives a loss of power
---@field timeout number?          seconds that a call may take, with its wait for those before it; default 5
---@field busy_timeout number?     seconds to wait for a lock of another connection, default 2
---@field statements integer?      that stay prepared, default 64
---@field max_pending integer?     calls that wait at once, default 1000
---@field max_rows integer?        of a statement, default 1000
---@field max_bytes integer|string?  of the values of a statement's rows, default "1M"

---@type table<string, luamq.DatabaseOption>
local options = {
  create = { type = "boolean", default = true },
  readonly = { type = "boolean", default = false },
  wal = { type = "boolean", default = true },
  foreign_keys = { type = "boolean", default = true },
  synchronous = { type = "enum", values = { "off", "normal", "full", "extra" }, default = "full" },
  timeout = { type = "seconds", minimum = 0.001, maximum = 3600, default = 5 },
  busy_timeout = { type = "seconds", minimum = 0, maximum = 3600, default = 2 },
  statements = { type = "integer", minimum = 1, maximum = 10000, default = 64 },
  max_pending = { type = "integer", minimum = 1, maximum = 1000000, default = 1000 },
  max_rows = { type = "integer", minimum = 1, maximum = 10000000, default = 1000 },
  max_bytes = { type = "size", minimum = 1024, maximum = 1 << 30, default = "1M" },
}

local Blob = {}

---@class luamq.sqlite.Blob
---@field bytes string

--- A parameter that is a blob, not a text.
---@param bytes string
---@return luamq.sqlite.Blob
function sqlite.blob(bytes)
  if type(bytes) ~= "string" then error("sqlite.blob: expected a string, got " .. type(bytes), 2) end
  return setmetatable({ bytes = bytes }, Blob)
end

local types = { ["nil"] = true, boolean = true, number = true, string = true }

local function check_sql(sql, level)
  if type(sql) ~= "string" then
    error("sqlite: a statement must be a string, got " .. type(sql), level + 1)
  end
  if sql:find("\0", 1, true) then error("sqlite: the statement has a zero byte", level + 1) end
end

local function check_query(level, sql, ...)
  check_sql(sql, level + 1)
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if not types[type(value)] and getmetatable(value) ~= Blob then
      error(("sqlite: parameter %d must be nil, a boolean, a number, a string or a blob, got %s"):format(i,
        type(value)), level + 1)
    end
  end
end

---@class luamq.sqlite.Rows: table<integer, table<string, integer|number|string>>
---@field affected integer  rows that were selected, inserted, updated or deleted

---@class luamq.sqlite.Database
---@field private core any
local Database = {}
Database.__index = Database

--- Runs a statement and waits for its rows.
---@param sql string  one statement, with ?, ?1, :name in the place of values
---@param ... boolean|number|string|luamq.sqlite.Blob|nil  as many as it has places
---@return luamq.sqlite.Rows? rows  empty for a statement that answers none
---@return string? message
---@return string? code
---@async
function Database:query(sql, ...)
  check_query(2, sql, ...)
  return self.core:query(sql, ...)
end

--- Runs any number of statements without values, such as a schema.
---@param sql string
---@return true?
---@return string? message
---@return string? code
---@async
function Database:exec(sql)
  check_sql(sql, 2)
  return self.core:exec(sql)
end

--- What the function of a transaction gets.
---@class luamq.sqlite.Batch
local Batch = {}
Batch.__index = Batch

--- Adds a statement; it runs when the function has returned.
---@param sql string
---@param ... boolean|number|string|luamq.sqlite.Blob|nil
---@return luamq.sqlite.Batch self
function Batch:query(sql, ...)
  check_query(2, sql, ...)
  self[#self + 1] = table.pack(sql, ...)
  return self
end

--- Runs statements in one transaction: all of them, or none.
---
---     local results, err = db:transaction {
---       { "insert into log values (?, ?)", client.id, os.time() },
---       { "update seen set at = ? where id = ?", os.time(), client.id },
---     }
---     local results, err = db:transaction(function(batch)
---       for _, id in ipairs(ids) do batch:query("delete from seen where id = ?", id) end
---     end)
---
--- In a list, use the function's form for statements with nil as the last value.
---@param statements any[][]|fun(batch: luamq.sqlite.Batch)
---@return luamq.sqlite.Rows[]? results  one for each statement
---@return string? message
---@return string? code
---@async
function Database:transaction(statements)
  local batch = setmetatable({}, Batch)
  if type(statements) == "function" then
    statements(batch)
  elseif type(statements) == "table" then
    for i, statement in ipairs(statements) do
      if type(statement) ~= "table" then
        error("sqlite: each statement of a transaction must be a list", 2)
      end
      check_query(2, table.unpack(statement))
      batch[i] = table.pack(table.unpack(statement))
    end
  else
    error("sqlite: a transaction wants a list of statements or a function, got " .. type(statements), 2)
  end
  if #batch == 0 then return {} end
  return self.core:batch(batch)
end

--- What happened so far, as a table of numbers: requests, errors, timeouts, refused; and what is now:
--- pending.
---@return table<string, integer>
function Database:stats() return self.core:stats() end

--- Closes the file when the statements that were called before are through. Further ones fail with the code
--- "closed".
function Database:close() self.core:close() end

methods.guard(Database, "a database of sqlite")
methods.guard(Batch, "a batch of sqlite")

--- A database, without opening its file: this may be called while the script is loaded. Raises for options
--- that are not right.
---@param path string  of the file; ":memory:" is a database of its own in memory
---@param given luamq.sqlite.Options?
---@return luamq.sqlite.Database
function sqlite.open(path, given)
  if type(path) ~= "string" or path == "" or path:find "%c" then
    error("sqlite.open: expected the path of a file", 2)
  end
  if given ~= nil and type(given) ~= "table" then error("sqlite.open: expected a table of options", 2) end
  local checked = database.options("sqlite.open", options, given or {}, 2)
  checked.path = path
  return setmetatable({ core = core.open(checked) }, Database)
end

return sqlite
