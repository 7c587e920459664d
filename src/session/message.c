#include "session/message.h"

#include "base/mem.h"

// Properties that do not go on to receivers as they came.
#define NOT_PASSED_ON                                                                                        \
  (UINT64_C(1) << PROPERTY_TOPIC_ALIAS | UINT64_C(1) << PROPERTY_WILL_DELAY_INTERVAL |                       \
   UINT64_C(1) << PROPERTY_SUBSCRIPTION_IDENTIFIER | UINT64_C(1) << PROPERTY_MESSAGE_EXPIRY_INTERVAL)

// Copies all but those in `left_out`, or with NULL only tells their size.
static size_t pass_on(const struct packet_properties *p, uint64_t left_out, uint8_t *out) {
  if (!(p->present & left_out)) {
    if (out && p->raw.len) memcpy(out, p->raw.ptr, p->raw.len);
    return p->raw.len;
  }
  size_t size = 0;
  struct slice rest = p->raw;
  const uint8_t *from = rest.ptr;
  for (struct packet_property q; packet_next_property(&rest, &q); from = rest.ptr) {
    if (left_out >> q.id & 1) continue;
    size_t len = (size_t)(rest.ptr - from);
    if (out) memcpy(out + size, from, len);
    size += len;
  }
  return size;
}

// The bytes of the properties are the caller's to fill in; `present` tells which there are.
static struct message *make(struct slice topic, size_t properties, uint64_t present, struct slice payload) {
  size_t extra = properties ? sizeof present : 0;
  struct message *m = mem_alloc(sizeof *m + topic.len + properties + payload.len + extra);
  m->refs = 1;
  m->queues = 0;
  m->topic_len = (uint16_t)topic.len;
  m->properties_len = (uint32_t)properties;
  m->payload_len = (uint32_t)payload.len;
  memcpy(m->bytes, topic.ptr, topic.len);
  if (payload.len) memcpy(m->bytes + topic.len + properties, payload.ptr, payload.len);
  if (properties) memcpy(m->bytes + topic.len + properties + payload.len, &present, sizeof present);
  return m;
}

static struct message *make_from(const struct packet_message *from, uint64_t left_out, uint64_t now_ms) {
  struct message *m = make(from->topic, pass_on(&from->properties, left_out, NULL),
                           from->properties.present & ~left_out, from->payload);
  pass_on(&from->properties, left_out, m->bytes + m->topic_len);
  m->qos = from->qos;
  m->retain = from->retain;
  m->arrived_ms = now_ms;
  m->expiry_s = packet_property_number(&from->properties, PROPERTY_MESSAGE_EXPIRY_INTERVAL, MESSAGE_NEVER);
  return m;
}

struct message *message_new(const struct packet_message *from, uint64_t now_ms) {
  return make_from(from, NOT_PASSED_ON, now_ms);
}

struct message *message_in_place_of(const struct message *before, const struct packet_message *from,
                                    bool own_expiry, uint64_t now_ms) {
  struct message *m =
      make_from(from, NOT_PASSED_ON & ~(UINT64_C(1) << PROPERTY_SUBSCRIPTION_IDENTIFIER), now_ms);
  if (!own_expiry) {
    m->expiry_s = before->expiry_s;
    m->arrived_ms = before->arrived_ms;
  }
  return m;
}

struct message *message_with_ids(const struct message *m, const uint32_t *ids, size_t count) {
  struct buf raw = BUF_INIT;
  for (size_t i = 0; i < count; i++)
    packet_add_number(&raw, PROPERTY_SUBSCRIPTION_IDENTIFIER, ids[i]);
  struct packet_properties before = message_properties(m);
  struct slice properties = before.raw;
  struct message *copy =
      make(message_topic(m), properties.len + raw.len,
           before.present | UINT64_C(1) << PROPERTY_SUBSCRIPTION_IDENTIFIER, message_payload(m));
  if (properties.len) memcpy(copy->bytes + copy->topic_len, properties.ptr, properties.len);
  if (raw.len) memcpy(copy->bytes + copy->topic_len + properties.len, raw.ptr, raw.len);
  buf_release(&raw);
  copy->qos = m->qos;
  copy->retain = m->retain;
  copy->arrived_ms = m->arrived_ms;
  copy->expiry_s = m->expiry_s;
  return copy;
}

struct message *message_without_ids(struct message *m) {
  struct packet_message view = message_view(m);
  if (!packet_has_property(&view.properties, PROPERTY_SUBSCRIPTION_IDENTIFIER)) return message_ref(m);
  struct message *copy = message_new(&view, m->arrived_ms);
  copy->expiry_s = m->expiry_s;
  return copy;
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
