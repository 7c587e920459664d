-- What users may do, kept in Redis: of each user a set of topic filters for publishing and one for
-- subscribing, so that another program can change them at any time.
--
--     redis-cli sadd acl:meter:publish 'meters/#'
--     redis-cli sadd acl:viewer:subscribe 'meters/+/power' 'weather'
--
-- They are asked for again after ten seconds at the latest. While Redis does not answer, those that were
-- read before hold on, and who has none yet is refused.
local luamq = require "luamq"
local redis = require "luamq.redis"

local listener, port = ...
local db = redis.new { port = math.tointeger(port) or 6379, timeout = 0.5 }

local KEPT <const> = 10 -- seconds

local rules = {} -- user name -> { publish = filters, subscribe = filters, old = it is to be read again }

local function read(username)
  local replies, err = db:pipeline {
    { "SMEMBERS", "acl:" .. username .. ":publish" },
    { "SMEMBERS", "acl:" .. username .. ":subscribe" },
  }
  if not replies then return nil, err end
  for _, reply in ipairs(replies) do
    if reply.error then return nil, reply.error end
  end
  return { publish = replies[1], subscribe = replies[2] }
end

local function rules_of(username)
  local known = rules[username]
  if known and not known.old then return known end
  local fresh, err = read(username)
  if not fresh then
    luamq.log.warn("no rules from redis", { username = username, err = err })
    return known
  end
  rules[username] = fresh
  return fresh
end

local function check(client, operation, topic)
  local own = rules_of(client.username)
  if not own then return false, "unspecified_error" end
  for _, filter in ipairs(own[operation]) do
    if luamq.match(filter, topic) then return true end
  end
  return false, "not_authorized"
end

local hooks = {}

function hooks.start()
  luamq.every(KEPT, function()
    local online = {}
    for _, client in ipairs(luamq.clients()) do online[client.username or ""] = true end
    for username, known in pairs(rules) do
      known.old = true
      if not online[username] then rules[username] = nil end
    end
  end)
end

function hooks.publish(client, message) return check(client, "publish", message.topic) end

function hooks.subscribe(client, subscription) return check(client, "subscribe", subscription.topic) end

return {
  listeners = { listener or "tcp://127.0.0.1:1883" },
  credentials = { meter = "m3ter", viewer = "v1ewer" },
  hooks = hooks,
}
