--- Database servers of their own, each in a temporary folder, on a port of 127.0.0.1 that nobody else has,
--- and on a unix socket. Nothing of the servers that a system may run is used.
---
---     local server <close> = databases.redis { "--requirepass", "secret" }
---     server.port, server.folder
---     server:stop_hard()   server:start()      -- away for a while, on the same port
---     server:signal "STOP"                     -- it hangs

local process = require "spec.support.process"
local servers = require "spec.support.servers"

local databases = {}

---@class spec.DatabaseServer
---@field port integer
---@field folder string
---@field process spec.Process
---@field private words string[]
---@field private ready string
---@field private holder spec.Process
local Server = {}
Server.__index = Server

local environment = { LC_ALL = "C" } -- of their messages

function Server:start()
  self.process = process.start(self.words, "2>&1", { environment = environment })
  self.process:expect(self.ready, true)
end

--- At once, as in a crash; its port stays.
function Server:stop_hard()
  self.process:signal "KILL"
  self.process:wait()
end

---@param name "STOP"|"CONT"
function Server:signal(name) self.process:signal(name) end

function Server:stop()
  self.process:signal "CONT"
  self.process:signal "INT"
  self.process:wait()
  self.holder:signal "KILL"
  self.holder:wait()
  process.remove(self.folder)
end

Server.__close = Server.stop

local function new(folder, words, ready)
  local ports, holder = servers.hold_ports(1)
  local self = setmetatable({ folder = folder, port = ports[1], holder = holder, ready = ready }, Server)
  self.words = words(self.port)
  self:start()
  return self
end

--- Its socket is `redis.sock` in its folder.
---@param options string[]?  further ones of its command line
---@return spec.DatabaseServer
function databases.redis(options)
  local folder = process.directory()
  return new(folder, function(port)
    local words = {
      "/usr/bin/redis-server", "--bind", "127.0.0.1", "--port", tostring(port),
      "--unixsocket", folder .. "/redis.sock", "--save", "", "--appendonly", "no", "--dir", folder,
    }
    return table.move(options or {}, 1, #(options or {}), #words + 1, words)
  end, "Ready to accept connections")
end

--- PostgreSQL refuses to run as root: then it runs as the user `nobody`.
local function unprivileged(words)
  if process.output { "id", "-u" } ~= "0\n" then return words end
  local all = { "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups" }
  return table.move(words, 1, #words, #all + 1, all)
end

local function postgres_folder()
  local handle <close> = assert(io.popen "ls -d /usr/lib/postgresql/*/bin")
  local last
  for line in handle:lines() do last = line end
  return assert(last, "PostgreSQL is not installed")
end

--- With a superuser `admin`, whose password is "secret", over TCP, and without one by the socket in its
--- folder.
---@return spec.DatabaseServer
function databases.postgres()
  local folder, programs = process.directory(), postgres_folder()
  process.write(folder .. "/password", "secret\n")
  if process.output { "id", "-u" } == "0\n" then
    process.output { "chown", "-R", "nobody:nogroup", folder }
  end
  local data = folder .. "/data"
  local words = unprivileged {
    programs .. "/initdb", "--pgdata", data, "--username", "admin", "--pwfile", folder .. "/password",
    "--auth-local", "trust", "--auth-host", "scram-sha-256", "--no-sync", "--locale", "C",
    "--encoding", "UTF8", "--no-instructions",
  }
  local status, output = process.run(words, { environment = environment, errors = true })
  assert(status == 0, output)
  return new(folder, function(port)
    return unprivileged {
      programs .. "/postgres", "-D", data, "-p", tostring(port), "-h", "127.0.0.1", "-k", folder, "-F", "-c",
      "max_connections=30",
    }
  end, "database system is ready to accept connections")
end

return databases
