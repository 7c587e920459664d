#include "script/cells.h"

#include <lauxlib.h>

static void add(struct buf *to, enum cell_type type, const void *bytes, size_t len) {
  buf_add_byte(to, (uint8_t)type);
  buf_add(to, bytes, len);
}

void cells_add(struct buf *to, enum cell_type type) { buf_add_byte(to, (uint8_t)type); }

void cells_add_integer(struct buf *to, int64_t integer) { add(to, CELL_INTEGER, &integer, sizeof integer); }

void cells_add_float(struct buf *to, double number) { add(to, CELL_FLOAT, &number, sizeof number); }

void cells_add_string(struct buf *to, enum cell_type type, struct slice text) {
  int64_t len = (int64_t)text.len;
  add(to, type, &len, sizeof len);
  buf_add_slice(to, text);
}

void cells_add_list(struct buf *to, size_t count) {
  int64_t integer = (int64_t)count;
  add(to, CELL_LIST, &integer, sizeof integer);
}

static void take(struct slice *run, void *to, size_t len) {
  memcpy(to, run->ptr, len);
  *run = slice_from(*run, len);
}

bool cells_next(struct slice *run, struct cell *out) {
  if (!run->len) return false;
  *out = (struct cell){.type = run->ptr[0]};
  *run = slice_from(*run, 1);
  if (out->type == CELL_FLOAT) take(run, &out->number, sizeof out->number);
  if (out->type < CELL_INTEGER || out->type == CELL_FLOAT) return true;
  take(run, &out->integer, sizeof out->integer);
  if (out->type == CELL_INTEGER || out->type == CELL_LIST) return true;
  out->text = slice_of(run->ptr, (size_t)out->integer);
  *run = slice_from(*run, out->text.len);
  return true;
}

static bool add_bytes(struct buf *to, lua_State *L, int index) {
  lua_pushliteral(L, "bytes");
  bool is_bytes = lua_rawget(L, index) == LUA_TSTRING;
  size_t len;
  if (is_bytes) {
    const char *bytes = lua_tolstring(L, -1, &len);
    cells_add_string(to, CELL_BYTES, slice_of(bytes, len));
  }
  lua_pop(L, 1);
  return is_bytes;
}

bool cells_add_value(struct buf *to, lua_State *L, int index) {
  size_t len;
  const char *text;
  switch (lua_type(L, index)) {
  case LUA_TNIL: cells_add(to, CELL_NIL); return true;
  case LUA_TBOOLEAN: cells_add(to, lua_toboolean(L, index) ? CELL_TRUE : CELL_FALSE); return true;
  case LUA_TNUMBER:
    if (lua_isinteger(L, index))
      cells_add_integer(to, lua_tointeger(L, index));
    else
      cells_add_float(to, lua_tonumber(L, index));
    return true;
  case LUA_TSTRING:
    text = lua_tolstring(L, index, &len);
    cells_add_string(to, CELL_TEXT, slice_of(text, len));
    return true;
  case LUA_TTABLE: return add_bytes(to, L, lua_absindex(L, index));
  default: return false;
  }
}

void cell_push(lua_State *L, const struct cell *c) {
  switch (c->type) {
  case CELL_FALSE:
  case CELL_TRUE: lua_pushboolean(L, c->type == CELL_TRUE); break;
  case CELL_INTEGER: lua_pushinteger(L, c->integer); break;
  case CELL_FLOAT: lua_pushnumber(L, c->number); break;
  case CELL_TEXT:
  case CELL_BYTES:
  case CELL_ERROR: lua_pushlstring(L, (const char *)c->text.ptr, c->text.len); break;
  default: lua_pushnil(L);
  }
}

static void push_part(lua_State *L, struct slice *run);

static void push_list(lua_State *L, int64_t count, struct slice *run) {
  luaL_checkstack(L, 4, "an answer is nested too deeply");
  lua_createtable(L, (int)count, 0);
  for (int64_t i = 1; i <= count; i++) {
    push_part(L, run);
    lua_rawseti(L, -2, i);
  }
}

static void push_part(lua_State *L, struct slice *run) {
  struct cell c = {.type = CELL_NIL};
  cells_next(run, &c);
  switch (c.type) {
  case CELL_LIST: push_list(L, c.integer, run); break;
  case CELL_NIL: lua_pushboolean(L, false); break;
  case CELL_ERROR:
    lua_createtable(L, 0, 1);
    cell_push(L, &c);
    lua_setfield(L, -2, "error");
    break;
  default: cell_push(L, &c);
  }
}

void cells_push(lua_State *L, struct slice *run) {
  struct cell c = {.type = CELL_NIL};
  cells_next(run, &c);
  if (c.type == CELL_LIST)
    push_list(L, c.integer, run);
  else
    cell_push(L, &c);
}
