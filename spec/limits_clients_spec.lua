--- Limits that hold back or refuse a client: what it sees, what is counted, and the line in the log.

local brokers = require "spec.support.brokers"

local connect, logged, start = brokers.connect, brokers.logged, brokers.start

--- A broker with these settings that logs from info on.
local function with(settings, hooks)
  settings.log = { level = "info" }
  return start(hooks, settings)
end

describe("backend.publish_rate", function()
  it("is how many messages a second a client may publish before it is not read", function()
    local broker <close> = with { backend = { publish_rate = 5 } }
    local p = broker:connect { id = "p" }
    logged(broker)
    for _ = 1, 5 do assert.equal("success", p:publish("t", "x", 1).reason) end
    assert.same({ 'info client held back id=p remote=memory error="publish rate: it is not read"' },
      logged(broker))
    assert.same({ nil, "no answer" }, { p:publish("t", "x", 1) })
    assert.equal(1, broker:stats().publishes_throttled)
    broker:advance(0.2)
    assert.equal(6, broker:stats().messages_published)
    assert.is_false(p.closed)
  end)

  it("may be a client's own, set in a hook", function()
    local broker <close> = with({}, { authenticate = function(client)
      client.publish_rate = 2
      return true
    end })
    local p = broker:connect { id = "p" }
    assert.equal(2, broker:client("p").publish_rate)
    for _ = 1, 2 do assert.equal("success", p:publish("t", "x", 1).reason) end
    assert.is_nil((p:publish("t", "x", 1)))
    broker:client("p").publish_rate = 0
    broker:run()
    assert.equal(3, broker:stats().messages_published)
    assert.equal("success", p:publish("t", "x", 1).reason)
  end)

  it("cannot be nonsense", function()
    local broker <close> = with {}
    broker:connect { id = "p" }
    assert.error_matches(function() broker:client("p").publish_rate = -1 end,
      "client.publish_rate: must be between 0 and 100000000, got %-1")
    assert.error_matches(function() broker:client("p").publish_bytes = "fast" end,
      'client.publish_bytes: expected a size such as 262144 or "256K", got "fast"')
  end)
end)

describe("backend.publish_bytes", function()
  it("counts topics and payloads", function()
    local broker <close> = with { backend = { publish_bytes = "1K" } }
    local p = broker:connect { id = "p" }
    assert.equal("success", p:publish("1234", ("x"):rep(1019), 1).reason)
    assert.equal("success", p:publish("1", "", 1).reason)
    assert.is_nil((p:publish("1", "", 1)))
    assert.equal(1, broker:stats().publishes_throttled)
  end)
end)

describe("backend.inflight_bytes", function()
  it("bounds what a client has not acknowledged", function()
    local broker <close> = with { backend = { inflight_bytes = "1K" } }
    local client = broker:open()
    client:send_raw("\x10\x0d\0\4MQTT\4\2\0\0\0\1a" .. "\x82\6\0\1\0\1t\1")
    client:raw()
    logged(broker)
    for _ = 1, 3 do broker:publish("t", ("x"):rep(600), { qos = 1 }) end
    assert.equal(2, select(2, client:raw():gsub("\x32\xdd\4\0\1t", "")))
    assert.equal(1, broker:session("a").queued)
    assert.equal(1, broker:stats().inflight_bytes_reached)
    local held = 'info client held back id=a remote=memory error="too many bytes in flight"'
    assert.same({ held }, logged(broker))
    client:send_raw "\x40\2\0\1"
    assert.equal(0, broker:session("a").queued)
  end)
end)

describe("limits.topic_length", function()
  it("bounds topics and filters, with a line and a count for each refusal", function()
    local broker <close> = with { limits = { topic_length = 5 } }
    local client = broker:connect { id = "a" }
    logged(broker)
    assert.equal(1, client:subscribe("abc/#", 1).qos)
    assert.equal("topic_filter_invalid", client:subscribe("abcd/#", 1).reason)
    assert.equal("success", client:publish("abc/d", "x", 1).reason)
    assert.equal("topic_name_invalid", client:publish("abc/de", "x", 1).reason)
    assert.same({
      "info subscribe refused id=a remote=memory filter=abcd/# qos=1 reason=topic_filter_invalid "
        .. "by=limit limit=limits.topic_length",
      "info publish refused id=a remote=memory topic=abc/de qos=1 retain=false reason=topic_name_invalid "
        .. "by=limit limit=limits.topic_length",
    }, logged(broker))
    assert.equal(1, broker:stats().subscribes_refused)
    assert.equal(1, broker:stats().messages_refused)
  end)

  it("holds for a topic that a hook has changed", function()
    local broker <close> = with({ limits = { topic_length = 5 } },
      { publish = function() return { topic = "abcdef" } end })
    assert.equal("topic_name_invalid", broker:connect({ id = "a" }):publish("a", "x", 1).reason)
  end)
end)

describe("limits.packet_time", function()
  it("ends a client that does not finish a packet", function()
    local broker <close> = with { limits = { packet_time = 5 } }
    local client = broker:connect { id = "a" }
    logged(broker)
    client:send_raw "\x30\x10\0\1t"
    broker:advance(4.9)
    assert.is_false(client.closed)
    broker:advance(0.2)
    assert.equal("packet timeout", client.close_reason)
    assert.same({ 'info client closed id=a remote=memory reason="packet timeout"' }, logged(broker))
    assert.equal(1, broker:stats().packets_timed_out)
  end)

  it("ends a connection that does not finish its CONNECT", function()
    local broker <close> = with { limits = { packet_time = 5 } }
    local client = broker:open()
    client:send_raw "\x10\x10\0\4MQ"
    broker:advance(5.1)
    assert.is_true(client.closed)
    assert.same({ 'info connection closed remote=memory reason="packet timeout"' }, logged(broker))
  end)
end)

describe("limits.unfinished_bytes", function()
  it("ends the client with the largest of the packets that are not complete", function()
    local broker <close> = with { limits = { unfinished_bytes = "100K" } }
    local small, large = broker:connect { id = "small" }, broker:connect { id = "large" }
    logged(broker)
    small:send_raw("\x30\x80\x80\x02\0\1t" .. ("x"):rep(20000))
    assert.is_true(broker:stats().unfinished_bytes >= 20000)
    large:send_raw("\x30\x80\x80\x08\0\1t" .. ("x"):rep(100000))
    assert.equal("too many bytes in unfinished packets", large.close_reason)
    assert.same({ 'info client closed id=large remote=memory reason="too many bytes in unfinished packets"' },
      logged(broker))
    assert.equal(1, broker:stats().unfinished_bytes_exceeded)
    assert.is_false(small.closed)
  end)
end)

describe("limits.connections_per_user", function()
  it("refuses one more client of a user", function()
    local broker <close> = with { limits = { connections_per_user = 1 } }
    local first = broker:connect { id = "a", username = "u" }
    logged(broker)
    local refused, answer = broker:connect { id = "b", username = "u" }
    assert.is_nil(refused)
    assert.same({ "quota_exceeded", 3 }, { answer.reason, answer.code })
    assert.same({ "info client refused id=b remote=memory username=u reason=quota_exceeded "
      .. "by=limit limit=limits.connections_per_user" }, logged(broker))
    assert.equal(1, broker:stats().connects_refused_user)
    assert.truthy(broker:connect { id = "c", username = "v" })
    first:disconnect()
    assert.truthy(broker:connect { id = "b", username = "u" })
    assert.truthy(broker:connect { id = "b", username = "u" }) -- takes over
  end)
end)

describe("limits.memory_limit", function()
  --- A broker with a limit of 100 MiB that seems to use nothing, whatever busted itself uses.
  local function limited()
    local broker = with { limits = { memory_limit = "100M" } }
    broker:use_memory(0)
    return broker
  end

  local function full()
    local broker = limited()
    local client = broker:connect { id = "a" }
    client:subscribe("#", 1)
    logged(broker)
    broker:use_memory(101 << 20)
    return broker, client
  end

  it("is told when it is reached, and when it no longer is", function()
    local broker <close> = full()
    assert.same({ 'error engine error error="memory limit reached: 101 of 100 MiB"' }, logged(broker))
    local stats = broker:stats()
    assert.same({ 1, 101 << 20, 100 << 20 },
      { stats.memory_limit_reached, stats.memory_bytes, stats.memory_limit_bytes })
    broker:use_memory(96 << 20)
    assert.same({}, logged(broker))
    broker:use_memory(94 << 20)
    assert.same({ 'error engine error error="memory limit no longer reached: 94 of 100 MiB"' },
      logged(broker))
    broker:use_memory(84 << 20)
    assert.same({ 'error engine error error="memory no longer near its limit: 84 of 100 MiB"' },
      logged(broker))
  end)

  it("is told when it is near, and takes on nothing that stays", function()
    local broker <close> = limited()
    local client = broker:connect { id = "a" }
    client:subscribe("#", 1)
    logged(broker)
    broker:use_memory(91 << 20)
    assert.same({ 'error engine error error="memory near its limit: 91 of 100 MiB"' }, logged(broker))
    assert.equal("server_busy", connect(broker, { id = "b" }).reason)
    assert.equal("success", client:publish("t", "x", 1).reason)
    assert.equal("x", client:receive().payload)
    local stats = broker:stats()
    assert.same({ 1, 0, 1 },
      { stats.memory_limit_near, stats.memory_limit_reached, stats.connects_refused_memory })
  end)

  it("refuses clients and subscriptions, and drops QoS 0", function()
    local broker <close>, client = full()
    logged(broker)
    local answer = connect(broker, { id = "b" })
    assert.same({ "server_busy", "memory limit", 3 }, { answer.reason, answer.error, answer.code })
    assert.equal("quota_exceeded", client:subscribe("t", 1).reason)
    client:publish("t", "x", 0)
    assert.is_nil(client:receive())
    assert.same({
      'info client refused id=b remote=memory reason="memory limit" by=limit limit=limits.memory_limit',
      "info subscribe refused id=a remote=memory filter=t qos=1 reason=quota_exceeded "
        .. "by=limit limit=limits.memory_limit",
      'warn message dropped id=a remote=memory topic=t error="memory limit"',
    }, logged(broker))
    local stats = broker:stats()
    assert.same({ 1, 1, 1 },
      { stats.connects_refused_memory, stats.subscribes_refused, stats.messages_dropped_memory })
  end)

  it("retains nothing, and still deletes", function()
    local broker <close> = limited()
    broker:publish("kept", "x", { retain = true })
    broker:publish("gone", "x", { retain = true })
    broker:use_memory(101 << 20)
    logged(broker)
    broker:publish("new", "x", { retain = true })
    broker:publish("gone", "", { retain = true })
    assert.equal(1, broker:stats().retained_messages)
    assert.equal(1, broker:stats().retained_refused)
    assert.same({ 'info session error topic=new error="memory limit"' }, logged(broker))
  end)

  it("does not read who publishes with QoS 1 or 2, until there is memory again", function()
    local broker <close>, client = full()
    logged(broker)
    assert.same({ nil, "no answer" }, { client:publish("t", "x", 1) })
    assert.same({ 'info client held back id=a remote=memory error="memory limit: it is not read"' },
      logged(broker))
    assert.equal(1, broker:stats().publishes_held_memory)
    broker:use_memory(1 << 20)
    assert.equal("x", client:receive().payload)
  end)

  it("may be a share of what there is, or none", function()
    local config = require "luamq.config"
    local function limit(value)
      local checked, problem = config.check { listeners = { "tcp://127.0.0.1:1883" },
        limits = { memory_limit = value } }
      return checked and checked.limits.memory_limit or problem
    end
    assert.same({ "50%", 0, 2 << 30, 1000 }, { limit "50%", limit(0), limit "2G", limit(1000) })
    for _, wrong in ipairs { "0%", "101%", "%", "1.5%", "-5%", "much", true } do
      assert.matches('^limits.memory_limit: expected a size such as "2G" or a share such as "80%%", got ',
        limit(wrong))
    end
    local broker <close> = with { limits = { memory_limit = "50%" } }
    local half = broker:stats().memory_limit_bytes
    local all <close> = with { limits = { memory_limit = "100%" } }
    assert.is_true(math.abs(all:stats().memory_limit_bytes - 2 * half) <= 2)
    local none <close> = with { limits = { memory_limit = 0 } }
    none:use_memory(1 << 60)
    assert.truthy(none:connect { id = "a" })
  end)
end)
