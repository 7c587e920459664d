--- Assertions of busted for luamq.test, which registers them where luassert is loaded. When what they expect
--- has not happened they say what came instead.
---
---     assert.delivered(bob, "t/a", "hi", { qos = 1 })       -- and takes the message out of bob's
---     assert.not_delivered(bob, "t/#")
---     assert.nothing_delivered(carol)
---     assert.allowed(alice:publish("t/a", "hi", 1))
---     assert.denied(alice:publish("t/b", "hi", 1), "not_authorized")
---     assert.refused(broker, { id = "mallory" }, "bad_user_name_or_password")
---     assert.disconnected(alice, "keep_alive_timeout")
---     assert.logged(broker, "auth service")                 -- after broker:capture()
---     assert.asked(broker, "http", { method = "POST" })
---
--- Each may be negated: `assert.is_not.delivered(...)`. An expected value may be a function, which is called
--- with what came, or a matcher of luassert.

local assert = require "luassert"
local match = require "luassert.match"
local topic_match = require("luamq.core").broker.match
local util = require "luassert.util"

-- Values -------------------------------------------------------------------------------------

local function fits(expected, actual)
  if type(expected) == "function" then return expected(actual) and true or false end
  if match.is_matcher(expected) then return expected(actual) and true or false end
  return (util.deepcompare(expected, actual))
end

--- Whether all that is expected of a table is there.
local function has_fields(expected, actual)
  for name, value in pairs(expected) do
    if type(value) == "table" and not match.is_matcher(value) and type(actual[name]) == "table" then
      if not has_fields(value, actual[name]) then return false end
    elseif not fits(value, actual[name]) then
      return false
    end
  end
  return true
end

local function fits_partly(expected, actual)
  if expected == nil then return true end
  if type(expected) == "table" and type(actual) == "table" and not match.is_matcher(expected) then
    return has_fields(expected, actual)
  end
  return fits(expected, actual)
end

-- Texts --------------------------------------------------------------------------------------

local SHOWN <const> = 10 -- of a list

local function show(value)
  if type(value) == "string" then
    local text = ("%q"):format(#value > 200 and value:sub(1, 200) or value):gsub("\\\n", "\\n")
    return #value > 200 and text .. "..." or text
  end
  local meta = getmetatable(value)
  if type(value) ~= "table" or meta and meta.__tostring then return tostring(value) end
  local keys, parts = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and type(a) ~= "table" then return a < b end
    return type(a) < type(b)
  end)
  for _, key in ipairs(keys) do
    local name = type(key) == "number" and "" or tostring(key) .. " = "
    parts[#parts + 1] = name .. show(value[key])
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

--- Lines of a list, the last ones of many.
local function show_list(list, show_one)
  if #list == 0 then return " nothing" end
  local lines = {}
  local first = math.max(1, #list - SHOWN + 1)
  if first > 1 then lines[1] = ("\n  (%d more)"):format(first - 1) end
  for i = first, #list do lines[#lines + 1] = "\n  " .. show_one(list[i]) end
  return table.concat(lines)
end

local function show_message(message)
  local flags = message.retain and ", retained" or ""
  return ("%s %s (qos %d%s)"):format(show(message.topic), show(message.payload), message.qos, flags)
end

local function show_answer(answer)
  local parts = { answer.reason }
  if answer.error then parts[#parts + 1] = "failed: " .. answer.error end
  if answer.reason_string then parts[#parts + 1] = show(answer.reason_string) end
  return table.concat(parts, ", ")
end

local function name_of(client) return client.id ~= "" and client.id or "a client without an id" end

-- Arguments ----------------------------------------------------------------------------------

local function misuse(name, expected, got, level)
  error(("assert.%s expects %s, got %s"):format(name, expected, got == nil and "nil" or type(got)), level + 1)
end

local function is_client(value)
  return type(value) == "table" and (getmetatable(value) or {}).__name == "luamq.test.client"
end

local function is_broker(value)
  return type(value) == "table" and (getmetatable(value) or {}).__name == "luamq.test.broker"
end

local function check_client(name, value, level)
  if not is_client(value) then misuse(name, "a client of luamq.test", value, level + 1) end
  return value
end

local function check_broker(name, value, level)
  if not is_broker(value) then misuse(name, "a broker of luamq.test", value, level + 1) end
  return value
end

--- Registers an assertion: `check(arguments, level)` answers whether it holds, and two texts: why not, and
--- why it should not have.
local function register(name, check)
  assert:register("assertion", name, function(state, arguments, level)
    local holds, missing, unwanted = check(arguments, level)
    if rawget(state, "failure_message") == nil then
      rawset(state, "failure_message", state.mod and missing or unwanted)
    end
    return holds
  end)
end

-- Deliveries ---------------------------------------------------------------------------------

local function is_delivery(message, topic, payload, fields)
  if type(topic) == "string" and topic:find "[#+]" then
    if not topic_match(topic, message.topic) then return false end
  elseif topic ~= nil and not fits(topic, message.topic) then
    return false
  end
  if payload ~= nil and not fits(payload, message.payload) then return false end
  return fields == nil or has_fields(fields, message)
end

local function describe_delivery(topic, payload, fields)
  local text = "delivery of " .. (topic == nil and "anything" or show(topic))
  if payload ~= nil then text = text .. " with " .. show(payload) end
  if fields ~= nil then text = text .. " and " .. show(fields) end
  return text
end

register("delivered", function(arguments, level)
  local client = check_client("delivered", arguments[1], level)
  local topic, payload, fields = arguments[2], arguments[3], arguments[4]
  local list, found = client:messages(), nil
  local came = show_list(list, show_message)
  for i, message in ipairs(list) do
    if not found and is_delivery(message, topic, payload, fields) then found = i end
  end
  if found then table.remove(list, found) end
  local wanted = describe_delivery(topic, payload, fields)
  local ended = client.closed and ("\nIts connection has ended: %s"):format(client.close_reason or "?") or ""
  return found ~= nil, ("expected %s to %s, got:%s%s"):format(wanted, name_of(client), came, ended),
    ("expected no %s to %s, got:%s"):format(wanted, name_of(client), came)
end)

register("nothing_delivered", function(arguments, level)
  local client = check_client("nothing_delivered", arguments[1], level)
  local list = client:messages()
  local came = show_list(list, show_message)
  return #list == 0, ("expected no delivery to %s, got:%s"):format(name_of(client), came),
    ("expected a delivery to %s, got nothing"):format(name_of(client))
end)

-- Answers ------------------------------------------------------------------------------------

--- An answer, or the nil and problem that came in its place.
local function answer_of(name, arguments, level)
  local answer = arguments[1]
  if type(answer) == "table" and answer.reason then return answer end
  if answer == nil then return nil, type(arguments[2]) == "string" and arguments[2] or "nil" end
  misuse(name, "an answer of a client of luamq.test", answer, level + 1)
end

register("allowed", function(arguments, level)
  local answer, problem = answer_of("allowed", arguments, level)
  if not answer then return false, "expected to be allowed, but there is no answer: " .. problem end
  local allowed = answer.reason == "success" and not answer.error
  return allowed, "expected to be allowed, got: " .. show_answer(answer),
    "expected not to be allowed, but it was"
end)

--- A refusal that was decided: what a hook that failed refuses is no denial.
local function denial(answer, reason)
  local wanted = reason and (" with %s"):format(show(reason)) or ""
  local denied = answer.reason ~= "success" and answer.reason ~= "no_answer" and not answer.error
  if denied and reason ~= nil then denied = fits(reason, answer.reason) end
  return denied, ("expected a denial%s, got: %s"):format(wanted, show_answer(answer)),
    ("expected no denial%s, got: %s"):format(wanted, show_answer(answer))
end

register("denied", function(arguments, level)
  local answer, problem = answer_of("denied", arguments, level)
  if not answer then return false, "expected a denial, but there is no answer: " .. problem end
  return denial(answer, arguments[2])
end)

register("refused", function(arguments, level)
  local broker = check_broker("refused", arguments[1], level)
  local client, answer = broker:connect(arguments[2])
  if client then
    return false, ("expected %s to be refused, but it is let in"):format(name_of(client))
  end
  return denial(answer, arguments[3])
end)

-- Connections --------------------------------------------------------------------------------

local function ending_of(client)
  local told = client.disconnected
  return client.close_reason or "nobody knows why", told and told.reason
end

register("connected", function(arguments, level)
  local client, refusal = arguments[1], arguments[2]
  if client == nil and type(refusal) == "table" and refusal.reason then
    return false, "expected a connection, but it was refused: " .. show_answer(refusal)
  end
  check_client("connected", client, level)
  local name = name_of(client)
  if client.closed then
    return false, ("expected %s to be connected, but it is closed: %s"):format(name, (ending_of(client)))
  end
  return true, nil, ("expected %s not to be connected, but it is"):format(name)
end)

register("disconnected", function(arguments, level)
  local client, reason = check_client("disconnected", arguments[1], level), arguments[2]
  local name, wanted = name_of(client), reason ~= nil and (" with %s"):format(show(reason)) or ""
  if not client.closed then
    return false, ("expected %s to be disconnected%s, but it is connected"):format(name, wanted)
  end
  local why, told = ending_of(client)
  local came = told and ("%s, told as %s"):format(why, told) or why
  local holds = reason == nil or fits(reason, why) or told ~= nil and fits(reason, told)
  return holds, ("expected %s to be disconnected%s, got: %s"):format(name, wanted, came),
    ("expected %s not to be disconnected%s, got: %s"):format(name, wanted, came)
end)

-- The log, and fakes -------------------------------------------------------------------------

local function find_line(lines, pattern)
  for _, line in ipairs(lines) do
    if type(pattern) ~= "string" then
      if fits(pattern, line) then return true end
    elseif line:find(pattern, 1, true) or pcall(string.find, "", pattern) and line:find(pattern) then
      return true
    end
  end
  return false
end

local function find_partly(list, expected)
  for _, one in ipairs(list) do
    if fits_partly(expected, one) then return true end
  end
  return false
end

register("logged", function(arguments, level)
  local broker, expected = check_broker("logged", arguments[1], level), arguments[2]
  local lines, events = broker:history()
  if not lines then error("assert.logged needs broker:capture() before", level + 1) end
  local found, came
  if type(expected) == "table" and not match.is_matcher(expected) then
    found, came = find_partly(events, expected), show_list(events, show)
  else
    found, came = find_line(lines, expected), show_list(lines, tostring)
  end
  return found, ("expected %s in the log, got:%s"):format(show(expected), came),
    ("expected no %s in the log, got:%s"):format(show(expected), came)
end)

register("asked", function(arguments, level)
  local broker, name, expected = check_broker("asked", arguments[1], level), arguments[2], arguments[3]
  local list = broker:asked(name)
  local came = show_list(list, show)
  local wanted = expected == nil and "anything" or show(expected)
  return expected == nil and #list > 0 or expected ~= nil and find_partly(list, expected),
    ("expected %s to be asked for %s, got:%s"):format(name, wanted, came),
    ("expected %s not to be asked for %s, got:%s"):format(name, wanted, came)
end)

return assert
