--- Passwords and their hashes, for scripts, and the password file of a configuration.
---
--- A password file has a line `name:hash` for each user; `luamq passwd` writes it. Hashes are made and
--- compared in worker threads: a hook that does it is suspended meanwhile, and everyone else goes on.
---
---     return { listeners = { "tcp://0.0.0.0:1883" }, credentials = luamq.password_file "users" }
---
---     local right, problem = luamq.password.verify(password, row.hash)

local core = require "luamq.core"

local password = {}

-- The values that `file` has made, with their paths.
local paths = setmetatable({}, { __mode = "k" })

local File = { __name = "luamq.PasswordFile" }
function File.__tostring(self) return ("luamq.password_file(%q)"):format(paths[self]) end

--- For `credentials`: the users of a file.
---@param path string  relative to the script
---@return luamq.PasswordFile
function password.file(path)
  if type(path) ~= "string" then error("luamq.password_file expects the path of a file", 2) end
  local file = setmetatable({}, File)
  paths[file] = path
  return file
end

--- The path of what `file` has made; nil for anything else.
---@param value any
---@return string?
function password.path_of(value) return paths[value] end

local known_options = { kind = true, cost = true }

local function check_options(options)
  if type(options) ~= "table" then error("luamq.password.hash expects its options in a table", 3) end
  for name in pairs(options) do
    if not known_options[name] then
      error(("luamq.password.hash has no option '%s'"):format(tostring(name)), 3)
    end
  end
  local name = options.kind or "yescrypt"
  local kind = core.password.kinds[name]
  if not kind then error("luamq.password.hash: kind is yescrypt, argon2id or pbkdf2", 3) end
  local cost = options.cost or kind.default
  if math.type(cost) ~= "integer" or cost < kind.least or cost > kind.most then
    error(("luamq.password.hash: the cost of %s is an integer from %d to %d"):format(name, kind.least,
      kind.most), 3)
  end
  return name, cost
end

--- See luamq.Password for this one and the next.
---@param text string
---@param options luamq.HashOptions?
---@return string? hash
---@return string? message
---@return string? code
---@async
function password.hash(text, options)
  if type(text) ~= "string" then error("luamq.password.hash expects a password as a string", 2) end
  local kind, cost = check_options(options or {})
  local problem = core.password.text_problem(text)
  if problem then return nil, "the password: " .. problem, "password_not_allowed" end
  return core.password.hash(text, kind, cost)
end

---@param text string?
---@param hash string
---@return boolean? right
---@return string? message
---@return string? code
---@async
function password.verify(text, hash)
  if text ~= nil and type(text) ~= "string" then
    error("luamq.password.verify expects a password as a string", 2)
  end
  if type(hash) ~= "string" then error("luamq.password.verify expects a hash as a string", 2) end
  local problem = core.password.hash_problem(hash)
  if problem then return nil, problem, "not_a_hash" end
  if not text then return false end
  return core.password.verify(text, hash)
end

--- What is wrong with the lines of a password file, each "file:line: why"; or nil and why it cannot be read.
---@type fun(path: string): string[]?, string?
password.problems = core.password.problems

return password
