// Tools that are written in Lua: each is the function `main` of a module, which gets the arguments and
// returns the exit status.
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/state.h"

#define EXIT_WRONG 2

struct call {
  const char *module;
  int argc;
  char **argv;
  int status;
};

static int call_main(lua_State *L) {
  struct call *call = lua_touserdata(L, 1);
  lua_getglobal(L, "require");
  lua_pushstring(L, call->module);
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "main");
  lua_createtable(L, call->argc - 1, 0);
  for (int i = 1; i < call->argc; i++) {
    lua_pushstring(L, call->argv[i]);
    lua_rawseti(L, -2, i);
  }
  lua_call(L, 1, 1);
  call->status = (int)luaL_checkinteger(L, -1);
  return 0;
}

static void run_protected(lua_State *L, struct call *call) {
  lua_pushcfunction(L, state_traceback);
  int handler = lua_gettop(L);
  lua_pushcfunction(L, call_main);
  lua_pushlightuserdata(L, call);
  if (lua_pcall(L, 1, 0, handler) != LUA_OK)
    fprintf(stderr, "luamq %s: %s\n", call->argv[0], lua_tostring(L, -1));
}

static int run(const char *module, int argc, char **argv) {
  struct call call = {module, argc, argv, EXIT_WRONG};
  struct command_line alone = {.argc = 1, .argv = argv, .rest = 1}; // what follows is the tool's own
  struct buf why = BUF_INIT;
  signal(SIGPIPE, SIG_IGN); // of what hooks write to
  lua_State *L = state_open(&alone, NULL, &why);
  if (L) {
    run_protected(L, &call);
    lua_close(L);
  } else {
    fprintf(stderr, "luamq %s: %.*s\n", argv[0], (int)why.len, (const char *)why.ptr);
  }
  buf_release(&why);
  return call.status;
}

int cmd_explain(int argc, char **argv) { return run("luamq.explain_command", argc, argv); }
int cmd_replay(int argc, char **argv) { return run("luamq.replay_command", argc, argv); }
