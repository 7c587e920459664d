// The Lua state in which a script of the program runs. Each reload makes a new one, so that nothing of the
// old script is in it: libraries, paths, `arg`, the chunks of -e, then the script with its arguments.
//
//   struct program program = {.argc = argc, .argv = argv, .script = 1};
//   lua_State *L = state_open(&program, NULL, &why);
//   if (!L) fputs(buf_text(&why), stderr);
//   ... the checked table, or nil where there is nothing to serve, is at the top ...
//   lua_close(L);
#ifndef LUAMQ_CMD_STATE_H
#define LUAMQ_CMD_STATE_H

#include <lua.h>
#include <stdbool.h>

#include "base/buf.h"

struct program { // the command line
  int argc;
  char **argv;
  int script;      // its place in argv; argc: none
  bool has_chunks; // -e, before the script
  bool serves;     // without a script and with chunks too: what is served by default
};

struct host;

// NULL, and why in `why`: all that is wrong with the script, a line for each. `host`: for which the script is loaded
// again; NULL: there is none yet.
lua_State *state_open(const struct program *p, struct host *host, struct buf *why);
// The message handler of calls.
int state_traceback(lua_State *L);

#endif
