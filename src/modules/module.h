// What the Lua side of several modules has in common.
#ifndef LUAMQ_MODULES_MODULE_H
#define LUAMQ_MODULES_MODULE_H

#include <lauxlib.h>
#include <stdint.h>

// Makes a type of userdata, for luaL_setmetatable and luaL_checkudata; its methods are found in itself.
static inline void module_define(lua_State *L, const char *name, const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

struct module_count {
  const char *name;
  uint64_t value;
};

// Pushes a table of numbers by name.
static inline void module_push_counts(lua_State *L, const struct module_count *counts, size_t count) {
  lua_createtable(L, 0, (int)count);
  for (size_t i = 0; i < count; i++) {
    lua_pushinteger(L, (lua_Integer)counts[i].value);
    lua_setfield(L, -2, counts[i].name);
  }
}

#endif
