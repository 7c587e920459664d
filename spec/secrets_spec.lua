--- No text of the log has the password that a hook was given, whatever the hook does with it.

local luamq = require "luamq"
local brokers = require "spec.support.brokers"

local PASSWORD <const> = "correct horse"

local mistakes = {
  ["an error"] = function(password) error("no user with " .. password .. " and " .. password) end,
  ["an error of Lua"] = function(password) return assert(load(password)) end,
  ["an object with __tostring"] = function(password)
    error(setmetatable({}, { __tostring = function() return password end }))
  end,
  ["a reason"] = function(password) return false, password end,
  ["a name of a setting"] = function(password) return { [password] = 1 } end,
  ["a value of a setting"] = function(password) return { inflight_messages = password } end,
}

describe("a login hook that gives away the password by", function()
  local function log_of(mistake, waits)
    local broker <close> = brokers.start({
      authenticate = function(_, _, password)
        if waits then luamq.sleep(1) end
        return mistake(password)
      end,
    }, { log = { level = "debug" } })
    local client = broker:open()
    client:connect { id = "c", username = "u", password = PASSWORD }
    broker:advance(1)
    local lines = table.concat(brokers.logged(broker), "\n")
    assert.matches("error [^\n]*hook authenticate", lines)
    return lines
  end

  for name, mistake in pairs(mistakes) do
    it(name .. " does not tell it to the log", function()
      local lines = log_of(mistake, false)
      assert.is_nil(lines:find(PASSWORD, 1, true))
      assert.matches("***", lines, 1, true)
    end)

    it(name .. " does not either when it has waited", function()
      local lines = log_of(mistake, true)
      assert.is_nil(lines:find(PASSWORD, 1, true))
      assert.matches("***", lines, 1, true)
    end)
  end
end)
