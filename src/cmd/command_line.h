// The command line of `luamq` without a tool: options in the manner of lua(1), then a script and its
// arguments.
//
//   struct command_line c = {.argc = argc, .argv = argv};
//   int status = command_line_read(&c);      // -1: go on; else the exit status to end with
//
// Texts are those of argv. What -e, -l and -W ask for is done in their order by state_open (state.h).
#ifndef LUAMQ_CMD_COMMAND_LINE_H
#define LUAMQ_CMD_COMMAND_LINE_H

#include <stdbool.h>

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command_line {
  int argc;
  char **argv;
  int rest;         // what follows the options: a script and its arguments, or what --test hands to busted
  bool check, dump; // instead of serving
  bool test;        // runs busted
  bool interactive; // a prompt beside the broker
  bool without_environment; // LUA_INIT, LUA_PATH and LUA_CPATH are ignored
  const char *reload;       // the process id of a broker; NULL: none
  bool has_chunk;           // there is an -e
};

int command_line_read(struct command_line *c);

// The script; NULL: none was given.
const char *command_line_script(const struct command_line *c);

// Calls fn for each option that is done in the state, in order: its letter and its value, NULL where it has
// none.
void command_line_each(const struct command_line *c, void (*fn)(void *arg, char letter, const char *value),
                       void *arg);

#endif
