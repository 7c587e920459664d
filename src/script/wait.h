// What a hook may wait for. A C function that is called from Lua begins something that takes time and
// suspends the hook's coroutine; the loop goes on meanwhile. When it is over the coroutine goes on with the
// results.
//
//   struct sleep { struct wait wait; struct timer timer; lua_Number seconds; };
//
//   static bool start(struct wait *w)  { ... arms the timer; when it fires: wait_done(w) ... }
//   static int finish(lua_State *L, struct wait *w) { lua_pushboolean(L, true); return 1; }
//   static void cancel(struct wait *w) { ... disarms the timer ... }
//   static const struct wait_ops ops = {"luamq.sleep", start, finish, cancel};
//
//   static int l_sleep(lua_State *L) {
//     struct sleep *s = lua_newuserdatauv(L, sizeof *s, 0);   // it stays on the coroutine's stack
//     ...
//     return wait_for(L, &s->wait, &ops);
//   }
//
// The wait stands in memory that lives until `finish` or `cancel` has been called: usually a userdata on the
// stack of the function that waits. What it owns beside that is released in both.
//
// Only so many hooks wait at once (script.max_suspended): a wait beyond is started when another one is over,
// and until then its client is not read. Hence `start` is a function of its own. It is not protected: it
// calls no Lua.
#ifndef LUAMQ_SCRIPT_WAIT_H
#define LUAMQ_SCRIPT_WAIT_H

#include <lua.h>

#include "base/api.h"
#include "base/list.h"

struct hook_task;
struct loop;
struct wait;

struct wait_ops {
  const char *name; // for errors and reports: "luamq.sleep"
  // Begins it. It may call wait_done at once, also when it cannot be begun at all.
  void (*start)(struct wait *w);
  // In the coroutine, protected: pushes what the function returns and returns how many; or raises.
  int (*finish)(lua_State *L, struct wait *w);
  // Nobody waits any longer (the client has gone, the time of the hook is over, the broker ends): `finish` is
  // not called. Only called between start and wait_done, or after wait_done and before finish; calls no Lua.
  void (*cancel)(struct wait *w);
};

struct wait {
  const struct wait_ops *ops;
  struct hook_task *task;
  struct list node; // in the script's list of waits that are not started, or of those that are over
  bool started, over;
};

// The last thing that a C function does: `return wait_for(L, w, &ops)`. Raises where the caller cannot
// suspend, with a text that says why; then nothing was started.
LUAMQ_API int wait_for(lua_State *L, struct wait *w, const struct wait_ops *ops);
// Raises as wait_for does, for functions that want to know before they begin to make something.
LUAMQ_API void wait_check(lua_State *L, const char *name);
// Raises "broker.lua:12: NAME: WHY" with the line of the script that called, also where it called by a module
// of luamq.
LUAMQ_API int wait_misuse(lua_State *L, const char *name, const char *why);
// It is over. To be called from anywhere but Lua; the coroutine goes on in the next turn of the loop.
LUAMQ_API void wait_done(struct wait *w);
// The loop of the broker that the caller is part of; raises when there is none. loop->base is NULL where time
// is virtual: then there is no network either.
LUAMQ_API struct loop *wait_loop(lua_State *L);

#endif
