#include "script/object.h"

#include <lauxlib.h>

#include "script/commons.h"
#include "script/property.h"

#define OBJECT_TEXT_KEPT 65536

void object_define(lua_State *L, struct script_home *home, enum object_type type,
                   const struct object_methods *m) {
  luaL_checkstack(L, 8, NULL);
  lua_newtable(L); // the metatable
  int meta = lua_gettop(L);
  lua_newtable(L); // the fields
  for (int i = 0; m->fields && m->fields[i]; i++) {
    lua_pushinteger(L, i + 1);
    lua_setfield(L, -2, m->fields[i]);
  }
  property_add_fields(L, m->properties);
  if (m->methods) {
    lua_pushvalue(L, meta);
    luaL_setfuncs(L, m->methods, 1);
  }
  lua_pushvalue(L, meta);
  lua_pushvalue(L, meta);
  lua_pushvalue(L, meta + 1);
  luaL_setfuncs(L, m->meta, 2); // takes the two values off the metatable's copy
  lua_pop(L, 1);
  lua_pushfstring(L, "luamq.%s", m->name);
  lua_setfield(L, meta, "__name");
  lua_pushfstring(L, "luamq.%s", m->name);
  lua_setfield(L, meta, "__metatable"); // scripts cannot change it
  lua_settop(L, meta);
  home->types[type] = luaL_ref(L, LUA_REGISTRYINDEX);
}

void *object_new(lua_State *L, const struct script_home *home, enum object_type type, size_t size,
                 int values) {
  void *object = lua_newuserdatauv(L, size, values);
  lua_rawgeti(L, LUA_REGISTRYINDEX, home->types[type]);
  lua_setmetatable(L, -2);
  return object;
}

void *object_self(lua_State *L, const char *name) {
  if (lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1)) {
    bool is_one = lua_rawequal(L, -1, lua_upvalueindex(1));
    lua_pop(L, 1);
    if (is_one) return lua_touserdata(L, 1);
  }
  luaL_error(L, "%s expected, got %s", name, luaL_typename(L, 1));
  return NULL;
}

// The number stays on the stack, below what the caller pushes: to take it off costs more than the look-up.
int object_field(lua_State *L) {
  if (lua_gettop(L) != 2) lua_settop(L, 2); // a script has called it by itself
  lua_pushvalue(L, 2);
  return lua_rawget(L, lua_upvalueindex(2)) == LUA_TNUMBER ? (int)lua_tointeger(L, -1) : 0;
}

int object_read_only(lua_State *L) {
  lua_getfield(L, lua_upvalueindex(1), "__name");
  const char *name = lua_tostring(L, -1);
  return luaL_error(L, "%s is read only", name + sizeof "luamq." - 1);
}

void object_push_slice(lua_State *L, struct slice s) { lua_pushlstring(L, (const char *)s.ptr, s.len); }

struct buf *object_text(lua_State *L) {
  struct buf *text = &script_home(L)->text;
  text->len = 0;
  return text;
}

int object_push_text(lua_State *L, struct buf *text) {
  lua_pushlstring(L, (const char *)text->ptr, text->len);
  if (text->cap > OBJECT_TEXT_KEPT) buf_release(text);
  return 1;
}

void object_use(lua_State *L, const struct borrowed *b, const char *name) {
  if (b->over) luaL_error(L, "%s used after its hook returned", name);
}

void objects_open(lua_State *L, struct script_home *home) {
  message_object_define(L, home);
  packet_object_define(L, home);
  client_object_define(L, home);
  session_object_define(L, home);
  timer_object_define(L, home);
  retained_object_define(L, home);
  pause_objects_define(L, home);
  metrics_define_types(L, home);
}
