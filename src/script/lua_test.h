// The C side of lua/luamq/test.lua: brokers with a clock that stands still, in the process of a test, and
// their clients over memory connections.
#ifndef LUAMQ_SCRIPT_LUA_TEST_H
#define LUAMQ_SCRIPT_LUA_TEST_H

#include <lua.h>

// Pushes the table `core.test`: new.
int lua_test_open(lua_State *L);

#endif
