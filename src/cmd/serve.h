// Serving a script until it is told to stop.
#ifndef LUAMQ_CMD_SERVE_H
#define LUAMQ_CMD_SERVE_H

#include <lua.h>

struct command_line;

// Serves the checked table at the top of L until it is told to stop, and closes the state; with -i there is a
// prompt on standard input. A reload takes another one of the same command line. Returns the exit status:
// that of os.exit in a hook; else EXIT_FAILURE when it could not start, which has been told on standard
// error, or clients were left when the time for closing was over.
int serve(lua_State *L, const struct command_line *command_line);

#endif
