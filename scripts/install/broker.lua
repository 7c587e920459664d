-- The broker that luamq.service runs: copy it to /etc/luamq/broker.lua, and make it yours. `luamq --check` tells
-- what is wrong with it, `luamq --dump` prints all settings, luamq(1) says where the rest is described.
--
-- It lets in everybody on this machine, and nobody else. To let in others, give them passwords:
--
--   listeners = { "tcp://0.0.0.0:1883" },
--   credentials = { north = "n0rth", south = "s0uth" },
return {
  listeners = {
    "tcp://127.0.0.1:1883", -- also in luamq.socket
    { "unix:///run/luamq/mqtt.sock", mode = "0666" },
  },
}
