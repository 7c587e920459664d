// Values on their way between Lua and what knows no Lua: a database, a worker thread. A run of cells is plain
// bytes in a struct buf, so it can be made where there is no Lua state, be kept, and be dropped at any time.
//
//   struct buf b = BUF_INIT;
//   cells_add_list(&b, 2);                        // of the two that follow
//   cells_add_integer(&b, 7);
//   cells_add_string(&b, CELL_TEXT, SLICE("x"));
//
//   struct slice rest = buf_slice(&b);
//   cells_push(L, &rest);                         // {7, "x"}
#ifndef LUAMQ_SCRIPT_CELLS_H
#define LUAMQ_SCRIPT_CELLS_H

#include <lua.h>

#include "base/api.h"
#include "base/buf.h"

enum cell_type {
  CELL_NIL,
  CELL_FALSE,
  CELL_TRUE,
  CELL_INTEGER,
  CELL_FLOAT,
  CELL_TEXT,
  CELL_BYTES, // text is a string to Lua as well; a database tells them apart
  CELL_LIST,  // of the next `integer` values
  CELL_ERROR, // a text: one part of an answer that failed
};

struct cell {
  enum cell_type type;
  int64_t integer;
  double number;
  struct slice text; // borrowed from the run
};

LUAMQ_API void cells_add(struct buf *to, enum cell_type type); // nil, false or true
LUAMQ_API void cells_add_integer(struct buf *to, int64_t integer);
LUAMQ_API void cells_add_float(struct buf *to, double number);
LUAMQ_API void cells_add_string(struct buf *to, enum cell_type type, struct slice text);
LUAMQ_API void cells_add_list(struct buf *to, size_t count);

// The next cell of a run, which is taken off it. False at the end.
LUAMQ_API bool cells_next(struct slice *run, struct cell *out);

// The value at `index`: nil, a boolean, a number, a string, or a table with a string `bytes`. False, and
// nothing was added, for what is none of these.
LUAMQ_API bool cells_add_value(struct buf *to, lua_State *L, int index);
// Pushes one that has no parts; nil for a list.
LUAMQ_API void cell_push(lua_State *L, const struct cell *c);
// Takes the next value off the run, with its parts, and pushes it. In a list nil is `false`, so that there
// are no holes, and an error a table {error = text}. Whoever makes a run bounds how deep its lists are.
LUAMQ_API void cells_push(lua_State *L, struct slice *run);

#endif
