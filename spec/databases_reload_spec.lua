local databases = require "spec.support.databases"
local inside = require "spec.support.inside"
local luamq_client = require "luamq.client"
local process = require "spec.support.process"

local prelude <const> = [[
  cache = require "luamq.redis".new { port = %d, timeout = 20 }
  users = require "luamq.postgres".new {
    host = %q, port = %d, user = "admin", database = "postgres", timeout = 20 }
  file = require "luamq.sqlite".open(%q, { timeout = 20 })
  asked = 0
  function authenticate(client)
    if client.id == "inside" then return true end
    asked = asked + 1
    local a = cache:eval("local n = 0 for i = 1, 1e6 do n = n + i end return 7", 0)
    local rows = users:query "select 7 as n, pg_sleep(0.05)"
    local last = file:query("with recursive c(n) as (select 1 union all select n + 1 from c where n < ?) \z
      select max(n) as n from c", 100000)
    return a == 7 and rows[1].n == 7 and last[1].n == 100000
  end
]]

describe("databases and reloads", function()
  it("keep what a script that is replaced still waits for, and nothing of it afterwards", function()
    local redis <close> = databases.redis()
    local postgres <close> = databases.postgres()
    local folder = process.directory()
    finally(function() process.remove(folder) end)
    local broker <close> = inside.start(prelude:format(redis.port, postgres.folder, postgres.port,
      folder .. "/a.db"))
    for round = 1, 10 do
      local waiting = assert(luamq_client.open { port = broker.port })
      waiting:send_raw(("\x10\x0f\0\4MQTT\4\2\0\0\0\3a%02d"):format(round))
      broker:run "while asked < 1 do luamq.sleep(0.001) end"
      process.output { process.luamq, "--reload", tostring(broker.process.pid) }
      local answer = assert(waiting:receive_packet(20))
      assert.same({ "Connack", 0 }, { answer.type, answer.code })
      waiting:close()
    end
    assert.equal(1, broker:run [[
      repeat local list = cache:client "list" until select(2, list:gsub("\n", "")) == 1
      return 1]])
    assert.equal(1, broker:run [[
      local rows
      repeat
        rows = users:query "select pid from pg_stat_activity where application_name = 'luamq'"
      until #rows == 1
      return #rows]])
  end)
end)
