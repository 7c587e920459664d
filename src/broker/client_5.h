// What only an MQTT 5 client has: what its CONNECT asked for, the packets that it may be sent at once, and
// topic aliases in both directions. For client*.c only; a client of an older version has none.
#ifndef LUAMQ_BROKER_CLIENT_5_H
#define LUAMQ_BROKER_CLIENT_5_H

#include "broker/settings.h"
#include "packet/packet.h"

struct client_5 {
  uint32_t session_expiry_s;    // asked for; what is in force is the session's
  uint32_t maximum_packet_size; // that the peer takes
  uint32_t will_delay_s;
  uint16_t receive_maximum;          // QoS 1 and 2 messages that the peer takes at once [MQTT5 4.9]
  uint16_t incoming_receive_maximum; // that we take, and announced
  uint16_t keep_alive;               // asked for, seconds
  bool wants_problem_information : 1, wants_response_information : 1;
  bool disconnect_sent : 1;     // nothing more is sent
  struct topic_alias *incoming; // by alias, from 1; NULL: none was used yet
  uint16_t incoming_maximum;    // that we announced
  struct topic_alias *outgoing; // slots by hash of the topic; the place is the alias
  uint16_t outgoing_maximum;    // as many as are used, of those that the peer allows
};

struct topic_alias {
  uint8_t *topic; // NULL: free
  uint16_t len;
  uint16_t heat; // of outgoing ones: how often it was of use lately
};

struct client_5 *client_5_new(const struct packet_connect *connect, const struct settings *settings);
void client_5_free(struct client_5 *v5);         // NULL is fine
void client_5_drop_aliases(struct client_5 *v5); // they die with the connection

// What a PUBLISH means by its topic and alias: remembers or looks up, and puts the topic into the message.
// REASON_SUCCESS, or REASON_TOPIC_ALIAS_INVALID or REASON_PROTOCOL_ERROR.
uint8_t client_5_resolve_alias(struct client_5 *v5, struct packet_message *m);

struct alias_use { // for one PUBLISH to the peer
  uint16_t alias;  // 0: none is used
  bool known;      // the peer knows it: the topic is left out
};
struct alias_use client_5_use_alias(struct client_5 *v5, struct slice topic);

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
