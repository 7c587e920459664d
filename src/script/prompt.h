// What somebody types at a prompt, run in the state of a broker beside its hooks: in a coroutine that may
// wait for whatever a hook may wait for, as long as it wants.
//
//   struct prompt p;
//   prompt_init(&p, host, done, arg);
//   prompt_run(&p, SLICE("luamq.stats().clients"));   // done(arg, incomplete), now or later from the loop
//   prompt_release(&p);                                // what still runs tells nobody
//
// lua/luamq/prompt.lua compiles and prints. It is found anew each time, in the script that is in force.
#ifndef LUAMQ_SCRIPT_PROMPT_H
#define LUAMQ_SCRIPT_PROMPT_H

#include "base/slice.h"
#include "script/host.h"

struct prompt_call;

struct prompt {
  struct host *host; // borrowed
  void (*done)(void *arg, bool incomplete);
  void *arg;
  struct prompt_call *running; // or NULL
};

// `incomplete`: the text is the beginning of a statement, and nothing was run.
void prompt_init(struct prompt *p, struct host *host, void (*done)(void *arg, bool incomplete), void *arg);
void prompt_release(struct prompt *p);
void prompt_run(struct prompt *p, struct slice text); // not while another one runs

#endif
