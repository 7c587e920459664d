--- Servers that clients are tried against: luamq itself, and mosquitto where it is installed (`make bench`
--- does; `make test` does not, for Debian's package takes port 1883 from then on). Each opens the same
--- listeners, by these names:
---
---     tcp  tls  required (tls, with a client's certificate)  elsewhere (tls, another host's certificate)
---     psk (tls, with pre-shared keys)  ws  wss
---
---     local server = servers.mosquitto.start(folder)   -- with what certificates.make has made
---     server.ports.tls, server:stop()

local process = require "spec.support.process"

local servers = {}

--- The identity "meter" and its key.
servers.psk_identity, servers.psk = "meter", "00112233445566778899aabbccddeeff"

---@class spec.ServerKind
---@field name string
---@field available fun(): boolean
---@field picky boolean?  its WebSockets look at the path and at the origin
---@field large table<string, integer>           bytes of a message that its listeners carry in no time
---@field start fun(folder: string): spec.Server

---@class spec.Server
---@field ports table<string, integer>
---@field process spec.Process
local Server = {}
Server.__index = Server

function Server:stop() return self.process:stop() end

-- mosquitto ----------------------------------------------------------------------------------

-- It cannot choose ports itself, and does not start when its first listener is a WebSocket's.
local mosquitto_order = { "tcp", "tls", "required", "elsewhere", "psk", "ws", "wss" }

local function mosquitto_identity(name)
  return ("certfile %s.pem\nkeyfile %s.key\n"):format(name, name)
end

local mosquitto <const> = "/usr/sbin/mosquitto"

local mosquitto_options = {
  tcp = "",
  tls = mosquitto_identity "server",
  required = mosquitto_identity "server" .. "cafile ca.pem\nrequire_certificate true\n",
  elsewhere = mosquitto_identity "elsewhere",
  psk = "psk_file psk\npsk_hint luamq\n",
  ws = "protocol websockets\n",
  wss = "protocol websockets\n" .. mosquitto_identity "server",
}

--- Ports that nobody else gets: below those that the system gives to who asks for any, where each process
--- looks in a place of its own. A process holds them, without listening, so that a server that sets
--- SO_REUSEADDR can take them.
---@param count integer
---@return integer[] ports
---@return spec.Process holder  to be killed when the server listens
function servers.hold_ports(count)
  local holder = process.start { "python3", "-uc", ([[
import itertools, os, signal, socket
sockets = []
for port in itertools.cycle(range(10000, 32000)):
    if not sockets and port < 10000 + os.getpid() %% 1375 * 16: continue
    s = socket.socket()
    try: s.bind(("127.0.0.1", port))
    except OSError: continue
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sockets.append(s)
    if len(sockets) == %d: break
print(*(s.getsockname()[1] for s in sockets))
signal.pause()]]):format(count) }
  local ports = {}
  for port in holder:line():gmatch "%d+" do ports[#ports + 1] = math.tointeger(tonumber(port)) end
  return ports, holder
end

local function mosquitto_settings(ports)
  local lines = { "user root\nallow_anonymous true\nlog_dest stderr\npersistence false\n" }
  for _, name in ipairs(mosquitto_order) do
    lines[#lines + 1] = ("listener %d 127.0.0.1\n%s"):format(ports[name], mosquitto_options[name])
  end
  return table.concat(lines)
end

local function start_mosquitto(folder)
  local held, holder = servers.hold_ports(#mosquitto_order)
  local ports = {}
  for i, name in ipairs(mosquitto_order) do ports[name] = held[i] end
  process.write(folder .. "/psk", ("%s:%s\n"):format(servers.psk_identity, servers.psk))
  process.write(folder .. "/mosquitto.conf", mosquitto_settings(ports))
  local words = { mosquitto, "-c", "mosquitto.conf" }
  local self = process.start(words, "2>&1", { directory = folder })
  local running
  for line in self.line, self do
    running = line:find(" running$") ~= nil
    if running then break end
  end
  holder:signal "KILL"
  holder:wait()
  assert(running, "mosquitto did not start:\n" .. self.output)
  return setmetatable({ ports = ports, process = self }, Server)
end

---@type spec.ServerKind
servers.mosquitto = {
  name = "mosquitto",
  available = function()
    local file <close> = io.open(mosquitto)
    return file ~= nil
  end,
  large = { tls = 1 << 20, ws = 20000, wss = 20000 }, -- its WebSockets take some KiB every 50 ms
  start = start_mosquitto,
}

-- luamq --------------------------------------------------------------------------------------

local luamq_script <const> = [[
local server = { certificate = "server.pem", key = "server.key" }
local function listener(url, options)
  local all = { url }
  for name, value in pairs(options or {}) do all[name] = value end
  return all
end
return {
  listeners = {
    "tcp://127.0.0.1:0",
    listener("tls://127.0.0.1:0", server),
    { "tls://127.0.0.1:0", certificate = "server.pem", key = "server.key", ca = "ca.pem" },
    { "tls://127.0.0.1:0", certificate = "elsewhere.pem", key = "elsewhere.key" },
    { "tls://127.0.0.1:0" },
    "ws://127.0.0.1:0/mqtt",
    listener("wss://127.0.0.1:0/mqtt", server),
  },
  hooks = {
    psk = function(identity) return identity == "IDENTITY" and "KEY" end,
  },
  backend = { full_queue_wait = 20 }, -- a client that gets no time of the machine misses nothing
  log = { level = "off" },
}
]]

---@type spec.ServerKind
servers.luamq = {
  name = "luamq",
  picky = true,
  available = function()
    local script = process.script 'return { listeners = { "ws://127.0.0.1:0/mqtt" } }'
    local status = process.run { process.luamq, "--check", script }
    os.remove(script)
    return status == 0
  end,
  large = { tls = 1 << 20, ws = 1 << 20, wss = 1 << 20 },
  start = function(folder)
    local values = { IDENTITY = servers.psk_identity, KEY = servers.psk }
    process.write(folder .. "/luamq.lua", (luamq_script:gsub("%u%u%u+", values)))
    local words = { process.absolute(process.luamq), "luamq.lua" }
    local self = process.start(words, "2>&1", { directory = folder })
    local ports = {}
    for _, name in ipairs { "tcp", "tls", "required", "elsewhere", "psk", "ws", "wss" } do
      local line = self:expect "^listening on "
      ports[name] = math.tointeger(tonumber(line:match ":(%d+)/?%w*$"))
    end
    return setmetatable({ ports = ports, process = self }, Server)
  end,
}

return servers
