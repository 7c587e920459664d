// What a session that ends leaves to its groups of shared subscriptions [MQTT5 4.8.2]: messages that it has
// not acknowledged or that were still in its queue, in order. QoS 2 that was sent to it is not among them
// [MQTT5-4.8.2-5], nor is what it refused [MQTT5-4.8.2-6]: that is no longer in flight.
//
//   struct orphans orphans;
//   orphans_take(&orphans, shares, session, pool);
//   session_free(session, pool);
//   for (struct orphan o; orphans_next(&orphans, &o);) ... message_unref(o.message);
#ifndef LUAMQ_BROKER_ORPHAN_H
#define LUAMQ_BROKER_ORPHAN_H

#include "broker/share.h"

struct orphan {
  struct message *message; // a reference; without the subscription identifier of the one that had it
  uint32_t group;
};

struct orphans {
  struct orphan *list;
  size_t count, cap, at;
};

// Empties the session's queue, if there are groups at all.
void orphans_take(struct orphans *o, const struct shares *shares, struct session *s, struct queue_pool *pool);
// The next one, with its reference; false after the last, and then nothing is left to be released.
bool orphans_next(struct orphans *o, struct orphan *out);

#endif
