// How many clients each user name has, where limits.connections_per_user bounds that. A name that nobody has
// is not kept.
#ifndef LUAMQ_BROKER_USERS_H
#define LUAMQ_BROKER_USERS_H

#include "base/map.h"

struct users {
  struct map by_name;
};

void users_init(struct users *u, uint64_t seed);
void users_release(struct users *u);
uint32_t users_count(const struct users *u, struct slice name);
void users_enter(struct users *u, struct slice name);
void users_leave(struct users *u, struct slice name); // one that has entered

#endif
