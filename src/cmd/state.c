#include "cmd/state.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>
#include <unistd.h>

#include "script/program.h"
#include "script/script.h"

// The directory of the program, with the slash.
static bool program_directory(char *path, size_t size) {
  ssize_t len = readlink("/proc/self/exe", path, size - 1);
  if (len <= 0) return false;
  path[len] = 0;
  char *slash = strrchr(path, '/');
  if (!slash) return false;
  slash[1] = 0;
  return true;
}

static void prepend(lua_State *L, const char *field, const char *templates) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, field);
  lua_pushfstring(L, "%s;%s", templates, lua_tostring(L, -1));
  lua_setfield(L, -3, field);
  lua_pop(L, 2);
}

// In the source tree the modules stand beside the build folder and in it, installed in share/ and lib/.
static void set_path(lua_State *L) {
  static const struct {
    const char *lua, *c;
  } places[] = {{"../lua", "lib"}, {"../share/lua/5.4", "../lib/lua/5.4"}};
  char directory[4096];
  if (!program_directory(directory, sizeof directory)) return;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    const char *lua = lua_pushfstring(L, "%s%s", directory, places[i].lua);
    if (access(lua_pushfstring(L, "%s/luamq/init.lua", lua), R_OK)) continue;
    prepend(L, "path", lua_pushfstring(L, "%s/?.lua;%s/?/init.lua", lua, lua));
    prepend(L, "cpath", lua_pushfstring(L, "%s%s/?.so", directory, places[i].c));
    break;
  }
  lua_settop(L, 0);
}

static void preload_core(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_luamq_core);
  lua_setfield(L, -2, "luamq.core");
  lua_pop(L, 1);
}

static void set_arg(lua_State *L, const struct program *p) {
  int script = p->script < p->argc ? p->script : 0;
  lua_createtable(L, p->argc - script, script + 1);
  for (int i = 0; i < p->argc; i++) {
    lua_pushstring(L, p->argv[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

int state_traceback(lua_State *L) {
  const char *text = luaL_tolstring(L, 1, NULL);
  luaL_traceback(L, L, text, 1);
  return 1;
}

struct opening { // of `prepare`
  const struct program *program;
  struct host *host;
  struct buf *why;
  bool loaded;
};

static bool run_chunk(lua_State *L, const char *chunk, struct buf *why) {
  if (luaL_loadbuffer(L, chunk, strlen(chunk), "=(command line)") != LUA_OK) {
    buf_add_str(why, lua_tostring(L, -1));
    return false;
  }
  lua_call(L, 0, 0);
  return true;
}

static bool run_chunks(lua_State *L, const struct opening *o) {
  const struct program *p = o->program;
  for (int i = 1; i < p->script; i++) {
    if (strncmp(p->argv[i], "-e", 2) != 0) continue;
    if (!run_chunk(L, p->argv[i][2] ? p->argv[i] + 2 : p->argv[++i], o->why)) return false;
  }
  return true;
}

// Pushes the checked table; or tells what is wrong.
static bool load_config(lua_State *L, const struct opening *o) {
  const struct program *p = o->program;
  lua_getglobal(L, "require");
  lua_pushliteral(L, "luamq.config");
  lua_call(L, 1, 1);
  if (p->script == p->argc) {
    lua_getfield(L, -1, "default");
    lua_call(L, 0, 1);
    return true;
  }
  lua_getfield(L, -1, "load");
  lua_pushstring(L, p->argv[p->script]);
  lua_newtable(L);
  for (int i = p->script + 1; i < p->argc; i++) {
    lua_pushstring(L, p->argv[i]);
    lua_rawseti(L, -2, i - p->script);
  }
  lua_call(L, 2, 2);
  bool fine = !lua_isnil(L, -2);
  if (!fine) buf_add_str(o->why, lua_tostring(L, -1));
  lua_pop(L, 1);
  return fine;
}

static int prepare(lua_State *L) {
  struct opening *o = lua_touserdata(L, 1);
  const struct program *p = o->program;
  lua_settop(L, 0);
  luaL_openlibs(L);
  if (o->host) host_give_state(o->host, L);
  set_path(L);
  preload_core(L);
  program_prepare(L);
  set_arg(L, p);
  if (!run_chunks(L, o)) return 0;
  if (p->has_chunks && p->script == p->argc && !p->serves) {
    lua_pushnil(L);
    o->loaded = true;
  } else {
    o->loaded = load_config(L, o);
  }
  return 1;
}

lua_State *state_open(const struct program *p, struct host *host, struct buf *why) {
  lua_State *L = luaL_newstate();
  if (!L) {
    buf_add_str(why, "not enough memory");
    return NULL;
  }
  struct opening o = {.program = p, .host = host, .why = why};
  lua_pushcfunction(L, state_traceback);
  lua_pushcfunction(L, prepare);
  lua_pushlightuserdata(L, &o);
  if (lua_pcall(L, 1, 1, 1) != LUA_OK) buf_add_str(why, lua_tostring(L, -1));
  lua_remove(L, 1);
  if (o.loaded) return L;
  lua_close(L);
  return NULL;
}
