// What the parts of the module luamq.core.redis that know Lua share; redis.c has it.
#ifndef LUAMQ_MODULES_REDIS_MODULE_H
#define LUAMQ_MODULES_REDIS_MODULE_H

#include <lauxlib.h>

#include "modules/redis.h"

// The checked options in the table at `index`, as copies.
void redis_read_options(lua_State *L, int index, struct redis_options *o);
// The list of strings at `index`, as it is sent.
void redis_format_command(lua_State *L, int index, struct buf *to);
int redis_push_no_network(lua_State *L); // returns 3

#endif
