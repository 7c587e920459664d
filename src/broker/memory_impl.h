// The inside of the memory backend, for memory*.c only.
//
//   memory.c            who gets in; its life, and what scripts and tests ask of it
//   memory_session.c    sessions: stored and temporary ones, take-overs, and how they end
//   memory_subscribe.c  subscriptions of sessions, and their places in groups
//   memory_again.c      subscriptions of another time are decided about anew
//   memory_publish.c    retaining, routing, queues, and what a client gets next
#ifndef LUAMQ_BROKER_MEMORY_IMPL_H
#define LUAMQ_BROKER_MEMORY_IMPL_H

#include "base/map.h"
#include "base/mem.h"
#include "broker/access.h"
#include "broker/client.h"
#include "broker/fanout.h"
#include "broker/memory.h"
#include "broker/orphan.h"
#include "broker/password_login.h"
#include "broker/shard.h"

struct memory {
  struct backend backend;
  struct map sessions;                     // by id
  struct map logins;                       // by name
  struct password_logins *password_logins; // NULL: there is no password file
  struct list retired_logins;              // of password files before, with checks that are under way
  struct index *index;
  struct shares shares;
  struct fanouts fanouts;
  struct retained retained;
  struct list takeovers;
  uint32_t stored; // sessions
  enum memory_access access;
};

static inline struct memory *memory_of(const struct backend *b) {
  return container_of((struct backend *)(uintptr_t)b, struct memory, backend);
}

// memory_session.c
enum backend_status memory_setup(struct backend *b, struct client *c, struct slice id, bool clean,
                                 struct reply *reply);
void memory_expire(struct backend *b, struct client *c, uint32_t expiry_s);
void memory_terminate(struct backend *b, struct client *c, const char *error);
void memory_release_sessions(struct memory *m); // at the end: nothing of theirs is delivered any more

// memory_subscribe.c
void memory_subscribe(struct backend *b, struct client *c, struct subscribe_request *request);
void memory_unsubscribe(struct backend *b, struct client *c, struct subscribe_request *request);

bool memory_has_subscription(const struct memory *m, const struct session *s,
                             const struct subscribe_item *item);
// Ends a subscription of its own, or a place in a group. False: there is none.
bool memory_end_subscription(struct memory *m, struct session *s, const struct subscribe_item *item);
// Adds it or replaces it, with these options. True: it is new.
bool memory_make_subscription(struct memory *m, struct session *s, const struct subscribe_item *item,
                              uint8_t options, uint32_t id);

// memory_publish.c
void memory_publish(struct backend *b, struct message *m, struct ack ack);
bool memory_dequeue(struct backend *b, struct client *c, struct delivery *d);
void memory_deliver_slice(void *memory, struct message *m, struct ack ack, struct target *list, size_t count);
// To another member of the group that it came by, if there is one left. Takes over its reference.
void memory_deliver_orphan(struct memory *m, struct orphan *o);

#endif
