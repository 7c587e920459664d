local inside = require "spec.support.inside"
local process = require "spec.support.process"
local sqlite = require "luamq.sqlite"
local test = require "luamq.test"

describe("luamq.sqlite", function()
  local folder, broker

  local function prelude(options, path)
    local text = "sqlite = require 'luamq.sqlite'\ndb = sqlite.open(%q, { %s })\n"
    return text:format(path or folder .. "/a.db", options or "")
  end

  setup(function()
    folder = process.directory()
    broker = inside.start(prelude "timeout = 20")
    broker:run [[
      assert(db:exec "create table users (name text primary key, credit integer, avatar blob) strict;\n\z
        create table numbers (n integer); create table deeds (name text references users)")]]
  end)

  teardown(function()
    broker:stop()
    process.remove(folder)
  end)

  before_each(function()
    broker:run "assert(db:exec 'delete from deeds; delete from users; delete from numbers')"
  end)

  it("answers rows by column name, as they are stored", function()
    assert.same({ { i = 9223372036854775807, f = 0.5, t = "x", b = "\0\1" }, affected = 1 },
      broker:run [[
        return db:query "select 9223372036854775807 as i, 0.5 as f, 'x' as t, x'0001' as b, null as n"]])
  end)

  it("takes parameters of all types, by ?, ?1 and name", function()
    local row = { a = 1, b = 7, c = 0.25, d = "it's", e = "text", f = "blob" }
    assert.same({ row, affected = 1 }, broker:run [[
      return db:query("select ?2 as a, ?1 as b, :c as c, ? as d, typeof(?4) as e, typeof(?) as f",
        7, true, 0.25, "it's", sqlite.blob "x")]])
    assert.same({ { a = 1 }, affected = 1 },
      broker:run "return db:query('select ? is null as a, ? as b', nil, nil)")
  end)

  it("carries any bytes as a text and as a blob", function()
    assert.is_true(broker:run [[
      local all = {}
      for byte = 0, 255 do all[#all + 1] = string.char(byte) end
      local bytes = table.concat(all)
      assert(db:query("insert into users values (?, 1, ?)", bytes, sqlite.blob(bytes)))
      local row = db:query("select * from users where name = ? and avatar = ?", bytes, sqlite.blob(bytes))[1]
      return row.name == bytes and row.avatar == bytes and db:query("select ? as e", "")[1].e == ""]])
  end)

  it("never takes a value for a part of the statement", function()
    local evil = "x'; drop table users; --"
    assert.same({ { name = evil }, affected = 1 }, broker:run(([[
      db:query("insert into users values (?, 1, null)", %q)
      return db:query("select name from users where name = ?", %q)]]):format(evil, evil)))
    assert.same({ "SQLITE_MISUSE", "more than one statement" }, broker:run [[
      local _, message, code = db:query 'select 1; drop table users'
      return { code, message }]])
    assert.equal(1, #broker:run "return db:query 'select 1; '")
  end)

  it("tells how many rows a statement has changed", function()
    assert.same({ affected = 3 }, broker:run "return db:query 'insert into numbers values (1), (2), (3)'")
    assert.same({ affected = 2 }, broker:run "return db:query('update numbers set n = 0 where n > ?', 1)")
    assert.same({ { n = 1 }, affected = 1 },
      broker:run "return db:query 'delete from numbers where n = 1 returning n'")
    assert.same({ affected = 0 }, broker:run "return db:query 'select * from users'")
    assert.same({ affected = 0 }, broker:run "return db:query 'create table if not exists users (a)'")
  end)

  it("answers errors with SQLite's codes", function()
    assert.same({ "no such table: nowhere", "SQLITE_ERROR" },
      broker:run "return { select(2, db:query 'select a from nowhere') }")
    local prefix = "SQLITE_CONSTRAINT_"
    assert.same({ prefix .. "PRIMARYKEY", prefix .. "FOREIGNKEY", prefix .. "DATATYPE" }, broker:run [[
      db:query "insert into users values ('a', 1, null)"
      return { (select(3, db:query "insert into users values ('a', 1, null)")),
        (select(3, db:query "insert into deeds values ('nobody')")),
        (select(3, db:query "insert into users values ('b', 'many', null)")) }]])
    assert.same({ "the statement has 2 parameters, 1 were given", "SQLITE_RANGE" },
      broker:run "return { select(2, db:query('select ?, ?', 1)) }")
    assert.equal("SQLITE_MISUSE", broker:run "return select(3, db:query ' -- nothing')")
    assert.equal(1, #broker:run "return db:query 'select 1'")
  end)

  it("raises for a misuse, where it is", function()
    for call, reason in pairs {
      ["db:query(nil)"] = "a statement must be a string, got nil",
      ["db:query('select ?', {})"] = "parameter 1 must be nil, a boolean, a number, a string or a blob, got ",
      ["db:exec('select \\0')"] = "the statement has a zero byte",
      ["db:transaction(1)"] = "a transaction wants a list of statements or a function, got number",
      ["db:transaction { 'select 1' }"] = "each statement of a transaction must be a list",
    } do
      local fine, message = pcall(broker.run, broker, "local x = " .. call .. " return x")
      assert.is_false(fine)
      assert.matches("inside:1: sqlite: " .. reason, message, 1, true)
    end
  end)

  it("runs the statements of a transaction, all or none", function()
    assert.same({ { affected = 1 }, { { credit = 1 }, affected = 1 } }, broker:run [[
      return db:transaction { { "insert into users values (?, 1, ?)", "a", sqlite.blob "x" },
        { "select credit from users where name = ?", "a" } }]])
    assert.same({ "SQLITE_CONSTRAINT_PRIMARYKEY", 1 }, broker:run [[
      local _, _, code = db:transaction(function(batch)
        batch:query("insert into users values (?, 2, ?)", "b", nil)
        batch:query("insert into users values (?, 2, null)", "a")
      end)
      return { code, #db:query "select * from users" }]])
    assert.same({}, broker:run "return db:transaction {}")
  end)

  it("does not leave a transaction open", function()
    assert.same({ "SQLITE_MISUSE", "a transaction was left open, and is rolled back", 0 }, broker:run [[
      local _, message, code = db:exec "begin; insert into numbers values (1)"
      return { code, message, #db:query "select * from numbers" }]])
  end)

  it("runs statements in the order in which they were called", function()
    assert.is_true(broker:run [[
      local db = sqlite.open(":memory:", { timeout = 60 }) -- no disk has to be waited for
      assert(db:exec "create table numbers (n integer)")
      local over = luamq.channel(500)
      for i = 1, 500 do
        luamq.spawn(function() over:send(db:query("insert into numbers values (?)", i) ~= nil) end)
      end
      for _ = 1, 500 do assert(over:receive()) end
      for i, row in ipairs(assert(db:query "select n from numbers order by rowid")) do assert(row.n == i) end
      return true]])
  end)

  it("bounds rows and bytes", function()
    assert.same({ "more rows than max_rows", "limit", "the rows are larger than max_bytes", "limit", 10 },
      broker:run [[
      local db = sqlite.open(":memory:", { max_rows = 10, max_bytes = 2048 })
      local sql = "with recursive c(n) as (select 1 union all select n + 1 from c where n < ?) \z
        select n from c"
      local _, a, b = db:query(sql, 11)
      local _, c, d = db:query "select zeroblob(3000)"
      local rows = #db:query(sql, 10)
      return { a, b, c, d, rows }]])
  end)

  it("answers at once, with the code busy, when too many wait", function()
    assert.same({ 2, 1 }, broker:run [[
      local db = sqlite.open(":memory:", { max_pending = 2 })
      local fine, busy, all = 0, 0, luamq.channel(3)
      for i = 1, 3 do luamq.spawn(function() all:send { db:query "select 1" } end) end
      for _ = 1, 3 do
        local answer = all:receive()
        if answer[1] then fine = fine + 1 elseif answer[3] == "busy" then busy = busy + 1 end
      end
      return { fine, busy }]])
  end)

  local endless <const> =
    "with recursive c(n) as (select 1 union all select n + 1 from c) select max(n) from c"

  it("stops a statement that takes too long", function()
    assert.same({ "timeout", "no answer in time", 1 }, broker:run(([[
      local db = sqlite.open(":memory:", { timeout = 0.1 })
      local _, message, code = db:query %q
      local rows
      repeat rows = db:query "select 1" until rows -- as soon as the thread has noticed
      return { code, message, #rows }]]):format(endless)))
  end)

  it("stops what was cancelled, and nobody else's", function()
    assert.same({ true, 1, 1 }, broker:run(([[
      local db = sqlite.open(":memory:", { timeout = 20 })
      assert(db:exec "create table t (n)")
      local tasks = {}
      for i = 1, 2 do
        tasks[i] = luamq.spawn(function()
          db:query %q
          error "never reached"
        end)
      end
      local result = luamq.channel(1)
      luamq.spawn(function() result:send(db:query "insert into t values (1)") end)
      luamq.sleep(0.02)
      local cancelled = tasks[1]:cancel() and tasks[2]:cancel()
      return { cancelled, result:receive().affected, db:query("select count(*) as n from t")[1].n }]])
      :format(endless)))
  end)

  it("waits for the lock of another connection, up to its time", function()
    local path = folder .. "/a.db"
    assert.equal("SQLITE_BUSY", broker:run(([[
      local other, holder = sqlite.open(%q, { busy_timeout = 0.05 }), sqlite.open(%q, { timeout = 3600 })
      local task = luamq.spawn(function()
        holder:transaction { { "insert into numbers values (1)" }, { %q } }
      end)
      local _, code
      repeat _, _, code = other:query "insert into numbers values (2)" until code
      task:cancel()
      repeat local rows = other:query "insert into numbers values (3)" until rows
      return code]]):format(path, path, endless)))
    assert.same({ affected = 0 }, broker:run "return db:query 'select * from numbers where n = 1'")
  end)

  it("says that a file cannot be opened, each time", function()
    assert.same({ "SQLITE_CANTOPEN", "SQLITE_CANTOPEN" }, broker:run [[
      local none = sqlite.open("/nowhere/at/all.db")
      return { (select(3, none:query "select 1")), (select(3, none:query "select 1")) }]])
    assert.equal("SQLITE_CANTOPEN", broker:run(([[
      return select(3, sqlite.open(%q, { create = false }):query "select 1")]]):format(folder .. "/none.db")))
    process.write(folder .. "/text.db", ("no database "):rep(100))
    assert.equal("SQLITE_NOTADB", broker:run(([[
      return select(3, sqlite.open(%q):query "select * from a")]]):format(folder .. "/text.db")))
    assert.equal("SQLITE_READONLY", broker:run(([[
      return select(3, sqlite.open(%q, { readonly = true }):query "insert into numbers values (1)")]])
      :format(folder .. "/a.db")))
  end)

  it("runs what was called before it is closed, and fails the rest", function()
    assert.same({ 1, "closed", 1 }, broker:run(([[
      local other, result = sqlite.open %q, luamq.channel(1)
      luamq.spawn(function() result:send(other:query "insert into numbers values (1)") end)
      other:close()
      local affected = result:receive().affected
      return { affected, select(3, other:query "select 1"), #db:query "select * from numbers" }]])
      :format(folder .. "/a.db")))
  end)

  it("keeps what it was told over an end of the broker", function()
    local path = folder .. "/kept.db"
    local first = inside.start(prelude("", path))
    first:run "db:exec 'create table t (n)' db:query('insert into t values (?)', 7)"
    first:stop()
    local second <close> = inside.start(prelude("", path))
    assert.same({ { n = 7 }, affected = 1 }, second:run "return db:query 'select * from t'")
  end)

  it("says what is wrong with options", function()
    for message, give in pairs {
      ["sqlite.open: expected the path of a file"] = function() sqlite.open() end,
      ["sqlite.open: unknown option 'wall', known are "] = function() sqlite.open("a", { wall = true }) end,
      ['sqlite.open: synchronous: expected "off", "normal", "full" or "extra", got "ful"'] = function()
        sqlite.open("a", { synchronous = "ful" })
      end,
    } do
      local fine, problem = pcall(give)
      assert.is_false(fine)
      assert.matches(message, problem, 1, true)
      assert.matches("sqlite_spec.lua:", problem, 1, true)
    end
  end)
end)

describe("the modules of databases", function()
  it("can be loaded first of all, by a stock Lua", function()
    for _, name in ipairs { "redis", "postgres", "sqlite" } do
      local words = { "/usr/bin/lua5.4", "-e", ("print(type(require 'luamq.%s'))"):format(name) }
      assert.same({ 0, "table\n" }, { process.run(words, { errors = true }) })
    end
  end)
end)

describe("luamq.sqlite in a test", function()
  local function broker_with(db, answers)
    return test.broker {
      listeners = { "tcp://127.0.0.1:0" },
      hooks = {
        authenticate = function(client)
          local rows = assert(db:query("insert into seen values (?) returning id", client.id))
          answers[#answers + 1] = rows[1].id
          return true
        end,
        start = function() require "luamq".spawn(function() assert(db:exec "create table seen (id)") end) end,
      },
    }
  end

  it("works without a network, in the same order each time", function()
    local db, answers = sqlite.open ":memory:", {}
    do
      local broker <close> = broker_with(db, answers)
      broker:connect { id = "a" }
      broker:connect { id = "b" }
    end
    assert.same({ "a", "b" }, answers)
  end)

  it("outlives a broker that ends while it runs", function()
    local db, answers = sqlite.open ":memory:", {}
    local broker = broker_with(db, answers)
    broker:open():connect({ id = "a" })
    broker:stop()
    local another <close> = test.broker {
      listeners = { "tcp://127.0.0.1:0" },
      hooks = {
        authenticate = function()
          answers.count = #assert(db:query "select * from seen")
          return true
        end,
      },
    }
    another:connect { id = "b" }
    assert.equal(#answers, answers.count)
  end)
end)
