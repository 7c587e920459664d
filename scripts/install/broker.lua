-- The broker that luamq.service runs: copy it to /etc/luamq/broker.lua, and make it yours. `luamq --check`
-- tells what is wrong with it, `luamq --dump` prints all settings, luamq(1) says where the rest is described.
--
-- It lets in everybody on this machine, and nobody else. To let in others, give them passwords, which
-- `luamq passwd -c /etc/luamq/users NAME` asks for (luamq has to be able to read that file):
--
--   listeners = { "tcp://0.0.0.0:1883" },
--   credentials = require "luamq".password_file "users",
return {
  listeners = {
    "tcp://127.0.0.1:1883", -- also in luamq.socket
    { "unix:///run/luamq/mqtt.sock", mode = "0666" },
  },
}
