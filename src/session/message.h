// An application message: topic, properties and payload in one allocation, immutable, counted. A message is
// never changed after message_new; changing one means making a new one. The count belongs to the shard that
// made it.
#ifndef LUAMQ_SESSION_MESSAGE_H
#define LUAMQ_SESSION_MESSAGE_H

#include "packet/packet.h"

struct message {
  uint32_t refs;
  uint32_t queues; // that hold it, see session_push
  uint32_t payload_len, properties_len;
  uint16_t topic_len;
  uint8_t qos;     // as published
  bool retain;     // as published
  uint8_t bytes[]; // topic, properties, payload
};

struct message *message_new(const struct packet_message *m); // the one copy; the caller has a reference
void message_free(struct message *m);                        // use message_unref

static inline struct message *message_ref(struct message *m) {
  m->refs++;
  return m;
}
static inline void message_unref(struct message *m) {
  if (--m->refs == 0) message_free(m);
}

static inline struct slice message_topic(const struct message *m) { return slice_of(m->bytes, m->topic_len); }
static inline struct packet_properties message_properties(const struct message *m) {
  return packet_properties_of(slice_of(m->bytes + m->topic_len, m->properties_len));
}
static inline struct slice message_payload(const struct message *m) {
  return slice_of(m->bytes + m->topic_len + m->properties_len, m->payload_len);
}
static inline size_t message_size(const struct message *m) {
  return sizeof *m + m->topic_len + m->properties_len + m->payload_len;
}

// A message on its way to one session: what is fixed when it is queued.
struct delivery {
  struct message *message; // a reference
  uint8_t qos;             // min(published, granted)
  bool retain;             // sent because of a new subscription [MQTT-3.3.1-8, -9]
};

// The message as it is (or was) published, or as it is delivered, for text forms and hooks. Borrowed.
struct packet_message message_view(const struct message *m);
struct packet_message delivery_view(const struct delivery *d);

#endif
