// The inside of the client, for client*.c only.
//
//   client.c     life, and what is asked for
//   client_in.c  what comes in: acks, messages, CONNACK
//
// An outgoing message is a struct pending from PUBLISH to its last ack, and knows the type of the ack that it
// waits for; a resend needs nothing else. `pending` is in the order of the first PUBLISH, or for what waits
// for PUBCOMP that of PUBREC; `held` comes behind it, and is not empty only while the server takes no more.
#ifndef LUAMQ_CLIENT_CLIENT_IMPL_H
#define LUAMQ_CLIENT_CLIENT_IMPL_H

#include "client/client.h"

#define RECEIVED_SIZE ((PACKET_ID_MAX + 1) / 8)

struct pending {
  struct list node;
  uint16_t id;
  uint8_t awaits;                // type of the ack
  bool sent;                     // a PUBLISH that went out once
  bool held;                     // it stands in `held`
  uint32_t count;                // filters of a SUBSCRIBE or UNSUBSCRIBE
  struct packet_message message; // of a PUBLISH, in `bytes`; empty after PUBREC
  uint8_t bytes[];
};

static inline bool pending_is_message(const struct pending *p) {
  return p->awaits == PACKET_PUBACK || p->awaits == PACKET_PUBREC || p->awaits == PACKET_PUBCOMP;
}

struct pending *pending_find(const struct mqtt_client *c, uint16_t id, uint8_t awaits); // NULL: none
void pending_forget(struct mqtt_client *c, struct pending *p); // frees what was found
void pending_hold(struct mqtt_client *c, struct pending *p);   // moves it to the end of `held`

// Encodes into `out`. False: it is larger than the server takes, and nothing was added.
bool mqtt_client_put(struct mqtt_client *c, const struct packet *p);
// Sends the PUBLISH of a message in `pending`, which the server takes; it is a duplicate if it was sent.
void mqtt_client_send(struct mqtt_client *c, struct pending *p);
void mqtt_client_send_held(struct mqtt_client *c); // as many as the server takes now

// The id in an MQTT 5 CONNECT from now on.
void mqtt_client_set_id(struct mqtt_client *c, struct slice id);

#endif
