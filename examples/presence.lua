-- Presence: who is there. For each client id a retained message on `presence/ID` in JSON: online, since
-- when, from where and, when it has gone, why. A client that comes back within some seconds has never been
-- away.
--
--     mosquitto_sub -t 'presence/+' -v
--
-- examples/presence_spec.lua tests it.
local json = require "cjson.safe"
local luamq = require "luamq"

local PATIENCE <const> = 5 -- seconds

local online = luamq.gauge("clients_online", nil, "clients that are there, or were some seconds ago")

local leaving = {} -- id -> timer

local function tell(id, state)
  state.since = math.floor(luamq.now())
  luamq.publish("presence/" .. id, json.encode(state), { qos = 1, retain = true })
end

--- Ids that can stand in a topic as one level, and be told apart.
local function is_level(id) return not id:find "[/+#]" end

local hooks = {}

function hooks.setup(client)
  if not is_level(client.id) then return false, "client_identifier_not_valid" end
  return true
end

function hooks.restore(client)
  local timer = leaving[client.id]
  if timer then
    timer:cancel()
    leaving[client.id] = nil
    return
  end
  online:inc()
  tell(client.id, { online = true, address = client.remote_address })
end

-- A take-over is no leave: by the time the timer fires there is another client of that id.
function hooks.terminate(client, why)
  local id = client.id
  if leaving[id] then leaving[id]:cancel() end
  leaving[id] = luamq.after(PATIENCE, function()
    leaving[id] = nil
    if luamq.client(id) then return end
    online:dec()
    tell(id, { online = false, reason = why })
  end)
end

-- Nobody else tells who is there.
hooks.publish = luamq.on_topics({ "presence/#" }, function() return false, "not_authorized" end)

-- Timers end with the script; who was leaving when it was replaced has left.
function hooks.save()
  local ids = {}
  for id in pairs(leaving) do ids[#ids + 1] = id end
  return { leaving = ids }
end

function hooks.start(broker)
  for _, id in ipairs(broker.saved and broker.saved.leaving or {}) do
    if not luamq.client(id) then
      online:dec()
      tell(id, { online = false, reason = "left during a reload" })
    end
  end
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
