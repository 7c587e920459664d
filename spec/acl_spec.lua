local test = require "luamq.test"

--- A broker with these rules, which answers every name.
local function with_rules(acl, more)
  local script = { acl = acl, hooks = { authenticate = function() return true end } }
  for key, value in pairs(more or {}) do script[key] = value end
  return test.broker(script)
end

--- The operations that get an answer from the broker: what they are refused with, or the QoS, or "success".
local function publishes(client, topic, qos, retain)
  return client:publish(topic, "x", qos or 1, retain).reason
end

local function subscribes(client, filter, qos)
  local answer = client:subscribe(filter, qos or 1)
  return answer.reason == "success" and answer.qos or answer.reason
end

describe("acl", function()
  for _, version in ipairs { "3.1.1", "5" } do
    describe("in MQTT " .. version, function()
      local function connect(broker, id, username)
        return assert(broker:connect { id = id, username = username, version = version })
      end

      it("decides by the first rule that applies, and denies behind the last one", function()
        local broker <close> = with_rules {
          { deny = "publish", topic = "a/b" },
          { allow = "publish", topic = "a/#" },
          { allow = "subscribe", topic = "a/+" },
        }
        local c = connect(broker, "c")
        assert.equal("not_authorized", publishes(c, "a/b"))
        assert.equal("success", publishes(c, "a/c"))
        assert.equal("success", publishes(c, "a"))
        assert.equal("not_authorized", publishes(c, "b"))
        assert.equal(1, subscribes(c, "a/c"))
        assert.equal("not_authorized", subscribes(c, "b"))
        local stats = broker:stats()
        assert.equal(2, stats.acl_denied_publish)
        assert.equal(2, stats.messages_refused)
        assert.equal(1, stats.acl_denied_subscribe)
        assert.equal(0, stats.acl_denied_deliver)
      end)

      it("refuses with every QoS, without routing or retaining", function()
        local broker <close> = with_rules {
          { allow = "subscribe", topic = "#" }, { allow = "publish", topic = "open" },
        }
        local c = connect(broker, "c")
        c:subscribe("#", 2)
        for qos = 1, 2 do
          assert.equal("not_authorized", publishes(c, "closed", qos, true))
          assert.equal("success", publishes(c, "open", qos))
          assert.equal("open", c:receive().topic)
        end
        c:publish("closed", "x", 0, true)
        assert.is_nil(c:receive())
        assert.same({}, broker:retained "#")
        assert.equal(3, broker:stats().acl_denied_publish)
        assert.is_false(c.closed)
      end)
    end)
  end

  it("knows users and clients, exactly, by how they begin, and those without a name", function()
    local broker <close> = with_rules {
      { allow = "publish", user = "ann", topic = "user" },
      { allow = "publish", user = { "dev-*", "ops" }, topic = "users" },
      { allow = "publish", user = false, topic = "nobody" },
      { allow = "publish", user = "*", topic = "somebody" },
      { allow = "publish", client = "one", topic = "client" },
      { allow = "publish", client = "many-*", user = "ann", topic = "both" },
    }
    local topics = { "user", "users", "nobody", "somebody", "client", "both" }
    local function allowed(id, username)
      local client <close>, list = broker:connect { id = id, username = username }, {}
      for _, topic in ipairs(topics) do
        if publishes(client, topic) == "success" then list[#list + 1] = topic end
      end
      return list
    end
    assert.same({ "user", "somebody", "client" }, allowed("one", "ann"))
    assert.same({ "nobody", "client" }, allowed("one"))
    assert.same({ "users", "somebody" }, allowed("two", "dev-7"))
    assert.same({ "users", "somebody" }, allowed("two", "dev-"))
    assert.same({ "users", "somebody" }, allowed("two", "ops"))
    assert.same({ "somebody" }, allowed("two", "ops-1"))
    assert.same({ "somebody" }, allowed("two", ""))
    assert.same({ "somebody" }, allowed("many-1", "bob"))
    assert.same({ "user", "somebody", "both" }, allowed("many-1", "ann"))
    assert.same({ "somebody" }, allowed("many", "dev"))
  end)

  it("puts client id and user name in the place of %c and %u", function()
    local broker <close> = with_rules {
      { allow = "all", topic = "t/%u/#" },
      { allow = "publish", topic = { "c/%c", "x/dev-%c-of-%u/+", "100%%/%u" } },
    }
    local c = broker:connect { id = "c1", username = "ann" }
    for _, topic in ipairs { "t/ann", "t/ann/x/y", "c/c1", "x/dev-c1-of-ann/z", "100%/ann" } do
      assert.equal("success", publishes(c, topic), topic)
    end
    for _, topic in ipairs { "t/bob/x", "t", "t/ann2", "c/c2", "c/c1/x", "x/dev-c1-of-bob/z",
      "x/dev-c1-of-ann", "t/%u/x", "100%%/ann" } do
      assert.equal("not_authorized", publishes(c, topic), topic)
    end
    assert.equal(1, subscribes(c, "t/ann/#"))
    assert.equal(1, subscribes(c, "t/ann/+/x"))
    for _, filter in ipairs { "t/+/x", "t/#", "t/+", "+/ann/#", "#", "c/c1" } do
      assert.equal("not_authorized", subscribes(c, filter), filter)
    end
  end)

  it("lets no name be more than one level of itself", function()
    local broker <close> = with_rules {
      { allow = "all", topic = { "t/%u/#", "c/%c/#", "%u/#", "%c/#", "d-%c/#" } },
    }
    local tries = { "t/a/b/x", "t/x", "t/+/x", "t/#", "t//x", "c/x", "c//x", "c/+/x", "c/#", "/x", "#", "+/x",
      "$SYS/#", "$SYS/broker/x", "t/a/b", "t/a", "d-/x" }
    for _, name in ipairs { "a/b", "+", "#", "a/#", "+/x", "/", "$SYS/x" } do
      local c = broker:connect { id = name, username = name }
      for _, topic in ipairs(tries) do
        assert.equal("not_authorized", subscribes(c, topic), name .. ": " .. topic)
        if not topic:find "[+#]" then
          assert.equal("not_authorized", publishes(c, topic), name .. ": " .. topic)
        end
      end
    end
    local empty = broker:connect { id = "x", username = "" }
    assert.equal("not_authorized", publishes(empty, "t//x"))
    assert.equal("not_authorized", publishes(empty, "/x"))
    local nobody = broker:connect { id = "y" }
    assert.equal("not_authorized", publishes(nobody, "t//x"))
    assert.equal("success", publishes(nobody, "c/y/x"))
    local system = broker:connect { id = "$SYS", username = "$SYS" }
    assert.equal("not_authorized", subscribes(system, "$SYS/#"))
    assert.equal("success", publishes(system, "t/$SYS/x"))
  end)

  it("allows a filter of which it covers everything, and denies one of which it covers anything", function()
    local broker <close> = with_rules {
      { deny = "subscribe", topic = "t/secret/#" },
      { allow = "subscribe", topic = "t/+" },
      { allow = "subscribe", topic = "u/#" },
    }
    local c = broker:connect { id = "c" }
    for _, filter in ipairs { "t/a", "u/#", "u/+/x", "u", "$share/group/u/#" } do
      assert.equal(1, subscribes(c, filter), filter)
    end
    for _, filter in ipairs { "t/#", "t/+/x", "#", "+/+", "t/secret", "t/secret/x",
      "$share/group/t/#", "t/+" } do
      assert.equal("not_authorized", subscribes(c, filter), filter)
    end
  end)

  it("tells one filter from others with eq", function()
    local broker <close> = with_rules {
      { deny = "subscribe", eq = { "#", "a/%c" } },
      { allow = "subscribe", topic = "#" },
    }
    local c = broker:connect { id = "c" }
    assert.equal("not_authorized", subscribes(c, "#"))
    assert.equal("not_authorized", subscribes(c, "a/c"))
    assert.equal("not_authorized", subscribes(c, "$share/g/#"))
    for _, filter in ipairs { "+/#", "a/#", "a/+" } do assert.equal(1, subscribes(c, filter), filter) end
  end)

  it("takes the QoS as the highest that is allowed and the lowest that is denied", function()
    local broker <close> = with_rules {
      { deny = "publish", topic = "low/#", qos = 1 },
      { deny = "subscribe", topic = "no2/#", qos = 2 },
      { allow = "all", topic = "one/#", qos = 1 },
      { allow = "publish", topic = "low/#" },
      { allow = "subscribe", topic = { "no2/#", "two/#" } },
    }
    local c = broker:connect { id = "c" }
    assert.equal("not_authorized", publishes(c, "low/x", 2))
    assert.equal("not_authorized", publishes(c, "low/x", 1))
    c:publish("low/x", "", 0)
    assert.equal(2, broker:stats().acl_denied_publish)
    assert.equal("success", publishes(c, "one/x", 1))
    assert.equal("not_authorized", publishes(c, "one/x", 2))
    assert.equal(1, subscribes(c, "one/x", 2))
    assert.equal(0, subscribes(c, "one/x", 0))
    assert.equal(2, subscribes(c, "two/x", 2))
    assert.equal(1, subscribes(c, "no2/x", 1))
    assert.equal("not_authorized", subscribes(c, "no2/x", 2))
  end)

  it("tells retained messages from others", function()
    local broker <close> = with_rules {
      { deny = "publish", topic = "a", retain = true },
      { allow = "publish", topic = "b", retain = true },
      { allow = "publish", topic = "a" },
    }
    local c = broker:connect { id = "c" }
    assert.equal("not_authorized", publishes(c, "a", 1, true))
    assert.equal("success", publishes(c, "a", 1, false))
    assert.equal("success", publishes(c, "b", 1, true))
    assert.equal("not_authorized", publishes(c, "b", 1, false))
  end)

  it("reaches what begins with $ only where a rule names it, or no topic", function()
    local acl = { { deny = "publish", topic = { "#", "+/x" } }, { allow = "publish", topic = "$app/#" },
      { allow = "subscribe", topic = "#" } }
    local broker <close> = with_rules(acl)
    local c = broker:connect { id = "c" }
    assert.equal("success", publishes(c, "$app/x"))
    assert.equal("not_authorized", publishes(c, "$other/x"))
    assert.equal("not_authorized", publishes(c, "x"))
    assert.equal("not_authorized", subscribes(c, "$SYS/#"))
    assert.equal(1, subscribes(c, "#"))
    acl[#acl + 1] = { allow = "all" }
    local open <close> = with_rules(acl)
    c = open:connect { id = "c" }
    assert.equal(1, subscribes(c, "$SYS/#"))
    assert.equal("success", publishes(c, "$other/x"))
    assert.equal("not_authorized", publishes(c, "$SYS/x")) -- nobody may
  end)

  it("checks wills", function()
    local broker <close> = with_rules {
      { allow = "subscribe", topic = "#" }, { allow = "publish", topic = "will/%c", qos = 1 },
    }
    local watcher = broker:connect { id = "watcher" }
    watcher:subscribe("#", 2)
    for _, topic in ipairs { "will/a", "will/b" } do
      local a = broker:connect { id = "a", will = { topic = topic, payload = "gone", qos = 1 } }
      a:drop()
    end
    assert.equal("will/a", watcher:receive().topic)
    assert.is_nil(watcher:receive())
    assert.equal(1, broker:stats().acl_denied_publish)
    broker:connect { id = "d", will = { topic = "will/d", payload = "late", will_delay_interval = 5 },
      session_expiry_interval = 60 }:drop()
    assert.is_nil(watcher:receive())
    broker:advance(6)
    assert.equal("will/d", watcher:receive().topic)
  end)

  it("denies everything when it is empty", function()
    local broker <close> = with_rules {}
    local c = broker:connect { id = "c" }
    assert.equal("not_authorized", publishes(c, "a"))
    assert.equal("not_authorized", subscribes(c, "a"))
  end)

  it("lets the script publish what it wants", function()
    local broker <close> = with_rules { { allow = "subscribe" } }
    local c = broker:connect { id = "c" }
    c:subscribe("#", 1)
    assert.is_true(broker:publish("a", "x"))
    assert.equal("a", c:receive().topic)
  end)
end)

describe("deliver rules", function()
  local function topics(client)
    local list = {}
    for i, message in ipairs(client:receive_all()) do list[i] = message.topic .. " " .. message.qos end
    return list
  end

  it("are asked for each subscriber, and lower the QoS", function()
    local broker <close> = with_rules {
      { allow = "all", user = "root" },
      { allow = "subscribe", topic = "#" },
      { deny = "deliver", topic = "t/secret", user = "guest" },
      { allow = "deliver", topic = "t/%u" },
      { allow = "deliver", topic = "t/low", qos = 0 },
      { allow = "deliver", topic = "t/secret" },
    }
    local root = broker:connect { id = "root", username = "root" }
    local ann = broker:connect { id = "a", username = "ann" }
    local guest = broker:connect { id = "g", username = "guest" }
    for _, client in ipairs { root, ann, guest } do client:subscribe("t/#", 2) end
    for _, topic in ipairs { "t/secret", "t/ann", "t/guest", "t/low", "t/none" } do
      root:publish(topic, "x", 2)
    end
    assert.same({ "t/secret 2", "t/ann 2", "t/guest 2", "t/low 2", "t/none 2" }, topics(root))
    assert.same({ "t/secret 2", "t/ann 2", "t/low 0" }, topics(ann))
    assert.same({ "t/guest 2", "t/low 0" }, topics(guest))
    assert.equal(5, broker:stats().acl_denied_deliver)
    assert.equal(3, broker:session("g").dropped)
    assert.equal(0, broker:stats().acl_denied_publish)
  end)

  it("hold for retained messages and what the script publishes", function()
    local broker <close> = with_rules {
      { allow = { "publish", "subscribe" } },
      { deny = "deliver", retain = true }, { allow = "deliver", topic = "a" },
    }
    local c = broker:connect { id = "c" }
    c:publish("a", "x", 1, true)
    c:subscribe("#", 1)
    assert.is_nil(c:receive())
    broker:publish("b", "x")
    assert.is_nil(c:receive())
    c:publish("a", "y", 1, true)
    assert.equal("y", c:receive().payload)
  end)

  it("are not there where no rule names deliver", function()
    local broker <close> = with_rules {
      { deny = "all", user = "guest" }, { allow = { "publish", "subscribe" }, topic = "t/#" },
    }
    local c = broker:connect { id = "c", username = "ann" }
    c:subscribe("t/#", 1)
    c:publish("t/x", "y", 1)
    assert.equal("t/x", c:receive().topic)
    assert.equal(0, broker:stats().acl_denied_deliver)
  end)

  it("take thousands of refused messages off a queue", function()
    local acl = { { allow = { "publish", "subscribe" } }, { allow = "deliver", topic = "b" } }
    local broker <close> = with_rules(acl,
      { backend = { session_queue_size = 10000 } })
    local options = { id = "c", clean_start = false, session_expiry_interval = 100 }
    local c = broker:connect(options)
    c:subscribe("#", 1)
    c:disconnect()
    for _ = 1, 5000 do broker:publish("a", "x", { qos = 1 }) end
    broker:publish("b", "x", { qos = 1 })
    c = broker:connect(options)
    assert.equal("b", c:receive().topic)
    assert.equal(5000, broker:stats().acl_denied_deliver)
    assert.equal(0, broker:session("c").queued)
  end)
end)

describe("acl and hooks", function()
  it("both have to allow, and rules see what the hook has made of a message", function()
    local broker <close> = test.broker {
      acl = { { allow = "publish", topic = "to/#", qos = 1 }, { allow = "subscribe", topic = "to/#" } },
      hooks = {
        authenticate = function() return true end,
        publish = function(_, message)
          if message.topic == "from" then return { topic = "to/x" } end
          if message.topic == "to/high" then return { qos = 2 } end
          if message.topic == "to/away" then return { topic = "away" } end
          if message.topic == "dropped" then return "drop" end
          return message.topic ~= "to/no"
        end,
        subscribe = function(_, subscription)
          if subscription.topic == "from" then return { topic = "to/y" } end
          if subscription.topic == "to/away" then return { topic = "away" } end
          return subscription.topic ~= "to/no" and 1
        end,
      },
    }
    local c = broker:connect { id = "c" }
    for topic, reason in pairs {
      from = "success", ["to/a"] = "success", ["to/no"] = "not_authorized", ["to/away"] = "not_authorized",
      other = "not_authorized", dropped = "success", ["to/high"] = "not_authorized",
    } do
      assert.equal(reason, publishes(c, topic), topic)
    end
    for filter, answer in pairs {
      from = 2, ["to/a"] = 1, ["to/no"] = "not_authorized", ["to/away"] = "not_authorized",
      other = "not_authorized",
    } do
      assert.equal(answer, subscribes(c, filter, 2), filter)
    end
    assert.equal(3, broker:stats().acl_denied_publish)
    assert.equal(2, broker:stats().acl_denied_subscribe)
  end)

  it("come before deliver rules, which see what dequeue has made of a message", function()
    local broker <close> = test.broker {
      acl = { { allow = { "publish", "subscribe" } }, { allow = "deliver", topic = "new" } },
      hooks = {
        authenticate = function() return true end,
        dequeue = function(_, message) return message.topic ~= "old" or { topic = "new" } end,
      },
    }
    local c = broker:connect { id = "c" }
    c:subscribe("#", 1)
    c:publish("old", "x", 1)
    c:publish("other", "x", 1)
    assert.equal("new", c:receive().topic)
    assert.is_nil(c:receive())
  end)
end)

describe("a refusal by rules", function()
  local script = [[
return {
  listeners = { "tcp://127.0.0.1" }, acl = {
    { allow = "subscribe", topic = "t/#" },
    { allow = "deliver", topic = "t/a" },
    { deny = "publish",
      topic = "t/no" },
    { allow = "publish", topic = "t/#" },
  },
  hooks = { authenticate = function() return true end },
}
]]

  local function lines(broker)
    local list = {}
    for i, line in ipairs(broker:lines()) do list[i] = line:gsub("^%S+ ", ""):gsub(" remote=memory", "") end
    return list
  end

  it("is logged with the number of the rule and its place, at most ten times a second", function()
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write(script)
    file:flush()
    local broker <close> = test.broker(path, { log = { level = "info" } })
    os.remove(path)
    broker:capture()
    local c = broker:connect { id = "c", username = "ann" }
    c:subscribe("t/#", 1)
    broker:lines()
    c:publish("t/no", "secret", 1)
    c:publish("x", "secret", 1)
    c:subscribe("x/#")
    c:publish("t/b", "secret", 1)
    assert.same({
      "info publish refused id=c username=ann topic=t/no qos=1 retain=false reason=not_authorized by=rule "
        .. 'acl="rule 3" place=' .. path .. ":5",
      "info publish refused id=c username=ann topic=x qos=1 retain=false reason=not_authorized by=rule "
        .. 'acl="no rule applies"',
      "info subscribe refused id=c username=ann filter=x/# qos=0 reason=not_authorized by=rule "
        .. 'acl="no rule applies"',
      "info delivery refused id=c username=ann topic=t/b qos=1 retain=false reason=not_authorized by=rule "
        .. 'acl="no rule applies"',
    }, lines(broker))
    for _ = 1, 30 do c:publish("t/no", "x", 1) end
    assert.equal(8, #lines(broker))
    broker:advance(1)
    c:publish("t/no", "x", 1)
    assert.truthy(lines(broker)[1]:find("suppressed=22", 1, true))
  end)
end)
