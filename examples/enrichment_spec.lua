local json = require "cjson.safe"
local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."

describe("messages that are enriched", function()
  local broker, device, listener

  before_each(function()
    broker = test.broker(here .. "/enrichment.lua")
    device, listener = broker:connect { id = "d1" }, broker:connect { id = "listener" }
    listener:subscribe("telemetry/#")
    broker:connect({ id = "admin" }):publish("devices/d1/room", "kitchen", 1, true)
  end)
  after_each(function() broker:stop() end)

  local function properties(message)
    local result = {}
    for _, pair in ipairs(message.user_properties) do result[pair[1]] = pair[2] end
    return result
  end

  it("tell who sent them, when and where", function()
    device:publish("telemetry/t", '{"celsius": 21}', 1)
    local seen = properties(listener:receive())
    assert.equal("d1", seen.from)
    assert.equal("kitchen", seen.room)
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$", seen.at)
  end)

  it("have fields in their JSON, beside their own", function()
    device:publish("telemetry/t", '{"celsius": 21, "device": "mine"}', 1)
    assert.same({ celsius = 21, device = "mine", room = "kitchen" }, json.decode(listener:receive().payload))
  end)

  it("stay as they are where they are no JSON object", function()
    for _, payload in ipairs { "21", "[1, 2]", "no JSON" } do
      device:publish("telemetry/t", payload, 1)
      assert.equal(payload, listener:receive().payload)
    end
  end)

  it("keep the properties that they had", function()
    device:publish("telemetry/t", "1", { qos = 1, user_properties = { { "unit", "K" } } })
    assert.equal("K", properties(listener:receive()).unit)
  end)

  it("know a room as long as it is told", function()
    broker:connect({ id = "admin" }):publish("devices/d1/room", "", 1, true)
    device:publish("telemetry/t", "{}", 1)
    assert.is_nil(properties(listener:receive()).room)
  end)

  it("know after a reload what is retained", function()
    assert(broker:reload(here .. "/enrichment.lua"))
    device:publish("telemetry/t", "{}", 1)
    assert.equal("kitchen", properties(listener:receive()).room)
  end)
end)
