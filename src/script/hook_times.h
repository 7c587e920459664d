// How often each hook was called, what came of it, and how long it ran and waited: histograms with the same
// bounds for all, which a script reads as luamq.stats().hooks.publish:
//
//   { calls = 7, denials = 1, errors = 0, shadow_calls = 0, shadow_differences = 0,
//     running = { count = 7, sum = 1.2e-5, buckets = { { le = 1e-6, count = 3 }, ..., { le = math.huge, count
//     = 7 } } }, waiting = { ... } }    -- count: calls that have waited
//
// Buckets are cumulative and times in seconds, as Prometheus wants them. `running` is from the call to the
// answer without what it waited, as the clock on the wall has it. To count a call costs two looks at a fast
// clock (base/ticks.h) and some additions.
#ifndef LUAMQ_SCRIPT_HOOK_TIMES_H
#define LUAMQ_SCRIPT_HOOK_TIMES_H

#include <lua.h>

#include "base/ticks.h"

#define HOOK_TIMES_BOUNDS 14

struct hook_clock { // one a Lua state
  struct ticks ticks;
  uint64_t bounds[HOOK_TIMES_BOUNDS + 1]; // in ticks; the last is UINT64_MAX. 0: not made yet
};

struct histogram {                        // of ticks
  uint64_t counts[HOOK_TIMES_BOUNDS + 1]; // not cumulative
  uint64_t sum;
};

struct hook_times {
  uint64_t denials, errors;
  uint64_t shadow_calls, shadow_differences; // what a shadow was asked as well, see shadow.h
  struct histogram running, waiting;
};

void hook_clock_init(struct hook_clock *c); // no effect when it has been made

static inline void histogram_add(const struct hook_clock *c, struct histogram *h, uint64_t ticks) {
  unsigned i = 0;
  while (ticks > c->bounds[i])
    i++;
  h->counts[i]++;
  h->sum += ticks;
}
void histogram_add_ms(const struct hook_clock *c, struct histogram *h, uint64_t ms);

bool hook_times_any(const struct hook_times *t); // it was called, or a shadow was asked
// Pushes the table of one hook.
void hook_times_push(lua_State *L, const struct hook_clock *c, const struct hook_times *t);

#endif
