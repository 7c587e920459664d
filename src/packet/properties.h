// MQTT 5 properties [MQTT5 2.2.2]: a packet keeps them as they stand on the wire, checked once when it is
// decoded; these walk them, look one up, and build them.
//
//   struct slice rest = p.publish.message.properties.raw;
//   for (struct packet_property q; packet_next_property(&rest, &q);) use(q.id, q.number, q.value);
//
//   struct buf raw = BUF_INIT;
//   packet_add_number(&raw, PROPERTY_MESSAGE_EXPIRY_INTERVAL, 60);
//   packet_add_pair(&raw, SLICE("from"), SLICE("meter"));
//   packet.publish.message.properties = packet_properties_of(buf_slice(&raw));
#ifndef LUAMQ_PACKET_PROPERTIES_H
#define LUAMQ_PACKET_PROPERTIES_H

#include "base/buf.h"
#include "base/slice.h"

enum packet_property_id { // [MQTT5 table 2-4]
  PROPERTY_PAYLOAD_FORMAT_INDICATOR = 1,
  PROPERTY_MESSAGE_EXPIRY_INTERVAL = 2,
  PROPERTY_CONTENT_TYPE = 3,
  PROPERTY_RESPONSE_TOPIC = 8,
  PROPERTY_CORRELATION_DATA = 9,
  PROPERTY_SUBSCRIPTION_IDENTIFIER = 11,
  PROPERTY_SESSION_EXPIRY_INTERVAL = 17,
  PROPERTY_ASSIGNED_CLIENT_IDENTIFIER = 18,
  PROPERTY_SERVER_KEEP_ALIVE = 19,
  PROPERTY_AUTHENTICATION_METHOD = 21,
  PROPERTY_AUTHENTICATION_DATA = 22,
  PROPERTY_REQUEST_PROBLEM_INFORMATION = 23,
  PROPERTY_WILL_DELAY_INTERVAL = 24,
  PROPERTY_REQUEST_RESPONSE_INFORMATION = 25,
  PROPERTY_RESPONSE_INFORMATION = 26,
  PROPERTY_SERVER_REFERENCE = 28,
  PROPERTY_REASON_STRING = 31,
  PROPERTY_RECEIVE_MAXIMUM = 33,
  PROPERTY_TOPIC_ALIAS_MAXIMUM = 34,
  PROPERTY_TOPIC_ALIAS = 35,
  PROPERTY_MAXIMUM_QOS = 36,
  PROPERTY_RETAIN_AVAILABLE = 37,
  PROPERTY_USER_PROPERTY = 38,
  PROPERTY_MAXIMUM_PACKET_SIZE = 39,
  PROPERTY_WILDCARD_SUBSCRIPTION_AVAILABLE = 40,
  PROPERTY_SUBSCRIPTION_IDENTIFIER_AVAILABLE = 41,
  PROPERTY_SHARED_SUBSCRIPTION_AVAILABLE = 42,
};
#define PROPERTY_MAX 42

enum packet_property_type {
  PROPERTY_BYTE,
  PROPERTY_U16,
  PROPERTY_U32,
  PROPERTY_VARINT, // a variable byte integer
  PROPERTY_STRING,
  PROPERTY_BINARY,
  PROPERTY_PAIR, // of strings
};

// The properties of a packet without their length; empty in 3.1 and 3.1.1.
struct packet_properties {
  struct slice raw;
  uint64_t present; // bit `id` for each that is there
};

struct packet_property { // slices of the properties
  uint8_t id;            // enum packet_property_id
  uint8_t type;          // enum packet_property_type
  uint32_t number;       // of the first four types
  struct slice value;    // of the others
  struct slice name;     // of a pair
};

static inline bool packet_has_property(const struct packet_properties *p, enum packet_property_id id) {
  return p->present >> id & 1;
}

// Where properties stand: the packet's type, or PROPERTIES_OF_WILL.
#define PROPERTIES_OF_WILL 0
// Checks properties that come from outside: 0, or PACKET_BAD_PROPERTY (unknown, not of this packet, not of
// their type), PACKET_REPEATED_PROPERTY, PACKET_BAD_VALUE, PACKET_BAD_STRING, PACKET_BAD_ALIAS. Sets
// `present`.
int packet_check_properties(struct packet_properties *p, uint8_t packet_type);
// Of bytes that are known to be right: sets `present`.
struct packet_properties packet_properties_of(struct slice raw);

// The next one; false after the last. `rest` starts as `raw`, which has been checked.
bool packet_next_property(struct slice *rest, struct packet_property *out);
// The first one with the id; false when there is none.
bool packet_find_property(const struct packet_properties *p, enum packet_property_id id,
                          struct packet_property *out);
// The number of the first one with the id, or `otherwise`.
uint32_t packet_property_number(const struct packet_properties *p, enum packet_property_id id,
                                uint32_t otherwise);

// Append one, of the type that the id has (asserted).
void packet_add_number(struct buf *raw, enum packet_property_id id, uint32_t number);
void packet_add_value(struct buf *raw, enum packet_property_id id,
                      struct slice value);                                    // at most 65,535 bytes
void packet_add_pair(struct buf *raw, struct slice name, struct slice value); // a user property

// "message_expiry_interval", ...: the specification's name in snake case; NULL for what is none.
const char *packet_property_name(uint8_t id);
int packet_property_by_name(struct slice name);             // the id, or 0
enum packet_property_type packet_property_type(uint8_t id); // of one that has a name
// Whether it may stand in packets of the type, or in a will.
bool packet_may_have_property(uint8_t packet_type, uint8_t id);
void packet_property_range(uint8_t id, uint32_t *min, uint32_t *max); // of a number

// Variable byte integers [MQTT5 1.5.5]. Takes one off the front of `in`: false when it is not there whole,
// has more than four bytes, or more than it needs.
bool packet_take_varint(struct slice *in, uint32_t *out);
static inline uint8_t *packet_put_varint(uint8_t *at, uint32_t value) { // returns where the next byte goes
  for (; value >= 0x80; value >>= 7)
    *at++ = (uint8_t)(value | 0x80);
  *at++ = (uint8_t)value;
  return at;
}
static inline size_t packet_varint_size(uint32_t value) {
  return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4;
}

#endif
