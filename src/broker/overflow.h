// What happens to a message for which the queue of a session has no room: the full_queue policy, which is the
// backend's operation or else the setting, and the limit of all queues together. The memory backend calls
// these after its walk over the subscribers.
#ifndef LUAMQ_BROKER_OVERFLOW_H
#define LUAMQ_BROKER_OVERFLOW_H

#include "broker/backend.h"
#include "broker/shard.h"

// Whether all queues hold as much as limits.queued_bytes together; the last message may exceed it.
static inline bool overflow_total(const struct shard *s) {
  return s->settings.queued_bytes - 1 < s->pool.bytes; // never when it is 0
}
// Drops the message for the session: counts and logs it.
void overflow_drop(struct shard *s, struct session *to, struct message *m);
// The policy for a session whose queue is full.
enum full_queue overflow_policy(struct shard *s, struct session *to, const struct message *m);
// Drops the oldest message of the queue. False when there is none.
bool overflow_drop_oldest(struct shard *s, struct session *to);
// Closes the session's client because its queue is full, and drops the message.
void overflow_disconnect(struct shard *s, struct session *to, struct message *m);
// With overflow_total: a client that takes the message at once gets it, as does a queue whose oldest message
// is dropped for it; else it is dropped. Takes over the reference in `d`.
// Tells whether it was not dropped.
bool overflow_deliver(struct shard *s, struct session *to, struct delivery d);

#endif
