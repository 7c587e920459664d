local brokers = require "spec.support.brokers"
local client_module = require "luamq.client"
local process = require "spec.support.process"

local connect, logged, start = brokers.connect, brokers.logged, brokers.start

local CONNECT <const> = "\x10\x0d\0\4MQTT\4\2\0\0\0\1a" -- id "a", clean, no keep alive
local CONNECT_STORED <const> = "\x10\x0d\0\4MQTT\4\0\0\0\0\1a" -- the same with a stored session
local SUBSCRIBE <const> = "\x82\6\0\1\0\1t\1" -- to "t" with QoS 1

--- A broker with these settings that logs from info on.
local function with(engine, backend, hooks)
  return start(hooks, { engine = engine, backend = backend, log = { level = "info" } })
end

--- A client "a" that acknowledges nothing, and is subscribed to "t".
local function silent_subscriber(broker, connect_packet)
  local client = broker:open()
  client:send_raw((connect_packet or CONNECT) .. SUBSCRIBE)
  client:raw()
  return client
end

--- The PUBLISH packets with a one byte payload and QoS 1 that are in some bytes.
local function count_publishes(bytes)
  return select(2, bytes:gsub("[\x32\x3a]\6\0\1t..", ""))
end

--- The lines of a client's end, and the counters that are not zero, of those asked for.
local function check_end(broker, client, text, counter, line)
  assert.is_true(client.closed)
  assert.equal(text, client.close_reason)
  assert.equal(1, broker:stats()[counter])
  local lines = logged(broker)
  assert.equal(line, lines[#lines])
end

local function closed_line(text) return 'info client closed id=a remote=memory reason="' .. text .. '"' end

describe("engine.read_limit", function()
  it("is the largest packet: one byte more ends the connection, before it is sent", function()
    local broker <close> = with { read_limit = 1024 }
    local client = broker:open()
    client:send_raw(CONNECT)
    client:send_raw("\x30\xfd\7\0\1t" .. ("x"):rep(1018)) -- 1024 bytes
    assert.is_false(client.closed)
    assert.equal(1, broker:stats().messages_published)
    client:send_raw "\x30\xfe\7"
    check_end(broker, client, "read limit exceeded", "read_limits_exceeded",
      closed_line "read limit exceeded")
  end)

  it("may be a client's own", function()
    local broker <close> = with(nil, nil, { authenticate = function() return { read_limit = "1K" } end })
    local client = broker:connect { id = "a" }
    client:publish("t", ("x"):rep(1100))
    assert.equal("read limit exceeded", client.close_reason)
  end)
end)

describe("engine.connect_read_limit", function()
  it("is the largest packet before a client is let in", function()
    local broker <close> = with { connect_read_limit = 1024 }
    local client = broker:open()
    client:send_raw "\x10\xfe\7"
    assert.is_true(client.closed)
    assert.equal("read limit exceeded", client.close_reason)
    assert.equal(1, broker:stats().read_limits_exceeded)
    local big = broker:connect { id = "a" }
    assert.equal("success", big:publish("t", ("x"):rep(2000), 1).reason)
  end)

  it("is logged with the peer and the reason", function()
    local broker <close> = with { connect_read_limit = 1024 }
    broker:open():send_raw "\x10\xfe\7"
    assert.same({ 'info connection closed remote=memory reason="read limit exceeded"' }, logged(broker))
  end)
end)

describe("engine.connect_timeout", function()
  it("ends a connection that sends no whole CONNECT in time", function()
    local broker <close> = with { connect_timeout = 2.5 }
    local nothing, half = broker:open(), broker:open()
    half:send_raw(CONNECT:sub(1, 10))
    broker:advance(2.499)
    assert.is_false(nothing.closed)
    assert.is_false(half.closed)
    broker:advance(0.001)
    assert.same({ "connect timeout", "connect timeout" }, { nothing.close_reason, half.close_reason })
    assert.equal(2, broker:stats().connects_timed_out)
  end)

  it("is logged with the peer and the reason", function()
    local broker <close> = with { connect_timeout = 1 }
    local client = broker:open()
    broker:advance(1)
    assert.is_true(client.closed)
    assert.same({ 'info connection closed remote=memory reason="connect timeout"' }, logged(broker))
  end)
end)

describe("engine.close_timeout", function()
  it("is how long a stop waits for a client that does not read", function()
    local path = process.script [[
      return { listeners = { "tcp://127.0.0.1:0" }, engine = { close_timeout = 0.05 } }
    ]]
    local broker = process.broker { path }
    os.remove(path)
    local slow <close> = assert(client_module.connect { port = broker.port, id = "slow" })
    local fast <close> = assert(client_module.connect { port = broker.port, id = "fast" })
    assert(slow:subscribe("t", 0))
    local payload = ("x"):rep(1 << 20)
    for _ = 1, 40 do assert(fast:publish("t", payload, 1)) end -- more than sockets keep
    assert.equal(1, broker:stop())
    assert.matches("error stopped, but not all clients had closed in time\n", broker.output, 1, true)
  end)
end)

describe("backend.maximum_keep_alive", function()
  local function dies_after(broker, keep_alive)
    local client = broker:connect { id = "a", keep_alive = keep_alive }
    client:silence()
    local before = broker:now()
    for _ = 1, 400 do
      if client.closed then break end
      broker:advance(0.5)
    end
    return client.closed and broker:now() - before, client
  end

  it("caps a keep alive that is missing or higher, when a script sets it", function()
    for asked, seconds in pairs { [0] = 15, [10] = 15, [11] = 15, [65535] = 15, [4] = 6 } do
      local broker <close> = with(nil, { maximum_keep_alive = 10 })
      local after, client = dies_after(broker, asked)
      assert.equal(seconds, after)
      check_end(broker, client, "keep alive timeout", "keep_alives_timed_out",
        closed_line "keep alive timeout")
    end
  end)

  it("is not held against a client when nobody set it", function()
    local broker <close> = with()
    assert.is_false((dies_after(broker, 0)))
    assert.equal(0, broker:client("a").keep_alive)
  end)

  it("may be a client's own, set in any hook", function()
    local broker <close> = with(nil, nil, { publish = function(client)
      client.maximum_keep_alive = 4
      return true
    end })
    local client = broker:connect { id = "a", keep_alive = 0 }
    client:silence()
    broker:advance(1000)
    assert.is_false(client.closed)
    client:publish("t", "")
    assert.equal(4, broker:client("a").keep_alive)
    broker:advance(5.999)
    assert.is_false(client.closed)
    broker:advance(0.001)
    assert.equal("keep alive timeout", client.close_reason)
  end)

  it("gives each packet of the client the time anew", function()
    local broker <close> = with(nil, { maximum_keep_alive = 10 })
    local client = broker:connect { id = "a", keep_alive = 0 }
    client:silence()
    for _ = 1, 10 do
      broker:advance(14)
      client:send_raw "\xc0\0"
    end
    assert.is_false(client.closed)
    broker:advance(15)
    assert.is_true(client.closed)
  end)
end)

describe("backend.inflight_messages", function()
  it("is how many messages are sent before one is acknowledged", function()
    for _, limit in ipairs { 1, 3, 10 } do
      local broker <close> = with(nil, { inflight_messages = limit })
      local client = silent_subscriber(broker)
      for _ = 1, 15 do broker:publish("t", "x", { qos = 1 }) end
      assert.equal(limit, count_publishes(client:raw()))
      assert.equal(15 - limit, broker:session("a").queued)
      client:send_raw "\x40\2\0\1"
      assert.equal(1, count_publishes(client:raw()))
    end
  end)

  it("may be a client's own", function()
    local broker <close> = with(nil, nil, { setup = function(client) client.inflight_messages = 2 end })
    local client = silent_subscriber(broker)
    for _ = 1, 5 do broker:publish("t", "x", { qos = 1 }) end
    assert.equal(2, count_publishes(client:raw()))
    broker:client("a").inflight_messages = 4
    client:send_raw "\x40\2\0\1"
    assert.equal(3, count_publishes(client:raw()))
  end)
end)

describe("backend.token_timeout", function()
  it("is how long a client may leave messages waiting unacknowledged", function()
    local broker <close> = with(nil, { inflight_messages = 1, token_timeout = 20 })
    local client = silent_subscriber(broker)
    broker:publish("t", "x", { qos = 1 })
    broker:advance(100)
    assert.is_false(client.closed) -- nothing waits behind it
    broker:publish("t", "x", { qos = 1 })
    broker:advance(19.999)
    assert.is_false(client.closed)
    broker:advance(0.001)
    check_end(broker, client, "token timeout", "tokens_timed_out", closed_line "token timeout")
  end)

  it("begins anew with each message that can be sent", function()
    local broker <close> = with(nil, { inflight_messages = 1, token_timeout = 20 })
    local client = silent_subscriber(broker)
    for _ = 1, 5 do broker:publish("t", "x", { qos = 1 }) end
    for id = 1, 3 do
      broker:advance(19)
      client:send_raw(("\x40\2\0%c"):format(id))
    end
    assert.is_false(client.closed)
    broker:advance(20)
    assert.equal("token timeout", client.close_reason)
  end)

  it("is how long a client may not read", function()
    local broker <close> = with(nil, { token_timeout = 5 })
    local client = broker:connect { id = "a" }
    client:subscribe("t", 0)
    client:set_window(0)
    broker:publish("t", "x")
    broker:advance(4.999)
    assert.is_false(client.closed)
    broker:advance(0.001)
    assert.equal("token timeout", client.close_reason)
  end)

  it("may be a client's own", function()
    local broker <close> = with(nil, { inflight_messages = 1 },
      { authenticate = function() return { token_timeout = 0.5 } end })
    local client = silent_subscriber(broker)
    for _ = 1, 2 do broker:publish("t", "x", { qos = 1 }) end
    broker:advance(0.5)
    assert.equal("token timeout", client.close_reason)
  end)
end)

describe("backend.session_queue_size", function()
  it("is how many messages wait for an offline session", function()
    local broker <close> = with(nil, { session_queue_size = 3 })
    silent_subscriber(broker, CONNECT_STORED):drop()
    for i = 1, 5 do broker:publish("t", tostring(i), { qos = 1 }) end
    assert.same({ 3, 2 }, { broker:session("a").queued, broker:session("a").dropped })
    assert.equal(2, broker:stats().messages_dropped_offline)
    local client = broker:connect { id = "a", clean = false }
    local got = {}
    for i, m in ipairs(client:receive_all()) do got[i] = m.payload end
    assert.same({ "1", "2", "3" }, got)
  end)

  it("drops for an offline session with a line that tells whose and why", function()
    local broker <close> = with(nil, { session_queue_size = 1 })
    silent_subscriber(broker, CONNECT_STORED):drop()
    logged(broker)
    for _ = 1, 2 do broker:publish("t", "x", { qos = 1 }) end
    assert.same({ 'warn message dropped id=a topic=t error="queue full"' }, logged(broker))
  end)

  it("is how many wait for an online one, beside those in flight", function()
    local broker <close> = with(nil, { session_queue_size = 3, inflight_messages = 1 })
    silent_subscriber(broker)
    logged(broker)
    for _ = 1, 6 do broker:publish("t", "x", { qos = 1 }) end
    assert.same({ 3, 2 }, { broker:session("a").queued, broker:session("a").dropped })
    assert.equal(2, broker:stats().messages_dropped_queue_full)
    local line = 'warn message dropped id=a remote=memory topic=t error="queue full"'
    assert.same({ line, line }, logged(broker))
    local dropped = 0
    for _, e in ipairs(broker:events()) do
      if e.event == "backend error" and e.error == "queue full" and e.client == "a" then
        dropped = dropped + 1
      end
    end
    assert.equal(2, dropped)
  end)

  it("drops for a client whose own queue is full, without waiting", function()
    local broker <close> = with(nil, { session_queue_size = 2, inflight_messages = 1 })
    local client = silent_subscriber(broker)
    client:send_raw(("\x32\6\0\1t\0\1x"):rep(5))
    assert.equal(2, broker:stats().messages_dropped_queue_full)
    assert.equal(0, broker:stats().publishes_waited)
    assert.equal(5, select(2, client:raw():gsub("\x40\2\0\1", "")))
    assert.is_false(client.closed)
  end)
end)

describe("backend.full_queue_wait", function()
  --- A broker whose client "a" has a full queue, and a publisher.
  local function full(wait)
    local broker = with(nil, { session_queue_size = 1, inflight_messages = 1, full_queue_wait = wait })
    local slow, publisher = silent_subscriber(broker), broker:connect { id = "p" }
    for _ = 1, 2 do publisher:publish("t", "x", 1) end
    logged(broker)
    return broker, slow, publisher
  end

  it("is how long a publisher waits, then the message is dropped for that subscriber", function()
    local broker <close>, _, publisher = full(3)
    local other = broker:connect { id = "other" }
    other:subscribe("t", 1)
    assert.same({ n = 2, nil, "no answer" }, table.pack(publisher:publish("t", "y", 1)))
    assert.equal("y", other:receive().payload) -- nobody else waits
    assert.equal("success", other:publish("elsewhere", "", 1).reason)
    local stats = broker:stats()
    assert.same({ 1, 0 }, { stats.publishes_waited, stats.messages_dropped_queue_full })
    assert.same({ n = 2, nil, "no answer" }, table.pack(publisher:publish("elsewhere", "", 1)))
    broker:advance(2.999)
    assert.equal(0, broker:stats().messages_dropped_queue_full)
    broker:advance(0.001)
    assert.equal(1, broker:stats().messages_dropped_queue_full)
    assert.same({ 'warn message dropped id=a remote=memory topic=t error="queue full"' },
      { logged(broker)[2] }) -- behind that of the client that came
    assert.equal("success", publisher:publish("elsewhere", "", 1).reason)
  end)

  it("ends early when there is room", function()
    local broker <close>, slow, publisher = full(3)
    publisher:publish("t", "y", 1)
    slow:send_raw "\x40\2\0\1"
    assert.equal("success", publisher:publish("elsewhere", "", 1).reason)
    broker:advance(10)
    assert.equal(0, broker:stats().messages_dropped_queue_full)
  end)

  it("is not waited again for a subscriber that is slow, until its queue is half empty", function()
    local broker <close>, slow, publisher = full(3)
    publisher:publish("t", "y", 1)
    broker:advance(3)
    assert.equal("success", publisher:publish("t", "z", 1).reason)
    assert.equal(2, broker:stats().messages_dropped_queue_full)
    slow:send_raw "\x40\2\0\1"
    publisher:publish("t", "fills", 1)
    assert.same({ n = 2, nil, "no answer" }, table.pack(publisher:publish("t", "waits", 1)))
    assert.equal(2, broker:stats().publishes_waited)
  end)

  it("does not count against the publisher's keep alive", function()
    local broker <close> = with(nil, { session_queue_size = 1, inflight_messages = 1, full_queue_wait = 60 })
    silent_subscriber(broker)
    local publisher = broker:connect { id = "p", keep_alive = 4 }
    for _ = 1, 3 do publisher:publish("t", "x", 1) end
    publisher:silence()
    broker:advance(20)
    assert.is_false(publisher.closed)
  end)
end)

describe("backend.incoming_bytes", function()
  it("is what a client may leave unreleased in QoS 2", function()
    local broker <close> = with(nil, { incoming_bytes = "1K" })
    local client = broker:open()
    client:send_raw(CONNECT)
    local sent = 0
    while not client.closed and sent < 20 do
      sent = sent + 1
      client:send_raw(("\x34\x85\1\0\1t\0%c"):format(sent) .. ("x"):rep(128))
    end
    assert.is_true(sent > 3 and sent < 10)
    check_end(broker, client, "too many bytes in unreleased messages", "incoming_bytes_exceeded",
      closed_line "too many bytes in unreleased messages")
  end)

  it("is given back with each PUBREL", function()
    local broker <close> = with(nil, { incoming_bytes = "1K" })
    local client = broker:connect { id = "a" }
    for _ = 1, 50 do assert.equal("success", client:publish("t", ("x"):rep(200), 2).reason) end
    assert.is_false(client.closed)
    assert.equal(0, broker:stats().incoming_bytes_exceeded)
  end)
end)

describe("limits.topic_levels", function()
  it("bounds filters and topics, with a line and a count for each refusal", function()
    local broker <close> = start(nil, { limits = { topic_levels = 3 }, log = { level = "info" } })
    local client = broker:connect { id = "a" }
    logged(broker)
    assert.equal(1, client:subscribe("a/b/#", 1).qos)
    assert.equal("topic_filter_invalid", client:subscribe("a/b/c/#", 1).reason)
    assert.equal("success", client:publish("a/b/c", "x", 1).reason)
    assert.equal("topic_name_invalid", client:publish("a/b/c/d", "x", 1).reason)
    assert.same({
      "info subscribe refused id=a remote=memory filter=a/b/c/# qos=1 reason=topic_filter_invalid "
        .. "by=limit limit=limits.topic_levels",
      "info publish refused id=a remote=memory topic=a/b/c/d qos=1 retain=false reason=topic_name_invalid "
        .. "by=limit limit=limits.topic_levels",
    }, logged(broker))
    assert.equal(1, broker:stats().subscribes_refused)
    assert.equal(1, broker:stats().messages_refused)
    assert.is_false(client.closed)
  end)
end)

describe("limits.subscriptions", function()
  it("bounds those of a session; the same again is none more", function()
    local broker <close> = start(nil, { limits = { subscriptions = 2 }, log = { level = "info" } })
    local client = broker:connect { id = "a" }
    logged(broker)
    assert.same({ 0, 0, 0x80 }, client:subscribe({ "a", "b", "c" }, 0).codes)
    assert.equal(1, client:subscribe("a", 1).qos)
    assert.equal("quota_exceeded", client:subscribe("c", 1).reason)
    client:unsubscribe "b"
    assert.equal(1, client:subscribe("c", 1).qos)
    assert.same({
      "info subscribe refused id=a remote=memory filter=c qos=0 reason=quota_exceeded "
        .. "by=limit limit=limits.subscriptions",
      "info subscribe refused id=a remote=memory filter=c qos=1 reason=quota_exceeded "
        .. "by=limit limit=limits.subscriptions",
    }, logged(broker))
    assert.equal(2, broker:stats().subscriptions)
  end)
end)

describe("what a peer does wrong", function()
  for what, row in pairs {
    ["a packet that is not allowed"] = { bytes = "\x20\2\0\0", counter = "protocol_errors",
      text = "unexpected packet" },
    ["a second CONNECT"] = { bytes = CONNECT, counter = "protocol_errors", text = "unexpected packet" },
    ["bytes that are no packet"] = { bytes = "\xf0\0", counter = "malformed_packets" },
  } do
    it("is counted, and logged with peer and reason: " .. what, function()
      local broker <close> = with()
      local client = broker:open()
      client:send_raw(CONNECT)
      client:send_raw(row.bytes)
      check_end(broker, client, row.text or client.close_reason, row.counter,
        closed_line(row.text or client.close_reason))
    end)
  end

  it("is counted, and logged with peer and reason: an unknown protocol level", function()
    local broker <close> = with()
    local client = broker:open()
    client:send_raw "\x10\x0d\0\4MQTT\9\2\0\0\0\1a"
    assert.equal("\x20\3\0\x84\0", client:raw())
    assert.equal(1, broker:stats().connects_refused)
    assert.same({ 'info client refused remote=memory reason="unacceptable protocol level" by=protocol' },
      logged(broker))
  end)

  it("is counted, and logged with peer and reason: a packet before CONNECT", function()
    local broker <close> = with()
    local client = broker:open()
    client:send_raw "\xc0\0"
    assert.is_true(client.closed)
    assert.equal(1, broker:stats().protocol_errors)
    assert.same({ 'info client refused remote=memory reason="unexpected packet"' }, logged(broker))
  end)

  it("is counted, and logged with peer and reason: no packet at all", function()
    local broker <close> = with()
    broker:open():send_raw "GET / HTTP/1.1\r\n\r\n"
    assert.equal(1, broker:stats().malformed_packets + broker:stats().read_limits_exceeded
      + broker:stats().protocol_errors)
    local lines = logged(broker)
    assert.equal(1, #lines)
    assert.matches("^info connection closed remote=memory reason=", lines[1])
  end)

  it("is counted when a take-over ends it", function()
    local broker <close> = with()
    local first = broker:connect { id = "a" }
    logged(broker)
    connect(broker, { id = "a" })
    assert.equal(1, broker:stats().sessions_taken_over)
    assert.equal("client closed", first.close_reason)
    assert.equal(closed_line "client closed", logged(broker)[1])
  end)
end)
