local certificates = require "spec.support.certificates"
local client = require "luamq.client"
local luamq = require "luamq"
local packets = require "spec.support.packets"
local process = require "spec.support.process"

local program = process.absolute(process.luamq)

describe("the program", function()
  local directory, script

  setup(function()
    directory = process.directory()
    script = directory .. "/broker.lua"
  end)
  teardown(function() process.remove(directory) end)

  local function write(text) process.write(script, text) end

  --- A broker with this script, which is replaced by the next `write`.
  local function serve(text, arguments)
    write(text)
    return process.broker { script, table.unpack(arguments or {}) }
  end

  --- Has the script loaded again: whether it is in force, and what is printed.
  local function reload(broker)
    local status, output = process.run({ program, "--reload", tostring(broker.pid) }, { errors = true })
    return status == 0, output
  end

  local function connect(broker, options)
    options = options or {}
    if not options.url then options.port = options.port or broker.port end
    return assert(client.connect(options))
  end

  --- A script on the first listener's port, with more of a table.
  local function on(port, more)
    return ('return { listeners = { "tcp://127.0.0.1:%d" }, %s }'):format(port, more or "")
  end

  local loopback = 'return { listeners = { "tcp://127.0.0.1:0" } }'

  describe("on SIGHUP", function()
    it("loads the script again in a new state, with its arguments and chunks", function()
      local text = [[
        count = (count or 0) + 1
        local argument = ...
        return { listeners = { "tcp://127.0.0.1:0" }, hooks = { start = function(broker)
          print("VERSION", count, chunk, arg[1], argument, broker.listeners[1])
        end } }]]
      write(text:gsub("VERSION", "one"))
      local broker <close> = process.broker { "-e", "chunk = (chunk or 0) + 1", script, "a" }
      assert.matches("one\t1\t1\ta\ta\ttcp://127.0.0.1:%d+", broker.output)
      local c <close> = connect(broker)
      write(text:gsub("VERSION", "two"))
      broker:signal "HUP"
      assert.equal(("two\t1\t1\ta\ta\t%s"):format(broker.url), broker:expect "^two")
      assert.is_true(c:ping())
      assert.equal(0, broker:stop())
    end)

    it("goes on as it was when the script is wrong, and says why", function()
      local broker <close> = serve(loopback)
      local c <close> = connect(broker)
      write "return { listeners = }"
      broker:signal "HUP"
      broker:expect "error reload failed: everything stays as it is$"
      assert.equal(("    %s:1: unexpected symbol near '}'"):format(script), broker:line())
      assert.is_true(c:ping())
    end)
  end)

  describe("with --reload", function()
    it("tells that another script is in force", function()
      local broker <close> = serve(loopback)
      assert.same({ true, "reloaded\n" }, { reload(broker) })
      broker:expect "info reload: another script is in force$"
    end)

    it("tells all that is wrong, as --check does, and nothing changes", function()
      local broker <close> = serve(loopback)
      write [[return {
        listeners = { "tpc://x" },
        engine = { read_limt = 1 },
      }]]
      local done, output = reload(broker)
      assert.is_false(done)
      local checked = select(2, process.run({ program, "--check", script }, { errors = true }))
      assert.equal("luamq: not reloaded: " .. checked, output)
      local c <close> = connect(broker)
      assert.is_true(c:ping())
    end)

    it("tells what fails on this machine", function()
      local broker <close> = serve(loopback)
      local other <close> = process.broker { process.script(loopback) }
      for pattern, text in pairs {
        ["cannot listen on tcp://127%.0%.0%.1:%d+: Address already in use"] = on(other.port),
        ["certificate: cannot read '.*missing.pem'"] = 'return { listeners = { { "tls://127.0.0.1:0", '
          .. 'certificate = "missing.pem", key = "missing.key" } } }',
        ["hook selftest: no database"] = on(broker.port,
          "hooks = { selftest = function() return false, 'no database' end }"),
        ["hook start: .*broker.lua:1: no"] = on(broker.port, "hooks = { start = function() error 'no' end }"),
        ["broker.lua:1: oh"] = "error 'oh'",
      } do
        write(text)
        local done, output = reload(broker)
        assert.is_false(done)
        assert.matches(pattern, output)
        local c <close> = connect(broker)
        assert.is_true(c:ping())
      end
    end)

    it("tells who cannot be asked", function()
      assert.same({ 1, "luamq: not reloaded: process 1 is no broker of luamq that this user may ask\n" },
        { process.run({ program, "--reload", "1" }, { errors = true }) })
      for _, arguments in ipairs { { "--reload" }, { "--reload", "x" }, { "--reload", "0" } } do
        assert.equal(2, (process.run { program, table.unpack(arguments) }))
      end
    end)

    it("fulfils wishes that come while a reload is under way by another one", function()
      local broker <close> = serve [[
        local luamq = require "luamq"
        return { listeners = { "tcp://127.0.0.1:0" }, hooks = {
          selftest = function() luamq.sleep(0.3) end,
          start = function() print "started" end } }]]
      local first = process.start { program, "--reload", tostring(broker.pid) }
      local second = process.start { program, "--reload", tostring(broker.pid) }
      assert.equal(0, first:wait())
      assert.equal(0, second:wait())
      local c <close> = connect(broker)
      assert.is_true(c:ping())
    end)
  end)

  describe("keeps listeners that are the same", function()
    local function listeners(list)
      return ("return { listeners = { %s } }"):format(table.concat(list, ", "))
    end

    local function is_open(port)
      local c = client.connect { port = port, id = "probe" }
      if c then c:disconnect() end
      return c ~= nil
    end

    it("opens new ones, and closes others without their clients", function()
      local broker <close> = serve(listeners { '"tcp://127.0.0.1:0"', '"tcp://localhost:0"' })
      local second = math.tointeger(tonumber(broker:expect("^listening"):match ":(%d+)$"))
      local a <close> = connect(broker, { id = "a" })
      local b <close> = connect(broker, { id = "b", port = second })
      write(listeners { '"tcp://127.0.0.1:0"', ('"unix://%s/new.sock"'):format(directory) })
      assert.is_true(reload(broker))
      assert.equal(("listening on unix://%s/new.sock"):format(directory), broker:expect "^listening")
      assert.is_true(is_open(broker.port))
      assert.is_false(is_open(second))
      local c <close> = connect(broker, { url = ("unix://%s/new.sock"):format(directory), id = "c" })
      for _, one in ipairs { a, b, c } do assert.is_true(one:ping()) end
      write(listeners { '"tcp://127.0.0.1:0"' })
      assert.is_true(reload(broker))
      assert.equal("", process.output { "find", directory, "-name", "new.sock" })
      assert.is_true(c:ping())
    end)

    it("changes options of an address that is listened on", function()
      local broker <close> = serve(loopback)
      local unix = directory .. "/mode.sock"
      local function both(nodelay, mode)
        return listeners { ('{ "tcp://127.0.0.1:%d", nodelay = %s }'):format(broker.port, nodelay),
          ('{ "unix://%s", mode = "%s" }'):format(unix, mode) }
      end
      for _, case in ipairs { { "true", "0600" }, { "false", "0660" }, { "true", "0600" } } do
        write(both(table.unpack(case)))
        assert.same({ true, "reloaded\n" }, { reload(broker) })
        assert.equal(case[2]:sub(2) .. "\n", process.output { "stat", "-c", "%a", unix })
        assert.is_true(is_open(broker.port))
        local c <close> = connect(broker, { url = "unix://" .. unix })
        assert.is_true(c:ping())
      end
      broker:stop()
      assert.equal("", process.output { "find", directory, "-name", "mode.sock" })
    end)

    it("and opens nothing when one cannot be opened", function()
      local broker <close> = serve(loopback)
      local other <close> = process.broker { process.script(loopback) }
      local unix = directory .. "/never.sock"
      write(listeners { '"tcp://127.0.0.1:0"', ('"unix://%s"'):format(unix),
        ('"tcp://127.0.0.1:%d"'):format(other.port) })
      assert.is_false(reload(broker))
      assert.equal("", process.output { "find", directory, "-name", "never.sock" })
      assert.is_true(is_open(broker.port))
    end)

    it("and loads the files of their certificates again", function()
      certificates.make(directory)
      local function use(name)
        for _, ending in ipairs { ".key", ".pem" } do
          process.write(directory .. "/live" .. ending, process.read(directory .. "/" .. name .. ending))
        end
      end
      use "server"
      local listener = '{ "tls://127.0.0.1:0", certificate = "%s/live.pem", key = "%s/live.key" }'
      local broker <close> = serve(listeners { listener:format(directory, directory) })
      local port = broker.url:match ":(%d+)$"
      local function shown()
        return select(2, process.run({ "openssl", "s_client", "-connect", "127.0.0.1:" .. port },
          { errors = true }))
      end
      assert.matches("CN = server", shown())
      use "elsewhere"
      assert.is_true(reload(broker))
      assert.matches("CN = elsewhere", shown())
    end)
  end)

  it("closes the state of the old script when its last hook has ended", function()
    local text = [[
      local luamq = require "luamq"
      local name = "NAME"
      setmetatable({}, { __gc = function() print("closed", name) end })
      kept = setmetatable({}, { __gc = function() print("end of", name) end })
      return { listeners = { "tcp://127.0.0.1:0" }, hooks = {
        publish = function(client, m)
          if m.topic == "slow" then luamq.sleep(0.3) print("answered", name) end
          return true
        end } }]]
    local broker <close> = serve((text:gsub("NAME", "one")))
    local c <close> = connect(broker, { id = "c" })
    assert(c:publish("slow", "", 0))
    write((text:gsub("NAME", "two")))
    assert.is_true(reload(broker))
    broker:expect "^answered\tone"
    broker:expect "^end of\tone"
    local d <close> = connect(broker, { id = "d" })
    assert(d:publish("slow", "", 1))
    broker:expect "^answered\ttwo"
  end)

  it("lets logins end that a password file is being asked about", function()
    local iterations = 300000 -- so that it takes a while
    local key = luamq.crypto.pbkdf2("sha512", "hello", "salt", iterations, 64)
    process.write(directory .. "/old", ("ann:$7$%d$%s$%s\n"):format(iterations,
      luamq.crypto.base64_encode "salt", luamq.crypto.base64_encode(key)))
    process.write(directory .. "/new", "")
    local function text(name)
      return ([[
        local luamq = require "luamq"
        local function look() if luamq.stats().password_checks_waiting > 0 then print "checking" end end
        return { listeners = { "tcp://127.0.0.1:0" }, credentials = luamq.password_file "%s/%s",
          hooks = { start = function() luamq.every(0.001, look) end } }]]):format(directory, name)
    end
    local broker <close> = serve(text "old")
    local c <close> = assert(client.open { port = broker.port, timeout = 60 })
    c:send_raw(packets.connect_packet { version = 4, username = "ann", password = "hello" })
    broker:expect "^checking"
    write(text "new")
    assert.is_true(reload(broker))
    assert.equal(0, assert(c:receive_packet()).code)
    local answer, why = client.connect { port = broker.port, username = "ann", password = "hello" }
    assert.is_nil(answer)
    assert.equal("not authorized", why)
  end)

  it("takes a storm of signals as few reloads", function()
    local broker <close> = serve [[
      starts = 0
      return { listeners = { "tcp://127.0.0.1:0" }, hooks = {
        save = function() return reloads end,
        start = function(broker) reloads = (broker.saved or 0) + 1 print("start", reloads) end } }]]
    for _ = 1, 10 do
      assert(os.execute(("for i in 1 2 3 4 5 6 7 8 9 10; do kill -HUP %d; done"):format(broker.pid)))
    end
    assert.is_true(reload(broker))
    broker:signal "TERM"
    broker:wait()
    local starts = 0
    for number in broker.output:gmatch "start\t(%d+)" do starts = math.max(starts, tonumber(number)) end
    assert.is_true(starts >= 3 and starts <= 102)
  end)

  it("that stops while clients leave ends a reload, with its listeners", function()
    local broker = serve [[
      local luamq = require "luamq"
      return { listeners = { "tcp://127.0.0.1:0", "tcp://127.0.0.1:0" }, hooks = {
        selftest = function() print "testing" luamq.sleep(0.2) end,
        terminate = function() luamq.sleep(1) end,
        stop = function(broker) print("stop", #broker.listeners) end } }]]
    local deaf = connect(broker, { id = "deaf" })
    assert(deaf:subscribe "#") -- and reads nothing any more
    local c <close> = connect(broker, { id = "c" })
    for _ = 1, 64 do assert(c:publish("a", ("x"):rep(1 << 20), 1)) end
    local asked = process.start({ program, "--reload", tostring(broker.pid) }, "2>&1")
    broker:expect "^testing"
    broker:signal "TERM"
    assert.equal(1, asked:wait())
    assert.equal("luamq: not reloaded: the broker is stopping\n", asked.output)
    broker:signal "TERM"
    broker:wait()
    assert.matches("\nstop\t0\n", broker.output)
    deaf:close()
  end)

  it("that stops tells so to who waits for a reload", function()
    local broker = serve [[
      local luamq = require "luamq"
      return { listeners = { "tcp://127.0.0.1:0" }, hooks = {
        selftest = function() print "testing" luamq.sleep(4) end } }]]
    local asked = process.start({ program, "--reload", tostring(broker.pid) }, "2>&1")
    broker:expect "^testing"
    assert.equal(0, broker:stop())
    assert.equal(1, asked:wait())
    assert.equal("luamq: not reloaded: the broker is stopping\n", asked.output)
  end)

  it("lets a hook reload it", function()
    local broker <close> = serve [[
      local luamq = require "luamq"
      return { listeners = { "tcp://127.0.0.1:0" }, hooks = {
        start = function(broker) print("started", broker.saved) end,
        save = function() return "handed over" end,
        publish = function(client, message)
          if message.topic == "reload" then print("outcome", luamq.reload()) end
          return true
        end } }]]
    local c <close> = connect(broker)
    assert(c:publish("reload", "", 1))
    broker:expect "^started\thanded over$"
    broker:expect "^outcome\ttrue$"
    write "return 5"
    assert(c:publish("reload", "", 1))
    broker:expect "^outcome\tnil\t.*broker.lua:1: expected the script to return a table of settings"
    assert(c:publish("other", "", 1))
  end)

  it("loses and doubles no message of QoS 1, and drops nobody, over many reloads", function()
    local broker <close> = serve [[
      return { listeners = { "tcp://127.0.0.1:0" }, backend = { session_queue_size = 10000 }, hooks = {
        authenticate = function(client) client.ref = { n = 0 } return true end,
        publish = function(client) client.ref.n = client.ref.n + 1 return true end } }]]
    local sub <close> = connect(broker, { id = "sub" })
    local pub <close> = connect(broker, { id = "pub" })
    assert(sub:subscribe("t", 1))
    local sent = 0
    for _ = 1, 50 do
      broker:signal "HUP"
      for _ = 1, 20 do
        sent = sent + 1
        assert(pub:publish("t", tostring(sent), 1))
      end
    end
    assert.is_true(reload(broker))
    for i = 1, sent do assert.equal(tostring(i), assert(sub:receive()).payload) end
    assert.is_nil((sub:receive(0)))
    assert.equal(0, broker:stop())
  end)
end)
