-- User names and passwords from a file, one `name:password` a line. Nobody else gets in, so that this
-- broker may be opened to the network: give it another file, and an address.
--
--   luamq examples/passwords.lua users.txt tcp://0.0.0.0:1883
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""
local path, listener = ...

local function read(file)
  local users = {}
  for line in file:lines() do
    local name, password = line:match("^([^:#]+):(.+)$")
    if name then users[name] = password end
  end
  file:close()
  return users
end

return {
  listeners = { listener or "tcp://127.0.0.1:1883" },
  credentials = read(assert(io.open(path or here .. "users.txt"))),
}
