local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."

describe("dead letters", function()
  local broker, operator, device

  local function start(overrides)
    broker = test.broker(here .. "/dead_letters.lua", overrides)
    operator = broker:connect { id = "op", username = "operator" }
    device = broker:connect { id = "d1", username = "device" }
    operator:subscribe("dead/#", 1)
  end
  after_each(function() broker:stop() end)

  local function properties(message)
    local result = {}
    for _, pair in ipairs(message.user_properties) do result[pair[1]] = pair[2] end
    return result
  end

  it("are messages that nobody has subscribed to", function()
    start()
    assert.equal("success", device:publish("news", "hello", 1).reason)
    local letter = operator:receive()
    assert.equal("dead/nobody/news", letter.topic)
    assert.equal("hello", letter.payload)
    assert.same({ reason = "nobody", from = "d1" }, properties(letter))
    assert.is_nil(operator:receive())
  end)

  it("are not messages that somebody reads, nor retained ones", function()
    start()
    local reader = broker:connect { id = "reader" }
    reader:subscribe("news/+")
    device:publish("news/today", "hello", 1)
    device:publish("state", "on", 1, true)
    assert.equal("hello", reader:receive().payload)
    assert.is_nil(operator:receive())
  end)

  it("are messages that the policy refuses", function()
    start()
    assert.equal("not_authorized", device:publish("commands/reboot", "now", 1).reason)
    assert.equal("dead/refused/commands/reboot", operator:receive().topic)
  end)

  it("are messages for which a queue has no room", function()
    start { backend = { session_queue_size = 2 } }
    local slow = broker:connect { id = "slow", receive_maximum = 1 }
    slow:subscribe("news", 1)
    slow:set_window(0)
    for i = 1, 6 do device:publish("news", tostring(i), 1) end
    local letters = operator:receive_all()
    assert.is_true(#letters >= 1)
    assert.equal("dead/full/news", letters[1].topic)
    assert.equal("slow", properties(letters[1]).to)
  end)

  it("are read and made by nobody else", function()
    start()
    assert.equal("not_authorized", device:subscribe("dead/#").reason)
    assert.equal("not_authorized", device:subscribe("#").reason)
    assert.equal("not_authorized", device:publish("dead/nobody/x", "x", 1).reason)
    assert.is_nil(operator:receive())
  end)
end)
