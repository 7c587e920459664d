// A session: what the broker keeps for a client id, whether or not a client is connected [MQTT-3.1.2-4, -5].
//
//          index                      queue: next to send              in flight
//   subscriber --> subscriptions      [m][m][m] ... [m]                outgoing {id: PUBLISH | PUBREL}
//        ^ matches a topic             FIFO, QoS fixed when queued     incoming {id: PUBLISH of QoS 2}
//
// Owned by the backend. `client` is the connected client or NULL; session_attach and session_detach are the
// only ones to change it.
#ifndef LUAMQ_SESSION_SESSION_H
#define LUAMQ_SESSION_SESSION_H

#include "base/list.h"
#include "base/map.h"
#include "session/queue.h"
#include "session/store.h"
#include "topic/index.h"
#include "topic/retained.h"
#include "topic/topic.h"

struct client;
struct offline;

struct replay { // retained messages on their way to a new subscription
  struct list node;
  struct retained_cursor cursor;
  uint32_t id; // of the subscription; 0: none
  uint8_t qos; // granted
};

#define SESSION_FOR_EVER UINT32_MAX

struct replays { // in order of SUBSCRIBE
  struct list list;
  struct map by_filter;
};

struct session {
  struct subscriber subscriber;
  struct client *client;
  struct queue queue;
  struct store outgoing, incoming;
  struct list waiting;     // publishers that wait for room in the queue, in order
  struct replays *replays; // NULL: none
  struct offline *offline; // the backend's: since when nobody is connected; NULL: somebody is
  uint64_t fanned;         // see broker/fanout.h
  uint32_t incoming_bytes; // of the messages in `incoming`
  uint32_t outgoing_bytes; // of the messages in `outgoing`
  uint32_t queued_bytes;   // of the messages in `queue`
  uint32_t dropped;        // messages that were not queued or delivered
  uint16_t id_len;
  uint16_t reign;       // the backend's: of shard->reign, when its subscriptions were decided about
  uint32_t expiry_s;    // how long it is kept without a client; 0: it ends with its connection
  bool slow : 1;        // nobody waits for it until its queue is half empty
  bool replay_turn : 1; // whose turn it is: replays and queue alternate
  uint8_t id[];         // 1..65535 bytes; unique
};

struct session *session_new(struct slice id, uint32_t expiry_s);
// Drops queue, packets in flight and replays. It is detached and has no subscriptions left.
void session_free(struct session *s, struct queue_pool *pool);

static inline struct slice session_id(const struct session *s) { return slice_of(s->id, s->id_len); }

// Session and client point at each other; nobody else changes either pointer. The client side is `*slot`.
void session_attach(struct session *s, struct client *c, struct session **slot);
void session_detach(struct session *s, struct session **slot);

// A message that a queue holds, or that waits for room in one, counts for the pool once.
static inline void session_pool_enter(struct queue_pool *pool, struct message *m) {
  if (m->queues++ == 0) pool->bytes += message_size(m);
}
static inline void session_pool_leave(struct queue_pool *pool, struct message *m) {
  if (--m->queues == 0) pool->bytes -= message_size(m);
}

// The queue with the bytes that it refers to counted, for the session and the pool. References as in
// queue_push and queue_pop.
static inline void session_push(struct session *s, struct queue_pool *pool, struct delivery d) {
  size_t size = message_size(d.message);
  s->queued_bytes += (uint32_t)size;
  pool->pushed += size;
  session_pool_enter(pool, d.message);
  queue_push(&s->queue, pool, d);
}
static inline bool session_pop(struct session *s, struct queue_pool *pool, struct delivery *d) {
  if (!queue_pop(&s->queue, pool, d)) return false;
  s->queued_bytes -= (uint32_t)message_size(d->message);
  session_pool_leave(pool, d->message);
  return true;
}

// Puts one back that was popped: it is the next again.
static inline void session_push_front(struct session *s, struct queue_pool *pool, struct delivery d) {
  s->queued_bytes += (uint32_t)message_size(d.message);
  session_pool_enter(pool, d.message);
  queue_push_front(&s->queue, pool, d);
}

// Packets in flight, `store` being one of the session's, with the bytes of their messages counted, those of
// `incoming` for the pool as well. As store_save and store_delete.
void session_save(struct session *s, struct queue_pool *pool, struct store *store, struct stored entry);
bool session_delete(struct session *s, struct queue_pool *pool, struct store *store, uint16_t id);
void session_delete_all(struct session *s, struct queue_pool *pool, struct store *store);

// A replay of the very same filter that is under way begins anew.
void session_add_replay(struct session *s, struct retained *r, struct slice filter, uint8_t qos, uint32_t id);
void session_remove_replay(struct session *s, struct slice filter);
// One that is under way goes on for what its subscription has become.
void session_change_replay(struct session *s, struct slice filter, uint8_t qos, uint32_t id);
void session_clear_replays(struct session *s);
// Whether a replay has yet to bring an older message of the topic than `m`: it is to come first
// [MQTT-4.6.0-6].
bool session_replays_before(const struct session *s, const struct message *m);
// The next retained message for a replay, with a reference of its own; false when none is left or the budget
// of visited topics is used up (then `replays` is not NULL).
bool session_next_replay(struct session *s, uint32_t *budget, struct delivery *d);

#endif
