// A script as a broker: its checked table becomes settings, credentials and a backend that decorates the
// memory backend with the hooks that it defines. Works on any Lua state: the program's own, or one of a stock
// lua5.4 that loaded luamq.core.
//
//   int error = luaL_loadfile ... config.load(path) leaves the checked table at the top of L
//   struct script *s = script_new(L, -1, loop, 0);
//   script_start(s, error, sizeof error);            // calls hooks.start
//   ... shard_turn(script_shard(s), true) ...
//   script_free(s);                                   // calls hooks.stop when it was started; frees the
//   shard
//
// Lua is entered in hook.c only, protected, in a pooled coroutine; see there.
#ifndef LUAMQ_SCRIPT_SCRIPT_H
#define LUAMQ_SCRIPT_SCRIPT_H

#include <lua.h>

#include "broker/engine.h"

struct script;

// The table at `checked` is what config.check of lua/luamq/config.lua returns; anything else is a
// programmer's error and raises. The loop is borrowed. seed 0: of the system.
struct script *script_new(lua_State *L, int checked, struct loop *loop, uint64_t seed);
// Calls `tell` with what is wrong with each listener of a checked table on this machine, as far as it can be
// told without opening them: their files and accounts. Returns whether nothing is. Raises as script_new.
bool script_try_listeners(lua_State *L, int checked, void (*tell)(const char *problem));
struct shard *script_shard(struct script *s);
struct engine *script_engine(struct script *s);
struct log *script_log(struct script *s);
// Opens the listeners (none with a virtual clock, which has no sockets) and calls hooks.start; an error in it
// fails the start. The error text has at least 512 bytes. After a failure the script is there to be freed.
bool script_start(struct script *s, char *error, size_t error_size);
void script_free(struct script *s);

// The script whose hook is running in L, else the one that was started last; NULL: none.
struct script *script_current(lua_State *L);

// luaopen functions: the module `luamq.core` with all that Lua modules of luamq need from C.
int luaopen_luamq_core(lua_State *L);

#endif
