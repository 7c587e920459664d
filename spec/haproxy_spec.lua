-- HAProxy in front: the broker learns from it who has connected.
local certificates = require "spec.support.certificates"
local client = require "luamq.client"
local process = require "spec.support.process"

local folder = process.directory()

lazy_setup(function() certificates.make(folder) end)

lazy_teardown(function() process.remove(folder) end)

--- Starts a broker whose hook prints who comes.
local function serve(listener)
  local script = process.script(([[
    return {
      listeners = { { %s, proxy_protocol = true } },
      hooks = { authenticate = function(c) print("login", c.id, c.remote_address) return true end },
    }
  ]]):format(listener))
  local broker = process.broker { script }
  broker.port = math.tointeger(tonumber(broker.url:match "%d+$"))
  os.remove(script)
  return broker
end

-- HAProxy does not choose a port, but takes a socket that somebody else has bound.
local start_haproxy <const> = [==[
import os, socket, sys
s = socket.create_server(("127.0.0.1", 0))
s.set_inheritable(True)
os.environ["LISTENER"] = str(s.fileno())
print(s.getsockname()[1], flush=True)
os.execv("/usr/sbin/haproxy", ["haproxy", "-db", "-f", sys.argv[1]])
]==]

---@class spec.Haproxy
---@field port string
---@field process spec.Process
---@field config string
local Haproxy = {}
Haproxy.__index = Haproxy

--- Starts it in front of the broker; `header` is "send-proxy" or "send-proxy-v2".
local function haproxy(broker, header)
  local config = process.script(([[
defaults
  mode tcp
  timeout connect 10s
  timeout client 1m
  timeout server 1m
listen mqtt
  bind "fd@${LISTENER}"
  server luamq 127.0.0.1:%d %s
]]):format(broker.port, header))
  local it = process.start { "/usr/bin/python3", "-c", start_haproxy, config }
  local port = assert(it:line(), "it did not start")
  return setmetatable({ port = port, process = it, config = config }, Haproxy)
end

function Haproxy:__close()
  self.process:stop()
  os.remove(self.config)
end

--- Publishes by mosquitto's tool from an address of this machine; its exit status.
local function publish(proxy, source, ...)
  return (process.run { "mosquitto_pub", "-h", "127.0.0.1", "-p", proxy.port, "-A", source, "-i", "behind",
    "-t", "t", "-m", "x", "-q", "1", ... })
end

describe("behind HAProxy", function()
  for _, header in ipairs { "send-proxy", "send-proxy-v2" } do
    describe("with " .. header, function()
      it("a hook sees who has connected to it", function()
        local broker <close> = serve '"tcp://127.0.0.1:0"'
        local proxy <close> = haproxy(broker, header)
        for _, source in ipairs { "127.0.0.9", "127.0.0.10" } do
          assert.equal(0, publish(proxy, source))
          broker:expect("^login\tbehind\t" .. source .. ":%d+$")
        end
      end)

      it("a hook sees it over TLS too, which HAProxy only passes on", function()
        local listener = '"tls://127.0.0.1:0", certificate = "%s/server.pem", key = "%s/server.key"'
        local broker <close> = serve(listener:format(folder, folder))
        local proxy <close> = haproxy(broker, header)
        assert.equal(0, publish(proxy, "127.0.0.9", "--cafile", folder .. "/ca.pem"))
        broker:expect "^login\tbehind\t127.0.0.9:%d+$"
      end)

      it("nobody comes in where HAProxy is not trusted", function()
        local broker <close> = serve '"tcp://127.0.0.1:0", trusted_proxies = { "10.0.0.0/8" }'
        local proxy <close> = haproxy(broker, header)
        assert.are_not.equal(0, publish(proxy, "127.0.0.9"))
        broker:expect ' info connection closed remote=127.0.0.1:%d+ handshake="PROXY header" reason='
        assert.equal(0, broker:stop())
        assert.is_nil(broker.output:find("login\t", 1, true))
      end)
    end)
  end

  it("who comes past it, without a header, is refused", function()
    local broker <close> = serve '"tcp://127.0.0.1:0"'
    local direct, problem = client.connect { port = broker.port, id = "direct" }
    assert.same({ nil, "connection closed" }, { direct, problem })
    broker:expect ' info connection closed remote=127.0.0.1:%d+ handshake="PROXY header" reason='
    assert.equal(0, broker:stop())
    assert.is_nil(broker.output:find("login\t", 1, true))
  end)
end)
