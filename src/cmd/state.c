#include "cmd/state.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "script/host.h"
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

// The script, or what busted calls itself, is arg[0].
static void set_arg(lua_State *L, const struct command_line *c) {
  int script = c->test ? c->rest - 1 : command_line_script(c) ? c->rest : 0;
  lua_createtable(L, c->argc - script, script + 1);
  for (int i = 0; i < c->argc; i++) {
    lua_pushstring(L, c->argv[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

static bool has_lua_frame(lua_State *L) {
  lua_Debug frame;
  for (int level = 0; lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "S", &frame);
    if (*frame.what != 'C') return true;
  }
  return false;
}

int state_traceback(lua_State *L) {
  const char *text = luaL_tolstring(L, 1, NULL);
  if (has_lua_frame(L)) luaL_traceback(L, L, text, 1);
  return 1;
}

// Calls what a load that ended with `status` left at the top.
static void run(lua_State *L, int status) {
  if (status != LUA_OK) lua_error(L);
  lua_call(L, 0, 0);
}

static void run_text(lua_State *L, const char *text, const char *name) {
  run(L, luaL_loadbuffer(L, text, strlen(text), name));
}

// LUA_INIT is a chunk, or with a @ in front the name of a file.
static void run_init(lua_State *L) {
  static const char *const names[] = {"=LUA_INIT_5_4", "=LUA_INIT"};
  const char *init = NULL;
  size_t i = 0;
  for (; i < sizeof names / sizeof *names; i++)
    if ((init = getenv(names[i] + 1))) break;
  if (init && *init == '@')
    run(L, luaL_loadfile(L, init + 1));
  else if (init)
    run_text(L, init, names[i]);
}

// -l NAME, -l GLOBAL=NAME; the global of a NAME-SUFFIX is NAME.
static void require_module(lua_State *L, const char *text) {
  const char *equals = strchr(text, '=');
  lua_pushglobaltable(L);
  lua_pushlstring(L, text, equals ? (size_t)(equals - text) : strcspn(text, "-"));
  lua_getglobal(L, "require");
  lua_pushstring(L, equals ? equals + 1 : text);
  lua_call(L, 1, 1);
  lua_settable(L, -3);
  lua_pop(L, 1);
}

static void run_option(void *arg, char letter, const char *value) {
  lua_State *L = arg;
  switch (letter) {
  case 'e': run_text(L, value, "=(command line)"); break;
  case 'l': require_module(L, value); break;
  default: lua_warning(L, "@on", 0); // -W
  }
}

// Pushes the checked table; or nil and a text that tells what is wrong.
static void load_config(lua_State *L, const struct command_line *c) {
  const char *script = command_line_script(c);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "luamq.config");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, script ? "load" : "default");
  lua_pushstring(L, script ? script : "");
  lua_newtable(L);
  for (int i = c->rest + 1; i < c->argc; i++) {
    lua_pushstring(L, c->argv[i]);
    lua_rawseti(L, -2, i - c->rest);
  }
  lua_call(L, 2, 2);
  lua_remove(L, -3);
}

// A chunk alone is all that there is to do, and tests bring their scripts.
static bool serves_nothing(const struct command_line *c) {
  if (c->test) return true;
  return c->has_chunk && !command_line_script(c) && !c->check && !c->dump && !c->interactive;
}

struct opening { // of `prepare`
  const struct command_line *command_line;
  struct host *host;
  struct buf *why;
  bool loaded;
};

static int prepare(lua_State *L) {
  struct opening *o = lua_touserdata(L, 1);
  const struct command_line *c = o->command_line;
  lua_settop(L, 0);
  if (c->without_environment) { // luaL_openlibs looks for it
    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  }
  luaL_openlibs(L);
  if (o->host) host_give_state(o->host, L);
  set_path(L);
  preload_core(L);
  program_prepare(L);
  set_arg(L, c);
  if (!c->without_environment) run_init(L);
  command_line_each(c, run_option, L);
  lua_settop(L, 0);
  if (!serves_nothing(c)) load_config(L, c);
  lua_settop(L, 2);
  o->loaded = lua_isnil(L, 2);
  if (!o->loaded) buf_add_str(o->why, lua_tostring(L, 2));
  lua_settop(L, 1);
  return 1;
}

lua_State *state_open(const struct command_line *c, struct host *host, struct buf *why) {
  lua_State *L = luaL_newstate();
  if (!L) {
    buf_add_str(why, "not enough memory");
    return NULL;
  }
  struct opening o = {.command_line = c, .host = host, .why = why};
  lua_pushcfunction(L, state_traceback);
  lua_pushcfunction(L, prepare);
  lua_pushlightuserdata(L, &o);
  if (lua_pcall(L, 1, 1, 1) != LUA_OK) buf_add_str(why, lua_tostring(L, -1));
  lua_remove(L, 1);
  if (o.loaded) return L;
  lua_close(L);
  return NULL;
}
