// Randomness of a shard: unpredictable where it is seeded by the system, repeatable where a test gives the
// seed. Not for keys or secrets.
#ifndef LUAMQ_BASE_RAND_H
#define LUAMQ_BASE_RAND_H

#include <stdint.h>

struct rand {
  uint64_t state;
};

void rand_init(struct rand *r, uint64_t seed);
void rand_init_system(struct rand *r); // seeded by getrandom(2); ends the process when there is none
uint64_t rand_next(struct rand *r);

#endif
