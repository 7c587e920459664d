local process = require "spec.support.process"

local of_hello <const> = "$7$101$8UY2J1GrxNe7HeGq$kOqgXGitD8ZshpLsJZFDR8+gwKB71fZMXVzL8GU3GR1W2J7INB28o"
  .. "FnUXXYqHD+p0OgPZGQwZ1McNqj4PpuQ7A=="

describe("luamq passwd", function()
  local directory, file

  before_each(function()
    directory = process.directory()
    file = directory .. "/users"
  end)
  after_each(function() process.remove(directory) end)

  --- Runs it to its end: status and output, with what it writes on its standard error.
  local function run(arguments, input)
    return process.run({ process.luamq, "passwd", table.unpack(arguments) }, { errors = true, input = input })
  end

  local function fine(arguments, input)
    local status, output = run(arguments, input)
    assert.same({ 0, "" }, { status, output })
  end

  --- On a terminal, where these are the answers.
  local function on_terminal(answers, arguments)
    local words = { "python3", "spec/support/terminal.py", table.unpack(answers) }
    table.move({ "--", process.luamq, "passwd" }, 1, 3, #words + 1, words)
    table.move(arguments, 1, #arguments, #words + 1, words)
    return process.run(words, { errors = true })
  end

  local function matches(user, password)
    local status = run({ "--check", file, user }, password .. "\n")
    return status == 0
  end

  local function mode() return (process.output { "stat", "-c", "%a", file }:gsub("\n", "")) end

  describe("on a terminal", function()
    it("asks twice, and shows nothing of what is typed", function()
      local status, shown = on_terminal({ "se cret", "se cret" }, { "-c", file, "ann" })
      assert.same({ 0, "Password of ann: \nThe same password of ann: \n" }, { status, shown })
      assert.is_true(matches("ann", "se cret"))
      assert.is_false(matches("ann", "secret"))
    end)

    it("changes nothing when the two are not the same", function()
      process.write(file, "ann:" .. of_hello .. "\n")
      local status, shown = on_terminal({ "one", "two" }, { file, "ann" })
      assert.same({ 1, "Password of ann: \nThe same password of ann: \n"
        .. "luamq passwd: the password of ann: not the same both times\n" }, { status, shown })
      assert.equal("ann:" .. of_hello .. "\n", process.read(file))
    end)

    it("ends by a signal like others, and changes nothing", function()
      process.write(file, "")
      local status = on_terminal({ "one", "^C" }, { file, "ann" })
      assert.equal(254, status) -- by SIGINT, as Python tells it
      assert.equal("", process.read(file))
    end)

    it("asks once to check one", function()
      process.write(file, "ann:" .. of_hello .. "\n")
      assert.same({ 0, "Password of ann: \n" }, { on_terminal({ "hello" }, { "--check", file, "ann" }) })
      assert.same({ 1, "Password of ann: \nluamq passwd: the password of ann is another one\n" },
        { on_terminal({ "hullo" }, { "--check", file, "ann" }) })
    end)
  end)

  it("takes the first line of standard input that is no terminal", function()
    fine({ "-c", file, "ann" }, "secret\nmore\n")
    fine({ file, "bob" }, "without an end of line")
    assert.is_true(matches("ann", "secret"))
    assert.is_true(matches("bob", "without an end of line"))
  end)

  it("takes an argument with -b", function()
    fine { "-c", "-b", file, "ann", "secret" }
    assert.is_true(matches("ann", "secret"))
  end)

  it("makes a file that its owner alone can read, and keeps the mode of one that is there", function()
    fine { "-cb", file, "ann", "a" }
    assert.equal("600", mode())
    process.output { "chmod", "640", file }
    fine { "-b", file, "ann", "b" }
    assert.equal("640", mode())
    assert.equal("users\n", process.output { "ls", "-A", directory })
  end)

  it("writes the file behind a link", function()
    process.write(directory .. "/real", "")
    process.output { "ln", "-s", "real", file }
    fine { "-b", file, "ann", "a" }
    assert.matches("^ann:", process.read(directory .. "/real"))
    assert.equal("real\n", process.output { "readlink", file })
  end)

  it("leaves other lines as they are", function()
    process.write(file, "# users\n\nwrong\nann:x\nbob:" .. of_hello .. "\nann:y\n")
    fine { "-b", file, "ann", "a" }
    local text = process.read(file)
    assert.matches("^# users\n\nwrong\nann:%$y%$[^\n]+\nbob:" .. of_hello:gsub("%p", "%%%0") .. "\n$", text)
    fine { "-D", file, "ann" }
    assert.equal("# users\n\nwrong\nbob:" .. of_hello .. "\n", process.read(file))
    assert.same({ 1, "luamq passwd: " .. file .. " has no user ann\n" }, { run { "-D", file, "ann" } })
  end)

  it("makes hashes of the kind and cost that are told", function()
    local rows = {
      { "^u:%$y%$j9T%$", {} },
      { "^u:%$y%$j75%$", { "-H", "yescrypt", "-C", "1" } },
      { "^u:%$argon2id%$v=19%$m=19456,t=3,p=1%$", { "-H", "argon2id", "-C", "3" } },
      { "^u:%$7%$1000%$", { "--hash", "pbkdf2", "--cost=1000" } },
      { "^u:%$7%$210000%$", { "-H", "sha512-pbkdf2" } },
    }
    for _, row in ipairs(rows) do
      local arguments = { "-cb", table.unpack(row[2]) }
      for _, word in ipairs { file, "u", "secret" } do arguments[#arguments + 1] = word end
      fine(arguments)
      assert.matches(row[1], process.read(file))
      assert.is_true(matches("u", "secret"))
    end
  end)

  it("makes hashes of plain passwords, once", function()
    process.write(file, "# plain\nann:secret\nbob:" .. of_hello .. "\n")
    fine { "-U", "-C", "1", file }
    local text = process.read(file)
    assert.is_true(matches("ann", "secret"))
    assert.matches("\nbob:" .. of_hello .. "\n", text, 1, true)
    fine { "-U", file }
    assert.equal(text, process.read(file))
    process.write(file, "ann:secret\nbob\n")
    assert.same({ 1, "luamq passwd: " .. file .. ":2: expected name:password\n" }, { run { "-U", file } })
    assert.equal("ann:secret\nbob\n", process.read(file))
  end)

  it("tells which lines are wrong, and nothing of what is in them", function()
    process.write(file, "ann:secret\n# fine\nbob:" .. of_hello .. "\nsecret\na\1:x\nbob:" .. of_hello .. "\n")
    local status, output = run { "--check", file }
    assert.same({ 1, file .. ":1: not a hash of a password\n" .. file .. ":4: expected name:hash\n"
      .. file .. ":5: the user name has a control character in it\n"
      .. file .. ":6: a line for this user stands above\n" }, { status, output })
    process.write(file, "ann:" .. of_hello .. "\n")
    assert.same({ 0, file .. ": fine, users: 1\n" }, { run { "--check", file } })
  end)

  it("does not lose what another one writes at the same time", function()
    process.write(file, "")
    local running = {}
    for i = 1, 8 do
      running[i] = process.start({ process.luamq, "passwd", "-b", "-C", "1", file, "u" .. i, "x" }, "2>&1")
    end
    for i = 1, 8 do assert.equal(0, running[i]:wait(), running[i].output) end
    assert.same({ 0, file .. ": fine, users: 8\n" }, { run { "--check", file } })
  end)

  it("tells what is wrong with the command line", function()
    local rows = {
      ["an argument is missing"] = { file },
      ["too many arguments"] = { file, "u", "x" },
      ["unknown option -Z"] = { "-Zsecret" },
      ["unknown option --secret"] = { "--secret=x" },
      ["a value is missing behind -H"] = { "-H" },
      ["-H: expected yescrypt, argon2id or pbkdf2"] = { "-H", "md5", file, "u" },
      ["-C: expected a number from 1 to 8 for yescrypt"] = { "-C", "9", file, "u" },
      ["-C: expected a number from 1 to 64 for argon2id"] = { "-C", "0", "-H", "argon2id", file, "u" },
      ["-D, -U and --check exclude each other"] = { "-DU", file },
      ["-c goes with none of -D, -U and --check"] = { "-c", "--check", file },
      ["-b goes with none of -D, -U and --check"] = { "-bD", file, "u" },
      ["the user name has a colon in it"] = { "-cb", file, "u:v", "x" },
      ["the user name is empty"] = { "-cb", file, "", "x" },
    }
    for problem, arguments in pairs(rows) do
      assert.same({ 2, "luamq passwd: " .. problem .. "\nTry 'luamq passwd --help'.\n" }, { run(arguments) })
    end
    assert.is_nil(io.open(file))
  end)

  it("tells what it cannot do", function()
    assert.same({ 1, "luamq passwd: cannot read " .. file
      .. ": No such file or directory; -c makes a new file\n" },
      { run { "-b", file, "u", "x" } })
    assert.same({ 1, "luamq passwd: cannot read " .. file .. ": No such file or directory\n" },
      { run { "-D", file, "u" } })
    assert.same({ 1, "luamq passwd: the password of u: empty\n" }, { run { "-cb", file, "u", "" } })
    assert.same({ 1, "luamq passwd: the password of u: longer than 511 bytes\n" },
      { run { "-cb", file, "u", ("x"):rep(512) } })
    assert.same({ 1, "luamq passwd: the password of u: it has a NUL in it\n" },
      { run({ "-c", file, "u" }, "a\0b\n") })
    assert.same({ 1, "luamq passwd: cannot write " .. directory .. "/no/users: No such file or directory\n" },
      { run { "-cb", directory .. "/no/users", "u", "x" } })
    assert.same({ 1, "luamq passwd: " .. directory .. ": Is a directory\n" },
      { run { "--check", directory } })
  end)

  it("has a summary", function()
    local status, output = run { "--help" }
    assert.equal(0, status)
    assert.matches("^usage: luamq passwd ", output)
    for _, option in ipairs { "-c, --create", "-b, --batch", "-D, --delete", "-U, --upgrade", "--check" } do
      assert.matches(option, output, 1, true)
    end
  end)
end)
