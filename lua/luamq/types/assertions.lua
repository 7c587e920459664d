---@meta luamq.types.assertions
--- Assertions for busted, which luamq.test registers. When what they expect has not happened they say what came
--- instead. Each may be negated: `assert.is_not.delivered(...)`. An expected value may be a function, which is called
--- with what came, or a matcher of luassert; a table has to be there with all of its fields.

---@class luassert
local assert = {}

---A message has come, which is taken out of the client's. All but the client may be left out.
---@param client luamq.test.Client
---@param topic any?  a topic, or a filter
---@param payload any?
---@param fields table<string, any>?  of the message: `{ qos = 1 }`
function assert.delivered(client, topic, payload, fields) end

---@param client luamq.test.Client
function assert.nothing_delivered(client) end

---The broker has decided so. A hook that failed is neither allowed nor denied.
---@param answer luamq.test.Answer?
---@param problem string?
function assert.allowed(answer, problem) end

---@param answer luamq.test.Answer?
---@param reason any?  "not_authorized"
function assert.denied(answer, reason) end

---A client that connects with these options is refused.
---@param broker luamq.test.Broker
---@param options luamq.test.ConnectOptions?
---@param reason any?  "bad_user_name_or_password"
function assert.refused(broker, options, reason) end

---What `broker:connect` has answered is connected.
---@param client luamq.test.Client?
---@param refusal luamq.test.Answer?
function assert.connected(client, refusal) end

---@param client luamq.test.Client
---@param reason any?  of DISCONNECT, such as "keep_alive_timeout", or why the connection has ended
function assert.disconnected(client, reason) end

---A line or an event is in the log. Needs `broker:capture()` before.
---@param broker luamq.test.Broker
---@param expected any  a part of a line, a pattern, or fields of a luamq.test.Event
function assert.logged(broker, expected) end

---A fake was asked for something.
---@param broker luamq.test.Broker
---@param name "http"|"dns"|"redis"|"postgres"
---@param expected any?  `{ method = "POST" }`; without it anything
function assert.asked(broker, name, expected) end
