-- Run by `make test`, or by `luamq --test examples/postgres_auth_spec.lua`: no network, no waiting. A
-- function answers in the place of PostgreSQL.
local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local script = here .. "/postgres_auth.lua"

-- Of "wonder".
local hash <const> = "$y$j75$GEcR/CpQOSDRGPy7yVPCu/$CoesERrd9.MkTR3sXejOm98XMOJAaomrubks6412n/4"

describe("logins from PostgreSQL", function()
  it("asks for a user once, and compares the password each time", function()
    local asked = 0
    local broker <close> = test.broker(script, nil, { capture = true })
    broker:fake("postgres", function(sql, parameters)
      asked = asked + 1
      assert.matches("from users where name = $1", sql, 1, true)
      if parameters[1] == "lost" then return nil, "connection refused", "connection" end
      return parameters[1] == "alice" and { { hash = hash } } or {}
    end)
    local function reason(name, password)
      local options = { id = name .. password, username = name, password = password, version = 5 }
      return broker:open():connect(options).reason
    end
    assert.equal("success", reason("alice", "wonder"))
    assert.equal("bad_user_name_or_password", reason("alice", "w"))
    assert.equal(1, asked)
    assert.equal("bad_user_name_or_password", reason("bob", "b"))
    assert.equal("bad_user_name_or_password", reason("bob", "b"))
    assert.equal(2, asked)
    assert.equal("server_unavailable", reason("lost", "b"))
    broker:advance(30)
    assert.equal("success", reason("alice", "wonder"))
    assert.equal(4, asked)
  end)
end)
