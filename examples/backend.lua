-- Sessions that outlive the broker: subscriptions, queued messages and packets in flight of each stored
-- session are in an SQLite file, which is read when a session is needed and written behind.
--
--     luamq examples/backend.lua tcp://127.0.0.1:1883 sessions.db
--
-- At the start sessions sleep in the file; of those only the filters are known. One wakes up when its client
-- comes (`setup`), or when a message of QoS 1 or 2 is for it (`publish`): it becomes a session of the broker,
-- which routes and queues as ever. What has changed is written once a second, each session as it is at one
-- moment, and when the broker stops.
--
-- WHAT A CRASH CAN LOSE is what has happened since a session was last written, up to a second ago, or longer
-- while the database does not answer (that is logged). The session is as it was then:
--   - a message that was queued for it since is lost, although its publisher has its PUBACK or PUBCOMP;
--   - a message that its client acknowledged since is sent again, with QoS 1 and, if all of the exchange was
--     since, with QoS 2;
--   - a QoS 2 message that its client sent since, and was told by PUBREC to be there, is lost;
--   - a SUBSCRIBE or UNSUBSCRIBE since is not there.
-- Nothing of these is lost when it stops in order. Retained messages are not stored, nor are subscription
-- identifiers of messages, wills with a delay, and what luamq.publish has for a session that sleeps.
--
-- examples/backend_spec.lua tests it; spec/backend_spec.lua has it do what any broker owes its clients.
local json = require "cjson.safe"
local luamq = require "luamq"
local sqlite = require "luamq.sqlite"

local listener, path, synchronous = ... -- "off" for a spec, whose files survive nothing

local FLUSH_S <const> = 1
local AT_ONCE <const> = 100 -- sessions in a transaction
local FOR_EVER <const> = 0xffffffff

local db = sqlite.open(path or "sessions.db",
  { synchronous = synchronous or "normal", max_rows = 1000000, max_bytes = "256M", timeout = 30 })

local SCHEMA <const> = [[
  create table if not exists sessions (
    id text primary key, expiry integer not null, ends_at real) without rowid;
  create table if not exists subscriptions (
    session text not null references sessions on delete cascade, topic text not null, share text,
    qos integer not null, no_local integer, retain_as_published integer, identifier integer);
  create table if not exists messages (
    session text not null references sessions on delete cascade, place integer not null, kind text not null,
    packet_type text, packet_id integer, topic text, payload blob, qos integer, retain integer,
    content_type text, response_topic text, correlation_data blob, payload_format_indicator integer,
    user_properties text, expires_at real);
  create index if not exists subscriptions_of_session on subscriptions (session);
  create index if not exists messages_of_session on messages (session, place);]]

local asleep = {}   -- id -> filters
local awake = {}    -- id -> what its queue was like when it was written
local changed = {}  -- ids that are to be written
local left = {}     -- id -> when its client left
local waking = luamq.semaphore(1)
local flushing = luamq.semaphore(1)

-- From the file ------------------------------------------------------------------------------

local function is_set(column)
  if column == nil then return nil end
  return column ~= 0
end

local function message_of(row, now)
  if not row.topic then return nil end
  return {
    topic = row.topic, payload = row.payload, qos = row.qos, retain = is_set(row.retain),
    content_type = row.content_type, response_topic = row.response_topic,
    correlation_data = row.correlation_data, payload_format_indicator = row.payload_format_indicator,
    user_properties = row.user_properties and json.decode(row.user_properties),
    message_expiry_interval = row.expires_at and math.max(0, math.ceil(row.expires_at - now)),
  }
end

local function deliver(session, message)
  local topic, payload = message.topic, message.payload
  message.topic, message.payload = nil, nil
  session:deliver(topic, payload, message)
end

local function fill(session, subscriptions, messages)
  local now = luamq.now()
  for _, row in ipairs(subscriptions) do
    session:subscribe {
      topic = row.topic, share = row.share, qos = row.qos, identifier = row.identifier, retain_handling = 2,
      no_local = is_set(row.no_local), retain_as_published = is_set(row.retain_as_published),
    }
  end
  for _, row in ipairs(messages) do
    local message = message_of(row, now)
    if row.kind == "queue" then
      deliver(session, message)
    else
      session:save_packet(row.kind, { type = row.packet_type, id = row.packet_id, message = message })
    end
  end
end

--- How many seconds a session is still to be kept; nil when it is over.
local function rest_of(row)
  if not row.ends_at then return row.expiry end
  local rest = math.ceil(row.ends_at - luamq.now())
  return rest > 0 and rest or nil
end

--- Makes a session that sleeps one of the broker. False and a message when the file cannot be read.
local function wake(id)
  local _ <close> = waking:acquire()
  if not asleep[id] then return true end
  local results, err = db:transaction {
    { "select * from sessions where id = ?", id },
    { "select * from subscriptions where session = ? order by rowid", id },
    { "select * from messages where session = ? order by place", id },
  }
  if not results then
    luamq.log.error("sessions cannot be read", { err = err })
    return false, err
  end
  asleep[id] = nil
  changed[id] = true
  local row = results[1][1]
  local rest = row and rest_of(row)
  local session = rest and luamq.create_session(id, rest)
  if not session then return true end -- its time is over
  awake[id], left[id] = {}, row.ends_at and row.ends_at - row.expiry
  fill(session, results[2], results[3])
  return true
end

--- Those that sleep, and their filters. Who was there when the broker ended has left now.
local function read_sleepers()
  local now = luamq.now()
  local results = assert(db:transaction {
    { "update sessions set ends_at = ? + expiry where ends_at is null and expiry < ?", now, FOR_EVER },
    { "delete from sessions where ends_at <= ?", now },
    { "select id from sessions" },
    { "select session, topic from subscriptions" },
  })
  for _, row in ipairs(results[3]) do asleep[row.id] = {} end
  for _, row in ipairs(results[4]) do table.insert(asleep[row.session], row.topic) end
end

-- To the file --------------------------------------------------------------------------------

local function blob(bytes) return bytes and sqlite.blob(bytes) end

local INSERT_MESSAGE <const> = "insert into messages values (" .. ("?, "):rep(14) .. "?)"

local function add_message(batch, id, place, kind, packet, message, now)
  local m = message or {}
  local expiry = m.message_expiry_interval
  batch:query(INSERT_MESSAGE, id, place, kind, packet and packet.type, packet and packet.id, m.topic,
    blob(m.payload), m.qos, m.retain, m.content_type, m.response_topic, blob(m.correlation_data),
    m.payload_format_indicator, m.user_properties and json.encode(m.user_properties), expiry and now + expiry)
end

local function add_messages(batch, id, session, now)
  local place = 0
  for _, direction in ipairs { "incoming", "outgoing" } do
    for _, packet in ipairs(session:all_packets(direction)) do
      place = place + 1
      add_message(batch, id, place, direction, packet, packet.message, now)
    end
  end
  for _, message in ipairs(session:all_messages()) do
    place = place + 1
    if message.qos > 0 then add_message(batch, id, place, "queue", nil, message, now) end
  end
end

--- The session as it is at this moment, in the place of what the file has of it.
local function add_session(batch, id)
  batch:query("delete from sessions where id = ?", id)
  local session, now = luamq.session(id), luamq.now()
  if not session or session.clean then
    awake[id] = nil
    return
  end
  local expiry, ends_at = session.session_expiry_interval, nil
  if not session.client and expiry < FOR_EVER then ends_at = (left[id] or now) + expiry end
  batch:query("insert into sessions values (?, ?, ?)", id, expiry, ends_at)
  for _, s in ipairs(session.subscriptions) do
    batch:query("insert into subscriptions values (?, ?, ?, ?, ?, ?, ?)", id, s.topic, s.share, s.qos,
      s.no_local, s.retain_as_published, s.identifier)
  end
  add_messages(batch, id, session, now)
  awake[id] = { queued = session.queued, dropped = session.dropped }
end

--- Whose queue is not as it was: a message more counts, or another one that was dropped for it.
local function note_queues()
  local ids = {}
  for id in pairs(awake) do ids[#ids + 1] = id end
  for i, id in ipairs(ids) do
    local session, was = luamq.session(id), awake[id] or {}
    local same = session and session.queued == was.queued and session.dropped == was.dropped
    if not same then changed[id] = true end
    if i % 1000 == 0 then luamq.sleep(0) end -- others have their turn
  end
end

local function take_some()
  local list = {}
  for id in pairs(changed) do
    list[#list + 1] = id
    if #list == AT_ONCE then break end
  end
  for _, id in ipairs(list) do changed[id] = nil end
  return list
end

local function write(list)
  local done, err = db:transaction(function(batch)
    for _, id in ipairs(list) do add_session(batch, id) end
  end)
  if done then return true end
  for _, id in ipairs(list) do changed[id] = true end
  luamq.log.error("sessions cannot be written", { err = err, sessions = #list })
  return false
end

local function flush()
  local _ <close> = flushing:acquire()
  note_queues()
  while next(changed) do
    if not write(take_some()) then return end
  end
end

-- Packets in flight: those of the broker's own session, and a note that they have changed ----

local Packets = {}
Packets.__index = Packets

function Packets:next_id() return luamq.session(self.id):next_id() end

function Packets:save_packet(direction, packet)
  changed[self.id] = true
  return luamq.session(self.id):save_packet(direction, packet)
end

function Packets:lookup_packet(direction, id) return luamq.session(self.id):lookup_packet(direction, id) end

function Packets:delete_packet(direction, id)
  changed[self.id] = true
  return luamq.session(self.id):delete_packet(direction, id)
end

function Packets:all_packets(direction) return luamq.session(self.id):all_packets(direction) end

local function packets_of(client)
  local id = client.id
  awake[id] = awake[id] or {}
  changed[id], left[id] = true, nil
  return setmetatable({ id = id }, Packets)
end

-- Hooks --------------------------------------------------------------------------------------

local hooks = {}

function hooks.start(broker)
  assert(db:exec(SCHEMA))
  if broker.saved then -- a reload: the broker has all that it had
    local saved = broker.saved
    asleep, awake, changed, left = saved.asleep, saved.awake, saved.changed, saved.left
  else
    read_sleepers()
  end
  luamq.spawn(function()
    while true do
      luamq.sleep(FLUSH_S)
      flush()
    end
  end)
end

function hooks.setup(client, _, clean)
  local id = client.id
  if clean then
    asleep[id] = nil
  elseif not wake(id) then
    return false, "server_unavailable"
  end
  return packets_of(client)
end

function hooks.adopt(client) return packets_of(client) end

function hooks.subscribe(client)
  changed[client.id] = true
  return true
end

function hooks.unsubscribe(client)
  changed[client.id] = true
  return true
end

local function is_for(filters, topic)
  for _, filter in ipairs(filters) do
    if luamq.match(filter, topic) then return true end
  end
  return false
end

function hooks.publish(_, message)
  if message.qos == 0 or not next(asleep) then return true end
  local list = {}
  for id, filters in pairs(asleep) do
    if is_for(filters, message.topic) then list[#list + 1] = id end
  end
  for _, id in ipairs(list) do
    if not wake(id) then return false, "server_unavailable" end
  end
  return true
end

function hooks.terminate(client)
  changed[client.id], left[client.id] = true, luamq.now()
end

-- What is being written at this moment is written again by the next script: it may not have been through.
function hooks.save()
  for id in pairs(awake) do changed[id] = true end
  return { asleep = asleep, awake = awake, changed = changed, left = left }
end

function hooks.stop()
  flush()
  db:close()
end

return {
  listeners = { listener or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
