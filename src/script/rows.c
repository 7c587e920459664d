#include "script/rows.h"

#include <lauxlib.h>

void rows_init(struct rows *r, const struct rows_limits *limits) {
  *r = (struct rows){.limits = *limits, .names = BUF_INIT, .cells = BUF_INIT};
}

void rows_clear(struct rows *r) {
  const struct rows_limits limits = r->limits;
  rows_release(r);
  rows_init(r, &limits);
}

void rows_release(struct rows *r) {
  buf_release(&r->names);
  buf_release(&r->cells);
}

void rows_add_column(struct rows *r, struct slice name) {
  cells_add_string(&r->names, CELL_TEXT, name);
  r->columns++;
}

bool rows_end(struct rows *r) {
  if (r->cells.len > r->limits.bytes) r->problem = "the rows are larger than max_bytes";
  return !r->problem;
}

bool rows_begin_row(struct rows *r) {
  if (!rows_end(r)) return false;
  if (r->count == r->limits.rows) {
    r->problem = "more rows than max_rows";
    return false;
  }
  r->count++;
  return true;
}

// A list of the names, so that each is made once.
static void push_names(lua_State *L, const struct rows *r) {
  struct slice run = buf_slice(&r->names);
  struct cell name;
  lua_createtable(L, (int)r->columns, 0);
  for (lua_Integer i = 1; cells_next(&run, &name); i++) {
    cell_push(L, &name);
    lua_rawseti(L, -2, i);
  }
}

static void push_row(lua_State *L, int names, uint32_t columns, struct slice *run) {
  struct cell c;
  lua_createtable(L, 0, (int)columns);
  for (uint32_t i = 1; i <= columns && cells_next(run, &c); i++) {
    if (c.type == CELL_NIL) continue;
    lua_rawgeti(L, names, i);
    cell_push(L, &c);
    lua_rawset(L, -3);
  }
}

void rows_push(lua_State *L, const struct rows *r) {
  luaL_checkstack(L, 6, NULL);
  push_names(L, r);
  int names = lua_gettop(L);
  struct slice run = buf_slice(&r->cells);
  lua_createtable(L, (int)r->count, 1);
  for (uint32_t i = 1; i <= r->count; i++) {
    push_row(L, names, r->columns, &run);
    lua_rawseti(L, -2, i);
  }
  lua_pushinteger(L, r->affected);
  lua_setfield(L, -2, "affected");
  lua_remove(L, names);
}
