// The listeners of a checked table, one after the other: opened at the start, or tried for --check.
#include <lauxlib.h>

#include "script/listener_settings.h"
#include "script/script_impl.h"

struct walk {
  struct script *script; // NULL: they are only tried
  char *error;
  size_t error_size;
};

// "broker.lua:12: ", where the script names the listener at the top.
static void add_place(lua_State *L, int config, const struct walk *walk) {
  char text[512];
  lua_getfield(L, -1, "line");
  lua_getfield(L, config, "path");
  if (lua_isstring(L, -1) && lua_isinteger(L, -2)) {
    snprintf(text, sizeof text, "%s", walk->error);
    snprintf(walk->error, walk->error_size, "%s:%d: %s", lua_tostring(L, -1), (int)lua_tointeger(L, -2),
             text);
  }
  lua_pop(L, 2);
}

// The listener at the top.
static bool open_one(lua_State *L, int config, const struct walk *walk) {
  int place = lua_gettop(L);
  struct script *s = walk->script;
  struct listener_settings settings;
  listener_settings_read(L, s, &settings);
  bool fine = listener_settings_build(&settings, walk->error, walk->error_size);
  if (s) settings.config.handshake_timeout_ms = s->settings.handshake_timeout_ms;
  if (s) fine = fine && engine_listen(s->engine, &settings.config, walk->error, walk->error_size);
  listener_settings_release(&settings);
  lua_settop(L, place);
  if (!fine) add_place(L, config, walk);
  return fine;
}

static int open_all(lua_State *L) {
  const struct walk *walk = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, walk->script->config_ref);
  lua_getfield(L, -1, "listeners");
  bool opened = true;
  lua_Integer count = luaL_len(L, 3);
  for (lua_Integer i = 1; i <= count && opened; i++) {
    lua_rawgeti(L, 3, i);
    opened = open_one(L, 2, walk);
    lua_pop(L, 1);
  }
  lua_pushboolean(L, opened);
  return 1;
}

bool listeners_open(struct script *s, char *error, size_t error_size) {
  if (s->loop->clock.is_virtual) return true;
  struct walk walk = {.script = s, .error = error, .error_size = error_size};
  lua_pushcfunction(s->tool, open_all);
  lua_pushlightuserdata(s->tool, &walk);
  bool called = lua_pcall(s->tool, 1, 1, 0) == LUA_OK;
  if (!called) snprintf(error, error_size, "%s", lua_tostring(s->tool, -1));
  bool opened = called && lua_toboolean(s->tool, -1);
  lua_pop(s->tool, 1);
  return opened;
}

bool script_try_listeners(lua_State *L, int checked, void (*tell)(const char *problem)) {
  int config = lua_absindex(L, checked);
  char error[512];
  struct walk walk = {.error = error, .error_size = sizeof error};
  luaL_checkstack(L, 8, NULL);
  lua_getfield(L, config, "listeners");
  int list = lua_gettop(L);
  bool fine = true;
  lua_Integer count = luaL_len(L, list);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, list, i);
    if (!open_one(L, config, &walk)) {
      tell(error);
      fine = false;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return fine;
}
