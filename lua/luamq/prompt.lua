--- What is typed at the prompt of `luamq -i`: Lua in the state of the broker, in the manner of `lua -i`. An
--- expression is printed (also with a `=` in front), a statement is run; globals are those of the script, and
--- `luamq` is there without `require`. All that a hook may wait for may be waited for.

local prompt = {}

local chunkname <const> = "=stdin"

--- Reads and writes globals, but knows `luamq` where there is no global of that name.
local environment = setmetatable({}, {
  __index = function(_, name)
    local value = _G[name]
    if value == nil and name == "luamq" then return require "luamq" end
    return value
  end,
  __newindex = function(_, name, value) _G[name] = value end,
})

--- The text as a chunk; nil and a message, and whether more of it could make it one.
local function compile(text)
  text = text:gsub("^%s*=", "return ")
  local expression = load("return " .. text, chunkname, "t", environment)
  if expression then return expression end
  local chunk, problem = load(text, chunkname, "t", environment)
  return chunk, problem, problem and problem:find "<eof>$" ~= nil
end

local function describe(problem)
  local meta = debug.getmetatable(problem)
  if type(problem) ~= "string" and not (meta and meta.__tostring) then
    return ("(error object is a %s value)"):format(type(problem))
  end
  return debug.traceback(tostring(problem), 2)
end

--- The traceback without what is below the chunk: this module, and the coroutine.
local function trim(text)
  return (text:gsub("\n%s*%[C%]: in function 'xpcall'.*$", ""))
end

local function complain(text) io.stderr:write(text, "\n") end

local function show(done, ...)
  if not done then return complain(trim(tostring((...)))) end
  if select("#", ...) == 0 then return end
  local printed, problem = pcall(print, ...)
  if not printed then complain("error calling 'print': " .. tostring(problem)) end
end

--- Runs what was typed so far.
---@param text string
---@return boolean incomplete  it is the beginning of a statement: nothing was run
function prompt.run(text)
  if text:find "^%s*$" then return false end
  local chunk, problem, incomplete = compile(text)
  if chunk then
    show(xpcall(chunk, describe))
  elseif not incomplete then
    complain(problem)
  end
  return incomplete and not chunk or false
end

return prompt
