local client = require "luamq.client"
local process = require "spec.support.process"

local program = process.absolute(process.luamq)

describe("luamq", function()
  local directory

  setup(function() directory = process.directory() end)
  teardown(function() process.remove(directory) end)

  --- Writes a script into the directory; the program that is run there names it as it is given here.
  local function write(name, text)
    process.write(directory .. "/" .. name, text)
    return name
  end

  --- Runs the program in the directory: its status, and what it wrote on both streams.
  local function run(arguments, options)
    options = options or { errors = true }
    options.directory = directory
    return process.run({ program, table.unpack(arguments) }, options)
  end

  --- A broker whose script stands in the directory.
  local function serve(text, arguments)
    write("served.lua", text)
    return process.broker({ directory .. "/served.lua", table.unpack(arguments or {}) })
  end

  local function connect(broker, options)
    options = options or {}
    options.port = broker.port
    return assert(client.connect(options))
  end

  local loopback = 'return { listeners = { "tcp://127.0.0.1:0" } }\n'

  describe("--check", function()
    it("accepts a good script, and does not serve it", function()
      write("good.lua", "local n = ...; return { listeners = { n or 'tcp://127.0.0.1:0' } }")
      assert.same({ 0, "good.lua: fine\n" }, { run { "--check", "good.lua" } })
      assert.same({ 0, "good.lua: fine\n" }, { run { "--check", "good.lua", "tcp://127.0.0.1:1" } })
      assert.same({ 0, "the default: fine\n" }, { run { "--check" } })
    end)

    it("tells all that is wrong, with file, line and the nearest name", function()
      write("bad.lua", [[
local hooks = {}
function hooks.publsh() end
return {
  listeners = { "tcp://0.0.0.0:0", "tpc://x" },
  engine = { read_limt = 1 },
  backend = { session_queue_size = "x" },
  hooks = hooks,
}]])
      assert.same({ 1, [[
bad.lua:2: hooks.publsh: unknown hook (did you mean 'publish'?)
bad.lua:4: listeners[2]: unknown scheme 'tpc' (did you mean 'tcp'?)
bad.lua:5: engine.read_limt: unknown setting (did you mean 'read_limit'?)
bad.lua:6: backend.session_queue_size: expected an integer, got "x"
]] }, { run { "--check", "bad.lua" } })
    end)

    it("refuses each kind of bad script", function()
      local cases = {
        { 'return { listeners = {\n"tcp://0.0.0.0:1" } }',
          "bad.lua:2: listeners[1]: tcp://0.0.0.0:1 would let in everybody from the network: add credentials "
          .. "or an authenticate hook, set anonymous = true, or listen on 127.0.0.1" },
        { "return {", "bad.lua:1: unexpected symbol near <eof>" },
        { "\n\nlocal x = = 1", "bad.lua:3: unexpected symbol near '='" },
        { "return nil", "bad.lua:1: expected the script to return a table of settings, got nil" },
        { "", "bad.lua: expected the script to return a table of settings, got nil" },
        { "return {}", 'bad.lua:1: listeners: missing, for example listeners = { "tcp://127.0.0.1:1883" }' },
        { 'return {\nlisteners = { "tls://127.0.0.1:1" } }',
          "bad.lua:2: listeners[1]: a tls listener needs certificate and key, or a psk hook" },
        { 'return { listeners = { "tcp://127.0.0.1:0" },\ncluster = {} }',
          "bad.lua:2: cluster: not supported in this version" },
        { 'error "boom"', "bad.lua:1: boom\n\tbad.lua:1: in main chunk" },
        { "\nlocal function f() error({}) end\nf()", "bad.lua: the error is a table value\n"
          .. "\tbad.lua:2: in function 'f'\n\tbad.lua:3: in main chunk" },
        { "\27Lua", "bad.lua: this is a compiled chunk, expected Lua source" },
      }
      for _, case in ipairs(cases) do
        write("bad.lua", case[1])
        for _, option in ipairs { "--check", "--dump", "--" } do
          assert.same({ 1, case[2] .. "\n" }, { run { option, "bad.lua" } })
        end
      end
    end)

    it("tells that there is no script to read", function()
      assert.same({ 1, "luamq: cannot open missing.lua: No such file or directory\n" },
        { run { "--check", "missing.lua" } })
      assert.same({ 1, "luamq: cannot read .: Is a directory\n" }, { run { "." } })
    end)

    it("never shows a password", function()
      write("bad.lua", [[return { listeners = { "tcp://user:hush@127.0.0.1:1" },
        credentials = { ["a\xff"] = "hush", b = { "hush" } }, backend = { hush = 1 } }]])
      local status, output = run { "--check", "bad.lua" }
      assert.equal(1, status)
      assert.equal("hush: unknown setting\n", output:match("hush.-\n"))
      assert.is_nil(output:find("hush", output:find "hush" + 1, true))
    end)
  end)

  describe("--dump", function()
    it("prints all settings as a script that loads again, with passwords masked", function()
      write("dumped.lua", [[return {
        listeners = { "tcp://[::1]:0", "mqtt://127.0.0.1:0" }, anonymous = true,
        credentials = { ["a b"] = "hush\n" }, engine = { read_limit = "1M" },
        hooks = { publish = function() return true end } }]])
      local status, output = run { "--dump", "dumped.lua" }
      assert.equal(0, status)
      assert.is_nil(output:find("hush", 1, true))
      assert.matches("^%-%- the settings of dumped.lua, with all defaults\n", output)
      assert.matches("\n    -- publish: dumped.lua:4\n", output, 1, true)
      assert.matches('\n    { "tcp://[::1]:0",\n      backlog = 1024, -- ', output, 1, true)
      assert.matches('\n    },\n    { "tcp://127.0.0.1:0",\n', output, 1, true)
      assert.matches("\n    read_limit = 1048576, -- bytes, default 8388608; ", output, 1, true)
      write("again.lua", output)
      assert.equal(1, (run { "--check", "again.lua" })) -- with the mask for a password it is not served
      write("again.lua", (output:gsub("%*%*%*", "known")))
      assert.same({ 0, "again.lua: fine\n" }, { run { "--check", "again.lua" } })
      assert.same({ 0, (output:gsub("dumped%.lua", "again.lua", 1):gsub("%s*%-%- publish[^\n]*", "")) },
        { run { "--dump", "again.lua" } })
    end)

    it("prints what is served without a script", function()
      local status, output = run { "--dump" }
      assert.equal(0, status)
      assert.matches('\n  listeners = {\n    { "tcp://127.0.0.1:1883",\n', output, 1, true)
    end)

    it("fails when it cannot be written", function()
      assert.same({ 1, "luamq: cannot write the settings\n" }, { run({ "--dump" },
        { redirect = "2>&1 >/dev/full" }) })
    end)
  end)

  describe("an option", function()
    it("runs chunks of Lua", function()
      assert.same({ 0, "1\n2\n" }, { run { "-e", "x = 1 print(x)", "-eprint(x + 1)" } })
      write("uses.lua", "print(x) " .. loopback)
      assert.same({ 0, "7\nuses.lua: fine\n" }, { run { "--check", "-e", "x = 7", "uses.lua" } })
      assert.same({ 5, "" }, { run { "-e", "os.exit(5)" } })
      local status, output = run { "-e", "\nerror 'boom'" }
      assert.equal(1, status)
      assert.matches("^luamq: %(command line%):2: boom\nstack traceback:\n", output)
      assert.same({ 1, "luamq: (command line):1: unexpected symbol near <eof>\n" },
        { run { "-e", "print(" } })
    end)

    it("requires modules", function()
      write("mine.lua", "return { name = 'mine' }")
      local print_both = "print(mine and mine.name, other and other.name)"
      assert.same({ 0, "mine\tnil\n" }, { run { "-l", "mine", "-e", print_both } })
      assert.same({ 0, "nil\tmine\n" }, { run { "-lother=mine", "-e", print_both } })
      write("mine-2.lua", "return { name = 'second' }")
      assert.same({ 0, "second\tnil\n" }, { run { "-l", "mine-2", "-e", print_both } })
      local status, output = run { "-l", "nowhere" }
      assert.equal(1, status)
      assert.matches("^luamq: module 'nowhere' not found:", output)
      write("raises.lua", "error 'boom'")
      status, output = run { "-l", "raises" }
      assert.equal(1, status)
      assert.matches("raises.lua:1: boom\nstack traceback:\n", output, 1, true)
    end)

    it("turns warnings on", function()
      assert.same({ 0, "Lua warning: loud\n" },
        { run { "-e", "warn 'silent'", "-W", "-e", "warn 'loud'" } })
    end)

    it("reads the environment as lua does, or not", function()
      local function run_in(environment, ...)
        return { run({ ... }, { errors = true, environment = environment }) }
      end
      write("init.lua", "x = 'file'")
      assert.same({ 0, "chunk\n" }, run_in({ LUA_INIT = "x = 'chunk'" }, "-e", "print(x)"))
      assert.same({ 0, "file\n" }, run_in({ LUA_INIT = "@init.lua" }, "-e", "print(x)"))
      local both = { LUA_INIT_5_4 = "x = 'ours'", LUA_INIT = "x = 'any'" }
      assert.same({ 0, "ours\n" }, run_in(both, "-e", "print(x)"))
      assert.same({ 0, "nil\n" }, run_in(both, "-E", "-e", "print(x)"))
      assert.same({ 1, "LUA_INIT:1: unexpected symbol near <eof>\n" },
        run_in({ LUA_INIT = "print(" }, "-e", "print(x)"))
      assert.same({ 1, "luamq: cannot open nowhere.lua: No such file or directory\n" },
        run_in({ LUA_INIT = "@nowhere.lua" }, "-e", "print(x)"))
      local find = "print(package.path:find('/elsewhere', 1, true) ~= nil)"
      assert.same({ 0, "true\n" }, run_in({ LUA_PATH = "/elsewhere/?.lua;;" }, "-e", find))
      assert.same({ 0, "false\n" }, run_in({ LUA_PATH = "/elsewhere/?.lua;;" }, "-E", "-e", find))
    end)

    it("reads the script from standard input", function()
      assert.same({ 0, "stdin: fine\n" }, { run({ "--check", "-" }, { input = loopback }) })
      assert.same({ 1, "stdin:2: unexpected symbol near <eof>\n" },
        { run({ "--check", "-" }, { input = "return\n{", errors = true }) })
    end)

    it("tells the version, or how it is used", function()
      for _, option in ipairs { "-v", "--version" } do
        local status, output = run({ option }, {})
        assert.equal(0, status)
        assert.matches("^luamq %d+%.%d+%.%d+, Lua 5%.4%.%d+\n$", output)
      end
      for _, option in ipairs { "-h", "--help" } do
        local status, output = run({ option }, {})
        assert.equal(0, status)
        assert.matches("^usage: luamq %[options%] %[script.lua %[args%]%]\n", output)
        for word in ("-e --check --dump -v -h pub sub bench"):gmatch "%S+" do
          assert.truthy(output:find(word, 1, true), word)
        end
      end
    end)

    it("that is unknown is refused", function()
      for _, option in ipairs { "-x", "--chekc", "-vv" } do
        assert.same({ 2, ("luamq: unknown option '%s'\nTry 'luamq -h'.\n"):format(option) },
          { run { option } })
      end
      assert.same({ 2, "luamq: no chunk after '-e'\nTry 'luamq -h'.\n" }, { run { "-e" } })
    end)

    it("behind -- or the script is none", function()
      write("-v", loopback)
      assert.same({ 0, "-v: fine\n" }, { run { "--check", "--", "-v" } })
      write("args.lua", "print(..., select('#', ...)) " .. loopback)
      assert.same({ 0, "-h\t1\nargs.lua: fine\n" }, { run { "--check", "args.lua", "-h" } })
    end)
  end)

  describe("a script", function()
    it("gets its arguments, and arg", function()
      write("args.lua", [[
print(...)
for i = -3, 3 do print(i, arg[i]) end
]] .. loopback)
      local status, output = run { "--check", "args.lua", "a", "b c" }
      assert.equal(0, status)
      local seen = "a\tb c\n-3\tnil\n-2\t%s\n-1\t--check\n0\targs.lua\n1\ta\n2\tb c\n3\tnil\n"
      assert.equal(seen:format(program) .. "args.lua: fine\n", output)
    end)

    it("finds modules beside it first", function()
      assert(os.execute("mkdir -p " .. directory .. "/sub"))
      write("sub/policy.lua", "return { publish = function() return true end }")
      write("sub/init.lua", "print(package.path:match('^[^;]*')) return { hooks = require 'policy',"
        .. "listeners = { 'tcp://127.0.0.1:0' } }")
      write("policy.lua", "error 'the wrong one'")
      assert.same({ 0, "sub/?.lua\nsub/init.lua: fine\n" }, { run { "--check", "sub/init.lua" } })
      assert.same({ 0, directory .. "/sub/?.lua\n" .. directory .. "/sub/init.lua: fine\n" },
        { run { "--check", directory .. "/sub/init.lua" } })
    end)

    it("may start with a line for the shell", function()
      write("shell", "#!" .. program .. "\nprint(arg[0])\nos.exit(3)\n")
      assert(os.execute("chmod +x " .. directory .. "/shell"))
      assert.same({ 3, "./shell\n" }, { process.run({ "./shell" }, { directory = directory }) })
    end)

    it("stops the broker", function()
      write("stops.lua", [[
local luamq = require "luamq"
return { listeners = { "tcp://127.0.0.1:0" }, hooks = {
  start = function() luamq.after(0.01, luamq.stop) end, stop = function() print "stop" end } }]])
      local status, output = run({ "stops.lua" }, {})
      assert.equal(0, status)
      assert.matches("^listening on tcp://127.0.0.1:%d+\nstop\n$", output)
    end)

    it("that raises in start is not served", function()
      write("raises.lua",
        'return { listeners = { "tcp://127.0.0.1:0" },\nhooks = { start = function() error "no start" end }}')
      local status, output = run { "raises.lua" }
      assert.equal(1, status)
      assert.matches("\nluamq: hook start: raises.lua:2: no start\n$", output)
      assert.is_nil(output:find("listening", 1, true))
    end)
  end)

  describe("a listener", function()
    it("is told with the port that it got", function()
      local six = os.execute "grep -q ' lo$' /proc/net/if_inet6 2>/dev/null"
      local broker <close> = serve([[local listeners = { "tcp://127.0.0.1:0", "tcp://localhost:0" }
        if ... then listeners[3] = "tcp://[::1]:0" end
        return { listeners = listeners }]], six and { "six" })
      local ports = { ["127.0.0.1"] = broker.port }
      ports.localhost = broker:line():match "^listening on tcp://.*:(%d+)$"
      if six then ports["::1"] = broker:line():match "^listening on tcp://%[::1%]:(%d+)$" end
      for host, port in pairs(ports) do
        local c <close> = assert(client.connect { host = host, port = math.tointeger(tonumber(port)) })
        assert.is_true(c:ping())
      end
      assert.equal(0, broker:stop())
    end)

    it("that cannot be opened is told, and nothing is served", function()
      local broker <close> = serve(loopback)
      write("same.lua", ('return { listeners = { "tcp://127.0.0.1:0", "tcp://127.0.0.1:%d" } }')
        :format(broker.port))
      assert.same({ 1, ("luamq: same.lua:1: cannot listen on tcp://127.0.0.1:%d: Address already in use\n")
        :format(broker.port) }, { run { "same.lua" } })
      write("foreign.lua", 'return { listeners = { "tcp://192.0.2.1:0" }, anonymous = true }')
      local status, output = run { "foreign.lua" }
      assert.equal(1, status)
      assert.matches("^luamq: foreign.lua:1: cannot listen on tcp://192.0.2.1:0: [^\n]+\n$", output)
    end)

    it("is on 127.0.0.1:1883 without a script", function()
      local broker <close> = process.start({ program }, "2>&1")
      local line = broker:line() -- whoever else listens there
      if line ~= "luamq: cannot listen on tcp://127.0.0.1:1883: Address already in use" then
        assert.equal("listening on tcp://127.0.0.1:1883", line)
      end
    end)

    it("may be opened again at once", function()
      local first = serve(loopback)
      local c <close> = connect(first)
      first:stop() -- the broker's side waits in TIME_WAIT
      local second <close> = serve(('return { listeners = { "tcp://127.0.0.1:%d" } }'):format(first.port))
      assert.equal(first.port, second.port)
      assert.is_nil(c:receive())
    end)
  end)

  describe("a signal", function()
    for _, signal in ipairs { "TERM", "INT" } do
      it(("SIG%s closes the clients in order"):format(signal), function()
        local broker = serve(loopback)
        local c <close> = connect(broker)
        assert(c:subscribe "#")
        for i = 1, 50 do assert(c:publish("a", tostring(i))) end
        assert(c:ping())
        broker:signal(signal)
        for i = 1, 50 do assert.equal(tostring(i), c:receive().payload) end
        assert.same({ n = 2, [2] = "connection closed" }, table.pack(c:receive()))
        assert.equal(0, broker:wait())
        assert.matches(" info client closed [^\n]+ reason=[^\n]+\n.* info stopped\n$", broker.output)
      end)
    end

    it("sends no will of a client that was closed by it to those who are gone", function()
      local broker = serve(loopback)
      local lost = connect(broker, { will = { topic = "w", payload = "x" } })
      broker:signal "TERM"
      assert.equal(0, broker:wait())
      assert.is_nil(lost:receive())
    end)

    it("SIGHUP loads the script again", function()
      local broker <close> = serve(loopback)
      broker:signal "HUP"
      assert.matches("info SIGHUP: loading the script and certificates again$", broker:expect "SIGHUP")
      local c <close> = connect(broker)
      assert.is_true(c:ping())
      assert.equal(0, broker:stop())
    end)

    it("that comes a second time ends it at once", function()
      local broker = serve [[return { listeners = { "tcp://127.0.0.1:0" }, engine = { close_timeout = 3600 },
        backend = { session_queue_size = 1000, full_queue_wait = 0 } }]]
      local deaf = connect(broker, { id = "deaf" })
      assert(deaf:subscribe "#") -- and reads nothing any more
      local c <close> = connect(broker)
      local payload = ("x"):rep(1 << 20)
      for _ = 1, 64 do assert(c:publish("a", payload, 1)) end
      broker:signal "TERM"
      broker:expect "signal: stopping$"
      assert.is_nil(c:receive())
      broker:signal "INT"
      broker:expect "second signal: ending at once$"
      assert.equal(1, broker:wait())
      assert.matches("error stopped, but not all clients had closed in time\n$", broker.output)
      deaf:close()
    end)
  end)

  describe("--test", function()
    local passes = [[
      local test = require "luamq.test"
      it("lets in", function()
        local broker <close> = test.broker "policy.lua"
        assert.connected(broker:connect())
      end)
    ]]

    --- The program without what helps it to find modules.
    local function run_tests(...)
      local nothing = { LUA_PATH = false, LUA_CPATH = false }
      return run({ "--test", "-o", "TAP", ... }, { errors = true, environment = nothing })
    end

    it("runs busted, which finds luamq.test", function()
      write("policy.lua", loopback)
      write("policy_spec.lua", passes)
      local status, output = run_tests "policy_spec.lua"
      assert.equal(0, status)
      assert.matches("ok 1 - lets in", output, 1, true)
    end)

    it("fails when a test fails, or there is none", function()
      write("policy.lua", loopback)
      write("policy_spec.lua", passes:gsub("connected", "is_not.connected"))
      local status, output = run_tests "policy_spec.lua"
      assert.equal(1, status)
      assert.matches("expected .* not to be connected, but it is", output)
      assert.equal(1, (run_tests "nowhere_spec.lua"))
    end)

    it("is not ended by a policy that ends the process", function()
      write("policy.lua", "os.exit(0)")
      write("policy_spec.lua", passes)
      local status, output = run_tests "policy_spec.lua"
      assert.equal(1, status)
      assert.matches("os.exit in a script that a test loads", output, 1, true)
    end)

    it("hands its options to busted", function()
      local status, output = run { "--test", "--version" }
      assert.equal(0, status)
      assert.matches("^%d+%.%d+", output)
    end)

    it("tells what is missing without busted", function()
      local status, output = run({ "-e", "package.path = package.path:gsub('/usr[^;]*', '')", "--test" })
      assert.equal(1, status)
      assert.matches("^luamq: busted is not there for Lua 5.4; Debian has it", output)
    end)

    it("goes with nothing that needs a script", function()
      assert.same({ 2, "luamq: there is no script to check beside '--test'\nTry 'luamq -h'.\n" },
        { run { "--check", "--test" } })
      assert.same({ 2, "luamq: nothing is served, so there is no '-i'\nTry 'luamq -h'.\n" },
        { run { "-i", "--check" } })
      assert.same({ 2, "luamq: the prompt and the script cannot both read '-'\nTry 'luamq -h'.\n" },
        { run { "-i", "-" } })
      assert.same({ 2, "luamq: no module after '-l'\nTry 'luamq -h'.\n" }, { run { "-l" } })
    end)
  end)

  describe("without standard streams", function()
    -- What is written to a closed one must not reach a file or a socket that got its number.
    it("works, and writes to nothing else instead", function()
      for _, closed in ipairs { "<&- 2>/dev/null", "2>&-", "<&- 2>&-" } do
        write("quiet.lua", ([[
local file = assert(io.open("%s/data", "w"))
file:setvbuf "no"
return { listeners = { "tcp://127.0.0.1:0" }, log = { level = "debug" }, hooks = {
  restore = function() print "let in" io.stderr:write "let in" end,
  stop = function() file:write "data" end } }]]):format(directory))
        local broker <close> = process.start({ program, directory .. "/quiet.lua" }, closed)
        local port = math.tointeger(tonumber(broker:expect("^listening"):match "%d+$"))
        for _ = 1, 3 do
          local c <close> = assert(client.connect { port = port })
          assert.is_true(c:ping())
          assert.is_nil(c:receive(0))
        end
        assert.equal(0, broker:stop())
        assert.equal("data", process.read(directory .. "/data"))
      end
    end)

    it("stops in order when nobody reads what it prints", function()
      write("stops.lua", [[
local luamq = require "luamq"
return { listeners = { "tcp://127.0.0.1:0" },
  hooks = { start = function() luamq.after(0, function() print "x" luamq.stop() end) end } }]])
      assert.same({ 0, "" }, { run({ "stops.lua" }, { redirect = ">&- 2>&-" }) })
      assert.same({ 0, "" }, { run({ "stops.lua" }, { redirect = ">/dev/full 2>/dev/full" }) })
    end)
  end)
end)
