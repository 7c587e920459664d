-- Run by `make test`, or by `busted --lua=/usr/bin/lua5.4 examples/policy`: no network, no waiting.
local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."

describe("the policy, function by function", function()
  local policy
  setup(function() policy = dofile(here .. "/policy.lua") end)

  it("lets a device write below its own id only", function()
    local device = { id = "d1", ref = { role = "device" } }
    assert.is_true(policy.publish(device, { topic = "devices/d1/temperature" }))
    assert.is_false(policy.publish(device, { topic = "devices/d2/temperature" }))
  end)

  it("refuses ids that would be wildcards", function()
    assert.is_false(policy.authenticate({ id = "+" }, "device", "dev"))
  end)
end)

describe("the policy in a broker", function()
  local broker
  before_each(function() broker = test.broker(here .. "/broker.lua") end)
  after_each(function() broker:stop() end)

  it("carries a command from staff to the device, and nothing else", function()
    local device = broker:connect { id = "d1", username = "device", password = "dev" }
    local staff = broker:connect { id = "s", username = "staff", password = "st4ff" }
    assert.equal(1, device:subscribe("devices/d1/cmd/#", 1).qos)
    assert.equal("not_authorized", device:subscribe("devices/d2/cmd/#", 1).reason)
    assert.equal("success", staff:publish("devices/d1/cmd/reboot", "now", 1).reason)
    assert.equal("not_authorized", staff:publish("devices/d1/temperature", "20", 1).reason)
    local message = device:receive()
    assert.equal("devices/d1/cmd/reboot", message.topic)
    assert.is_nil(device:receive())
  end)

  it("lets nobody in with a wrong password", function()
    local client, why = broker:connect { id = "d1", username = "device", password = "wrong" }
    assert.is_nil(client)
    assert.equal("not_authorized", why.reason)
  end)
end)
