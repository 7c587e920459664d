--- Sequences of steps for spec.support.model_run: at random, shrunk, and as text.
---
---     local steps = sequences.random(seed)
---     if run.try(steps) then print(sequences.describe(sequences.shrink(steps))) end

local dice = require "spec.support.dice"
local run = require "spec.support.model_run"

local sequences = {}

local FOR_EVER = 0xffffffff

-- At random -------------------------------------------------------------------------------

local topics = { "x", "x/y", "x/y/z", "w", "w", "v" }
-- No message is for two of them, and none of theirs is empty: who got which?
local shared, never_shared = { "$share/g/x/#", "$share/g/v" }, "w"
local filters = { "x", "x/y", "x/#", "#", "+", "x/+", "+/y", "w", "w" }

local kinds = {}

function kinds.connect(roll, s)
  s.version, s.clean = ({ 3, 4, 4, 5, 5, 5, 5, 5 })[roll(8)], roll(4) == 1
  s.expiry = ({ 0, 5, 60, FOR_EVER })[roll(4)]
  s.receive_maximum = ({ 1, 2, 5, nil })[roll(4)]
  s.aliases, s.holds = roll(3) - 1, roll(3) == 1
  if s.aliases == 0 and roll(4) == 1 then s.maximum_size = 30 end
  if roll(4) > 1 then return end
  s.will = {
    topic = topics[roll(#topics)], qos = roll(3) - 1, retain = roll(3) == 1,
    delay = ({ 0, 0, 3, 30 })[roll(4)], expiry = ({ 1, 20, nil })[roll(3)],
  }
end

function kinds.subscribe(roll, s)
  s.filters = {}
  for i = 1, roll(2) do
    s.filters[i] = {
      filter = filters[roll(#filters)], qos = roll(3) - 1, handling = ({ 0, 0, 1, 2 })[roll(4)],
      no_local = roll(4) == 1, as_published = roll(3) == 1,
    }
  end
  if roll(2) == 1 then s.identifier = roll(300) end
end

function kinds.share(roll, s)
  s.op = "subscribe"
  local filter, qos = shared[roll(#shared)], roll(3) - 1
  s.filters = { { filter = filter, qos = qos, handling = 0, as_published = roll(3) == 1 } }
  if roll(2) == 1 then s.identifier = roll(300) end
end

function kinds.unsubscribe(roll, s) s.filter = filters[roll(#filters)] end

function kinds.unshare(roll, s) s.op, s.filter = "unsubscribe", shared[roll(#shared)] end

function kinds.publish(roll, s)
  s.topic, s.qos, s.retain = topics[roll(#topics)], roll(3) - 1, roll(3) == 1
  s.empty = s.retain and s.topic == never_shared and roll(3) == 1
  if roll(4) == 1 then s.expiry = ({ 1, 5, 20 })[roll(3)] end
  if roll(4) == 1 then s.alias = roll(3) end
  if roll(3) == 1 then s.fill = 10 + roll(10) end
  s.keeps = s.qos == 2 and roll(3) == 1
end

function kinds.again() end
function kinds.release() end
function kinds.drop() end

function kinds.ack(roll, s)
  s.pick = roll(10)
  if roll(5) == 1 then s.how = "refuse" end
end

function kinds.holds(roll, s) s.on = roll(2) == 1 end

function kinds.leave(roll, s)
  s.with_will = roll(3) == 1
  if roll(3) == 1 then s.expiry = ({ 0, 5, 60 })[roll(3)] end
end

function kinds.advance(roll, s) s.client, s.ms = nil, ({ 375, 1250, 4125, 21500 })[roll(4)] end

--- How often each comes.
local weights = {
  publish = 24, ack = 10, subscribe = 7, connect = 8, advance = 4, drop = 3, share = 4, unsubscribe = 2,
  release = 2, leave = 2, holds = 2, again = 1, unshare = 1,
}
local bag = {}
for name, weight in pairs(weights) do
  for _ = 1, weight do bag[#bag + 1] = name end
end
table.sort(bag)

--- A sequence of 10 to 80 steps.
---@param seed integer
---@return table[]
function sequences.random(seed)
  local roll, list = dice(seed), {}
  for i = 1, 9 + roll(71) do
    local s = { op = bag[roll(#bag)], client = run.ids[roll(#run.ids)] }
    if i <= #run.ids then s.op, s.client = "connect", run.ids[i] end
    kinds[s.op](roll, s)
    list[i] = s
  end
  return list
end

-- Shrinking ----------------------------------------------------------------------------------

local function without(list, from, to)
  local rest = table.move(list, 1, from - 1, 1, {})
  return table.move(list, to + 1, #list, from, rest)
end

--- The fewest steps that still fail: parts are left out, half of them, a quarter, ... down to single ones.
---@param list table[]  that fail
---@param fails (fun(list: table[]): any)?  default: run.try
---@return table[]
function sequences.shrink(list, fails)
  fails = fails or run.try
  local size = #list // 2
  while size >= 1 do
    local from, shorter = 1, false
    while from <= #list do
      local part = without(list, from, math.min(from + size - 1, #list))
      if fails(part) then
        list, shorter = part, true
      else
        from = from + size
      end
    end
    if size > 1 or not shorter then size = size // 2 end
  end
  return list
end

local function literal(value)
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) ~= "table" then return tostring(value) end
  local keys, parts = {}, {}
  for key in pairs(value) do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  table.sort(keys)
  for _, entry in ipairs(value) do parts[#parts + 1] = literal(entry) end
  for _, key in ipairs(keys) do parts[#parts + 1] = key .. " = " .. literal(value[key]) end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

--- Steps as Lua, a line each.
---@param list table[]
---@return string
function sequences.describe(list)
  local lines = {}
  for i, s in ipairs(list) do lines[i] = "  " .. literal(s) .. "," end
  return "{\n" .. table.concat(lines, "\n") .. "\n}"
end

return sequences
