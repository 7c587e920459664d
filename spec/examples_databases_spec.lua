local client = require "luamq.client"
local databases = require "spec.support.databases"
local inside = require "spec.support.inside"
local process = require "spec.support.process"

local any_port <const> = "tcp://127.0.0.1:0"

describe("the example redis_acl.lua", function()
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
