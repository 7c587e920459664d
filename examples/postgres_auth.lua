-- Logins from PostgreSQL, whose table has the hashes of passwords as `luamq passwd` or luamq.password.hash
-- makes them. A row is kept for half a minute, so that a thousand devices which come back at once are no
-- thousand queries each time; the password is compared in a worker thread every time.
--
--     create table users (name text primary key, hash text not null, disabled boolean not null default false)
local luamq = require "luamq"
local postgres = require "luamq.postgres"

local listener, uri = ...
local db = postgres.new { uri = uri or "postgresql://broker@127.0.0.1/broker", pool = 8, timeout = 2 }

local KEPT <const> = 30    -- seconds
local MOST <const> = 10000 -- users

local users, count = {}, 0 -- name -> row, or false: there is none

local function forget() users, count = {}, 0 end

--- The row of a user, or false; nil and a message where the database does not answer.
local function user_of(name)
  if users[name] ~= nil then return users[name] end
  local rows, err = db:query("select hash from users where name = $1 and not disabled", name)
  if not rows then return nil, err end
  if count >= MOST then forget() end
  users[name], count = rows[1] or false, count + 1
  return users[name]
end

local hooks = {}

function hooks.start() luamq.every(KEPT, forget) end

local nobody -- a hash for those who are not known: the time that a login takes tells nobody who is

local function hash_of(user)
  if user then return user.hash end
  nobody = nobody or luamq.password.hash(luamq.crypto.base64_encode(luamq.crypto.random(16)))
  return nobody
end

function hooks.authenticate(_, username, password)
  if not username or not password then return false, "bad_user_name_or_password" end
  local user, err = user_of(username)
  if user == nil then
    luamq.log.error("no answer from postgres", { err = err })
    return false, "server_unavailable"
  end
  local right = luamq.password.verify(password, hash_of(user))
  return user and right or false, "bad_user_name_or_password"
end

return {
  listeners = { listener or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
