// The Lua state in which a script of the program runs, as lua(1) would make it, with the modules of luamq in
// its paths. Each one is made from the command line alone, so that nothing of another script is in it:
// libraries, paths, `arg`, LUA_INIT, then -e, -l and -W in their order, then the script with its arguments.
//
//   struct buf why = BUF_INIT;
//   lua_State *L = state_open(&command_line, NULL, &why);
//   if (!L) fputs(buf_text(&why), stderr);
//   ... the checked table, or nil where there is nothing to serve, is at the top ...
//   lua_close(L);
#ifndef LUAMQ_CMD_STATE_H
#define LUAMQ_CMD_STATE_H

#include <lua.h>

#include "base/buf.h"
#include "cmd/command_line.h"

struct host;

// NULL, and why in `why`: all that is wrong with the script, a line for each. `host`: for which the script is
// loaded again; NULL: there is none yet.
lua_State *state_open(const struct command_line *c, struct host *host, struct buf *why);
// The message handler of calls.
int state_traceback(lua_State *L);

#endif
