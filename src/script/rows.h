// What a query of an SQL database answers, collected without a Lua state (see cells.h) and bounded; then
// pushed as a list of tables by column name.
//
//   struct rows rows;
//   rows_init(&rows, &limits);
//   rows_add_column(&rows, SLICE("id"));
//   if (!rows_begin_row(&rows)) ... enough: rows.problem says what of
//   cells_add_integer(&rows.cells, 7);             // one cell for each column
//   rows.affected = 1;
//   rows_push(L, &rows);                           // {{id = 7}, affected = 1}
//   rows_release(&rows);
#ifndef LUAMQ_SCRIPT_ROWS_H
#define LUAMQ_SCRIPT_ROWS_H

#include "script/cells.h"

struct rows_limits {
  uint32_t rows;
  size_t bytes; // of the values of all rows
};

struct rows {
  struct rows_limits limits;
  struct buf names; // cells, one a column
  struct buf cells; // row by row
  uint32_t columns, count;
  int64_t affected;
  const char *problem; // NULL: within the limits
};

LUAMQ_API void rows_init(struct rows *r, const struct rows_limits *limits);
LUAMQ_API void rows_release(struct rows *r); // leaves it empty and usable
LUAMQ_API void rows_clear(struct rows *r);   // the columns as well; not the limits
LUAMQ_API void rows_add_column(struct rows *r, struct slice name);
// Whether there may be one more row, after the bytes that those before it have.
LUAMQ_API bool rows_begin_row(struct rows *r);
// After the last one. False: it was too large.
LUAMQ_API bool rows_end(struct rows *r);
// Pushes the table. A NULL is absent; of columns with the same name the last one counts.
LUAMQ_API void rows_push(lua_State *L, const struct rows *r);

#endif
