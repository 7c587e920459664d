// The encoder. A packet type is a row of `rows`: its fixed header's flags, the remaining length, and a
// function that writes the body into memory that has room for it. PUBLISH has its own path, which the hot
// callers use directly.
#include <assert.h>

#include "packet/packet.h"

#define REMAINING_MAX (PACKET_MAX_SIZE - 5)
#define STRING_MAX    65535

// Each writes and returns where the next byte goes.

static inline uint8_t *put_u16(uint8_t *at, size_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
  return at + 2;
}

static inline uint8_t *put_length(uint8_t *at, size_t value) {
  assert(value <= REMAINING_MAX);
  return packet_put_varint(at, (uint32_t)value);
}

static inline uint8_t *put_bytes(uint8_t *at, struct slice s) {
  if (s.len) memcpy(at, s.ptr, s.len);
  return at + s.len;
}

static inline uint8_t *put_string(uint8_t *at, struct slice s) {
  assert(s.len <= STRING_MAX);
  return put_bytes(put_u16(at, s.len), s);
}

static size_t properties_size(const struct packet_properties *p) {
  return packet_varint_size((uint32_t)p->raw.len) + p->raw.len;
}

static uint8_t *put_properties(uint8_t *at, const struct packet_properties *p) {
  return put_bytes(put_length(at, p->raw.len), p->raw);
}

// The hot path

static inline size_t publish_remaining(bool has_id, size_t topic_len, size_t properties_len,
                                       size_t payload_len, uint8_t version) {
  size_t properties = version == MQTT_5 ? packet_varint_size((uint32_t)properties_len) + properties_len : 0;
  return 2 + topic_len + (has_id ? 2 : 0) + properties + payload_len;
}

size_t packet_publish_size(uint8_t qos, size_t topic_len, size_t properties_len, size_t payload_len,
                           uint8_t version) {
  size_t remaining = publish_remaining(qos, topic_len, properties_len, payload_len, version);
  return 1 + packet_varint_size((uint32_t)remaining) + remaining;
}

size_t packet_put_publish(uint8_t *out, uint8_t first, uint16_t id, struct slice topic, size_t properties_len,
                          size_t payload_len, uint8_t version) {
  assert(version >= MQTT_3_1 && version <= MQTT_5);
  bool has_id = first & 6;
  uint8_t *at = out;
  *at++ = first;
  at = put_length(at, publish_remaining(has_id, topic.len, properties_len, payload_len, version));
  at = put_string(at, topic);
  if (has_id) at = put_u16(at, id);
  if (version == MQTT_5) at = put_length(at, properties_len);
  return (size_t)(at - out);
}

size_t packet_put_ack(uint8_t *out, uint8_t type, uint16_t id) {
  out[0] = (uint8_t)(type << 4 | (type == PACKET_PUBREL ? 2 : 0));
  out[1] = 2;
  put_u16(out + 2, id);
  return 4;
}

static void encode_publish(const struct packet *p, uint8_t version, struct buf *out) {
  const struct packet_message *m = &p->publish.message;
  struct slice properties = version == MQTT_5 ? m->properties.raw : slice_of(NULL, 0);
  buf_reserve(out, PACKET_PUBLISH_HEADER_MAX + m->topic.len + properties.len + m->payload.len);
  out->len += packet_put_publish(out->ptr + out->len, packet_publish_flags(m->qos, m->retain, p->publish.dup),
                                 p->id, m->topic, properties.len, m->payload.len, version);
  buf_add_slice(out, properties);
  buf_add_slice(out, m->payload);
}

// CONNECT

static struct slice protocol_name(uint8_t version) {
  return version == MQTT_3_1 ? SLICE("MQIsdp") : SLICE("MQTT");
}

static size_t connect_size(const struct packet *p, uint8_t version) {
  (void)version;
  const struct packet_connect *c = &p->connect;
  size_t size = 2 + protocol_name(c->version).len + 4 + 2 + c->client_id.len;
  if (c->version == MQTT_5) size += properties_size(&c->properties);
  if (c->has_will) size += 2 + c->will.topic.len + 2 + c->will.payload.len;
  if (c->has_will && c->version == MQTT_5) size += properties_size(&c->will.properties);
  if (c->has_username) size += 2 + c->username.len;
  if (c->has_password) size += 2 + c->password.len;
  return size;
}

static uint8_t connect_flags(const struct packet_connect *c) {
  unsigned will = c->has_will ? 0x04u | (unsigned)c->will.qos << 3 | (c->will.retain ? 0x20u : 0) : 0;
  return (uint8_t)((c->clean_session ? 0x02u : 0) | will | (c->has_password ? 0x40u : 0) |
                   (c->has_username ? 0x80u : 0));
}

static uint8_t *put_connect(const struct packet *p, uint8_t version, uint8_t *at) {
  (void)version;
  const struct packet_connect *c = &p->connect;
  assert(c->version >= MQTT_3_1 && c->version <= MQTT_5);
  at = put_string(at, protocol_name(c->version));
  *at++ = c->version;
  *at++ = connect_flags(c);
  at = put_u16(at, c->keep_alive);
  if (c->version == MQTT_5) at = put_properties(at, &c->properties);
  at = put_string(at, c->client_id);
  if (c->has_will && c->version == MQTT_5) at = put_properties(at, &c->will.properties);
  if (c->has_will) at = put_string(put_string(at, c->will.topic), c->will.payload);
  if (c->has_username) at = put_string(at, c->username);
  if (c->has_password) at = put_string(at, c->password);
  return at;
}

// The others

static size_t connack_size(const struct packet *p, uint8_t version) {
  return 2 + (version == MQTT_5 ? properties_size(&p->connack.properties) : 0);
}

static uint8_t *put_connack(const struct packet *p, uint8_t version, uint8_t *at) {
  *at++ = p->connack.session_present && version != MQTT_3_1;
  *at++ = p->connack.code;
  return version == MQTT_5 ? put_properties(at, &p->connack.properties) : at;
}

// Reason and properties are left out from the end where they say nothing [MQTT5 3.4.2.1, 3.14.2.1].
static size_t reason_size(const struct packet *p, uint8_t version) {
  if (version != MQTT_5) return 0;
  if (p->ack.properties.raw.len) return 1 + properties_size(&p->ack.properties);
  return p->ack.reason ? 1 : 0;
}

static uint8_t *put_reason(const struct packet *p, uint8_t version, uint8_t *at) {
  size_t size = reason_size(p, version);
  if (size) *at++ = p->ack.reason;
  return size > 1 ? put_properties(at, &p->ack.properties) : at;
}

static size_t ack_size(const struct packet *p, uint8_t version) { return 2 + reason_size(p, version); }

static uint8_t *put_ack(const struct packet *p, uint8_t version, uint8_t *at) {
  return put_reason(p, version, put_u16(at, p->id));
}

static size_t list_size(const struct packet *p, uint8_t version) {
  return 2 + (version == MQTT_5 ? properties_size(&p->subscribe.properties) : 0) + p->subscribe.list.len;
}

static uint8_t *put_list(const struct packet *p, uint8_t version, uint8_t *at) {
  at = put_u16(at, p->id);
  if (version == MQTT_5) at = put_properties(at, &p->subscribe.properties);
  return put_bytes(at, p->subscribe.list);
}

// Before MQTT 5 an UNSUBACK has no codes.
static size_t unsuback_size(const struct packet *p, uint8_t version) {
  return version == MQTT_5 ? list_size(p, version) : 2;
}

static uint8_t *put_unsuback(const struct packet *p, uint8_t version, uint8_t *at) {
  return version == MQTT_5 ? put_list(p, version, at) : put_u16(at, p->id);
}

static size_t no_bytes(const struct packet *p, uint8_t version) {
  (void)p, (void)version;
  return 0;
}

static uint8_t *put_nothing(const struct packet *p, uint8_t version, uint8_t *at) {
  (void)p, (void)version;
  return at;
}

static const struct row {
  uint8_t flags;
  size_t (*size)(const struct packet *p, uint8_t version);
  uint8_t *(*put)(const struct packet *p, uint8_t version, uint8_t *at);
} rows[16] = {
    [PACKET_CONNECT] = {0, connect_size, put_connect},  [PACKET_CONNACK] = {0, connack_size, put_connack},
    [PACKET_PUBACK] = {0, ack_size, put_ack},           [PACKET_PUBREC] = {0, ack_size, put_ack},
    [PACKET_PUBREL] = {2, ack_size, put_ack},           [PACKET_PUBCOMP] = {0, ack_size, put_ack},
    [PACKET_SUBSCRIBE] = {2, list_size, put_list},      [PACKET_SUBACK] = {0, list_size, put_list},
    [PACKET_UNSUBSCRIBE] = {2, list_size, put_list},    [PACKET_UNSUBACK] = {0, unsuback_size, put_unsuback},
    [PACKET_PINGREQ] = {0, no_bytes, put_nothing},      [PACKET_PINGRESP] = {0, no_bytes, put_nothing},
    [PACKET_DISCONNECT] = {0, reason_size, put_reason}, [PACKET_AUTH] = {0, reason_size, put_reason},
};

void packet_encode(const struct packet *p, uint8_t version, struct buf *out) {
  assert(version >= MQTT_3_1 && version <= MQTT_5);
  if (p->type == PACKET_PUBLISH) {
    encode_publish(p, version, out);
    return;
  }
  const struct row *row = &rows[p->type & 15];
  assert(p->type < 16 && row->put);
  size_t size = row->size(p, version);
  buf_reserve(out, 5 + size);
  uint8_t *at = out->ptr + out->len;
  *at++ = (uint8_t)(p->type << 4 | row->flags);
  at = put_length(at, size);
  at = row->put(p, version, at);
  out->len = (size_t)(at - out->ptr);
}

// Lists

void packet_add_filter(struct buf *list, struct slice filter) {
  buf_reserve(list, 2 + filter.len);
  list->len = (size_t)(put_string(list->ptr + list->len, filter) - list->ptr);
}

void packet_add_subscription(struct buf *list, struct slice filter, uint8_t options) {
  packet_add_filter(list, filter);
  buf_add_byte(list, options);
}
