-- WebSocket listeners, and a client made by hand.
local process = require "spec.support.process"

local script = [[
return {
  listeners = {
    { "ws://127.0.0.1:0/mqtt" },
    { "ws://127.0.0.1:0/mqtt", trusted_proxies = { "127.0.0.1" } },
  },
}
]]

describe("WebSocket", function()
  local broker, path, log, ports

  setup(function()
    path, log, ports = process.script(script), os.tmpname(), {}
    broker = process.broker({ path }, { log = log })
    ports[1] = broker.url:match "^ws://.*:(%d+)/mqtt$"
    ports[2] = broker:expect("^listening on "):match "^listening on ws://.*:(%d+)/mqtt$"
  end)

  teardown(function()
    broker:stop()
    os.remove(path)
    os.remove(log)
  end)

  --- Runs one of the clients to its end, which it must reach in silence.
  local function run(words)
    local status, output = process.run(words, { errors = true })
    assert.same({ 0, "" }, { status, output })
  end

  local function scenario(name, port)
    run { "/usr/bin/python3", "spec/support/websocket_client.py", port or ports[1], name }
  end

  --- Whether a line of the log has all of these texts.
  local function is_logged(...)
    for line in io.lines(log) do
      local found = true
      for _, text in ipairs { ... } do found = found and line:find(text, 1, true) end
      if found then return true end
    end
    return false
  end

  it("carries packets in frames of any size", function() scenario "packets_in_frames" end)
  it("carries large messages, and answers a close", function() scenario "large_messages" end)

  it("ends with a code and a reason when frames are wrong", function()
    scenario "faults"
    assert.is_true(is_logged('reason="text frame"'))
    assert.is_true(is_logged('reason="frame without a mask"'))
  end)

  it("refuses requests with an answer and a reason", function()
    scenario "refusals"
    for _, reason in ipairs { "HTTP request that is no upgrade", "upgrade of a path that is not served",
      "upgrade without the sub-protocol mqtt", "origin not allowed", "HTTP request too long" } do
      assert.is_true(is_logged("handshake=WebSocket", ('reason="%s"'):format(reason)))
    end
  end)

  it("lets browsers in that come from the host itself", function() scenario "same_origin" end)

  it("takes the address that a trusted proxy forwards, and no other's", function()
    scenario("forwarded", ports[2])
    assert.is_true(is_logged("client connected", "remote=192.0.2.77:0"))
    scenario("forwarded", ports[1])
    assert.is_true(is_logged("client connected", "remote=127.0.0.1:"))
  end)
end)
