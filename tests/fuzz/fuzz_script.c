// The check of scripts, in a Lua state: see script.lua. What the check accepts becomes a broker.
//
// The lines that Lua runs count as coverage, as pairs of one and the next, and the work for an input is
// bounded: no input may keep the check busy.
#include <lauxlib.h>
#include <lualib.h>
#include <netdb.h>
#include <stdio.h>

#include "base/log.h"
#include "fuzz.h"
#include "script/script.h"
#include "transport/address.h"

#define COUNT_STEP       100000
#define INSTRUCTIONS_MAX 300000000

// libFuzzer takes this section for further counters of its own.
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[1 << 14];

struct fuzz_state {
  lua_State *L; // all inputs share it: loading the modules takes longer than most inputs
  FILE *nowhere;
  uint32_t line; // the last one
  uint64_t instructions;
};

static struct fuzz_state state;

static void watch(lua_State *L, lua_Debug *info) {
  if (info->event == LUA_HOOKCOUNT) {
    state.instructions += COUNT_STEP;
    CHECK(state.instructions < INSTRUCTIONS_MAX);
    return;
  }
  lua_getinfo(L, "S", info);
  if (!slice_starts(slice_str(info->source), SLICE("@lua/"))) return;
  uint32_t line = (uint32_t)info->currentline + 1024 * (uint32_t)strlen(info->source);
  counters[(line ^ state.line << 5) % sizeof counters]++;
  state.line = line;
}

// core.broker(checked): starts a broker of a checked configuration, and ends it.
static int run_broker(lua_State *L) {
  struct loop *loop = loop_new_virtual(1000);
  struct host *h = host_new(loop, 1);
  struct script *s = script_new(L, 1, h);
  script_log(s)->out = state.nowhere;
  char error[512];
  host_start(h, s, error, sizeof error); // a hook may have refused
  shard_turn(h->shard, false);
  host_free(h);
  loop_free(loop);
  return 0;
}

// core.resolve(url): of a numeric address, which asks nobody.
static int resolve(lua_State *L) {
  struct addrinfo *list;
  const char *problem = address_resolve(luaL_checkstring(L, 1), &list);
  if (problem) return luaL_error(L, "%s: %s", lua_tostring(L, 1), problem);
  freeaddrinfo(list);
  return 0;
}

static int open_core(lua_State *L) {
  static const luaL_Reg functions[] = {{"broker", run_broker}, {"resolve", resolve}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}

static void preload(lua_State *L, const char *name, lua_CFunction open) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

static void open_state(void) {
  state.nowhere = fopen("/dev/null", "w");
  lua_State *L = state.L = luaL_newstate();
  luaL_openlibs(L);
  preload(L, "luamq.core", luaopen_luamq_core);
  preload(L, "tests.fuzz.core", open_core);
  bool opened = luaL_dostring(L, "package.path = 'lua/?.lua;lua/?/init.lua'") == LUA_OK &&
                luaL_dofile(L, "tests/fuzz/script.lua") == LUA_OK;
  if (!opened) fprintf(stderr, "%s\n", lua_tostring(L, -1));
  CHECK(opened); // from the top of the tree
  lua_sethook(L, watch, LUA_MASKLINE | LUA_MASKCOUNT, COUNT_STEP);
}

static int add_traceback(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!state.L) open_state();
  lua_State *L = state.L;
  state.instructions = state.line = 0;
  lua_pushcfunction(L, add_traceback);
  lua_pushvalue(L, 1); // the function of script.lua
  lua_pushlstring(L, (const char *)data, size);
  int status = lua_pcall(L, 1, 0, -3);
  if (status != LUA_OK) fprintf(stderr, "%s\n", lua_tostring(L, -1));
  CHECK(status == LUA_OK);
  lua_settop(L, 1);
  return 0;
}
