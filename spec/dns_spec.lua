local fakes = require "luamq.fakes"
local hook_runner = require "spec.support.hook_runner"
local test = require "luamq.test"

describe("luamq.dns", function()
  local runner

  setup(function() runner = hook_runner.start 'dns = require "luamq.dns"' end)
  teardown(function() assert.equal(0, (runner:stop())) end)

  local function lookup(...) return runner:run("return dns.lookup(...)", ...) end
  local function reverse(...) return runner:run("return dns.reverse(...)", ...) end

  it("finds the addresses of this machine in its file of hosts", function()
    assert.same({ "127.0.0.1" }, (lookup("localhost", "a")))
    local found = {}
    for _, address in ipairs(lookup "localhost") do found[address] = true end
    assert.is_true(found["127.0.0.1"])
  end)

  it("answers an address with itself", function()
    assert.same({ "192.0.2.1" }, (lookup "192.0.2.1"))
    assert.same({ "2001:db8::1" }, (lookup("2001:DB8:0::1", "aaaa")))
    assert.equal("not_found", select(3, lookup("192.0.2.1", "aaaa")))
  end)

  it("says that there is no such name", function()
    local _, message, code = lookup "luamq.invalid"
    assert.same({ "the name is not known", "not_found" }, { message, code })
    for _, name in ipairs { "", ("a"):rep(2000), "a\0b" } do
      assert.same({ nil, "not a name", "not_found" }, { lookup(name) })
    end
  end)

  it("finds the name of an address", function()
    assert.equal("localhost", (reverse "127.0.0.1"))
    assert.equal("not_found", select(3, reverse "localhost"))
    assert.same({ nil, "not an address", "not_found" }, { reverse "" })
  end)

  it("answers many at once", function()
    local clients = {}
    for i = 1, 50 do
      clients[i] = runner:connect()
      runner:begin(clients[i], "return dns.lookup(...)", "127.0.0." .. i)
    end
    for i, c in ipairs(clients) do assert.same({ "127.0.0." .. i }, (runner:result(c))) end
  end)

  it("raises for a misuse", function()
    assert.error_matches(function() lookup("localhost", "mx") end,
      'dns.lookup: the family is "a", "aaaa" or "any", got "mx"', 1, true)
    assert.error_matches(function() lookup(1) end, "dns.lookup expects a name, got number", 1, true)
    assert.error_matches(function() reverse() end, "dns.reverse expects an address, got nil", 1, true)
  end)
end)

describe("luamq.dns in a test", function()
  local broker, results
  before_each(function()
    local dns = require "luamq.dns"
    broker = test.broker { hooks = { authenticate = function(client)
      results = { dns.lookup(client.id) }
      return true
    end } }
  end)
  after_each(function()
    fakes.install "dns"
    broker:stop()
  end)

  it("has no network", function()
    broker:connect { id = "localhost" }
    assert.same({ nil, "no network in a test: give a fake answer with broker:fake('dns', function ...)",
      "no_network" }, results)
  end)

  it("asks a fake", function()
    fakes.install("dns", function(request)
      if request.name == "known" and request.family == "any" then return { "192.0.2.1" } end
    end)
    broker:connect { id = "known" }
    assert.same({ { "192.0.2.1" } }, results)
    broker:connect { id = "other" }
    assert.same({ nil, "the fake for dns gives no answer", "failed" }, results)
  end)
end)
