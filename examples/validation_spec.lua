local luamq = require "luamq"
local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local script = here .. "/validation.lua"

local GOOD <const> = '{"celsius": 21.5, "at": "2026-01-31T12:00:00Z"}'

describe("payloads that are checked", function()
  local broker, client, listener

  before_each(function()
    broker = test.broker(script)
    client, listener = broker:connect { id = "sensor" }, broker:connect { id = "listener" }
    listener:subscribe("#")
  end)
  after_each(function() broker:stop() end)

  local function publish(topic, payload) return client:publish(topic, payload, 1) end

  it("pass when they fit", function()
    assert.equal("success", publish("sensors/7/temperature", GOOD).reason)
    assert.equal("success", publish("doors/front/state", '"open"').reason)
    assert.equal("success", publish("batches/a/b", "[1, 2, 3]").reason)
    assert.equal("success", publish("batches", "[]").reason)
    assert.equal(4, #listener:receive_all())
  end)

  it("are refused when they do not, and the client is told why", function()
    local wrong = {
      ["payload.at is missing"] = { "sensors/7/temperature", '{"celsius": 1}' },
      ["payload.celsius is above 150"] = { "sensors/7/temperature", (GOOD:gsub("21.5", "151")) },
      ["payload.celsius is not a number"] = { "sensors/7/temperature", (GOOD:gsub("21.5", '"warm"')) },
      ["payload.at has the wrong form"] = { "sensors/7/temperature", (GOOD:gsub("Z", "")) },
      ["payload.x is not expected"] = { "sensors/7/temperature", (GOOD:gsub("}", ', "x": 1}')) },
      ["payload is not a object"] = { "sensors/7/temperature", "[1]" },
      ["payload is none of open, closed"] = { "doors/front/state", '"ajar"' },
      ["payload[2] is not a number"] = { "batches/1", '[1, "2"]' },
      ["longer than 4096 bytes"] = { "batches/1", "[" .. ("1,"):rep(2100) .. "1]" },
      ["no JSON: Expected value but found T_END at character 1"] = { "doors/front/state", "" },
    }
    for text, message in pairs(wrong) do
      local answer = publish(message[1], message[2])
      assert.equal("payload_format_invalid", answer.reason, text)
      assert.equal(text, answer.reason_string)
    end
    assert.is_nil(listener:receive())
    broker:call(function()
      local invalid = luamq.counter("invalid_payloads_total", { "filter" })
      assert.equal(2, invalid:value "batches/#")
      assert.equal(2, invalid:value "doors/+/state")
      assert.equal(6, invalid:value "sensors/+/temperature")
    end)
  end)

  it("of other topics are nobody's business", function()
    assert.equal("success", publish("chat", "not JSON at all").reason)
  end)

  it("may be empty where a retained message is taken away", function()
    assert.equal("success", client:publish("doors/front/state", "", 1, true).reason)
  end)
end)

describe("its hook by itself", function()
  it("takes plain tables for client and message", function()
    local publish = dofile(script).hooks.publish
    local message = { topic = "doors/1/state", payload = '"closed"', retain = false }
    assert.is_true(publish({ id = "a" }, message))
    message.payload = "{"
    local allowed, reason = publish({ id = "a" }, message)
    assert.is_false(allowed)
    assert.equal("payload_format_invalid", reason)
  end)
end)
