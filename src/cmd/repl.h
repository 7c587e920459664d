// `luamq -i`: what comes from a descriptor is run in the state of the broker that is served, line by line,
// while it serves. On a terminal there are prompts; the end of input stops the broker in order.
//
//   struct repl *r = repl_new(host, input);
//   ... the loop turns ...
//   repl_free(r);
#ifndef LUAMQ_CMD_REPL_H
#define LUAMQ_CMD_REPL_H

#include "script/host.h"

struct repl;

struct repl *repl_new(struct host *host, int input); // takes the descriptor; the host has started
void repl_free(struct repl *r);                      // before the host; NULL is fine

#endif
