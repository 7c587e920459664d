rockspec_format = "3.0"
package = "luamq"
version = "0.1.0-1"
source = { url = "git+file://." }
description = {
  summary = "An MQTT broker with a C core whose policy is Lua",
  detailed = "Transport, packets, sessions and queues in C at full speed; policy in a Lua script, tested with busted.",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua ~> 5.4", "lua-cjson" }
external_dependencies = { EVENT = { header = "event2/event.h" }, SYSTEMD = { header = "systemd/sd-daemon.h" } }
build = {
  type = "make",
  build_target = "all",
  install_target = "rock",
  build_variables = { CFLAGS = "$(CFLAGS) -g" },
  install_variables = { BINDIR = "$(BINDIR)", LIBDIR = "$(LIBDIR)", LUADIR = "$(LUADIR)" },
}
