// Whether connections are accepted at all: the limits that hold for all of them together, before anything is
// known of one. What is refused is counted, and told to the backend's engine_error once, until there is room
// again, and at most once a second.
#ifndef LUAMQ_BROKER_ADMISSION_H
#define LUAMQ_BROKER_ADMISSION_H

#include "base/log.h"
#include "base/tokens.h"
#include "broker/shard.h"

struct admission {
  struct shard *shard;
  struct tokens accepts;
  struct log_rate paused, refused;
  bool full; // as many connections as there may be
};

void admission_init(struct admission *a, struct shard *shard);
// Whether one more may stay beside those that are `open`.
bool admission_allows(struct admission *a, uint64_t open);
// One connection was accepted. How long no further one is to be: 0 when limits.connect_rate has some left.
uint64_t admission_pause_ms(struct admission *a);

#endif
