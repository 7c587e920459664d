// A Lua state that runs out of memory: each allocation of a chunk of Lua is failed once. Whatever comes of it
// is an error or a finished run; then nothing may be lost: a sanitizer tells of C's memory, and references
// into the registry are counted.
//
//   static const struct lua_memory_run run = {
//       .setup = "broker = test.broker {}",        // not failed; its globals stay
//       .run = "broker:connect()",                 // failed, at one allocation after the other
//       .after = "assert(broker:connect())"};      // not failed: all goes on as before
//   lua_memory_fail_each(&run);
//
// In all of them `test` is luamq.test, `client` luamq.client, `config` luamq.config, `luamq` luamq. When
// `after` is over no broker may be left but those that are garbage.
#ifndef LUA_MEMORY_H
#define LUA_MEMORY_H

#include <lua.h>

struct lua_memory_run {
  const char *setup, *run, *after; // NULL: nothing; `run` is always there
  void (*open)(lua_State *L);      // NULL, or registers what they need beside that
};

void lua_memory_fail_each(const struct lua_memory_run *r);
// The same chunks once, in one go.
void lua_memory_run_once(const struct lua_memory_run *r);

#endif
