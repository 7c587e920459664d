--- Programs as processes of their own, for specs: started through a shell that replaces itself, so that
--- its process id is the program's. `timeout` stands between, so that whoever waits for a program that hangs
--- sees its end instead of waiting for ever.

local process = {}

local DEADLINE <const> = 240 -- seconds, also of a machine that is very busy

--- The folder with the program: `LUAMQ_BUILD`, or "build".
process.build = os.getenv "LUAMQ_BUILD" or "build"
process.luamq = process.build .. "/luamq"

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function command(words)
  local parts = {}
  for i, word in ipairs(words) do parts[i] = quote(word) end
  return table.concat(parts, " ")
end

---@class spec.Process
---@field pid integer
---@field url string?     of the first listener of a broker
---@field port integer?    of that one, if it is tcp
---@field output string   what it wrote so far, as it was read
---@field status integer?  once it has ended
---@field private handle file*?
local Process = {}
Process.__index = Process

---@class spec.ProcessOptions
---@field directory string?                            to run in
---@field environment table<string, string|false>?  variables to set, or to take away
---@field log string?                                  of a broker: the file that gets its standard error

--- The run-time libraries of our sanitizers, which a stock Lua needs where it loads our modules. Other
--- programs are slow with them, and their leaks are not ours to find.
local preload <const> = os.getenv "LD_PRELOAD"
local stock <const> = { ["lua5.4"] = true, busted = true }

--- `env` with what is to be changed.
local function environment_words(changes, program)
  local words = { "env" }
  for name, value in pairs(changes) do
    if not value then table.move({ "-u", name }, 1, 2, #words + 1, words) end
  end
  if preload and stock[program:match "[^/]+$"] and changes.LD_PRELOAD == nil then
    table.move({ "LD_PRELOAD=" .. preload, "ASAN_OPTIONS=detect_leaks=0" }, 1, 2, #words + 1, words)
  end
  for name, value in pairs(changes) do
    if value then words[#words + 1] = name .. "=" .. value end
  end
  return words
end

--- Starts a program. Its standard output is read by `line` and `wait`.
---@param words string[]
---@param redirect string?  shell redirections, such as "2>&1"; default "2>/dev/null"
---@param options spec.ProcessOptions?
---@return spec.Process
function process.start(words, redirect, options)
  options = options or {}
  local line = ("cd %s && echo $$ && exec %s %s %s"):format(quote(options.directory or "."),
    command(environment_words(options.environment or {}, words[1])), command(words),
    redirect or "2>/dev/null")
  local limited = { "timeout", "--foreground", "-s", "KILL", tostring(DEADLINE), "sh", "-c", line }
  local handle = assert(io.popen("unset LD_PRELOAD; exec " .. command(limited), "r"))
  local pid = assert(math.tointeger(tonumber(handle:read "l")), "no process id")
  return setmetatable({ handle = handle, pid = pid, output = "" }, Process)
end

--- Starts `luamq` with these arguments and waits until it listens.
---@param arguments string[]  the script and its arguments
---@param options spec.ProcessOptions?
---@return spec.Process broker
function process.broker(arguments, options)
  local words = { process.luamq, table.unpack(arguments) }
  local log = options and options.log
  local self = process.start(words, log and "2>>" .. quote(log) or "2>&1", options)
  local seen = {}
  repeat
    local line = self:line()
    if not line then error("the broker did not start:\n" .. table.concat(seen, "\n"), 2) end
    seen[#seen + 1] = line
    self.url = line:match "^listening on (.+)$"
  until self.url
  self.port = math.tointeger(tonumber(self.url:match "^tcp://.*:(%d+)$"))
  return self
end

--- The next line of its output, or nil at the end.
---@return string?
function Process:line()
  local line = self.handle and self.handle:read "l"
  if line then self.output = self.output .. line .. "\n" end
  return line
end

--- Reads lines up to one that the pattern matches. Fails when it ends before.
---@param pattern string
---@param plain boolean?  it is a plain text
---@return string line
function Process:expect(pattern, plain)
  for line in self.line, self do
    if line:find(pattern, 1, plain) then return line end
  end
  error(("it ended without a line of '%s':\n%s"):format(pattern, self.output), 2)
end

--- A field of /proc/PID/status, as a number.
---@param name string  "VmRSS", in KiB
---@return integer
function Process:status_field(name)
  for line in io.lines(("/proc/%d/status"):format(self.pid)) do
    local value = line:match("^" .. name .. ":%s*(%d+)")
    if value then return math.tointeger(tonumber(value)) end
  end
  error("no " .. name, 2)
end

--- Sends it a signal: "TERM", "INT", "HUP", "KILL".
---@param signal string
function Process:signal(signal)
  if self.handle then os.execute(("kill -%s %d 2>/dev/null"):format(signal, self.pid)) end
end

--- Waits until it has ended.
---@return integer status  the exit status, or 128 and the signal
function Process:wait()
  if not self.handle then return self.status end
  self.output = self.output .. self.handle:read "a"
  local _, how, code = self.handle:close()
  self.handle = nil
  self.status = how == "signal" and 128 + code or code
  return self.status
end

--- Ends it in order.
---@return integer status
function Process:stop()
  self:signal "TERM"
  return self:wait()
end

Process.__close = Process.stop

--- The class of what `start` answers, for those who extend it.
process.Process = Process

---@class spec.RunOptions: spec.ProcessOptions
---@field input string?     its standard input; default none
---@field errors boolean?   its standard error is part of the output
---@field redirect string?  shell redirections, instead of these two

--- Runs a program to its end.
---@param words string[]
---@param options spec.RunOptions?
---@return integer status
---@return string output
function process.run(words, options)
  options = options or {}
  local redirect = options.errors and "2>&1" or "2>/dev/null"
  local input
  if options.input then
    input = process.script(options.input)
    redirect = redirect .. " <" .. quote(input)
  else
    redirect = redirect .. " </dev/null"
  end
  local self = process.start(words, options.redirect or redirect, options)
  local status = self:wait()
  if input then os.remove(input) end
  return status, self.output
end

--- What a program prints that has to succeed.
---@param words string[]
---@return string output
function process.output(words)
  local status, output = process.run(words)
  if status ~= 0 then error(("%s: status %d"):format(words[1], status), 2) end
  return output
end

--- Sends bytes to a port of this machine, and answers what comes back until the other end closes.
---@param port integer|string
---@param bytes string
---@return string
function process.exchange(port, bytes)
  local program = "exec 3<>/dev/tcp/127.0.0.1/" .. port .. "; cat >&3; cat <&3"
  local _, output = process.run({ "bash", "-c", program }, { input = bytes })
  return output
end

--- A new temporary directory; `process.remove` it.
---@return string path  absolute
function process.directory()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir -p " .. quote(path)))
  return path
end

--- Removes a file or a directory with all that is in it.
---@param path string
function process.remove(path)
  assert(path:find "^/tmp/.", "not a temporary path")
  os.execute("rm -rf " .. quote(path))
end

---@param path string
---@return string
function process.read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

--- A path that is right in every directory.
---@param path string
---@return string
function process.absolute(path)
  if path:find "^/" then return path end
  return process.output { "pwd" }:gsub("\n$", "/") .. path
end

--- Writes a file.
---@param path string
---@param text string
function process.write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

--- Writes a script to a temporary file and returns its path; `os.remove` it.
---@param text string
---@return string path
function process.script(text)
  local path = os.tmpname()
  process.write(path, text)
  return path
end

return process
