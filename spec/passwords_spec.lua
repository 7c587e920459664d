local brokers = require "spec.support.brokers"
local client = require "luamq.client"
local luamq = require "luamq"
local process = require "spec.support.process"
local test = require "luamq.test"

local of_hello <const> = "$7$101$8UY2J1GrxNe7HeGq$kOqgXGitD8ZshpLsJZFDR8+gwKB71fZMXVzL8GU3GR1W2J7INB28o"
  .. "FnUXXYqHD+p0OgPZGQwZ1McNqj4PpuQ7A=="

describe("a password file", function()
  local directory, file

  before_each(function()
    directory = process.directory()
    file = directory .. "/users"
    process.write(file, "ann:" .. of_hello .. "\n")
  end)
  after_each(function() process.remove(directory) end)

  local function write_script(text)
    process.write(directory .. "/broker.lua", 'local luamq = require "luamq"\n' .. text)
    return directory .. "/broker.lua"
  end

  local function broker_of(script)
    script.credentials = luamq.password_file(file)
    local broker = test.broker(script)
    broker:capture()
    return broker
  end

  local function reason(broker, user, password, version)
    local options = { id = "c", username = user, password = password, version = version }
    return (brokers.connect(broker, options)).reason
  end

  it("lets in who has a line in it, in all versions of MQTT", function()
    local broker <close> = broker_of {}
    for _, version in ipairs { "3.1", "3.1.1", "5" } do
      assert.equal("success", reason(broker, "ann", "hello", version))
      assert.equal("not_authorized", reason(broker, "ann", "hullo", version))
      assert.equal("not_authorized", reason(broker, "eve", "hello", version))
    end
    assert.equal("not_authorized", reason(broker))
    assert.equal(9, broker:stats().password_checks)
    assert.equal(7, broker:stats().logins_failed)
  end)

  it("lets in nameless clients too where they may", function()
    local broker <close> = broker_of { anonymous = true }
    assert.equal("success", reason(broker))
    assert.equal("success", reason(broker, "ann", "hello"))
    assert.equal("not_authorized", reason(broker, "ann", "x"))
  end)

  it("is not asked where a hook decides", function()
    local broker <close> = broker_of { hooks = { authenticate = function() return true end } }
    assert.equal("success", reason(broker, "eve", "x"))
    assert.equal(0, broker:stats().password_checks)
  end)

  it("is read again when it changes, with a line in the log", function()
    local broker <close> = broker_of { log = { level = "info" } }
    process.write(file, "bob:" .. of_hello .. "\nann:plain secret\n")
    broker:advance(1)
    assert.equal("success", reason(broker, "bob", "hello"))
    assert.equal("not_authorized", reason(broker, "ann", "hello"))
    local lines = table.concat(brokers.logged(broker), "\n")
    assert.matches("error engine error error=\"" .. file .. ":2: not a hash of a password\"", lines, 1, true)
    assert.matches("info password file reloaded file=" .. file .. " users=1", lines, 1, true)
    assert.is_nil(lines:find("plain", 1, true))
    assert.is_nil(lines:find("$7$", 1, true))
    assert.equal(1, broker:stats().password_reloads)
    os.remove(file)
    broker:advance(1)
    assert.equal("success", reason(broker, "bob", "hello"))
    assert.equal(1, broker:stats().password_reload_failures)
  end)

  it("is told to the hook `error` when it is wrong", function()
    local errors = {}
    local broker <close> = broker_of { hooks = { error = function(err) errors[#errors + 1] = err end } }
    os.remove(file)
    broker:advance(1)
    assert.same({ "password file " .. file .. ": No such file or directory; the users are those of before" },
      errors)
  end)

  it("is relative to the script, and checked with it", function()
    local script = write_script [[return { listeners = { "tcp://127.0.0.1:0" },
      credentials = luamq.password_file "users" }]]
    local function check() return process.run({ process.luamq, "--check", script }, { errors = true }) end
    assert.same({ 0, script .. ": fine\n" }, { check() })
    process.write(file, "ann:secret\nbob:" .. of_hello .. "\n$7$")
    local where = script .. ":3: credentials: "
    assert.same({ 1, where .. file .. ":1: not a hash of a password\n"
      .. where .. file .. ":3: expected name:hash\n" }, { check() })
    os.remove(file)
    assert.same({ 1, where .. "cannot read '" .. file .. "': No such file or directory\n" }, { check() })
  end)

  it("is printed by --dump as a script has it", function()
    local script = write_script [[return { listeners = { "tcp://0.0.0.0:0" },
      credentials = luamq.password_file "users" }]]
    local output = process.output { process.luamq, "--dump", script }
    assert.matches('\n  credentials = require "luamq".password_file("users"),\n', output, 1, true)
    process.write(directory .. "/dumped.lua", output)
    assert.equal(output:gsub("broker%.lua", "dumped.lua"),
      process.output { process.luamq, "--dump", directory .. "/dumped.lua" })
  end)

  it("takes the path of a file, and nothing else", function()
    for _, wrong in ipairs { 1, true, {} } do
      assert.matches("^spec/passwords_spec.lua:%d+: luamq.password_file expects the path of a file$",
        brokers.problem(function() luamq.password_file(wrong) end))
    end
    assert.equal('luamq.password_file("a b")', tostring(luamq.password_file "a b"))
  end)

  -- All logins are sent before the first PING is, and there are more hashes to be computed than a turn of the
  -- loop could do: who is served in between is served by a loop that goes on.
  it("keeps nobody else waiting while very many log in", function()
    process.run({ process.luamq, "passwd", "-cb", file, "ann", "hello" })
    local broker <close> = process.broker { write_script [[return { listeners = { "tcp://127.0.0.1:0" },
      credentials = luamq.password_file "users", anonymous = true, log = { level = "off" } }]] }
    local events = process.output { "python3", "spec/support/many_logins.py", tostring(broker.port), "50",
      "ann", "hello" }
    local count, before = 0, 0
    assert.matches("^sent\n", events)
    for event in events:gmatch "[^\n]+" do
      if event == "pong" and count < 50 then before = before + 1 end
      if event == "connack 0" then count = count + 1 end
    end
    assert.equal(50, count)
    assert.is_true(before >= 10, before .. " pings answered before the last login")
  end)

  it("gives up the check of a client that has gone", function()
    process.run({ process.luamq, "passwd", "-cb", "-C", "7", file, "ann", "hello" })
    local broker <close> = process.broker { write_script [[
      local function report()
        local now = luamq.stats()
        luamq.publish("waiting", tostring(now.password_checks_waiting), { retain = true })
      end
      local hooks = { start = function() luamq.every(0.05, report) end }
      return { listeners = { "tcp://127.0.0.1:0" }, hooks = hooks, log = { level = "off" },
        credentials = luamq.password_file "users", anonymous = true, engine = { workers = 1 } }]] }
    local watcher <close> = assert(client.connect { port = broker.port })
    assert(watcher:subscribe "waiting")
    local gone = process.run { "python3", "-c", [[
import socket, struct, sys
body = b"\0\4MQTT\4\xc2\0\0\0\1g\0\3ann\0\5hello"
all = []
for i in range(100):
    c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    c.sendall(bytes([0x10, len(body)]) + body)
    all.append(c)
for c in all:
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
]], tostring(broker.port) }
    assert.equal(0, gone)
    local waited = false
    repeat
      local message = assert(watcher:receive(30))
      waited = waited or tonumber(message.payload) > 10
    until waited and message.payload == "0"
    assert.is_true(tonumber(broker:stop()) == 0)
  end)
end)

describe("luamq.password", function()
  --- What a hook gets from `fn`.
  local function in_hook(fn)
    local result
    local broker <close> = brokers.start { authenticate = function()
      result = table.pack(fn())
      return true
    end }
    broker:connect()
    broker:run()
    assert.is_table(result, table.concat(brokers.logged(broker), "\n"))
    return table.unpack(result, 1, result.n)
  end

  it("makes hashes and verifies them", function()
    local hash, right, wrong, none = in_hook(function()
      local made = assert(luamq.password.hash "hello")
      return made, luamq.password.verify("hello", made), luamq.password.verify("hullo", made),
        luamq.password.verify(nil, made)
    end)
    assert.matches("^%$y%$j9T%$", hash)
    assert.same({ true, false, false }, { right, wrong, none })
    assert.is_true(in_hook(function() return luamq.password.verify("hello", of_hello) end))
  end)

  it("makes hashes of the kind and cost that are told", function()
    local one, other, third = in_hook(function()
      return luamq.password.hash("x", { cost = 1 }), luamq.password.hash("x", { kind = "argon2id" }),
        luamq.password.hash("x", { kind = "pbkdf2", cost = 1000 })
    end)
    assert.matches("^%$y%$j75%$", one)
    assert.matches("^%$argon2id%$v=19%$m=19456,t=2,p=1%$", other)
    assert.matches("^%$7%$1000%$", third)
  end)

  it("tells what it cannot hash or verify", function()
    assert.same({ nil, "the password: longer than 511 bytes", "password_not_allowed" },
      { in_hook(function() return luamq.password.hash(("x"):rep(512)) end) })
    assert.same({ nil, "the password: it has a NUL in it", "password_not_allowed" },
      { in_hook(function() return luamq.password.hash "a\0b" end) })
    assert.same({ nil, "not a hash of a password", "not_a_hash" },
      { in_hook(function() return luamq.password.verify("secret", "secret") end) })
    assert.is_false(in_hook(function() return luamq.password.verify("a\0b", of_hello) end))
  end)

  it("suspends the hook of one client, and nobody else", function()
    local order = {}
    local broker <close> = brokers.start { authenticate = function(who)
      if who.id == "slow" then assert(luamq.password.hash "hello") end
      order[#order + 1] = who.id
      return true
    end }
    broker:connect { id = "slow" }
    broker:connect { id = "quick" }
    broker:run()
    assert.same({ "slow", "quick" }, order)
  end)

  it("says that the broker is busy when too many jobs wait", function()
    local results = {}
    local broker <close> = brokers.start({ start = function()
      for i = 1, 3 do
        luamq.spawn(function() results[i] = table.pack(luamq.password.hash("x", { cost = 1 })) end)
      end
    end }, { engine = { worker_queue = 1 } })
    broker:run()
    assert.is_string(results[1][1])
    for i = 2, 3 do
      assert.same({ nil, "too many jobs are waiting for a worker thread", "server_busy" },
        { results[i][1], results[i][2], results[i][3] })
    end
    assert.equal(2, broker:stats().jobs_refused)
    assert.matches("worker threads: 2 jobs refused, as too many are waiting",
      table.concat(brokers.logged(broker)))
  end)

  it("is given up with its client", function()
    local script = process.script([[
      local luamq = require "luamq"
      local hooks = {}
      function hooks.start() -- they are before it, and take some 20 seconds
        for _ = 1, 150 do luamq.spawn(function() luamq.password.hash("x", { cost = 8 }) end) end
      end
      function hooks.authenticate(client)
        if client.id == "other" then return true end
        local trail <close> = setmetatable({}, { __close = function()
          luamq.publish("closed", tostring(luamq.stats().jobs_waiting), { retain = true })
        end })
        luamq.publish("began", tostring(luamq.stats().jobs_waiting), { retain = true })
        return luamq.password.verify("x", "]]..of_hello..[[")
      end
      return { listeners = { "tcp://127.0.0.1:0" }, hooks = hooks, script = { hook_timeout = 60 },
        engine = { workers = 1 }, log = { level = "off" } }]])
    local broker <close> = process.broker { script }
    local other <close> = assert(client.connect { port = broker.port, id = "other" })
    assert(other:subscribe "#")
    local gone = process.run { "python3", "-c", [[
import socket, struct, sys
body = b"\0\4MQTT\4\2\0\0\0\1g"
c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
c.sendall(bytes([0x10, len(body)]) + body)
o = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
c.close()
]], tostring(broker.port) }
    assert.equal(0, gone)
    assert.equal("began", assert(other:receive(30)).topic)
    assert.equal("closed", assert(other:receive(30)).topic)
    assert.equal(0, broker:stop())
    os.remove(script)
  end)

  it("refuses what is no password, hash or option", function()
    local rows = {
      ["luamq.password.hash expects a password as a string"] = function() luamq.password.hash(1) end,
      ["luamq.password.hash expects its options in a table"] = function() luamq.password.hash("x", 5) end,
      ["luamq.password.hash has no option 'rounds'"] =
        function() luamq.password.hash("x", { rounds = 5 }) end,
      ["luamq.password.hash: kind is yescrypt, argon2id or pbkdf2"] =
        function() luamq.password.hash("x", { kind = "md5" }) end,
      ["luamq.password.hash: the cost of yescrypt is an integer from 1 to 8"] =
        function() luamq.password.hash("x", { cost = 9 }) end,
      ["luamq.password.verify expects a password as a string"] = function() luamq.password.verify(1, "x") end,
      ["luamq.password.verify expects a hash as a string"] = function() luamq.password.verify("x") end,
    }
    for problem, fn in pairs(rows) do
      assert.matches("^spec/passwords_spec.lua:%d+: " .. problem:gsub("%p", "%%%0") .. "$",
        brokers.problem(fn))
    end
  end)

  it("needs a hook that can wait", function()
    assert.matches("luamq.password.hash", brokers.problem(function() luamq.password.hash "x" end), 1, true)
  end)
end)
