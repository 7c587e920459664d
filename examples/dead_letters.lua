-- Dead letters: messages that would be lost without a word go to `dead/REASON/TOPIC`, with user properties
-- that tell where they come from, so that somebody can look at them, count them or send them again:
--
--   nobody    nobody has subscribed to the topic
--   refused   the policy refuses it: here, commands of anybody but operators
--   full      the queue of a subscriber has no room for it
--
--     mosquitto_sub -u operator -t 'dead/#' -v
--
-- examples/dead_letters_spec.lua tests it.
local luamq = require "luamq"

local EXPIRY <const> = 24 * 3600 -- seconds that a dead letter waits for a reader

local letters = luamq.counter("dead_letters_total", { "reason" }, "messages that went to dead/#")

local function bury(reason, client, message, more)
  letters:inc(reason)
  local properties = { { "reason", reason }, { "from", client.id } }
  if more then properties[#properties + 1] = more end
  luamq.publish("dead/" .. reason .. "/" .. message.topic, message.payload, {
    qos = 1, message_expiry_interval = EXPIRY, user_properties = properties,
  })
end

local function is_letter(topic) return luamq.match("dead/#", topic) end

--- Whether anybody would get it. This looks at all sessions: fine for some hundred; a larger broker keeps a
--- table of its own, which `subscribe`, `unsubscribe` and `terminate` keep in step.
local function has_reader(topic)
  for _, client in ipairs(luamq.clients()) do
    for _, subscription in ipairs(client.session.subscriptions) do
      if luamq.match(subscription.topic, topic) then return true end
    end
  end
  return false
end

local hooks = {}

-- Any name will do here; examples/passwords.lua has passwords.
function hooks.authenticate(client, username)
  client.ref = { operator = username == "operator" }
  return true
end

function hooks.publish(client, message)
  if is_letter(message.topic) then return false, "not_authorized" end -- only the broker buries
  if luamq.match("commands/#", message.topic) and not client.ref.operator then
    bury("refused", client, message)
    return false, "not_authorized"
  end
  if not message.retain and not has_reader(message.topic) then
    bury("nobody", client, message)
    return "drop"
  end
  return true
end

function hooks.subscribe(client, subscription)
  local reads_letters = subscription.topic:find "^dead/" or subscription.topic:find "^[#+]"
  if reads_letters and not client.ref.operator then return false, "not_authorized" end
  return true
end

-- The client is the subscriber. A letter that finds no room is lost: it must not make another one.
function hooks.full_queue(client, message)
  if not is_letter(message.topic) then bury("full", client, message, { "to", client.id }) end
  return "drop_new"
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  backend = { session_queue_size = 100 },
  hooks = hooks,
}
