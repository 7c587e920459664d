local faults = require "spec.support.faults"
local process = require "spec.support.process"
local scenario = require "spec.support.fault_scenario"

local is_whole = os.getenv "FAULTS" == "all" -- `make test-faults`; else a sample

--- The transports, as a listener and the options of a client for the address that it tells.
local transports = {
  tcp = {
    listener = '"tcp://127.0.0.1:0"',
    client = function(url) return { port = math.tointeger(tonumber(url:match "%d+$")) } end,
  },
  unix = {
    listener = '"unix://%s/socket"',
    client = function(url) return { unix = url:match "^unix://(.+)$" } end,
  },
}

--- Errors of which clients learn at once, so that they may last.
local is_lasting = { ECONNRESET = true, EPIPE = true, ENOSPC = true }

--- Hooks take part, so that Lua asks for memory too.
local script = [[
return { listeners = { %s }, anonymous = true, hooks = {
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

  before_each(function() directory = process.directory() end)
  after_each(function() process.remove(directory) end)

  local function start(transport, fault)
    local path = directory .. "/broker.lua"
    process.write(path, script:format(transport.listener:format(directory)))
    return faults.start({ path }, directory, fault)
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
    local options = transport.client(broker.url)
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
      for _, case in ipairs {
        { { "recv", "readv", "read" }, { "short", "EAGAIN", "ECONNRESET" } },
        { { "send", "sendmsg", "write", "writev" }, { "short", "EAGAIN", "ECONNRESET", "EPIPE", "ENOBUFS" } },
        { { "accept4" }, is_whole and { "ECONNABORTED", "EMFILE", "ENFILE", "ENOMEM" } or { "EMFILE" } },
        { { "epoll_ctl" }, { "ENOMEM", "ENOSPC" } },
      } do
        for _, error in ipairs(case[2]) do
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
    assert.matches("luamq: out of memory: cannot allocate %d+ bytes\n$", broker:errors())
    assert.equal(128 + 6, status)
    return false
  end

  for _, lasting in ipairs { false, true } do
    local how = lasting and "there is no memory any more" or "memory is refused once"

    it("serves on or says why it ends when " .. how, function()
      local at, failed = 0
      repeat
        at = next_call(at, 8)
        local broker <close> = start(transports.tcp)
        broker.options = transports.tcp.client(broker.url)
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
    end)

    it("starts or says why it does not when " .. how, function()
      local at, failed = 0
      repeat
        at = next_call(at, 4)
        local broker <close> = start(transports.tcp,
          { calls = memory, error = "ENOMEM", at = at, lasting = lasting })
        failed = broker:disarm()
        if broker.url then
          broker.options = transports.tcp.client(broker.url)
          if assert_told(broker) then assert.equal(0, broker:stop()) end -- the last calls come later
        else
          assert.matches("[Mm]emory", broker:errors())
          assert.truthy(broker.status == 1 or broker.status == 128 + 6, broker.status)
        end
        assert_sound(broker)
      until failed == 0
      assert.is_true(at > 1, "no call failed")
    end)
  end
end)
