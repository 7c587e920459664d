--- A broker whose calls of the system fail on demand; tests/faults/fault.h tells how. Calls are counted while
--- it is armed, and one, or all from one on, fail:
---
---     local broker <close> = faults.start({ "broker.lua" }, directory)
---     broker:arm { calls = { "recv", "readv" }, error = "ECONNRESET", at = 3 }
---     ...
---     local failed = broker:disarm()  -- how many of them failed

local process = require "spec.support.process"

local faults = {}

local bits <const> = {}
for i, name in ipairs { "malloc", "calloc", "realloc", "read", "recv", "readv", "write", "send", "sendmsg",
  "writev", "accept4", "epoll_ctl", "SSL_new", "SSL_accept", "SSL_read", "SSL_write" } do
  bits[name] = 1 << (i - 1)
end

local errors <const> = {
  short = 0, EAGAIN = 11, ENOMEM = 12, ENFILE = 23, EMFILE = 24, ENOSPC = 28, EPIPE = 32, EPROTO = 71,
  ECONNABORTED = 103, ECONNRESET = 104, ENOBUFS = 105,
}

---@class spec.Fault
---@field calls string[]
---@field error string   "short" or the name of an errno
---@field at integer       the call that fails, from 1 on
---@field lasting boolean?  all calls from that one on fail

local CONTROL <const> = "<I8I8I8I8I8I8I8I8"

---@param fault spec.Fault?
local function control_text(fault)
  if not fault then return CONTROL:pack(0, 0, 0, 0, 0, 0, 0, 0) end
  local calls = 0
  for _, name in ipairs(fault.calls) do calls = calls | assert(bits[name], name) end
  local last = fault.lasting and math.maxinteger or fault.at
  return CONTROL:pack(1, calls, assert(errors[fault.error]), fault.at, last, 0, 0, 0)
end

---@class spec.FaultyBroker: spec.Process
---@field log string        the file with its standard error
---@field control string    the file that it maps
---@field options table?     of client.connect, set by a spec

local Broker = setmetatable({}, { __index = process.Process })
Broker.__index = Broker

--- Counts from here on; what was counted is forgotten.
---@param fault spec.Fault
function Broker:arm(fault)
  local file <close> = assert(io.open(self.control, "r+b"))
  file:write(control_text(fault))
end

--- How many calls failed since it was armed; none will from now on.
---@return integer failed
function Broker:disarm()
  local file <close> = assert(io.open(self.control, "r+b"))
  file:write(CONTROL:pack(0, 0, 0, 0, 0, 0, 0, 0):sub(1, 8))
  file:seek("set", 0)
  return (select(7, CONTROL:unpack(file:read "a")))
end

--- How many descriptors it has open.
---@return integer
function Broker:descriptors()
  local list = process.output { "ls", ("/proc/%d/fd"):format(self.pid) }
  return select(2, list:gsub("\n", ""))
end

--- What it wrote to standard error so far.
---@return string
function Broker:errors() return process.read(self.log) end

function Broker.__close(self) self:stop() end

--- Starts a broker, and waits until it listens or has ended.
---@param arguments string[]   the script and its arguments
---@param directory string     for its files
---@param fault spec.Fault?    that is armed from its first call on
---@return spec.FaultyBroker broker  without `url` when it has ended
function faults.start(arguments, directory, fault)
  local log, control = directory .. "/log", directory .. "/control"
  process.write(log, "")
  process.write(control, control_text(fault))
  local self = process.start({ process.luamq, table.unpack(arguments) }, "2>>" .. log, { environment = {
    LD_PRELOAD = process.absolute(process.build) .. "/faults/fault.so", FAULT_CONTROL = control,
    ASAN_OPTIONS = "detect_leaks=1:verify_asan_link_order=0",
  } })
  self = setmetatable(self, Broker) ---@cast self spec.FaultyBroker
  self.log, self.control = log, control
  for line in self.line, self do
    self.url = line:match "^listening on (.+)$"
    if self.url then return self end
  end
  self:wait()
  return self
end

return faults
