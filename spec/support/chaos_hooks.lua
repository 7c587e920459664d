--- Scripts whose hooks do anything that a script may do, at random: they answer at once or wait, in one go or
--- in many, raise, answer wrongly, refuse, change, drop, spawn, close clients, publish, take slots and pass
--- values on, load the script again.
---
---     local script = chaos_hooks.script(world)     -- for test.broker and broker:reload
---
--- A world is what a sequence knows: `roll`, its dice; `verdicts`, what publish hooks have answered by
--- payload; `problems`, what a hook found that must not be. The client "watch" is let do everything, so that
--- what it receives tells what was lost.

local luamq = require "luamq"

local chaos_hooks = {}

---@class spec.World
---@field roll fun(bound: integer): integer
---@field verdicts table<string, string>
---@field problems string[]
---@field slots luamq.Semaphore
---@field channel luamq.Channel
---@field stops boolean     the broker has been told to stop

local TIMEOUT <const> = 5 -- script.hook_timeout

--- A new world.
---@param roll fun(bound: integer): integer
---@return spec.World
function chaos_hooks.world(roll)
  return {
    roll = roll, verdicts = {}, problems = {}, slots = luamq.semaphore(2), channel = luamq.channel(1),
    stops = false,
  }
end

-- What a hook does before it answers ---------------------------------------------------------------

--- A variable that is closed by `fn`, however the function ends.
local function closing(fn) return setmetatable({}, { __close = fn }) end

local at_once = {} -- also where nothing can wait

function at_once.publish(world)
  local roll = world.roll
  luamq.publish("x/" .. roll(3), "by a hook", { qos = roll(3) - 1, retain = roll(4) == 1 })
end

--- Before its CONNECT it may be the one that is to watch.
function at_once.close(_, client)
  if client and client.id ~= "watch" and client.id ~= "" then client:close() end
end

function at_once.close_another(world)
  local client = luamq.client(("abc"):sub(world.roll(3)):sub(1, 1))
  if client then client:close("administrative_action", "at random") end
end

function at_once.deliver(world)
  local session = luamq.session(("abc"):sub(world.roll(3)):sub(1, 1))
  if session then session:deliver("x/1", "delivered", { qos = world.roll(3) - 1 }) end
end

function at_once.remember(world, client)
  if client then client.ref = { world.roll(100) } end
  luamq.shared.last = world.roll(100)
end

function at_once.spawn(world)
  local roll = world.roll
  local task = luamq.spawn(function()
    local _ <close> = closing(function() pcall(luamq.sleep, 1) end)
    luamq.sleep(roll(8000) / 1000)
    at_once.publish(world)
    if roll(3) == 1 then error("a coroutine that fails", 0) end
  end)
  if world.task and roll(2) == 1 then world.task:cancel() end
  world.task = task
end

--- What is closed cancels another one.
function at_once.spawn_a_pair(world)
  local other
  local one = luamq.spawn(function()
    local _ <close> = closing(function() if other then other:cancel() end end)
    luamq.sleep(3)
  end)
  other = luamq.spawn(function()
    local _ <close> = closing(function() if one then one:cancel() end end)
    luamq.sleep(world.roll(6))
  end)
end

function at_once.after(world)
  local roll = world.roll
  local timer = luamq.after(roll(3000) / 1000, function()
    luamq.sleep(roll(2000) / 1000)
    at_once.publish(world)
  end)
  if roll(3) == 1 then timer:cancel() end
end

function at_once.reload_later() luamq.spawn(luamq.reload) end

function at_once.collect() collectgarbage() end

function at_once.sleep_anyway() pcall(luamq.sleep, 0.1) end

function at_once.raise() error("at random", 0) end

local waits = {}

function waits.sleep(world) luamq.sleep(world.roll(8000) / 1000) end

function waits.no_time() luamq.sleep(0) end

function waits.in_steps(world)
  for _ = 1, world.roll(20) do luamq.sleep(0.3) end
end

function waits.in_pcall(world)
  local fine = pcall(function()
    for _ in pairs { 1, 2 } do luamq.sleep(world.roll(1000) / 1000) end
    if world.roll(2) == 1 then error "caught" end
  end)
  if not fine then luamq.sleep(0.1) end
end

function waits.with_a_slot(world)
  local slot <close> = world.slots:acquire(world.roll(3) > 1 and world.roll(4) or nil)
  if slot then luamq.sleep(world.roll(2000) / 1000) end
end

function waits.send(world) world.channel:send(world.roll(9), world.roll(3)) end

function waits.receive(world) world.channel:receive(world.roll(3)) end

function waits.and_closes_in_the_end(world, client)
  local _ <close> = closing(function() at_once.close(world, client) end)
  luamq.sleep(world.roll(6))
end

function waits.and_spawns_in_the_end(world)
  local _ <close> = closing(function() at_once.spawn(world) end)
  luamq.sleep(world.roll(6))
end

function waits.and_raises_in_the_end(world)
  local _ <close> = closing(function() error("while it closes", 0) end)
  luamq.sleep(world.roll(6))
end

-- What a hook of deliveries does not do: it would feed itself for ever.
local feeds = {
  publish = true, deliver = true, spawn = true, after = true, and_spawns_in_the_end = true,
}

local function names_of(sets, left_out)
  local names = {}
  for _, set in ipairs(sets) do
    for name in pairs(set) do
      if not left_out[name] then names[#names + 1] = name end
    end
  end
  table.sort(names)
  return names
end

local names_of_act = {
  any = names_of({ at_once, waits }, {}), at_once = names_of({ at_once }, {}),
  of_deliveries = names_of({ at_once, waits }, feeds), of_events = names_of({ at_once }, feeds),
}
local all = setmetatable({}, { __index = function(_, name) return at_once[name] or waits[name] end })

--- Some of them, as wild as the script is.
local function act(world, wildness, kind, client)
  local roll, names = world.roll, names_of_act[kind]
  while roll(10) <= wildness do all[names[roll(#names)]](world, client) end
end

-- Answers ------------------------------------------------------------------------------------------

local answers = {
  authenticate = { true, true, true, true, false, { inflight_messages = 1 }, { publish_rate = 5 }, 42 },
  auth = { true, true, true, "continue", false, 42 },
  setup = { true, true, true, true, false },
  subscribe = { true, true, true, 0, 1, { topic = "x/#" }, false, {} },
  unsubscribe = { true, true, true, false },
  publish = { true, true, true, { payload = "changed" }, { topic = "x/1", qos = 1 }, "drop", false, 42 },
  dequeue = { true, true, true, { payload = "changed" }, { qos = 0 }, false, "drop" },
  packet = { true, true, true, true, true, true, true, false },
  full_queue = { "wait", "drop_new", "drop_old", "disconnect" },
  selftest = { true, true, true, false },
}

local function answer(world, name)
  local list = answers[name]
  if not list or world.roll(12) == 1 then return nil end
  local one = list[world.roll(#list)]
  if name == "auth" and one == "continue" then return one, "more" end
  return one
end

--- A publish hook is never cancelled: one that is left before it has answered has waited too long.
local function watch_for_cancel(world)
  local until_s, mark = luamq.now() + TIMEOUT - 0.001, {}
  return mark, closing(function(_, problem)
    if mark.answered or problem or world.stops or luamq.now() > until_s then return end
    world.problems[#world.problems + 1] = "a publish hook was cancelled"
  end)
end

local function publish(world, wildness)
  return function(client, message)
    local mark, watcher = watch_for_cancel(world)
    local _ <close> = watcher
    local payload = message.payload
    act(world, wildness, "any", client)
    mark.answered = true
    if not message.topic:find "^audit/" then return answer(world, "publish") end
    local verdict = ({ true, true, true, false, "drop" })[world.roll(5)]
    world.verdicts[payload] = tostring(verdict)
    return verdict
  end
end

--- The watching client may have to wait, but not so long that it is denied.
local function dequeue(world, wildness)
  return function(client)
    if client.id ~= "watch" then
      act(world, wildness, "of_deliveries", client)
      return answer(world, "dequeue")
    end
    if world.roll(10) <= wildness then luamq.sleep(world.roll(1500) / 1000) end
    return true
  end
end

local function of_client(name)
  return function(world, wildness)
    return function(client)
      if client.id == "watch" then return true end
      act(world, wildness, name == "full_queue" and "of_events" or "any", client)
      return answer(world, name)
    end
  end
end

local function of_broker(name)
  return function(world, wildness)
    return function()
      act(world, wildness, name == "selftest" and "any" or "at_once", nil)
      if name == "save" then return { world.roll(9) } end
      return answer(world, name)
    end
  end
end

local function log(world, wildness)
  return function(_, client)
    if world.roll(20) == 1 then act(world, wildness, "of_events", client) end
  end
end

local makers = { publish = publish, dequeue = dequeue, log = log }
for _, name in ipairs {
  "authenticate", "auth", "setup", "restore", "subscribe", "unsubscribe", "terminate", "packet", "full_queue",
  "adopt",
} do makers[name] = of_client(name) end
for _, name in ipairs { "selftest", "save", "error" } do makers[name] = of_broker(name) end
local hook_names = names_of({ makers }, {})

local function hooks(world)
  local roll, list = world.roll, {}
  for i = 1, roll(5) == 1 and 2 or 1 do
    list[i] = {}
    for _, name in ipairs(hook_names) do
      -- The time of a publish hook is its own, see watch_for_cancel.
      local wanted = roll(2) == 1 and (i == 1 or name ~= "publish")
      if wanted then list[i][name] = makers[name](world, roll(7) - 1) end
    end
  end
  for _, name in ipairs { "authenticate", "auth" } do -- so that there is a way in, with a method and without
    list[1][name] = list[1][name] or makers[name](world, 0)
  end
  return list
end

--- Another script.
---@param world spec.World
---@return table script
function chaos_hooks.script(world)
  local roll = world.roll
  return {
    listeners = { "tcp://127.0.0.1:0" },
    log = { level = "off" },
    hooks = hooks(world),
    backend = {
      max_session_expiry = 60, session_queue_size = ({ 3, 1000 })[roll(2)],
      full_queue = ({ "wait", "drop_new", "drop_old" })[roll(3)],
    },
    script = {
      hook_timeout = TIMEOUT, max_suspended = ({ 1, 2, 10000 })[roll(3)],
      max_spawned = ({ 3, 10000 })[roll(2)], reauthorize = roll(3) == 1,
    },
  }
end

return chaos_hooks
