--- How a policy comes to a decision: which hooks, rules, settings and credentials were asked, what each
--- answered, where it stands, and how long it took. The real broker decides, about a client over a memory
--- connection.
---
---     local explanation = broker:explain { id = "c", username = "u", publish = "a/b" }   -- in a spec
---     assert.equal("broker.lua:12", explanation.place)
---
---     local explanation = explain.run("broker.lua", { id = "c", subscribe = "a/#" })
---     print(explain.text(explanation))

local check = require "luamq.client_options"

local explain = {}

---What to decide about: a client, and what it asks for. One of `publish`, `subscribe`, `deliver`, or none of
---them for the login alone.
---@class luamq.explain.Request: luamq.test.ConnectOptions
---@field publish string?    a topic
---@field subscribe string?  a filter
---@field deliver string?    the topic of a message that is on its way to the client
---@field payload string?    default ""
---@field qos integer?       default 0
---@field retain boolean?    default false

---One answer on the way to a decision.
---@class luamq.explain.Step
---@field operation "connect"|"auth"|"subscribe"|"unsubscribe"|"publish"|"deliver"|"packet"
---@field reason string    "success", "continue_authentication", or of a refusal
---@field by "hook"|"rule"|"credentials"|"limit"|"protocol"|nil  who answered
---@field hook string?     its name
---@field rule integer?    its number; nil when none applies
---@field own boolean?     the rule is one of the client alone
---@field limit string?    the setting: "limits.subscriptions"
---@field place string?    of the function or rule: "broker.lua:12"
---@field error string?    what failed, when it was not decided
---@field reason_string string?  what a refusal says
---@field dropped boolean?  a message that is acknowledged, and goes to nobody
---@field changed boolean?  the answer puts something else in the place of what was asked for
---@field message luamq.client.Message?  a message that was changed, as it is then
---@field filter string?    a filter that was changed, as it is then
---@field running number?   seconds that the hook ran, of one; 0 where time is virtual
---@field waiting number?   seconds that it waited

---@class luamq.Explanation: luamq.explain.Step  the last word, of which `operation` tells what it was about
---@field allowed boolean
---@field asked "connect"|"publish"|"subscribe"|"deliver"
---@field steps luamq.explain.Step[]  in order
---@field qos integer?                   that was granted, of a subscription
---@field message luamq.client.Message?  that the client got, of a delivery

-- Asking -------------------------------------------------------------------------------------

local operations <const> = { "publish", "subscribe", "deliver" }
local own <const> = { "publish", "subscribe", "deliver", "payload", "qos", "retain", "remote_address" }

local function misuse(level, text, ...) error("explain: " .. text:format(...), level + 1) end

local function check_type(request, name, expected, level)
  local value = request[name]
  if value == nil then return end
  local found = math.type(value) == "integer" and "integer" or type(value)
  if found ~= expected then misuse(level + 1, "%s must be of type %s, got %s", name, expected, found) end
end

--- The operation that is asked for.
local function operation_of(request, level)
  if type(request) ~= "table" then misuse(level + 1, "expected a table that says what to explain") end
  for _, name in ipairs(own) do
    local expected = name == "qos" and "integer" or name == "retain" and "boolean" or "string"
    check_type(request, name, expected, level + 1)
  end
  local found
  for _, name in ipairs(operations) do
    if request[name] and found then misuse(level + 1, "%s and %s are two questions", found, name) end
    found = request[name] and name or found
  end
  return found or "connect"
end

local function login_of(request)
  local login = {}
  for name, value in pairs(request) do login[name] = value end
  for _, name in ipairs(own) do login[name] = nil end
  return login
end

--- What each operation does with a client that is connected; answers what came of it.
local ask = {}

function ask.publish(_, client, request)
  return client:publish(request.publish, request.payload or "", request.qos, request.retain)
end

function ask.subscribe(_, client, request) return client:subscribe(request.subscribe, request.qos) end

function ask.deliver(broker, client, request)
  local session = broker:session(client.id)
  local queued, problem = session:deliver(request.deliver, request.payload or "",
    { qos = request.qos, retain = request.retain })
  broker:run()
  local message = client:receive()
  if message then return { reason = "success", message = message } end
  return { reason = "not_authorized", error = not queued and problem or nil }
end

--- The step that refused, or the last one.
local function deciding(steps, operation)
  local last
  for _, step in ipairs(steps) do
    if step.operation == operation then
      last = step
      if step.reason ~= "success" and step.reason ~= "continue_authentication" then return step end
    end
  end
  return last
end

--- Puts together what was decided and how it came about.
---@return luamq.Explanation
local function conclude(asked, operation, answer, steps)
  local allowed = answer.reason == "success"
  local result = { asked = asked, operation = operation, steps = steps, allowed = allowed }
  for name, value in pairs(deciding(steps, operation) or {}) do result[name] = value end
  result.reason = (allowed or result.reason == nil or result.reason == "success") and answer.reason
    or result.reason
  result.error = answer.error or result.error
  result.reason_string = answer.reason_string or result.reason_string
  result.qos, result.message = answer.qos, answer.message
  return result
end

--- Explains on a broker of `luamq.test`, for a client of its own, which goes afterwards.
---@param broker luamq.test.Broker
---@param request luamq.explain.Request
---@param level integer?  that of error, for a misuse
---@return luamq.Explanation
function explain.on(broker, request, level)
  level = (level or 1) + 1
  local asked = operation_of(request, level)
  local login = check.connect(login_of(request), false, broker.version, level)
  local client = broker:open(request.remote_address)
  local answer = client:connect(login)
  local steps = answer.explanation or client:steps()
  local operation = "connect"
  if answer.reason == "success" and asked ~= "connect" then
    operation = asked
    local problem
    answer, problem = ask[asked](broker, client, request)
    answer = answer or { reason = "no_answer", error = client.close_reason or problem }
    for _, step in ipairs(answer.explanation or client:steps()) do steps[#steps + 1] = step end
  end
  local result = conclude(asked, operation, answer, steps)
  client:disconnect()
  return result
end

-- Scripts ------------------------------------------------------------------------------------

--- Explains what a script decides. Time is real and the network is there, so hooks may ask services; no
--- listener is opened, `hooks.start` and `hooks.stop` are called, and nothing is left but what hooks do
--- themselves.
---@param path string  the script
---@param request luamq.explain.Request
---@param trusted { ref: any }?  lets the client in without asking `authenticate`, with this `client.ref`
---@param arguments string[]?  what the script gets as `...`
---@return luamq.Explanation? explanation
---@return string? message  what is wrong with the script
function explain.run(path, request, trusted, arguments)
  if type(path) ~= "string" then error("explain.run expects the path of a script", 2) end
  operation_of(request, 2)
  local function trust(client)
    client.ref = trusted.ref
    return true
  end
  local test = require "luamq.test"
  local started, broker = pcall(test.broker, path, nil,
    { real_time = true, trust = trusted and trust, arguments = arguments })
  if not started then return nil, tostring(broker) end
  local explained, result = pcall(explain.on, broker, request)
  broker:stop()
  if not explained then error(result, 0) end
  if trusted then table.remove(result.steps, 1) end -- authenticate, which was not the script's
  return result
end

-- Text ---------------------------------------------------------------------------------------

--- Who decided: `hook publish, broker.lua:12`.
local function who(step)
  if not step.by then return "the broker" end
  if step.by == "rule" and not step.rule then return "no rule applies" end
  local name = step.hook or step.limit or step.rule
  if step.own then name = name .. " of its own" end
  return step.by .. (name and " " .. name or "") .. (step.place and ", " .. step.place or "")
end

local function duration(seconds)
  return seconds < 0.001 and ("%.0f µs"):format(seconds * 1e6) or ("%.1f ms"):format(seconds * 1e3)
end

local function outcome(step)
  if step.reason == "continue_authentication" then return "asks on" end
  if step.reason ~= "success" then return "refused" end
  return step.dropped and "dropped" or step.changed and "changed" or "allowed"
end

--- The reason, what failed and what the policy says, as far as there is more than "success".
local function why(step)
  local parts = {}
  if step.reason ~= "success" then parts[1] = step.reason end
  if step.error then parts[#parts + 1] = step.error end
  if step.reason_string then parts[#parts + 1] = ("%q"):format(step.reason_string) end
  return table.concat(parts, ": ")
end

local function line(step)
  local text = ("%-11s  %-7s  %s"):format(step.operation, outcome(step), who(step))
  local reason = why(step)
  if reason ~= "" then text = text .. "  " .. reason end
  if step.running and step.running + step.waiting > 0 then
    text = text .. ("  (ran %s%s)"):format(duration(step.running),
      step.waiting > 0 and ", waited " .. duration(step.waiting) or "")
  end
  return text
end

--- An explanation for people: a line a step, and the decision.
---@param explanation luamq.Explanation
---@return string text  ends with a line break
function explain.text(explanation)
  local lines = {}
  for _, step in ipairs(explanation.steps) do lines[#lines + 1] = line(step) end
  local reason = why(explanation)
  local verdict = ("%s: %s%s"):format(explanation.asked, outcome(explanation),
    reason ~= "" and ", " .. reason or "")
  if not explanation.allowed and explanation.by then
    verdict = ("%s (%s)"):format(verdict, who(explanation))
  end
  if explanation.qos then verdict = verdict .. (", QoS %d"):format(explanation.qos) end
  lines[#lines + 1] = verdict
  return table.concat(lines, "\n") .. "\n"
end

return explain
