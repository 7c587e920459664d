#include "lua_memory.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "base/api.h"
#include "script/script.h"

#define NEVER SIZE_MAX

// lua-cjson loses its buffer when Lua raises in the midst of decoding. It is not unloaded, so that what it
// loses has its name for the sanitizer.
LUAMQ_API const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:lua5.4-cjson\n"; }

__attribute__((constructor)) static void keep_cjson(void) {
  dlopen("liblua5.4-cjson.so.0", RTLD_LAZY | RTLD_NODELETE);
}

struct memory {
  size_t left; // allocations until the one that fails
  bool failed;
  size_t refused_bytes; // what was refused just now, until Lua has asked for it again; or 0
};

// Lua collects when it is refused memory, and asks again: that is refused, too.
static bool is_refused(struct memory *m, size_t size) {
  bool again = m->refused_bytes == size;
  m->refused_bytes = 0;
  if (again) return true;
  if (m->left == NEVER || m->left-- != 0) return false;
  m->left = NEVER;
  m->failed = true;
  m->refused_bytes = size;
  return true;
}

static void *allocate(void *arg, void *old, size_t old_size, size_t size) {
  struct memory *m = arg;
  if (size == 0) {
    free(old);
    return NULL;
  }
  bool grows = !old || size > old_size; // Lua relies on shrinking
  if (grows && is_refused(m, size)) return NULL;
  return realloc(old, size);
}

// Modules are loaded beforehand; only what they do is tested.
static lua_State *open_state(struct memory *m, const struct lua_memory_run *r) {
  lua_State *L = lua_newstate(allocate, m);
  assert_non_null(L);
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_luamq_core);
  lua_setfield(L, -2, "luamq.core");
  lua_pop(L, 1);
  assert_int_equal(luaL_dostring(L, "package.path = 'lua/?.lua;lua/?/init.lua;' .. package.path\n"
                                    "test, client = require 'luamq.test', require 'luamq.client'\n"
                                    "config, luamq = require 'luamq.config', require 'luamq'"),
                   LUA_OK);
  if (r->open) r->open(L);
  return L;
}

// References into the registry that are in use; of those that are free it keeps the next one, a number.
static int references(lua_State *L) {
  int count = 0;
  for (lua_Unsigned i = lua_rawlen(L, LUA_REGISTRYINDEX); i; i--) {
    count += lua_rawgeti(L, LUA_REGISTRYINDEX, (lua_Integer)i) != LUA_TNUMBER;
    lua_pop(L, 1);
  }
  return count;
}

static void must_run(lua_State *L, size_t n, const char *chunk) {
  if (chunk && luaL_dostring(L, chunk) != LUA_OK)
    fail_msg("allocation %zu: %s", n, luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
}

// What objects refer to is free when their finalizers have run.
static void collect(lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT);
  lua_gc(L, LUA_GCCOLLECT);
}

// Whether an allocation was failed; *status is what came of the chunk.
static bool fail_at(size_t n, const struct lua_memory_run *r, int *status) {
  struct memory m = {.left = NEVER};
  lua_State *L = open_state(&m, r);
  int before = references(L);
  must_run(L, n, r->setup);
  assert_int_equal(luaL_loadstring(L, r->run), LUA_OK);
  m.left = n;
  *status = lua_pcall(L, 0, 0, 0);
  m.left = NEVER;
  if (!m.failed && *status != LUA_OK) fail_msg("%s", luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
  must_run(L, n, r->after);
  collect(L);
  if (references(L) != before)
    fail_msg("allocation %zu: %d references into the registry are lost", n, references(L) - before);
  lua_close(L);
  return m.failed;
}

void lua_memory_fail_each(const struct lua_memory_run *r) {
  size_t raised = 0;
  int status;
  for (size_t n = 0; fail_at(n, r, &status); n++)
    raised += status != LUA_OK;
  assert_int_not_equal(raised, 0);
}

void lua_memory_run_once(const struct lua_memory_run *r) {
  int status;
  assert_false(fail_at(NEVER, r, &status));
}
