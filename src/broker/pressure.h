// The memory of the process against limits.memory_limit. Above it the broker takes on nothing new:
// connections are closed, CONNECT, SUBSCRIBE and retaining refused, QoS 0 publishes dropped, publishers of
// QoS 1 and 2 not read. It is over below 95 % of the limit, so that it does not come and go with each
// message.
//
// Memory that was freed is given back to the kernel before anybody suffers, but not more often than every few
// seconds: that walks the heap.
#ifndef LUAMQ_BROKER_PRESSURE_H
#define LUAMQ_BROKER_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

struct pressure {
  uint64_t limit_bytes;           // 0: none
  uint64_t used_bytes;            // when it was last read; 0 before
  uint64_t next_ms;               // not read again before
  uint64_t trim_ms;               // memory is not given back again before
  uint64_t (*measure)(void *arg); // for tests, instead of the system's figure; NULL otherwise
  void *measure_arg;
  int fd;
  bool high;
};

// The limit is `percent` of what the system grants, or, when that is 0, `limit_bytes`.
void pressure_init(struct pressure *p, uint64_t limit_bytes, uint32_t percent);
void pressure_release(struct pressure *p);
// Reads the figure when it is time. True when `high` has changed.
bool pressure_read(struct pressure *p, uint64_t now_ms);
static inline bool pressure_update(struct pressure *p, uint64_t now_ms) {
  return now_ms >= p->next_ms && pressure_read(p, now_ms);
}

#endif
