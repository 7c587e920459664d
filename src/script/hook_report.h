// What went wrong with a call of a hook, as lines in the log and as its answer; between hook.c and
// hook_report.c.
#ifndef LUAMQ_SCRIPT_HOOK_REPORT_H
#define LUAMQ_SCRIPT_HOOK_REPORT_H

#include "base/buf.h"
#include "script/hook.h"

struct hook_failure { // of a coroutine, with its error at the top
  const struct hook_call *call;
  lua_State *thread;
  struct buf text; // what hook_describe appends to; the caller's
};

bool hook_is_once(enum hook h); // start, stop and the like, which may run longer

// A line at a bounded rate, and the error text that the caller of the hook wants.
void hook_report(struct hook_call *call, struct slice text, struct slice traceback);
// The call has failed: what it had answered is let go of. `failed` has static storage.
void hook_fail(struct hook_call *call, const char *failed, uint8_t reason);
// Inside of the protection: the function at `index` gave no answer, or one with a problem.
void hook_report_answer(lua_State *L, int index, struct hook_call *call, const char *problem);
// Outside: a coroutine that ended with this status.
void hook_report_failure(struct hook_call *call, lua_State *thread, int status);
void hook_describe(struct script *s, struct hook_failure *f); // the error as text
struct buf hook_traceback(lua_State *thread);                 // the innermost frames; the caller's

// After a call: what it held the loop up for, and the memory that it found.
void hook_look_at_time(const struct hook_call *call, double seconds);
void hook_look_at_memory(struct hook_call *call, bool refused);

#endif
