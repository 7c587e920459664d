local brokers = require "spec.support.brokers"

local logged, place = brokers.logged, brokers.place

--- The collection of all that busted holds takes longer than a hook may.
local function start(hooks, overrides)
  overrides = overrides or {}
  overrides.script = { hook_budget = 0 }
  return brokers.start(hooks, overrides)
end

--- What makes a hook fail. `log` is what the log tells: %s stands for the place of the hook. `kind`: what
--- failed, as an answer tells it.
local failures = {
  { name = "no answer", kind = "hook gave no answer", log = "%s: hook %s gave no answer",
    run = function() return nil end },
  { name = "a value of a wrong type", kind = "hook gave a wrong answer",
    log = "%s: hook %s gave a wrong answer: expected true", run = function() return print end },
  { name = "an unknown reason", kind = "hook gave a wrong answer",
    log = "%s: hook %s gave a wrong answer: unknown reason 'because'",
    run = function() return false, "because" end },
  { name = "the reason of a success", kind = "hook gave a wrong answer",
    log = "%s: hook %s gave a wrong answer: unknown reason 'success'",
    run = function() return false, "success" end },
  { name = "a reason of a wrong type", kind = "hook gave a wrong answer",
    log = "%s: hook %s gave a wrong answer: a reason is a string, not a number",
    run = function() return false, 0x87 end },
  { name = "a text of a wrong type", kind = "hook gave a wrong answer",
    log = "%s: hook %s gave a wrong answer: the text of a refusal is a string, not a table",
    run = function() return false, "banned", {} end },
  { name = "an error", kind = "hook error", raised = "boom", run = function() error "boom" end },
  { name = "an error of Lua", kind = "hook error", raised = "attempt to index a nil value",
    run = function() return (nil).field end },
  { name = "an error in a function that it calls", kind = "hook error", raised = "number expected",
    run = function() return math.floor {} end },
  { name = "endless recursion", kind = "hook error", raised = "stack overflow",
    run = function()
      -- A collection down there would call the finalizers of all that earlier specs left, each of them into
      -- the end of the stack.
      collectgarbage()
      collectgarbage "stop"
      local _ <close> = setmetatable({}, { __close = function() collectgarbage "restart" end })
      local function deeper() return 1 + deeper() end
      return deeper()
    end },
  { name = "a table as error", kind = "hook error", raised = "(the error is a table value)",
    run = function() error {} end },
  { name = "an error object with a text", kind = "hook error", raised = "the text",
    run = function() error(setmetatable({}, { __tostring = function() return "the text" end })) end },
  { name = "an error object whose text fails", kind = "hook error", raised = "error in error handling",
    run = function() error(setmetatable({}, { __tostring = error })) end },
  { name = "nil as error", kind = "hook error", raised = "(the error is a nil value)",
    run = function() error() end },
  { name = "a yield", kind = "hook cannot suspend", raised = "cannot suspend here",
    run = function() return coroutine.yield(true) end },
  { name = "a yield through pcall", kind = "hook cannot suspend", raised = "cannot suspend here",
    run = function() return pcall(coroutine.yield) end },
}

--- How each hook is made to run by the client "bad", and what it sees of a failure. `error_reason` is that of
--- an error; no answer and wrong ones are always "not_authorized".
local hooks = {
  authenticate = { error_reason = "server_unavailable",
    try = function(broker) return (brokers.connect(broker, { id = "bad" })) end,
    see = function(answer, reason)
      assert.equal(reason == "server_unavailable" and 3 or 5, answer.code)
    end },
  subscribe = { error_reason = "implementation_specific_error",
    try = function(broker) return broker:connect({ id = "bad" }):subscribe("t", 1) end,
    see = function(answer, _, broker)
      assert.equal(0x80, answer.code)
      assert.equal(0, broker:stats().subscriptions)
    end },
  unsubscribe = { error_reason = "implementation_specific_error",
    try = function(broker)
      local client = broker:connect { id = "bad" }
      client:subscribe("t", 1)
      return client:unsubscribe "t"
    end,
    see = function(_, _, broker) -- it ends all the same
      assert.equal(0, broker:stats().subscriptions)
      assert.is_false(broker:client "bad".closed)
    end },
  publish = { error_reason = "implementation_specific_error",
    try = function(broker) return broker:connect({ id = "bad" }):publish("t", "x", 1, true) end,
    see = function(_, _, broker)
      local stats = broker:stats()
      assert.same({ 1, 0, 0 },
        { stats.messages_refused, stats.messages_published, stats.retained_messages })
      assert.is_false(broker:client "bad".closed)
    end },
  packet = { error_reason = "implementation_specific_error",
    try = function(broker)
      local client = broker:connect { id = "bad" }
      local answer = client:subscribe("t", 1)
      answer.closed, answer.why = client.closed, client.close_reason
      return answer
    end,
    see = function(answer, _, broker, kind)
      assert.is_true(answer.closed)
      assert.equal(kind, answer.why)
      assert.equal(0, broker:stats().subscriptions)
    end },
}

--- A failure of dequeue is told to nobody: the message is not delivered.
local function not_delivered(broker)
  local client = broker:connect { id = "bad" }
  client:subscribe("t", 1)
  broker:publish("t", "x", { qos = 1 })
  assert.is_nil(client:receive())
  assert.equal(1, broker:stats().messages_dropped_hook)
  assert.equal(1, broker:session "bad".dropped)
end

--- A hook that fails for the client "bad" only.
local function failing(failure)
  return function(client) -- the place that is logged
    if client.id ~= "bad" then return true end
    return failure.run()
  end
end

local function check_log(broker, name, hook, failure)
  local lines = logged(broker)
  assert.equal(1, #lines)
  local first = lines[1]:match "^[^\n]*"
  if failure.raised then
    assert.matches("^error hook " .. name .. "[: ]", first)
    assert.matches(failure.raised, first, 1, true)
    assert.matches("spec/hooks_failures_spec.lua:%d+:", lines[1]) -- in the message or in the traceback
  else
    assert.matches("error " .. failure.log:format(place(hook), name), first, 1, true)
  end
  assert.matches(" id=bad remote=memory$", first)
  assert.equal(1, broker:stats().hook_errors)
end

local function check_alive(broker)
  local client = broker:connect { id = "good" }
  assert.equal("success", client:subscribe("g", 1).reason)
  assert.equal("success", client:publish("g", "still here", 2).reason)
  assert.equal("still here", client:receive().payload)
  assert.equal("success", client:unsubscribe("g").reason)
  assert.same({}, logged(broker))
end

describe("a hook that fails", function()
  for name, row in pairs(hooks) do
    for _, failure in ipairs(failures) do
      it(("denies: %s with %s"):format(name, failure.name), function()
        local hook = failing(failure)
        local broker <close> = start { [name] = hook }
        local answer = row.try(broker)
        local reason = failure.raised and row.error_reason or "not_authorized"
        assert.equal(reason, answer.reason)
        assert.equal(failure.kind, answer.error)
        row.see(answer, reason, broker, failure.kind)
        check_log(broker, name, hook, failure)
        check_alive(broker)
      end)
    end
  end

  for _, failure in ipairs(failures) do
    it("denies: dequeue with " .. failure.name, function()
      local hook = failing(failure)
      local broker <close> = start { dequeue = hook }
      not_delivered(broker)
      check_log(broker, "dequeue", hook, failure)
      check_alive(broker)
    end)
  end

  for _, failure in ipairs(failures) do
    it("denies: setup with " .. failure.name, function()
      local hook = failing(failure)
      local broker <close> = start { setup = hook }
      local answer = brokers.connect(broker, { id = "bad" })
      if failure.name == "no answer" then -- it may keep silent
        assert.same({ reason = "success", code = 0 }, answer)
        return
      end
      assert.same(failure.raised and { reason = "server_unavailable", code = 3, error = failure.kind }
        or { reason = "not_authorized", code = 5, error = failure.kind }, answer)
      assert.equal(0, broker:stats().sessions)
      check_log(broker, "setup", hook, failure)
      check_alive(broker)
    end)
  end

  for _, name in ipairs { "restore", "terminate" } do
    for _, failure in ipairs(failures) do
      if failure.raised then
        it(("goes on: %s with %s"):format(name, failure.name), function()
          local hook = failing(failure)
          local broker <close> = start { [name] = hook }
          local client = broker:connect { id = "bad" }
          assert.equal("success", client:publish("t", "", 1).reason)
          client:disconnect()
          assert.equal("client disconnected", client.close_reason)
          assert.equal(0, broker:stats().sessions)
          check_log(broker, name, hook, failure)
          check_alive(broker)
        end)
      end
    end
  end

  it("is logged ten times a second, and the rest is counted", function()
    local broker <close> = start { publish = function() error "again" end }
    local client = broker:connect { id = "c" }
    for _ = 1, 25 do client:publish("t", "", 1) end
    assert.equal(10, #logged(broker))
    assert.equal(25, broker:stats().hook_errors)
    broker:advance(1)
    client:publish("t", "", 1)
    local lines = logged(broker)
    assert.equal(1, #lines)
    assert.matches("again id=c remote=memory suppressed=15\n", lines[1], 1, true)
  end)

  it("has a limit of its own for each hook", function()
    local broker <close> = start {
      publish = function() error "publish" end,
      subscribe = function() return nil end,
    }
    local client = broker:connect { id = "c" }
    for _ = 1, 25 do client:publish("t", "", 1) end
    client:subscribe("t", 0)
    local lines = logged(broker)
    assert.equal(11, #lines)
    assert.matches("hook subscribe gave no answer", lines[11], 1, true)
  end)

  it("tells the innermost frames, each in a line", function()
    local function helper() error "deep" end
    local broker <close> = start { publish = function() helper() return true end }
    broker:connect({ id = "c" }):publish("t", "", 1)
    local lines = {}
    for line in logged(broker)[1]:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.matches("^error hook publish: spec/hooks_failures_spec.lua:%d+: deep id=c remote=memory$",
      lines[1])
    assert.matches("^    %[C%]: in .*'error'$", lines[2])
    assert.matches("^    spec/hooks_failures_spec.lua:%d+: in upvalue 'helper'$", lines[3])
    assert.matches("^    spec/hooks_failures_spec.lua:%d+: in function <spec/hooks_failures_spec.lua:%d+>$",
      lines[4])
    assert.is_true(#lines <= 6)
  end)

  it("is one line of JSON where that is wanted", function()
    local broker <close> = start({ publish = function() error 'a "quote"\nand a line' end },
      { log = { format = "json", level = "warn" } })
    broker:connect({ id = "c" }):publish("t", "", 1)
    local lines = broker:lines()
    assert.equal(1, #lines)
    assert.matches('^{"time":"[^"]+","level":"error","text":"hook publish: ', lines[1])
    assert.matches([[a \"quote\"\nand a line","id":"c","remote":"memory","traceback":"]], lines[1], 1, true)
  end)

  it("may use coroutines and pcall of its own", function()
    local broker <close> = start { publish = function()
      local answers = coroutine.wrap(function()
        coroutine.yield(pcall(error, "caught"))
        return true
      end)
      assert.is_false(answers())
      return answers()
    end }
    assert.same({ reason = "success" }, broker:connect():publish("t", "", 1))
    assert.same({}, logged(broker))
  end)

  it("closes what is to be closed", function()
    local closed = 0
    local guard = setmetatable({}, { __close = function() closed = closed + 1 end })
    local broker <close> = start { publish = function(_, message)
      local _ <close> = guard
      if message.topic == "yield" then coroutine.yield() end
      error "oh"
    end }
    local client = broker:connect()
    client:publish("error", "", 1)
    client:publish("yield", "", 1)
    assert.equal(2, closed)
  end)
end)
