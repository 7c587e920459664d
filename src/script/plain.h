// Plain data: what can go from one Lua state to another one, as bytes in between: booleans, numbers, strings,
// and tables of these. Functions, userdata and coroutines belong to their state; so does a table with a
// metatable. They are left out, as are a table inside of itself and what is nested deeper than
// PLAIN_DEPTH_MAX.
//
//   struct plain_loss loss = {0};
//   plain_write(from, -1, &bytes, &loss);     // no error of Lua: nothing is allocated in `from`
//   if (loss.count) ... loss.first            // "ref.connection: a userdata"
//   plain_push(to, buf_slice(&bytes));        // raises when there is no memory
//
// A table that is there twice becomes two. No more than PLAIN_BYTES_MAX are written.
#ifndef LUAMQ_SCRIPT_PLAIN_H
#define LUAMQ_SCRIPT_PLAIN_H

#include <lua.h>

#include "base/buf.h"

#define PLAIN_DEPTH_MAX 32
#define PLAIN_BYTES_MAX (64u << 20)

struct plain_loss { // what was left out
  const char *name; // what the value is called: "ref"
  unsigned count;
  char first[160]; // where the first one was, and what; "" when there is none
};

// Appends the value at `index`. Where the value itself is left out it is nil.
void plain_write(lua_State *L, int index, struct buf *out, struct plain_loss *loss);
// Pushes what plain_write has written. It goes by a copy: what a finalizer does to the bytes meanwhile is of
// no effect.
void plain_push(lua_State *L, struct slice bytes);

#endif
