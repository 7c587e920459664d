local luamq = require "luamq"
local test = require "luamq.test"

local function wait(text)
  if (tonumber(text) or 0) > 0 then luamq.sleep(tonumber(text)) end
end

--- A broker whose hooks wait as long as the message, or the user name, says.
local function waiting_broker()
  return test.broker({ hooks = {
    authenticate = function(_, username)
      wait(username)
      return username ~= "0.5", "banned"
    end,
    publish = function(_, message)
      wait(message.payload)
      return message.topic ~= "no", "quota_exceeded", "wait"
    end,
    subscribe = function(_, subscription)
      luamq.sleep(1)
      return subscription.topic ~= "no", "not_authorized"
    end,
  } }, nil, { capture = true })
end

local none = { n = 2, [2] = "no answer" }

for _, version in ipairs { "3.1", "3.1.1", "5" } do
  describe("an answer that takes its time, MQTT " .. version, function()
    local broker, client

    before_each(function()
      broker = waiting_broker()
      broker.version = version
      client = broker:connect { id = "c" }
    end)

    after_each(function() broker:stop() end)

    it("is there later, each in its turn", function()
      assert.same(none, table.pack(client:publish("yes", "1", 1)))
      assert.same(none, table.pack(client:publish("no", "0", 1)))
      assert.same(none, table.pack(client:publish("yes", "0", 1)))
      assert.same(none, table.pack(client:publish("no", "0.5", 0)))
      assert.same(none, table.pack(client:publish("yes", "", 0)))
      assert.same(none, table.pack(client:answer()))
      broker:advance(1)
      assert.allowed(client:answer())
      assert.denied(client:answer(), "quota_exceeded")
      assert.allowed(client:answer())
      assert.same(none, table.pack(client:answer()))
      broker:advance(0.5)
      assert.denied(client:answer(), "quota_exceeded")
      assert.allowed(client:answer())
      assert.allowed(client:publish("yes", "", 0))
      local ok, problem = pcall(function() client:answer() end)
      assert.is_false(ok)
      assert.matches("^spec/test_answers_spec.lua:%d+: all requests have been answered$", problem)
    end)

    it("comes to QoS 2 when the message is released", function()
      client:publish("yes", "1", 2)
      client:publish("yes", "1", 1)
      broker:advance(1)
      assert.same(none, table.pack(client:answer()))
      broker:advance(1)
      assert.allowed(client:answer())
      assert.allowed(client:answer())
    end)

    it("is told of a publish whose client has gone: its hook runs to its end", function()
      client:publish("no", "1", 1)
      client:drop()
      broker:advance(1)
      assert.denied(client:answer(), "quota_exceeded")
    end)

    it("may be one to a subscription or its end", function()
      assert.same(none, table.pack(client:subscribe("a", 1)))
      broker:advance(1)
      assert.equal(1, client:answer().qos)
      client:subscribe({ "a", "no" }, 1)
      broker:advance(2)
      local answer = client:answer()
      assert.denied(answer, "not_authorized")
      assert.equal(2, #answer.codes)
      assert.allowed(client:unsubscribe "a")
    end)

    it("may be one to a login", function()
      local nobody, answer, late = broker:connect { id = "late", username = "1" }
      assert.is_nil(nobody)
      assert.equal("no_answer", answer.reason)
      local _, _, refused = broker:connect { id = "refused", username = "0.5" }
      broker:advance(1)
      assert.allowed(late:answer())
      assert.connected(late)
      assert.is_false(late.session_present)
      assert.denied(refused:answer(), "banned")
      assert.disconnected(refused)
    end)

    it("never comes when the connection has ended", function()
      client:subscribe "a"
      client:drop()
      broker:advance(10)
      assert.same({ n = 2, [2] = "connection closed" }, table.pack(client:answer()))
    end)

    it("does not come when the hook fails", function()
      client:publish("yes", "100", 1)
      broker:advance(10)
      local answer = client:answer()
      assert.is_not.allowed(answer)
      assert.equal("hook timeout", answer.error)
    end)
  end)
end

describe("an answer of MQTT 5", function()
  it("has what the broker tells beside its reason", function()
    local broker <close> = test.broker { hooks = {
      publish = function()
        local more = { { "retry", "10" } }
        return false, { reason = "quota_exceeded", reason_string = "later", user_properties = more }
      end,
    } }
    local answer = broker:connect():publish("a", "", 1)
    assert.same({ "quota_exceeded", "later", { { "retry", "10" } } },
      { answer.reason, answer.reason_string, answer.user_properties })
  end)
end)

describe("a connection of a test", function()
  it("has what the test says of it", function()
    local seen = {}
    local broker <close> = test.broker { hooks = { authenticate = function(client)
      seen = { client.transport, client.certificate, client.psk_identity, client.tls_version,
        client.credentials, client.remote_address }
      return true
    end } }
    local given = { common_name = "meter-7", dns = { "m7" } }
    broker:connect { certificate = given, remote_address = "192.0.2.1:7" }
    local certificate = seen[2]
    assert.same({ "tls", nil, nil, "TLSv1.3", nil, "192.0.2.1:7" },
      { seen[1], nil, seen[3], seen[4], seen[5], seen[6] })
    assert.same({ "meter-7", "CN=meter-7", { "m7" }, {} },
      { certificate.common_name, certificate.subject, certificate.dns, certificate.uri })
    broker:connect { credentials = { uid = 1000, gid = 100, pid = 1 } }
    assert.same({ "unix", uid = 1000 }, { seen[1], uid = seen[5].uid })
    broker:connect { psk_identity = "meter", transport = "wss", tls_cipher = "x" }
    assert.same({ "wss", "meter" }, { seen[1], seen[3] })
    broker:open({ transport = "ws" }):connect()
    assert.equal("ws", seen[1])
    broker:connect()
    assert.same({ "memory", n = 6, [6] = "memory" }, { seen[1], n = 6, [6] = seen[6] })
    assert.is_nil(seen[2] or seen[3] or seen[4] or seen[5])
  end)

  it("is refused where it is said when it is not right", function()
    local broker <close> = test.broker {}
    local function raises(text, options)
      local ok, problem = pcall(function() broker:connect(options) end)
      assert.is_false(ok)
      assert.matches("^spec/test_answers_spec.lua:%d+: ", problem)
      assert.matches(text, problem, 1, true)
    end
    raises("certificate has no field \"comon_name\" (did you mean 'common_name'?)",
      { certificate = { comon_name = "a" } })
    raises("the connection.psk_identity: expected string, got 1", { psk_identity = 1 })
    raises("unknown transport \"tcpp\" (did you mean 'tcp'?)", { transport = "tcpp" })
    raises("credentials.uid: expected integer, got \"root\"", { credentials = { uid = "root" } })
    raises('remote_address is an IP address with a port', { remote_address = "localhost" })
  end)
end)

describe("a hook that is called by hand", function()
  it("takes plain tables, and finds the module as ever", function()
    local hooks = {}
    function hooks.publish(client, message)
      luamq.log.debug("publish", { id = client.id })
      return luamq.match("t/" .. client.ref.tenant .. "/#", message.topic)
    end
    assert.is_true(hooks.publish({ id = "a", ref = { tenant = "x" } }, { topic = "t/x/1", payload = "" }))
    assert.is_false(hooks.publish({ id = "a", ref = { tenant = "x" } }, { topic = "t/y/1", payload = "" }))
    assert.has_error(function() luamq.sleep(1) end)
  end)
end)
