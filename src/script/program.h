// What differs in the Lua state of the program from a stock one, for which the program is made for nothing
// but to be a broker:
//
//   load, loadfile, dofile     take text only: precompiled chunks are not checked by Lua, and a wrong one can
//   do
//                              anything to the process. require still takes them, as it takes libraries.
//   debug.sethook              raises while a hook of the broker runs: what it sets could not be stopped
//   debug.getregistry          raises: what it gives is luamq's too
//   debug.setmetatable, debug.setuservalue    leave userdata alone; debug.setupvalue functions of C
//
// That keeps mistakes from ending the broker. It is no sandbox: a script can load libraries of C.
#ifndef LUAMQ_SCRIPT_PROGRAM_H
#define LUAMQ_SCRIPT_PROGRAM_H

#include <lua.h>

// Before anything else runs in the state, which has Lua's libraries.
void program_prepare(lua_State *L);
// lua_close. Finalizers, which it calls, are stopped when they take too long.
void program_close(lua_State *L);

#endif
