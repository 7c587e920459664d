// Packets in flight of a connected client. Its session has them; a backend that keeps them itself
// (client_keep) is asked as well, and has the last word:
//
//   packet             what it leads to                      the backend is asked to
//   CONNECT            before CONNACK, unless clean          all incoming, all outgoing
//   PUBLISH to it      QoS 1 and 2, before it is sent        next_id, save outgoing
//   PUBACK             QoS 1                                 lookup, remove outgoing
//   PUBREC             its PUBLISH becomes a PUBREL          lookup, save outgoing; then PUBREL is sent
//   PUBREC, refused    of QoS 2 [MQTT-4.3.3-4]               lookup, remove outgoing
//   PUBCOMP                                                  lookup, remove outgoing
//   PUBLISH from it    QoS 2; a duplicate changes nothing    lookup, save incoming; then PUBREC is sent
//   PUBREL             unknown: only PUBCOMP                 lookup, remove incoming; then it is published
//
// So what the peer is told has been saved before. What the backend answers takes the place of what the
// session has, which has a copy of each packet for windows, quotas and what is sent again. Where the backend
// fails the client is closed with ERROR_SESSION, and nothing is sent or published: `false` in all functions
// here.
//
// Without such a backend these are the functions of session/session.h and session/store.h.
#ifndef LUAMQ_BROKER_INFLIGHT_H
#define LUAMQ_BROKER_INFLIGHT_H

#include "broker/client_impl.h"

static inline struct store *inflight_store(struct client *c, enum direction d) {
  return d == INCOMING ? &c->session->incoming : &c->session->outgoing;
}

// The backend may be another one by now: then the session keeps them alone.
void inflight_check_keeper(struct client *c);

// The session gets the packets that the backend has, in the place of its own. `any`: there are some.
bool inflight_load(struct client *c, bool *any);

// For the functions below.
bool inflight_keeper_next_id(struct client *c, uint16_t *id);
bool inflight_keeper_save(struct client *c, enum direction d, const struct stored *packet);
bool inflight_keeper_look(struct client *c, enum direction d, uint16_t id);
bool inflight_keeper_remove(struct client *c, enum direction d, uint16_t id);

// An id for a packet to the client, 0 when all are in flight.
static inline bool inflight_next_id(struct client *c, uint16_t *id) {
  if (c->kept) return inflight_keeper_next_id(c, id);
  *id = store_next_id(&c->session->outgoing);
  return true;
}

// Before store_lookup: the session has what the backend has.
static inline bool inflight_look(struct client *c, enum direction d, uint16_t id) {
  return !c->kept || inflight_keeper_look(c, d, id);
}

// Takes over the reference to the message, in any case.
static inline bool inflight_save(struct client *c, enum direction d, struct stored packet) {
  if (c->kept && !inflight_keeper_save(c, d, &packet)) return false;
  session_save(c->session, &c->shard->pool, inflight_store(c, d), packet);
  return true;
}

// A missing one is no error. Entries of the store are no longer valid.
static inline bool inflight_delete(struct client *c, enum direction d, uint16_t id) {
  if (c->kept && !inflight_keeper_remove(c, d, id)) return false;
  session_delete(c->session, &c->shard->pool, inflight_store(c, d), id);
  return true;
}

#endif
