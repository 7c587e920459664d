// Functions of Lua's libraries that are replaced in each state that runs hooks, so that what a script makes
// run is known to budget.h and can be stopped:
//
//   coroutine.resume, coroutine.wrap, coroutine.close   note the coroutine that runs innermost
//   os.exit           in a hook: ends the hook and stops the broker in order, with the status kept in its
//   host;
//                     raises while a script is loaded by a reload, which fails by it
//   setmetatable      makes finalizers (__gc) that are functions of Lua run in a coroutine of luamq's,
//   because
//                     Lua calls no debug hook in the state that collects
//
// Beside that they do what the originals do, with the same results and errors. Who kept an original before
// the module was loaded goes past them.
//
// What stays without a limit: a __gc that is set in a metatable after setmetatable; a handler of xpcall that
// is called for a hook that must stop, in a place where it cannot yield.
#ifndef LUAMQ_SCRIPT_GUARDS_H
#define LUAMQ_SCRIPT_GUARDS_H

#include <lua.h>

// The home of the state is the userdata at the top of the stack. To be called again when the module is loaded
// again: busted gives each file of specs the globals that were there before.
void guards_install(lua_State *L);

#endif
