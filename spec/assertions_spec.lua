local luamq = require "luamq"
local match = require "luassert.match"
local test = require "luamq.test"

--- `fn` fails with a message that has this text.
local function fails(text, fn)
  local ok, message = pcall(fn)
  assert.is_false(ok)
  assert.matches(text, tostring(message), 1, true)
end

describe("an assertion", function()
  local broker, alice, bob

  before_each(function()
    broker = test.broker({ hooks = {
      authenticate = function(client)
        if client.id == "crash" then error "no database" end
        return client.id ~= "mallory", "banned"
      end,
      publish = function(_, message)
        if message.topic == "broken" then error "boom" end
        return not message.topic:find "^secret", "not_authorized", "not yours"
      end,
    } }, nil, { capture = true })
    alice, bob = broker:connect { id = "alice" }, broker:connect { id = "bob" }
    bob:subscribe({ "a/#", "secret/#" }, 1)
  end)

  after_each(function() broker:stop() end)

  describe("of deliveries", function()
    it("takes the message that it finds, and no other", function()
      alice:publish("a/1", "one", 1)
      alice:publish("a/2", "two")
      assert.delivered(bob, "a/2", "two")
      assert.is_not.delivered(bob, "a/2")
      assert.delivered(bob, "a/1", "one", { qos = 1, retain = false })
      assert.nothing_delivered(bob)
      assert.is_nil(bob:receive())
    end)

    it("leaves messages to be received, in order", function()
      for i = 1, 3 do alice:publish("a/" .. i, "x") end
      assert.delivered(bob, "a/2")
      alice:publish("a/4", "x")
      local topics = {}
      for _, message in ipairs(bob:receive_all()) do topics[#topics + 1] = message.topic end
      assert.same({ "a/1", "a/3", "a/4" }, topics)
    end)

    it("takes filters, functions, matchers and fields", function()
      alice:publish("a/b/c", "17", { qos = 1, user_properties = { { "k", "v" } } })
      assert.is_not.delivered(bob, "a/+")
      assert.delivered(bob, "a/+/c", function(payload) return tonumber(payload) > 10 end,
        { user_properties = { { "k", "v" } } })
      alice:publish("a/b", "x")
      assert.delivered(bob, match.matches "^a/", match.is_string())
      alice:publish("a/b", "")
      assert.delivered(bob)
    end)

    it("says what came instead", function()
      fails('expected delivery of "a/1" with "x" to bob, got: nothing',
        function() assert.delivered(bob, "a/1", "x") end)
      alice:publish("a/2", "y\n", 1)
      fails('expected delivery of "a/1" to bob, got:\n  "a/2" "y\\n" (qos 1)',
        function() assert.delivered(bob, "a/1") end)
      fails('expected no delivery to bob, got:\n  "a/2"', function() assert.nothing_delivered(bob) end)
      fails('expected no delivery of "a/2" to bob, got:\n  "a/2"',
        function() assert.not_delivered(bob, "a/2") end)
      for i = 1, 30 do alice:publish("a/" .. i, "x") end
      fails("(20 more)", function() assert.delivered(bob, "b") end)
      bob:drop()
      fails("Its connection has ended: ", function() assert.delivered(bob, "b") end)
      assert.nothing_delivered(alice)
      fails("expected a delivery to alice, got nothing",
        function() assert.is_not.nothing_delivered(alice) end)
    end)

    it("knows what is no client", function()
      fails("assert.delivered expects a client of luamq.test, got string",
        function() assert.delivered("bob", "a") end)
      fails("assert.nothing_delivered expects a client of luamq.test, got nil",
        function() assert.nothing_delivered(nil) end)
    end)
  end)

  describe("of answers", function()
    it("tells allowed from denied, and denied from failed", function()
      assert.allowed(alice:publish("a", "x", 1))
      assert.is_not.allowed(alice:publish("secret/a", "x", 1))
      assert.denied(alice:publish("secret/a", "x", 1))
      assert.denied(alice:publish("secret/a", "x", 1), "not_authorized")
      assert.is_not.denied(alice:publish("a", "x"))
      assert.is_not.denied(alice:publish("broken", "x", 1))
      fails('expected to be allowed, got: not_authorized, "not yours"',
        function() assert.allowed(alice:publish("secret/a", "x", 1)) end)
      fails("expected a denial, got: success", function() assert.denied(alice:publish("a", "x", 1)) end)
      fails('expected a denial with "banned", got: not_authorized',
        function() assert.denied(alice:publish("secret/a", "x", 1), "banned") end)
      fails("failed: hook error", function() assert.denied(alice:publish("broken", "x", 1)) end)
    end)

    it("sees that there is none", function()
      local waits <close> = test.broker { hooks = { publish = function()
        luamq.sleep(1)
        return true
      end } }
      local client = waits:connect()
      fails("expected to be allowed, but there is no answer: no answer",
        function() assert.allowed(client:publish("a", "x", 1)) end)
      fails("expected a denial, but there is no answer: no answer",
        function() assert.denied(client:publish("a", "x", 1)) end)
      fails("assert.denied expects an answer", function() assert.denied(client) end)
    end)

    it("is one of a login too", function()
      assert.refused(broker, { id = "mallory" }, "banned")
      assert.connected(broker:connect { id = "carol" })
      fails("expected dave to be refused, but it is let in",
        function() assert.refused(broker, { id = "dave" }) end)
      fails("failed: hook error", function() assert.refused(broker, { id = "crash" }) end)
      fails("expected a connection, but it was refused: banned",
        function() assert.connected(broker:connect { id = "mallory" }) end)
    end)
  end)

  it("of connections tells how one has ended", function()
    assert.connected(alice)
    assert.is_not.disconnected(alice)
    fails("expected alice to be disconnected, but it is connected",
      function() assert.disconnected(alice) end)
    local again = broker:connect { id = "alice" }
    assert.disconnected(alice)
    assert.disconnected(alice, "session_taken_over")
    assert.is_not.connected(alice)
    fails("told as session_taken_over", function() assert.disconnected(alice, "banned") end)
    fails("expected alice to be connected, but it is closed: ", function() assert.connected(alice) end)
    again:disconnect()
    assert.disconnected(again, "client disconnected")
  end)

  it("of the log finds lines and events, also those that were answered", function()
    alice:publish("broken", "x", 1)
    assert.is_true(#broker:lines() > 0)
    assert.same({}, broker:lines())
    assert.logged(broker, "hook publish: ")
    assert.logged(broker, "boom.*id=alice")
    assert.logged(broker, { event = "packet received", client = "alice", text = match.matches "broken" })
    assert.is_not.logged(broker, "(not a pattern")
    fails("expected { event = \"lost connection\" } in the log, got:",
      function() assert.logged(broker, { event = "lost connection" }) end)
    local silent <close> = test.broker {}
    fails("assert.logged needs broker:capture() before", function() assert.logged(silent, "x") end)
  end)
end)
