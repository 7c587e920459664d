// Coroutines, and what becomes of one that suspends; between hook.c and task.c.
//
//                      wait_for                       start                    wait_done
//   hook_run ─► running ───────► suspended, waits for a slot ─► waits for an end ───────► running ─► done
//                                        │                              │
//                                        └── cancel, hook_timeout ──────┴──► coroutine closed ─► done
//
// A call stands on the stack of whoever called the hook as long as it has not suspended; then it is kept in
// its task, with references to its client and message.
#ifndef LUAMQ_SCRIPT_TASK_H
#define LUAMQ_SCRIPT_TASK_H

#include "base/timer.h"
#include "script/hook.h"

struct hook_task {
  lua_State *L;
  int ref; // in the registry
  struct script *script;
  struct hook_call *call;
  struct wait *wait; // NULL: it runs, or its coroutine is about to be closed
  bool spoilt;       // see budget_spoilt: it is not used again
  bool closing;      // its to-be-closed variables are being closed: nothing suspends there
  // from here on of a call that has suspended
  struct hook_call kept;
  struct packet_message view;
  struct packet packet;
  struct buf raw;          // of `packet`
  struct buf secret;       // the password that authenticate was given, see hook.c
  struct hook_chain chain; // where the call's own was not the script's
  int function;            // of that chain
  struct list node;        // in script->tasks
  struct list client_node; // in the list of its client's object; or in script->cancelled; or in none
  struct timer timer;      // hook_timeout, and a look at whether the peer is still there
  uint64_t since_ms, waited_ms;
  uint64_t looked_ms; // when it was last looked whether the peer is there
};

void tasks_init(struct script *s);
struct hook_task *task_take(struct script *s); // NULL: not enough memory
void task_give(struct hook_task *t);           // lets go of what a kept call holds on to
// The coroutine has yielded for t->wait: keeps the call and begins the wait.
void task_suspend(struct hook_task *t);
// It has answered: nothing is to happen to it any more.
void task_leave(struct hook_task *t);

// Adds a text of the script, which may go to the log, without the password that its `authenticate` was given.
void task_add_without_secret(struct buf *out, struct slice text, const struct hook_call *call);

// hook.c: goes on with a coroutine whose wait is over, and does what follows.
void hook_go_on(struct hook_task *t);
// Closes the coroutine of a suspended hook, and answers `failed`. `report`: with a line in the log.
void hook_give_up(struct hook_task *t, const char *failed, const char *report);

#endif
