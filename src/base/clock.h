// The time of a shard, in milliseconds since some moment. It is read from the system once a loop turn, or
// moved by a test; nothing else in the broker asks for the time.
#ifndef LUAMQ_BASE_CLOCK_H
#define LUAMQ_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct clock {
  uint64_t now_ms;
  bool is_virtual; // moved by clock_advance only
};

void clock_init(struct clock *c); // real, CLOCK_MONOTONIC
void clock_init_virtual(struct clock *c, uint64_t now_ms);
void clock_update(struct clock *c);                  // no effect on a virtual clock
void clock_advance(struct clock *c, uint64_t by_ms); // virtual only

// The time of day, in milliseconds since 1970: the system's, or of a virtual clock what it has been moved to
// since this one.
#define CLOCK_VIRTUAL_DAY_MS UINT64_C(1767225600000) // 2026-01-01
uint64_t clock_day_ms(const struct clock *c);

#endif
