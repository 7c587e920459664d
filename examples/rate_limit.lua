-- A rate limit by user, however many clients one has: a token bucket for each user name, that fills with
-- time. Who is above it is refused (MQTT 5 clients are told; others are acknowledged, and the message is
-- dropped); who goes on for a while is closed.
--
-- examples/rate_limit_spec.lua tests it with a clock of its own. For a limit by client there is a setting,
-- `backend.publish_rate`: it makes the client wait, and needs no hook.
local luamq = require "luamq"

local RATE <const>, BURST <const> = 50, 100 -- publishes a second, publishes at once
local PATIENCE <const> = 200 -- refusals until a client is closed

local refused = luamq.counter("rate_limit_refused_total", { "user" }, "publishes above their user's rate")

local buckets = {} -- user -> { tokens, since }

--- Takes a token of the user's. Whether there was one.
local function take(user)
  local now = luamq.now()
  local bucket = buckets[user]
  if not bucket then
    bucket = { tokens = BURST, since = now }
    buckets[user] = bucket
  end
  bucket.tokens = math.min(BURST, bucket.tokens + (now - bucket.since) * RATE)
  bucket.since = now
  if bucket.tokens < 1 then return false end
  bucket.tokens = bucket.tokens - 1
  return true
end

local hooks = {}

-- Any name will do here; examples/passwords.lua has passwords.
function hooks.authenticate(client, username)
  if not username then return false, "bad_user_name_or_password" end
  client.ref = { refused = 0 }
  return true
end

function hooks.publish(client)
  if client.closing or take(client.username) then return true end -- a will is always heard
  refused:inc(client.username)
  client.ref.refused = client.ref.refused + 1
  if client.ref.refused >= PATIENCE then client:close "message_rate_too_high" end
  return false, "quota_exceeded"
end

-- Buckets that are full say nothing more than none.
function hooks.start()
  luamq.every(60, function()
    local full = luamq.now() - BURST / RATE
    for user, bucket in pairs(buckets) do
      if bucket.since < full then buckets[user] = nil end
    end
  end)
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
