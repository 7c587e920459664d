--- Steps with a broker whose scripts do anything (spec.support.chaos_hooks), and what must hold whatever they
--- do. Each step is a table of plain data, so that any part of a sequence is a sequence.
---
---     local steps = chaos_run.random(seed)
---     local problem, step = chaos_run.try(seed, steps)      -- nil: all that must hold has held
---
--- What holds: a publish that was acknowledged with success reaches a subscriber that is connected, or is
--- counted as dropped; the order of a client's messages; nobody waits for ever; a publish hook is not
--- cancelled; when all have gone nothing of them is left.

local chaos_hooks = require "spec.support.chaos_hooks"
local dice = require "spec.support.dice"
local test = require "luamq.test"

local chaos_run = {}

local QUIET_S <const> = 1000 -- after which nothing waits any longer

local Run = {}
Run.__index = Run

local function fail(...) error(string.format(...), 0) end

-- What must hold -----------------------------------------------------------------------------------

local function dropped_of(stats)
  local count = 0
  for name, value in pairs(stats) do
    if name:find "^messages_dropped" then count = count + value end
  end
  return count
end

--- The messages that the watching client has received, each once and in order.
function Run:watch()
  for _, message in ipairs(self.watcher:receive_all()) do
    local who, number, qos = message.payload:match "^(%w+ %d+) (%d+) (%d)$"
    if not who then fail("the payload %q", message.payload) end
    local line = who .. " " .. message.topic .. " " .. qos
    local last = self.last[line] or 0
    if tonumber(number) <= last then fail("%s after number %d of %s", message.payload, last, line) end
    self.last[line] = tonumber(number)
    self.received[message.payload] = true
  end
end

--- The numbers that are to be zero again when all have gone.
local gauges = {
  "hooks_suspended", "clients", "connections", "sessions", "subscriptions", "wills_waiting", "queued_bytes",
  "unfinished_bytes", "logins_waiting",
}

function Run:check()
  self:watch()
  if self.world.problems[1] then fail("%s", self.world.problems[1]) end
  local stats = self.broker:stats()
  for _, name in ipairs(gauges) do
    if stats[name] < 0 then fail("%s is %d", name, stats[name]) end
  end
  if stats.clients > stats.connections then fail("more clients than connections") end
end

--- What an answer tells: that the client is connected, or that its message has been taken.
local function answered(run, client, request, answer)
  if answer.reason ~= "success" or client.socket.closed then return end
  if request.kind == "connect" then client.is_connected = true end
  if request.payload then table.insert(run.successes, request.payload) end
end

--- Answers to requests that had none at once.
function Run:look_for_answers(client)
  while client.waiting[1] do
    local answer = client.socket:answer()
    if not answer and not client.socket.closed then return end
    local request = table.remove(client.waiting, 1)
    if answer then answered(self, client, request, answer) end
  end
end

function Run:request(client, request, answer)
  if answer then
    answered(self, client, request, answer)
  elseif not client.socket.closed then
    table.insert(client.waiting, request)
  end
end

function Run:check_nobody_waits()
  for name, client in pairs(self.clients) do
    self:look_for_answers(client)
    local request = client.waiting[1]
    if request and not client.socket.closed then fail("%s of %s has no answer", request.kind, name) end
  end
end

function Run:check_delivered()
  local missing = {}
  for _, payload in ipairs(self.successes) do
    local verdict = self.world.verdicts[payload]
    if verdict ~= "drop" and not self.received[payload] then missing[#missing + 1] = payload end
  end
  if #missing <= dropped_of(self.broker:stats()) then return end
  fail("not delivered: %s", table.concat(missing, ", "))
end

function Run:check_nothing_is_left()
  local stats = self.broker:stats()
  for _, name in ipairs(gauges) do
    if stats[name] ~= 0 then fail("%s is %d in the end", name, stats[name]) end
  end
end

-- Steps --------------------------------------------------------------------------------------------

local steps = {}

--- The client of that name, if it has a connection.
local function live(run, step)
  local client = run.clients[step.client]
  if client and not client.socket.closed then return client end
end

--- The same if it has its CONNACK: until then it sends nothing.
local function connected(run, step)
  local client = live(run, step)
  return client and client.is_connected and client
end

function steps.connect(run, step)
  local old = run.clients[step.client]
  if old then
    run:look_for_answers(old)
    run.left[#run.left + 1] = old -- it is taken over, if it is there
  end
  run.incarnations = run.incarnations + 1
  local client = { socket = run.broker:open(), waiting = {}, number = 0, incarnation = run.incarnations }
  run.clients[step.client] = client
  local method = step.version == "5" and step.method or nil
  local answer = client.socket:connect {
    id = step.client, version = step.version, clean = step.clean, keep_alive = step.keep_alive,
    will = step.will, session_expiry_interval = step.version == "5" and step.expiry or nil,
    authentication_method = method, authentication_data = method and "a",
    authenticate = method and function() return "b" end,
  }
  client.method = method
  run:request(client, { kind = "connect" }, answer.reason ~= "no_answer" and answer)
end

function steps.subscribe(run, step)
  local client = connected(run, step)
  if not client then return end
  run:request(client, { kind = "subscribe" }, client.socket:subscribe(step.filters, step.qos))
end

function steps.unsubscribe(run, step)
  local client = connected(run, step)
  if not client then return end
  run:request(client, { kind = "unsubscribe" }, client.socket:unsubscribe(step.filters))
end

function steps.publish(run, step)
  local client = connected(run, step)
  if not client then return end
  client.number = client.number + 1
  local payload = ("%s %d %d %d"):format(step.client, client.incarnation, client.number, step.qos)
  -- A client that comes back knows nothing of the QoS 2 message that its session may still have of its id.
  local is_known = step.qos == 1 or (step.qos == 2 and not client.socket.session_present)
  local watched = is_known and step.topic:find "^audit/"
  local answer, problem = client.socket:publish(step.topic, payload, step.qos, step.retain)
  if not answer and problem ~= "no answer" then return end
  run:request(client, { kind = "publish", payload = watched and payload or nil }, answer)
end

function steps.reauthenticate(run, step)
  local client = connected(run, step)
  if client and client.method then
    run:request(client, { kind = "auth" }, client.socket:reauthenticate "again")
  end
end

local function on_socket(name)
  return function(run, step)
    local client = live(run, step)
    if client then client.socket[name](client.socket, step.value) end
  end
end
for _, name in ipairs { "drop", "half_close", "set_window", "send_raw", "silence", "disconnect" } do
  steps[name] = on_socket(name)
end

function steps.advance(run, step) run.broker:advance(step.seconds) end
function steps.turn(run) run.broker:turn() end

--- Another script, or one that fails.
function steps.reload(run, step)
  local script = chaos_hooks.script(run.world)
  if step.fails then
    script.hooks[1].start = function() error("a start that fails", 0) end
  end
  local fine, problem = pcall(run.broker.reload, run.broker, script)
  if not fine and not problem:find "another reload is under way" then error(problem, 0) end
end

function steps.collect() collectgarbage() end

-- Runs ---------------------------------------------------------------------------------------------

local function new_run(seed)
  local world = chaos_hooks.world(dice(seed + 1))
  local run = setmetatable({
    world = world, clients = {}, left = {}, last = {}, received = {}, successes = {}, incarnations = 0,
  }, Run)
  run.broker = test.broker(chaos_hooks.script(world))
  run.watcher = assert(run.broker:connect { id = "watch", keep_alive = 60 })
  assert(run.watcher:subscribe("audit/#", 2), "the watching client has no answer")
  return run
end

function Run:step(step)
  steps[step.op](self, step)
  for _, client in pairs(self.clients) do
    self:look_for_answers(client)
    client.socket:receive_all()
  end
  self:check()
end

local function each_client(run, fn)
  for _, name in ipairs { "a", "b", "c" } do
    if run.clients[name] then fn(run.clients[name]) end
  end
end

--- Everybody reads again, and waits until what waits is over; then everybody goes.
function Run:finish()
  each_client(self, function(client) client.socket:set_window() end)
  self.broker:advance(QUIET_S)
  self:check()
  self:check_nobody_waits()
  self:check_delivered()
  each_client(self, function(client) client.socket:drop() end)
  for _, client in ipairs(self.left) do client.socket:drop() end
  self.watcher:disconnect()
  self.broker:advance(QUIET_S)
  self:check_nothing_is_left()
end

--- nil, or what did not hold, and the step at which that was seen.
---@param seed integer  of what the hooks do
---@param list table[]
---@return string? problem
---@return integer? step
function chaos_run.try(seed, list)
  local run = new_run(seed)
  local at = 0
  local fine, problem = xpcall(function()
    for i, step in ipairs(list) do
      at = i
      run:step(step)
    end
    at = #list + 1
    if seed % 4 > 0 then run:finish() end -- else everything is under way when it stops
  end, function(text) return type(text) == "string" and debug.traceback(text) or tostring(text) end)
  run.world.stops = true
  run.broker:stop()
  if not fine then return problem, at end
  return nil
end

-- Sequences at random ------------------------------------------------------------------------------

local kinds = {}

local topics = { "x/1", "x/2", "x/y/z", "audit/1", "audit/1", "audit/2", "audit/2" }
local filters = { "x/1", "x/#", "#", "+/1", "audit/#", "$share/g/x/#", "$share/g/audit/#" }

local function some(roll, list)
  local result = {}
  for i = 1, roll(3) do result[i] = list[roll(#list)] end
  return result
end

function kinds.connect(roll, s)
  s.version, s.clean = ({ "3.1.1", "5" })[roll(2)], roll(2) == 1
  s.expiry, s.keep_alive = ({ 0, 10, 60 })[roll(3)], ({ 0, 5, 60 })[roll(3)]
  if roll(4) == 1 then s.method = "m" end
  if roll(3) > 1 then return end
  s.will = { topic = "x/1", payload = "will", qos = roll(3) - 1 }
  if s.version == "5" then s.will.will_delay_interval = ({ 0, 3, 30 })[roll(3)] end
end

function kinds.subscribe(roll, s) s.filters, s.qos = some(roll, filters), roll(3) - 1 end
function kinds.unsubscribe(roll, s) s.filters = some(roll, filters) end

function kinds.publish(roll, s)
  s.topic, s.qos = topics[roll(#topics)], roll(3) - 1
  s.retain = roll(5) == 1 and s.topic:find "^x" and true or nil
end

function kinds.set_window(roll, s) s.value = ({ 0, 10, nil })[roll(3)] end
function kinds.send_raw(roll, s)
  s.value = ({ "\xff\xff\xff\xff\xff", "\x30\x05\x00", "\xc0\x00", "\xe0\x00" })[roll(4)]
end
function kinds.advance(roll, s) s.seconds = ({ 0.001, 0.2, 1, 1, 2.5, 6, 12 })[roll(7)] end
function kinds.reload(roll, s) s.fails = roll(4) == 1 end

local weights = {
  connect = 12, publish = 24, subscribe = 8, unsubscribe = 2, advance = 12, drop = 4, half_close = 2,
  disconnect = 2, set_window = 3, send_raw = 2, silence = 1, reauthenticate = 2, reload = 3, turn = 3,
  collect = 1,
}
local bag = {}
for name, weight in pairs(weights) do
  for _ = 1, weight do bag[#bag + 1] = name end
end
table.sort(bag)

--- A sequence of 10 to 60 steps.
---@param seed integer
---@return table[]
function chaos_run.random(seed)
  local roll, list = dice(seed), {}
  for i = 1, 9 + roll(51) do
    local s = { op = bag[roll(#bag)], client = ("abc"):sub(roll(3)):sub(1, 1) }
    if i <= 3 then s.op, s.client = "connect", ("abc"):sub(i, i) end
    if kinds[s.op] then kinds[s.op](roll, s) end
    list[i] = s
  end
  return list
end

return chaos_run
