--- Rules as a script writes them, `acl = { ... }` at its top level or in the answer of `authenticate`:
--- checked, and packed for the core, which decides by them without entering Lua.
---
---     acl = {
---       { allow = "all", user = "admin" },
---       { allow = { "publish", "subscribe" }, topic = "t/%u/#", qos = 1 },
---       { deny = "publish", client = "sensor-*", retain = true },
---     }

local reports = require "luamq.report"
local words = require "luamq.words"

local rules = {}

---One rule, as a script writes it. The first one that applies decides; behind the last one everything is
---denied.
---@class luamq.Rule
---@field allow luamq.Operations?       what it allows: either this
---@field deny luamq.Operations?        or what it denies
---@field user string|false|(string|false)[]|nil  the user name, "dev-*" those that begin so; false: none
---@field client string|string[]|nil    the client id, likewise
---@field topic string|string[]|nil     a filter, with %u for the user name and %c for the client id
---@field eq string|string[]|nil        in the place of topic: exactly this filter is subscribed to
---@field qos integer?                  the highest that is allowed, the lowest that is denied
---@field retain boolean?               whether the message is a retained one; not for subscribe

---@alias luamq.Operation "publish"|"subscribe"|"deliver"
---@alias luamq.Operations luamq.Operation|"all"|luamq.Operation[]

---A checked rule: lists in the place of single values.
---@class luamq.CheckedRule
---@field allow boolean
---@field operations luamq.Operation[]|"all"
---@field user (string|false)[]?
---@field client string[]?
---@field topic string[]?
---@field eq string[]?
---@field qos integer?
---@field retain boolean?
---@field line integer?  where it stands

local LEVELS_MAX <const>, FILTER_MAX <const>, NAME_MAX <const> = 128, 65000, 65535
local COMBINATIONS_MAX <const> = 100000

local operations = { publish = 1, subscribe = 2, deliver = 4 }
local in_order = { "publish", "subscribe", "deliver" }
local fields = { "user", "client", "topic", "eq", "qos", "retain" } -- beside allow and deny
local known = { allow = true, deny = true }
for _, name in ipairs(fields) do known[name] = true end
local called_otherwise = { username = "user", user_name = "user", client_id = "client", clientid = "client",
  filter = "topic", pattern = "topic", read = "subscribe", write = "publish", readwrite = "all" }

--- "(did you mean 'x'?)" for a word of other brokers, or a misspelt one.
local function suggest(word, names)
  local other = called_otherwise[word]
  if other and (names[other] or other == "all") then return (" (did you mean '%s'?)"):format(other) end
  return words.suggest(word, names)
end

-- Parts of a rule ----------------------------------------------------------------------------
-- Each answers the value, or nil and has told `note` why.

---@alias luamq.rules.Note fun(keys: any[], problem: string)

--- A value that may be given alone, as a list. `check` answers what is wrong with one of them.
local function read_list(key, value, note, check)
  if type(value) ~= "table" then value = { value } end
  local result, good = {}, true
  if debug.getmetatable(value) or next(value) == nil then
    note({ key }, "empty, expected a string, or a list of them")
    return nil
  end
  for position in next, value do
    if math.type(position) ~= "integer" or position < 1 or position > #value then
      note({ key, position }, "expected a list, which has no such key")
      return nil
    end
  end
  for position = 1, #value do
    local item = rawget(value, position)
    local problem = check(item)
    if problem then
      note(#value == 1 and { key } or { key, position }, problem)
      good = false
    end
    result[position] = item
  end
  return good and result or nil
end

local function operation_problem(word)
  if word == "all" then return "'all' stands alone: it is all of them" end
  if operations[word] then return nil end
  if type(word) ~= "string" then return ("expected %q, %q, %q or %q, got %s"):format("publish", "subscribe",
    "deliver", "all", words.show(word)) end
  return ("unknown operation %s%s"):format(words.show(word), suggest(word, operations))
end

local function read_operations(key, value, note)
  if value == "all" then return "all" end
  local list = read_list(key, value, note, operation_problem)
  if not list then return nil end
  local given, result = {}, {}
  for _, word in ipairs(list) do given[word] = true end
  for _, word in ipairs(in_order) do
    if given[word] then result[#result + 1] = word end
  end
  return result
end

local function name_problem(name)
  if type(name) ~= "string" then return "expected a name, got " .. words.show(name) end
  if #name > NAME_MAX then return "longer than 65535 bytes, so no client can have it" end
  if not utf8.len(name) or name:find("\0", 1, true) then
    return "not valid UTF-8 text, so no client can have it"
  end
  if name:find "%*." then
    return "a * stands at the end only, for all that begin with what is before it"
  end
  return nil
end

local function user_problem(name)
  if name == true then return "expected a name, or false for those that send none" end
  return name ~= false and name_problem(name) or nil
end

local PLACEHOLDERS <const> = "there are %%u (user name), %%c (client id) and %%%% (a percent sign)"

local function placeholder_problem(filter)
  for found in filter:gmatch "%%(.?)" do
    if found ~= "c" and found ~= "u" and found ~= "%" then
      return ("unknown placeholder '%%%s': " .. PLACEHOLDERS):format((found:gsub("[%c\128-\255]", "?")))
    end
  end
  return nil
end

local function filter_problem(filter)
  if type(filter) ~= "string" then return "expected a topic filter, got " .. words.show(filter) end
  if filter == "" then return "empty, expected a topic filter" end
  if #filter > FILTER_MAX then return "longer than 65000 bytes" end
  if not utf8.len(filter) or filter:find("\0", 1, true) then return "not valid UTF-8 text" end
  if filter:find "^%$share/" then
    return "a shared subscription is checked by its filter, without $share and the name"
  end
  local levels = select(2, filter:gsub("/", "")) + 1
  if levels > LEVELS_MAX then return ("%d levels, and 128 are the most"):format(levels) end
  local mixed = filter:match "[^/]+[+#][^/]*" or filter:match "[+#][^/]+"
  if mixed then return ("a wildcard has its level to itself, not so in %s"):format(words.show(mixed)) end
  if filter:find "#." then return "a # stands at the end only" end
  return filter:find("%", 1, true) and placeholder_problem(filter) or nil
end

-- A rule -------------------------------------------------------------------------------------

local function read_effect(value, note)
  local allow, deny = rawget(value, "allow"), rawget(value, "deny")
  if (allow == nil) == (deny == nil) then
    note({}, allow and "both allow and deny, expected one of them"
      or 'neither allow nor deny, expected one of them, such as allow = "publish"')
    return nil
  end
  local key = allow ~= nil and "allow" or "deny"
  return read_operations(key, rawget(value, key), note), allow ~= nil
end

local function concerns(rule, operation)
  if rule.operations == "all" then return true end
  for _, word in ipairs(rule.operations) do
    if word == operation then return true end
  end
  return false
end

--- What the other fields say has to fit what the rule is about.
local function check_together(rule, note)
  if rule.topic and rule.eq then note({ "eq" }, "beside topic, expected one of them") end
  if not rule.operations then return end
  if rule.eq and (rule.operations == "all" or #rule.operations > 1 or not concerns(rule, "subscribe")) then
    note({ "eq" }, "only for subscribe: it tells one filter from those that have as much in them")
  end
  if rule.retain ~= nil and concerns(rule, "subscribe") then
    note({ "retain" }, "not for subscribe, which has no such flag: "
      .. 'the rule has to be about "publish", "deliver" or both')
  end
end

local readers = {
  user = function(value, note) return read_list("user", value, note, user_problem) end,
  client = function(value, note) return read_list("client", value, note, name_problem) end,
  topic = function(value, note) return read_list("topic", value, note, filter_problem) end,
  eq = function(value, note) return read_list("eq", value, note, filter_problem) end,
  qos = function(value, note)
    local qos = type(value) == "number" and math.tointeger(value)
    if qos and qos >= 0 and qos <= 2 then return qos end
    note({ "qos" }, "expected 0, 1 or 2, got " .. words.show(value))
  end,
  retain = function(value, note)
    if type(value) == "boolean" then return value end
    note({ "retain" }, "expected true or false, got " .. words.show(value))
  end,
}

--- How many combinations of what it lists a rule stands for.
local function weight(rule)
  local topics = rule.topic or rule.eq
  return (rule.user and #rule.user or 1) * (rule.client and #rule.client or 1) * (topics and #topics or 1)
end

local function has_unknown(value)
  for key in next, value do
    if not known[key] then return true end
  end
  return false
end

local function note_unknown(value, note)
  if not has_unknown(value) then return end -- there may be very many rules
  for _, key in ipairs(reports.sorted_keys(value)) do
    if not known[key] then
      note({ key }, type(key) == "string" and "unknown field of a rule" .. suggest(key, known)
        or "fields of a rule have the form name = value")
    end
  end
end

---@param value any
---@param note luamq.rules.Note
---@return luamq.CheckedRule?
local function read_rule(value, note)
  if type(value) ~= "table" or debug.getmetatable(value) then
    note({}, 'expected a rule such as { allow = "publish", topic = "a/#" }, got ' .. words.show(value))
    return nil
  end
  note_unknown(value, note)
  local rule = {}
  rule.operations, rule.allow = read_effect(value, note)
  for _, key in ipairs(fields) do
    local given = rawget(value, key)
    if given ~= nil then rule[key] = readers[key](given, note) end
  end
  check_together(rule, note)
  if weight(rule) > COMBINATIONS_MAX then
    note({}, ("stands for %d combinations of its lists, and %d are the most"):format(weight(rule),
      COMBINATIONS_MAX))
  end
  return rule
end

--- Reads a list of rules. What is wrong goes to `note`, with the keys where it stands.
---@param value any
---@param note luamq.rules.Note
---@return luamq.CheckedRule[]
function rules.read(value, note)
  local result = {}
  if type(value) ~= "table" or debug.getmetatable(value) then
    note({}, "expected a list of rules, got " .. words.show(value))
    return result
  end
  local count = #value
  for key in next, value do
    if math.type(key) ~= "integer" or key < 1 or key > count then
      local is_rule = key == "allow" or key == "deny"
      note({ key }, is_rule and "expected a list of rules: put this one in braces"
        or "expected a list of rules, which has no such key")
      return result
    end
  end
  for position = 1, count do
    result[position] = read_rule(rawget(value, position), function(keys, problem)
      note({ position, table.unpack(keys) }, problem)
    end)
  end
  return result
end

--- What stands in a list for all clients and cannot be meant: the position of the rule, and what is wrong.
---@param list luamq.CheckedRule[]
---@return integer? position
---@return string? problem
function rules.mistake(list)
  local denies
  for position, rule in ipairs(list) do
    if rule.allow and concerns(rule, "deliver") then return nil end
    if rule.operations ~= "all" and concerns(rule, "deliver") then denies = denies or position end
  end
  return denies, 'denies "deliver", and no rule allows it: nothing would be delivered to anybody; '
    .. 'end the list with { allow = "deliver" }'
end

-- For the core -------------------------------------------------------------------------------

local ANY <const>, NONE <const>, EXACT <const>, PREFIX <const> = 0, 1, 2, 3
local ALLOW <const>, HAS_TOPIC <const>, VERBATIM <const>, ANY_RETAIN <const>, RETAIN <const> = 1, 2, 4, 8, 16
local ANY_QOS <const> = 255
local ANYBODY <const> = { true }

--- How a name is compared, and with what.
local function name_kind(name)
  if name == true then return ANY, "" end
  if not name then return NONE, "" end
  if name:sub(-1) == "*" then return PREFIX, name:sub(1, -2) end
  return EXACT, name
end

local function mask_of(list)
  if list == "all" then return 7, 0 end
  local mask = 0
  for _, word in ipairs(list) do mask = mask | operations[word] end
  return mask, mask
end

--- One record for each combination of what the rule lists.
local function pack_rule(rule, number, out)
  local flags = (rule.allow and ALLOW or 0) | ((rule.topic or rule.eq) and HAS_TOPIC or 0)
    | (rule.eq and VERBATIM or 0) | (rule.retain == nil and ANY_RETAIN or rule.retain and RETAIN or 0)
  local mask, named = mask_of(rule.operations)
  local head = ("<I4I4BBBB"):pack(number, rule.line or 0, flags, mask, named, rule.qos or ANY_QOS)
  local users, clients, topics = rule.user or ANYBODY, rule.client or ANYBODY, rule.topic or rule.eq or { "" }
  for u = 1, #users do
    local user_kind, user = name_kind(users[u])
    for _, client_name in ipairs(clients) do
      local client_kind, client = name_kind(client_name)
      for _, topic in ipairs(topics) do
        out[#out + 1] = head .. ("<Bs2Bs2s2"):pack(user_kind, user, client_kind, client, topic)
      end
    end
  end
end

--- Checked rules as bytes, which src/script/rules_settings.c reads.
---@param list luamq.CheckedRule[]
---@return string
function rules.pack(list)
  local out = {}
  for number, rule in ipairs(list) do pack_rule(rule, number, out) end
  return table.concat(out)
end

local function key_text(keys)
  local text = ("rule %s"):format(words.show(keys[1]))
  for i = 2, #keys do
    text = text .. ": " .. (type(keys[i]) == "string" and keys[i] or words.show(keys[i]))
  end
  return text
end

--- The rules of one client, as `authenticate` answers them.
---@param value any
---@param most_rules integer  each name and topic of a list counts
---@param most_bytes integer
---@return string? packed
---@return string? problem
function rules.own(value, most_rules, most_bytes)
  local problem
  local function note(keys, what)
    problem = problem or "acl: " .. (#keys > 0 and key_text(keys) .. ": " or "") .. what
  end
  if type(value) == "table" and rawlen(value) > most_rules then
    return nil, ("acl: %d rules, and limits.client_rules is %d"):format(rawlen(value), most_rules)
  end
  local list = rules.read(value, note)
  if problem then return nil, problem end
  local count = 0
  for _, rule in ipairs(list) do count = count + weight(rule) end
  if count > most_rules then
    return nil, ("acl: %d rules, and limits.client_rules is %d"):format(count, most_rules)
  end
  local packed = rules.pack(list)
  if #packed > most_bytes then
    return nil, ("acl: %d bytes, and limits.client_rules_bytes is %d"):format(#packed, most_bytes)
  end
  return packed
end

-- Printing -----------------------------------------------------------------------------------

local function shown(value)
  if type(value) == "string" then return (("%q"):format(value):gsub("\n", "n")) end
  if type(value) ~= "table" then return tostring(value) end
  if #value == 1 then return shown(value[1]) end
  local parts = {}
  for position, item in ipairs(value) do parts[position] = shown(item) end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

--- A checked rule as Lua source, in one line.
---@param rule luamq.CheckedRule
---@return string
function rules.text(rule)
  local parts = { (rule.allow and "allow = " or "deny = ") .. shown(rule.operations) }
  for _, key in ipairs { "user", "client", "topic", "eq", "qos", "retain" } do
    if rule[key] ~= nil then parts[#parts + 1] = key .. " = " .. shown(rule[key]) end
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

return rules
