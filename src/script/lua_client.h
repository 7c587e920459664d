// The C side of lua/luamq/client.lua: an MQTT client over TCP that waits.
#ifndef LUAMQ_SCRIPT_LUA_CLIENT_H
#define LUAMQ_SCRIPT_LUA_CLIENT_H

#include <lua.h>

// Pushes the table `core.client`: new, is_topic, is_filter.
int lua_client_open(lua_State *L);

#endif
