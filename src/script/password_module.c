// What lua/luamq/password.lua is made of: hashes of passwords, which worker threads make and compare while
// the hook that wants them is suspended; and what is wrong with a password file.
#include <lauxlib.h>

#include "broker/password_file.h"
#include "script/script_impl.h"

#define PROBLEMS_MAX 100 // that are told of a file

struct problems {
  struct buf text; // each with a NUL
  const char *path;
  unsigned count;
};

static void told(void *arg, unsigned line, const char *problem) {
  struct problems *p = arg;
  if (p->count++ >= PROBLEMS_MAX) return;
  buf_printf(&p->text, "%s:%u: %s", p->path, line, problem);
  buf_add_byte(&p->text, 0);
}

static int push_problems(lua_State *L) {
  const struct problems *p = lua_touserdata(L, 1);
  lua_newtable(L);
  lua_Integer n = 0;
  for (const char *at = (const char *)p->text.ptr, *end = at + p->text.len; at < end; at += strlen(at) + 1) {
    lua_pushstring(L, at);
    lua_rawseti(L, 2, ++n);
  }
  if (p->count > PROBLEMS_MAX) {
    lua_pushfstring(L, "%s: %d more lines are wrong", p->path, (int)(p->count - PROBLEMS_MAX));
    lua_rawseti(L, 2, ++n);
  }
  return 1;
}

// A file whose lines are all wrong is told by them.
static int problems(lua_State *L) {
  struct problems p = {.path = luaL_checkstring(L, 1)};
  const char *error = NULL;
  lua_settop(L, 1);
  lua_pushcfunction(L, push_problems);
  password_file_free(password_file_read(p.path, 0, told, &p, &error));
  if (error && !p.count) {
    luaL_pushfail(L);
    lua_pushstring(L, error);
    return 2;
  }
  lua_pushlightuserdata(L, &p);
  int status = lua_pcall(L, 1, 1, 0);
  buf_release(&p.text);
  return status == LUA_OK ? 1 : lua_error(L);
}

void password_module_push(lua_State *L) {
  static const luaL_Reg functions[] = {{"problems", problems}, {NULL, NULL}};
  luaL_newlib(L, functions);
}
