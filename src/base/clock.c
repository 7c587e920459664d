#include "base/clock.h"

#include <assert.h>
#include <time.h>

void clock_init(struct clock *c) {
  c->is_virtual = false;
  clock_update(c);
}

void clock_init_virtual(struct clock *c, uint64_t now_ms) { *c = (struct clock){now_ms, true}; }

void clock_update(struct clock *c) {
  if (c->is_virtual) return;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  c->now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t clock_day_ms(const struct clock *c) {
  if (c->is_virtual) return CLOCK_VIRTUAL_DAY_MS + c->now_ms;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void clock_advance(struct clock *c, uint64_t by_ms) {
  assert(c->is_virtual);
  c->now_ms += by_ms;
}
