// A clock for what is measured at every call: the processor's counter, where it runs at one speed on all
// cores (x86 with an invariant TSC, 64-bit ARM), else CLOCK_MONOTONIC. Ticks are of some length; only
// differences mean anything.
//
//   struct ticks t;
//   ticks_init(&t);                        // takes a fifth of a millisecond, once
//   uint64_t before = ticks_now(&t);
//   ... double seconds = (double)(ticks_now(&t) - before) * t.seconds;
#ifndef LUAMQ_BASE_TICKS_H
#define LUAMQ_BASE_TICKS_H

#include <stdbool.h>
#include <stdint.h>

#if defined __x86_64__
#include <x86intrin.h>
#endif

struct ticks {
  bool counter;   // the processor's; else nanoseconds of the system
  double seconds; // of one tick
};

void ticks_init(struct ticks *t);
uint64_t ticks_system_ns(void); // CLOCK_MONOTONIC

static inline uint64_t ticks_counter(void) {
#if defined __x86_64__
  return __rdtsc();
#elif defined __aarch64__
  uint64_t value;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
  return value;
#else
  return 0;
#endif
}

static inline uint64_t ticks_now(const struct ticks *t) {
  return t->counter ? ticks_counter() : ticks_system_ns();
}

#endif
