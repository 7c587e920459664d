local client = require "luamq.client"
local process = require "spec.support.process"

local script = [[
local luamq = require "luamq"
local hooks = {}
function hooks.publish(client, message)
  if message.topic ~= "ask" then return true end
  for name, value in pairs(luamq.stats()) do
    luamq.publish("answer/" .. message.payload .. "/" .. name, tostring(value), { qos = 0 })
  end
  return "drop"
end
return {
  listeners = { "tcp://127.0.0.1:0" },
  engine = { connect_timeout = 0.5, connect_read_limit = "16K", read_limit = "64K" },
  backend = { full_queue_wait = 0.01, incoming_bytes = "128K" },
  limits = { connect_rate = 0, connect_rate_per_address = 0 }, -- all floods come from one address
  hooks = hooks,
}
]]

-- The CONNECT of a client "bad", as bytes.
local connect_packet = "\x10\x0f\0\4MQTT\4\2\0\60\0\3bad"

local function literally(text) return (text:gsub("%p", "%%%0")) end
local function u16(n) return string.char(n >> 8, n & 255) end
local function publish_packet(topic, payload)
  local body = u16(#topic) .. topic .. payload
  assert(#body < 128)
  return "\x30" .. string.char(#body) .. body
end

describe("a hostile peer", function()
  local broker, path, log, alice, bob
  local rounds = 0

  setup(function()
    path, log = process.script(script), os.tmpname()
    broker = process.broker({ path }, { log = log })
    alice = assert(client.connect { port = broker.port, id = "alice" })
    bob = assert(client.connect { port = broker.port, id = "bob" })
    for _, c in ipairs { alice, bob } do assert(c:subscribe("talk/" .. c.id, 2)) end
    assert(alice:subscribe("answer/#", 0))
  end)

  teardown(function()
    alice:disconnect()
    bob:disconnect()
    local status = broker:stop()
    os.remove(path)
    os.remove(log)
    assert.equal(0, status)
  end)

  --- The two of good will talk to each other, and notice nothing.
  local function talk()
    rounds = rounds + 1
    for qos = 0, 2 do
      local text = ("%d.%d"):format(rounds, qos)
      assert(alice:publish("talk/bob", text, qos))
      assert(bob:publish("talk/alice", text, qos))
      for _, c in ipairs { alice, bob } do assert.equal(text, assert(c:receive()).payload) end
    end
  end

  after_each(talk)

  --- All counters and gauges.
  local function stats()
    rounds = rounds + 1
    assert(alice:publish("ask", tostring(rounds), 0))
    assert(alice:publish("talk/alice", "end", 0))
    local result = {}
    for message in function() return assert(alice:receive()) end do
      if message.payload == "end" then return result end
      result[message.topic:match "^answer/%d+/([%w_]+)$"] = math.tointeger(tonumber(message.payload))
    end
  end

  --- Asks until the gauge has this value.
  local function wait_for(gauge, value)
    local deadline = os.time() + 20
    repeat
      local now = stats()[gauge]
      if now == value then return end
    until os.time() > deadline
    error(("%s is %d, not %d"):format(gauge, stats()[gauge], value))
  end

  local function open(bytes)
    local c = assert(client.open { port = broker.port })
    if bytes then assert(c:send_raw(bytes)) end
    return c
  end

  --- A client that has subscribed.
  local function watch(filter)
    local c = assert(client.connect { port = broker.port, id = "watcher" })
    assert(c:subscribe(filter, 0))
    return c
  end

  --- Waits until the broker has ended the connection.
  local function ended(c)
    local packet, problem
    repeat packet, problem = c:receive_packet(10) until not packet
    assert.not_equal("timeout", problem)
    assert.is_true(c.closed)
  end

  --- What the log got while `fn` ran.
  local function logged(fn)
    local before = #process.read(log)
    fn()
    return process.read(log):sub(before + 1)
  end

  local malformed, unexpected, large = "malformed_packets", "protocol_errors", "read_limits_exceeded"

  describe("that has not been let in", function()
    local cases = {
      { "an unknown type", "\xff\xff", "unknown packet type", malformed },
      { "a PINGREQ first", "\xc0\0", "unexpected packet", unexpected },
      { "a PUBLISH first", "\x30\3\0\1t", "unexpected packet", unexpected },
      { "a DISCONNECT first", "\xe0\0", "unexpected packet", unexpected },
      { "TLS", "\x16\3\1\2\0\1\0\1\xfc\3\3", "malformed fixed header flags", malformed },
      { "HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "malformed fixed header flags", malformed },
      { "zeros", ("\0"):rep(100), "unknown packet type", malformed },
      { "a length of five bytes", "\x10\xff\xff\xff\xff\1", "malformed remaining length", malformed },
      { "a large CONNECT", "\x10\x80\x80\x80\2", "read limit exceeded", large },
      { "an id of invalid UTF-8", "\x10\x0e\0\4MQTT\4\2\0\60\0\2a\xff", "malformed utf-8 string",
        malformed },
      { "an id with a surrogate", "\x10\x0f\0\4MQTT\4\2\0\60\0\3\xed\xa0\x80", "malformed utf-8 string",
        malformed },
      { "an id with a NUL", "\x10\x0e\0\4MQTT\4\2\0\60\0\2a\0", "malformed utf-8 string", malformed },
      { "the reserved flag", "\x10\x0e\0\4MQTT\4\3\0\60\0\2ab", "malformed connect flags", malformed },
      { "a will of QoS 3", "\x10\x0e\0\4MQTT\4\x1e\0\60\0\2ab", "malformed qos", malformed },
      { "a password without a name", "\x10\x0e\0\4MQTT\4\x42\0\60\0\2ab", "malformed connect flags",
        malformed },
      { "a CONNECT that is cut short", "\x10\x0d\0\4MQTT\4\2\0\60\0\2ab", "malformed remaining length",
        malformed },
      { "another protocol", "\x10\x0c\0\4HTTP\4\2\0\60\0\0", "unknown protocol name or level", malformed },
      { "another level", "\x10\x0e\0\4MQTT\6\2\0\60\0\2ab", "unacceptable protocol level",
        "connects_refused" },
    }
    for _, case in ipairs(cases) do
      local name, bytes, reason, counter = table.unpack(case)
      local line = '^%S+ info [^\n]+ remote=127%.0%.0%.1:%d+ reason="' .. literally(reason) .. '"'
        .. (counter == "connects_refused" and " by=protocol" or "") .. "\n$"
      it("is closed for " .. name, function()
        local before = stats()[counter]
        local lines = logged(function() ended(open(bytes)) end)
        assert.matches(line, lines)
        assert.equal(before + 1, stats()[counter])
      end)
    end
  end)

  describe("that has been let in", function()
    local cases = {
      { "a second CONNECT", connect_packet, "unexpected packet", unexpected },
      { "a CONNACK", "\x20\2\0\0", "unexpected packet", unexpected },
      { "a PINGRESP", "\xd0\0", "unexpected packet", unexpected },
      { "type 0", "\0\0", "unknown packet type", malformed },
      { "type 15", "\xf0\0", "unknown packet type", malformed },
      { "SUBSCRIBE with wrong flags", "\x80\6\0\7\0\1t\1", "malformed fixed header flags", malformed },
      { "SUBSCRIBE without filters", "\x82\2\0\1", "no topic filters", malformed },
      { "SUBSCRIBE with id 0", "\x82\6\0\0\0\1t\1", "packet id of zero", malformed },
      { "SUBSCRIBE with QoS 3", "\x82\6\0\1\0\1t\3", "malformed qos", malformed },
      { "a filter that is none", "\x82\7\0\1\0\2t#\0", "malformed topic filter", malformed },
      { "UNSUBSCRIBE without filters", "\xa2\2\0\1", "no topic filters", malformed },
      { "a wildcard in a topic", "\x30\3\0\1#", "malformed topic name", malformed },
      { "a topic of invalid UTF-8", "\x30\3\0\1\xff", "malformed utf-8 string", malformed },
      { "a topic with a NUL", "\x30\3\0\1\0", "malformed utf-8 string", malformed },
      { "an empty topic", "\x30\2\0\0", "malformed topic name", malformed },
      { "a topic that is cut short", "\x30\3\0\9t", "malformed remaining length", malformed },
      { "QoS 3", "\x36\5\0\1t\0\1", "malformed qos", malformed },
      { "PUBLISH with id 0", "\x32\5\0\1t\0\0", "packet id of zero", malformed },
      { "PUBREL with wrong flags", "\x60\2\0\1", "malformed fixed header flags", malformed },
      { "PUBACK with more bytes", "\x40\3\0\1x", "malformed remaining length", malformed },
      { "PINGREQ with a payload", "\xc0\1x", "malformed remaining length", malformed },
      { "a large PUBLISH", "\x30\x80\x80\4", "read limit exceeded", large },
      { "too much unreleased QoS 2", (function()
        local packets = {}
        for id = 1, 5 do packets[id] = "\x34\x85\xfa\1\0\1t" .. u16(id) .. ("x"):rep(32000) end
        return table.concat(packets)
      end)(), "too many bytes in unreleased messages", "incoming_bytes_exceeded" },
    }
    for _, case in ipairs(cases) do
      local name, bytes, reason, counter = table.unpack(case)
      local closed = '\n%S+ info client closed id=bad remote=[^\n ]+ reason="' .. literally(reason) .. '"\n$'
      it("is closed for " .. name .. ", and its will is sent", function()
        local will = "\x10\x15\0\4MQTT\4\6\0\60\0\3bad\0\1w\0\1x"
        local watcher <close> = watch "w"
        local before = stats()[counter]
        local lines = logged(function() ended(open(will .. bytes)) end)
        assert.matches("^[^\n]+ client connected id=bad [^\n]+" .. closed, lines)
        assert.equal(before + 1, stats()[counter])
        assert.equal("w", assert(watcher:receive()).topic)
      end)
    end

    it("is served what it sent before", function()
      local watcher <close> = watch "before/#"
      local c = open(connect_packet .. publish_packet("before/1", "x") .. "\xff\xff"
        .. publish_packet("before/2", "never"))
      ended(c)
      assert.equal("before/1", assert(watcher:receive()).topic)
      assert.is_true(watcher:ping())
      assert.is_nil(watcher:receive(0))
    end)
  end)

  it("that sends nothing, or half a CONNECT, is closed after a while", function()
    local before, list = stats(), {}
    for i = 1, 60 do list[i] = open(i % 2 == 0 and connect_packet:sub(1, i // 4) or nil) end
    talk()
    for _, c in ipairs(list) do ended(c) end
    local after = stats()
    assert.equal(before.connects_timed_out + 60, after.connects_timed_out)
    assert.equal(before.connections, after.connections)
  end)

  it("that sends its CONNECT byte by byte does not get more time", function()
    local c = open "\x10\x7f"
    local deadline = os.time() + 10
    repeat
      c:send_raw "\0"
      local _, problem = c:receive_packet(0.02)
    until problem ~= "timeout" or os.time() > deadline
    assert.is_true(c.closed)
  end)

  it("that stops in the middle of a packet is closed when its keep alive is over", function()
    local before = stats().keep_alives_timed_out
    local c = open("\x10\x0f\0\4MQTT\4\2\0\1\0\3bad" .. "\x30\x7f\0\1t")
    ended(c)
    assert.equal(before + 1, stats().keep_alives_timed_out)
  end)

  it("that comes with hundreds of connections is borne", function()
    local sanitized = (os.getenv "LD_PRELOAD" or ""):find("asan", 1, true) ~= nil
    local count = 500
    local function flood(bytes)
      local list = {}
      for i = 1, count do list[i] = open(bytes and bytes:gsub("bad", ("%03d"):format(i))) end
      talk()
      for _, c in ipairs(list) do c:close() end
      wait_for("connections", 2)
    end
    local payload = "\x30\xf0\xff\3\0\1t" .. ("x"):rep(60000) -- a packet that never ends
    -- What has been freed may stay with the allocator, once, but never adds up.
    local function floods(bytes, most)
      flood(bytes)
      local before = broker:status_field "VmRSS"
      for _ = 1, 4 do flood(bytes) end
      local grown = broker:status_field "VmRSS" - before
      assert.is_true(sanitized or grown < most, ("VmRSS has grown by %d KiB"):format(grown))
    end
    floods(nil, 4096)
    floods(connect_packet, 4096)
    floods(connect_packet .. payload, 40 * 1024)
    local now = stats()
    assert.same({ 2, 2, 2 }, { now.connections, now.clients, now.sessions })
  end)

  it("that takes all descriptors keeps others from coming, not those who are there", function()
    local words = { "sh", "-c", 'ulimit -n 40 && exec "$@"', "sh", process.luamq, path }
    local small <close> = process.start(words, "2>&1")
    local port = math.tointeger(tonumber(small:expect("^listening"):match "%d+$"))
    local there <close> = assert(client.connect { port = port, id = "there" })
    local list = {}
    for i = 1, 60 do list[i] = assert(client.open { port = port }) end
    assert.matches(' error engine error error="accept: Too many open files"$', small:expect "engine error")
    assert.is_true(there:ping())
    for _, c in ipairs(list) do c:close() end
    local late <close> = assert(client.connect { port = port, id = "late" })
    assert.is_true(late:ping())
    assert.is_true(there:ping())
    assert.equal(0, small:stop())
    local _, errors = small.output:gsub("engine error", "")
    assert.is_true(errors < 60, errors)
  end)

  it("that takes over its own id again and again is borne", function()
    local before = stats().sessions_taken_over
    local list = {}
    for i = 1, 200 do list[i] = open(connect_packet) end
    for i = 1, 199 do ended(list[i]) end
    assert.equal(before + 199, stats().sessions_taken_over)
    list[200]:close()
    wait_for("connections", 2)
  end)

  it("that subscribes to everything and reads nothing slows nobody down for long", function()
    local deaf = open(connect_packet .. "\x82\6\0\1\0\1#\1")
    assert(deaf:receive_packet())
    local payload = ("x"):rep(60000)
    for i = 1, 300 do
      assert(alice:publish("talk/bob", payload .. i, 1))
      assert.is_true(assert(bob:receive()).payload == payload .. i)
    end
    assert.is_true(stats().messages_dropped_queue_full > 0)
    deaf:close()
    wait_for("connections", 2)
  end)

  it("that sends noise is borne", function()
    math.randomseed(1)
    for i = 1, 200 do
      local noise = {}
      for j = 1, math.random(1, 200) do noise[j] = string.char(math.random(0, 255)) end
      local c = open(i % 2 == 0 and connect_packet or nil)
      c:send_raw(table.concat(noise)) -- the broker may have closed it by now
      c:close()
    end
    wait_for("connections", 2)
  end)

  it("cannot forge lines of the log", function()
    for _, id in ipairs { "a\nb", "\27[2J", "x\r\n2000-01-01T00:00:00.000Z info forged", "\u{9b}\u{202e}" } do
      local lines = logged(function()
        local c = assert(client.connect { port = broker.port, id = id, will = { topic = "w\n" .. id } })
        assert(c:publish("t\n" .. id, "x", 1))
        assert(c:send_raw "\xff\xff")
        ended(c)
      end)
      assert.matches("^%S+ info client connected id=[^\n]+\n%S+ info client closed id=[^\n]+\n$", lines)
      assert.is_nil(lines:find "[%z\1-\9\11-\31\127]")
      assert.is_nil(lines:find("\u{9b}", 1, true))
    end
  end)

  it("is the other side of a peer that publishes and closes: nothing is lost", function()
    local watcher <close> = watch "last/#"
    local c = open(connect_packet)
    assert.equal("Connack", c:receive_packet().type)
    local packets = {}
    for i = 1, 2000 do packets[i] = publish_packet("last/" .. i, ("x"):rep(100)) end
    assert(c:send_raw(table.concat(packets)))
    c:close()
    for i = 1, 2000 do assert.equal("last/" .. i, assert(watcher:receive()).topic) end
    for i = 1, 50 do -- in a single write, and gone
      open("\x10\x0f\0\4MQTT\4\2\0\60\0\3" .. ("%03d"):format(i) .. publish_packet("last/" .. i, "x")):close()
    end
    local seen = {}
    for _ = 1, 50 do seen[assert(watcher:receive()).topic] = true end
    for i = 1, 50 do assert.is_true(seen["last/" .. i]) end
  end)

  it("is the other side of a peer that closes its half: all is acknowledged", function()
    local patient = process.script((script:gsub("connect_timeout = 0.5, ", ""))) -- python may be late
    local own <close> = process.broker { patient }
    local watcher <close> = assert(client.connect { port = own.port, id = "watcher" })
    assert(watcher:subscribe("half/#", 0))
    local python = [[
import socket, struct, sys
out = b"\x10\x10\0\4MQTT\4\2\0\x3c\0\4half"
for i in range(1, 501):
    topic = b"half/%d" % i
    body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", i) + b"x"
    out += struct.pack("BB", 0x32, len(body)) + body
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
s.sendall(out)
s.shutdown(socket.SHUT_WR)
data = b""
while True:
    part = s.recv(65536)
    if not part: break
    data += part
acks = b"".join(b"\x40\2" + struct.pack(">H", i) for i in range(1, 501))
assert data == b"\x20\2\0\0" + acks, (len(data), data[:40])
]]
    local words = { "/usr/bin/python3", "-c", python, tostring(own.port) }
    assert.same({ 0, "" }, { process.run(words, { errors = true }) })
    for i = 1, 500 do assert.equal("half/" .. i, assert(watcher:receive()).topic) end
    os.remove(patient)
  end)
end)
