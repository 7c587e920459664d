#include "script/program.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "script/script_impl.h"

#define CLOSE_NS 500000000 // of processor time for all finalizers at the end

// Each function here has the one that it stands for as upvalue 1.
static int call_original(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

// --- chunks ---

// The mode, at `index`, is an argument that others may follow.
static int load_text(lua_State *L, int index) {
  bool takes_text = strchr(luaL_optstring(L, index, "bt"), 't');
  if (lua_gettop(L) < index) lua_settop(L, index);
  lua_pushstring(L, takes_text ? "t" : "none");
  lua_replace(L, index);
  return call_original(L);
}

static int l_load(lua_State *L) { return load_text(L, 3); }
static int l_loadfile(lua_State *L) { return load_text(L, 2); }

static int did(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  return lua_gettop(L) - 1;
}

static int l_dofile(lua_State *L) {
  const char *path = luaL_optstring(L, 1, NULL);
  lua_settop(L, 1);
  if (luaL_loadfilex(L, path, "t") != LUA_OK) return lua_error(L);
  lua_callk(L, 0, LUA_MULTRET, 0, did);
  return did(L, LUA_OK, 0);
}

// --- debug ---

static int l_sethook(lua_State *L) {
  if (script_home(L)->budget.top)
    return luaL_error(L, "debug.sethook cannot be used in a hook of the broker: it needs it for hook_budget");
  return call_original(L);
}

static int l_getregistry(lua_State *L) {
  return luaL_error(L, "debug.getregistry is not available in luamq");
}

static int l_setmetatable(lua_State *L) {
  if (lua_type(L, 1) == LUA_TUSERDATA) return luaL_error(L, "cannot change a protected metatable");
  return call_original(L);
}

static int l_setuservalue(lua_State *L) {
  return luaL_error(L, "debug.setuservalue is not available in luamq");
}

static int l_setupvalue(lua_State *L) {
  if (lua_iscfunction(L, 1)) return luaL_error(L, "cannot change an upvalue of a C function");
  return call_original(L);
}

static void replace(lua_State *L, const luaL_Reg *functions) { // in the table at the top
  for (; functions->name; functions++) {
    lua_getfield(L, -1, functions->name);
    lua_pushcclosure(L, functions->func, 1);
    lua_setfield(L, -2, functions->name);
  }
}

void program_prepare(lua_State *L) {
  static const luaL_Reg basic[] = {
      {"load", l_load}, {"loadfile", l_loadfile}, {"dofile", l_dofile}, {NULL, NULL}};
  static const luaL_Reg debug[] = {{"sethook", l_sethook},           {"getregistry", l_getregistry},
                                   {"setmetatable", l_setmetatable}, {"setuservalue", l_setuservalue},
                                   {"setupvalue", l_setupvalue},     {NULL, NULL}};
  script_guard(L);
  lua_pushglobaltable(L);
  replace(L, basic);
  lua_getfield(L, -1, LUA_DBLIBNAME);
  replace(L, debug);
  lua_pop(L, 2);
}

void program_close(lua_State *L) {
  struct budget_frame frame; // until the home is collected, which is about the last
  budget_enter(&script_home(L)->budget, &frame, CLOSE_NS);
  lua_close(L);
}
