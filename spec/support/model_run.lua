--- Steps that are done with a broker and its model: each is a table of plain data, which does nothing where
--- it makes no sense, so that any part of a sequence is a sequence.
---
---     local problem, step = run.try(steps)      -- nil: the broker did what the model says
---
--- Steps are { op, client, ... }:
---
---     connect      version, clean, expiry (seconds), receive_maximum, aliases, maximum_size, will, holds
---                  (acknowledges nothing by itself)
---     subscribe    filters = { { filter, qos, no_local, as_published, handling } }, identifier
---     unsubscribe  filter
---     publish      topic, qos, retain, empty, fill (bytes), expiry (seconds), alias, keeps (QoS 2: no PUBREL
---                  yet)
---     again        a QoS 2 message that is kept is sent again
---     release      PUBREL of the oldest that is kept
---     ack          pick (which of those that may be), how = "refuse" or nil
---     holds        on
---     leave        with_will, expiry
---     drop
---     advance      ms
---     restart

local Model = require "spec.support.model"
local packets = require "spec.support.packets"
local test = require "luamq.test"

local run = {}

--- The clients.
run.ids = { "a", "b", "c" }

local FOR_EVER = 0xffffffff
local LARGE = 1000000 -- of queues, so that nothing is dropped

local Run = {}
Run.__index = Run

local function fail(...) error(string.format(...), 0) end

local function start(hooks)
  return test.broker {
    hooks = hooks and hooks(),
    backend = {
      session_queue_size = LARGE, session_queue_bytes = LARGE * 1000, token_timeout = 86400,
      inflight_messages = Model.INFLIGHT,
    },
  }
end

local function new_run(hooks)
  local fields = {
    broker = start(hooks), hooks = hooks, model = Model.new(), connections = {}, clients = {}, payload = 0,
  }
  return setmetatable(fields, Run)
end

-- Connections --------------------------------------------------------------------------------

--- What a client keeps from one connection to the next: the QoS 2 messages that it has not released.
function Run:client(id)
  self.clients[id] = self.clients[id] or { next_id = 0, kept = {} }
  return self.clients[id]
end

local function next_id(client)
  client.next_id = client.next_id % 65535 + 1
  return client.next_id
end

local function send(connection, bytes)
  assert(connection.socket:send_raw(bytes), "the connection is closed")
end

--- An answer that has to come within the step.
local function expect(connection, type, id, check)
  connection.expected[type .. " of " .. (id or "")] = check or function() end
end

local function answered(connection, packet)
  local key = packet.type .. " of " .. (packet.id or "")
  local check = connection.expected[key]
  if not check then fail("an unexpected packet: %s", key) end
  connection.expected[key] = nil
  check(packet)
end

local function expect_reason(connection, type, id, reason)
  expect(connection, type, id, function(packet)
    if packet.reason_code == reason then return end
    fail("a %s has reason 0x%02x, not 0x%02x", type, packet.reason_code, reason)
  end)
end

local function resolve_alias(connection, packet)
  local alias = packet.properties and packet.properties.topic_alias
  if not alias then return end
  if alias < 1 or alias > connection.alias_maximum then fail("topic alias %d", alias) end
  if packet.topic == "" then packet.topic = connection.known[alias] end
  if not packet.topic then fail("topic alias %d is not known", alias) end
  connection.known[alias] = packet.topic
end

function Run:acknowledge(connection, entry, refuses)
  local model, id = self.model, connection.id
  local reason = refuses and connection.version == 5 and 0x80 or nil
  if entry.released then
    send(connection, packets.ack("pubcomp", entry.id))
    model:done(id, entry.id)
  elseif entry.qos == 1 then
    send(connection, packets.ack("puback", entry.id, reason))
    model:done(id, entry.id)
  else
    if reason then
      model:done(id, entry.id)
    else
      model:received(id, entry.id)
      connection.awaits_release[entry.id] = true
    end
    send(connection, packets.ack("pubrec", entry.id, reason))
  end
end

local handlers = {
  publish = function(self, connection, packet)
    resolve_alias(connection, packet)
    self.model:receive(connection.id, packet)
  end,
  pubrel = function(self, connection, packet)
    connection.awaits_release[packet.id] = nil
    self.model:receive_release(connection.id, packet)
  end,
}

function Run:read(connection)
  local bytes = connection.socket:raw()
  for _, packet in ipairs(packets.read(bytes, connection.version)) do
    local handler = handlers[packet.type]
    if handler then handler(self, connection, packet) else answered(connection, packet) end
  end
  return #bytes > 0
end

--- A client that does not hold back acknowledges all. Whether there was anything.
function Run:acknowledge_all(connection)
  local any = false
  if connection.holds then return any end
  for _, entry in ipairs(self.model:unacknowledged(connection.id)) do
    self:acknowledge(connection, entry)
    any = true
  end
  return any
end

--- Until nothing comes any more; then all that may have come has.
function Run:settle()
  repeat
    local any = false
    for _, id in ipairs(run.ids) do
      local connection = self.connections[id]
      if connection then any = self:read(connection) or any end
      if connection then any = self:acknowledge_all(connection) or any end
    end
  until not any
  for id, connection in pairs(self.connections) do
    local missing = next(connection.expected)
    if missing then fail("%s: no packet %s came", id, missing) end
    local packet_id = next(connection.awaits_release)
    if packet_id then fail("%s: no PUBREL of %d came", id, packet_id) end
    if connection.socket.closed then fail("%s: closed: %s", id, connection.socket.close_reason) end
  end
  self.model:check()
end

-- Steps --------------------------------------------------------------------------------------

local steps = {}

function Run:next_payload()
  self.payload = self.payload + 1
  return tostring(self.payload)
end

--- The connection that was taken over has ended, and was told why where it can be told.
local function check_taken_over(old)
  local last
  for _, packet in ipairs(packets.read(old.socket:raw(), old.version)) do last = packet end
  if not old.socket.closed then fail("%s: not closed when it was taken over", old.id) end
  if old.version < 5 then return end
  local told = last and last.type == "disconnect" and last.reason_code == 0x8e
  if not told then fail("%s: not told that it was taken over", old.id) end
end

local function connect_properties(s)
  return {
    session_expiry_interval = s.expiry, receive_maximum = s.receive_maximum,
    maximum_packet_size = s.maximum_size, topic_alias_maximum = s.aliases > 0 and s.aliases or nil,
  }
end

function Run:will_of(s)
  if not s.will then return nil end
  local will = {
    topic = s.will.topic, payload = self:next_payload(), qos = s.will.qos, retain = s.will.retain,
  }
  if s.version < 5 then return will end
  will.delay, will.expiry = s.will.delay, s.will.expiry
  will.properties = { will_delay_interval = will.delay, message_expiry_interval = will.expiry }
  return will
end

local function session_expiry(s)
  if s.version < 5 then return s.clean and 0 or math.huge end
  return s.expiry == FOR_EVER and math.huge or s.expiry
end

function steps.connect(self, s)
  local old, will, client = self.connections[s.client], self:will_of(s), self:client(s.client)
  local connection = {
    id = s.client, version = s.version, socket = self.broker:open(), holds = s.holds, expected = {},
    awaits_release = {}, alias_maximum = s.aliases, known = {}, aliases = {},
  }
  local present = self.model:connect(s.client, {
    version = s.version, clean = s.clean, expiry = session_expiry(s), will = will,
    receive_maximum = s.version == 5 and s.receive_maximum or math.huge,
    maximum_size = s.version == 5 and s.maximum_size or math.huge,
  })
  if not present then client.kept = {} end
  expect(connection, "connack", nil, function(packet)
    if packet.reason_code ~= 0 then fail("%s: refused: %d", s.client, packet.reason_code) end
    if packet.session_present == (present and s.version > 3) then return end
    fail("%s: session present is %s", s.client, packet.session_present)
  end)
  self.connections[s.client] = nil
  send(connection, packets.connect_packet {
    id = s.client, version = s.version, clean = s.clean, will = will, properties = connect_properties(s),
    keep_alive = 0,
  })
  if old then check_taken_over(old) end
  self.connections[s.client] = connection
end

local function options_of(version, entry)
  if version < 5 then return entry.qos, { qos = entry.qos } end
  local bits = entry.qos + (entry.no_local and 4 or 0) + (entry.as_published and 8 or 0) + 16 * entry.handling
  return bits, entry
end

function steps.subscribe(self, s, connection)
  local version, id = connection.version, next_id(self:client(s.client))
  local identifier = version == 5 and s.identifier or nil
  local list, granted = {}, {}
  for i, entry in ipairs(s.filters) do
    local bits, options = options_of(version, entry)
    list[i], granted[i] = { entry.filter, bits }, entry.qos
    self.model:subscribe(s.client, entry.filter, options, identifier)
  end
  expect(connection, "suback", id, function(packet)
    local codes, wanted = table.concat(packet.codes, " "), table.concat(granted, " ")
    if codes ~= wanted then fail("%s: granted %s, not %s", s.client, codes, wanted) end
  end)
  local properties = identifier and { subscription_identifiers = { identifier } }
  send(connection, packets.subscribe(id, list, properties, version))
end

function steps.unsubscribe(self, s, connection)
  local version, id = connection.version, next_id(self:client(s.client))
  local existed = self.model:unsubscribe(s.client, s.filter)
  expect(connection, "unsuback", id, function(packet)
    local code = packet.codes[1]
    if version == 5 and code ~= (existed and 0 or 0x11) then fail("%s: UNSUBACK %s", s.client, code) end
  end)
  send(connection, packets.unsubscribe(id, { s.filter }, nil, version))
end

local function send_publish(connection, message, id, dup, alias)
  local topic = message.topic
  if connection.version < 5 then alias = nil end
  if alias and connection.aliases[alias] == topic then topic = "" end
  if alias then connection.aliases[alias] = message.topic end
  send(connection, packets.publish(topic, message.payload, {
    version = connection.version, qos = message.qos, retain = message.retain, id = id, dup = dup,
    properties = { message_expiry_interval = message.expiry, topic_alias = alias },
  }))
end

function steps.publish(self, s, connection)
  local client, model = self:client(s.client), self.model
  local payload = s.empty and "" or self:next_payload() .. ("."):rep(s.fill or 0)
  local message = {
    topic = s.topic, payload = payload, qos = s.qos, retain = s.retain,
    expiry = connection.version == 5 and s.expiry or nil, arrived = model.now,
  }
  local id = s.qos > 0 and next_id(client) or nil
  if s.qos == 2 then
    client.kept[#client.kept + 1] = { id = id, message = message }
    expect_reason(connection, "pubrec", id, 0)
  else
    local matched = model:publish(message, s.client)
    local reason = connection.version == 5 and not matched and 0x10 or 0
    if s.qos == 1 then expect_reason(connection, "puback", id, reason) end
  end
  send_publish(connection, message, id, false, s.alias)
  if s.qos == 2 and not s.keeps then
    self:read(connection)
    steps.release(self, { client = s.client, newest = true }, connection)
  end
end

function steps.again(self, s, connection)
  local kept = self:client(s.client).kept[1]
  if not kept then return end
  expect_reason(connection, "pubrec", kept.id, 0)
  send_publish(connection, kept.message, kept.id, true)
end

function steps.release(self, s, connection)
  local list = self:client(s.client).kept
  local kept = table.remove(list, s.newest and #list or 1)
  if not kept then return end
  self.model:publish(kept.message, s.client)
  expect_reason(connection, "pubcomp", kept.id, 0)
  send(connection, packets.ack("pubrel", kept.id))
end

function steps.ack(self, s, connection)
  local list = self.model:unacknowledged(s.client)
  if #list == 0 then return end
  self:acknowledge(connection, list[s.pick % #list + 1], s.how == "refuse")
end

function steps.holds(_, s, connection) connection.holds = s.on end

function steps.leave(self, s, connection)
  local expiry = connection.version == 5 and s.expiry or nil
  local session = self.model:session(s.client)
  if session.expiry == 0 then expiry = nil end -- it must not be raised then
  if expiry then session.expiry = expiry end
  local reason, properties = s.with_will and 4 or 0, { session_expiry_interval = expiry }
  send(connection, packets.disconnect(reason, properties, connection.version))
  if not connection.socket.closed then fail("%s: not closed after DISCONNECT", s.client) end
  self.connections[s.client] = nil
  self.model:lose(s.client, not (s.with_will and connection.version == 5))
end

function steps.drop(self, s, connection)
  connection.socket:drop()
  self.connections[s.client] = nil
  self.model:lose(s.client)
end

function steps.advance(self, s)
  local left = s.ms
  repeat
    local passed = self.model:advance(left)
    self.broker:advance(passed / 1000)
    self:settle()
    left = left - passed
  until left == 0
end

--- Of the broker, in order: for hooks that keep sessions. Then there are no wills and retained messages.
function steps.restart(self)
  local now = self.broker:now()
  self.broker:stop()
  for id in pairs(self.connections) do self.model:lose(id, true) end
  self.connections = {}
  self.broker = start(self.hooks)
  self.broker:advance(now - self.broker:now())
end

local needs_no_client = { connect = true, advance = true, restart = true }

function Run:step(s)
  local connection = self.connections[s.client]
  if not connection and not needs_no_client[s.op] then return end
  steps[s.op](self, s, connection)
  self:settle()
end

--- In the end all are there and acknowledge, and what is retained goes to one more client.
local function last_steps()
  local list = {}
  for _, id in ipairs(run.ids) do
    list[#list + 1] = { op = "connect", client = id, version = 5, clean = false, expiry = 0, aliases = 0 }
  end
  list[#list + 1] = { op = "connect", client = "a", version = 5, clean = true, expiry = 0, aliases = 0 }
  list[#list + 1] = { op = "subscribe", client = "a", filters = { { filter = "#", qos = 2, handling = 0 } } }
  return list
end

--- Does the steps. Nil when all was as the model says; else what was not, and the number of the step.
---@param list table[]
---@param hooks (fun(): table)?  makes those of a broker
---@return string? problem
---@return integer? step
function run.try(list, hooks)
  local this = new_run(hooks)
  local _ <close> = setmetatable({}, { __close = function() this.broker:stop() end })
  local at = 0
  local ok, problem = pcall(function()
    for i, s in ipairs(list) do
      at = i
      this:step(s)
    end
    for _, s in ipairs(last_steps()) do this:step(s) end
    this.broker:run()
  end)
  if not ok then return tostring(problem), at end
end

return run
