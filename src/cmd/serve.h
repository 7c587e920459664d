// Serving a script until it is told to stop.
#ifndef LUAMQ_CMD_SERVE_H
#define LUAMQ_CMD_SERVE_H

#include <lua.h>
#include <stdbool.h>

#include "transport/loop.h"

// Serves the checked table at the top of L. False: it could not start, which has been told on standard error,
// or clients were left when the time for closing was over. The loop is the caller's to free, also when Lua
// raises.
bool serve(lua_State *L, struct loop **loop);

#endif
