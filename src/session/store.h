// Packets in flight of one direction of a session, by packet id: the outgoing PUBLISH until it is
// acknowledged, its PUBREL until PUBCOMP, the incoming QoS 2 PUBLISH until PUBREL. An open-addressed table
// whose hash is the id itself, so that ids given out in sequence never collide; freed when empty.
#ifndef LUAMQ_SESSION_STORE_H
#define LUAMQ_SESSION_STORE_H

#include "session/message.h"

struct stored {
  struct message *message; // a reference; NULL for PUBREL, and for a PUBLISH that was refused or dropped
  uint32_t group;          // as of struct delivery
  uint32_t order;          // when it was saved: of the first sending for PUBLISH, of PUBREC for PUBREL
  uint16_t id;             // 0: the slot is free
  uint8_t type;            // PACKET_PUBLISH or PACKET_PUBREL
  uint8_t qos : 2, retain : 1;
  uint8_t counted : 1; // its PUBLISH was sent on this connection: it takes part of the quota [MQTT5 4.9]
};

struct store_table {
  uint32_t cap;       // a power of two
  uint32_t displaced; // entries that are not in the slot of their id
  uint32_t order;     // of the next one
  struct stored slots[];
};

struct store {
  struct store_table *table; // NULL: it is empty
  uint16_t count;
  uint16_t counted; // entries of which `counted` is set
  uint16_t last_id; // the last one that store_next_id gave out
};

void store_clear(struct store *s); // drops all references; ids go on where they were

// 1..65535, never 0, wraps; never one that is in the store. 0 when all ids are in flight.
uint16_t store_next_id(struct store *s);
// Saves, or replaces the entry with the same id (whose message it unrefs). Takes over the reference to the
// message; sets `order`. The id is not 0.
void store_save(struct store *s, struct stored entry);
const struct stored *store_lookup(const struct store *s,
                                  uint16_t id);  // NULL when missing; valid until the next change
bool store_delete(struct store *s, uint16_t id); // false when it was missing, which is no error
// Sets `counted` of an entry (asserted), clears that of all.
void store_count(struct store *s, uint16_t id);
void store_uncount_all(struct store *s);
// All entries: each PUBREL in PUBREC order and each PUBLISH in first-sent order, as they are to be sent
// again: one sequence by `order`. Writes store->count entries to `out`.
void store_all(const struct store *s, struct stored *out);

#endif
