--- Programs as processes of their own, for specs: started through a shell that replaces itself, so that
--- its process id is the program's.

local process = {}

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
---@field port integer?   of the first listener of a broker
---@field output string   what it wrote so far, as it was read
---@field status integer?  once it has ended
---@field private handle file*?
local Process = {}
Process.__index = Process

--- Starts a program. Its standard output is read by `line` and `wait`.
---@param words string[]
---@param redirect string?  shell redirections, such as "2>&1"; default "2>/dev/null"
---@return spec.Process
function process.start(words, redirect)
  local line = ("echo $$; exec %s %s"):format(command(words), redirect or "2>/dev/null")
  local handle = assert(io.popen(line, "r"))
  local pid = assert(math.tointeger(tonumber(handle:read "l")), "no process id")
  return setmetatable({ handle = handle, pid = pid, output = "" }, Process)
end

--- Starts `luamq` with these arguments and waits until it listens.
---@param arguments string[]  the script and its arguments
---@return spec.Process broker
function process.broker(arguments)
  local words = { process.luamq, table.unpack(arguments) }
  local self = process.start(words, "2>&1")
  local seen = {}
  repeat
    local line = self:line()
    if not line then error("the broker did not start:\n" .. table.concat(seen, "\n"), 2) end
    seen[#seen + 1] = line
    self.port = math.tointeger(tonumber(line:match "^listening on tcp://.*:(%d+)$"))
  until self.port
  return self
end

--- The next line of its output, or nil at the end.
---@return string?
function Process:line()
  local line = self.handle and self.handle:read "l"
  if line then self.output = self.output .. line .. "\n" end
  return line
end

--- Sends it a signal: "TERM", "INT", "HUP", "KILL".
---@param signal string
function Process:signal(signal)
  if self.handle then os.execute(("kill -%s %d"):format(signal, self.pid)) end
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

--- Runs a program to its end.
---@param words string[]
---@param options { input: string?, errors: boolean? }?  `errors`: its standard error is part of the output
---@return integer status
---@return string output
function process.run(words, options)
  options = options or {}
  local redirect = options.errors and "2>&1" or "2>/dev/null"
  local input
  if options.input then
    input = os.tmpname()
    local file = assert(io.open(input, "wb"))
    file:write(options.input)
    file:close()
    redirect = redirect .. " <" .. quote(input)
  else
    redirect = redirect .. " </dev/null"
  end
  local self = process.start(words, redirect)
  local status = self:wait()
  if input then os.remove(input) end
  return status, self.output
end

--- Writes a script to a temporary file and returns its path; `os.remove` it.
---@param text string
---@return string path
function process.script(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

return process
