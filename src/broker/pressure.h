// The memory of the process against limits.memory_limit, in two steps.
//
// Near it, above 90 % of the limit, the broker takes on nothing that stays: connections are closed, CONNECT,
// SUBSCRIBE and retaining refused. The rest of the limit is for messages on their way, so that nobody can
// hold up those of others for good by what he leaves with the broker. Above the limit QoS 0 publishes are
// dropped, and publishers of QoS 1 and 2 not read. Each is over 5 % below where it began, so that it does not
// come and go with each message.
//
// Memory that was freed is given back to the kernel before anybody suffers, but not more often than every few
// seconds: that walks the heap. What can be given up is given up then, by `relieve`.
#ifndef LUAMQ_BROKER_PRESSURE_H
#define LUAMQ_BROKER_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

struct pressure {
  uint64_t limit_bytes;                           // 0: none
  uint64_t used_bytes;                            // when it was last read; 0 before
  uint64_t next_ms;                               // not read again before
  uint64_t trim_ms;                               // memory is not given back again before
  uint64_t (*relieve)(void *arg, uint64_t bytes); // tries to free so many, returns how many; or NULL
  void *relieve_arg;
  uint64_t (*measure)(void *arg); // for tests, instead of the system's figure; NULL otherwise
  void *measure_arg;
  int fd;
  bool near, high;
};

void pressure_init(struct pressure *p); // without a limit
// The limit is `percent` of what the system grants, or, when that is 0, `limit_bytes`. It counts from the
// next reading on, which is due.
void pressure_set_limit(struct pressure *p, uint64_t limit_bytes, uint32_t percent);
void pressure_release(struct pressure *p);
// Reads the figure when it is time. True when `near` or `high` has changed.
bool pressure_read(struct pressure *p, uint64_t now_ms);
static inline bool pressure_update(struct pressure *p, uint64_t now_ms) {
  return now_ms >= p->next_ms && pressure_read(p, now_ms);
}

#endif
