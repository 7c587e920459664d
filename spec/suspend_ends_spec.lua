--- How hooks that wait end: by a stop, and what their to-be-closed variables may do; where misuse is told.

local luamq = require "luamq"
local brokers = require "spec.support.brokers"

--- Calls `fn` when the variable goes.
local function guard(fn) return setmetatable({}, { __close = fn }) end

local function log_of(broker) return table.concat(brokers.logged(broker), "\n") end

describe("a login that waits when the broker stops", function()
  local function refused(version)
    local broker <close> = brokers.start({
      start = function() luamq.after(1, function() luamq.stop(5) end) end,
      authenticate = function()
        luamq.sleep(3)
        return true
      end,
    }, { log = { level = "info" } })
    local client = broker:open()
    client:connect { id = "late", version = version }
    broker:advance(1)
    assert.matches("client refused id=late remote=memory reason=closing", log_of(broker), 1, true)
    assert.equal(0, broker:stats().connections)
    return client:raw()
  end

  it("is refused", function() assert.equal("\x20\x02\0\3", refused "3.1.1") end)

  it("is refused with server_unavailable in MQTT 5", function()
    assert.equal("\x20\x03\0\x88\0", refused "5")
  end)
end)

describe("what a hook that is cancelled has to close", function()
  local function cancelled(close)
    local broker = brokers.start {
      subscribe = function(client, subscription)
        local _ <close> = guard(function() close(client, subscription) end)
        luamq.sleep(10)
        return true
      end,
    }
    local client = broker:connect { id = "c" }
    client:subscribe("a/b")
    client:drop()
    broker:advance(2)
    return broker
  end

  it("may look at what the hook was given", function()
    local seen
    local broker <close> = cancelled(function(c, subscription) seen = c.id .. subscription.topic end)
    assert.equal("ca/b", seen)
    assert.equal(1, broker:stats().hooks_cancelled)
  end)

  it("is told in the log when it fails", function()
    local broker <close> = cancelled(function() error("cannot close") end)
    local lines = log_of(broker)
    assert.matches("hook subscribe, when it was cancelled: [^\n]*_spec.lua:%d+: cannot close id=c", lines)
    assert.equal(1, broker:stats().hook_errors)
  end)

  it("is stopped when it runs too long", function()
    local broker <close> = cancelled(function() while true do end end)
    assert.matches("error hook subscribe, when it was cancelled: ", log_of(broker), 1, true)
    assert.equal(1, broker:stats().hooks_cancelled)
  end)

  it("may look at it after an error as well", function()
    local seen
    local broker <close> = brokers.start {
      publish = function(_, message)
        local _ <close> = guard(function() seen = message.topic end)
        error("no")
      end,
    }
    broker:connect { id = "c" }:publish("a/b", "")
    assert.equal("a/b", seen)
  end)
end)

describe("a call that cannot suspend", function()
  it("is told with the line of the script, not of a module", function()
    local http = require "luamq.http"
    for name, fn in pairs {
      ["luamq.http: "] = function() http.get("http://127.0.0.1/") end,
      ["luamq.password.hash: "] = function() luamq.password.hash("x") end,
      ["luamq.sleep: "] = function() luamq.sleep(1) end,
      ["luamq.spawn: "] = function() luamq.spawn(print) end,
    } do
      local problem = brokers.problem(fn)
      assert.equal(brokers.place(fn) .. ": " .. name, problem:sub(1, #brokers.place(fn) + 2 + #name))
    end
  end)
end)
