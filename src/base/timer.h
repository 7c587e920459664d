// Timers of a shard: a hierarchical wheel with ticks of one millisecond. Arming, disarming and firing cost
// the same however many timers there are. Owners that are touched often (a keep alive) do not re-arm on each
// touch: the timer fires at its old time, the owner looks at the time that counts now, and arms again.
//
//        level 0: 64 slots of 1 ms      level 1: 64 slots of 64 ms     level 2: 64 slots of 4 s ...
//        [ ][t][ ][ ] ... [t]           [ ][t] ... [ ]                 each turn of a level spreads one
//                                                                      slot of the level above it
//
//   struct timer t;
//   timer_init(&t, fired);
//   timer_arm(&wheel, &t, clock.now_ms + 500);
//   timers_run(&wheel, clock.now_ms);             // calls fired(&t) for each that is due, in order of time
#ifndef LUAMQ_BASE_TIMER_H
#define LUAMQ_BASE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "base/list.h"

#define TIMER_LEVELS 6
#define TIMER_SLOTS  64
#define TIMER_NEVER  UINT64_MAX

struct timer {
  struct list node;
  uint64_t due_ms;
  void (*fired)(struct timer *t); // the timer is disarmed; it may arm, disarm or free any timer
};

struct timers {
  uint64_t now_ms;             // all timers due before or at it have fired
  uint64_t used[TIMER_LEVELS]; // a bit for each slot that may hold timers
  uint32_t count;              // armed timers
  struct list slots[TIMER_LEVELS][TIMER_SLOTS];
  struct list firing; // those of the tick under way
};

void timers_init(struct timers *w, uint64_t now_ms);
LUAMQ_API void timer_init(struct timer *t, void (*fired)(struct timer *t));
LUAMQ_API void timer_arm(struct timers *w, struct timer *t,
                         uint64_t due_ms);                      // moves it when it is armed already
LUAMQ_API void timer_disarm(struct timers *w, struct timer *t); // no effect when it is not armed
static inline bool timer_armed(const struct timer *t) { return !list_empty(&t->node); }
void timers_run(struct timers *w, uint64_t now_ms);
// No timer is due before this time (it may be early by the width of a slot); TIMER_NEVER without timers.
uint64_t timers_next(const struct timers *w);

#endif
