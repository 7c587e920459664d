--- Tries another script on what a record of decisions (luamq.record) holds: which decisions would change.
---
---     local report, problem = replay.run("decisions.jsonl", "candidate.lua")
---     for _, c in ipairs(report.changes) do print(c.line, c.old.reason, c.new.reason) end
---
--- The real broker decides, over memory connections and in the time of the record. There is no network. A
--- password is never in a record: a client that sent one is let in as it was, with the `client.ref` that it
--- had where that is in the record, and that login is not compared.

local test = require "luamq.test"

local replay = {}

---@class luamq.replay.Decision
---@field reason string    "success", or of a refusal
---@field dropped boolean?
---@field changed boolean?  something else was put in the place of the message
---@field became table?     that: topic, qos, retain, payload and properties, as far as the record has them
---@field became_filter string?  what was put in the place of a filter, without its group
---@field granted integer?  the QoS of a subscription
---@field error string?
---@field by string?        who decided
---@field name string?      the hook or the setting
---@field rule integer?
---@field place string?

---@class luamq.replay.Change
---@field line integer  in the record
---@field operation "connect"|"publish"|"subscribe"|"deliver"
---@field id string     of the client
---@field what string?  the topic or filter
---@field old luamq.replay.Decision
---@field new luamq.replay.Decision

---@class luamq.replay.Report
---@field lines integer     decisions in the record
---@field compared integer
---@field skipped table<string, integer>  how many were not, by why
---@field changes luamq.replay.Change[]

-- Reading ------------------------------------------------------------------------------------

local function cjson()
  local found, module = pcall(require, "cjson")
  if found then return module.new() end
  return nil, "a record is read with the Lua module cjson (Debian's package lua-cjson)"
end

--- The bytes of a field that may stand in base64.
local function bytes_of(record, name)
  local encoded = record[name .. "64"]
  if encoded == nil then return record[name] end
  return require "luamq".crypto.base64_decode(encoded)
end

--- Decodes a line; nil and what is wrong.
local function decode(json, text)
  local done, record = pcall(json.decode, text)
  if not done or type(record) ~= "table" or math.type(record.ms) == nil then
    return nil, "this is no line of a record"
  end
  for name, value in pairs(record) do -- cjson knows no integers
    if type(value) == "number" then record[name] = math.tointeger(value) or value end
  end
  return record
end

--- Checks the first line.
local function check_header(json, text)
  local header = text and decode(json, text)
  if not header or not header.luamq then return nil, "this is no record of decisions" end
  if header.record ~= 1 then
    return nil, "a record of another version of luamq: " .. tostring(header.luamq)
  end
  return true
end

-- Replaying ----------------------------------------------------------------------------------

---@class luamq.replay.Run
---@field broker luamq.test.Broker
---@field clients table<string, luamq.test.Client>
---@field trusted table<string, { ref: any }>  clients that are let in without being asked
---@field report luamq.replay.Report
local Run = {}
Run.__index = Run

local function skip(self, why) self.report.skipped[why] = (self.report.skipped[why] or 0) + 1 end

--- An address with a port, as luamq.test takes it; else nil.
local function address_of(record)
  local address = record.address or ""
  local known = address:find "^%d+%.%d+%.%d+%.%d+:%d+$" or address:find "^%[[%x:]+%]:%d+$"
  return known and address or nil
end

local versions <const> = { [3] = "3.1", [4] = "3.1.1", [5] = "5" }

--- Connects the client of a record; `trusted`: without asking authenticate.
function Run:connect(record, trusted)
  self.trusted[record.id] = trusted
  local client = self.broker:open(address_of(record))
  local is_5 = record.version == 5
  local answer = client:connect {
    id = record.id, username = record.user, version = versions[record.version] or "5",
    clean = not is_5 and record.clean or nil, clean_start = is_5 and record.clean or nil,
    keep_alive = record.keep_alive, password = record.password and "" or nil,
  }
  self.trusted[record.id] = nil
  if answer.reason == "success" then self.clients[record.id] = client end
  return answer
end

--- The client that a line is about. One that has come before the record began is let in.
function Run:client(record)
  local client = self.clients[record.id]
  if client and not client.closed then return client end
  self:connect(record, {})
  return self.clients[record.id]
end

--- The answer to a request; a hook that waits has the time of the broker for it.
function Run:answer(client, answer)
  if answer or client.closed then return answer end
  self.broker:advance(3600)
  return client:answer()
end

local properties <const> = {
  "content_type", "response_topic", "correlation_data", "payload_format_indicator", "message_expiry_interval",
  "user_properties",
}

---@type table<string, fun(self: luamq.replay.Run, record: table): luamq.test.Answer?>
local perform = {}

function perform.publish(self, record)
  local client = self:client(record)
  if not client then return nil end
  local options = { qos = record.qos, retain = record.retain or false }
  if client.core:version() == 5 then
    for _, name in ipairs(properties) do options[name] = bytes_of(record, name) end
  end
  local answer, problem = client:publish(record.topic, bytes_of(record, "payload") or "", options)
  if problem and problem ~= "no answer" then return { reason = problem } end
  return self:answer(client, answer)
end

--- The options of a subscription, of which MQTT before 5 has the QoS only.
local function options_of(record, version)
  local bits = record.options or 0
  if version ~= 5 then return record.qos end
  return { qos = record.qos, no_local = bits & 4 ~= 0, retain_as_published = bits & 8 ~= 0,
    retain_handling = bits >> 4 & 3, subscription_identifier = record.identifier }
end

function perform.subscribe(self, record)
  local client = self:client(record)
  if not client then return nil end
  return self:answer(client, client:subscribe(record.filter, options_of(record, client.core:version())))
end

function perform.deliver(self, record)
  local client = self:client(record)
  if not client then return nil end
  client:receive_all()
  client:steps()
  local session = self.broker:session(record.id)
  if not session then return nil end
  session:deliver(record.topic, bytes_of(record, "payload") or "",
    { qos = record.qos, retain = record.retain })
  self.broker:run()
  local delivered = #client:receive_all() > 0
  return { reason = delivered and "success" or "not_authorized", explanation = client:steps() }
end

--- Passwords are not in a record, so who sent one cannot be asked for it.
function perform.connect(self, record)
  if record.password or record.by == "credentials" then
    skip(self, "logins with a password")
    if record.reason == "success" then self:connect(record, { ref = record.ref }) end
    return nil
  end
  return self:connect(record)
end

--- The answer in the words of a record.
local function decision_of(answer)
  local result = { reason = answer.reason, error = answer.error, granted = answer.qos }
  local steps = answer.explanation or {}
  for _, step in ipairs(steps) do
    result.dropped = result.dropped or step.dropped
    result.became = step.message or result.became
    result.became_filter = step.filter or result.became_filter
    if step.operation ~= "subscribe" then result.changed = result.changed or step.changed end
    if step.reason ~= "success" or not result.by then
      result.by, result.name = step.by, step.hook or step.limit
      result.rule, result.place = step.rule, step.place
    end
    if step.reason ~= "success" then result.reason = step.reason end
  end
  return result
end

local function is_same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for i = 1, math.max(#a, #b) do
    if not is_same(a[i], b[i]) then return false end
  end
  return true
end

--- Whether messages are the same as far as the record has the old one.
---@param cut boolean  the payload that was asked about is not whole, so what came of it says nothing
local function is_same_message(old, new, cut)
  if not old or not new then return true end -- of a record that does not have it
  for _, name in ipairs { "topic", "qos", table.unpack(properties) } do
    if name ~= "message_expiry_interval" and not is_same(bytes_of(old, name), new[name]) then return false end
  end
  if (old.retain or false) ~= new.retain then return false end
  local payload = bytes_of(old, "payload") or ""
  return cut or payload == new.payload:sub(1, #payload)
    and (old.payload_length or #payload) == #new.payload
end

local function differs(old, new, cut)
  if old.reason ~= new.reason then return true end
  if old.reason ~= "success" then return false end
  return (old.dropped or false) ~= (new.dropped or false) or (old.changed or false) ~= (new.changed or false)
    or old.granted ~= new.granted or old.became_filter ~= new.became_filter
    or not is_same_message(old.became, new.became, cut)
end

local decided <const> = { "reason", "dropped", "changed", "became", "became_filter", "granted", "error", "by",
  "name", "rule", "place" }

function Run:line(number, record)
  local report, before = self.report, self.broker:now()
  report.lines = report.lines + 1
  local due = record.ms / 1000
  if due > before then self.broker:advance(due - before) end
  local answer = perform[record.op](self, record)
  if not answer then
    if record.op ~= "connect" then skip(self, "of clients that are not let in any more") end
    return
  end
  report.compared = report.compared + 1
  local old, new = {}, decision_of(answer)
  for _, name in ipairs(decided) do old[name] = record[name] end
  if record.op == "connect" then old.changed, new.changed = nil, nil end
  if differs(old, new, record.payload_length ~= nil) then
    report.changes[#report.changes + 1] = { line = number, operation = record.op, id = record.id,
      what = record.topic or record.filter, old = old, new = new }
  end
end

--- A broker of the candidate that lets in whom it is told to trust.
local function start(script, arguments)
  local run = setmetatable({ clients = {}, trusted = {},
    report = { lines = 0, compared = 0, skipped = {}, changes = {} } }, Run)
  local function trust(client)
    local trusted = run.trusted[client.id]
    if not trusted then return false end
    client.ref = trusted.ref
    return true
  end
  local started, broker = pcall(test.broker, script, nil,
    { log_level = "off", trust = trust, arguments = arguments })
  if not started then return nil, tostring(broker) end
  run.broker = broker
  return run
end

--- Replays a record.
---@param path string    the record
---@param script string  the path of the script to be tried
---@param arguments string[]?  what the script gets as `...`
---@return luamq.replay.Report? report
---@return string? message  what is wrong with the record or the script
function replay.run(path, script, arguments)
  if type(path) ~= "string" or type(script) ~= "string" then
    error("replay.run expects the paths of a record and of a script", 2)
  end
  local json, missing = cjson()
  if not json then return nil, missing end
  local file, problem = io.open(path, "rb")
  if not file then return nil, "cannot open " .. problem end
  local opened <close> = file
  local good, wrong = check_header(json, opened:read "l")
  if not good then return nil, ("%s:1: %s"):format(path, wrong) end
  local run, broken = start(script, arguments)
  if not run then return nil, broken end
  local broker <close> = run.broker
  local number, offset = 1, 0
  for text in opened:lines() do
    number = number + 1
    local record, unreadable = decode(json, text)
    if not record then return nil, ("%s:%d: %s"):format(path, number, unreadable) end
    if record.luamq then -- the broker was started again, and appended
      offset = math.ceil(broker:now() * 1000)
      run.clients = {}
    elseif perform[record.op] then
      record.ms = record.ms + offset
      run:line(number, record)
    end
  end
  return run.report
end

-- Text ---------------------------------------------------------------------------------------

local function show(decision, otherwise)
  local text = decision.reason
  if decision.error then text = text .. " (" .. decision.error .. ")" end
  if decision.dropped then text = text .. ", dropped" end
  if decision.changed then text = text .. (otherwise and ", changed otherwise" or ", changed") end
  if decision.became_filter then text = text .. ", filter " .. decision.became_filter end
  if decision.granted and decision.reason == "success" then text = text .. ", QoS " .. decision.granted end
  if decision.place then text = text .. " [" .. decision.place .. "]" end
  return text
end

--- A report for people: a line a change, and a summary.
---@param report luamq.replay.Report
---@param path string  of the record
---@return string text
function replay.text(report, path)
  local lines = {}
  for i, change in ipairs(report.changes) do
    local old, new = show(change.old), show(change.new, change.old.changed)
    lines[i] = ("%s:%d: %s %s%s: %s -> %s"):format(path, change.line, change.id, change.operation,
      change.what and " " .. change.what or "", old, new)
  end
  local skipped = {}
  for why, count in pairs(report.skipped) do skipped[#skipped + 1] = ("%d %s"):format(count, why) end
  table.sort(skipped)
  lines[#lines + 1] = ("%d decisions, %d compared, %d would change%s"):format(report.lines, report.compared,
    #report.changes, #skipped > 0 and "; not compared: " .. table.concat(skipped, ", ") or "")
  return table.concat(lines, "\n") .. "\n"
end

return replay
