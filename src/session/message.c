#include "session/message.h"

#include "base/mem.h"

struct message *message_new(const struct packet_message *from) {
  size_t topic = from->topic.len, properties = from->properties.raw.len, payload = from->payload.len;
  struct message *m = mem_alloc(sizeof *m + topic + properties + payload);
  m->refs = 1;
  m->queues = 0;
  m->topic_len = (uint16_t)topic;
  m->properties_len = (uint32_t)properties;
  m->payload_len = (uint32_t)payload;
  m->qos = from->qos;
  m->retain = from->retain;
  memcpy(m->bytes, from->topic.ptr, topic);
  if (properties) memcpy(m->bytes + topic, from->properties.raw.ptr, properties);
  if (payload) memcpy(m->bytes + topic + properties, from->payload.ptr, payload);
  return m;
}

void message_free(struct message *m) { mem_free(m); }

struct packet_message message_view(const struct message *m) {
  return (struct packet_message){.topic = message_topic(m),
                                 .payload = message_payload(m),
                                 .properties = message_properties(m),
                                 .qos = m->qos,
                                 .retain = m->retain};
}

struct packet_message delivery_view(const struct delivery *d) {
  struct packet_message view = message_view(d->message);
  view.qos = d->qos;
  view.retain = d->retain;
  return view;
}
