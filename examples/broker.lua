#!/usr/bin/env luamq
-- What `make run` serves: a home. Anyone on this machine may read and write below home/, nobody may switch
-- the heating beyond 25 degrees, and what is said in home/log/# is shown here.
--
--   mosquitto_sub -t 'home/#' -v
--   mosquitto_pub -t home/kitchen/light -m on
--   mosquitto_pub -t home/heating/set -m 30        # refused: nothing is delivered
local luamq = require "luamq"

local hooks = {}

function hooks.publish(client, message)
  if not luamq.match("home/#", message.topic) then return false, "not_authorized" end
  if message.topic == "home/heating/set" then
    local degrees = tonumber(message.payload)
    if not degrees or degrees > 25 then
      luamq.log.warn("heating refused", { client = client and client.id, payload_bytes = #message.payload })
      return false, "payload_format_invalid"
    end
  end
  return true
end

function hooks.subscribe(_, subscription)
  if not luamq.match("home/#", subscription.topic) then return false, "not_authorized" end
  return math.min(subscription.qos, 1) -- nobody here needs QoS 2
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
