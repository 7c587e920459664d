--- What coroutines that suspend hold each other up with: semaphores and channels. They wait as
--- `luamq.sleep` does, so only where that can be called.
---
---     local slots = luamq.semaphore(4)
---     function hooks.authenticate(client, username, password)
---       local slot <close> = slots:acquire()      -- at most four of these at once
---       return ask_slow_service(username, password)
---     end

local broker = require("luamq.core").broker
local methods = require "luamq.methods"

local sync = {}

-- Any allocation may fail (script.lua_memory), also that of a call. So nothing is taken before what is needed
-- for it is there, entries have all of their fields from the start, and a slot that nobody has any more is
-- given back by the collector.

local longest <const> = 1e9 -- seconds

local function check_seconds(seconds, level)
  if seconds ~= nil and not (type(seconds) == "number" and seconds >= 0 and seconds <= longest) then
    error("seconds between 0 and 1e9 expected", level + 1)
  end
end

-- A queue of entries. One whose owner has been cancelled meanwhile is passed over.

local function new_queue() return { first = 1, last = 0 } end

local function new_entry(value, slot)
  local ticket = broker.ticket()
  return { ticket = ticket, value = value, slot = slot, gone = false, served = false, taken = false }
end

local function push(queue, entry)
  queue[queue.last + 1] = entry
  queue.last = queue.last + 1
end

local function drop_first(queue)
  queue[queue.first] = nil
  queue.first = queue.first + 1
end

local function first(queue)
  while queue.first <= queue.last do
    local entry = queue[queue.first]
    if not entry.gone then return entry end
    drop_first(queue)
  end
  return nil
end

--- The first one goes on, with the value.
local function serve_first(queue, value)
  local entry = first(queue)
  if not entry then return nil end
  entry.ticket:open() -- has an effect in the next turn
  entry.value, entry.served = value, true
  drop_first(queue)
  return entry
end

--- Waits in the queue until `entry` is served. What was served to one that is cancelled before it goes on is
--- given back.
local function wait_served(queue, entry, seconds, give_back)
  local _ <close> = setmetatable({}, { __close = function()
    entry.gone = true
    if entry.served and not entry.taken then give_back(entry) end
  end })
  push(queue, entry)
  local served = entry.ticket:wait(seconds)
  entry.taken = true
  return served
end

-- Semaphores ---------------------------------------------------------------------------------

---@class luamq.Semaphore
---@field free integer  slots that nobody has
local Semaphore = {}
Semaphore.__index = Semaphore

---@class luamq.Slot
--- What `acquire` answers: a `local slot <close>` releases itself, one that is lost when it is collected.
local Slot = {}
Slot.__index = Slot

--- Gives the slot back; a second time has no effect.
function Slot:release()
  if self.released then return end
  local semaphore = self.semaphore
  local entry = serve_first(semaphore.queue)
  if entry then
    entry.slot.released = false
  else
    semaphore.free = semaphore.free + 1
  end
  self.released = true
end

Slot.__close = Slot.release
Slot.__gc = Slot.release

--- One that is not taken yet.
local function new_slot(semaphore) return setmetatable({ semaphore = semaphore, released = true }, Slot) end

local function give_slot_back(entry) entry.slot:release() end

--- Takes a slot, and waits for one when there is none, in the order of the calls.
---@param seconds number?  how long at most
---@return luamq.Slot? slot
---@return string? message  "timeout"
---@return string? code     "timeout"
---@async
function Semaphore:acquire(seconds)
  check_seconds(seconds, 2)
  local slot = new_slot(self)
  if self.free > 0 then
    self.free = self.free - 1
    slot.released = false
    return slot
  end
  if wait_served(self.queue, new_entry(nil, slot), seconds, give_slot_back) then return slot end
  return nil, "timeout", "timeout"
end

methods.guard(Slot, "a slot")
methods.guard(Semaphore, "a semaphore")

--- So many at once.
---@param slots integer  1 or more
---@return luamq.Semaphore
function sync.semaphore(slots)
  if math.type(slots) ~= "integer" or slots < 1 then error("a semaphore has 1 slot or more", 2) end
  return setmetatable({ free = slots, queue = new_queue() }, Semaphore)
end

-- Channels -----------------------------------------------------------------------------------

---@class luamq.Channel
---@field closed boolean
local Channel = {}
Channel.__index = Channel

local CLOSED <const> = "channel closed"

--- Sends a value; waits while the channel is full. A value given to one that is cancelled meanwhile goes to
--- the next.
---@param value any         not nil
---@param seconds number?   how long to wait at most
---@return true? sent
---@return string? message  "timeout" or "channel closed"
---@return string? code     "timeout" or "closed"
---@async
function Channel:send(value, seconds)
  if value == nil then error("a channel takes no nil", 2) end
  check_seconds(seconds, 2)
  if self.closed then return nil, CLOSED, "closed" end
  if serve_first(self.receivers, value) then return true end
  if self.count < self.capacity then
    push(self.values, { value = value })
    self.count = self.count + 1
    return true
  end
  local entry = new_entry(value)
  local served = wait_served(self.senders, entry, seconds, function() end)
  if served and entry.value ~= nil then return true end
  if served then return nil, CLOSED, "closed" end
  return nil, "timeout", "timeout"
end

--- A sender that waits has room now. Its value counts when the sender has been told.
local function admit_sender(self)
  local sender, values = first(self.senders), self.values
  if not sender then return end
  values[values.last + 1] = { value = sender.value }
  serve_first(self.senders, sender.value)
  values.last = values.last + 1
  self.count = self.count + 1
end

--- The next value; waits while there is none.
---@param seconds number?   how long at most
---@return any value        nil: there is none
---@return string? message  "timeout" or "channel closed"
---@return string? code     "timeout" or "closed"
---@async
function Channel:receive(seconds)
  check_seconds(seconds, 2)
  if self.count <= self.capacity then admit_sender(self) end -- into the room that the value leaves
  if self.count > 0 then
    local value = first(self.values).value
    drop_first(self.values)
    self.count = self.count - 1
    return value
  end
  if self.closed then return nil, CLOSED, "closed" end
  local entry = new_entry()
  local served = wait_served(self.receivers, entry, seconds, function() self:give_back(entry.value) end)
  if served and entry.value ~= nil then return entry.value end
  if served then return nil, CLOSED, "closed" end
  return nil, "timeout", "timeout"
end

--- A value whose receiver was cancelled is the next one again.
---@private
function Channel:give_back(value)
  if value == nil then return end
  if serve_first(self.receivers, value) then return end
  local values = self.values
  values[values.first - 1] = { value = value }
  values.first = values.first - 1
  self.count = self.count + 1
end

--- Nothing can be sent any more; what is in it can be received. Whoever waits goes on.
function Channel:close()
  self.closed = true
  while serve_first(self.receivers) do end
  while serve_first(self.senders) do end
end

methods.guard(Channel, "a channel")

--- Values from one coroutine to another, in order.
---@param capacity integer?  values that may wait in it; default 0: a sender waits for a receiver
---@return luamq.Channel
function sync.channel(capacity)
  if capacity ~= nil and (math.type(capacity) ~= "integer" or capacity < 0) then
    error("the capacity of a channel is 0 or more", 2)
  end
  return setmetatable({
    capacity = capacity or 0, count = 0, closed = false,
    values = new_queue(), senders = new_queue(), receivers = new_queue(),
  }, Channel)
end

return sync
