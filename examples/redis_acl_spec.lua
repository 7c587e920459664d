-- Run by `make test`, or by `luamq --test examples/redis_acl_spec.lua`: no network, no waiting. A function
-- answers in the place of Redis.
local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local script = here .. "/redis_acl.lua"

describe("rules that are kept in Redis", function()
  local function fake(sets, state)
    return function(command, key)
      state.asked = state.asked + 1
      if state.away then return nil, "redis at 127.0.0.1:6379: Connection refused", "connection" end
      assert.equal("SMEMBERS", command)
      return sets[key] or {}
    end
  end

  it("asks for the rules of a user once, and again after a while", function()
    local sets, state = { ["acl:meter:publish"] = { "meters/#" } }, { asked = 0 }
    local broker <close> = test.broker(script, nil, { capture = true })
    broker:fake("redis", fake(sets, state))
    local meter = broker:connect { id = "m", username = "meter", password = "m3ter" }
    assert.equal("success", meter:publish("meters/1/power", "7", 1).reason)
    assert.equal("success", meter:publish("meters/2/power", "8", 1).reason)
    assert.equal("not_authorized", meter:publish("weather", "9", 1).reason)
    assert.equal("not_authorized", meter:subscribe("meters/#", 1).reason)
    assert.equal(2, state.asked)
    sets["acl:meter:publish"] = { "weather" }
    assert.equal("not_authorized", meter:publish("weather", "9", 1).reason)
    broker:advance(10)
    assert.equal("success", meter:publish("weather", "9", 1).reason)
    assert.equal(4, state.asked)
  end)

  it("keeps what it knows while redis is away, and refuses who is not known", function()
    local state = { asked = 0 }
    local broker <close> = test.broker(script, nil, { capture = true })
    broker:fake("redis", fake({ ["acl:meter:publish"] = { "#" } }, state))
    local meter = broker:connect { id = "m", username = "meter", password = "m3ter" }
    assert.equal("success", meter:publish("a", "1", 1).reason)
    state.away = true
    broker:advance(10)
    assert.equal("success", meter:publish("a", "2", 1).reason)
    local viewer = broker:connect { id = "v", username = "viewer", password = "v1ewer" }
    assert.equal("unspecified_error", viewer:subscribe("a", 0).reason)
  end)
end)
