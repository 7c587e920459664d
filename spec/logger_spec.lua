local client = require "luamq.client"
local json = require "spec.support.json"
local process = require "spec.support.process"

local script = [[
local luamq = require "luamq"
local format, level = ...
local hooks = {}

function hooks.publish(client, message)
  if message.topic == "raise" then error("no: " .. message.topic) end
  if message.topic == "log" then
    for _, name in ipairs { "debug", "info", "warn", "error" } do
      luamq.log[name](name .. " line", { number = 1.5, yes = true, ["a b"] = "x\n\"y\"\0", none = 0/0 })
    end
  end
  return true
end

return {
  listeners = { "tcp://127.0.0.1:0" },
  credentials = { user = "hush1", ["us\27er"] = "hush2" }, anonymous = true,
  log = { format = format, level = level },
  backend = { session_queue_size = 2, inflight_messages = 1, full_queue_wait = 0 },
  engine = { connect_timeout = 0.3 },
  hooks = hooks,
}
]]

describe("the log", function()
  local path

  setup(function() path = process.script(script) end)
  teardown(function() os.remove(path) end)

  local function serve(format, level) return process.broker { path, format, level } end

  local function connect(broker, options)
    options.port = broker.port
    return client.connect(options)
  end

  --- A connection that sends these bytes, and waits until the broker has ended it.
  local function send(broker, bytes)
    local c = assert(client.open { port = broker.port })
    if bytes ~= "" then assert(c:send_raw(bytes)) end
    for _ = 1, 3 do
      local packet, problem = c:receive_packet()
      if not packet then
        assert.not_equal("timeout", problem)
        return
      end
    end
  end

  --- All lines that it wrote, as { level, rest } or as JSON objects. Each one must be well-formed.
  local function lines_of(broker, format)
    assert.equal(0, broker:stop())
    local lines = {}
    for line in broker.output:gsub("^listening[^\n]*\n", ""):gmatch "([^\n]*)\n" do
      assert.is_nil(line:find "%c", line)
      assert.truthy(utf8.len(line), line)
      if format == "json" then
        lines[#lines + 1] = json.read(line)
        local time = "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$"
        assert.matches(time, lines[#lines].time)
      else
        local level, rest = line:match "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ (%l+) (.*)$"
        if level then
          lines[#lines + 1] = { level = level, text = rest:gsub("127%.0%.0%.1:%d+", "ADDRESS") }
        else
          assert.matches("^    ", line) -- a traceback
        end
      end
    end
    return lines
  end

  it("has a line for each client that comes, is refused or goes", function()
    local broker = serve("text", "info")
    assert(connect(broker, { id = "a", username = "user", password = "hush1", version = 3, keep_alive = 7 }))
      :disconnect()
    connect(broker, { id = "b", username = "user", password = "hush2" })
    connect(broker, { clean = false })
    assert(connect(broker, { id = "c", clean = false })):close()
    local first = assert(connect(broker, { id = "d" }))
    local second = assert(connect(broker, { id = "d" }))
    assert.is_nil(first:receive())
    send(broker, "\xff\xff")
    send(broker, "\xc0\0")
    send(broker, "\x10\x0e\0\4MQTT\7\2\0\60\0\2ab")
    send(broker, "")
    assert(second:send_raw "\xff\xff")
    assert.is_nil(second:receive())
    local texts = {}
    for i, line in ipairs(lines_of(broker, "text")) do texts[i] = line.level .. " " .. line.text end
    local closed_c = 'info client closed id=c remote=ADDRESS reason="connection closed by peer"'
    local expected = {
      "info client connected id=a remote=ADDRESS username=user version=3.1 clean=true keep_alive=7",
      'info client closed id=a remote=ADDRESS username=user reason="client disconnected"',
      'info client refused id=b remote=ADDRESS username=user reason="not authorized" by=credentials',
      'info client refused remote=ADDRESS reason="client identifier rejected" by=protocol',
      "info client connected id=c remote=ADDRESS version=3.1.1 clean=false keep_alive=60",
      "info client connected id=d remote=ADDRESS version=3.1.1 clean=true keep_alive=60",
      'info client closed id=d remote=ADDRESS reason="client closed"',
      "info client connected id=d remote=ADDRESS version=3.1.1 clean=true keep_alive=60",
      'info connection closed remote=ADDRESS reason="unknown packet type"',
      'info client refused remote=ADDRESS reason="unexpected packet"',
      'info client refused remote=ADDRESS reason="unacceptable protocol level" by=protocol',
      'info connection closed remote=ADDRESS reason="connect timeout"',
      'info client closed id=d remote=ADDRESS reason="unknown packet type"',
      "info signal: stopping",
      "info stopped",
    }
    local function without_c(list) -- c goes unseen by the others: its line may stand anywhere behind
      local rest, found = {}, 0
      for _, text in ipairs(list) do
        if text == closed_c then found = found + 1 else rest[#rest + 1] = text end
      end
      return rest, found
    end
    local rest, found = without_c(texts)
    assert.same(expected, rest)
    assert.equal(1, found)
  end)

  it("is JSON when asked for", function()
    local broker = serve("json", "info")
    local id = "a \"\\/\t\n\27\u{7f}\u{85}\u{e4}\u{2028}\u{202e}\u{20ac}\u{1f600}"
    assert(connect(broker, { id = id, username = "us\27er", password = "hush2" })):disconnect()
    send(broker, "\xff\xff")
    local lines = lines_of(broker, "json")
    for _, line in ipairs(lines) do
      line.time = nil
      if line.remote then assert.matches("^127%.0%.0%.1:%d+$", line.remote) end
      line.remote = nil
    end
    assert.same({
      { level = "info", text = "client connected", id = id, username = "us\27er", version = "3.1.1",
        clean = true, keep_alive = 60 },
      { level = "info", text = "client closed", id = id, username = "us\27er",
        reason = "client disconnected" },
      { level = "info", text = "connection closed", reason = "unknown packet type" },
      { level = "info", text = "signal: stopping" },
      { level = "info", text = "stopped" },
    }, lines)
  end)

  --- Clients that cause every kind of line, with what must not be seen in any: "hush".
  local function everything(broker)
    local will = { topic = "will\n2000-01-01T00:00:00.000Z info forged", payload = "hush3", qos = 1 }
    local a = assert(connect(broker, { id = "a\r\n", username = "user", password = "hush1", will = will }))
    assert(connect(broker, { id = "b\27[2J", username = "us\27er", password = "hush2" })):disconnect()
    connect(broker, { id = "\u{202e}c", username = "hu\nsh", password = "hush4" })
    connect(broker, { id = "d", username = "user", password = "hush5", version = 3 })
    assert(a:subscribe({ "#", "+/\7\u{9b}/x y" }, 2))
    for qos = 0, 2 do assert(a:publish("t\7/\u{9b}", "hush6", qos, true)) end
    assert(a:publish("raise", "hush7", 1))
    assert(a:publish("log", "hush8", 1))
    a:close()
    local deaf = assert(client.open { port = broker.port }) -- acknowledges nothing
    assert(deaf:send_raw "\x10\x10\0\4MQTT\4\2\0\60\0\4deaf\x82\6\0\7\0\1+\1")
    for _ = 1, 2 do assert(deaf:receive_packet()) end
    local c <close> = assert(connect(broker, { id = "c" }))
    for _ = 1, 5 do assert(c:publish("full\nfull", "hush9", 1)) end
    send(broker, "\x10\x20\0\4MQTT\4\xc2\0\60\0\1e\0\5hush!\0\5hush?\xff\xff\xff\xff")
    send(broker, "\x30hush")
    deaf:close()
  end

  for _, format in ipairs { "text", "json" } do
    it("tells more or less, as told: " .. format, function()
      local levels = { "debug", "info", "warn", "error", "off" }
      for i, least in ipairs(levels) do
        local broker = serve(format, least)
        everything(broker)
        local seen = {}
        for _, line in ipairs(lines_of(broker, format)) do seen[line.level] = true end
        for j, level in ipairs(levels) do
          local wanted = j >= i and level ~= "off"
          assert.equal(wanted, seen[level] == true, least .. " has " .. level)
        end
      end
    end)

    it("holds no payload, no password, and nothing that a peer forged: " .. format, function()
      local broker = serve(format, "debug")
      everything(broker)
      lines_of(broker, format)
      assert.is_nil(broker.output:find("hush", 1, true))
      assert.is_nil(broker.output:find("68757368", 1, true))
      assert.is_nil(broker.output:find("\n2000", 1, true))
      assert.truthy(broker.output:find("forged", 1, true))
    end)
  end

  it("takes lines of scripts, with their fields sorted by name", function()
    local broker = serve("text", "debug")
    local c = assert(connect(broker, { id = "a" }))
    assert(c:publish("log", "", 1))
    local texts = {}
    for _, line in ipairs(lines_of(broker, "text")) do
      if line.text:find " line " then texts[#texts + 1] = line.level .. " " .. line.text end
    end
    local fields = [[ line "a b"="x\n\"y\"\x00" none=%-?nan number=1.5 yes=true]]
    assert.equal(4, #texts)
    for i, level in ipairs { "debug", "info", "warn", "error" } do
      assert.matches("^" .. level .. " " .. level .. fields .. "$", texts[i])
    end
  end)

  it("tells where a hook failed, and how it came there", function()
    local broker = serve("text", "error")
    local c = assert(connect(broker, { id = "a" }))
    assert(c:publish("raise", "", 1))
    assert.equal(0, broker:stop())
    local place = path:gsub("%p", "%%%0")
    assert.matches(" error hook publish: " .. place .. ":6: no: raise id=a remote=127.0.0.1:%d+\n"
      .. "    .*    " .. place .. ":6: in function <" .. place .. ":5>\n", broker.output)
  end)

  it("bounds what clients can cause at will", function()
    local broker = serve("json", "warn")
    local deaf = assert(client.open { port = broker.port })
    assert(deaf:send_raw "\x10\x10\0\4MQTT\4\2\0\60\0\4deaf\x82\6\0\7\0\1+\1")
    for _ = 1, 2 do assert(deaf:receive_packet()) end
    local c = assert(connect(broker, { id = "c" }))
    local began = os.time()
    for _ = 1, 500 do assert(c:publish("full", "", 1)) end
    for _ = 1, 500 do assert(c:publish("raise", "", 1)) end
    local seconds = os.time() - began + 2
    deaf:close()
    local counts, suppressed = { ["message dropped"] = 0, raise = 0 }, 0
    for _, line in ipairs(lines_of(broker, "json")) do
      local kind = line.text == "message dropped" and line.text or line.text:match ": no: (%l+)$"
      assert.truthy(kind, line.text)
      if kind == "message dropped" then
        assert.same({ "warn", "deaf", "full", "queue full" }, { line.level, line.id, line.topic, line.error })
      end
      counts[kind] = counts[kind] + 1
      suppressed = suppressed + (line.suppressed or 0)
    end
    for kind, count in pairs(counts) do
      assert.is_true(count >= 10 and count <= 10 * seconds, kind .. ": " .. count)
    end
    assert.is_true(suppressed <= 1000)
  end)

  it("is the script's own when it has a log hook", function()
    local hooked = process.script [[return { listeners = { "tcp://127.0.0.1:0" }, log = { level = "debug" },
      hooks = { log = function(event) print(event) end } }]]
    local broker = process.broker { hooked }
    os.remove(hooked)
    local c = assert(connect(broker, { id = "a" }))
    c:disconnect()
    assert.equal(0, broker:stop())
    assert.matches("^listening on [^\n]+\nnew connection\npacket received\npacket sent\npacket received\n"
      .. "client disconnected\nlost connection\n[^\n]+ info signal: stopping\n[^\n]+ info stopped\n$",
      broker.output)
  end)
end)
