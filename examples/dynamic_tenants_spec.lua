local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local script = here .. "/dynamic_tenants.lua"

describe("tenants that come and go", function()
  local broker, admin

  before_each(function()
    broker = test.broker(script)
    admin = assert(broker:connect { id = "admin", username = "admin", password = "secret" })
  end)
  after_each(function() broker:stop() end)

  local function connect(tenant, password, id)
    return broker:connect { id = id or tenant .. "-1", username = tenant, password = password }
  end

  local function set(tenant, password) return admin:publish("admin/tenants/" .. tenant, password, 1) end

  it("are let in when the administrator has made them, and not before", function()
    assert.is_nil(connect("acme", "their password"))
    assert.equal("success", set("acme", "their password").reason)
    assert.is_truthy(connect("acme", "their password"))
    assert.is_nil(connect("acme", "another", "acme-2"))
    assert.is_nil(connect("other", "their password"))
  end)

  it("see their own topics only", function()
    set("acme", "a")
    set("beta", "b")
    local acme, beta = connect("acme", "a"), connect("beta", "b")
    acme:subscribe("#")
    beta:subscribe("#")
    acme:publish("news", "hello", 1)
    assert.equal("news", acme:receive().topic)
    assert.is_nil(beta:receive())
    assert.equal("client_identifier_not_valid", select(2, connect("acme", "a", "beta-2")).reason)
  end)

  it("lose their clients when they end", function()
    set("acme", "a")
    set("beta", "b")
    local acme, beta = connect("acme", "a"), connect("beta", "b")
    set("acme", "")
    assert.is_true(acme.closed)
    assert.equal("the tenant has ended", acme.disconnected.reason_string)
    assert.is_false(beta.closed)
    assert.is_nil(connect("acme", "a"))
  end)

  it("stay over a reload", function()
    set("acme", "a")
    local acme = connect("acme", "a")
    assert(broker:reload(script))
    assert.is_false(acme.closed)
    acme:subscribe("x")
    acme:publish("x", "still here", 1)
    assert.equal("still here", acme:receive().payload)
    assert.is_truthy(connect("acme", "a", "acme-2"))
  end)

  it("are nobody else's to make", function()
    set("acme", "a")
    local acme = connect("acme", "a")
    acme:publish("admin/tenants/evil", "x", 1)
    assert.is_nil(connect("evil", "x"))
    assert.equal("topic_name_invalid", set("a/b", "x").reason)
    assert.equal("not_authorized", admin:subscribe("#").reason)
  end)
end)
