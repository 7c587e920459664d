--- Limits of remote addresses, and of the memory of the process, over real sockets.

local client_module = require "luamq.client"
local process = require "spec.support.process"

--- A broker with these limits, as Lua source.
local function serve(limits, more)
  local directory = process.directory()
  process.write(directory .. "/limited.lua",
    ('return { listeners = { "tcp://127.0.0.1:0" }, limits = { %s }, %s }'):format(limits, more or ""))
  local broker = process.broker { directory .. "/limited.lua" }
  process.remove(directory)
  return broker
end

describe("limits.connections_per_address", function()
  it("closes one too many of an address at once, with a line", function()
    local broker <close> = serve "connections_per_address = 2"
    local function connect(id) return client_module.connect { port = broker.port, id = id } end
    local first, second <close> = assert(connect "1"), assert(connect "2")
    assert.is_nil((connect "3"))
    assert.matches('info connection closed remote=127.0.0.1:%d+ '
      .. 'reason="too many connections from the address"$', broker:expect "too many")
    first:disconnect()
    broker:expect "client closed id=1"
    local third <close> = assert(connect "3")
    assert.is_true(third:ping())
    assert.is_true(second:ping())
    assert.equal(0, broker:stop())
  end)
end)

describe("limits.connect_rate_per_address", function()
  it("closes what comes faster, with a line", function()
    local broker <close> = serve "connect_rate_per_address = 1"
    for i = 1, 2 do assert(client_module.connect { port = broker.port, id = tostring(i) }) end
    local refused
    repeat refused = not client_module.connect { port = broker.port, id = "more" } until refused
    assert.matches('info connection closed remote=127.0.0.1:%d+ reason="the address connects too often"$',
      broker:expect "too often")
    assert.equal(0, broker:stop())
  end)
end)

describe("limits.connect_rate", function()
  it("lets further ones wait, and refuses nobody", function()
    local broker <close> = serve "connect_rate = 20"
    local list = {}
    for i = 1, 40 do
      list[i] = assert(client_module.open { port = broker.port })
      assert(list[i]:send_raw("\x10\x0e\0\4MQTT\4\2\0\0\0\2" .. ("%02d"):format(i)))
    end
    for i = 1, 40 do assert.equal("Connack", assert(list[i]:receive_packet(20)).type) end
    assert.matches('error engine error error="accepting pauses: more connections a second than '
      .. 'limits.connect_rate"$', broker:expect "accepting pauses")
    assert.equal(0, broker:stop())
    local _, told = broker.output:gsub("accepting pauses", "")
    assert.is_true(told <= 5, told)
  end)
end)

describe("limits.failed_logins", function()
  it("delays further logins of the address, with a line", function()
    local broker <close> = serve("failed_logins = 2, login_delay = 0.05, login_delay_maximum = 0.1",
      'credentials = { u = "right" }')
    local function log_in(password)
      return client_module.connect { port = broker.port, id = "a", username = "u", password = password }
    end
    for _ = 1, 2 do assert.is_nil((log_in "wrong")) end
    assert.is_nil((log_in "wrong"))
    assert.matches('info client held back remote=127.0.0.1:%d+ error="failed logins: it has to wait"$',
      broker:expect "held back")
    local client <close> = assert(log_in "right")
    assert.is_true(client:ping())
    assert.is_nil((log_in "wrong")) -- free again
    assert.equal(0, broker:stop())
    assert.equal(2, select(2, broker.output:gsub("held back", "")))
    assert.is_nil(broker.output:find("right", 1, true))
  end)
end)

describe("limits.memory_limit", function()
  it("is compared with what the process uses: above it nobody is let in", function()
    local broker <close> = serve 'memory_limit = "64K"'
    for _ = 1, 3 do assert.is_nil((client_module.connect { port = broker.port, id = "a" })) end
    assert.matches('error engine error error="memory limit reached: %d+ of 0 MiB"$',
      broker:expect "memory limit")
    assert.equal(0, broker:stop())
    assert.equal(1, select(2, broker.output:gsub("memory limit reached", "")))
  end)
end)
