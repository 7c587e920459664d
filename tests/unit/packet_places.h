// Where MQTT 5 properties stand: whole packets around given properties, for the packet tests.
//
//   for (const struct place *p = places; p < places + PLACES; p++) {
//     struct buf in = place_packet(p, SLICE("\x1f\0\1x"));
//     ...
//     buf_release(&in);
//   }
#ifndef LUAMQ_TESTS_PACKET_PLACES_H
#define LUAMQ_TESTS_PACKET_PLACES_H

#include "packet/packet.h"

#define BYTES(literal)                                                                                       \
  { (const uint8_t *)(literal), sizeof(literal) - 1 }

struct place {
  char letter;                // in the tests' tables
  uint8_t first;              // byte of the packet
  struct slice before, after; // the properties and their length, in the packet's body
  const char *name;
};

static const struct place places[] = {
    {'W', 0x10, BYTES("\0\4MQTT\5\6\0\36\0\0\2id"), BYTES("\0\1t\0\1m"), "a will"},
    {'C', 0x10, BYTES("\0\4MQTT\5\2\0\36"), BYTES("\0\2id"), "CONNECT"},
    {'c', 0x20, BYTES("\0\0"), BYTES(""), "CONNACK"},
    {'P', 0x30, BYTES("\0\1t"), BYTES("payload"), "PUBLISH"},
    {'a', 0x40, BYTES("\0\1\0"), BYTES(""), "PUBACK"},
    {'r', 0x50, BYTES("\0\1\0"), BYTES(""), "PUBREC"},
    {'l', 0x62, BYTES("\0\1\0"), BYTES(""), "PUBREL"},
    {'o', 0x70, BYTES("\0\1\0"), BYTES(""), "PUBCOMP"},
    {'S', 0x82, BYTES("\0\1"), BYTES("\0\1a\0"), "SUBSCRIBE"},
    {'s', 0x90, BYTES("\0\1"), BYTES("\0"), "SUBACK"},
    {'U', 0xa2, BYTES("\0\1"), BYTES("\0\1a"), "UNSUBSCRIBE"},
    {'u', 0xb0, BYTES("\0\1"), BYTES("\0"), "UNSUBACK"},
    {'D', 0xe0, BYTES("\0"), BYTES(""), "DISCONNECT"},
    {'X', 0xf0, BYTES("\x18"), BYTES(""), "AUTH"},
};

#define PLACES (sizeof places / sizeof *places)

static inline void add_varint(struct buf *out, uint32_t value) {
  uint8_t bytes[4];
  buf_add(out, bytes, (size_t)(packet_put_varint(bytes, value) - bytes));
}

// A packet whose properties are announced with `announced` bytes.
static inline struct buf place_packet_of(const struct place *p, struct slice properties, size_t announced) {
  struct buf body = BUF_INIT, out = BUF_INIT;
  buf_add_slice(&body, p->before);
  add_varint(&body, (uint32_t)announced);
  buf_add_slice(&body, properties);
  buf_add_slice(&body, p->after);
  buf_add_byte(&out, p->first);
  add_varint(&out, (uint32_t)body.len);
  buf_add_slice(&out, buf_slice(&body));
  buf_release(&body);
  return out;
}

static inline struct buf place_packet(const struct place *p, struct slice properties) {
  return place_packet_of(p, properties, properties.len);
}

static inline const struct place *place_of(char letter) {
  const struct place *p = places;
  while (p->letter != letter)
    p++;
  return p;
}

static inline const struct packet_properties *place_properties(const struct place *place,
                                                               const struct packet *p) {
  switch (p->type) {
  case PACKET_CONNECT: return place->letter == 'W' ? &p->connect.will.properties : &p->connect.properties;
  case PACKET_CONNACK: return &p->connack.properties;
  case PACKET_PUBLISH: return &p->publish.message.properties;
  case PACKET_SUBSCRIBE:
  case PACKET_SUBACK:
  case PACKET_UNSUBSCRIBE:
  case PACKET_UNSUBACK: return &p->subscribe.properties;
  default: return &p->ack.properties;
  }
}

#endif
