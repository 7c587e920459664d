local luamq = require "luamq"
local sqlite = require "luamq.sqlite"
local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."

describe("sessions in SQLite", function()
  local path, broker

  local function script()
    return assert(loadfile(here .. "/backend.lua"))("tcp://127.0.0.1:0", path, "off")
  end

  --- A broker on the same file.
  local function start()
    broker = test.broker(script())
  end

  --- It goes on with what is in the file by now: as if the power had failed.
  local function crash()
    local copy = os.tmpname()
    for _, ending in ipairs { "", "-wal" } do
      local from = io.open(path .. ending, "rb")
      if from then
        assert(io.open(copy .. ending, "wb")):write(from:read "a"):close()
        from:close()
      end
    end
    broker:stop()
    for _, ending in ipairs { "", "-wal", "-shm" } do os.remove(path .. ending) end
    path = copy
    start()
  end

  local function restart()
    broker:stop()
    start()
  end

  before_each(function()
    path = os.tmpname()
    start()
  end)
  after_each(function()
    broker:stop()
    for _, ending in ipairs { "", "-wal", "-shm" } do os.remove(path .. ending) end
  end)

  local function connect(id, options)
    options = options or { clean = false, session_expiry_interval = 3600 }
    options.id = id
    return broker:connect(options)
  end

  --- Subscribes and leaves.
  local function leave_with(id, filter, qos)
    local client = connect(id)
    client:subscribe(filter, qos)
    client:disconnect()
  end

  local function payloads(client)
    local list = {}
    for i, message in ipairs(client:receive_all()) do list[i] = message.payload end
    return list
  end

  it("have their subscriptions after a restart", function()
    local client = connect "a"
    client:subscribe("t/#", { qos = 1, no_local = true })
    client:subscribe("u", 2)
    client:subscribe("$share/g/v", 1)
    client:unsubscribe "u"
    client:disconnect()
    restart()
    assert.is_nil(broker:session "a") -- it sleeps
    client = connect "a"
    assert.is_true(client.session_present)
    local found = {}
    for _, s in ipairs(broker:session("a").subscriptions) do
      found[#found + 1] = ("%s %s %d %s"):format(s.topic, s.share, s.qos, s.no_local)
    end
    table.sort(found)
    assert.same({ "t/# nil 1 true", "v g 1 false" }, found)
  end)

  it("have what was queued, in order, and what came while they slept", function()
    leave_with("a", "t", 1)
    local sender = connect "s"
    for i = 1, 3 do sender:publish("t", tostring(i), 1) end
    sender:publish("t", "not kept", 0)
    restart()
    sender = connect "s"
    for i = 4, 5 do assert.equal("success", sender:publish("t", tostring(i), i % 2 + 1).reason) end
    assert.equal(5, broker:session("a").queued) -- a message has woken it
    assert.same({ "1", "2", "3", "4", "5" }, payloads(connect "a"))
  end)

  it("sleep on where a message is not for them", function()
    leave_with("a", "t/+", 1)
    restart()
    local sender = connect "s"
    sender:publish("u", "x", 1)
    sender:publish("t/1", "x", 0)
    assert.is_nil(broker:session "a")
    sender:publish("t/1", "x", 1)
    assert.equal(1, broker:session("a").queued)
  end)

  it("have all that a message has", function()
    leave_with("a", "t", 1)
    broker:publish("t", "\0\xff'", {
      qos = 1, content_type = "text/x", response_topic = "r", correlation_data = "\1\0",
      payload_format_indicator = 0, message_expiry_interval = 100,
      user_properties = { { "k", "1" }, { "k", "2" } },
    })
    broker:advance(10)
    restart()
    local message = connect("a"):receive()
    local names = { "content_type", "response_topic", "correlation_data", "payload_format_indicator" }
    for i, name in ipairs(names) do names[i] = message[name] end
    assert.equal("\0\xff'", message.payload)
    assert.same({ "text/x", "r", "\1\0", 0 }, names)
    assert.same({ { "k", "1" }, { "k", "2" } }, message.user_properties)
  end)

  it("send again what is in flight to them, with QoS 1 and 2, in its order", function()
    local client = connect "a"
    client:subscribe("t", 2)
    client:set_window(0) -- it takes nothing any more
    for i = 1, 4 do broker:publish("t", tostring(i), { qos = i % 2 + 1 }) end
    broker:run()
    restart()
    local again = {}
    for i, message in ipairs(connect("a"):receive_all()) do
      again[i] = message.payload .. (message.dup and " dup" or "")
    end
    assert.same({ "1 dup", "2", "3", "4" }, again) -- that one was on its way
    restart()
    assert.same({}, payloads(connect "a")) -- all of it was acknowledged
  end)

  it("end with a clean start, and when their time is over, also while nobody runs", function()
    for _, id in ipairs { "a", "b" } do leave_with(id, "t", 1) end
    restart()
    connect("a", { clean = true }):disconnect()
    restart()
    assert.is_false(connect("a").session_present)
    assert.is_true(connect("b").session_present)
    leave_with("c", "t", 1)
    broker:advance(3599)
    broker:advance(2)
    assert.is_nil(broker:session "c")
    restart()
    assert.is_false(connect("c").session_present)
  end)

  it("survive a reload, asleep and awake, with what is in flight", function()
    leave_with("sleeper", "t", 1)
    restart()
    local client = connect "a"
    client:subscribe("u", 1)
    assert(broker:reload(script()))
    broker:publish("u", "x", { qos = 1 })
    assert.same({ "x" }, payloads(client))
    connect("s"):publish("t", "y", 1)
    restart()
    assert.same({ "y" }, payloads(connect "sleeper"))
    assert.is_true(connect("a").session_present)
  end)

  it("lose by a crash what has happened since the last second, and nothing else", function()
    leave_with("a", "t", 1)
    local sender = connect "s"
    sender:publish("t", "1", 1)
    broker:advance(1) -- written
    sender:publish("t", "2", 1)
    local late = connect "late"
    late:subscribe("t", 1)
    crash()
    assert.same({ "1" }, payloads(connect "a"))
    assert.is_false(connect("late").session_present)
  end)

  it("send again after a crash what was acknowledged since", function()
    leave_with("a", "t", 1)
    connect("s"):publish("t", "1", 1)
    broker:advance(1)
    assert.same({ "1" }, payloads(connect "a"))
    crash()
    assert.same({ "1" }, payloads(connect "a"))
    broker:advance(1)
    crash()
    assert.same({}, payloads(connect "a"))
  end)

  it("are refused while the file cannot be read, and are whole afterwards", function()
    leave_with("a", "t", 1)
    restart()
    broker:capture()
    local db = sqlite.open(path)
    broker:call(function()
      luamq.spawn(function() assert(db:exec "alter table subscriptions rename to gone") end)
    end)
    local client, why = connect "a"
    assert.is_nil(client)
    assert.equal("server_unavailable", why.reason)
    assert.matches("sessions cannot be read", table.concat(broker:lines(), "\n"), 1, true)
    broker:call(function()
      luamq.spawn(function() assert(db:exec "alter table gone rename to subscriptions") end)
    end)
    client = connect "a"
    assert.equal(1, #broker:session("a").subscriptions)
    client:disconnect()
  end)
end)
