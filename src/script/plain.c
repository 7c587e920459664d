#include "script/plain.h"

#include <lauxlib.h>
#include <stdio.h>

#include "packet/packet.h"

enum tag { TAG_NIL, TAG_FALSE, TAG_TRUE, TAG_INTEGER, TAG_FLOAT, TAG_STRING, TAG_TABLE, TAG_END };

// --- writing ---

struct writer {
  lua_State *L;
  struct buf *out;
  struct plain_loss *loss;
  size_t end;                          // of the bytes that may be written
  unsigned depth;                      // tables that are being written
  const void *tables[PLAIN_DEPTH_MAX]; // those
  int keys[PLAIN_DEPTH_MAX];           // where on the stack the key is that each of them is at
};

static void add_key(lua_State *L, int index, struct buf *path) {
  if (lua_type(L, index) == LUA_TSTRING) {
    size_t len;
    const char *text = lua_tolstring(L, index, &len);
    buf_add_byte(path, '[');
    packet_format_string(slice_of(text, len), path);
    buf_add_byte(path, ']');
  } else if (lua_isinteger(L, index)) {
    buf_printf(path, "[%lld]", (long long)lua_tointeger(L, index));
  } else {
    buf_printf(path, "[a %s]", luaL_typename(L, index));
  }
}

static void lose(struct writer *w, const char *what) {
  if (w->loss->count++) return;
  struct buf path = BUF_INIT;
  buf_add_str(&path, w->loss->name);
  for (unsigned i = 0; i < w->depth; i++)
    add_key(w->L, w->keys[i], &path);
  snprintf(w->loss->first, sizeof w->loss->first, "%.*s: %s", (int)path.len, (const char *)path.ptr, what);
  buf_release(&path);
}

static const char *problem_of_table(const struct writer *w, int index) {
  if (lua_getmetatable(w->L, index)) {
    lua_pop(w->L, 1);
    return "a table with a metatable";
  }
  for (unsigned i = 0; i < w->depth; i++)
    if (w->tables[i] == lua_topointer(w->L, index)) return "a table inside of itself";
  return w->depth == PLAIN_DEPTH_MAX ? "nested too deeply" : NULL;
}

// NULL, or why the value cannot leave its state.
static const char *problem_of(const struct writer *w, int index) {
  switch (lua_type(w->L, index)) {
  case LUA_TNIL:
  case LUA_TBOOLEAN:
  case LUA_TNUMBER: return w->out->len < w->end ? NULL : "too much data";
  case LUA_TSTRING: return w->out->len + lua_rawlen(w->L, index) < w->end ? NULL : "too much data";
  case LUA_TTABLE: return problem_of_table(w, index);
  case LUA_TFUNCTION: return "a function";
  case LUA_TTHREAD: return "a coroutine";
  default: return "a userdata";
  }
}

static bool is_scalar(lua_State *L, int index) {
  int type = lua_type(L, index);
  return type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING;
}

static void write_scalar(lua_State *L, int index, struct buf *out) {
  switch (lua_type(L, index)) {
  case LUA_TBOOLEAN: buf_add_byte(out, lua_toboolean(L, index) ? TAG_TRUE : TAG_FALSE); return;
  case LUA_TNUMBER:
    if (lua_isinteger(L, index)) {
      lua_Integer number = lua_tointeger(L, index);
      buf_add_byte(out, TAG_INTEGER);
      buf_add(out, &number, sizeof number);
    } else {
      lua_Number number = lua_tonumber(L, index);
      buf_add_byte(out, TAG_FLOAT);
      buf_add(out, &number, sizeof number);
    }
    return;
  case LUA_TSTRING: {
    size_t len;
    const char *text = lua_tolstring(L, index, &len);
    buf_add_byte(out, TAG_STRING);
    buf_add(out, &len, sizeof len);
    buf_add(out, text, len);
    return;
  }
  default: buf_add_byte(out, TAG_NIL);
  }
}

static void write_value(struct writer *w, int index);

// The pair at the top.
static void write_pair(struct writer *w) {
  lua_State *L = w->L;
  int key = lua_gettop(L) - 1;
  const char *problem = is_scalar(L, key) ? problem_of(w, key) : "a key that is no plain data";
  if (!problem) problem = problem_of(w, key + 1);
  if (problem) {
    lose(w, problem);
    return;
  }
  write_scalar(L, key, w->out);
  write_value(w, key + 1);
}

static void write_table(struct writer *w, int index) {
  lua_State *L = w->L;
  unsigned depth = w->depth++;
  w->tables[depth] = lua_topointer(L, index);
  w->keys[depth] = lua_gettop(L) + 1;
  buf_add_byte(w->out, TAG_TABLE);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    write_pair(w);
  buf_add_byte(w->out, TAG_END);
  w->depth = depth;
}

static void write_loss(struct writer *w, const char *what) {
  lose(w, what);
  buf_add_byte(w->out, TAG_NIL);
}

static void write_value(struct writer *w, int index) {
  if (!lua_istable(w->L, index))
    write_scalar(w->L, index, w->out);
  else if (lua_checkstack(w->L, 6))
    write_table(w, index);
  else
    write_loss(w, "there is no memory for it");
}

void plain_write(lua_State *L, int index, struct buf *out, struct plain_loss *loss) {
  struct writer w = {.L = L, .out = out, .loss = loss, .end = out->len + PLAIN_BYTES_MAX};
  int at = lua_absindex(L, index);
  const char *problem = problem_of(&w, at);
  if (problem)
    write_loss(&w, problem);
  else
    write_value(&w, at);
}

// --- reading ---

static void take(struct slice *in, void *to, size_t len) {
  memcpy(to, in->ptr, len);
  *in = slice_from(*in, len);
}

static void push_string(lua_State *L, struct slice *in) {
  size_t len;
  take(in, &len, sizeof len);
  lua_pushlstring(L, (const char *)in->ptr, len);
  *in = slice_from(*in, len);
}

// False: it was the end of a table, and nothing is pushed.
static bool push_value(lua_State *L, struct slice *in) {
  uint8_t tag;
  lua_Integer integer;
  lua_Number number;
  take(in, &tag, 1);
  switch ((enum tag)tag) {
  case TAG_NIL: lua_pushnil(L); return true;
  case TAG_FALSE:
  case TAG_TRUE: lua_pushboolean(L, tag == TAG_TRUE); return true;
  case TAG_INTEGER:
    take(in, &integer, sizeof integer);
    lua_pushinteger(L, integer);
    return true;
  case TAG_FLOAT:
    take(in, &number, sizeof number);
    lua_pushnumber(L, number);
    return true;
  case TAG_STRING: push_string(L, in); return true;
  case TAG_TABLE:
    luaL_checkstack(L, 4, NULL);
    for (lua_newtable(L); push_value(L, in); lua_rawset(L, -3))
      push_value(L, in);
    return true;
  case TAG_END: break;
  }
  return false;
}

void plain_push(lua_State *L, struct slice bytes) {
  size_t len;
  lua_pushlstring(L, (const char *)bytes.ptr, bytes.len);
  const char *copy = lua_tolstring(L, -1, &len);
  struct slice rest = slice_of((const uint8_t *)copy, len);
  push_value(L, &rest);
  lua_remove(L, -2);
}
