--- What a broker owes its clients, in the simplest form that tells the truth: sessions, who subscribed to
--- what, what is retained, and for each session the messages that it is owed, in order. Nothing is ever
--- dropped for want of room. Time is in milliseconds.
---
---     local model = Model.new()
---     local present = model:connect("a", { clean = true, expiry = 60, receive_maximum = 10, version = 5 })
---     model:subscribe("a", "x/#", { qos = 1 })
---     model:publish({ topic = "x/y", payload = "1", qos = 1 }, "b")
---     model:receive("a", packet)  -- a PUBLISH that came; raises when the broker did not owe it
---     model:check()               -- raises when something that could have come has not
---
--- Ordering: a session is owed its messages in the order in which they were published, from whomever.
--- Retained messages that a subscription asks for come between them in any order, but never after a newer one
--- of their topic. After a reconnect, what was sent but not acknowledged comes first: messages in their
--- order, and the PUBRELs of received ones in theirs.

local groups = require "spec.support.model_groups"
local messages = require "spec.support.model_messages"

local matches, describe, fits = messages.matches, messages.describe, messages.fits

---@class spec.Model
---@field now integer
---@field private sessions table<string, table>
---@field private retained table<string, spec.Message>
local Model = {}
Model.__index = Model

--- How many messages a broker keeps in flight to a client: the setting `backend.inflight_messages`.
Model.INFLIGHT = 10

function Model.new()
  return setmetatable({
    now = 0, sessions = {}, retained = {}, groups = groups.new(), count = 0, leaves = 0,
  }, Model)
end

local function fail(...) error(string.format(...), 0) end

function Model:is_over(message) return messages.is_over(message, self.now) end

-- Sessions -----------------------------------------------------------------------------------

--- The session of a client id, or nil.
function Model:session(id) return self.sessions[id] end

--- A will that waits is sent when its time has come, or when its session ends.
function Model:send_will(session)
  local will = session.will
  session.will = nil
  if will then self:publish(will, nil) end
end

function Model:end_session(id)
  local session = self.sessions[id]
  self.sessions[id] = nil
  self.groups:end_session(id, session.inflight, self.sessions)
  self:send_will(session)
end

--- Connects; one with the same id is taken over. Returns whether there was a session that goes on.
---@param id string
---@param options { clean: boolean, expiry: number, receive_maximum: integer, maximum_size: number,
---  version: integer, will: table? }
function Model:connect(id, options)
  if self.sessions[id] and self.sessions[id].online then self:lose(id) end
  if self.sessions[id] and options.clean then self:end_session(id) end
  local session = self.sessions[id]
  local present = session ~= nil
  if not present then
    session = { subscriptions = {}, owed = {}, replays = {}, twins = {}, inflight = {}, last = 0 }
    self.sessions[id] = session
  end
  session.expiry, session.will, session.ends = options.expiry, nil, nil
  session.is_vague = session.is_vague or options.version < 5
  session.online = {
    receive_maximum = options.receive_maximum, maximum_size = options.maximum_size, version = options.version,
    will = options.will, again = {}, releases = {}, -- what is to be sent again
  }
  for _, entry in ipairs(session.inflight) do
    table.insert(entry.received and session.online.releases or session.online.again, entry)
  end
  return present
end

--- The connection ends; with its will unless the client took leave.
function Model:lose(id, takes_leave)
  local session, kept = self.sessions[id], {}
  session.will = not takes_leave and session.online.will or nil
  session.online = nil
  for _, owed in ipairs(session.owed) do
    if owed.qos > 0 then kept[#kept + 1] = owed end
  end
  self.groups:lose(id)
  self.leaves = self.leaves + 1
  session.owed, session.left = kept, self.leaves
  session.ends = self.now + session.expiry * 1000
  local delay = session.will and session.will.delay or 0
  session.will_due = self.now + delay * 1000
  if session.expiry == 0 then
    self:end_session(id)
  elseif delay == 0 then
    self:send_will(session)
  end
end

--- When something happens by itself, up to a time: a will, or the end of a session; and to whose. Of several
--- at the same time that of the client which left first.
function Model:next_event(to)
  local at, which, left
  for id, session in pairs(self.sessions) do
    local due = not session.online and math.min(session.ends, session.will and session.will_due or math.huge)
    if due and due <= to and (not at or due < at or (due == at and session.left < left)) then
      at, which, left = due, id, session.left
    end
  end
  return at, which
end

--- Time passes, but no further than to the next thing that happens by itself. Returns how much has passed.
function Model:advance(ms)
  local start = self.now
  local at, id, _ = self:next_event(start + ms)
  self.now = at or start + ms
  while id do
    if self.now == self.sessions[id].ends then self:end_session(id) else self:send_will(self.sessions[id]) end
    _, id = self:next_event(self.now)
  end
  return self.now - start
end

-- Subscriptions and messages -----------------------------------------------------------------

function Model:retained_at(topic)
  local message = self.retained[topic]
  return message and not self:is_over(message) and message or nil
end

--- Retained messages that are still to come change with what is retained.
function Model:change_replays(message)
  for _, session in pairs(self.sessions) do
    for _, replay in ipairs(session.replays) do
      local entry = replay.topics[message.topic]
      if message.payload == "" then
        replay.topics[message.topic] = nil
      elseif matches(replay.filter, message.topic) then
        local optional = not entry or entry.optional or self:is_over(entry.message)
        replay.topics[message.topic] = { message = message, optional = optional }
      end
    end
  end
end

local function remove_replay(session, filter)
  for i, replay in ipairs(session.replays) do
    if replay.filter == filter then table.remove(session.replays, i) end
  end
end

--- What is still to come for a subscription comes for what it has become.
local function change_replay(session, filter, qos, identifier)
  for _, replay in ipairs(session.replays) do
    if replay.filter == filter then replay.qos, replay.identifier = qos, identifier end
  end
end

---@param options { qos: integer, no_local: boolean?, as_published: boolean?, handling: integer? }
function Model:subscribe(id, filter, options, identifier)
  if self.groups:join(id, filter, options, identifier) then return end
  local session = self:session(id)
  local is_new = session.subscriptions[filter] == nil
  session.subscriptions[filter] = {
    qos = options.qos, no_local = options.no_local, as_published = options.as_published,
    identifier = identifier,
  }
  if options.handling == 2 or (options.handling == 1 and not is_new) then
    change_replay(session, filter, options.qos, identifier)
    return
  end
  local topics = {}
  for topic in pairs(self.retained) do
    local message = self:retained_at(topic)
    if message and matches(filter, topic) then topics[topic] = { message = message } end
  end
  remove_replay(session, filter)
  table.insert(session.replays, {
    filter = filter, qos = options.qos, identifier = identifier, topics = topics,
  })
end

--- Returns whether there was such a subscription.
function Model:unsubscribe(id, filter)
  local was_member = self.groups:leave(id, filter)
  if was_member ~= nil then return was_member end
  local session = self:session(id)
  local existed = session.subscriptions[filter] ~= nil
  session.subscriptions[filter] = nil
  remove_replay(session, filter)
  return existed
end

--- The one delivery of several matching subscriptions, or nil: QoS is the highest, retain as published if one
--- says so, and all identifiers; of a client's own messages those with no local do not count. And whether one
--- matched at all.
local function merge(session, message, is_own)
  local owed, any = nil, false
  for filter, s in pairs(session.subscriptions) do
    local matched = matches(filter, message.topic)
    any = any or matched
    if matched and not (is_own and s.no_local) then
      owed = owed or { message = message, qos = 0, retain = false, identifiers = {} }
      owed.qos = math.max(owed.qos, math.min(s.qos, message.qos))
      owed.retain = owed.retain or (s.as_published and message.retain or false)
      if s.identifier then table.insert(owed.identifiers, s.identifier) end
    end
  end
  if not owed or not (session.online or owed.qos > 0) then return nil, any end
  table.sort(owed.identifiers)
  return owed, any
end

--- Publishes. Returns whether any subscription matched.
---@param message spec.Message
---@param publisher string?  client id
function Model:publish(message, publisher)
  self.count = self.count + 1
  message.number, message.arrived = self.count, message.arrived or self.now
  if message.retain then
    self.retained[message.topic] = message.payload ~= "" and message or nil
    self:change_replays(message)
  end
  local any = self.groups:publish(message, self.sessions, matches)
  for id, session in pairs(self.sessions) do
    local owed, matched = merge(session, message, id == publisher)
    any = any or matched
    session.owed[#session.owed + 1] = owed
  end
  return any
end

-- What comes ---------------------------------------------------------------------------------

--- Messages that this connection has been sent and has not done with.
local function sent(session)
  local count = 0
  for _, entry in ipairs(session.inflight) do
    if entry.connection == session.online then count = count + 1 end
  end
  return count
end

local function find(list, id)
  for i, entry in ipairs(list) do
    if entry.id == id then return entry, i end
  end
end

local function forget(list, id)
  local _, at = find(list, id)
  if at then table.remove(list, at) end
end

--- What is too large for a new connection is not sent again when it is its turn.
local function pass_over_too_large(session)
  local connection = session.online
  local again = connection.again
  while again[1] and sent(session) < connection.receive_maximum and not fits(again[1].owed, session) do
    forget(session.inflight, table.remove(again, 1).id)
  end
end

function Model:receive_again(session, packet)
  local connection = session.online
  pass_over_too_large(session)
  local entry = connection.again[1]
  if not entry or entry.id ~= packet.id or not messages.is_same(entry.owed, packet, session, self.now) then
    fail("sent again, but not what is next: %d %s=%q; owed: %s", packet.id, packet.topic, packet.payload,
      entry and entry.id .. " " .. describe(entry.owed) or "nothing")
  end
  table.remove(connection.again, 1)
  return entry
end

--- Its time is over, or it is larger than the client takes: it counts as sent.
function Model:will_not_come(owed, session) return self:is_over(owed.message) or not fits(owed, session) end

local function owed_of_replay(replay, entry)
  return {
    message = entry.message, qos = math.min(replay.qos, entry.message.qos), retain = true,
    identifiers = { replay.identifier },
  }
end

--- An older retained message of the topic that has yet to come.
function Model:older_retained(session, message)
  for _, replay in ipairs(session.replays) do
    local entry = replay.topics[message.topic]
    local must_come = entry and not entry.optional
      and not self:will_not_come(owed_of_replay(replay, entry), session)
    if must_come and entry.message.number < message.number then return entry.message end
  end
end

--- The place of the first that the broker cannot have passed over. Those before it may be gone, also where
--- they would come on another connection.
function Model:first_live(session)
  for i, owed in ipairs(session.owed) do
    owed.may_be_gone = owed.may_be_gone or self:will_not_come(owed, session)
    if not owed.may_be_gone then return i end
  end
  return #session.owed
end

function Model:find_live(session, packet)
  for i = 1, self:first_live(session) do
    local owed = session.owed[i]
    local may_come = not self:will_not_come(owed, session)
    if may_come and messages.is_same(owed, packet, session, self.now) then return i end
  end
end

function Model:take_live(session, packet)
  local at = self:find_live(session, packet)
  if not at then return nil end
  local owed = session.owed[at]
  local older = self:older_retained(session, owed.message)
  if older then fail("%s came before the retained %q", describe(owed), older.payload) end
  session.owed = table.move(session.owed, at + 1, #session.owed, 1, {})
  return owed
end

--- One that is too large for this connection may have been passed over, but need not.
local function pass_over_retained(session)
  for _, replay in ipairs(session.replays) do
    for _, entry in pairs(replay.topics) do
      entry.optional = entry.optional or not fits(owed_of_replay(replay, entry), session)
    end
  end
end

--- The place of a retained message that this may be, for the oldest subscription that asks for it; of those
--- that have to come, or of those that may.
function Model:find_retained(session, packet, optional)
  for _, replay in ipairs(session.replays) do
    local entry = replay.topics[packet.topic]
    if entry and (entry.optional or false) == optional and not self:is_over(entry.message) then
      local owed = owed_of_replay(replay, entry)
      if messages.is_same(owed, packet, session, self.now) then return owed, replay.topics end
    end
  end
end

--- One by a group. Of these and the live ones of a session none comes after one that was published later.
function Model:take_of_group(session, owed, place, is_sure)
  local has_order = self.groups:settle(place)
  if not has_order or not is_sure then return owed end
  if owed.message.number < session.last then fail("%s came after a newer one", describe(owed)) end
  session.last = owed.message.number
  return owed
end

--- A live one may look just like one that comes for a subscription, or by a group. Then nobody can tell which
--- of them it was: the other may come, and both may be of the group.
function Model:take(id, session, packet)
  local live = self:take_live(session, packet)
  local retained, topics = self:find_retained(session, packet, false)
  local must_come = retained ~= nil
  if not must_come then retained, topics = self:find_retained(session, packet, true) end
  local of_group, place = self.groups:find(id, function(owed)
    return not self:is_over(owed.message) and messages.is_same(owed, packet, session, self.now)
  end)
  if live and of_group then
    live.maybe_group, of_group.maybe_group = of_group.group, of_group.group
    self.groups:blur(place)
  end
  if live and retained then
    table.insert(session.twins, live)
    topics[packet.topic].optional = true
  elseif live then
    session.last = live.message.number
  end
  if live then return live end
  if of_group and not must_come then return self:take_of_group(session, of_group, place, not retained) end
  if of_group then self.groups:blur(place) end
  if retained then
    topics[packet.topic] = nil
    return retained
  end
  for i, twin in ipairs(session.twins) do
    if messages.is_same(twin, packet, session, self.now) then return table.remove(session.twins, i) end
  end
end

function Model:receive_new(id, session, packet)
  pass_over_too_large(session)
  local first = session.online.again[1] or session.online.releases[1]
  if first then fail("%q came before what is to be sent again: %s", packet.payload, describe(first.owed)) end
  local owed = self:take(id, session, packet)
  if not owed then
    fail("not owed: %s=%q qos=%d retain=%s ids=[%s] expiry=%s; next is %s", packet.topic, packet.payload,
      packet.qos, packet.retain, table.concat(messages.identifiers(packet), ","), messages.expiry(packet),
      session.owed[1] and describe(session.owed[1]) or "nothing")
  end
  local entry = { id = packet.id, owed = owed }
  if packet.qos == 0 then return entry end
  if find(session.inflight, packet.id) then fail("packet id %d is in flight already", packet.id) end
  table.insert(session.inflight, entry)
  return entry
end

--- A PUBLISH has come.
function Model:receive(id, packet)
  local session = self:session(id)
  local entry = packet.dup and self:receive_again(session, packet) or self:receive_new(id, session, packet)
  entry.connection = session.online
  if sent(session) > session.online.receive_maximum then
    fail("%d messages at once, the receive maximum is %d", sent(session), session.online.receive_maximum)
  end
  if #session.inflight > Model.INFLIGHT then fail("%d messages are in flight", #session.inflight) end
end

--- A PUBREL has come: for the first time, or again after a reconnect.
function Model:receive_release(id, packet)
  local session = self:session(id)
  local entry, releases = find(session.inflight, packet.id), session.online.releases
  if not entry or not entry.received then fail("PUBREL of %d, which was not received", packet.id) end
  if entry.released then
    if releases[1] ~= entry then fail("PUBREL of %d is not what is next", packet.id) end
    table.remove(releases, 1)
  end
  entry.released = true
end

-- What the client answers --------------------------------------------------------------------

--- The message is done with: PUBACK, PUBCOMP, or PUBREC with an error.
function Model:done(id, packet_id) forget(self:session(id).inflight, packet_id) end

--- PUBREC: from now on it is never sent again, but its PUBREL is, in the order of these.
function Model:received(id, packet_id)
  local inflight = self:session(id).inflight
  local entry, at = find(inflight, packet_id)
  table.insert(inflight, table.remove(inflight, at))
  entry.received = true
end

--- What the connection may acknowledge now: { id, qos, released }.
function Model:unacknowledged(id)
  local session, list = self:session(id), {}
  for _, entry in ipairs(session.inflight) do
    if entry.connection == session.online and (entry.released or not entry.received) then
      list[#list + 1] = { id = entry.id, qos = entry.owed.qos, released = entry.released }
    end
  end
  return list
end

-- What must have come ------------------------------------------------------------------------

--- Whether the client has got all that it may.
function Model:check_session(id, session)
  local connection = session.online
  pass_over_too_large(session)
  pass_over_retained(session)
  self:first_live(session)
  local may_send = sent(session) < connection.receive_maximum
  local again = connection.again[1]
  local missing = connection.releases[1] or (may_send and again)
  if missing then fail("%s: not sent again: %s", id, describe(missing.owed)) end
  if again or not may_send or #session.inflight >= Model.INFLIGHT then return false end
  for _, owed in ipairs(session.owed) do
    local may_be_gone = owed.may_be_gone or self:will_not_come(owed, session)
    if not may_be_gone then fail("%s: lost: %s", id, describe(owed)) end
  end
  for _, replay in ipairs(session.replays) do
    for topic, entry in pairs(replay.topics) do
      if not entry.optional and not self:will_not_come(owed_of_replay(replay, entry), session) then
        fail("%s: lost: retained %q of %s for %s", id, entry.message.payload, topic, replay.filter)
      end
    end
  end
  session.owed, session.replays, session.twins = {}, {}, {}
  return true
end

--- Nothing is left to do without time passing: all has come that may.
function Model:check()
  local got_all = {}
  for id, session in pairs(self.sessions) do
    got_all[id] = session.online and self:check_session(id, session)
  end
  self.groups:note_too_large(function(id, owed)
    return self.sessions[id].online and not fits(owed, self.sessions[id])
  end)
  local lost = self.groups:find_lost(got_all, function(message) return self:is_over(message) end)
  if lost then fail("lost: %q of the group %s", lost.message.payload, lost.group.key) end
end

return Model
