local client = require "luamq.client"
local process = require "spec.support.process"

describe("a service manager", function()
  local directory

  before_each(function() directory = process.directory() end)
  after_each(function() process.remove(directory) end)

  local function write(name, text)
    process.write(directory .. "/" .. name, text)
    return directory .. "/" .. name
  end

  --- Starts a program that gets these sockets, as launch.py writes them.
  local function launch(sockets, words, environment)
    local all = { "python3", "spec/support/launch.py", table.unpack(sockets) }
    all[#all + 1] = "--"
    table.move(words, 1, #words, #all + 1, all)
    return process.start(all, "2>&1", { environment = environment })
  end

  --- A broker that listens on what stands in its arguments.
  local function serve(sockets, urls, environment)
    local script = write("served.lua", "return { listeners = { ... }, anonymous = true }")
    return launch(sockets, { process.luamq, script, table.unpack(urls) }, environment)
  end

  local function connect(url)
    local port = math.tointeger(tonumber(url:match "^tcp://.*:(%d+)$"))
    return assert(client.connect(port and { port = port } or { unix = url:match "^unix://(.+)$" }))
  end

  local function listening(broker) return broker:expect("^listening on "):match "^listening on (.+)$" end
  local function exists(path) return os.rename(path, path) == true end

  describe("passes a socket", function()
    it("that the listener with its address takes", function()
      local broker <close> = serve({ "mqtt.socket=tcp:127.0.0.1:0" }, { "tcp://{mqtt.socket}" })
      local c <close> = connect(listening(broker))
      assert.is_true(c:ping())
      c:disconnect()
      assert.equal(0, broker:stop())
      assert.is_nil(broker.output:find("passed socket", 1, true))
    end)

    it("with a path, whose file stays as it is", function()
      local path = directory .. "/mqtt.sock"
      local broker <close> = serve({ "local=unix:" .. path }, { "unix://" .. path })
      assert.equal("unix://" .. path, listening(broker))
      local c <close> = connect("unix://" .. path)
      assert.is_true(c:ping())
      assert.equal(0, broker:stop())
      assert.equal("750 socket\n", process.output { "stat", "-c", "%a %F", path })
    end)

    it("of IPv6", function()
      if not os.execute "grep -q ' lo$' /proc/net/if_inet6 2>/dev/null" then return end
      local broker <close> = serve({ "six=tcp:::1:0" }, { "tcp://{six}" })
      local port = listening(broker):match "^tcp://%[::1%]:(%d+)$"
      local c <close> = assert(client.connect { host = "::1", port = math.tointeger(tonumber(port)) })
      assert.is_true(c:ping())
    end)

    it("beside listeners that open their own", function()
      local broker <close> = serve({ "a=tcp:127.0.0.1:0", "b=tcp:127.0.0.1:0" },
        { "tcp://127.0.0.1:0", "tcp://{b}", "unix://" .. directory .. "/own.sock", "tcp://{a}" })
      for _ = 1, 4 do
        local c <close> = connect(listening(broker))
        assert.is_true(c:ping())
      end
      assert.equal(0, broker:stop())
      assert.is_false(exists(directory .. "/own.sock"))
    end)

    it("that no listener wants: told by name, and closed", function()
      local path = directory .. "/lost.sock"
      local broker <close> = serve({ "want=tcp:127.0.0.1:0", "lost one=unix:" .. path }, { "tcp://{want}" })
      assert.matches(' warn no listener for a passed socket name="lost one" address=unix://' .. path,
        broker:expect "passed socket", 1, true)
      listening(broker)
      local _, message = client.connect { unix = path }
      assert.equal(path .. ": Connection refused", message)
    end)

    it("that no listener wants is told too when the start fails", function()
      local broker = serve({ "mqtt=tcp:0.0.0.0:0" }, { "tcp://127.0.0.1:0", "unix:///nowhere/at/all" })
      assert.equal(1, broker:wait())
      assert.matches("warn no listener for a passed socket name=mqtt address=tcp://0.0.0.0:%d+\n",
        broker.output)
    end)

    it("once: programs that a script runs get none", function()
      local script = write("runs.lua", [[return { listeners = { ... }, hooks = { start = function()
        os.execute "echo fds=$LISTEN_FDS; readlink /proc/self/fd/3 || echo none" end } }]])
      local broker <close> = launch({ "a=tcp:127.0.0.1:0" }, { process.luamq, script, "tcp://{a}" })
      assert.equal("fds=", broker:line())
      assert.equal("none", broker:line())
    end)

    it("to another process: it is not ours", function()
      local script = write("b.lua", "return { listeners = { 'tcp://127.0.0.1:0' } }")
      local broker <close> = launch({ "a=tcp:127.0.0.1:0" },
        { "env", "LISTEN_PID=1", process.luamq, script })
      local c <close> = connect(listening(broker))
      assert.is_true(c:ping())
    end)

    for kind, problem in pairs {
      ["udp:0"] = "is not a stream socket", ["bound:0"] = "is not listening",
      ["file:/dev/null"] = "is not a socket",
    } do
      it("that cannot be accepted from: " .. problem, function()
        local broker = serve({ "a=tcp:127.0.0.1:0", "bad=" .. kind }, { "tcp://{a}" })
        assert.equal(1, broker:wait())
        assert.equal(("luamq: passed socket 4 (bad) %s\n"):format(problem), broker.output)
      end)
    end

    it("in a wrong way", function()
      for name, value in pairs { LISTEN_FDS = "many", LISTEN_FDNAMES = "a:b:c" } do
        local script = write("b.lua", "return { listeners = { 'tcp://127.0.0.1:0' } }")
        local broker = launch({ "a=tcp:127.0.0.1:0" },
          { "env", name .. "=" .. value, process.luamq, script })
        assert.equal(1, broker:wait())
        assert.equal("luamq: cannot read the passed sockets (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES): "
          .. "Invalid argument\n", broker.output)
      end
    end)
  end)

  describe("is told", function()
    local manager, environment

    before_each(function()
      manager = process.start { "python3", "spec/support/manager.py", directory .. "/notify" }
      assert.equal("bound", manager:line())
      environment = { NOTIFY_SOCKET = directory .. "/notify" }
    end)
    after_each(function()
      manager:signal "KILL"
      manager:wait()
    end)

    it("of the broker's life", function()
      local broker <close> = serve({}, { "tcp://127.0.0.1:0", "unix://" .. directory .. "/x" }, environment)
      assert.equal("READY=1; STATUS=serving, 2 listeners", manager:line())
      local c <close> = connect("unix://" .. directory .. "/x") -- it is there
      broker:signal "HUP"
      assert.matches("^RELOADING=1; MONOTONIC_USEC=%d+; STATUS=reloading$", manager:line())
      assert.equal("READY=1; STATUS=serving, 2 listeners", manager:line())
      assert.is_true(c:ping())
      broker:signal "TERM"
      broker:signal "TERM"
      assert.equal("STOPPING=1; STATUS=stopping, clients are closed", manager:line())
      broker:wait()
    end)

    it("of an end that the script wants", function()
      local broker <close> = launch({}, { process.luamq, write("stops.lua", [[local luamq = require "luamq"
        return { listeners = { "tcp://127.0.0.1:0" }, hooks = {
          start = function() luamq.after(0.01, luamq.stop) end } }]]) }, environment)
      assert.equal("READY=1; STATUS=serving, 1 listener", manager:line())
      assert.equal("STOPPING=1; STATUS=stopping, clients are closed", manager:line())
      assert.equal(0, broker:wait())
    end)

    it("why there is no service", function()
      local script = write("raises.lua", [[return { listeners = { "tcp://127.0.0.1:0" },
        hooks = { start = function() error "no\nREADY=1" end } }]])
      local broker = launch({}, { process.luamq, script }, environment)
      assert.equal(("STATUS=hook start: %s/raises.lua:2: no"):format(directory), manager:line())
      assert.equal(1, broker:wait())
    end)

    it("by a watchdog that the loop turns", function()
      environment.WATCHDOG_USEC = "100000"
      local broker <close> = serve({}, { "tcp://127.0.0.1:0" }, environment)
      assert.equal("WATCHDOG=1", manager:line())
      assert.equal("READY=1; STATUS=serving, 1 listener", manager:line())
      for _ = 1, 3 do assert.equal("WATCHDOG=1", manager:line()) end
      assert.equal(0, broker:stop())
    end)

    it("nothing by a watchdog of another process, or one that is malformed", function()
      for name, value in pairs { WATCHDOG_PID = "1", WATCHDOG_USEC = "soon" } do
        environment.WATCHDOG_USEC = "100000"
        environment[name] = value
        local broker <close> = serve({}, { "tcp://127.0.0.1:0" }, environment)
        assert.matches("^READY=1;", manager:line())
        broker:stop()
        assert.matches("^STOPPING=1;", manager:line())
      end
    end)

    it("nothing while a hook does not return", function()
      environment.WATCHDOG_USEC = "20000"
      local mark = ("python3 spec/support/manager.py %s/notify mark"):format(directory)
      local broker <close> = launch({}, { process.luamq, write("stuck.lua", ([[
        local mark = %q
        local function authenticate()
          os.execute(mark)
          local start = os.clock()
          repeat until os.clock() - start > 0.1 -- ten answers would be due
          os.execute(mark)
          return true
        end
        return { listeners = { "tcp://127.0.0.1:0" }, script = { hook_budget = 0 },
          hooks = { authenticate = authenticate } }]]):format(mark)) }, environment)
      local c <close> = connect(listening(broker))
      repeat until manager:line() == "mark"
      assert.equal("mark", manager:line())
      assert.equal("WATCHDOG=1", manager:line())
      assert.is_true(c:ping())
    end)
  end)

  it("that is gone is a warning, and no end", function()
    local broker <close> = serve({}, { "tcp://127.0.0.1:0" }, { NOTIFY_SOCKET = directory .. "/nobody" })
    assert.matches(' warn cannot notify the service manager error="No such file or directory"$',
      broker:expect "service manager")
    assert.equal(0, broker:stop())
  end)
end)
