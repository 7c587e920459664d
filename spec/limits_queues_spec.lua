--- Full queues: the setting, the hook that decides, and the bytes of all queues together.

local brokers = require "spec.support.brokers"

local logged, place, start = brokers.logged, brokers.place, brokers.start

--- A broker with a client "a" whose window of one message and queue of two are full, and a publisher.
local function full(backend, hooks)
  local settings = { session_queue_size = 2, inflight_messages = 1, full_queue_wait = 3 }
  for name, value in pairs(backend or {}) do settings[name] = value end
  local broker = start(hooks, { backend = settings, log = { level = "info" } })
  local a = broker:open()
  a:send_raw("\x10\x0d\0\4MQTT\4\0\0\0\0\1a" .. "\x82\6\0\1\0\1t\1")
  local p = broker:connect { id = "p" }
  for i = 1, 3 do p:publish("t", tostring(i), 1) end
  a:raw()
  logged(broker)
  return broker, a, p
end

--- What client "a" still has to get, in order.
local function rest(broker, a)
  local got = {}
  for id = 1, 9 do
    a:send_raw("\x40\2\0" .. string.char(id))
    for payload in a:raw():gmatch "\x32\6\0\1t..(.)" do got[#got + 1] = payload end
  end
  assert.equal(0, broker:session("a").queued)
  return table.concat(got)
end

local line = 'warn message dropped id=a remote=memory topic=t error="queue full"'

describe("backend.full_queue", function()
  it("lets the publisher wait unless told otherwise", function()
    local broker <close>, a, p = full()
    assert.same({ nil, "no answer" }, { p:publish("t", "4", 1) })
    assert.equal("234", rest(broker, a))
  end)

  it("may drop the new message", function()
    local broker <close>, a, p = full { full_queue = "drop_new" }
    assert.equal("success", p:publish("t", "4", 1).reason)
    assert.same({ line }, logged(broker))
    assert.equal(1, broker:stats().messages_dropped_queue_full)
    assert.equal("23", rest(broker, a))
  end)

  it("may drop the oldest one", function()
    local broker <close>, a, p = full { full_queue = "drop_old" }
    assert.equal("success", p:publish("t", "4", 1).reason)
    assert.same({ line }, logged(broker))
    assert.equal(1, broker:stats().messages_dropped_old)
    assert.equal("34", rest(broker, a))
  end)

  it("may disconnect the subscriber", function()
    local broker <close>, a, p = full { full_queue = "disconnect" }
    assert.equal("success", p:publish("t", "4", 1).reason)
    assert.is_true(a.closed)
    assert.equal("queue full", a.close_reason)
    assert.equal(1, broker:stats().clients_disconnected_queue_full)
    assert.same({ line, 'info client closed id=a remote=memory reason="queue full"' }, logged(broker))
    assert.equal(2, broker:session("a").queued)
  end)

  it("is one of these", function()
    assert.error_matches(function() full { full_queue = "explode" } end,
      'expected "wait", "drop_new", "drop_old" or "disconnect", got "explode"')
  end)
end)

describe("hooks.full_queue", function()
  it("decides for each message of an online client", function()
    local seen, answer = {}, nil
    local broker <close>, a, p = full({}, { full_queue = function(client, message)
      seen[#seen + 1] = client.id .. " " .. message.topic .. " " .. message.payload
      return answer
    end })
    assert.same({}, seen)
    answer = "drop_old"
    p:publish("t", "4", 1)
    answer = "drop_new"
    p:publish("t", "5", 1)
    assert.same({ "a t 4", "a t 5" }, seen)
    local stats = broker:stats()
    assert.same({ 1, 1 }, { stats.messages_dropped_old, stats.messages_dropped_queue_full })
    assert.equal("34", rest(broker, a))
    a:drop()
    for _ = 1, 3 do p:publish("t", "6", 1) end
    assert.equal(2, #seen) -- who is offline is not asked about
  end)

  it("leaves it to the setting with nil", function()
    local broker <close>, a, p = full({ full_queue = "drop_old" }, { full_queue = function() end })
    p:publish("t", "4", 1)
    assert.equal(0, broker:stats().hook_errors)
    assert.equal("34", rest(broker, a))
  end)

  for what, answer in pairs { ["a policy that is none"] = "explode", ["a wrong type"] = true } do
    it("leaves it to the setting with " .. what .. ", which is logged", function()
      local function hook() return answer end
      local broker <close>, a, p = full({ full_queue = "drop_old" }, { full_queue = hook })
      p:publish("t", "4", 1)
      local problem = answer == true and "expected the name of a policy, got a boolean"
        or "unknown policy 'explode'"
      assert.equal(("error %s: hook full_queue gave a wrong answer: %s id=a remote=memory")
        :format(place(hook), problem), logged(broker)[1])
      assert.equal(1, broker:stats().hook_errors)
      assert.equal("34", rest(broker, a))
    end)
  end

  it("leaves it to the setting after an error, which is logged", function()
    local function hook() error "oops" end
    local broker <close>, a, p = full({ full_queue = "drop_new" }, { full_queue = hook })
    p:publish("t", "4", 1)
    assert.matches("^error hook full_queue: .*oops", logged(broker)[1])
    assert.equal("23", rest(broker, a))
  end)

  it("may close the client and publish itself", function()
    local luamq = require "luamq"
    local broker <close>, a, p = full({}, { full_queue = function(client, message)
      if message.payload == "again" then return "drop_new" end
      luamq.publish("t", "again", { qos = 1 })
      client:close()
      return "wait"
    end })
    p:publish("t", "4", 1)
    assert.is_true(a.closed)
    broker:advance(10)
    assert.equal("success", p:publish("other", "x", 1).reason)
  end)

  it("cannot suspend", function()
    local broker <close>, a, p = full({ full_queue = "drop_old" }, { full_queue = coroutine.yield })
    p:publish("t", "4", 1)
    assert.matches("^error hook full_queue cannot suspend", logged(broker)[1])
    assert.equal("34", rest(broker, a))
  end)
end)

describe("limits.queued_bytes", function()
  it("drops what cannot be sent at once while all queues hold too much", function()
    local broker <close> = start(nil, { limits = { queued_bytes = 3000 }, log = { level = "info" } })
    local away = broker:connect { id = "away", clean = false }
    away:subscribe("t", 1)
    away:drop()
    local here = broker:connect { id = "here" }
    here:subscribe("t", 1)
    logged(broker)
    for _ = 1, 4 do broker:publish("t", ("x"):rep(1000), { qos = 1 }) end
    assert.equal(4, #here:receive_all())
    assert.equal(3, broker:session("away").queued)
    assert.same({ 'warn message dropped id=away topic=t error="too many queued bytes"' }, logged(broker))
    local stats = broker:stats()
    assert.equal(1, stats.messages_dropped_queued_bytes)
    assert.is_true(stats.queued_bytes >= 3000 and stats.queued_bytes < 4500, stats.queued_bytes)
    assert.equal(3, #broker:connect({ id = "away", clean = false }):receive_all())
    assert.equal(0, broker:stats().queued_bytes)
  end)
end)
