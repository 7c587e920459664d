// What only an MQTT 5 client has: what its CONNECT asked for, the packets that it may be sent at once, and
// topic aliases in both directions. For client*.c; others may read what CONNECT asked for, see client_5. A
// client of an older version has none.
#ifndef LUAMQ_BROKER_CLIENT_5_H
#define LUAMQ_BROKER_CLIENT_5_H

#include "broker/settings.h"
#include "packet/alias.h"

struct client_auth;

struct client_5 {
  uint32_t session_expiry_s;    // asked for; what is in force is the session's
  uint32_t maximum_packet_size; // that the peer takes
  uint32_t will_delay_s;
  uint16_t receive_maximum;          // QoS 1 and 2 messages that the peer takes at once [MQTT5 4.9]
  uint16_t incoming_receive_maximum; // that we take, and announced
  uint16_t keep_alive;               // asked for, seconds
  uint16_t topic_alias_maximum;      // that the peer allows
  bool wants_problem_information : 1, wants_response_information : 1;
  bool disconnect_sent : 1;   // nothing more is sent
  struct aliases incoming;    // as many as we announced
  struct aliases outgoing;    // as many as are used, of those that the peer allows
  struct client_auth *auth;   // NULL: it named no authentication method
  struct buf user_properties; // of its CONNECT
};

struct client_5 *client_5_new(const struct packet_connect *connect, const struct settings *settings);
void client_5_free(struct client_5 *v5);         // NULL is fine
void client_5_drop_aliases(struct client_5 *v5); // they die with the connection

// Whether the payload is UTF-8 where the message says that it is.
struct message;
bool client_5_payload_fits(const struct message *m);

// Appends the properties of a CONNACK that lets the client in.
struct client;
void client_5_connack(const struct client *c, struct buf *raw);
// Appends where else the client is to go, if the reason says that it is and it can be told.
void client_5_add_reference(const struct client *c, uint8_t reason, struct buf *raw);
// The reason that a peer is told when its client ends with `error`.
uint8_t client_5_reason(const char *error);

#endif
