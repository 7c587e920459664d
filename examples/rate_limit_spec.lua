local luamq = require "luamq"
local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."

describe("a rate limit by user", function()
  local broker

  before_each(function() broker = test.broker(here .. "/rate_limit.lua") end)
  after_each(function() broker:stop() end)

  local function connect(id, user) return assert(broker:connect { id = id, username = user }) end

  --- How many of `count` publishes were let through.
  local function publish(client, count)
    local fine = 0
    for _ = 1, count do
      local answer = client:publish("t", "x", 1)
      if answer and answer.reason == "success" then fine = fine + 1 end
    end
    return fine
  end

  it("lets a burst through, and then so many a second", function()
    local alice = connect("a", "alice")
    assert.equal(100, publish(alice, 120))
    assert.equal("quota_exceeded", alice:publish("t", "x", 1).reason)
    broker:advance(1)
    assert.equal(50, publish(alice, 60))
    broker:advance(60)
    assert.equal(100, publish(alice, 101))
  end)

  it("counts all clients of a user together, and users apart", function()
    local one, two, bob = connect("a1", "alice"), connect("a2", "alice"), connect("b", "bob")
    assert.equal(60, publish(one, 60))
    assert.equal(40, publish(two, 60))
    assert.equal(100, publish(bob, 100))
    assert.equal(20, broker:call(function()
      return luamq.counter("rate_limit_refused_total", { "user" }):value "alice"
    end))
  end)

  it("closes who does not stop", function()
    local alice = connect("a", "alice")
    publish(alice, 400)
    assert.is_true(alice.closed)
    assert.equal("message_rate_too_high", alice.disconnected.reason)
  end)

  it("forgets users that have gone quiet, and nobody gains by it", function()
    local alice = connect("a", "alice")
    publish(alice, 100)
    broker:advance(59)
    assert.equal(100, publish(alice, 100))
    broker:advance(1)
    assert.equal(50, publish(alice, 60))
  end)

  it("wants a user name", function()
    local client, why = broker:connect { id = "nobody" }
    assert.is_nil(client)
    assert.equal("bad_user_name_or_password", why.reason)
  end)
end)
