--- Packets in flight that the script keeps: what `setup` answers.

local brokers = require "spec.support.brokers"
local kept_sessions = require "spec.support.kept_sessions"
local packets = require "spec.support.packets"

local logged, place, start = brokers.logged, brokers.place, brokers.start

--- A client whose packets are written by hand, let in.
local function raw(broker, id, clean)
  local peer = packets.open(broker)
  peer.client:send_raw(packets.connect_packet { id = id, clean = clean or false, version = 4 })
  broker:run()
  return peer
end

local function read(peer) return packets.read(peer.client:raw(), 4) end

--- "publish 1 dup", "pubrel 2", ...
local function told(peer)
  local list = {}
  for _, p in ipairs(read(peer)) do
    list[#list + 1] = p.type .. (p.id and " " .. p.id or "") .. (p.dup and " dup" or "")
  end
  return list
end

describe("session operations that setup has answered", function()
  local kept, broker

  before_each(function()
    kept = kept_sessions.new()
    broker = start { setup = kept.setup }
  end)
  after_each(function() broker:stop() end)

  local function send(peer, ...)
    for _, bytes in ipairs { ... } do peer.client:send_raw(bytes) end
    broker:run()
  end

  it("are asked what there is before a client is let in, unless its start is clean", function()
    local peer = raw(broker, "a")
    assert.same({ "connack" }, told(peer))
    assert.same({ "all_packets incoming", "all_packets outgoing" }, kept.take())
    raw(broker, "b", true)
    assert.same({}, kept.take())
  end)

  it("save a publish to the client before it is sent, and forget it with its PUBACK", function()
    local peer = raw(broker, "a")
    send(peer, packets.subscribe(1, { { "t", 1 } }, nil, 4))
    kept.take()
    broker:publish("t", "x", { qos = 1 })
    broker:run()
    assert.same({ "next_id", "save_packet outgoing publish 1" }, kept.take())
    local saved = kept.sessions.a.outgoing[1]
    assert.same({ "t", "x", 1 }, { saved.message.topic, saved.message.payload, saved.message.qos })
    told(peer)
    send(peer, packets.ack("puback", 1))
    assert.same({ "lookup_packet outgoing 1", "delete_packet outgoing 1" }, kept.take())
    assert.same({}, kept.sessions.a.outgoing)
  end)

  it("put the PUBREL in the place of the PUBLISH when PUBREC comes", function()
    local peer = raw(broker, "a")
    send(peer, packets.subscribe(1, { { "t", 2 } }, nil, 4))
    broker:publish("t", "x", { qos = 2 })
    broker:run()
    told(peer)
    kept.take()
    send(peer, packets.ack("pubrec", 1))
    assert.same({ "lookup_packet outgoing 1", "save_packet outgoing pubrel 1" }, kept.take())
    assert.same({ "pubrel 1" }, told(peer))
    send(peer, packets.ack("pubcomp", 1))
    assert.same({ "lookup_packet outgoing 1", "delete_packet outgoing 1" }, kept.take())
    assert.same({}, kept.sessions.a.outgoing)
  end)

  it("save a publish of the client before PUBREC, and publish it once they have forgotten it", function()
    local watcher = broker:connect { id = "w" }
    watcher:subscribe("t", 2)
    local peer = raw(broker, "a")
    told(peer)
    kept.take()
    local publish = packets.publish("t", "x", { qos = 2, id = 7, version = 4 })
    send(peer, publish)
    assert.same({ "lookup_packet incoming 7", "save_packet incoming publish 7" }, kept.take())
    assert.same({ "pubrec 7" }, told(peer))
    send(peer, packets.publish("t", "x", { qos = 2, id = 7, version = 4, dup = true }))
    assert.same({ "lookup_packet incoming 7" }, kept.take())
    assert.same({ "pubrec 7" }, told(peer))
    send(peer, packets.ack("pubrel", 7))
    assert.same({ "lookup_packet incoming 7", "delete_packet incoming 7" },
      { table.unpack(kept.take(), 1, 2) })
    assert.same({ "pubcomp 7" }, told(peer))
    assert.equal("x", watcher:receive().payload)
    kept.take()
    send(peer, packets.ack("pubrel", 7)) -- unknown by now
    assert.same({ "lookup_packet incoming 7" }, kept.take())
    assert.same({ "pubcomp 7" }, told(peer))
    assert.is_nil(watcher:receive())
  end)

  it("are given a publish without its message when it is to be acknowledged only", function()
    broker:stop()
    broker = start { setup = kept.setup, publish = function() return "drop" end }
    local peer = raw(broker, "a")
    send(peer, packets.publish("t", "x", { qos = 2, id = 7, version = 4 }))
    assert.same({ { type = "publish", id = 7 } }, kept.sessions.a.incoming)
    send(peer, packets.ack("pubrel", 7))
    assert.same({ "connack", "pubrec 7", "pubcomp 7" }, told(peer))
    assert.equal(0, broker:stats().messages_published)
  end)

  it("tell what is sent again, in which order, also to another broker", function()
    local peer = raw(broker, "a")
    send(peer, packets.subscribe(1, { { "t", 2 } }, nil, 4))
    for i = 1, 4 do broker:publish("t", tostring(i), { qos = i % 2 + 1 }) end
    broker:run()
    told(peer)
    send(peer, packets.ack("pubrec", 3), packets.ack("pubrec", 1))
    send(peer, packets.publish("t", "x", { qos = 2, id = 9, version = 4 }))
    broker:stop()
    kept.survives = true
    broker = start { setup = kept.setup }
    local watcher = broker:connect { id = "w" }
    watcher:subscribe("t", 2)
    peer = raw(broker, "a")
    local list = read(peer)
    assert.is_true(list[1].session_present)
    table.remove(list, 1)
    local texts = {}
    for i, p in ipairs(list) do texts[i] = p.type .. " " .. p.id .. " " .. (p.dup and p.payload or "") end
    assert.same({ "publish 2 2", "publish 4 4", "pubrel 3 ", "pubrel 1 " }, texts)
    send(peer, packets.ack("pubrel", 9))
    assert.equal("x", watcher:receive().payload)
  end)

  it("may wrap the session of the broker", function()
    broker:stop()
    local luamq = require "luamq"
    local Wrap = {}
    Wrap.__index = Wrap
    for _, name in ipairs { "next_id", "save_packet", "lookup_packet", "delete_packet", "all_packets" } do
      Wrap[name] = function(self, ...)
        local session = luamq.session(self.id)
        return session[name](session, ...)
      end
    end
    broker = start { setup = function(_, id) return setmetatable({ id = id }, Wrap) end }
    local peer = raw(broker, "a")
    send(peer, packets.subscribe(1, { { "t", 2 } }, nil, 4))
    broker:publish("t", "1", { qos = 1 })
    broker:publish("t", "2", { qos = 2 })
    broker:run()
    send(peer, packets.ack("pubrec", 2))
    send(peer, packets.publish("t", "x", { qos = 2, id = 7, version = 4 }))
    peer.client:drop()
    broker:run()
    peer = raw(broker, "a")
    assert.same({ "connack", "publish 1 dup", "pubrel 2" }, told(peer))
    send(peer, packets.ack("puback", 1), packets.ack("pubcomp", 2), packets.ack("pubrel", 7))
    local session = broker:session "a"
    assert.same({}, session:all_packets "incoming")
    assert.equal("x", session:all_packets("outgoing")[1].message.payload)
  end)

  -- What has to hold when an operation fails: nobody was told of what is not saved.
  local failures = {
    next_id = function(peer)
      broker:publish("t", "x", { qos = 1 })
      broker:run()
      return peer, {}
    end,
    save_packet = function(peer)
      broker:publish("t", "x", { qos = 1 })
      broker:run()
      return peer, {}
    end,
    ["save_packet, incoming"] = function(peer)
      send(peer, packets.publish("v", "x", { qos = 2, id = 7, version = 4 }))
      return peer, {}
    end,
    ["lookup_packet, incoming"] = function(peer)
      send(peer, packets.publish("v", "x", { qos = 2, id = 7, version = 4 }))
      return peer, {}
    end,
    ["delete_packet, incoming"] = function(peer)
      kept.fails = nil
      send(peer, packets.publish("t", "x", { qos = 2, id = 7, version = 4 }))
      told(peer)
      kept.fails = "delete_packet"
      send(peer, packets.ack("pubrel", 7))
      assert.equal(0, broker:stats().messages_published)
      return peer, {}
    end,
    ["save_packet, pubrel"] = function(peer)
      kept.fails = nil
      broker:publish("t", "x", { qos = 2 })
      broker:run()
      told(peer)
      kept.fails = "save_packet"
      send(peer, packets.ack("pubrec", 1))
      assert.equal("publish", kept.sessions.a.outgoing[1].type)
      return peer, {}
    end,
  }

  for name, fail in pairs(failures) do
    it("close the client when they fail, and it is told nothing: " .. name, function()
      local peer = raw(broker, "a")
      send(peer, packets.subscribe(1, { { "t", 2 } }, nil, 4))
      told(peer)
      logged(broker)
      broker:events()
      kept.fails = name:match "^[%a_]+"
      local _, expected = fail(peer)
      assert.same(expected, told(peer))
      assert.is_true(peer.client.closed)
      assert.equal(1, broker:stats().session_errors)
      local found = 0
      for _, event in ipairs(broker:events()) do
        if event.event == "session error" and event.error == "session error" then found = found + 1 end
      end
      assert.equal(1, found)
      assert.matches("hook " .. kept.fails .. ": the disk is full", logged(broker)[1], 1, true)
    end)
  end

  it("leave what could not be saved in the queue", function()
    local peer = raw(broker, "a")
    send(peer, packets.subscribe(1, { { "t", 1 } }, nil, 4))
    kept.fails = "save_packet"
    for i = 1, 3 do broker:publish("t", tostring(i), { qos = 1 }) end
    broker:run()
    assert.equal(3, broker:session("a").queued)
    kept.fails = nil
    peer = raw(broker, "a")
    local payloads = {}
    for i, p in ipairs(read(peer)) do payloads[i] = p.payload or p.type end
    assert.same({ "connack", "1", "2", "3" }, payloads)
  end)

  it("refuse the client when they cannot tell what there is", function()
    kept.fails = "all_packets"
    local peer = raw(broker, "a")
    local connack = read(peer)[1]
    assert.equal(3, connack.reason_code)
    assert.is_true(peer.client.closed)
    assert.equal(1, broker:stats().session_errors)
  end)

  it("cannot suspend", function()
    broker:stop()
    local luamq = require "luamq"
    local function next_id() luamq.sleep(1) end
    broker = start { setup = function(...)
      local operations = kept.setup(...)
      operations.next_id = next_id
      return operations
    end }
    local peer = raw(broker, "a")
    send(peer, packets.subscribe(1, { { "t", 1 } }, nil, 4))
    broker:publish("t", "x", { qos = 1 })
    broker:run()
    assert.is_true(peer.client.closed)
    assert.matches("luamq.sleep: hook next_id cannot suspend", logged(broker)[1], 1, true)
  end)

  local wrong = {
    { "next_id", function() return 0 end, "a packet id is between 1 and 65535" },
    { "next_id", function() return "1" end, "a packet id is between 1 and 65535" },
    { "next_id", function() end, "gave no answer" },
    { "save_packet", function() return false, "no" end, "false: no" },
  }
  for i, case in ipairs(wrong) do
    it("are closed for answers that are wrong: " .. i, function()
      broker:stop()
      local name, fn, text = table.unpack(case)
      broker = start { setup = function(...)
        local operations = kept.setup(...)
        operations[name] = fn
        return operations
      end }
      local peer = raw(broker, "a")
      send(peer, packets.subscribe(1, { { "t", 1 } }, nil, 4))
      broker:publish("t", "x", { qos = 1 })
      broker:run()
      assert.is_true(peer.client.closed)
      local line = logged(broker)[1]
      assert.matches(text, line, 1, true)
      assert.matches(place(fn), line, 1, true)
    end)
  end

  it("must be all there", function()
    broker:stop()
    broker = start { setup = function() return { next_id = print } end }
    local answer = brokers.connect(broker, { id = "a" })
    assert.equal("not_authorized", answer.reason)
    assert.matches("a table of session operations has a function save_packet, this one has a nil",
      logged(broker)[1], 1, true)
  end)

  it("tell of what they do not know any more that it is gone", function()
    local peer = raw(broker, "a")
    send(peer, packets.subscribe(1, { { "t", 1 } }, nil, 4))
    broker:publish("t", "x", { qos = 1 })
    broker:run()
    kept.sessions.a.outgoing = {}
    send(peer, packets.ack("puback", 1))
    assert.same({}, broker:session("a"):all_packets "outgoing")
    assert.is_false(peer.client.closed)
  end)

  it("may answer messages that are tables", function()
    kept.survives = true
    kept.setup(nil, "a", true)
    kept.sessions.a.outgoing[1] = {
      type = "publish", id = 5,
      message = { topic = "t", payload = "x", qos = 1, retain = true, content_type = "c" },
    }
    local peer = raw(broker, "a")
    local list = read(peer)
    assert.is_true(list[1].session_present)
    assert.same({ "publish", 5, "x", true, true },
      { list[2].type, list[2].id, list[2].payload, list[2].retain, list[2].dup })
  end)

  it("are asked no more after a reload, unless adopt answers some, which get what is in flight", function()
    local peer = raw(broker, "a")
    send(peer, packets.subscribe(1, { { "t", 1 } }, nil, 4))
    broker:publish("t", "1", { qos = 1 })
    broker:run()
    kept.take()
    assert(broker:reload {})
    broker:publish("t", "2", { qos = 1 })
    broker:run()
    send(peer, packets.ack("puback", 1))
    assert.same({}, kept.take())
    assert(broker:reload { hooks = { adopt = function(client) return kept.setup(client, "a", true) end } })
    broker:publish("t", "3", { qos = 1 })
    broker:run()
    local calls = kept.take()
    assert.equal("save_packet outgoing publish 2", calls[1])
    assert.equal(2, #kept.sessions.a.outgoing)
    assert.same({ "connack", "suback 1", "publish 1", "publish 2" }, { table.unpack(told(peer), 1, 4) })
  end)

  it("that setup answers after its script was replaced are not asked; adopt is, of the new one", function()
    broker:stop()
    local luamq = require "luamq"
    broker = start { setup = function(...)
      luamq.sleep(2)
      return kept.setup(...)
    end }
    local peer = raw(broker, "a")
    local newer = kept_sessions.new()
    assert(broker:reload { hooks = { adopt = function(client) return newer.setup(client, "a", true) end } })
    broker:advance(3)
    send(peer, packets.subscribe(1, { { "t", 1 } }, nil, 4))
    broker:publish("t", "x", { qos = 1 })
    broker:run()
    assert.same({}, kept.take())
    assert.same({ "next_id", "save_packet outgoing publish 1" }, newer.take())
    assert.same({ "connack", "suback 1", "publish 1" }, told(peer))
  end)

  it("go to the client that takes a session over, which is told what is in flight", function()
    local peer = raw(broker, "a")
    send(peer, packets.subscribe(1, { { "t", 1 } }, nil, 4))
    broker:publish("t", "x", { qos = 1 })
    broker:run()
    local second = raw(broker, "a")
    assert.is_true(peer.client.closed)
    assert.same({ "connack", "publish 1 dup" }, told(second))
    send(second, packets.ack("puback", 1))
    assert.same({}, kept.sessions.a.outgoing)
  end)

  it("are forgotten with their client", function()
    raw(broker, "a").client:drop()
    broker:run()
    local operations = setmetatable({ kept.sessions.a }, { __mode = "v" })
    kept.sessions.a = nil
    raw(broker, "b")
    collectgarbage()
    collectgarbage()
    assert.is_nil(operations[1])
  end)
end)
