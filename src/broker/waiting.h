// Publishers that wait for room in the queues of other sessions. One wait is one message on its way to the
// sessions that were full when it was routed; its publisher is not read meanwhile. Where room appears first
// the message goes in, in the order in which publishers came; what has no room after full_queue_wait is
// dropped.
//
//   wait --entry--> session A's list: wait 1, wait 2 ...
//       \-entry--> session B's list: ...
//   \-- ack: told when no entry is left
#ifndef LUAMQ_BROKER_WAITING_H
#define LUAMQ_BROKER_WAITING_H

#include "broker/backend.h"
#include "broker/target.h"

// Puts the message into the sessions' queues as soon as they have room; `drop` is called for each that has
// none in time, or goes. What waits counts as queued for limits.queued_bytes. Takes over the targets'
// references. Pauses and later acknowledges ack.client.
void waiting_add(struct shard *s, struct message *m, struct ack ack, struct target *list, size_t count,
                 void (*drop)(void *arg, const struct target *t), void *arg);
// Whether the session's queue takes one more message. The bytes may be exceeded by the last one.
static inline bool waiting_has_room(const struct settings *settings, const struct session *s) {
  return s->queue.count < settings->session_queue_size && s->queued_bytes < settings->session_queue_bytes;
}
// Whether a message may go into the queue now: there is room, and nobody waits for it.
static inline bool waiting_takes(const struct settings *settings, const struct session *s) {
  return waiting_has_room(settings, s) && list_empty(&s->waiting);
}
// The message that one of session->waiting waits with.
const struct message *waiting_message(const struct list *node);
// There may be room in the session's queue: the first that wait go in.
void waiting_admit(struct shard *s, struct session *to);
// Nobody waits for the session any longer: each message is dropped.
void waiting_drop_all(struct shard *s, struct session *to);

#endif
