// How long Lua may run. A hook that runs is a frame; a timer on the processor time of the loop's thread looks
// from time to time whether the frame on top has used up its time. It costs a call of a hook some stores and
// no system call, and an idle broker nothing, as time in which the thread does not run does not count.
//
//   struct budget_frame frame;
//   budget_enter(&home->budget, &frame, s->budget_ns);
//   int status = lua_resume(thread, ...);
//   ... when frame.end is set it was stopped: budget_grace, then lua_resetthread, which runs its __close
//   budget_leave(&home->budget, &frame);
//
// The timer's signal sets a debug hook in the state that runs innermost (`running`), which is what a signal
// handler may do with a state. Its function makes the coroutine yield, past every pcall, and where that is
// not possible (in a comparator of table.sort, ...) raises an error at each instruction until the frame is
// left. Who resumed the coroutine sees that the frame has ended, closes it, and stops likewise; guards.h does
// so for coroutines of the script. A single call of a C function cannot be stopped before it returns.
//
// Frames nest: what a hook calls may run another hook, which has its own time, and the outer one does not run
// meanwhile. All of them together may run BUDGET_NESTED times as long as one.
//
// One struct a Lua state, used by one thread: the one that called budget_start.
#ifndef LUAMQ_SCRIPT_BUDGET_H
#define LUAMQ_SCRIPT_BUDGET_H

#include <lua.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define BUDGET_NESTED    10
#define BUDGET_PLACE_MAX 128

enum budget_end {
  BUDGET_RUNS,
  BUDGET_OVER, // its time is used up
  BUDGET_EXIT, // os.exit
};

struct budget_frame { // of one run of Lua, from begin or resume to end or yield; on the C stack
  struct budget_frame *outer;
  uint64_t limit_ns;            // 0: none
  volatile uint64_t used_ns;    // as far as the timer has seen
  volatile sig_atomic_t seen;   // by the timer
  volatile sig_atomic_t end;    // enum budget_end: why it must stop
  bool stopped;                 // it was: what ran last is not what failed
  char place[BUDGET_PLACE_MAX]; // "acl.lua:12", where it was stopped; or ""
};

struct budget {
  lua_State *volatile running;       // innermost: set by who resumes or calls into a state
  struct budget_frame *volatile top; // NULL: no hook runs
  volatile uint64_t since_ns;        // when the timer first saw this outermost frame; 0: not yet
  volatile uint64_t last_ns;         // when it last saw any
  uint64_t period_ns;                // 0: there is no timer
  timer_t timer;
};

// Starts the timer, for frames with that limit; one that runs is made fit for a shorter one. NULL, or why
// there is none: then nothing is limited.
const char *budget_start(struct budget *b, uint64_t limit_ns);
void budget_release(struct budget *b);

static inline void budget_enter(struct budget *b, struct budget_frame *f, uint64_t limit_ns) {
  f->outer = b->top;
  f->limit_ns = limit_ns;
  f->used_ns = 0;
  f->seen = 0;
  f->end = BUDGET_RUNS;
  f->stopped = false;
  f->place[0] = 0;
  if (!f->outer) b->since_ns = 0;
  atomic_signal_fence(memory_order_seq_cst);
  b->top = f;
}

static inline void budget_leave(struct budget *b, struct budget_frame *f) {
  b->top = f->outer;
  atomic_signal_fence(memory_order_seq_cst);
}

// Whether the frame on top must stop.
static inline bool budget_ended(const struct budget *b) { return b->top && b->top->end != BUDGET_RUNS; }

// Makes it run another state; returns the one that ran, to be given to budget_back. A state that must stop
// does so from its next instruction on.
static inline lua_State *budget_run(struct budget *b, lua_State *L) {
  lua_State *outer = b->running;
  b->running = L;
  return outer;
}
void budget_back(struct budget *b, lua_State *outer);

// Ends the frame on top, before its time or after it.
void budget_end(struct budget *b, enum budget_end why);
// `return budget_stop(L, b)` in a C function that has seen budget_ended: does not return to its caller.
int budget_stop(lua_State *L, struct budget *b);
// What it raises where it cannot yield: "hook budget exceeded: ran longer than 0.05 s".
const char *budget_push_text(lua_State *L, const struct budget_frame *f);

// Around lua_resetthread of a coroutine that was stopped: its __close functions have the time of a frame
// anew.
enum budget_end budget_grace(struct budget *b);
void budget_grace_over(struct budget *b, enum budget_end why);

// Whether the state was stopped by an error. Lua calls no debug hook in it any more, so that what it runs
// could not be stopped again: it is not to be used.
bool budget_spoilt(lua_State *L);

#endif
