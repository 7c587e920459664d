// MQTT control packets: bytes in, structs out, and back. No I/O, no allocation: strings, payloads and lists
// of a decoded packet are slices of the input and valid as long as it is. MQTT 3.1 (level 3), 3.1.1 (level
// 4) and 5 (level 5).
//
//   struct packet p;
//   ssize_t n = packet_decode(&p, input, MQTT_3_1_1, limit);
//   if (n < 0) close(packet_strerror((int)n));       // malformed: the connection cannot go on
//   else if (n == 0) wait_for_more();                // the first packet is not complete yet
//   else { handle(&p); input = slice_from(input, (size_t)n); }
#ifndef LUAMQ_PACKET_PACKET_H
#define LUAMQ_PACKET_PACKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/slice.h"
#include "packet/properties.h"

enum packet_type { // [MQTT 2.2.1]
  PACKET_CONNECT = 1,
  PACKET_CONNACK,
  PACKET_PUBLISH,
  PACKET_PUBACK,
  PACKET_PUBREC,
  PACKET_PUBREL,
  PACKET_PUBCOMP,
  PACKET_SUBSCRIBE,
  PACKET_SUBACK,
  PACKET_UNSUBSCRIBE,
  PACKET_UNSUBACK,
  PACKET_PINGREQ,
  PACKET_PINGRESP,
  PACKET_DISCONNECT,
  PACKET_AUTH, // AUTH: MQTT 5 only
};

enum mqtt_version { MQTT_3_1 = 3, MQTT_3_1_1 = 4, MQTT_5 = 5 };

enum connack_code { // MQTT 3.1 and 3.1.1, table 3.1
  CONNACK_ACCEPTED = 0,
  CONNACK_BAD_PROTOCOL_LEVEL = 1,
  CONNACK_IDENTIFIER_REJECTED = 2,
  CONNACK_SERVER_UNAVAILABLE = 3,
  CONNACK_BAD_CREDENTIALS = 4,
  CONNACK_NOT_AUTHORIZED = 5,
};

#define SUBACK_FAILURE  0x80
#define PACKET_MAX_SIZE (268435455u + 5) // largest remaining length, and the largest fixed header
#define PACKET_ID_MAX   65535u

// What a PUBLISH and a will carry.
struct packet_message {
  struct slice topic, payload;
  struct packet_properties properties;
  uint8_t qos; // 0..2
  bool retain;
};

struct packet_connect {
  uint8_t version; // the protocol level: an enum mqtt_version, or an unknown one, see packet_decode
  bool clean_session, has_will, has_username, has_password;
  uint16_t keep_alive; // seconds; 0: off
  struct slice client_id, username, password;
  struct packet_message will;
  struct packet_properties properties;
};

struct packet_connack {
  bool session_present;
  uint8_t code;
  struct packet_properties properties;
};

struct packet_publish {
  struct packet_message message;
  bool dup;
};

struct packet_ack { // PUBACK, PUBREC, PUBREL, PUBCOMP; DISCONNECT and AUTH of MQTT 5
  uint8_t reason;
  struct packet_properties properties;
};

// SUBSCRIBE, UNSUBSCRIBE, SUBACK and (MQTT 5) UNSUBACK: `list` is the validated payload. Walk it with
// packet_next_subscription, packet_next_filter; the list of an ack is one byte a code.
struct packet_list {
  uint32_t count;
  struct slice list;
  struct packet_properties properties;
};

struct packet {
  uint8_t type; // enum packet_type
  uint16_t id;  // 0 where the packet has none
  union {
    struct packet_connect connect;
    struct packet_connack connack;
    struct packet_publish publish;
    struct packet_ack ack;
    struct packet_list subscribe, suback, unsubscribe, unsuback;
  };
};

struct packet_subscription {
  struct slice filter;
  uint8_t options; // the requested QoS in the low two bits; in MQTT 5 also those below
};

enum subscription_options { // [MQTT5 3.8.3.1]
  SUBSCRIPTION_QOS = 0x03,
  SUBSCRIPTION_NO_LOCAL = 0x04,
  SUBSCRIPTION_RETAIN_AS_PUBLISHED = 0x08,
  SUBSCRIPTION_RETAIN_HANDLING = 0x30, // 0: send, 1: send where it is new, 2: do not send
  SUBSCRIPTION_RETAIN_HANDLING_SHIFT = 4,
};

enum packet_error {
  PACKET_MALFORMED_LENGTH = -1,   // remaining length of more than four bytes, or not what the packet needs
  PACKET_TOO_LARGE = -2,          // larger than the limit; the text is "read limit exceeded"
  PACKET_BAD_TYPE = -3,           // type 0, or 15 before MQTT 5
  PACKET_BAD_FLAGS = -4,          // reserved bits of the fixed header [MQTT-2.2.2-2]
  PACKET_BAD_QOS = -5,            // QoS 3 in a PUBLISH, a will or a SUBSCRIBE, or dup with QoS 0
  PACKET_BAD_ID = -6,             // packet id 0 where one is needed [MQTT-2.3.1-1]
  PACKET_BAD_STRING = -7,         // not UTF-8, a surrogate, U+0000 [MQTT-1.5.3-1, -2]
  PACKET_BAD_TOPIC = -8,          // empty, or a wildcard, in a PUBLISH or a will of MQTT 5 [MQTT-3.3.2-2]
  PACKET_BAD_FILTER = -9,         // a malformed topic filter [MQTT-4.7.1-2, -3]
  PACKET_BAD_PROTOCOL = -10,      // a protocol name that is not MQTT's, or does not go with the level
  PACKET_BAD_CONNECT_FLAGS = -11, // the reserved bit, or a password without a username [MQTT-3.1.2-3, -22]
  PACKET_BAD_WILL = -12,          // will flags that contradict each other; before MQTT 5 a bad topic
  PACKET_EMPTY_LIST = -13,        // SUBSCRIBE or UNSUBSCRIBE without a filter
  PACKET_BAD_CODE = -14,          // an unknown return code or reserved flag in an ack
  // MQTT 5
  PACKET_BAD_PROPERTY = -15, // unknown, not of this packet, not of its type, or longer than the properties
  PACKET_REPEATED_PROPERTY = -16, // that may be there once
  PACKET_BAD_VALUE = -17,         // of a property or subscription option: not one that it may have
  PACKET_BAD_ALIAS = -18,         // topic alias 0 [MQTT-3.3.2-8]
  PACKET_NO_TOPIC = -19,          // neither a topic nor an alias
  PACKET_BAD_OPTIONS = -20,       // reserved bits of subscription options [MQTT-3.8.3-5]
};

// Decodes the first packet of `in`. `version` is the one of the connection, an enum mqtt_version (asserted),
// and MQTT_3_1_1 before CONNECT, whose own level decides how it is read. `limit` bounds the size
// of the whole packet in bytes. Whatever a part of a packet can tell is told at once: flags with the first
// byte, length and limit with the fixed header. Returns the bytes consumed, 0 when the packet is not
// complete, or an enum packet_error; *p is defined after the first only.
//
// A CONNECT of the name "MQTT" and another level than 4 and 5 decodes up to the level, so that it can be
// answered with a CONNACK [MQTT-3.1.2-2]: version is the level as sent, or 0 for level 3, which goes with
// "MQIsdp"; everything after is zero, and the packet is consumed whole. So version is an enum mqtt_version
// exactly where all was decoded.
//
// What MQTT 3.1 does otherwise: dup may be set in SUBSCRIBE, UNSUBSCRIBE and PUBREL (and is not kept); a
// username or password that is announced but lies beyond the end of CONNECT counts as not given; CONNACK has
// no session present.
ssize_t packet_decode(struct packet *p, struct slice in, uint8_t version, size_t limit);

// The size of the first packet of `in` as its fixed header tells: > 0 the whole size in bytes, 0 not enough
// bytes to tell, or PACKET_MALFORMED_LENGTH.
ssize_t packet_peek_size(struct slice in);

// The protocol level of a CONNECT of the name "MQTT", as far as it is there and also when the rest is
// malformed; 0 for anything else.
uint8_t packet_peek_version(struct slice in);

// The next entry of a decoded list; false after the last. `rest` starts as list.list and is moved on.
bool packet_next_subscription(struct slice *rest, uint8_t version, struct packet_subscription *out);
bool packet_next_filter(struct slice *rest, struct slice *out);

// Appends an entry to the list of a SUBSCRIBE or UNSUBSCRIBE to be encoded.
void packet_add_subscription(struct buf *list, struct slice filter, uint8_t options);
void packet_add_filter(struct buf *list, struct slice filter);

// "malformed remaining length", ...: lower case, static storage.
const char *packet_strerror(int error);
// The MQTT 5 reason code that a peer is told: 0x81 malformed packet, 0x82 protocol error, ...
uint8_t packet_error_reason(int error);
// Whether an MQTT 5 packet of the type may have the reason code [MQTT5 table 2-6].
bool packet_may_have_reason(uint8_t type, uint8_t reason);
// "Connect", "Publish", ...: static storage; "Unknown" for what is no type.
const char *packet_type_name(uint8_t type);

// Appends the encoded packet, for an enum mqtt_version (asserted); a CONNECT goes by its own version. Reasons
// and properties are written for MQTT 5 only. The caller answers for the contents: strings of at most 65,535
// bytes, a size of at most PACKET_MAX_SIZE (asserted).
void packet_encode(const struct packet *p, uint8_t version, struct buf *out);

// The hot path, into memory that has room: PUBLISH up to its properties, which with the payload are the
// caller's to write (at most PACKET_PUBLISH_HEADER_MAX bytes and the topic); an ack of two bytes id. They
// return the bytes written. `first` is the whole first byte of the fixed header, see packet_publish_flags;
// `id` is left out for QoS 0; `properties_len` is 0 before MQTT 5.
#define PACKET_PUBLISH_HEADER_MAX 20
static inline uint8_t packet_publish_flags(uint8_t qos, bool retain, bool dup) {
  return (uint8_t)(PACKET_PUBLISH << 4 | (dup ? 8 : 0) | qos << 1 | (retain ? 1 : 0));
}
size_t packet_put_publish(uint8_t *out, uint8_t first, uint16_t id, struct slice topic, size_t properties_len,
                          size_t payload_len, uint8_t version);
// The size of the whole packet.
size_t packet_publish_size(uint8_t qos, size_t topic_len, size_t properties_len, size_t payload_len,
                           uint8_t version);
// PUBACK, PUBREC, PUBREL, PUBCOMP, and UNSUBACK before MQTT 5: 4 bytes, and success without properties.
size_t packet_put_ack(uint8_t *out, uint8_t type, uint16_t id);

// The text form of a packet, a message (or will): `<Puback ID=1>`, `<Publish ID=0 Message=<Message
// Topic="test" QOS=0 Retain=false Payload=74657374> Dup=false>`. Strings are quoted as Go's %q; a password
// that was given prints as "***".
void packet_format(const struct packet *p, uint8_t version, struct buf *out);
void packet_format_string(struct slice s, struct buf *out); // quoted
void packet_format_message(const struct packet_message *m, struct buf *out);

#endif
