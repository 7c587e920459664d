local json = require "cjson.safe"
local luamq = require "luamq"
local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local script = here .. "/presence.lua"

describe("presence", function()
  local broker, watcher

  before_each(function()
    broker = test.broker(script)
    watcher = broker:connect { id = "watcher" }
    watcher:subscribe("presence/+", 1)
    watcher:receive_all()
  end)
  after_each(function() broker:stop() end)

  --- What was told of a client since the last look.
  local function told(id)
    local list = {}
    for _, message in ipairs(watcher:receive_all()) do
      if message.topic == "presence/" .. id then list[#list + 1] = json.decode(message.payload) end
    end
    return list
  end

  it("tells who comes, and from where", function()
    broker:connect { id = "a", remote_address = "192.0.2.1:5000" }
    local list = told "a"
    assert.equal(1, #list)
    assert.is_true(list[1].online)
    assert.equal("192.0.2.1:5000", list[1].address)
  end)

  it("tells who has gone, and why, after some patience", function()
    local client = broker:connect { id = "a" }
    told "a"
    client:drop()
    broker:advance(4.9)
    assert.same({}, told "a")
    broker:advance(0.2)
    local list = told "a"
    assert.is_false(list[1].online)
    assert.is_string(list[1].reason)
    assert.equal(1, broker:call(function() return luamq.gauge("clients_online"):value() end))
  end)

  it("tells nothing of who comes back at once, nor of a take-over", function()
    local client = broker:connect { id = "a" }
    told "a"
    client:drop()
    broker:advance(2)
    broker:connect { id = "a" }
    broker:connect { id = "a" }
    broker:advance(60)
    assert.same({}, told "a")
    assert.equal(2, broker:call(function() return luamq.gauge("clients_online"):value() end))
  end)

  it("is there for who asks later", function()
    broker:connect { id = "a" }
    local late = broker:connect { id = "late" }
    late:subscribe("presence/a")
    assert.is_true(json.decode(late:receive().payload).online)
  end)

  it("tells of who left while the script was replaced", function()
    local client = broker:connect { id = "a" }
    client:drop()
    told "a"
    assert(broker:reload(script))
    assert.equal("left during a reload", told("a")[1].reason)
    broker:advance(60)
    assert.same({}, told "a")
  end)

  it("is told by nobody else, and not of ids that are no level", function()
    assert.equal("not_authorized", watcher:publish("presence/a", "{}", 1).reason)
    local client, why = broker:connect { id = "a/b" }
    assert.is_nil(client)
    assert.equal("client_identifier_not_valid", why.reason)
  end)
end)
