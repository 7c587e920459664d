// The bytes that clients hold the broker to by packets that are not complete, counted together: one client
// may have no more than a packet, but many of them could fill the memory. The largest goes first when there
// are too many bytes, so that who sends little is not thrown out for those who send much.
//
//   struct unfinished u;  unfinished_init(&u);
//   unfinished_update(&u, &c->packet, 4 << 20);           // as it grows; 0: it is complete, or gone
//   while (u.bytes > limit) close(unfinished_largest(&u)); // which calls unfinished_update with 0
//
// Sizes are told apart by powers of two, so that nothing is sorted: of those in the largest power that
// anybody is in, the one that came to it first is taken.
#ifndef LUAMQ_BROKER_UNFINISHED_H
#define LUAMQ_BROKER_UNFINISHED_H

#include <stdint.h>

#include "base/list.h"

#define UNFINISHED_POWERS 32

struct unfinished_packet { // embedded in its owner
  struct list node;
  uint32_t bytes;
};

struct unfinished {
  uint64_t bytes;
  struct list by_power[UNFINISHED_POWERS];
};

void unfinished_init(struct unfinished *u);
void unfinished_packet_init(struct unfinished_packet *p);
void unfinished_update(struct unfinished *u, struct unfinished_packet *p, uint32_t bytes);
struct unfinished_packet *unfinished_largest(struct unfinished *u); // NULL: there is none

#endif
