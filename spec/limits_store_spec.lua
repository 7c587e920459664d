local brokers = require "spec.support.brokers"
local client_module = require "luamq.client"
local process = require "spec.support.process"

local logged, start = brokers.logged, brokers.start
local DAY <const> = 86400

--- A broker with these settings that logs from info on.
local function with(settings)
  settings.log = { level = "info" }
  return start(nil, settings)
end

describe("backend.max_sessions", function()
  it("bounds stored sessions; clean ones and those that are there do not count", function()
    local broker <close> = with { backend = { max_sessions = 2 } }
    for _, id in ipairs { "a", "b" } do broker:connect({ id = id, clean = false }):disconnect() end
    logged(broker)
    local refused, answer = broker:connect { id = "c", clean = false }
    assert.is_nil(refused)
    assert.equal("quota_exceeded", answer.reason)
    assert.equal(3, answer.code) -- server unavailable
    assert.same({ "info client refused id=c remote=memory reason=quota_exceeded "
      .. "by=limit limit=backend.max_sessions" }, logged(broker))
    assert.equal(1, broker:stats().sessions_refused)
    assert.is_true(broker:connect({ id = "a", clean = false }).session_present)
    assert.truthy(broker:connect { id = "d" })
    assert.truthy(broker:connect { id = "b" }) -- clean: its stored session ends
    assert.truthy(broker:connect { id = "c", clean = false })
    assert.equal(4, broker:stats().sessions)
  end)
end)

describe("backend.max_session_expiry", function()
  it("ends a stored session that nobody returns to, with what belongs to it", function()
    local broker <close> = with { backend = { max_session_expiry = 2 * DAY } }
    for _, id in ipairs { "gone", "back", "here" } do
      local client = broker:connect { id = id, clean = false }
      client:subscribe("t", 1)
      if id ~= "here" then client:disconnect() end
    end
    broker:connect({ id = "p" }):publish("t", "x", 1)
    broker:advance(DAY)
    local back = broker:connect { id = "back", clean = false }
    assert.equal("x", back:receive().payload)
    back:disconnect()
    logged(broker)
    broker:advance(DAY + 1)
    assert.same({ 'info session error id=gone error="session expired"' }, logged(broker))
    local stats = broker:stats()
    assert.equal(1, stats.sessions_expired)
    assert.equal(2, stats.subscriptions)
    assert.is_false(broker:connect({ id = "gone", clean = false }).session_present)
    assert.is_true(broker:connect({ id = "back", clean = false }).session_present)
  end)

  it("of 0 is for ever", function()
    local broker <close> = with { backend = { max_session_expiry = 0 } }
    broker:connect({ id = "a", clean = false }):disconnect()
    broker:advance(1000 * DAY)
    assert.is_true(broker:connect({ id = "a", clean = false }).session_present)
  end)
end)

describe("backend.max_retained_messages", function()
  it("bounds them: one more is routed and not retained", function()
    local broker <close> = with { backend = { max_retained_messages = 2 } }
    local client = broker:connect { id = "a" }
    client:subscribe("#", 0)
    logged(broker)
    for _, topic in ipairs { "1", "2", "3", "2" } do client:publish(topic, "to " .. topic, 0, true) end
    assert.equal(4, #client:receive_all())
    assert.same({ 'info session error id=a remote=memory topic=3 error="too many retained messages"' },
      logged(broker))
    assert.equal(1, broker:stats().retained_refused)
    client:publish("1", "", 0, true)
    client:publish("3", "x", 0, true)
    local topics = {}
    for i, message in ipairs(broker:retained "#") do topics[i] = message.topic end
    table.sort(topics)
    assert.same({ "2", "3" }, topics)
  end)
end)

describe("backend.max_retained_bytes", function()
  it("bounds their memory, and what does not fit leaves nothing old behind", function()
    local broker <close> = with { backend = { max_retained_bytes = 1000 } }
    local client = broker:connect { id = "a" }
    client:publish("t", ("x"):rep(900), 0, true)
    local one = broker:stats().retained_bytes
    assert.is_true(one > 900 and one < 1000)
    client:publish("u", ("x"):rep(200), 0, true)
    assert.equal(one, broker:stats().retained_bytes)
    client:publish("t", ("x"):rep(1000), 0, true)
    assert.same({}, broker:retained "#")
    assert.equal(0, broker:stats().retained_bytes)
    assert.equal(2, broker:stats().retained_refused)
    client:publish("u", ("x"):rep(200), 0, true)
    assert.equal(1, broker:stats().retained_messages)
  end)
end)

describe("backend.session_queue_bytes", function()
  it("bounds what waits for an offline session, and is given back", function()
    local broker <close> = with { backend = { session_queue_bytes = 2048 } }
    local a = broker:connect { id = "a", clean = false }
    a:subscribe("t", 1)
    a:disconnect()
    local p = broker:connect { id = "p" }
    logged(broker)
    for _ = 1, 4 do p:publish("t", ("x"):rep(800), 1) end
    assert.same({ 'warn message dropped id=a topic=t error="queue full"' }, logged(broker))
    assert.equal(1, broker:stats().messages_dropped_offline)
    a = broker:connect { id = "a", clean = false }
    assert.equal(3, #a:receive_all())
    a:disconnect()
    p:publish("t", ("x"):rep(5000), 1) -- more than all by itself: one is always taken
    p:publish("t", "x", 1)
    assert.equal(2, broker:stats().messages_dropped_offline)
    a = broker:connect { id = "a", clean = false }
    assert.equal(5000, #a:receive().payload)
  end)

  it("lets a publisher wait as a full queue does", function()
    local broker <close> = with { backend = { session_queue_bytes = 2048 } }
    local deaf = broker:connect { id = "deaf" }
    deaf:subscribe("t", 0)
    deaf:set_window(0)
    local p = broker:connect { id = "p" }
    for _ = 1, 100 do p:publish("t", ("x"):rep(1000), 0) end
    broker:advance(1)
    assert.is_true(broker:stats().publishes_waited > 0)
    assert.is_true(broker:stats().messages_dropped_queue_full > 0)
    assert.is_false(p.closed)
  end)
end)

describe("limits.connections", function()
  it("closes one too many at once, says so once, and lets in again", function()
    local directory = process.directory()
    process.write(directory .. "/few.lua",
      'return { listeners = { "tcp://127.0.0.1:0" }, limits = { connections = 2 } }')
    local broker <close> = process.broker { directory .. "/few.lua" }
    local function connect(id) return client_module.connect { port = broker.port, id = id } end
    local first, second <close> = assert(connect "1"), assert(connect "2")
    for _ = 1, 3 do assert.is_nil((connect "3")) end
    assert.matches('error engine error error="too many connections"$', broker:expect "too many")
    assert.is_true(second:ping())
    first:disconnect()
    broker:expect "client closed id=1"
    local third <close> = assert(connect "3")
    assert.is_true(third:ping())
    assert.equal(0, broker:stop())
    assert.equal(1, select(2, broker.output:gsub("too many", ""))) -- told once
    process.remove(directory)
  end)
end)
