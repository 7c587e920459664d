// The queue of a session: a FIFO of references to messages, in chunks that come from and go back to the
// shard's pool, so that an empty queue owns no memory and a burst costs no reallocation.
#ifndef LUAMQ_SESSION_QUEUE_H
#define LUAMQ_SESSION_QUEUE_H

#include "session/message.h"

#define QUEUE_CHUNK 31 // deliveries; 512 bytes with malloc's header

struct queue_chunk {
  struct queue_chunk *next;
  struct delivery list[QUEUE_CHUNK];
};

struct queue_pool { // spare chunks of a shard
  struct queue_chunk *spare;
  uint32_t count;
  uint64_t pushed; // bytes of all messages that were ever put into a queue, for each queue
  uint64_t bytes;  // of chunks that queues hold, and of the messages in them: each once (session_push)
  uint64_t
      unreleased; // bytes of the QoS 2 messages that all sessions have received, and not been told to release
};

struct queue {
  struct queue_chunk *head, *tail;
  uint32_t count;
  uint16_t first, end; // in head: the oldest; in tail: behind the newest
};

void queue_pool_release(struct queue_pool *pool); // all queues are empty

void queue_push(struct queue *q, struct queue_pool *pool, struct delivery d); // takes over d's reference
// Puts one back that was popped: it is the next again. Takes over its reference.
void queue_push_front(struct queue *q, struct queue_pool *pool, struct delivery d);
bool queue_pop(struct queue *q, struct queue_pool *pool, struct delivery *d); // hands over the reference
static inline const struct delivery *queue_peek(const struct queue *q) {
  return q->count ? &q->head->list[q->first] : NULL;
}
// All of them, the next one first: { .chunk = q->head, .at = q->first } at the start. NULL after the last.
// The queue does not change meanwhile.
struct queue_place {
  const struct queue_chunk *chunk;
  uint16_t at;
};
const struct delivery *queue_each(const struct queue *q, struct queue_place *place);

#endif
