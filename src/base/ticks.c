#include "base/ticks.h"

#include <time.h>

#if defined __x86_64__
#include <cpuid.h>
#endif

#define CALIBRATION_NS 200000

uint64_t ticks_system_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool counter_is_steady(void) {
#if defined __x86_64__
  unsigned a, b, c, d = 0;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d >> 8 & 1); // invariant TSC
#elif defined __aarch64__
  return true;
#else
  return false;
#endif
}

// The counter against the system's clock. A counter that does not move, as in some emulators, is not used.
static double calibrate(void) {
  uint64_t from_ns = ticks_system_ns(), from = ticks_counter(), to_ns;
  do
    to_ns = ticks_system_ns();
  while (to_ns - from_ns < CALIBRATION_NS);
  uint64_t ticks = ticks_counter() - from;
  return ticks ? (double)(to_ns - from_ns) / (double)ticks * 1e-9 : 0;
}

void ticks_init(struct ticks *t) {
  t->seconds = counter_is_steady() ? calibrate() : 0;
  t->counter = t->seconds > 0;
  if (!t->counter) t->seconds = 1e-9;
}
