-- paho over TLS, WebSocket and both; over TCP it is in clients_spec.lua.
local certificates = require "spec.support.certificates"
local process = require "spec.support.process"

local folder = process.directory()

lazy_setup(function() certificates.make(folder) end)

lazy_teardown(function() process.remove(folder) end)

local tls = ('certificate = "%s/server.pem", key = "%s/server.key"'):format(folder, folder)

describe("paho", function()
  for _, listener in ipairs {
    '"tls://127.0.0.1:0", ' .. tls, '"ws://127.0.0.1:0/mqtt"', '"wss://127.0.0.1:0/mqtt", ' .. tls,
  } do
    for _, scenario in ipairs { "each_qos", "many_in_flight", "will", "retained", "session" } do
      it("over " .. listener:match "%l+" .. ": " .. scenario, function()
        local script = process.script(([[
          return { listeners = { { %s } }, log = { level = "off" }, backend = { full_queue_wait = 20 } }
        ]]):format(listener))
        local broker <close> = process.broker { script }
        os.remove(script)
        local status, output = process.run({ "/usr/bin/python3", "spec/support/paho_client.py", broker.url,
          scenario, folder .. "/ca.pem" }, { errors = true })
        assert.same({ 0, "" }, { status, output })
      end)
    end
  end
end)
