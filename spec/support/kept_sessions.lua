--- Packets in flight that a script keeps, as plainly as can be: a `setup` hook that answers session
--- operations over tables. Calls are written down.
---
---     local kept = kept_sessions.new()
---     local broker = test.broker { hooks = { setup = kept.setup } }
---     kept.calls     -- { "save outgoing publish 1", ... }
---     kept.fails     -- set it to the name of an operation: it raises
---     kept.survives  -- set it to true: packets outlive the broker that had their session

local luamq = require "luamq"

local kept_sessions = {}

local Operations = {}
Operations.__index = Operations

local function note(self, text)
  local kept = self.kept
  kept.calls[#kept.calls + 1] = text
  if kept.fails == text:match "^%S+" then error("the disk is full", 0) end
end

local function find(list, id)
  for i, packet in ipairs(list) do
    if packet.id == id then return i, packet end
  end
end

function Operations:next_id()
  note(self, "next_id")
  repeat self.last_id = self.last_id % 65535 + 1 until not find(self.outgoing, self.last_id)
  return self.last_id
end

function Operations:save_packet(direction, packet)
  note(self, ("save_packet %s %s %d"):format(direction, packet.type, packet.id))
  local list = self[direction]
  local at = find(list, packet.id)
  if at then table.remove(list, at) end
  list[#list + 1] = packet
end

function Operations:lookup_packet(direction, id)
  note(self, ("lookup_packet %s %d"):format(direction, id))
  local _, packet = find(self[direction], id)
  return packet
end

function Operations:delete_packet(direction, id)
  note(self, ("delete_packet %s %d"):format(direction, id))
  local at = find(self[direction], id)
  if at then table.remove(self[direction], at) end
end

function Operations:all_packets(direction)
  note(self, "all_packets " .. direction)
  return self[direction]
end

---@return table
function kept_sessions.new()
  local kept = { sessions = {}, calls = {} }

  function kept.setup(_, id, clean)
    local session = luamq.session(id)
    local ends = not session or session.clean -- with the client that is there, which will have gone
    if clean or (ends and not kept.survives) or not kept.sessions[id] then
      local fields = { kept = kept, incoming = {}, outgoing = {}, last_id = 0 }
      kept.sessions[id] = setmetatable(fields, Operations)
    end
    return kept.sessions[id]
  end

  --- What was called since the last time.
  function kept.take()
    local calls = kept.calls
    kept.calls = {}
    return calls
  end

  return kept
end

return kept_sessions
