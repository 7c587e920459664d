local databases = require "spec.support.databases"
local fakes = require "luamq.fakes"
local inside = require "spec.support.inside"
local luamq_client = require "luamq.client"
local postgres = require "luamq.postgres"
local test = require "luamq.test"

--- Makes `db` of the server, and `new`, which makes others.
local function prelude(server, options)
  return ([[
    postgres = require "luamq.postgres"
    function new(options)
      local all = {
        host = "127.0.0.1", port = %d, user = "admin", password = "secret", database = "postgres" }
      for name, value in pairs(options) do all[name] = value end
      return postgres.new(all)
    end
    db = new { %s }]]):format(server.port, options or "") .. "\n"
end

describe("luamq.postgres", function()
  local server, broker

  setup(function()
    server = databases.postgres()
    broker = inside.start(prelude(server, "timeout = 20"))
    broker:run [[
      assert(db:query "create table users (name text primary key, credit integer, avatar bytea)")
      assert(db:query "create table numbers (n integer)")]]
  end)

  teardown(function()
    broker:stop()
    server:stop()
  end)

  before_each(function() broker:run "assert(db:query 'truncate users, numbers')" end)

  it("answers rows by column name, with values by their types", function()
    assert.same({ {
      yes = true, no = false, small = 1, large = 9223372036854775807, half = 0.5, text = "x", exact = "1.10",
      list = "{1,2}", json = '{"a": 1}', infinite = math.huge,
    }, affected = 1 }, broker:run [[
      return db:query("select true as yes, false as no, 1::int2 as small, 9223372036854775807 as large, \z
        0.5::float8 as half, 'x' as text, 1.10 as exact, array[1, 2] as list, \z
        '{\"a\": 1}'::jsonb as json, null as none, 'Infinity'::float8 as infinite")]])
    assert.equal("float", broker:run "return math.type(db:query('select 2::float4 as n')[1].n)")
  end)

  it("takes parameters of all types", function()
    assert.same({ { a = true, b = 7, c = 0.25, d = "it's", e = 3 }, affected = 1 }, broker:run [[
      return db:query("select $1::boolean as a, $2::bigint as b, $3::float8 as c, $4::text as d, \z
        $5::integer as e, $6::text as f", true, 7, 0.25, "it's", 3.0, nil)]])
    assert.same({ 1, 1 }, broker:run [[
      return { #db:query("select 1 where $1::text is null", nil),
        #db:query("select 1 where $1::float8 > 1e308", math.huge) }]])
  end)

  it("carries any bytes to and from a bytea", function()
    assert.is_true(broker:run [[
      local all = {}
      for byte = 0, 255 do all[#all + 1] = string.char(byte) end
      local bytes = "\\x41\\" .. table.concat(all)
      db:query("insert into users values ($1, 1, $2)", "a", bytes)
      local empty = db:query("insert into users values ('b', 1, $1) returning avatar", "")[1].avatar
      local rows = db:query("select avatar from users where avatar = $1", bytes)
      return empty == "" and rows[1].avatar == bytes]])
    assert.equal("22021", broker:run [[return select(3, db:query("select $1::text", "a\0b"))]])
  end)

  it("never takes a value for a part of the statement", function()
    local evil = "x'; drop table users; --"
    assert.same({ { name = evil, credit = 1 }, affected = 1 }, broker:run(([[
      db:query("insert into users values ($1, 1)", %q)
      return db:query("select name, credit from users where name = $1", %q)]]):format(evil, evil)))
    assert.equal("42601", broker:run "return select(3, db:query 'select 1; drop table users')")
  end)

  it("tells how many rows a statement has changed", function()
    assert.same({ affected = 3 }, broker:run "return db:query 'insert into numbers values (1), (2), (3)'")
    assert.same({ affected = 2 }, broker:run "return db:query('update numbers set n = 0 where n > $1', 1)")
    assert.same({ { n = 1 }, affected = 1 },
      broker:run "return db:query 'delete from numbers where n = 1 returning n'")
    assert.same({ affected = 0 }, broker:run "return db:query 'select * from users'")
    assert.same({ affected = 0 }, broker:run "return db:query ''")
  end)

  it("answers errors with their SQLSTATE", function()
    local rows, message, code = broker:run "return db:query 'select nothing from nowhere'"
    assert.is_nil(rows)
    assert.equal('relation "nowhere" does not exist', message)
    assert.equal("42P01", code)
    broker:run "db:query 'insert into users values ($1)'"
    assert.equal("08P01", broker:run "return select(3, db:query 'select $1::text')")
    assert.equal("the statement has 1 parameters, 2 were given",
      broker:run "return select(2, db:query('select $1::text', 1, 2))")
    assert.equal("23505", broker:run [[
      db:query "insert into users values ('a')"
      return select(3, db:query "insert into users values ('a')")]])
    assert.equal("22P02", broker:run "return select(3, db:query('select $1::integer', 'many'))")
    assert.equal(1, #broker:run "return db:query 'select 1'")
  end)

  it("raises for a misuse, where it is", function()
    for call, reason in pairs {
      ["db:query(nil)"] = "a query must be a string, got nil",
      ["db:query('select $1', {})"] = "parameter 1 must be nil, a boolean, a number or a string, got table",
      ["db:query('select \\0')"] = "the query has a zero byte",
      ["db:transaction(1)"] = "a transaction wants a function, got number",
    } do
      local fine, message = pcall(broker.run, broker, "local x = " .. call .. " return x")
      assert.is_false(fine)
      assert.matches("inside:1: postgres: " .. reason, message, 1, true)
    end
  end)

  it("prepares a statement once a connection, and keeps the last ones", function()
    assert.same({ 1, 4, 2 }, broker:run [[
      local one = new { pool = 1, statements = 2 }
      for i = 1, 10 do assert(one:query("select $1::integer", i)) end
      local first = one:stats().prepared
      assert(one:query "select 2")
      assert(one:query "select 3") -- in the place of the first one
      assert(one:query("select $1::integer", 1))
      local after = one:stats().prepared
      return { first, after, #assert(one:query "select name from pg_prepared_statements") }]])
  end)

  it("prepares again what the server no longer has, or has another way", function()
    assert.same({ { a = 1, b = 2 }, affected = 1 }, broker:run [[
      local one = new { pool = 1 }
      assert(one:query "create table changing as select 1 as a")
      assert(one:query "select * from changing")
      assert(one:query "alter table changing add b integer default 2")
      local rows = assert(one:query "select * from changing")
      assert(one:query "deallocate all")
      assert(one:query "select * from changing")
      assert(one:query "drop table changing")
      return rows]])
  end)

  it("works without prepared statements", function()
    assert.same({ 1, 2 }, broker:run([[
      local one = new { pool = 1, statements = 0 }
      local sql = "select $1::integer as n"
      return { one:query(sql, 1)[1].n, one:query(sql, 2)[1].n }]]))
  end)

  it("serves 500 hooks at once by its pool, each with its own rows", function()
    assert.same({ 500, 4 }, broker:run [[
      local right, all = 0, luamq.channel(500)
      for i = 1, 500 do
        luamq.spawn(function()
          local rows = db:query("select $1::integer as n", i)
          all:send(rows ~= nil and rows[1].n == i)
        end)
      end
      for _ = 1, 500 do
        if all:receive() then right = right + 1 end
      end
      return { right, db:stats().connections }]])
  end)

  it("bounds rows and bytes", function()
    assert.same({ "more rows than max_rows", "limit", "the rows are larger than max_bytes", "limit", 10 },
      broker:run [[
        local db = new { max_rows = 10, max_bytes = 2048 }
        local _, message, code = db:query "select * from generate_series(1, 11)"
        local _, message_2, code_2 = db:query "select repeat('x', 3000) as x"
        return { message, code, message_2, code_2, #db:query "select * from generate_series(1, 10)" }]])
  end)

  it("answers at once, with the code busy, when too many wait for a connection", function()
    assert.same({ 2, 1 }, broker:run [[
      local db = new { pool = 1, max_pending = 2 }
      local fine, busy, all = 0, 0, luamq.channel(3)
      for i = 1, 3 do luamq.spawn(function() all:send { db:query "select 1" } end) end
      for _ = 1, 3 do
        local answer = all:receive()
        if answer[1] then fine = fine + 1 elseif answer[3] == "busy" then busy = busy + 1 end
      end
      return { fine, busy }]])
  end)

  it("refuses a COPY", function()
    assert.equal("0A000", broker:run "return select(3, db:query 'copy users to stdout')")
    assert.equal("0A000", broker:run "return select(3, db:query 'copy users from stdin')")
    assert.equal(1, #broker:run "return db:query 'select 1'")
  end)

  describe("transactions", function()
    it("are committed when the function has returned", function()
      assert.same({ "fine", 1 }, broker:run [[
        local answer = db:transaction(function(tx)
          assert(tx:query "insert into users values ('a')")
          assert(#db:query "select * from users" == 0)
          return "fine"
        end)
        return { answer, #db:query "select * from users" }]])
    end)

    it("are rolled back by an error, which goes on", function()
      local fine, message, count = broker:run [[
        local fine, message = pcall(db.transaction, db, function(tx)
          tx:query "insert into users values ('a')"
          error "no luck"
        end)
        return fine, message, #db:query "select * from users"]]
      assert.is_false(fine)
      assert.matches("no luck", message)
      assert.equal(0, count)
    end)

    it("are rolled back by an answer that says why", function()
      assert.same({ "no credit", "mine", 0 }, broker:run [[
        local _, message, code = db:transaction(function(tx)
          tx:query "insert into users values ('a')"
          return nil, "no credit", "mine"
        end)
        return { message, code, #db:query "select * from users" }]])
    end)

    it("are rolled back where a query has failed", function()
      assert.same({ "23505", 0 }, broker:run [[
        local _, message, code = db:transaction(function(tx)
          tx:query "insert into users values ('a')"
          tx:query "insert into users values ('a')"
          return true
        end)
        return { code, #db:query "select * from users" }]])
    end)

    it("may go on behind a savepoint", function()
      assert.same({ true, 1 }, broker:run [[
        local answer = db:transaction(function(tx)
          tx:query "insert into users values ('a')"
          tx:query "savepoint s"
          tx:query "insert into users values ('a')"
          tx:query "rollback to s"
          return true
        end)
        return { answer, #db:query "select * from users" }]])
    end)

    it("do not outlive their function", function()
      local fine, message = pcall(broker.run, broker, [[
        local kept
        db:transaction(function(tx) kept = tx return true end)
        kept:query "select 1"]])
      assert.is_false(fine)
      assert.matches("the transaction is over", message)
    end)

    it("that queries open by themselves are rolled back before anybody else gets the connection", function()
      -- Each query has a transaction of its own: what is between a begin and a commit is not one.
      assert.same({ 1, 1 }, broker:run [[
        local db = new { pool = 1 }
        assert(db:query "begin")
        assert(db:query "insert into users values ('a')")
        assert(db:query "rollback")
        return { #db:query "select * from users", db:stats().opened }]])
    end)
  end)

  it("rolls back what was cancelled, and gives its answer to nobody else", function()
    assert.same({ true, { { n = 1 }, affected = 1 }, 0, 1 }, broker:run [[
      local db = new { pool = 1, timeout = 20 }
      local asked = luamq.channel(1)
      local task = luamq.spawn(function()
        db:transaction(function(tx)
          tx:query "insert into users values ('goes')"
          asked:send(true)
          tx:query "select pg_sleep(0.5), 'late'"
          error "never reached"
        end)
      end)
      asked:receive()
      local cancelled = task:cancel()
      local rows = db:query "select 1 as n"
      local left = #db:query "select * from users"
      local opened = db:stats().opened
      db:close()
      return { cancelled, rows, left, opened }]])
  end)

  it("gives back the connection of one who is cancelled while it waits for it, or has just got it", function()
    assert.equal(1, broker:run [[
      local db = new { pool = 1, timeout = 20 }
      for i = 1, 50 do
        local tasks = {}
        for n = 1, 3 do
          tasks[n] = luamq.spawn(function() db:transaction(function(tx) tx:query "select 1" end) end)
        end
        luamq.sleep(i / 10000)
        for _, task in ipairs(tasks) do task:cancel() end
      end
      local rows = #db:query "select 1"
      db:close()
      return rows]])
  end)

  it("gives up a query that takes too long, and so does the server", function()
    local own <close> = inside.start(prelude(server, "pool = 1, timeout = 0.3"))
    assert.equal("timeout", own:run [[
      repeat until db:query "select 1"
      return select(3, db:query "select pg_sleep(600)")]])
    own:run "repeat until db:query 'select 1'"
    broker:run [[
      repeat local rows = db:query "select 1 from pg_stat_activity where query like '%pg_sleep(600)%' \z
        and state = 'active' and pid <> pg_backend_pid()" until #rows == 0]]
  end)

  it("waits no longer than its time for a connection", function()
    local own <close> = inside.start(prelude(server, "pool = 1, timeout = 0.3"))
    assert.same({ "timeout", "no free connection in time" }, own:run [[
      local held, free = luamq.channel(1), luamq.channel(1)
      repeat until db:query "select 1"
      luamq.spawn(function()
        db:transaction(function()
          held:send(true)
          free:receive()
        end)
      end)
      held:receive()
      local _, message, code = db:query "select 1"
      free:send(true)
      return { code, message }]])
  end)

  it("takes a uri, and sockets", function()
    assert.equal(1, #broker:run(([[
      local uri = "postgresql://admin:secret@127.0.0.1:%d/postgres?connect_timeout=5"
      return postgres.new { uri = uri }:query "select 1"]]):format(server.port)))
    assert.equal(1, #broker:run(([[
      return postgres.new { host = %q, port = %d, user = "admin", database = "postgres" }:query "select 1"]])
      :format(server.folder, server.port)))
    assert.equal(1, #broker:run [[return new { host = "localhost" }:query "select 1"]])
  end)

  it("says that the name of a host is not known", function()
    local code, message = broker:run [[
      local none = postgres.new { host = "none.invalid", timeout = 0.5 }
      local _, message, code
      repeat _, message, code = none:query "select 1" until code ~= "timeout"
      return code, message]]
    assert.equal("connection", code)
    assert.matches("none.invalid", message, 1, true)
  end)

  it("says what is wrong with options, and shows no password", function()
    for message, options in pairs {
      ["postgres.new: unknown option 'pol', known are "] = { pol = 1 },
      ["postgres.new: pool: must be between 1 and 1000, got 0"] = { pool = 0 },
      ["postgres.new: uri: not a connection URI of libpq"] = { uri = "postgresql://a:hidden@[::" },
      ["postgres.new: password is in the uri as well"] = { uri = "postgresql://a:b@c", password = "hidden" },
      ["postgres.new: sslmode: expected "] = { sslmode = "yes" },
    } do
      local fine, problem = pcall(function() postgres.new(options) end)
      assert.is_false(fine)
      assert.matches(message, problem, 1, true)
      assert.matches("postgres_spec.lua:", problem, 1, true)
      assert.is_nil(problem:find("hidden", 1, true))
    end
    local message = broker:run [[
      local wrong = new { password = "hidden", timeout = 0.2 }
      local _, message, code
      repeat _, message, code = wrong:query "select 1" until code ~= "timeout"
      return message]]
    assert.matches("password authentication failed", message, 1, true)
    assert.is_nil(message:find("hidden", 1, true))
  end)

  it("fails what is under way when it is closed", function()
    assert.same({ "closed", "closed" }, broker:run [[
      local db = new {}
      local results = luamq.channel(1)
      luamq.spawn(function() results:send(select(3, db:query "select pg_sleep(5)")) end)
      luamq.sleep(0.05)
      db:close()
      return { results:receive(), select(3, db:query "select 1") }]])
  end)
end)

describe("luamq.postgres and a server that fails", function()
  local server, broker

  before_each(function()
    server = databases.postgres()
    broker = inside.start(prelude(server, "timeout = 20, pool = 2")
      .. "quick = new { timeout = 0.3, connect_timeout = 0.3 }")
  end)

  after_each(function()
    broker:stop()
    server:stop()
  end)

  it("waits for one that comes back in time, and says that there is none", function()
    assert.equal(1, #broker:run "return db:query 'select 1'")
    server:stop_hard()
    local rows, message, code = broker:run "return quick:query 'select 1'"
    assert.is_nil(rows)
    assert.equal("connection", code)
    assert.matches("Connection refused", message, 1, true)
    assert(broker.client:publish("run", "return #db:query 'select 1'", 1))
    server:start()
    assert.equal("return true, 1, {1}", assert(broker.client:receive(30)).payload)
  end)

  it("fails what was sent, and what stands in a transaction", function()
    broker:run [[
      db:query "select 1"
      result = luamq.channel(2)
      luamq.spawn(function() result:send(select(3, db:query "select pg_sleep(60)")) end)
      luamq.spawn(function()
        result:send(select(3, db:transaction(function(tx)
          tx:query "select pg_sleep(60)"
          return tx:query "select 1"
        end)))
      end)
      while db:stats().queries < 4 do luamq.sleep(0.001) end]]
    server:stop_hard()
    assert.same({ "connection", "connection" }, broker:run "return { result:receive(), result:receive() }")
    server:start()
    assert.equal(1, #broker:run "return db:query 'select 1'")
  end)

  it("gives up one that hangs when the time is over; others go on", function()
    local pid = broker:run [[
      local rows
      repeat rows = quick:query "select pg_backend_pid() as pid" until rows
      return rows[1].pid]]
    os.execute(("kill -STOP %d %d"):format(pid, server.process.pid))
    local code = broker:run "return select(3, quick:query 'select 1')"
    assert.equal("timeout", code)
    local other = assert(luamq_client.connect { port = broker.port, id = "other" })
    other:disconnect()
    assert.equal("timeout", broker:run "return select(3, quick:query 'select 1')")
    os.execute(("kill -CONT %d %d"):format(pid, server.process.pid))
    assert.equal(1, #broker:run "local r repeat r = quick:query 'select 1' until r return r")
  end)
end)

describe("luamq.postgres in a test", function()
  local function broker_with(asked)
    return test.broker {
      listeners = { "tcp://127.0.0.1:0" },
      hooks = {
        authenticate = function(client)
          local db = postgres.new()
          asked.rows, asked.message, asked.code =
            db:query("select 1 where id = $1 and x = $2", client.id, nil)
          asked.done = db:transaction(function(tx) return tx:query "update" ~= nil end)
          return true
        end,
      },
    }
  end

  it("is answered by a fake", function()
    local asked, seen = {}, {}
    fakes.install("postgres", function(sql, parameters)
      seen[#seen + 1] = ("%s (%d)"):format(sql, parameters.n)
      return { { a = parameters[1] } }
    end)
    finally(function() fakes.install("postgres", nil) end)
    local broker <close> = broker_with(asked)
    broker:connect { id = "me" }
    assert.same({ { a = "me" }, affected = 1 }, asked.rows)
    assert.same({ "select 1 where id = $1 and x = $2 (2)", "update (0)" }, seen)
    assert.is_true(asked.done)
  end)

  it("has no network without one", function()
    local asked = {}
    local broker <close> = broker_with(asked)
    broker:connect { id = "a" }
    assert.matches("^no network in a test: give a fake answer with broker:fake%('postgres', ", asked.message)
    assert.equal("no_network", asked.code)
  end)
end)
