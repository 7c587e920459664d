local client = require "luamq.client"
local databases = require "spec.support.databases"
local fakes = require "luamq.fakes"
local inside = require "spec.support.inside"
local process = require "spec.support.process"
local test = require "luamq.test"

local any_port <const> = "tcp://127.0.0.1:0"

describe("the example redis_acl.lua", function()
  local function fake(sets, state)
    return function(command)
      state.asked = state.asked + 1
      if state.away then return nil, "redis at 127.0.0.1:6379: Connection refused", "connection" end
      assert.equal("SMEMBERS", command[1])
      return sets[command[2]] or {}
    end
  end

  it("asks for the rules of a user once, and again after a while", function()
    local sets, state = { ["acl:meter:publish"] = { "meters/#" } }, { asked = 0 }
    fakes.install("redis", fake(sets, state))
    finally(function() fakes.install("redis", nil) end)
    local broker <close> = test.broker "examples/redis_acl.lua"
    broker:capture()
    local meter = broker:connect { id = "m", username = "meter", password = "m3ter" }
    assert.equal("success", meter:publish("meters/1/power", "7", 1).reason)
    assert.equal("success", meter:publish("meters/2/power", "8", 1).reason)
    assert.equal("not_authorized", meter:publish("weather", "9", 1).reason)
    assert.equal("not_authorized", meter:subscribe("meters/#", 1).reason)
    assert.equal(2, state.asked)
    sets["acl:meter:publish"] = { "weather" }
    assert.equal("not_authorized", meter:publish("weather", "9", 1).reason)
    broker:advance(10)
    assert.equal("success", meter:publish("weather", "9", 1).reason)
    assert.equal(4, state.asked)
  end)

  it("keeps what it knows while redis is away, and refuses who is not known", function()
    local state = { asked = 0 }
    fakes.install("redis", fake({ ["acl:meter:publish"] = { "#" } }, state))
    finally(function() fakes.install("redis", nil) end)
    local broker <close> = test.broker "examples/redis_acl.lua"
    broker:capture()
    local meter = broker:connect { id = "m", username = "meter", password = "m3ter" }
    assert.equal("success", meter:publish("a", "1", 1).reason)
    state.away = true
    broker:advance(10)
    assert.equal("success", meter:publish("a", "2", 1).reason)
    local viewer = broker:connect { id = "v", username = "viewer", password = "v1ewer" }
    assert.equal("unspecified_error", viewer:subscribe("a", 0).reason)
  end)

  it("works with a real server", function()
    local server <close> = databases.redis()
    local broker <close> = process.broker { "examples/redis_acl.lua", any_port, tostring(server.port) }
    local cli = { "redis-cli", "-p", tostring(server.port), "sadd", "acl:viewer:subscribe", "meters/+/power" }
    process.output(cli)
    local viewer <close> = assert(client.connect {
      port = broker.port, id = "v", username = "viewer", password = "v1ewer", version = "5" })
    assert.equal(1, viewer:subscribe("meters/1/power", 1))
    assert.equal("not_authorized", select(2, viewer:subscribe("weather", 1)))
  end)
end)

describe("the example postgres_auth.lua", function()
  local hash

  setup(function()
    local broker <close> = inside.start ""
    hash = broker:run "return assert(luamq.password.hash('wonder', { cost = 1 }))"
  end)

  it("asks for a user once, and compares the password each time", function()
    local asked = 0
    fakes.install("postgres", function(sql, parameters)
      asked = asked + 1
      assert.matches("from users where name = $1", sql, 1, true)
      if parameters[1] == "lost" then return nil, "connection refused", "connection" end
      return parameters[1] == "alice" and { { hash = hash } } or {}
    end)
    finally(function() fakes.install("postgres", nil) end)
    local broker <close> = test.broker "examples/postgres_auth.lua"
    broker:capture()
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

  it("works with a real server", function()
    local server <close> = databases.postgres()
    local uri = ("postgresql://admin:secret@127.0.0.1:%d/postgres"):format(server.port)
    do
      local filler <close> = inside.start(("db = require 'luamq.postgres'.new { uri = %q }"):format(uri))
      filler:run(([[
        assert(db:query "create table users (name text primary key, hash text not null, \z
          disabled boolean not null default false)")
        assert(db:query("insert into users values ('alice', $1, false), ('eve', $1, true)", %q))]])
        :format(hash))
    end
    local broker <close> = process.broker { "examples/postgres_auth.lua", any_port, uri }
    local refused = "bad_user_name_or_password"
    for name, expected in pairs { alice = "success", eve = refused, bob = refused } do
      local one, message = client.connect {
        port = broker.port, id = name, username = name, password = "wonder", version = "5" }
      assert.equal(expected, message or "success")
      if one then one:disconnect() end
    end
  end)
end)
