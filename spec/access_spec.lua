local brokers = require "spec.support.brokers"
local test = require "luamq.test"

local connect, logged, problem = brokers.connect, brokers.logged, brokers.problem

--- What clients send, by what the rows below call it.
local logins = {
  nothing = {},
  right = { username = "ann", password = "secret" },
  ["another right one"] = { username = "bob", password = "" },
  ["a wrong password"] = { username = "ann", password = "Secret" },
  ["a longer password"] = { username = "ann", password = "secret\0" },
  ["an empty password"] = { username = "ann", password = "" },
  ["no password"] = { username = "ann" },
  ["an unknown name"] = { username = "eve", password = "secret" },
  ["an empty name"] = { username = "" },
  ["another's password"] = { username = "bob", password = "secret" },
}

local credentials = { ann = "secret", bob = "" }
local rights = { right = true, ["another right one"] = true }

local function all_of_them()
  local all = {}
  for name in pairs(logins) do all[name] = true end
  return all
end

--- Scripts, and which of the logins they let in.
local rows = {
  { name = "nothing at all, on loopback", script = {}, lets_in = all_of_them() },
  { name = "credentials", script = { credentials = credentials }, lets_in = rights },
  { name = "credentials, and anonymous = false", script = { credentials = credentials, anonymous = false },
    lets_in = rights },
  { name = "anonymous", script = { anonymous = true }, lets_in = { nothing = true } },
  { name = "credentials and anonymous", script = { credentials = credentials, anonymous = true },
    lets_in = { right = true, ["another right one"] = true, nothing = true } },
  { name = "credentials of nobody", script = { credentials = {} }, lets_in = {} },
  { name = "a hook", script = { hooks = { authenticate = function(_, name) return name == "eve" end } },
    lets_in = { ["an unknown name"] = true } },
  { name = "a hook, whatever else there is", lets_in = { ["an empty name"] = true },
    script = { credentials = credentials, anonymous = true,
      hooks = { authenticate = function(_, name) return name == "" end } } },
}

describe("who gets in", function()
  for _, row in ipairs(rows) do
    for login, options in pairs(logins) do
      local allowed = row.lets_in[login] or false
      it(("with %s: %s is %s"):format(row.name, login, allowed and "let in" or "refused"), function()
        local broker <close> = test.broker(row.script)
        broker:capture()
        local answer, client = connect(broker, options)
        if allowed then
          assert.same({ reason = "success", code = 0 }, answer)
          assert.equal("success", client:publish("t", "x", 1).reason)
        else
          assert.same({ reason = "not_authorized", code = 135 }, answer)
          assert.is_true(client.closed)
          assert.equal("not authorized", client.close_reason)
        end
        local stats = broker:stats()
        assert.same(allowed and { 1, 0, 1 } or { 0, 1, 0 },
          { stats.connects_accepted, stats.connects_refused, stats.sessions })
        assert.same({}, logged(broker)) -- below warn
      end)
    end
  end

  it("is the same in MQTT 3.1", function()
    local broker <close> = test.broker { credentials = credentials }
    local answer = connect(broker, { id = "c", version = 3, username = "ann", password = "wrong" })
    assert.same({ reason = "not_authorized", code = 5 }, answer)
    assert.is_not_nil(broker:connect { id = "c", version = 3, username = "ann", password = "secret" })
  end)

  it("refuses at the listeners what would be open to the network", function()
    local network = { "tcp://0.0.0.0:1883" }
    assert.matches("would let in everybody from the network",
      problem(function() test.broker { listeners = network } end), 1, true)
    for _, script in ipairs { { credentials = credentials }, { anonymous = true },
      { hooks = { authenticate = function() return true end } } } do
      script.listeners = network
      local broker <close> = test.broker(script)
      assert.equal(0, broker:stats().clients)
    end
    assert.matches("nobody could log in", problem(function() test.broker { anonymous = false } end), 1, true)
  end)

  it("never shows a password in what is logged", function()
    local broker <close> = test.broker { credentials = credentials, log = { level = "debug" } }
    broker:capture()
    connect(broker, { id = "c", username = "ann", password = "hunter2" })
    connect(broker, { id = "c", username = "ann", password = "secret" })
    local all = table.concat(broker:lines(), "\n")
    assert.matches("client refused id=c remote=memory username=ann", all, 1, true)
    assert.is_nil(all:find("hunter2", 1, true))
    assert.is_nil(all:find("secret", 1, true))
    for _, event in ipairs(broker:events()) do
      assert.is_nil((event.text or ""):find("hunter2", 1, true))
    end
  end)

  it("does not take the id of a client for its name", function()
    local broker <close> = test.broker { credentials = credentials }
    assert.equal("not_authorized", connect(broker, { id = "ann" }).reason)
  end)
end)

describe("a masked password", function()
  it("is no password: a dump is not served by mistake", function()
    local config = require "luamq.config"
    local script = { listeners = { "tcp://127.0.0.1:0" }, credentials = { joe = "secret" } }
    local dumped = config.dump(assert(config.check(script, "broker.lua")))
    local checked, text = config.check(assert(load(dumped))(), "dump.lua", dumped)
    assert.is_nil(checked)
    assert.matches("^dump.lua:%d+: credentials.joe: a masked password", text)
  end)
end)
