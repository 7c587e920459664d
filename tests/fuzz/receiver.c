#include "receiver.h"

#include "fuzz.h"

static uint32_t number_of(const struct packet_connect *c, enum packet_property_id id, uint32_t otherwise) {
  return packet_property_number(&c->properties, id, otherwise);
}

static void on_connect(struct receiver *r, const struct packet_connect *c) {
  if (r->connected) r->lost = true;
  if (r->lost) return;
  r->connected = true;
  r->version = c->version;
  r->maximum_packet_size = number_of(c, PROPERTY_MAXIMUM_PACKET_SIZE, UINT32_MAX);
  r->receive_maximum = (uint16_t)number_of(c, PROPERTY_RECEIVE_MAXIMUM, UINT16_MAX);
  r->topic_alias_maximum = (uint16_t)number_of(c, PROPERTY_TOPIC_ALIAS_MAXIMUM, 0);
  CHECK(r->topic_alias_maximum <= RECEIVER_ALIAS_MAX);
}

static uint16_t find(const struct receiver *r, uint16_t id) {
  uint16_t at = 0;
  while (at < r->count && r->flight[at] != id)
    at++;
  return at;
}

static void on_ack(struct receiver *r, const struct packet *p) {
  uint16_t at = find(r, p->id);
  if (at == r->count) {
    r->lost = true;
    return;
  }
  if (p->type == PACKET_PUBREC && p->ack.reason < 0x80) return;
  r->flight[at] = r->flight[--r->count];
}

void receiver_sent(struct receiver *r, const struct packet *p) {
  switch (p->type) {
  case PACKET_CONNECT: on_connect(r, &p->connect); break;
  case PACKET_PUBACK:
  case PACKET_PUBREC:
  case PACKET_PUBCOMP: on_ack(r, p); break;
  }
}

static void check_alias(struct receiver *r, const struct packet_message *m) {
  uint32_t alias = packet_property_number(&m->properties, PROPERTY_TOPIC_ALIAS, 0);
  if (!alias) return;
  CHECK(alias <= r->topic_alias_maximum); // [MQTT5-3.1.2-26]
  CHECK(m->topic.len || r->known[alias]);
  r->known[alias] = true;
}

static void check_flight(struct receiver *r, uint16_t id) {
  CHECK(find(r, id) == r->count);       // [MQTT5-2.2.1-4]
  CHECK(r->count < r->receive_maximum); // [MQTT5-3.3.4-9]
  CHECK(r->count < RECEIVER_FLIGHT_MAX);
  r->flight[r->count++] = id;
}

void receiver_got(struct receiver *r, const struct packet *p, size_t size) {
  if (!r->connected || r->lost || r->version != MQTT_5) return;
  CHECK(size <= r->maximum_packet_size); // [MQTT5-3.1.2-24]
  if (p->type != PACKET_PUBLISH) return;
  check_alias(r, &p->publish.message);
  if (p->id) check_flight(r, p->id);
}
