--- The command lines of tools that are written in Lua: options by a table of rows, and the rest in order.
---
---     local options, rest, behind = arguments.read("explain", usage, rows, args)
---     if not options then return rest end          -- the exit status: help, or a misuse that was told
---
--- What follows `--` is for the script that a tool runs.

local arguments = {}

---@class luamq.arguments.Row
---@field name string      "--user"
---@field letter string?   "-u"
---@field value string?    what its value is called in the help; nil: it has none
---@field key string       where it goes
---@field read (fun(text: string): any, string?)?  the value, or nil and what is wrong with it
---@field doc string

--- An integer from 0 to `most`, for `read`.
---@param most integer
---@return fun(text: string): integer?, string?
function arguments.integer(most)
  return function(text)
    local value = text:find "^%d+$" and math.tointeger(tonumber(text))
    if value and value <= most then return value end
    return nil, ("expected a number from 0 to %d"):format(most)
  end
end

local function find(rows, text)
  for _, row in ipairs(rows) do
    if row.name == text or row.letter == text then return row end
  end
end

local function complain(tool, problem)
  io.stderr:write(("luamq %s: %s (see luamq %s --help)\n"):format(tool, problem, tool))
  return nil, 2
end

--- The texts of the usage and of each option.
---@param usage string
---@param rows luamq.arguments.Row[]
---@return string
function arguments.help(usage, rows)
  local lines = { usage, "" }
  for _, row in ipairs(rows) do
    local name = (row.letter and row.letter .. "  " or "    ") .. row.name
    if row.value then name = name .. " " .. row.value end
    lines[#lines + 1] = ("  %-30s %s"):format(name, row.doc)
  end
  return table.concat(lines, "\n") .. "\n"
end

--- Reads a command line. Values are never part of a message: one may be a secret.
---@param tool string  its name
---@param usage string
---@param rows luamq.arguments.Row[]
---@param args string[]
---@return table<string, any>? options  by key
---@return string[]|integer rest  what is no option; or the exit status
---@return string[]? behind  what follows `--`
function arguments.read(tool, usage, rows, args)
  local options, rest, behind, at = {}, {}, {}, 1
  while args[at] do
    local text = args[at]
    if text == "--help" or text == "-h" then
      io.write(arguments.help(usage, rows))
      return nil, 0
    elseif text == "--" then
      behind = table.move(args, at + 1, #args, 1, {})
      break
    elseif not text:find "^%-." then
      rest[#rest + 1] = text
    else
      local name, joined = text:match "^(%-%-[^=]+)=(.*)$"
      local row = find(rows, name or text)
      if not row then return complain(tool, "unknown option " .. (name or text)) end
      local value = true
      if row.value then
        if not joined then at = at + 1 end
        value = joined or args[at]
        if not value then return complain(tool, row.name .. ": a value is missing") end
        if row.read then
          local read, problem = row.read(value)
          if read == nil then return complain(tool, row.name .. ": " .. problem) end
          value = read
        end
      elseif joined then
        return complain(tool, row.name .. ": takes no value")
      end
      options[row.key] = value
    end
    at = at + 1
  end
  return options, rest, behind
end

--- Sets the global `arg` for a script that a tool runs, to what it is when `luamq` serves it.
---@param path string
---@param behind string[]
function arguments.give(path, behind)
  local all = table.move(behind, 1, #behind, 1, {})
  all[0] = path
  rawset(_G, "arg", all)
end

arguments.complain = complain

return arguments
