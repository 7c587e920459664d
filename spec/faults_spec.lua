local client = require "luamq.client"
local config = require "luamq.config"
local faults = require "spec.support.faults"
local process = require "spec.support.process"
local scenario = require "spec.support.fault_scenario"

local is_whole = os.getenv "FAULTS" == "all" -- `make test-faults`; else a sample

--- The transports: a listener whose files are in FOLDER, and the options of a client for its address.
local identity <const> = 'certificate = "FOLDER/server.pem", key = "FOLDER/server.key"'
local function by_url(url) return { url = url } end
local function with_tls(url, folder) return { url = url, tls = { ca = folder .. "/ca.pem" } } end
local transports = {
  tcp = {
    listener = '"tcp://127.0.0.1:0"',
    client = function(url) return { port = math.tointeger(tonumber(url:match "%d+$")) } end,
  },
  unix = {
    listener = '"unix://FOLDER/socket"',
    client = function(url) return { unix = url:match "^unix://(.+)$" } end,
  },
  ws = { listener = '"ws://127.0.0.1:0/mqtt"', client = by_url },
  tls = { listener = '{ "tls://127.0.0.1:0", ' .. identity .. " }", client = with_tls, tls = true },
  wss = { listener = '{ "wss://127.0.0.1:0/mqtt", ' .. identity .. " }", client = with_tls, tls = true },
}

--- Whether this version has listeners and clients of a transport.
local function is_supported(scheme, transport)
  local url = scheme .. "://127.0.0.1:1"
  local _, problem = config.check { anonymous = true, listeners = { url } }
  return not (problem and problem:find("not supported", 1, true))
    and pcall(client.check_options, transport.client(url, "/"), true, 1)
end

for scheme, transport in pairs(transports) do
  if not is_supported(scheme, transport) then transports[scheme] = nil end
end

--- Which calls fail, and how.
local cases = {
  { { "recv", "readv", "read" }, { "short", "EAGAIN", "ECONNRESET" } },
  { { "send", "sendmsg", "write", "writev" }, { "short", "EAGAIN", "ECONNRESET", "EPIPE", "ENOBUFS" } },
  { { "accept4" }, is_whole and { "ECONNABORTED", "EMFILE", "ENFILE", "ENOMEM" } or { "EMFILE" } },
  { { "epoll_ctl" }, { "ENOMEM", "ENOSPC" } },
  { { "SSL_accept", "SSL_read", "SSL_write" }, { "EPROTO" }, tls = true },
  { { "SSL_read", "SSL_write" }, { "short" }, tls = true },
}

--- Errors of which clients learn at once, so that they may last.
local is_lasting = { ECONNRESET = true, EPIPE = true, ENOSPC = true, EPROTO = true }

--- Hooks take part, so that Lua asks for memory too.
local script = [[
return { listeners = { LISTENER }, anonymous = true, hooks = {
  authenticate = function(client) client.ref = { id = client.id .. "!" } return true end,
  publish = function(client, message) return #(message.topic .. client.ref.id) > 0 end,
} }]]

--- The next call to fail: each one, or of a sample the first ones and then ever fewer.
local function next_call(at, every)
  if is_whole or at < every then return at + 1 end
  return at + at // 2 + 1
end

describe("a broker", function()
  local directory

  setup(function()
    directory = process.directory()
    if transports.tls then require "spec.support.certificates".make(directory) end
  end)
  teardown(function() process.remove(directory) end)

  --- A broker, with the options of a client unless it has ended.
  local function start(transport, fault)
    local path = directory .. "/broker.lua"
    process.write(path, (script:gsub("LISTENER", transport.listener):gsub("FOLDER", directory)))
    local broker = faults.start({ path }, directory, fault)
    broker.options = broker.url and transport.client(broker.url, directory)
    return broker
  end

  --- Nothing that sanitizers found is in the log.
  local function assert_sound(broker)
    local errors = broker:errors()
    assert.is_nil(errors:find("Sanitizer", 1, true) or errors:find("runtime error", 1, true), errors)
  end

  --- Runs the scenario with the first, the second, the third ... call failing, until none is left; or, when
  --- it is `lasting`, all calls from that one on.
  local function fail_each(transport, calls, error, lasting)
    local broker <close> = start(transport)
    local options = broker.options
    local function descriptors() return broker:descriptors() end
    local before = scenario.check(options, "before", descriptors)
    local at, failed = 0
    repeat
      at = next_call(at, 8)
      local name = ("%s-%d"):format(error, at)
      broker:arm { calls = calls, error = error, at = at, lasting = lasting }
      local served, problem = pcall(scenario.run, options, name)
      failed = broker:disarm()
      assert.is_true(served or lasting and not problem:find "in vain", problem)
      assert.equal(before, scenario.check(options, name, descriptors))
    until failed == 0
    assert.is_true(at > 1, "no call failed")
    assert.equal(0, broker:stop())
    assert_sound(broker)
  end

  for name, transport in pairs(transports) do
    describe("on " .. name, function()
      for _, case in ipairs(cases) do
        for _, error in ipairs((not case.tls or transport.tls) and case[2] or {}) do
          local what = ("%s fails: %s"):format(table.concat(case[1], ", "), error)
          it("serves on when " .. what, function() fail_each(transport, case[1], error) end)
          if is_lasting[error] then
            it("serves on when from now on " .. what, function()
              fail_each(transport, case[1], error, true)
            end)
          end
        end
      end
    end)
  end

  local memory = { "malloc", "calloc", "realloc" }

  --- It went on, or has said why it ended. Returns whether it goes on.
  local function assert_told(broker)
    if pcall(scenario.check, broker.options, "after") then return true end
    local status = broker:wait()
    assert.matches("luamq: out of memory: [^\n]+\n$", broker:errors())
    assert.equal(128 + 6, status)
    return false
  end

  local function refuse_memory(transport, lasting)
    local at, failed = 0
    repeat
      at = next_call(at, 8)
      local broker <close> = start(transport)
      broker:arm { calls = memory, error = "ENOMEM", at = at, lasting = lasting }
      local served, problem = pcall(scenario.run, broker.options, "run")
      failed = broker:disarm()
      if assert_told(broker) then
        assert.is_true(served, problem)
        assert.equal(0, broker:stop())
      end
      assert_sound(broker)
    until failed == 0
    assert.is_true(at > 1, "no call failed")
  end

  local function refuse_memory_at_start(transport, lasting)
    local at, failed = 0
    repeat
      at = next_call(at, 4)
      local fault = { calls = memory, error = "ENOMEM", at = at, lasting = lasting }
      local broker <close> = start(transport, fault)
      failed = broker:disarm()
      if broker.url then
        if assert_told(broker) then assert.equal(0, broker:stop()) end -- the last calls come later
      else
        assert.matches("[Mm]emory", (broker:errors():gsub("malloc failure", "memory")))
        assert.truthy(broker.status == 1 or broker.status == 128 + 6, broker.status)
      end
      assert_sound(broker)
    until failed == 0
    assert.is_true(at > 1, "no call failed")
  end

  for name, transport in pairs { tcp = transports.tcp, wss = transports.wss } do
    for _, lasting in ipairs { false, true } do
      local how = ("on %s when %s"):format(name,
        lasting and "there is no memory any more" or "memory is refused once")
      it("serves on or says why it ends " .. how, function() refuse_memory(transport, lasting) end)
      it("starts or says why it does not " .. how, function()
        refuse_memory_at_start(transport, lasting)
      end)
    end
  end
end)
