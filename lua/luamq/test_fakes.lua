--- The forms in which a test gives its fakes: a function, or a table of answers.
---
---     broker:fake("http", { ["GET /auth/*"] = { status = 204 }, ["POST /log"] = { delay = 0.5 } })
---     broker:fake("redis", { ["user:alice"] = { password = "secret" } })
---     broker:fake("postgres", { ["select hash from users where name = $1"] = function(name) ... end })
---     broker:fake("dns", { ["db.example"] = { "192.0.2.1" } })

local store = require "luamq.test_redis"
local words = require "luamq.words"

local test_fakes = {}

---@class luamq.test.FakeOptions
---@field delay number?  seconds that each answer takes, in the time of the broker

--- Waits, where whoever asks can: a hook that a test calls by hand cannot.
local function wait(seconds)
  if seconds and seconds > 0 and coroutine.isyieldable() then require("luamq").sleep(seconds) end
end

-- http ---------------------------------------------------------------------------------------

--- The parts of "GET /a/b", "/a/b" or "https://host/a/b"; a * stands for anything.
local function read_route(text)
  local method, target = text:match "^(%u+)%s+(%S+)$"
  target = target or text:match "^%S+$"
  if not target or not target:find "^/" and not target:find "^%l+://" and target ~= "*" then return nil end
  local pattern = target:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*")
  return {
    text = text, method = method, pattern = "^" .. pattern .. "$",
    whole = target:find "^%l" ~= nil, exact = #target:gsub("%*", ""),
  }
end

--- Those first that say most, and of these those with a method.
local function by_exactness(a, b)
  if a.exact ~= b.exact then return a.exact > b.exact end
  if (a.method == nil) ~= (b.method == nil) then return a.method ~= nil end
  return a.text < b.text
end

local function read_routes(routes, level)
  local list = {}
  for text, answer in pairs(routes) do
    local route = type(text) == "string" and read_route(text)
    if not route then
      local expected = 'fake: a route is "GET /path", "/path" or "GET http://host/path", got %s'
      error(expected:format(words.show(text)), level + 1)
    end
    if type(answer) ~= "table" and type(answer) ~= "function" then
      error(("fake: the answer of %q must be a table or a function"):format(text), level + 1)
    end
    route.answer = answer
    list[#list + 1] = route
  end
  table.sort(list, by_exactness)
  return list
end

local function fits(route, request)
  if route.method and route.method ~= request.method then return false end
  local url = request.url:gsub("[?#].*$", "")
  local path = url:match "^%l+://[^/]*(/.*)$" or "/"
  return (route.whole and url or path):find(route.pattern) ~= nil
end

local function http_of_routes(routes, level)
  local list = read_routes(routes, level + 1)
  return function(request)
    for _, route in ipairs(list) do
      if fits(route, request) then
        if type(route.answer) == "function" then return route.answer(request) end
        return route.answer
      end
    end
    return nil, ("the fake has no route for %s %s"):format(request.method, request.url), "failed"
  end
end

-- The others ---------------------------------------------------------------------------------

local function squeeze(sql) return (sql:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")) end

local function postgres_of_answers(answers)
  local by_sql = {}
  for sql, answer in pairs(answers) do by_sql[squeeze(sql)] = answer end
  return function(sql, parameters)
    local answer = by_sql[squeeze(sql)]
    if answer == nil then return nil, "the fake has no answer for " .. squeeze(sql), "failed" end
    if type(answer) == "function" then return answer(table.unpack(parameters, 1, parameters.n)) end
    return answer
  end
end

local function dns_of_names(names)
  return function(name)
    local addresses = names[name]
    if not addresses then return nil, name .. ": no such name", "not_found" end
    return type(addresses) == "string" and { addresses } or addresses
  end
end

--- How the function that a test gives is called with what the module says.
local calls = {
  http = function(fake) return fake end,
  dns = function(fake) return fake end,
  postgres = function(fake) return fake end,
  redis = function(fake)
    return function(command) return fake(table.unpack(command, 1, command.n or #command)) end
  end,
}

local of_tables = {
  http = http_of_routes,
  dns = dns_of_names,
  postgres = postgres_of_answers,
  redis = function(values, _, now) return store.new(values, now) end,
}

--- An answer of http may say itself how long it takes.
local function take_delay(answer, ...)
  if type(answer) == "table" then wait(rawget(answer, "delay")) end
  return answer, ...
end

--- Raises where there is no fake of this name.
---@param name string
---@param level integer  where a misuse is raised
function test_fakes.check_name(name, level)
  if calls[name] then return end
  error(("fake: there is none for %s%s"):format(words.show(name), words.suggest(name, calls)), level + 1)
end

--- The fake as its module calls it.
---@param name string
---@param given function|table
---@param options luamq.test.FakeOptions?
---@param now fun(): number  the time of the broker
---@param level integer  where a misuse is raised
---@return function
function test_fakes.read(name, given, options, now, level)
  test_fakes.check_name(name, level + 1)
  local delay = options and options.delay
  if delay ~= nil and (type(delay) ~= "number" or delay < 0) then
    error("fake: delay must be a number of seconds", level + 1)
  end
  local fake
  if type(given) == "table" then
    fake = calls[name](of_tables[name](given, level + 1, now))
  elseif type(given) == "function" then
    fake = calls[name](given)
  else
    error("fake expects a function or a table of answers", level + 1)
  end
  return function(...)
    wait(delay)
    if name ~= "http" then return fake(...) end
    return take_delay(fake(...))
  end
end

return test_fakes
