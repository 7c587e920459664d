// An MQTT 3.1 and 3.1.1 client as protocol code without I/O: bytes in, events out, and bytes to send in a
// buffer. Who drives it owns the connection and the time (client/socket.h does, over TCP).
//
//                  mqtt_client_publish, _subscribe, ...
//                               |
//   received bytes -> feed -> [in] -> next -> events      [out] -> bytes to send
//                               |                           ^
//                               +-- acks, resends ----------+
//
//   struct mqtt_client c;
//   mqtt_client_init(&c, &(struct mqtt_client_options){.id = SLICE("meter"), .clean_session = true});
//   mqtt_client_connect(&c);
//   send(fd, c.out.ptr, c.out.len, 0), buf_consume(&c.out, c.out.len);
//   mqtt_client_feed(&c, slice_of(bytes, n));
//   struct mqtt_client_event e;
//   while (mqtt_client_next(&c, &e)) ...
//
// Messages of QoS 1 and 2 are kept until they are acknowledged. After mqtt_client_connect on a new connection
// those of a session that goes on are sent again, in order, behind its CONNACK [MQTT-4.4.0-1].
#ifndef LUAMQ_CLIENT_CLIENT_H
#define LUAMQ_CLIENT_CLIENT_H

#include "base/list.h"
#include "base/map.h"
#include "packet/packet.h"

struct mqtt_client_options { // borrowed by mqtt_client_init only
  uint8_t version;           // MQTT_3_1 or MQTT_3_1_1; 0: MQTT_3_1_1
  bool clean_session, has_username, has_password, has_will;
  bool manual_acks;    // no PUBACK, PUBREC, PUBREL or PUBCOMP goes out by itself
  uint16_t keep_alive; // seconds; 0: off
  struct slice id, username, password;
  struct packet_message will;
};

enum mqtt_client_event_type {
  MQTT_CLIENT_CONNACK,   // code, session_present
  MQTT_CLIENT_SUBACK,    // id, codes
  MQTT_CLIENT_UNSUBACK,  // id
  MQTT_CLIENT_PUBLISHED, // id: PUBACK or PUBCOMP has come
  MQTT_CLIENT_MESSAGE,   // message, dup, id; QoS 2 once, on its first PUBLISH
  MQTT_CLIENT_PINGRESP,
  MQTT_CLIENT_PUBREC, // id; with manual acks only
  MQTT_CLIENT_PUBREL, // id; with manual acks only
  MQTT_CLIENT_ERROR,  // error: what came is not MQTT, or not what a server may send; no event follows
};

struct mqtt_client_event { // slices are valid until the next call of mqtt_client_next or _feed
  enum mqtt_client_event_type type;
  uint16_t id;
  uint8_t code; // enum connack_code
  bool session_present, dup;
  struct slice codes; // one byte a filter
  struct packet_message message;
  const char *error; // static storage
};

enum mqtt_client_state { MQTT_CLIENT_NEW, MQTT_CLIENT_CONNECTING, MQTT_CLIENT_CONNECTED, MQTT_CLIENT_ENDED };

struct mqtt_client {
  struct buf out;      // to be sent: the driver takes bytes off the front
  struct buf in;       // received
  size_t taken;        // bytes of `in` that are done with
  struct buf connect;  // the encoded CONNECT
  struct list pending; // what waits for an ack, in order of sending
  struct map by_id;    // the same by packet id
  uint8_t *received;   // a bit for each id between PUBLISH of QoS 2 and PUBREL; NULL: none yet
  uint32_t inflight;   // messages that are not acknowledged
  uint16_t last_id;
  uint8_t version;
  bool clean_session, manual_acks;
  enum mqtt_client_state state;
  // Told of every packet, NULL for nobody. The text form of a packet hides passwords.
  void (*trace)(void *arg, bool sent, const struct packet *p);
  void *trace_arg;
};

// The strings are copied. They are as packet_encode wants them; a password needs a username [MQTT-3.1.2-22].
void mqtt_client_init(struct mqtt_client *c, const struct mqtt_client_options *options);
void mqtt_client_release(struct mqtt_client *c);

// Starts on a new connection: drops unsent and half-received bytes, and puts CONNECT into `out`. A clean
// session forgets what is in flight; else messages are kept, and requests that wait for SUBACK or UNSUBACK
// are forgotten.
void mqtt_client_connect(struct mqtt_client *c);

// These put a packet into `out`, and are for the time between a CONNACK that accepted and the end. They
// return its id, or 0 when no id is free (for a publish of QoS 0 always 0). The lists are not empty; what is
// passed is copied.
uint16_t mqtt_client_subscribe(struct mqtt_client *c, const struct packet_subscription *list, size_t count);
uint16_t mqtt_client_unsubscribe(struct mqtt_client *c, const struct slice *filters, size_t count);
uint16_t mqtt_client_publish(struct mqtt_client *c, const struct packet_message *m);
void mqtt_client_ping(struct mqtt_client *c);
void mqtt_client_disconnect(struct mqtt_client *c); // the last packet, and no event follows
// With manual acks: PUBACK, PUBREC, PUBREL or PUBCOMP.
void mqtt_client_ack(struct mqtt_client *c, enum packet_type type, uint16_t id);

void mqtt_client_feed(struct mqtt_client *c, struct slice bytes);
// The next event of what was fed; false: none without more bytes.
bool mqtt_client_next(struct mqtt_client *c, struct mqtt_client_event *e);
// The next packet as it is, for who does the protocol without this client: 1, 0 when it is not complete, or
// an enum packet_error. Valid until the next call.
int mqtt_client_next_packet(struct mqtt_client *c, struct packet *p);

// "not authorized", ...: what a CONNACK code says, static storage.
const char *mqtt_client_connack_text(uint8_t code);

#endif
