local json = require "luamq.json"
local process = require "spec.support.process"

local folder = "scripts/install/"

--- Whether a program is there; what is not needed for a test is looked at where it is.
local function has(program) return (process.run { "sh", "-c", "command -v " .. program }) == 0 end

local function run(words) return { process.run(words, { errors = true }) } end

--- The options that a usage text lists, such as { "-p", "--port" } in a line "  -p  --port PORT ...".
local function options_of(...)
  local list = {}
  for line in process.output({ process.luamq, ... }):gmatch "[^\n]+" do
    local text = line:match "^%s+(%-.-)%s%s%s*%l" or line:match "^%s+(%-.*)" or ""
    for option in (" " .. text):gmatch "[ ,](%-%-?[%w-]*)" do list[#list + 1] = option end
  end
  return list
end

local commands = { {}, { "pub" }, { "sub" }, { "bench" }, { "explain" }, { "record" }, { "replay" } }

local function all_options()
  local list = { "--version", "--help" }
  for _, command in ipairs(commands) do
    local help = table.move(command, 1, #command, 1, {})
    help[#help + 1] = "--help"
    table.move(options_of(table.unpack(help)), 1, 200, #list + 1, list)
  end
  assert.is_true(#list > 90)
  return list
end

describe("the man page", function()
  local page = process.read(folder .. "luamq.1")

  it("has each option that --help prints", function()
    local known = {}
    for line in page:gmatch "[^\n]+" do
      if line:find "^%.It Fl" then
        for name in (line .. " "):gmatch "Fl (%-?[%w-]*)" do known["-" .. name] = true end
      end
    end
    for _, option in ipairs(all_options()) do assert.is_true(known[option], option) end
  end)

  it("is formatted without a warning", function()
    local checkers = {}
    if has "mandoc" then checkers[1] = { "mandoc", "-T", "lint", "-W", "warning", folder .. "luamq.1" } end
    if has "man" then
      local format = "LC_ALL=C man --warnings -l %sluamq.1 2>&1 >/dev/null"
      checkers[#checkers + 1] = { "sh", "-c", format:format(folder) }
    end
    for _, words in ipairs(checkers) do
      assert.same({ 0, "" }, run(words))
    end
  end)
end)

describe("the completion", function()
  --- What bash would offer for the last word.
  local function complete(...)
    local words = { ... }
    local command = { "bash", "-c", [[
      . scripts/install/luamq.bash || exit
      COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
      _luamq
      ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"]], "bash", "luamq" }
    table.move(words, 1, #words, #command + 1, command)
    local list = {}
    for line in process.output(command):gmatch "[^\n]+" do list[#list + 1] = line end
    table.sort(list)
    return list
  end

  it("offers each option that --help prints", function()
    for _, command in ipairs(commands) do
      local words = table.move(command, 1, #command, 1, {})
      words[#words + 1] = "--help"
      local options = options_of(table.unpack(words))
      words[#words] = "-"
      local offered = {}
      for _, word in ipairs(complete(table.unpack(words))) do offered[word] = true end
      for _, option in ipairs(options) do assert.is_true(offered[option], option) end
    end
  end)

  it("offers tools and script files", function()
    local first = complete ""
    for _, word in ipairs { "pub", "sub", "bench", "explain", "record", "replay", "examples" } do
      assert.truthy(table.concat(first, "\n"):find(word, 1, true), word)
    end
    assert.same({ "pub" }, complete "pu")
    assert.same({ "examples/passwords.lua" }, complete "examples/pas")
    assert.same({ "examples/policy" }, complete "examples/pol")
    assert.same({ "examples/users.txt" }, complete("examples/broker.lua", "examples/us"))
    assert.same({}, complete("examples/us"))
    assert.same({ "--check" }, complete "--c")
    assert.same({ "examples/users.txt" }, complete("--test", "examples/us"))
    assert.same({}, complete("-l", "ex"))
    assert.same({}, complete("--", "--c"))
    assert.same({}, complete("-e", "ex"))
    assert.same({ "examples" }, complete("-e", "x = 1", "ex"))
  end)

  it("offers values, or nothing where one is to be written", function()
    assert.same({ "0", "1", "2" }, complete("pub", "-q", ""))
    assert.same({ "mqttv31", "mqttv311" }, complete("sub", "--protocol-version", "mqttv3"))
    assert.same({ "mqttv5" }, complete("bench", "-V", "mqttv5"))
    assert.same({ "subscribe" }, complete("sub", "-D", "s"))
    assert.same({ "content-type", "correlation-data" }, complete("pub", "--property", "publish", "co"))
    assert.same({}, complete("pub", "-D", "subscribe", "-"))
    assert.same({}, complete("pub", "-x", "-"))
    assert.same({ "README.md" }, complete("pub", "--file", "READ"))
    assert.same({ "pairs" }, complete("bench", "-s", "pa"))
    assert.same({}, complete("pub", "-m", "-"))
    assert.same({}, complete("bench", "--seconds", "-"))
    assert.same({ "--retained-only" }, complete("sub", "-v", "--retained"))
  end)

  it("for zsh has each option that --help prints", function()
    local text = process.read(folder .. "_luamq")
    for _, option in ipairs(all_options()) do
      local at, behind = text:find(option, 1, true)
      while at and text:find("^[%w-]", behind + 1) do at, behind = text:find(option, behind + 1, true) end
      assert.truthy(at or option == "--", option)
    end
    if has "zsh" then
      assert.same({ 0, "" }, run { "zsh", "-n", folder .. "_luamq" })
    end
  end)
end)

describe("make install", function()
  local root

  before_each(function() root = process.directory() end)
  after_each(function() process.remove(root) end)

  local function make(target, ...)
    local status, output = process.run({ "make", "-o", "all", target, "BUILD=" .. process.build, ... },
      { errors = true, environment = { MAKEFLAGS = false } })
    assert.equal(0, status, output)
  end

  local function files(directory)
    local list = {}
    for line in process.output { "find", directory, "-type", "f" }:gmatch "[^\n]+" do
      list[#list + 1] = line:sub(#directory + 2)
    end
    table.sort(list)
    return list
  end

  it("puts each file to its place, and make uninstall takes these away", function()
    local others = { "usr/lib/systemd/system/other.service", "usr/share/lua/5.4/luamq/own.lua" }
    for _, path in ipairs(others) do
      assert(os.execute(("mkdir -p $(dirname %s/%s)"):format(root, path)))
      process.write(root .. "/" .. path, "")
    end
    make("install", "DESTDIR=" .. root, "PREFIX=/usr")
    local installed = table.concat(files(root), "\n")
    for path in ([[usr/bin/luamq usr/lib/lua/5.4/luamq/core.so usr/share/lua/5.4/luamq/init.lua
      usr/share/lua/5.4/luamq/types/hooks.lua usr/share/doc/luamq/reference/luamq.md
      usr/share/doc/luamq/luacheckrc usr/share/doc/luamq/luarc.json
      usr/lib/systemd/system/luamq.service usr/lib/systemd/system/luamq.socket usr/share/man/man1/luamq.1
      usr/share/doc/luamq/broker.lua usr/share/bash-completion/completions/luamq
      usr/share/zsh/site-functions/_luamq]]):gmatch "%S+" do
      assert.truthy(("\n" .. installed .. "\n"):find("\n" .. path .. "\n", 1, true), path)
    end
    assert.matches("\nExecStart=/usr/bin/luamq /etc/luamq/broker.lua\n",
      process.read(root .. "/usr/lib/systemd/system/luamq.service"), 1, true)
    local hints = json.decode(process.read(root .. "/usr/share/doc/luamq/luarc.json"))
    assert.same({ "/usr/share/lua/5.4/luamq" }, hints["workspace.library"])
    local linted = process.run { "luacheck", "--config", root .. "/usr/share/doc/luamq/luacheckrc",
      "examples/http_auth.lua", "examples/http_auth_spec.lua" }
    assert.is_true(linted == 0 or not has "luacheck")
    make("uninstall", "DESTDIR=" .. root, "PREFIX=/usr")
    assert.same(others, files(root))
    make("uninstall", "DESTDIR=" .. root, "PREFIX=/usr") -- nothing is there, which is fine
  end)

  it("takes other folders", function()
    local names = { "BINDIR", "LIBDIR", "LUADIR", "MANDIR", "DOCDIR", "UNITDIR", "BASHCOMPDIR", "ZSHCOMPDIR" }
    local folders = {}
    for i, name in ipairs(names) do folders[i] = ("%s=%s/%s"):format(name, root, name) end
    make("install", table.unpack(folders))
    local seen = {}
    for _, path in ipairs(files(root)) do seen[path:match "^[^/]+"] = true end
    for _, name in ipairs(names) do assert.is_true(seen[name], name) end
    make("uninstall", table.unpack(folders))
    assert.same({}, files(root))
  end)

  it("gives a program that finds its modules, for stock Lua too", function()
    make("rock", "DESTDIR=" .. root, "PREFIX=/usr")
    local installed = root .. "/usr/"
    local environment = { LUA_PATH = false, LUA_CPATH = false }
    local options = { errors = true, directory = "/", environment = environment }
    local chunk = "require 'luamq.test' print(package.searchpath('luamq.client', package.path))"
    assert.same({ 0, installed .. "bin/../share/lua/5.4/luamq/client.lua\n" },
      { process.run({ installed .. "bin/luamq", "-e", chunk }, options) })
    process.write(root .. "/served.lua", 'return { listeners = { "tcp://127.0.0.1:0" } }')
    local broker <close> = process.start({ installed .. "bin/luamq", root .. "/served.lua" }, nil, options)
    local port = broker:expect("^listening"):match "%d+$"
    environment.LUA_PATH = installed .. "share/lua/5.4/?.lua;" .. installed .. "share/lua/5.4/?/init.lua"
    environment.LUA_CPATH = installed .. "lib/lua/5.4/?.so"
    assert.same({ 0, "true\n" }, { process.run({ "lua5.4", "-e", ([[
      assert(require "luamq.core")
      local c <close> = require "luamq.client".connect { port = %d }
      print(c:ping())]]):format(port) }, options) })
    assert.equal(0, broker:stop())
  end)

  it("brings a script for the service that is right", function()
    assert.same({ 0, folder .. "broker.lua: fine\n" },
      { process.run({ process.luamq, "--check", folder .. "broker.lua" }, { errors = true }) })
    local sockets, script = process.read(folder .. "luamq.socket"), process.read(folder .. "broker.lua")
    assert.truthy(script:find("\"tcp://" .. sockets:match "\nListenStream=([^\n]+)" .. "\"", 1, true))
  end)

  it("brings units that systemd takes", function()
    if not has "systemd-analyze" then return end
    make("install", "PREFIX=" .. root)
    local units = root .. "/lib/systemd/system/luamq."
    assert.same({ 0, "" },
      run { "systemd-analyze", "verify", "--man=no", units .. "service", units .. "socket" })
    local exposure = run { "systemd-analyze", "security", "--offline=true", "--threshold=15",
      units .. "service" }
    assert.equal(0, exposure[1], exposure[2]) -- at most 1.5 of 10
  end)
end)
