-- User names and passwords, from a file that is not in version control if it is there: one `name:password` a line. Nobody
-- else gets in, so the broker may be opened to the network.
local path = (...) or "users.txt"

local function read(file)
  local users = {}
  for line in file:lines() do
    local name, password = line:match("^([^:#]+):(.+)$")
    if name then users[name] = password end
  end
  file:close()
  return users
end

local file = io.open(path)

return {
  listeners = { select(2, ...) or "tcp://0.0.0.0:1883" },
  credentials = file and read(file) or { demo = "change me" },
}
