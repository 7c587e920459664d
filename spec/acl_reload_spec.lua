local luamq = require "luamq"
local test = require "luamq.test"

local function yes() return true end

local function script(acl, hooks)
  hooks = hooks or {}
  hooks.authenticate = hooks.authenticate or yes
  return { acl = acl, hooks = hooks }
end

local function publishes(client, topic) return client:publish(topic, "x", 1).reason == "success" end

describe("a reload", function()
  it("exchanges the acl under clients that are there", function()
    local broker <close> = test.broker(script { { allow = "publish", topic = "a/%c" } })
    local c = broker:connect { id = "c" }
    assert.same({ true, false }, { publishes(c, "a/c"), publishes(c, "b") })
    assert.is_true(broker:reload(script { { allow = "publish", topic = "b" } }))
    assert.same({ false, true }, { publishes(c, "a/c"), publishes(c, "b") })
    assert.is_true(broker:reload(script()))
    assert.same({ true, true }, { publishes(c, "a/c"), publishes(c, "b") })
    assert.is_true(broker:reload(script {}))
    assert.same({ false, false }, { publishes(c, "a/c"), publishes(c, "b") })
  end)

  it("that fails leaves the acl as it is", function()
    local broker <close> = test.broker(script { { allow = "publish", topic = "a" } })
    broker:capture()
    local c = broker:connect { id = "c" }
    local done, problem = broker:reload(script { { alow = "publish", topic = "b" } })
    assert.is_nil(done)
    assert.matches("acl%[1%]%.alow: unknown field of a rule", problem)
    assert.same({ true, false }, { publishes(c, "a"), publishes(c, "b") })
    local selftest = function() error "no" end
    assert.is_nil((broker:reload(script({ { allow = "publish", topic = "b" } }, { selftest = selftest }))))
    assert.same({ true, false }, { publishes(c, "a"), publishes(c, "b") })
  end)

  it("leaves a client's own rules with it", function()
    local broker <close> = test.broker(script({ { allow = "publish", topic = "a" } }, {
      authenticate = function() return { acl = { { allow = "publish", topic = "own" } } } end,
    }))
    local c = broker:connect { id = "c" }
    assert.is_true(broker:reload(script { { allow = "publish", topic = "b" } }))
    assert.same({ true, false, true }, { publishes(c, "own"), publishes(c, "a"), publishes(c, "b") })
    local fresh = broker:connect { id = "d" }
    assert.same({ false, true }, { publishes(fresh, "own"), publishes(fresh, "b") })
  end)

  it("decides by the new rules about what a hook of the old script still thinks of", function()
    local broker <close> = test.broker(script({ { allow = "all", topic = "a" } }, {
      publish = function()
        luamq.sleep(1)
        return true
      end,
    }))
    local c = broker:connect { id = "c" }
    assert.is_nil((c:publish("a", "x", 1)))
    assert.is_true(broker:reload(script { { allow = "all", topic = "b" } }))
    broker:advance(1)
    assert.equal(0, broker:stats().messages_published)
    assert.equal(1, broker:stats().messages_refused)
  end)

  it("exchanges what hooks are about", function()
    local asked = {}
    local function with(filter)
      return script(nil, { publish = luamq.on_topics(filter, function(_, message)
        asked[#asked + 1] = filter .. " " .. message.topic
        return true
      end) })
    end
    local broker <close> = test.broker(with "a")
    local c = broker:connect { id = "c" }
    for _, topic in ipairs { "a", "b" } do publishes(c, topic) end
    assert.is_true(broker:reload(with "b"))
    for _, topic in ipairs { "a", "b" } do publishes(c, topic) end
    assert.same({ "a a", "b b" }, asked)
  end)
end)
