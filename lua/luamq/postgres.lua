--- PostgreSQL from hooks. A query suspends the hook until its rows are there; the broker goes on.
---
---     local postgres = require "luamq.postgres"
---     local db = postgres.new { uri = "postgresql://broker@127.0.0.1/devices", password = secret, pool = 8 }
---
---     function hooks.authenticate(client, username, password)
---       local rows, err = db:query("select hash from users where name = $1", username)
---       if not rows then return false, "server_unavailable" end
---       ...
---
--- Values go beside the statement, as $1, $2, ..., and never into it. Statements are prepared by the
--- connection that runs them, and the last ones stay prepared. Each connection of the pool runs one query
--- at a time; connections are opened by the queries that want them. Whatever a query sets for its
--- connection (SET, LISTEN, temporary tables) is set for others that get it later; a transaction that it
--- opens is rolled back, see `transaction`.
---
--- **Values.** Parameters: nil is NULL; booleans, numbers and strings as the server reads them for the type
--- of the parameter; strings of any bytes for a bytea. Columns: booleans, integers and floats as such,
--- bytea as its bytes, everything else (numeric, json, timestamps, arrays) as PostgreSQL writes it. A NULL
--- is absent.
---
--- **Codes.** The SQLSTATE, such as "23505"; "timeout" (or the server has cancelled it); "connection"
--- (there is none, or it was lost: then the query may have been executed or not); "busy" (`max_pending`
--- wait already); "limit" (more than `max_rows` or `max_bytes`: the query was executed); "closed".

local database = require "luamq.database"
local methods = require "luamq.methods"
local core = require "luamq.core.postgres" -- which calls functions of luamq.core
local fakes = require "luamq.fakes"

---@class luamq.postgres
local postgres = {}

---@class luamq.postgres.Options
---@field uri string?              "postgresql://user@host:port/database?sslmode=verify-full"
---@field host string?             or the path of a folder with the server's unix socket; default as libpq's
---@field port integer?
---@field user string?
---@field password string?
---@field database string?
---@field sslmode string?          as libpq's: "disable", "prefer" (default), "require", "verify-full", ...
---@field sslrootcert string?      PEM file of trusted authorities
---@field pool integer?            connections, default 4
---@field timeout number?          seconds that a query may take, with the wait for a connection; default 5
---@field connect_timeout number?  seconds until a connection is open, default 5
---@field statements integer?      prepared statements that a connection keeps, default 64
---@field max_pending integer?     queries that wait for a connection at once, default 1000
---@field max_rows integer?        of a query, default 1000
---@field max_bytes integer|string?  of the values of a query's rows, default "1M"

---@type table<string, luamq.DatabaseOption>
local options = {
  uri = { type = "lines", secret = true },
  host = { type = "text" },
  port = { type = "integer", minimum = 1, maximum = 65535 },
  user = { type = "lines" },
  password = { type = "lines", secret = true },
  database = { type = "lines" },
  sslmode = {
    type = "enum", values = { "disable", "allow", "prefer", "require", "verify-ca", "verify-full" },
  },
  sslrootcert = { type = "path" },
  pool = { type = "integer", minimum = 1, maximum = 1000, default = 4 },
  timeout = { type = "seconds", minimum = 0.001, maximum = 3600, default = 5 },
  connect_timeout = { type = "seconds", minimum = 0.001, maximum = 3600, default = 5 },
  statements = { type = "integer", minimum = 0, maximum = 10000, default = 64 },
  max_pending = { type = "integer", minimum = 1, maximum = 1000000, default = 1000 },
  max_rows = { type = "integer", minimum = 1, maximum = 10000000, default = 1000 },
  max_bytes = { type = "size", minimum = 1024, maximum = 1 << 30, default = "1M" },
}

local keyword_of = {
  host = "host", port = "port", user = "user", password = "password", database = "dbname",
  sslmode = "sslmode", sslrootcert = "sslrootcert",
}

--- What libpq gets. The server ends what takes too long by itself, for a connection that was given up
--- cannot tell it.
local function keywords_of(checked, level)
  local keywords = {}
  if checked.uri then
    keywords = core.parse(checked.uri)
    if not keywords then error("postgres.new: uri: not a connection URI of libpq", level + 1) end
  end
  for name, keyword in pairs(keyword_of) do
    if checked[name] ~= nil then
      if keywords[keyword] then error(("postgres.new: %s is in the uri as well"):format(name), level + 1) end
      keywords[keyword] = tostring(checked[name])
    end
  end
  keywords.host = keywords.host or os.getenv "PGHOST"
  keywords.options = keywords.options or ("-c statement_timeout=%d"):format(checked.timeout_ms)
  keywords.client_encoding = "UTF8"
  keywords.application_name = keywords.application_name or "luamq"
  keywords.gssencmode = keywords.gssencmode or "disable"
  return keywords
end

--- The name that has to be looked up before libpq gets it, which would wait for it.
local function take_lookup(keywords, level)
  local host = keywords.host or ""
  if host == "" or keywords.hostaddr or host:find "^[/@]" or core.is_address(host) then return nil end
  if host:find(",", 1, true) then
    error("postgres.new: a list of hosts needs hostaddr in a uri", level + 1)
  end
  keywords.host = nil
  return host
end

---@class luamq.postgres.Rows: table<integer, table<string, boolean|number|string>>
---@field affected integer  rows that were selected, inserted, updated or deleted

---@class luamq.postgres.Database
---@field private pool any
---@field private health luamq.DatabaseHealth
local Database = {}
Database.__index = Database

local types = { ["nil"] = true, boolean = true, number = true, string = true }

local function check_query(level, sql, ...)
  if type(sql) ~= "string" then
    error("postgres: a query must be a string, got " .. type(sql), level + 1)
  end
  if sql:find("\0", 1, true) then error("postgres: the query has a zero byte", level + 1) end
  for i = 1, select("#", ...) do
    local kind = type((select(i, ...)))
    if not types[kind] then
      error(("postgres: parameter %d must be nil, a boolean, a number or a string, got %s"):format(i, kind),
        level + 1)
    end
  end
end

--- Rows of a fake have `affected` as well, unless it says otherwise.
local function answer_by(fake, sql, ...)
  local rows, message, code = fake(sql, table.pack(...))
  if type(rows) == "table" and rows.affected == nil then rows.affected = #rows end
  return rows, message, code
end

--- Runs a statement and waits for its rows.
---@param sql string  one statement, with $1, $2, ... in the place of values
---@param ... boolean|number|string|nil
---@return luamq.postgres.Rows? rows  empty for a statement that answers none
---@return string? message
---@return string? code
---@async
function Database:query(sql, ...)
  check_query(2, sql, ...)
  local fake = fakes.find "postgres"
  if fake then return answer_by(fake, sql, ...) end
  return database.noticed(self, "postgres", self.pool:query(sql, ...))
end

---@class luamq.postgres.Transaction
---@field private lease any  nil: it is over
local Transaction = {}
Transaction.__index = Transaction

--- It is over: a script may have kept it.
function Transaction:__close() self.lease = nil end

--- As `db:query`, inside of the transaction. After an error PostgreSQL answers nothing but errors until the
--- transaction is over.
---@param sql string
---@param ... boolean|number|string|nil
---@return luamq.postgres.Rows? rows
---@return string? message
---@return string? code
---@async
function Transaction:query(sql, ...)
  check_query(2, sql, ...)
  if not self.lease then error("postgres: the transaction is over", 2) end
  local fake = fakes.find "postgres"
  if fake then return answer_by(fake, sql, ...) end
  local rows, message, code = self.lease:query(sql, ...)
  if not rows then self.message, self.code = message, code end
  return rows, message, code
end

--- A lease for fakes, which have no transactions.
local faked = setmetatable({}, { __close = function() end })

local function lease_of(self)
  if fakes.find "postgres" then return faked end
  return database.noticed(self, "postgres", self.pool:lease())
end

local function begin(tx)
  if tx.lease == faked then return true end
  return tx.lease:query "BEGIN"
end

local function commit(tx)
  if tx.lease == faked then return true end
  if tx.lease:failed() then return nil, tx.message, tx.code end -- COMMIT would roll back as well
  local done, message, code = tx.lease:query "COMMIT"
  return done, message, code
end

--- Runs a function on one connection, inside of a transaction.
---
---     local ok, err = db:transaction(function(tx)
---       local rows, err, code = tx:query(
---         "update accounts set credit = credit - 1 where name = $1 returning credit", name)
---       if not rows then return nil, err, code end
---       if rows[1].credit < 0 then return nil, "no credit left" end
---       return true
---     end)
---
--- It is rolled back when the function raises (the error goes on), answers nil or false and a message, or
--- is cancelled while it waits; and when one of its queries has failed. Else it is committed, and what the
--- function answers is answered.
---@param fn fun(tx: luamq.postgres.Transaction): ...
---@return any ...  what the function answers; nil, message, code when nothing was committed
---@async
function Database:transaction(fn)
  if type(fn) ~= "function" then error("postgres: a transaction wants a function, got " .. type(fn), 2) end
  local lease <close>, message, code = lease_of(self) -- nothing waits between its answer and `<close>`
  if not lease then return nil, message, code end
  local tx <close> = setmetatable({ lease = lease }, Transaction)
  local done
  done, message, code = begin(tx)
  if not done then return nil, message, code end
  local results = table.pack(fn(tx))
  if not results[1] and results[2] ~= nil then return table.unpack(results, 1, results.n) end
  done, message, code = commit(tx)
  if not done then return nil, message, code end
  return table.unpack(results, 1, results.n)
end

--- What happened so far, as a table of numbers: queries, errors, timeouts, refused, prepared, opened and
--- failures (of connections); and what is now: connections, waiting.
---@return table<string, integer>
function Database:stats() return self.pool:stats() end

--- Ends all connections; queries that are under way fail with the code "closed".
function Database:close() self.pool:close() end

methods.guard(Database, "a database of postgres")
methods.guard(Transaction, "a transaction of postgres")

--- A database, without connecting to it: this may be called while the script is loaded. Raises for options
--- that are not right.
---@param given luamq.postgres.Options?
---@return luamq.postgres.Database
function postgres.new(given)
  if given ~= nil and type(given) ~= "table" then error("postgres.new: expected a table of options", 2) end
  local checked = database.options("postgres.new", options, given or {}, 2)
  checked.keywords = keywords_of(checked, 2)
  checked.lookup = take_lookup(checked.keywords, 2)
  return setmetatable({ pool = core.new(checked), health = database.health() }, Database)
end

return postgres
