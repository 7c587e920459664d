// An application message: topic, properties and payload in one allocation, immutable, counted. A message is
// never changed after message_new; changing one means making a new one. The count belongs to the shard that
// made it.
#ifndef LUAMQ_SESSION_MESSAGE_H
#define LUAMQ_SESSION_MESSAGE_H

#include "packet/packet.h"

struct message {
  uint32_t refs;
  uint32_t queues; // that hold it or that it waits for, see session_push
  uint32_t payload_len, properties_len;
  uint64_t arrived_ms; // when its expiry began to count
  uint32_t expiry_s;   // how long it may wait for its receivers; MESSAGE_NEVER: for ever
  uint16_t topic_len;
  uint8_t qos;     // as published
  bool retain;     // as published
  uint8_t bytes[]; // topic, properties, payload; and which properties, where there are some
};

#define MESSAGE_NEVER UINT32_MAX

// The one copy; the caller has a reference. `now_ms` is the time from which a message expiry interval counts.
// What is between the sender and the broker only is left out of the properties (topic alias, will delay,
// subscription identifiers), and so is the expiry, of which a receiver gets what is left [MQTT-3.3.2-6].
struct message *message_new(const struct packet_message *m, uint64_t now_ms);
// What a decision has made of `before`: subscription identifiers stay, and the expiry of `before` goes on,
// unless the new one has an expiry of its own, or is to have none.
struct message *message_in_place_of(const struct message *before, const struct packet_message *m,
                                    bool own_expiry, uint64_t now_ms);
// A copy that carries subscription identifiers [MQTT-3.3.4-3..5].
struct message *message_with_ids(const struct message *m, const uint32_t *ids, size_t count);
// A copy that carries none; or the message itself, with one more reference, where it has none.
struct message *message_without_ids(struct message *m);
void message_free(struct message *m); // use message_unref

static inline struct message *message_ref(struct message *m) {
  m->refs++;
  return m;
}
static inline void message_unref(struct message *m) {
  if (--m->refs == 0) message_free(m);
}

static inline bool message_expired(const struct message *m, uint64_t now_ms) {
  return m->expiry_s != MESSAGE_NEVER && now_ms - m->arrived_ms >= m->expiry_s * UINT64_C(1000);
}
// Seconds that are left: less what it has waited [MQTT-3.3.2-6]; 0 when it has expired.
static inline uint32_t message_expires_in(const struct message *m, uint64_t now_ms) {
  if (m->expiry_s == MESSAGE_NEVER) return MESSAGE_NEVER;
  return message_expired(m, now_ms) ? 0 : m->expiry_s - (uint32_t)((now_ms - m->arrived_ms) / 1000);
}

static inline struct slice message_topic(const struct message *m) { return slice_of(m->bytes, m->topic_len); }
// They are not walked: there may be megabytes of them, and one message is dropped for many sessions.
static inline struct packet_properties message_properties(const struct message *m) {
  struct packet_properties p = {.raw = slice_of(m->bytes + m->topic_len, m->properties_len)};
  const uint8_t *present = m->bytes + m->topic_len + m->properties_len + m->payload_len;
  if (m->properties_len) memcpy(&p.present, present, sizeof p.present);
  return p;
}
static inline struct slice message_payload(const struct message *m) {
  return slice_of(m->bytes + m->topic_len + m->properties_len, m->payload_len);
}
static inline size_t message_size(const struct message *m) {
  size_t present = m->properties_len ? sizeof(uint64_t) : 0;
  return sizeof *m + m->topic_len + m->properties_len + m->payload_len + present;
}

// A message on its way to one session: what is fixed when it is queued.
struct delivery {
  struct message *message; // a reference
  uint8_t qos;             // min(published, granted)
  bool retain;             // sent because of a new subscription [MQTT-3.3.1-8, -9]
  uint32_t group;          // number of the shared subscription that it came by, see broker/share.h; 0: none
};

// The message as it is (or was) published, or as it is delivered, for text forms and hooks. Borrowed.
struct packet_message message_view(const struct message *m);
struct packet_message delivery_view(const struct delivery *d);

#endif
