--- What coroutines that suspend hold each other up with: semaphores and channels. They wait as
--- `luamq.sleep` does, so only where that can be called.
---
---     local slots = luamq.semaphore(4)
---     function hooks.authenticate(client, username, password)
---       local slot <close> = slots:acquire()      -- at most four of these at once
---       return ask_slow_service(username, password)
---     end

local broker = require("luamq.core").broker

local sync = {}

-- A queue of tickets. One whose owner has been cancelled meanwhile is passed over.

local function new_queue() return { first = 1, last = 0 } end

local function push(queue, entry)
  queue.last = queue.last + 1
  queue[queue.last] = entry
end

local function pop(queue)
  while queue.first <= queue.last do
    local entry = queue[queue.first]
    queue[queue.first] = nil
    queue.first = queue.first + 1
    if not entry.gone then return entry end
  end
  return nil
end

--- Waits until `entry` is served. What was served to one that is cancelled before it goes on is given back.
local function wait_served(entry, seconds, give_back)
  local _ <close> = setmetatable({}, { __close = function()
    entry.gone = true
    if entry.served and not entry.taken then give_back(entry) end
  end })
  local served = entry.ticket:wait(seconds)
  entry.taken = true
  return served
end

local function serve(entry)
  entry.served = true
  entry.ticket:open()
end

-- Semaphores ---------------------------------------------------------------------------------

---@class luamq.Semaphore
---@field free integer  slots that nobody has
local Semaphore = {}
Semaphore.__index = Semaphore

---@class luamq.Slot  what `acquire` answers: a `local slot <close>` releases itself
local Slot = {}
Slot.__index = Slot

--- Gives the slot back; a second time has no effect.
function Slot:release()
  if self.released then return end
  self.released = true
  local semaphore = self.semaphore
  local entry = pop(semaphore.queue)
  if entry then
    serve(entry)
  else
    semaphore.free = semaphore.free + 1
  end
end

function Slot:__close() self:release() end

local function new_slot(semaphore) return setmetatable({ semaphore = semaphore }, Slot) end

--- Takes a slot, and waits for one when there is none, in the order of the calls.
---@param seconds number?  how long at most
---@return luamq.Slot? slot
---@return string? message  "timeout"
---@return string? code     "timeout"
function Semaphore:acquire(seconds)
  if self.free > 0 then
    self.free = self.free - 1
    return new_slot(self)
  end
  local entry = { ticket = broker.ticket() }
  push(self.queue, entry)
  if wait_served(entry, seconds, function() new_slot(self):release() end) then return new_slot(self) end
  return nil, "timeout", "timeout"
end

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
function Channel:send(value, seconds)
  if value == nil then error("a channel takes no nil", 2) end
  if self.closed then return nil, CLOSED, "closed" end
  local receiver = pop(self.receivers)
  if receiver then
    receiver.value = value
    serve(receiver)
    return true
  end
  if self.count < self.capacity then
    push(self.values, { value = value })
    self.count = self.count + 1
    return true
  end
  local entry = { ticket = broker.ticket(), value = value }
  push(self.senders, entry)
  local served = wait_served(entry, seconds, function() end)
  if served and not entry.refused then return true end
  if served then return nil, CLOSED, "closed" end
  return nil, "timeout", "timeout"
end

--- A sender that waits has room now.
local function admit_sender(self)
  local sender = pop(self.senders)
  if not sender then return end
  push(self.values, { value = sender.value })
  self.count = self.count + 1
  serve(sender)
end

--- The next value; waits while there is none.
---@param seconds number?   how long at most
---@return any value        nil: there is none
---@return string? message  "timeout" or "channel closed"
---@return string? code     "timeout" or "closed"
function Channel:receive(seconds)
  if self.count == 0 then admit_sender(self) end
  if self.count > 0 then
    local value = pop(self.values).value
    self.count = self.count - 1
    admit_sender(self)
    return value
  end
  if self.closed then return nil, CLOSED, "closed" end
  local entry = { ticket = broker.ticket() }
  push(self.receivers, entry)
  local served = wait_served(entry, seconds, function() self:give_back(entry.value) end)
  if served and entry.value ~= nil then return entry.value end
  if served then return nil, CLOSED, "closed" end
  return nil, "timeout", "timeout"
end

--- A value whose receiver was cancelled is the next one again.
function Channel:give_back(value)
  if value == nil then return end
  local receiver = pop(self.receivers)
  if receiver then
    receiver.value = value
    return serve(receiver)
  end
  local values = self.values
  values.first = values.first - 1
  values[values.first] = { value = value }
  self.count = self.count + 1
end

--- Nothing can be sent any more; what is in it can be received. Whoever waits goes on.
function Channel:close()
  self.closed = true
  for entry in function() return pop(self.receivers) end do serve(entry) end
  for entry in function() return pop(self.senders) end do
    entry.refused = true
    serve(entry)
  end
end

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
