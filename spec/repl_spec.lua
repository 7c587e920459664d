local process = require "spec.support.process"

local loopback = 'return { listeners = { "tcp://127.0.0.1:0" }, hooks = %s }\n'

--- Runs `luamq -i` with this input, to its end: its status, and what it printed behind the address.
local function run(input, hooks, arguments)
  local path = process.script(loopback:format(hooks or "{}"))
  local words = { process.luamq, "-i", table.unpack(arguments or {}) }
  words[#words + 1] = path
  local status, output = process.run(words, { input = input, errors = true })
  os.remove(path)
  local lines = {}
  for line in output:gmatch "[^\n]+" do
    if not line:find "^listening on " and not line:find " info " then lines[#lines + 1] = line end
  end
  return status, table.concat(lines, "\n")
end

describe("the prompt of luamq -i", function()
  it("prints expressions and runs statements", function()
    assert.same({ 0, "2\n3\tx\tnil\ntrue" },
      { run 'a = 1 + 1\na\n= a + 1, "x", nil\n\nlocal b = 5\nb == nil\nreturn\nlocal _' })
  end)

  it("goes on with statements of several lines", function()
    assert.same({ 0, "1\n2\nlong\nstring" }, { run "for i = 1, 2 do\nprint(i)\n\nend\n[[long\nstring]]" })
  end)

  it("tells errors, with a traceback of what was typed, and goes on", function()
    local status, output = run 'error "boom"\nx(\n)\nlocal = 1\nerror {}\nprint "fine"'
    assert.equal(0, status)
    assert.matches("stdin:1: boom\nstack traceback:\n\t[C]: in function 'error'\n\tstdin:1: in main chunk\n",
      output, 1, true)
    assert.matches("attempt to call a nil value (global 'x')", output, 1, true)
    assert.matches("stdin:1: <name> expected near '='", output, 1, true)
    assert.matches("(error object is a table value)", output, 1, true)
    assert.matches("fine", output, 1, true)
    assert.is_nil(output:find("luamq/prompt", 1, true))
  end)

  it("runs in the state of the broker that is served", function()
    local hooks = "{ start = function() started = true end, stop = function() print('stopped') end }"
    assert.same({ 0, "true\t7\t0\nstopped" },
      { run("started, given, luamq.stats().clients", hooks, { "-e", "given = 7" }) })
  end)

  it("may wait, and reads on when that is over", function()
    assert.same({ 0, "1\n2" }, { run 'luamq.sleep(0.05) print(1)\nprint(2)' })
  end)

  it("is at its end in order", function()
    local status, output = run "for i = 1, 2 do"
    assert.equal(0, status)
    assert.matches("the end of input is in the middle of a statement", output, 1, true)
    assert.same({ 0, "" }, { run "" })
    assert.same({ 0, "" }, { run "luamq.stop(0)" })
    assert.same({ 3, "" }, { run "os.exit(3)" })
  end)

  it("reads a file, and serves beside it", function()
    local script = process.script(loopback:format "{}")
    local typed = process.script 'print "from a file"\n'
    local status, output = process.run({ process.luamq, "-i", script },
      { redirect = "2>/dev/null <" .. typed })
    os.remove(script)
    os.remove(typed)
    assert.equal(0, status)
    assert.matches("\nfrom a file\n", output)
  end)

  describe("on a terminal", function()
    local script

    before_each(function() script = process.script(loopback:format "{}") end)
    after_each(function() os.remove(script) end)

    --- Types what is told, each when the text before it has come.
    local function type_in(steps)
      local lines = {}
      for i, step in ipairs(steps) do lines[i] = step[1] .. "\t" .. step[2] end
      local words = { "python3", "spec/support/typist.py", process.luamq, "-i", script }
      return process.run(words, { input = table.concat(lines, "\n") .. "\n", errors = true })
    end

    it("has prompts, and ends with control-D", function()
      local status, output = type_in {
        { "> ", "6 * 7\\n" }, { "42", "" }, { "> ", "for i = 1, 1 do\\n" },
        { ">> ", "print(6 * 111) end\\n" }, { "666", "" }, { "> ", "\\x04" },
      }
      assert.equal(0, status)
      assert.matches("\nluamq %d+%.%d+%.%d+, Lua 5.4.%d+; the end of input stops the broker\n> ", output)
      assert.matches("\n>> ", output, 1, true)
      assert.matches("info stopped", output, 1, true)
    end)

    it("ends in order by a signal too", function()
      local status, output = type_in {
        { "> ", 'os.execute("kill -TERM $PPID")\\n' },
      }
      assert.equal(0, status)
      assert.matches("info signal: stopping", output, 1, true)
    end)
  end)
end)
