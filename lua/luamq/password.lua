--- Passwords and their hashes, for scripts, and the password file of a configuration.
---
--- A password file has a line `name:hash` for each user; `luamq passwd` writes it. Hashes are made and compared in
--- worker threads: a hook that does it is suspended meanwhile, and everyone else goes on.
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

--- What is wrong with the lines of a password file, each "file:line: why"; or nil and why it cannot be read.
---@type fun(path: string): string[]?, string?
password.problems = core.password.problems

return password
