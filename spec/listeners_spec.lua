local client = require "luamq.client"
local config = require "luamq.config"
local listeners = require "luamq.listeners"
local process = require "spec.support.process"
local values = require "luamq.values"

--- The checked listener for what a script writes.
local function checked(value, script)
  script = script or { anonymous = true }
  script.listeners = { value }
  return assert(config.check(script)).listeners[1]
end

local function refused(value)
  local ok, problem = config.check { anonymous = true, listeners = { value } }
  assert.is_nil(ok)
  return (problem:gsub("^listeners%[1%]%.?", ""):gsub("^: ", ""))
end

describe("options of a listener", function()
  it("have these defaults", function()
    assert.same({ backlog = 1024, reuse_port = false, dual_stack = false, nodelay = true,
      proxy_protocol = false }, checked("tcp://127.0.0.1").options)
    assert.same({ backlog = 1024, mode = "0660", proxy_protocol = false }, checked("unix:///run/x").options)
    assert.same(checked("tcp://[::1]").options, checked({ "tcp://[::1]" }).options)
  end)

  it("have defaults that they would accept themselves", function()
    for _, listener in ipairs(listeners.transports) do
      for _, option in ipairs(listener.keys) do
        local default = option.default
        if type(default) == "table" then
          for _, field in ipairs(option.keys) do
            assert.equal(default[field.name], values.read(field, default[field.name]))
            assert.equal(default[field.name], field.default)
          end
        elseif default ~= nil then
          assert.equal(default, values.read(option, default))
        end
        assert.truthy(option.doc, option.name)
      end
    end
  end)

  it("take the backlog of the engine, or their own", function()
    local script = { engine = { backlog = 7 } }
    assert.equal(7, checked("tcp://[::1]", script).options.backlog)
    assert.equal(9, checked({ "tcp://[::1]", backlog = 9 }, script).options.backlog)
  end)

  it("are normalized", function()
    assert.same({ backlog = 5, reuse_port = true, dual_stack = true, keepalive = 60, nodelay = false,
      proxy_protocol = false },
      checked({ "tcp://[::]", backlog = 5.0, reuse_port = true, dual_stack = true, keepalive = 60.0,
        nodelay = false }).options)
    assert.same({ backlog = 1024, mode = "0600", owner = "root", group = 0, proxy_protocol = false },
      checked({ "unix:///run/x", mode = "600", owner = "root", group = 0 }).options)
  end)

  for problem, listener in pairs {
    ['reuse_port: expected a boolean, got "yes"'] = { "tcp://a", reuse_port = "yes" },
    ["nodelay: expected a boolean, got 1"] = { "tcp://a", nodelay = 1 },
    ["keepalive: expected a whole number of seconds, got 1.5"] = { "tcp://a", keepalive = 1.5 },
    ["keepalive: must be between 0 and 32767, got 40000"] = { "tcp://a", keepalive = 40000 },
    ["keepalive: must be between 0 and 32767, got -1"] = { "tcp://a", keepalive = -1 },
    ["backlog: must be between 1 and 65535, got 0"] = { "tcp://a", backlog = 0 },
    ['dual_stack: needs an IPv6 address, such as "tcp://[::]:1883"'] = { "tcp://0.0.0.0", dual_stack = true },
    ["dual_stak: unknown option of a tcp listener (did you mean 'dual_stack'?)"] =
      { "tcp://[::]", dual_stak = true },
    ["reusePort: unknown option of a tcp listener (did you mean 'reuse_port'?)"] =
      { "tcp://a", reusePort = true },
    ["read_limit: unknown option of a tcp listener (did you mean 'engine.read_limit'?)"] =
      { "tcp://a", read_limit = 5 },
    ["mode: an option of unix listeners, not of tcp ones"] = { "tcp://a", mode = "0660" },
    ["nodelay: an option of tcp, tls, ws and wss listeners, not of unix ones"] =
      { "unix:///x", nodelay = true },
    ["goup: unknown option of a unix listener (did you mean 'group'?)"] = { "unix:///x", goup = "x" },
    ['mode: expected octal digits in a string, such as "0660", got 660'] = { "unix:///x", mode = 0660 },
    ['mode: expected octal digits in a string, such as "0660", got "1777"'] = { "unix:///x", mode = "1777" },
    ['mode: expected octal digits in a string, such as "0660", got "068"'] = { "unix:///x", mode = "068" },
    ['mode: expected octal digits in a string, such as "0660", got "rw"'] = { "unix:///x", mode = "rw" },
    ["owner: expected a name or an id, got -1"] = { "unix:///x", owner = -1 },
    ["owner: expected a name or an id, got 4294967295"] = { "unix:///x", owner = 4294967295 },
    ['group: expected a name or an id, got ""'] = { "unix:///x", group = "" },
    ["group: expected a name or an id, got boolean"] = { "unix:///x", group = true },
  } do
    it("are refused: " .. problem, function() assert.equal(problem, refused(listener)) end)
  end

  it("are told with their lines", function()
    local text = 'return { listeners = {\n  { "unix:///x",\n    mod = "0600" } } }'
    assert.equal("a.lua:3: listeners[1].mod: unknown option of a unix listener (did you mean 'mode'?)",
      select(2, config.check(load(text)(), "a.lua", text)))
  end)

  it("are dumped, and load again", function()
    local script = { engine = { backlog = 8 }, listeners = {
      { "tcp://[::1]:1", keepalive = 30 }, { "unix:///run/a b", mode = "0600", group = "x", owner = 5 },
    } }
    local dump = config.dump(assert(config.check(script)))
    for _, line in ipairs {
      "      keepalive = 30, -- seconds, default none; ",
      "      backlog = 8, -- connections, default engine.backlog; ",
      '      mode = "0600", -- octal digits in a string, default "0660"; ',
      "      owner = 5, -- name or id, ",
      "      nodelay = true, -- boolean, default true; ",
    } do
      assert.truthy(dump:find("\n" .. line, 1, true), line)
    end
    local again = assert(config.check(assert(load(dump))()))
    assert.same(assert(config.check(script)).listeners, again.listeners)
    assert.equal(dump, config.dump(again))
  end)
end)

describe("the address of a unix listener", function()
  it("is an absolute path", function()
    assert.same({ url = "unix:///run/luamq.sock", scheme = "unix", path = "/run/luamq.sock",
      options = { backlog = 1024, mode = "0660", proxy_protocol = false } }, checked "UNIX:///run/luamq.sock")
    for _, url in ipairs { "unix://run/x", "unix://", "unix:///", "unix:///run/" } do
      assert.equal('expected an absolute path, as in "unix:///run/luamq.sock", got "' .. url .. '"',
        refused(url))
    end
    assert.equal([[a control character in the path, got "unix:///a\0b"]], refused "unix:///a\0b")
  end)

  it("has room in an address of the system", function()
    assert.equal(107, #checked("unix:///" .. ("x"):rep(106)).path)
    assert.equal("the path has 108 bytes, more than the 107 that an address has room for",
      refused("unix:///" .. ("x"):rep(107)))
  end)

  it("is there once", function()
    assert.equal("listeners[2]: the same address as listeners[1]",
      select(2, config.check { listeners = { "unix:///x", { "unix:///x", mode = "0600" } } }))
  end)

  it("is local: it may be open", function()
    local both = { "unix:///x", { "unix:///y", mode = "0666" } }
    assert.is_true(assert(config.check { listeners = both }).open)
    local _, problem = config.check { listeners = { "unix:///x", "tcp://0.0.0.0:1" } }
    assert.matches("^listeners%[2%]: tcp://0.0.0.0:1 would let in everybody", problem)
  end)
end)

describe("a unix socket", function()
  local directory, path
  before_each(function()
    directory = process.directory()
    path = directory .. "/luamq.sock"
  end)
  after_each(function() process.remove(directory) end)

  --- A broker that prints the credentials of whoever logs in.
  local function serve(options, log)
    process.write(directory .. "/broker.lua", ([[
      return { listeners = { { "unix://%s", %s } }, hooks = { authenticate = function(client)
        local who = client.credentials
        print("login", client.id, client.remote_address, client.local_address, who.uid, who.gid, who.pid)
        return true
      end } }]]):format(path, options or ""))
    return process.broker({ directory .. "/broker.lua" }, { log = log })
  end

  local function file_mode() return (process.output { "stat", "-c", "%a %F", path }:gsub("\n$", "")) end
  local function exists() return os.rename(path, path) == true end

  it("is told, has its mode, and is removed at the end", function()
    local broker = serve 'mode = "0600"'
    assert.equal("unix://" .. path, broker.url)
    assert.equal("600 socket", file_mode())
    assert.equal(0, broker:stop())
    assert.is_false(exists())
  end)

  it("shows hooks and the log who connected", function()
    local log = directory .. "/log"
    local broker = serve(nil, log)
    local c <close> = assert(client.connect { unix = path, id = "ours" })
    local uid = process.output({ "id", "-u" }):match "%d+"
    local gid = process.output({ "id", "-g" }):match "%d+"
    local pid = io.open "/proc/self/stat":read "n"
    assert.equal(("login\tours\tunix\tunix\t%s\t%s\t%d"):format(uid, gid, pid), broker:line())
    assert.is_true(c:ping())
    c:disconnect()
    assert.equal(0, broker:stop())
    assert.matches(" id=ours remote=unix", process.read(log), 1, true)
  end)

  it("serves the tools of mosquitto and ours", function()
    local broker <close> = serve()
    for _, tools in ipairs {
      { { "mosquitto_sub" }, { process.luamq, "pub" } }, { { process.luamq, "sub" }, { "mosquitto_pub" } },
    } do
      local sub, pub = tools[1], tools[2]
      local for_sub = { "--unix", path, "-i", "sub", "-t", "a/#", "-q", "1", "-C", "1", "-v" }
      local for_pub = { "--unix", path, "-t", "a/b", "-m", "hello", "-q", "1", "-r" }
      table.move(for_sub, 1, #for_sub, #sub + 1, sub)
      table.move(for_pub, 1, #for_pub, #pub + 1, pub)
      local receiver = process.start(sub)
      broker:expect "^login\tsub\tunix\t"
      process.output(pub) -- retained: it does not matter who is first
      assert.equal(0, receiver:wait())
      assert.equal("a/b hello\n", receiver.output)
    end
  end)

  it("carries large payloads, and reconnects", function()
    local broker <close> = serve()
    local c <close> = assert(client.connect { unix = path, id = "large", clean = false })
    assert(c:subscribe("l", 1))
    local payload = ("0123456789abcdef"):rep(1 << 16)
    assert(c:publish("l", payload, 1))
    assert.is_true(c:receive().payload == payload)
    c:close()
    assert(c:reconnect())
    assert.is_true(c.session_present)
    assert.equal(path, broker.url:match "^unix://(.*)$")
  end)

  it("that a killed broker left behind is replaced", function()
    local killed = serve()
    killed:signal "KILL"
    killed:wait()
    assert.is_true(exists())
    local broker <close> = serve()
    local c <close> = assert(client.connect { unix = path })
    assert.is_true(c:ping())
    assert.equal(0, broker:stop())
    assert.is_false(exists())
  end)

  it("in use, or another file, is an error and stays", function()
    local broker <close> = serve()
    local script = directory .. "/broker.lua"
    local function start() return process.run({ process.luamq, script }, { errors = true }) end
    assert.same({ 1, ("luamq: %s:1: cannot listen on unix://%s: another program uses this socket\n")
      :format(script, path) }, { start() })
    local c <close> = assert(client.connect { unix = path })
    assert.is_true(c:ping())
    c:disconnect()
    broker:stop()
    process.write(path, "precious")
    assert.same({ 1, ("luamq: %s:1: cannot listen on unix://%s: there is a file that is not a socket\n")
      :format(script, path) }, { start() })
    assert.equal("precious", process.read(path))
  end)

  it("needs an owner and a group that are known", function()
    local script = directory .. "/broker.lua"
    for option, what in pairs { owner = "user", group = "group" } do
      process.write(script, ("return { listeners = { { 'unix://%s', %s = 'no one here' } } }")
        :format(path, option))
      local status, output = process.run({ process.luamq, "--check", script }, { errors = true })
      assert.same({ 1, ("%s:1: cannot listen on unix://%s: there is no %s 'no one here' on this system\n")
        :format(script, path, what) }, { status, output })
      status, output = process.run({ process.luamq, script }, { errors = true })
      assert.equal(1, status)
      assert.equal(("luamq: %s:1: cannot listen on unix://%s: there is no %s 'no one here' on this system\n")
        :format(script, path, what), output)
      assert.is_false(exists())
    end
  end)

  it("is removed when the start fails after it", function()
    local script = directory .. "/broker.lua"
    process.write(script, ("return { listeners = { 'unix://%s', 'unix:///nowhere/at/all' } }"):format(path))
    local status, output = process.run({ process.luamq, script }, { errors = true })
    assert.equal(1, status)
    assert.matches("cannot listen on unix:///nowhere/at/all: No such file or directory\n$", output)
    assert.is_false(exists())
  end)

  it("that is not there is told by clients", function()
    local c, message = client.connect { unix = path }
    assert.is_nil(c)
    assert.equal(path .. ": No such file or directory", message)
    local missing = { process.luamq, "pub", "--unix", path, "-t", "a", "-m", "x" }
    assert.same({ 1, ("luamq pub: cannot connect to %s: No such file or directory\n"):format(path) },
      { process.run(missing, { errors = true }) })
    local _, problem = client.connect { unix = ("x"):rep(200) }
    assert.matches(": File name too long$", problem)
  end)

  it("excludes a host", function()
    assert.has_error(function() client.connect { unix = path, host = "a" } end)
    assert.has_error(function() client.connect { unix = path, port = 1 } end)
    assert.same({ 1, "luamq pub: --unix and a host exclude each other\n" }, { process.run(
      { process.luamq, "pub", "--unix", path, "-h", "a", "-t", "a", "-m", "x" }, { errors = true }) })
  end)
end)

describe("a tcp listener", function()
  it("with all options is served", function()
    local path = process.script [[return { listeners = {
      { "tcp://127.0.0.1:0", reuse_port = true, keepalive = 30, nodelay = false, backlog = 3 } } }]]
    local broker <close> = process.broker { path }
    os.remove(path)
    local c <close> = assert(client.connect { port = broker.port })
    assert.is_true(c:ping())
  end)
end)
