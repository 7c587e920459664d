-- User names and hashes of passwords from a file that `luamq passwd` writes, and that is read again when it
-- changes. Nobody else gets in, so that this broker may be opened to the network: give it another file, and
-- an address.
--
--   luamq passwd -c /etc/luamq/users ann
--   luamq examples/passwords.lua /etc/luamq/users tcp://0.0.0.0:1883
local luamq = require "luamq"

local path, listener = ...

return {
  listeners = { listener or "tcp://127.0.0.1:1883" },
  credentials = luamq.password_file(path or "users.txt"), -- relative to this script
}
