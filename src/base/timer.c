#include "base/timer.h"

// Invariant: a timer in level n, n > 0, is due in a later slot of that level than now_ms is in, so it is
// moved down before its time comes. One that is further away than the wheel reaches waits in the last slot of
// the top level.

#define SHIFT(level) (6u * (unsigned)(level))
#define SLOT_MASK    (TIMER_SLOTS - 1u)

void timers_init(struct timers *w, uint64_t now_ms) {
  *w = (struct timers){.now_ms = now_ms};
  list_init(&w->firing);
  for (int level = 0; level < TIMER_LEVELS; level++)
    for (int slot = 0; slot < TIMER_SLOTS; slot++)
      list_init(&w->slots[level][slot]);
}

void timer_init(struct timer *t, void (*fired)(struct timer *t)) {
  list_init(&t->node);
  t->due_ms = TIMER_NEVER;
  t->fired = fired;
}

static void place(struct timers *w, struct timer *t) {
  uint64_t due = t->due_ms > w->now_ms ? t->due_ms : w->now_ms + 1; // not in the tick that is firing
  uint64_t differ = due ^ w->now_ms;
  int level = 0;
  while (level < TIMER_LEVELS - 1 && differ >> SHIFT(level + 1))
    level++;
  uint64_t unit = due >> SHIFT(level), now_unit = w->now_ms >> SHIFT(level);
  if (unit - now_unit >= TIMER_SLOTS) unit = now_unit + TIMER_SLOTS - 1;
  unsigned slot = (unsigned)(unit & SLOT_MASK);
  list_append(&w->slots[level][slot], &t->node);
  w->used[level] |= UINT64_C(1) << slot;
}

void timer_arm(struct timers *w, struct timer *t, uint64_t due_ms) {
  timer_disarm(w, t);
  t->due_ms = due_ms;
  place(w, t);
  w->count++;
}

void timer_disarm(struct timers *w, struct timer *t) {
  if (!timer_armed(t)) return;
  list_remove(&t->node);
  w->count--;
}

// Moves the timers of the slot that `level` has just reached to where they belong now.
static void spread(struct timers *w, int level) {
  unsigned slot = (unsigned)(w->now_ms >> SHIFT(level)) & SLOT_MASK;
  if (slot == 0 && level + 1 < TIMER_LEVELS) spread(w, level + 1);
  if (!(w->used[level] >> slot & 1)) return;
  w->used[level] &= ~(UINT64_C(1) << slot);
  struct list moved;
  list_init(&moved);
  list_splice(&moved, &w->slots[level][slot]);
  for (struct list *node; (node = list_take(&moved));) {
    struct timer *t = container_of(node, struct timer, node);
    if (t->due_ms <= w->now_ms)
      list_append(&w->firing, node);
    else
      place(w, t);
  }
}

static void fire(struct timers *w) {
  unsigned slot = (unsigned)w->now_ms & SLOT_MASK;
  if (slot == 0) spread(w, 1);
  if (w->used[0] >> slot & 1) {
    w->used[0] &= ~(UINT64_C(1) << slot);
    list_splice(&w->firing, &w->slots[0][slot]);
  }
  for (struct list *node; (node = list_take(&w->firing));) {
    struct timer *t = container_of(node, struct timer, node);
    w->count--;
    t->fired(t);
  }
}

void timers_run(struct timers *w, uint64_t now_ms) {
  while (w->now_ms < now_ms) {
    uint64_t next = timers_next(w);
    if (next > now_ms) {
      w->now_ms = now_ms;
      return;
    }
    w->now_ms = next;
    fire(w);
  }
}

uint64_t timers_next(const struct timers *w) {
  if (!w->count) return TIMER_NEVER;
  uint64_t next = TIMER_NEVER;
  for (int level = 0; level < TIMER_LEVELS; level++) {
    if (!w->used[level]) continue;
    uint64_t unit = w->now_ms >> SHIFT(level);
    unsigned at = (unsigned)((unit + 1) & SLOT_MASK);
    uint64_t turned = at ? w->used[level] >> at | w->used[level] << (TIMER_SLOTS - at) : w->used[level];
    uint64_t due = (unit + 1 + (unsigned)__builtin_ctzll(turned)) << SHIFT(level);
    if (due < next) next = due;
  }
  return next;
}
