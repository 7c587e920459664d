local config = require "luamq.config"
local luamq = require "luamq"
local test = require "luamq.test"

local function start(hooks, more)
  local first = hooks[1] or hooks
  first.authenticate = function() return true end
  return test.broker({ hooks = hooks }, more)
end

local function published(client, topic) return client:publish(topic, "x", 1).reason end

describe("luamq.on_topics", function()
  it("asks a publish hook about its topics only", function()
    local seen = {}
    local broker <close> = start {
      publish = luamq.on_topics({ "cmd/#", "a/+/b" }, function(client, message)
        seen[#seen + 1] = client.id .. " " .. message.topic
        return message.topic ~= "cmd/no"
      end),
    }
    local c = broker:connect { id = "c" }
    for _, topic in ipairs { "cmd", "cmd/x", "x", "a/x/b", "a/b", "x/cmd/x" } do
      assert.equal("success", published(c, topic))
    end
    assert.equal("not_authorized", published(c, "cmd/no"))
    assert.same({ "c cmd", "c cmd/x", "c a/x/b", "c cmd/no" }, seen)
  end)

  it("denies what is elsewhere with otherwise = false", function()
    local broker <close> = start {
      publish = luamq.on_topics("cmd/#", function() return true end, { otherwise = false }),
      subscribe = luamq.on_topics("cmd/#", function() return true end, { otherwise = false }),
    }
    local c = broker:connect { id = "c" }
    assert.equal("success", published(c, "cmd/x"))
    assert.equal("not_authorized", published(c, "x"))
    assert.equal("success", c:subscribe("cmd/x").reason)
    assert.equal("not_authorized", c:subscribe("x").reason)
  end)

  it("has percent signs as they are, and many filters", function()
    local filters = {}
    for i = 1, 100 do filters[i] = "t/" .. i .. "/%u/#" end
    local asked = 0
    local broker <close> = start { publish = luamq.on_topics(filters, function()
      asked = asked + 1
      return true
    end) }
    local c = broker:connect { id = "c", username = "ann" }
    for _, topic in ipairs { "t/7/%u/x", "t/100/%u", "t/7/ann/x", "t/101/%u" } do published(c, topic) end
    assert.equal(2, asked)
  end)

  it("asks subscribe and unsubscribe about filters that have anything in common", function()
    local seen = {}
    local function note(name)
      return function(_, subject)
        seen[#seen + 1] = name .. " " .. (type(subject) == "string" and subject or subject.topic)
        return true
      end
    end
    local broker <close> = start {
      subscribe = luamq.on_topics({ "cmd/#" }, note "subscribe"),
      unsubscribe = luamq.on_topics({ "cmd/#" }, note "unsubscribe"),
    }
    local c = broker:connect { id = "c" }
    for _, filter in ipairs { "cmd/x", "#", "+/x", "x/#", "$share/g/cmd/y", "$SYS/#", "+" } do
      assert.equal(1, c:subscribe(filter, 1).qos)
      assert.equal("success", c:unsubscribe(filter).reason)
    end
    local expected = {}
    for _, filter in ipairs { "cmd/x", "#", "+/x", "cmd/y", "+" } do
      expected[#expected + 1] = "subscribe " .. filter
      expected[#expected + 1] = "unsubscribe " .. filter
    end
    assert.same(expected, seen)
  end)

  it("leaves a granted QoS as it was asked for", function()
    local broker <close> = start { subscribe = luamq.on_topics("x", function() return 0 end) }
    local c = broker:connect { id = "c" }
    assert.equal(0, c:subscribe("x", 2).qos)
    assert.equal(2, c:subscribe("y", 2).qos)
  end)

  it("asks dequeue about its topics only", function()
    local broker <close> = start {
      dequeue = luamq.on_topics({ "a/#" }, function(_, message)
        return { payload = message.payload:upper() }
      end),
    }
    local c = broker:connect { id = "c" }
    c:subscribe("#", 1)
    for _, topic in ipairs { "a/b", "b" } do c:publish(topic, "text", 1) end
    assert.equal("TEXT", c:receive().payload)
    assert.equal("text", c:receive().payload)
  end)

  it("is as if it were not there in a list of tables", function()
    local asked = {}
    local function answers(name, answer)
      return function()
        asked[#asked + 1] = name
        return answer
      end
    end
    local broker <close> = start {
      { publish = luamq.on_topics("a/#", answers("first", nil)) },
      { publish = luamq.on_topics({ "a/b", "b/#" }, answers("second", false)) },
      { publish = luamq.on_topics("c", answers("third", true)) },
    }
    broker:capture()
    local c = broker:connect { id = "c" }
    for topic, expected in pairs {
      ["a/b"] = { "not_authorized", "first", "second" },
      ["a/x"] = { "not_authorized", "first" }, -- no answer
      ["b/x"] = { "not_authorized", "second" },
      c = { "success", "third" },
      other = { "success" },
    } do
      asked = {}
      local reason = published(c, topic)
      assert.same(expected, { reason, table.unpack(asked) }, topic)
    end
  end)

  it("never takes the place of a hook that is about everything", function()
    local broker <close> = start {
      { publish = luamq.on_topics("a", function() return true end) },
      { publish = function(_, message) return message.topic ~= "no" end },
    }
    local c = broker:connect { id = "c" }
    assert.equal("not_authorized", published(c, "no"))
    assert.equal("success", published(c, "yes"))
  end)

  it("may suspend, and goes on to the next that is about the topic", function()
    local broker <close> = start {
      { publish = luamq.on_topics("a", function() luamq.sleep(1) end) },
      { publish = luamq.on_topics("b", function() return true end) },
      { publish = luamq.on_topics("a", function() return false, "quota_exceeded" end) },
    }
    local c = broker:connect { id = "c" }
    assert.is_nil((c:publish("a", "x", 1)))
    broker:advance(1)
    assert.equal(1, broker:stats().messages_refused)
  end)

  it("is called like a function in a spec of one hook", function()
    local hook = luamq.on_topics({ "cmd/#" }, function(client, message)
      return client.id == "op", message
    end)
    local message = { topic = "cmd/x" }
    assert.same({ true, message }, { hook({ id = "op" }, message) })
    assert.is_false((hook({ id = "x" }, message)))
    assert.is_true(hook({ id = "x" }, { topic = "other" }))
    assert.is_false((hook({ id = "x" }, "+/x")))
    assert.equal("luamq.on_topics: cmd/#", tostring(hook))
    local strict = luamq.on_topics("a", function() return true end, { otherwise = false })
    assert.is_false(strict({}, { topic = "b" }))
  end)

  it("raises for what is wrong with it, where it is called", function()
    local function fn() end
    for problem, arguments in pairs {
      ["luamq.on_topics expects a list of topic filters"] = { {}, fn },
      ["luamq.on_topics: filter 2: not a valid topic filter"] = { { "a", "b/#/c" }, fn },
      ["luamq.on_topics: filter 1: is no string"] = { { 7 }, fn },
      ["luamq.on_topics expects a function behind the filters"] = { "a", "b" },
      ["luamq.on_topics has no option 'otherwse' (did you mean 'otherwise'?)"] =
        { "a", fn, { otherwse = true } },
      ["luamq.on_topics: otherwise is true or false"] = { "a", fn, { otherwise = 1 } },
    } do
      local line
      local ok, message = pcall(function()
        line = debug.getinfo(1, "l").currentline + 1
        luamq.on_topics(table.unpack(arguments))
      end)
      assert.is_false(ok)
      assert.equal(("spec/on_topics_spec.lua:%d: %s"):format(line, problem), message)
    end
  end)

  it("is for hooks that are about topics", function()
    local _, message = config.check({ listeners = { "tcp://127.0.0.1" }, hooks = {
      authenticate = luamq.on_topics("a", function() return true end) } })
    assert.matches("hooks.authenticate: luamq.on_topics is for publish, dequeue, subscribe and unsubscribe$",
      message)
  end)

  it("is shown by --dump", function()
    local checked = assert(config.check { listeners = { "tcp://127.0.0.1" }, hooks = {
      publish = luamq.on_topics({ "a/#", "b" }, function() return true end) } })
    assert.matches("%-%- publish: spec/on_topics_spec.lua:%d+, for a/# b only\n", config.dump(checked))
  end)
end)
