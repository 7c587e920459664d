// A script as a policy of a broker: its checked table becomes settings, credentials and a backend that
// decorates the memory backend of its host (script/host.h) with the hooks that it defines. Works on any Lua
// state: one of the program's own, or one of a stock lua5.4 that loaded luamq.core.
//
//   int error = luaL_loadfile ... config.load(path) leaves the checked table at the top of L
//   struct script *s = script_new(L, -1, host);
//
// Lua is entered in hook.c only, protected, in a pooled coroutine; see there.
#ifndef LUAMQ_SCRIPT_SCRIPT_H
#define LUAMQ_SCRIPT_SCRIPT_H

#include <lua.h>

#include "script/host.h"

struct script;

// The table at `checked` is what config.check of lua/luamq/config.lua returns; anything else is a
// programmer's error and raises. It decides nothing before the host starts it, and ends with it.
struct script *script_new(lua_State *L, int checked, struct host *host);
// The same with the table at the top, which is taken off; NULL, and why, where that raises.
struct script *script_load(lua_State *L, struct host *host, struct buf *why);
void script_own_state(struct script *s, lua_State *L); // L is closed with the script
// Calls `tell` with `arg` and what is wrong with each listener of a checked table on this machine, as far as
// it can be told without opening them: their files and accounts. Returns whether nothing is. Raises as
// script_new.
bool script_try_listeners(lua_State *L, int checked, void (*tell)(void *arg, const char *problem), void *arg);
struct log *script_log(struct script *s);

// The script whose hook is running in L, else the one that was started last; NULL: none.
struct script *script_current(lua_State *L);

// luaopen functions: the module `luamq.core` with all that Lua modules of luamq need from C.
int luaopen_luamq_core(lua_State *L);

#endif
