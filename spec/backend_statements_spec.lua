--- Statements of the specifications about sessions, QoS 1 and 2 and what is sent again, for backends in Lua:
--- on the same broker, and on another one that goes on with what the first has left.

local kept_sessions = require "spec.support.kept_sessions"
local packets = require "spec.support.packets"
local process = require "spec.support.process"
local test = require "luamq.test"

local FOR_EVER <const> = 0xffffffff

--- A backend makes what makes hooks, from a folder of its own.
local backends = {
  tables = function()
    local kept = kept_sessions.new()
    kept.survives = true
    return function() return { setup = kept.setup } end
  end,
  sqlite = function(folder)
    local script = assert(loadfile "examples/backend.lua")
    return function() return script("tcp://127.0.0.1:0", folder .. "/sessions.db", "off").hooks end
  end,
}

-- A client, "a", whose packets are written by hand ---------------------------------------------

local Case = {}
Case.__index = Case

local function new_case(backend, version, restarts)
  local folder = process.directory()
  local case = { folder = folder, hooks = backends[backend](folder), version = version, restarts = restarts }
  case.broker = test.broker { hooks = case.hooks() }
  return setmetatable(case, Case)
end

function Case:__close()
  self.broker:stop()
  process.remove(self.folder)
end

function Case:send(...)
  for _, bytes in ipairs { ... } do self.peer.client:send_raw(bytes) end
  self.broker:run()
end

--- What has come, as "publish 1 dup hello", "pubrel 2".
function Case:read()
  local list = packets.read(self.peer.client:raw(), self.version)
  for i, p in ipairs(list) do
    list[i] = p.type .. (p.id and " " .. p.id or "") .. (p.dup and " dup" or "")
      .. (p.payload and " " .. p.payload or "") .. (p.session_present and " present" or "")
  end
  return list
end

--- Comes, or comes back, and answers what has come.
function Case:connect(clean)
  self.peer = packets.open(self.broker)
  self:send(packets.connect_packet {
    id = "a", version = self.version, clean = clean or false,
    properties = { session_expiry_interval = FOR_EVER },
  })
  return self:read()
end

--- Loses its connection, or its broker ends and there is another one.
function Case:lose()
  self.peer.client:drop()
  self.broker:run()
  if not self.restarts then return end
  self.broker:stop()
  self.broker = test.broker { hooks = self.hooks() }
end

function Case:subscribe(qos)
  self:send(packets.subscribe(1, { { "t", qos } }, nil, self.version))
  self:read()
end

--- Somebody publishes to "t".
function Case:arrives(payload, qos)
  self.broker:publish("t", payload, { qos = qos })
  self.broker:run()
end

--- The client publishes to "t".
function Case:publish(payload, qos, id, dup)
  self:send(packets.publish("t", payload, { qos = qos, id = id, dup = dup, version = self.version }))
end

--- The payloads that another client gets while `fn` runs.
function Case:seen(fn)
  local watcher = self.broker:connect { id = "watcher" }
  watcher:subscribe("t", 2)
  fn()
  local list = {}
  for i, message in ipairs(watcher:receive_all()) do list[i] = message.payload end
  watcher:disconnect()
  return list
end

-- Statements: of what is in flight --------------------------------------------------------------

local in_flight = {}

in_flight["sends again what was not acknowledged, as a dup [MQTT-4.4.0-1, MQTT-3.3.1-1]"] = function(c)
  c:connect()
  c:subscribe(2)
  c:arrives("one", 1)
  c:arrives("two", 2)
  c:arrives("three", 1)
  c:send(packets.ack("puback", 3))
  c:lose()
  assert.same({ "connack present", "publish 1 dup one", "publish 2 dup two" }, c:connect())
end

in_flight["sends again in the order of the first time, PUBREL in that of PUBREC [MQTT-4.6.0-1]"] = function(c)
  c:connect()
  c:subscribe(2)
  for i = 1, 5 do c:arrives("p" .. i, 2) end
  c:send(packets.ack("pubrec", 4), packets.ack("pubrec", 2))
  c:lose()
  local list = c:connect()
  local publishes, pubrels = {}, {}
  for i = 2, #list do
    local into = list[i]:find "^pubrel" and pubrels or publishes
    into[#into + 1] = list[i]
  end
  assert.same({ "publish 1 dup p1", "publish 3 dup p3", "publish 5 dup p5" }, publishes)
  assert.same({ "pubrel 4", "pubrel 2" }, pubrels)
end

in_flight["never sends a PUBLISH again after PUBREC, and ends with PUBCOMP [MQTT-4.3.3-1]"] = function(c)
  c:connect()
  c:subscribe(2)
  c:arrives("x", 2)
  c:send(packets.ack("pubrec", 1))
  c:lose()
  assert.same({ "connack present", "pubrel 1" }, c:connect())
  c:send(packets.ack("pubcomp", 1))
  c:lose()
  assert.same({}, { table.unpack(c:connect(), 2) })
end

in_flight["publishes QoS 2 once, however often it is sent [MQTT-4.3.3-2]"] = function(c)
  c:connect()
  c:publish("x", 2, 7)
  c:lose()
  assert.same({ "connack present" }, c:connect())
  assert.same({ "x" }, c:seen(function()
    c:publish("x", 2, 7, true)
    c:send(packets.ack("pubrel", 7), packets.ack("pubrel", 7))
  end))
  assert.same({ "pubrec 7", "pubcomp 7", "pubcomp 7" }, c:read())
end

in_flight["takes a QoS 2 id that was released for a new message [MQTT-4.3.3-2]"] = function(c)
  c:connect()
  c:publish("x", 2, 7)
  c:send(packets.ack("pubrel", 7))
  c:lose()
  c:connect()
  assert.same({ "y" }, c:seen(function()
    c:publish("y", 2, 7)
    c:send(packets.ack("pubrel", 7))
  end))
end

in_flight["takes a QoS 1 id that was acknowledged for a new message [MQTT-4.3.2-2]"] = function(c)
  c:connect()
  assert.same({ "x", "y" }, c:seen(function()
    c:publish("x", 1, 7)
    c:publish("y", 1, 7)
  end))
end

in_flight["gives no message an id that is in flight [MQTT-2.3.1-4]"] = function(c)
  c:connect()
  c:subscribe(1)
  for i = 1, 3 do c:arrives("p" .. i, 1) end
  c:send(packets.ack("puback", 1))
  c:lose()
  c:connect()
  c:subscribe(1)
  c:arrives("new", 1)
  local id = c:read()[1]:match "^publish (%d+) new$"
  assert.is_string(id)
  assert.is_false(id == "2" or id == "3")
end

in_flight["has nothing in flight after a clean start [MQTT-3.1.2-6]"] = function(c)
  c:connect()
  c:subscribe(2)
  c:arrives("x", 2)
  c:publish("y", 2, 7)
  c:lose()
  assert.same({ "connack" }, c:connect(true))
  assert.same({}, c:seen(function() c:send(packets.ack("pubrel", 7)) end))
  assert.same({ "pubcomp 7" }, c:read())
end

-- Of the whole session --------------------------------------------------------------------------

local sessions = {}

sessions["keeps subscriptions [MQTT-3.1.2-4]"] = function(c)
  c:connect()
  c:subscribe(1)
  c:lose()
  assert.same({ "connack present" }, c:connect())
  c:arrives("x", 1)
  assert.matches("^publish %d+ x$", c:read()[1])
end

sessions["keeps QoS 1 and 2 for a client that is away, in order [MQTT-3.1.2-5, MQTT-4.6.0-6]"] = function(c)
  c:connect()
  c:subscribe(2)
  c.peer.client:drop()
  for i = 0, 6 do c:arrives("p" .. i, i % 3) end
  c:lose()
  local payloads = {}
  for i, text in ipairs { table.unpack(c:connect(), 2) } do payloads[i] = text:match "%S+$" end
  assert.same({ "p1", "p2", "p4", "p5" }, payloads)
end

sessions["ends with a clean start [MQTT-3.1.2-6]"] = function(c)
  c:connect()
  c:subscribe(1)
  c:lose()
  assert.same({ "connack" }, c:connect(true))
  c:arrives("x", 1)
  assert.same({}, c:read())
end

-- Each for each ---------------------------------------------------------------------------------

local function check_all(backend, statements)
  for version = 4, 5 do
    for _, restarts in ipairs { false, true } do
      local how = restarts and "restarted" or "reconnected"
      local what = ("%s, version %d, %s: "):format(backend, version, how)
      for name, statement in pairs(statements) do
        it(what .. name, function()
          local case <close> = new_case(backend, version, restarts)
          statement(case)
        end)
      end
    end
  end
end

describe("a backend in Lua,", function()
  check_all("tables", in_flight)
  check_all("sqlite", in_flight)
  check_all("sqlite", sessions)
end)
