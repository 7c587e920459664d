--- The program itself, with sockets: hooks that wait for time, for a web server that fails and for each
--- other, clients that reset while they do, SIGHUP again and again, and SIGTERM in the middle of it. Under
--- sanitizers this is where it is seen that nothing is used after its end, and that nothing is left.
---
---     LUAMQ_CHAOS_CLIENTS=20000 busted spec/chaos_program_spec.lua

local process = require "spec.support.process"

local count = math.tointeger(os.getenv "LUAMQ_CHAOS_CLIENTS" or 400)

local policy = [[
local luamq = require "luamq"
local http = require "luamq.http"
local slots = luamq.semaphore(3)
local paths = { "/close", "/garbage", "/cut", "/hang", "/slow?ms=20", "/text?text=fine", "/status?code=503" }

local waits = {
  function() luamq.sleep(math.random(50) / 1000) end,
  function() http.get(URL .. paths[math.random(#paths)], { timeout = 0.1 }) end,
  function()
    local slot <close> = slots:acquire(0.1)
    luamq.sleep(0.01)
  end,
  function()
    local _ <close> = setmetatable({}, { __close = function() luamq.publish("x/closed", "closed") end })
    luamq.sleep(5)
  end,
  function()
    luamq.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() pcall(luamq.sleep, 1) end })
      http.get(URL .. "/hang", { timeout = 1 })
    end)
  end,
  function(client) if client then client:close() end end,
  function() error("at random", 0) end,
}

local function any(client)
  if math.random(3) > 1 then waits[math.random(#waits)](client) end
  return math.random(10) > 1
end

local hooks = { adopt = any, save = function() return { 1 } end }
for _, name in ipairs { "authenticate", "setup", "restore", "subscribe", "unsubscribe", "publish", "dequeue",
  "terminate", "packet" } do hooks[name] = any end
function hooks.start() luamq.every(0.02, function() any() end) end
function hooks.stop() luamq.sleep(0.05) end

return {
  listeners = { "tcp://127.0.0.1:0" },
  log = { level = "off" },
  engine = { close_timeout = 1 },
  limits = { connect_rate = 0, connect_rate_per_address = 0, failed_logins = 0 },
  script = { hook_timeout = 0.3, max_suspended = 20, max_spawned = 50 },
  hooks = hooks,
}]]

describe("the program with hooks that wait", function()
  local directory, server

  setup(function()
    directory = process.directory()
    server = process.start { "/usr/bin/python3", "spec/support/http_server.py" }
    local url = "http://127.0.0.1:" .. server:line()
    process.write(directory .. "/broker.lua", (policy:gsub("URL", ("%q"):format(url))))
  end)
  teardown(function()
    server:stop()
    process.remove(directory)
  end)

  it("ends in order whatever its clients and signals do", function()
    local log = directory .. "/log"
    local broker <close> = process.broker({ directory .. "/broker.lua" }, { log = log })
    local clients <close> = process.start({
      "/usr/bin/python3", "spec/support/chaos_clients.py", tostring(broker.port), "1", tostring(count),
    }, "2>&1")
    for line in clients.line, clients do
      broker:signal(line == "half" and "TERM" or "HUP")
    end
    assert.equal(0, clients:wait(), clients.output)
    local status = broker:wait()
    local said = process.read(log)
    assert.equal("", said)
    assert.is_true(status == 0 or status == 1, "status " .. status)
  end)

  it("is not ended by a SIGHUP while it starts or stops", function()
    local script = directory .. "/slow.lua"
    process.write(script, [[
      local luamq = require "luamq"
      return {
        listeners = { "tcp://127.0.0.1:0" },
        hooks = {
          start = function()
            os.execute("kill -HUP $PPID")
            luamq.sleep(0.01)
          end,
          stop = function()
            os.execute("kill -HUP $PPID")
            luamq.sleep(0.01)
            print "stopped in order"
          end,
        },
      }]])
    local broker <close> = process.broker { script }
    assert.equal(0, broker:stop())
    assert.matches("stopped in order", broker.output, 1, true)
  end)
end)
