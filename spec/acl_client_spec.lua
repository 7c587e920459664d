local test = require "luamq.test"

local function publishes(client, topic) return client:publish(topic, "x", 1).reason end

local function subscribes(client, filter) return client:subscribe(filter, 1).reason end

describe("acl of one client", function()
  local function with_own(own, acl, more)
    local hooks = { authenticate = function(client) return { acl = own[client.id] } end }
    local script = { acl = acl, hooks = hooks }
    for key, value in pairs(more or {}) do script[key] = value end
    return test.broker(script)
  end

  it("is asked first, and where it is silent the one of all decides", function()
    local broker <close> = with_own({
      a = { { allow = "publish", topic = "own/%c/#" }, { deny = "publish", topic = "all/x" } },
      b = {},
    }, { { allow = "publish", topic = "all/#" } })
    local a, b, c = broker:connect { id = "a" }, broker:connect { id = "b" }, broker:connect { id = "c" }
    assert.equal("success", publishes(a, "own/a/x"))
    assert.equal("not_authorized", publishes(a, "own/b/x"))
    assert.equal("not_authorized", publishes(a, "all/x"))
    assert.equal("success", publishes(a, "all/y"))
    assert.equal("success", publishes(b, "all/x"))
    assert.equal("not_authorized", publishes(b, "own/b/x"))
    assert.equal("success", publishes(c, "all/x"))
  end)

  it("denies what it is silent about where there is no other", function()
    local broker <close> = with_own { a = { { allow = "publish", topic = "x" } }, b = {} }
    local a, b, c = broker:connect { id = "a" }, broker:connect { id = "b" }, broker:connect { id = "c" }
    assert.equal("success", publishes(a, "x"))
    assert.equal("not_authorized", publishes(a, "y"))
    assert.equal("not_authorized", subscribes(a, "x"))
    assert.equal("not_authorized", publishes(b, "x"))
    assert.equal("success", publishes(c, "x"))
  end)

  it("has deliver rules of its own", function()
    local broker <close> = with_own({ a = { { deny = "deliver", topic = "x" } } },
      { { allow = "all" } })
    local a, b = broker:connect { id = "a" }, broker:connect { id = "b" }
    for _, client in ipairs { a, b } do client:subscribe("#", 1) end
    for _, topic in ipairs { "x", "y" } do b:publish(topic, "", 1) end
    assert.equal("y", a:receive().topic)
    assert.equal("x", b:receive().topic)
    assert.equal("y", b:receive().topic)
  end)

  it("is checked for a will that is sent after it has gone", function()
    local broker <close> = with_own({ a = { { allow = "publish", topic = "ok" } } },
      { { allow = "subscribe" } })
    local watcher = broker:connect { id = "w" }
    watcher:subscribe("#", 1)
    for _, topic in ipairs { "ok", "not" } do
      local will = { topic = topic, payload = "x", will_delay_interval = 2 }
      broker:connect { id = "a", session_expiry_interval = 60, will = will }:drop()
      broker:advance(3)
    end
    assert.equal("ok", watcher:receive().topic)
    assert.is_nil(watcher:receive())
  end)

  it("refuses the login when it is wrong or too much, and says why", function()
    local many = {}
    for i = 1, 11 do many[i] = { allow = "publish", topic = "t" .. i } end
    local broker <close> = with_own({
      misspelt = { { allow = "publish" }, { alow = "publish" } },
      filter = { { allow = "publish", topic = { "a", "b/#/c" } } },
      type = "all",
      many = many,
      product = { { allow = "publish", topic = { "1", "2", "3", "4" }, user = { "1", "2", "3" } } },
      long = { { allow = "publish", topic = ("x"):rep(1100) } },
    }, nil, { limits = { client_rules = 10, client_rules_bytes = 1024 } })
    broker:capture()
    for id, problem in pairs {
      misspelt = "acl: rule 2: alow: unknown field of a rule (did you mean 'allow'?)",
      filter = "acl: rule 1: topic: 2: a # stands at the end only",
      type = 'acl: expected a list of rules, got "all"',
      many = "acl: 11 rules, and limits.client_rules is 10",
      product = "acl: 12 rules, and limits.client_rules is 10",
      long = "acl: 1120 bytes, and limits.client_rules_bytes is 1024",
    } do
      local client, refusal = broker:connect { id = id }
      assert.is_nil(client)
      assert.equal("not_authorized", refusal.reason)
      local text = table.concat(broker:lines(), "\n")
      assert.truthy(text:find("hook authenticate gave a wrong answer: " .. problem, 1, true), text)
      broker:advance(1)
    end
  end)

  it("goes together with settings of the client", function()
    local broker <close> = test.broker { hooks = { authenticate = function()
      return { acl = { { allow = "publish", topic = "x" } }, maximum_keep_alive = 7 }
    end } }
    local c = broker:connect { id = "c", keep_alive = 100 }
    assert.equal(7, broker:client("c").keep_alive)
    assert.equal("not_authorized", publishes(c, "y"))
  end)

  it("can be set later, and taken away", function()
    local broker <close> = test.broker { hooks = {
      authenticate = function() return true end,
      setup = function(client) client.acl = { { allow = "all", topic = "own/%c" } } end,
    } }
    local c = broker:connect { id = "c" }
    assert.equal("success", publishes(c, "own/c"))
    assert.equal("not_authorized", publishes(c, "x"))
    local object = broker:client "c"
    assert.is_nil(object.acl)
    object.acl = { { allow = "publish", topic = "x" } }
    assert.same({ "not_authorized", "success" }, { publishes(c, "own/c"), publishes(c, "x") })
    object.acl = {}
    assert.equal("not_authorized", publishes(c, "x"))
    local ok, problem = pcall(function() object.acl = { { alow = "all" } } end)
    assert.is_false(ok)
    assert.matches("spec/acl_client_spec.lua:%d+: client.acl: rule 1: alow: unknown field of a rule", problem)
    assert.equal("not_authorized", publishes(c, "x"))
    object.acl = nil
    assert.equal("success", publishes(c, "x"))
    c:disconnect()
    object.acl = { { allow = "all" } } -- no effect
  end)

  it("is logged as such", function()
    local broker <close> = with_own({ a = { { deny = "publish", topic = "x" } } }, nil,
      { log = { level = "info" } })
    broker:capture()
    local a = broker:connect { id = "a" }
    broker:lines()
    a:publish("x", "", 1)
    assert.truthy(broker:lines()[1]:find('acl="rule 1 of its own"', 1, true))
  end)
end)
