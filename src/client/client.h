// An MQTT 5, 3.1.1 and 3.1 client as protocol code without I/O: bytes in, events out, and bytes to send in a
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
//
// What an MQTT 5 server announces in CONNACK is obeyed: no more messages are under way than it takes at once
// (the others wait for their turn in here), and none that it would not take is sent (mqtt_client_refuses
// tells). Topic aliases that it uses are resolved. A server that breaks the rules is told why with a
// DISCONNECT, which stands in `out` when MQTT_CLIENT_ERROR comes.
#ifndef LUAMQ_CLIENT_CLIENT_H
#define LUAMQ_CLIENT_CLIENT_H

#include "base/list.h"
#include "base/map.h"
#include "packet/alias.h"
#include "packet/packet.h"
#include "packet/reason.h"

struct mqtt_client_options { // borrowed by mqtt_client_init only
  uint8_t version;           // an enum mqtt_version; 0: MQTT_3_1_1
  bool clean_session;        // MQTT 5: clean start
  bool has_username, has_password, has_will;
  bool manual_acks;       // no PUBACK, PUBREC, PUBREL or PUBCOMP goes out by itself
  uint16_t keep_alive;    // seconds; 0: off
  uint16_t topic_aliases; // MQTT 5: so many, at most, that the server allows are used for what is published
  struct slice id, username, password;
  struct packet_message will;
  struct packet_properties properties; // of CONNECT
};

enum mqtt_client_event_type {
  MQTT_CLIENT_CONNACK,   // code, session_present
  MQTT_CLIENT_SUBACK,    // id, codes
  MQTT_CLIENT_UNSUBACK,  // id; MQTT 5: codes
  MQTT_CLIENT_PUBLISHED, // id: PUBACK or PUBCOMP has come, or a PUBREC that refuses; code
  MQTT_CLIENT_MESSAGE,   // message, dup, id; QoS 2 once, on its first PUBLISH
  MQTT_CLIENT_PINGRESP,
  MQTT_CLIENT_PUBREC,       // id, code; with manual acks only
  MQTT_CLIENT_PUBREL,       // id, code; with manual acks only
  MQTT_CLIENT_DISCONNECTED, // code: the server's DISCONNECT; no event follows
  MQTT_CLIENT_AUTH,         // code: the server's AUTH, to be answered with mqtt_client_auth
  MQTT_CLIENT_ERROR,        // error: what came is not MQTT, or not what a server may send; no event follows
};

struct mqtt_client_event { // slices are valid until the next call of mqtt_client_next or _feed
  enum mqtt_client_event_type type;
  uint16_t id;
  uint8_t code; // MQTT 5: enum reason; of an error the one that the server is told. Before: enum connack_code
  bool session_present, dup;
  struct slice codes;                  // one byte a filter
  struct packet_properties properties; // of the packet, but for a message, which has its own
  struct packet_message message;
  const char *error; // static storage
};

enum mqtt_client_state { MQTT_CLIENT_NEW, MQTT_CLIENT_CONNECTING, MQTT_CLIENT_CONNECTED, MQTT_CLIENT_ENDED };

struct mqtt_client_server { // what a server takes: announced in CONNACK of MQTT 5, and no limits before it
  uint32_t maximum_packet_size;
  uint16_t receive_maximum; // messages of QoS 1 and 2 at once
  uint16_t topic_alias_maximum;
  uint8_t maximum_qos;
  bool retain_available;
};

struct mqtt_client {
  struct buf out;      // to be sent: the driver takes bytes off the front
  struct buf in;       // received
  size_t taken;        // bytes of `in` that are done with
  struct buf connect;  // the encoded CONNECT
  struct list pending; // what waits for an ack, in order of sending
  struct list held;    // messages behind them that the server does not take yet
  struct map by_id;    // both by packet id
  uint8_t *received;   // a bit for each id between PUBLISH of QoS 2 and PUBREL; NULL: none yet
  uint32_t inflight;   // messages that are not acknowledged, with those that are held
  uint32_t under_way;  // without them
  uint32_t incoming;   // ids in `received`
  struct mqtt_client_server server;
  struct aliases aliases_in, aliases_out;
  uint32_t maximum_packet_size; // that was announced to the server
  uint16_t receive_maximum;     // likewise
  uint16_t topic_aliases;
  uint16_t wanted_keep_alive, keep_alive; // seconds: of CONNECT, and in force [MQTT5-3.2.2-21]
  uint16_t last_id;
  uint8_t version;
  bool clean_session, manual_acks;
  bool authenticates; // CONNECT names an authentication method
  enum mqtt_client_state state;
  // Told of every packet, NULL for nobody. The text form of a packet hides passwords.
  void (*trace)(void *arg, bool sent, const struct packet *p);
  void *trace_arg;
};

// The strings are copied. They are as packet_encode wants them; before MQTT 5 a password needs a username
// [MQTT-3.1.2-22]. Properties are right for their packet (packet_check_properties), and none before MQTT 5.
void mqtt_client_init(struct mqtt_client *c, const struct mqtt_client_options *options);
void mqtt_client_release(struct mqtt_client *c);

// Starts on a new connection: drops unsent and half-received bytes, and puts CONNECT into `out`. A clean
// session forgets what is in flight; else messages are kept, and requests that wait for SUBACK or UNSUBACK
// are forgotten. An id that an MQTT 5 server has assigned is kept.
void mqtt_client_connect(struct mqtt_client *c);

// These put a packet into `out`, and are for the time between a CONNACK that accepted and the end. They
// return its id, or 0 when no id is free or the packet is larger than the server takes (for a publish of
// QoS 0 always 0). The lists are not empty; what is passed is copied; properties may be NULL for none.
uint16_t mqtt_client_subscribe(struct mqtt_client *c, const struct packet_subscription *list, size_t count,
                               const struct packet_properties *properties);
uint16_t mqtt_client_unsubscribe(struct mqtt_client *c, const struct slice *filters, size_t count,
                                 const struct packet_properties *properties);
// A message that the server refuses, see below, is not sent, and 0 is returned.
uint16_t mqtt_client_publish(struct mqtt_client *c, const struct packet_message *m);
// Why the server would not take the message, static storage; NULL: it does.
const char *mqtt_client_refuses(const struct mqtt_client *c, const struct packet_message *m);
void mqtt_client_ping(struct mqtt_client *c);
// The last packet, and no event follows. Before MQTT 5 it has neither reason nor properties.
void mqtt_client_disconnect(struct mqtt_client *c, enum reason reason,
                            const struct packet_properties *properties);
// An answer to MQTT_CLIENT_AUTH, also before CONNACK, or the start of another authentication; for a client
// whose CONNECT names an authentication method [MQTT5-4.12.0-7].
void mqtt_client_auth(struct mqtt_client *c, enum reason reason, const struct packet_properties *properties);
// With manual acks: PUBACK, PUBREC, PUBREL or PUBCOMP. The reason is for MQTT 5.
void mqtt_client_ack(struct mqtt_client *c, enum packet_type type, uint16_t id, enum reason reason);

void mqtt_client_feed(struct mqtt_client *c, struct slice bytes);
// The next event of what was fed; false: none without more bytes.
bool mqtt_client_next(struct mqtt_client *c, struct mqtt_client_event *e);
// The next packet as it is, for who does the protocol without this client: 1, 0 when it is not complete, or
// an enum packet_error. Valid until the next call.
int mqtt_client_next_packet(struct mqtt_client *c, struct packet *p);

// "not authorized", ...: what the code of a CONNACK says, in the client's version; returns `text`.
const char *mqtt_client_connack_text(const struct mqtt_client *c, uint8_t code, char text[REASON_TEXT_SIZE]);

#endif
