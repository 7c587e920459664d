--- Shared subscriptions in the model of a broker: of the members of a group one gets each message, and nobody
--- says which one. So a message that goes to a group is a debt to all who may have it, until one of them gets
--- it. What a session that ends has not acknowledged is a debt to the other members; QoS 2 that was sent to
--- it is not.

---@class spec.Debt
---@field message spec.Message
---@field group table
---@field candidates table<string, spec.Owed[]>  by client id: what it may be when it comes there
---@field may_be_lost boolean?   with the connection or the session of one who may have had it
---@field has_no_order boolean?  it was on its way to another one, or is blurred
---@field is_blurred boolean?    it may have come already

local groups = {}

local Groups = {}
Groups.__index = Groups

function groups.new() return setmetatable({ by_key = {}, debts = {} }, Groups) end

--- The key and the filter of "$share/name/filter", or nil.
local function parse(text) return text:match "^%$share/([^/]+/(.+))$" end

--- Subscribes. Whether it is a shared subscription.
function Groups:join(id, text, options, identifier)
  local key, filter = parse(text)
  if not key then return false end
  local group = self.by_key[key] or { key = key, filter = filter, members = {} }
  self.by_key[key] = group
  group.members[id] = { qos = options.qos, as_published = options.as_published, identifier = identifier }
  return true
end

local function leave(self, id, group)
  local was_member = group.members[id] ~= nil
  group.members[id] = nil
  if was_member and not next(group.members) then self.by_key[group.key], group.is_gone = nil, true end
  return was_member
end

--- Unsubscribes. nil when it is no shared subscription; else whether there was one.
function Groups:leave(id, text)
  local key = parse(text)
  if not key then return nil end
  local group = self.by_key[key]
  return group ~= nil and leave(self, id, group)
end

local function owed_to(member, message, group)
  return {
    message = message, qos = math.min(member.qos, message.qos), group = group,
    retain = member.as_published and message.retain or false, identifiers = { member.identifier },
  }
end

--- Who may get a message: one who is online; where nobody is, a stored session that takes its QoS.
local function candidates_of(group, message, sessions)
  local online, stored = {}, {}
  for id, member in pairs(group.members) do
    local owed = owed_to(member, message, group)
    if sessions[id].online then
      online[id] = { owed }
    elseif owed.qos > 0 then
      stored[id] = { owed }
    end
  end
  return next(online) and online or stored
end

local function add(self, debt)
  if next(debt.candidates) then table.insert(self.debts, debt) end
end

--- A message is published. Whether there is a group for it.
function Groups:publish(message, sessions, matches)
  local any = false
  for _, group in pairs(self.by_key) do
    if matches(group.filter, message.topic) then
      any = true
      add(self, { message = message, group = group, candidates = candidates_of(group, message, sessions) })
    end
  end
  return any
end

local function is_settled(debt) return debt.is_settled or not next(debt.candidates) end

local function forget_settled(self)
  local left = {}
  for _, debt in ipairs(self.debts) do
    if not is_settled(debt) then left[#left + 1] = debt end
  end
  self.debts = left
end

--- A connection has ended: QoS 0 that may have waited for it is not kept.
function Groups:lose(id)
  for _, debt in ipairs(self.debts) do
    local kept = {}
    for _, owed in ipairs(debt.candidates[id] or kept) do
      if owed.qos > 0 then kept[#kept + 1] = owed else debt.may_be_lost = true end
    end
    debt.candidates[id] = kept[1] and kept or nil
  end
  forget_settled(self)
end

local function pass_on(debt, sessions)
  local others = debt.group.is_gone and {} or candidates_of(debt.group, debt.message, sessions)
  if not next(others) or debt.is_blurred then debt.may_be_lost = true end
  for id, list in pairs(others) do
    local known = debt.candidates[id] or {}
    debt.candidates[id] = table.move(list, 1, #list, #known + 1, known)
  end
  debt.has_no_order = true
end

--- A session has ended; `inflight` is what it was sent.
function Groups:end_session(id, inflight, sessions)
  for _, group in pairs(self.by_key) do leave(self, id, group) end
  for _, debt in ipairs(self.debts) do
    if debt.candidates[id] then
      debt.candidates[id] = nil
      pass_on(debt, sessions)
    end
  end
  for _, entry in ipairs(inflight) do
    local owed = entry.owed
    local group = owed.group or owed.maybe_group
    if group and owed.qos == 1 then
      local debt = { message = owed.message, group = group, candidates = {} }
      pass_on(debt, sessions)
      debt.may_be_lost = owed.maybe_group ~= nil
      add(self, debt)
    end
  end
  forget_settled(self)
end

--- The oldest debt that a message which has come to `id` may be, for which `is_same(owed)`: what it is, and
--- its place. One that may be lost only where there is no other.
function Groups:find(id, is_same)
  local found, place
  for i, debt in ipairs(self.debts) do
    for _, owed in ipairs(debt.candidates[id] or {}) do
      if is_same(owed) and (not found or (self.debts[place].may_be_lost and not debt.may_be_lost)) then
        found, place = owed, i
      end
    end
  end
  return found, place
end

--- It was that one. Returns whether it has an order.
function Groups:settle(place) return not table.remove(self.debts, place).has_no_order end

--- Maybe it was that one; then what is still to come is something else that looks the same.
function Groups:blur(place)
  local debt = self.debts[place]
  debt.is_blurred, debt.has_no_order = true, true
end

--- One who does not take the size of a message may be the one whose turn it is.
function Groups:note_too_large(is_too_large)
  for _, debt in ipairs(self.debts) do
    for id, list in pairs(debt.candidates) do
      for _, owed in ipairs(list) do
        debt.may_be_lost = debt.may_be_lost or is_too_large(id, owed)
      end
    end
  end
end

--- A debt to clients who all have got what they may, or nil. `got_all` are these by id.
function Groups:find_lost(got_all, is_over)
  local lost
  for _, debt in ipairs(self.debts) do
    local is_with_others = false
    for id in pairs(debt.candidates) do is_with_others = is_with_others or not got_all[id] end
    local over = is_over(debt.message)
    debt.is_settled = over or not is_with_others
    if debt.is_settled and not over and not debt.may_be_lost then lost = lost or debt end
  end
  forget_settled(self)
  return lost
end

return groups
