// Topic aliases of one direction of a connection [MQTT5 3.3.2.3.4]: a number from 1 that stands for a topic.
//
//   struct aliases in = {.maximum = announced};         // what the peer sends
//   uint8_t reason = aliases_resolve(&in, &message);    // now message.topic is the topic
//
//   struct aliases out = {.maximum = the_peers};        // what is sent
//   struct alias_use use = aliases_use(&out, topic);    // use.alias goes along; use.known: without the topic
//
//   aliases_release(&in);
#ifndef LUAMQ_PACKET_ALIAS_H
#define LUAMQ_PACKET_ALIAS_H

#include "packet/packet.h"

struct topic_alias {
  uint8_t *topic; // NULL: free
  uint16_t len;
  uint16_t heat; // of outgoing ones: how often it was of use lately
};

struct aliases {
  struct topic_alias *list; // by alias, from 1; NULL: none was used yet
  uint16_t maximum;         // 0: none may be used
};

void aliases_release(struct aliases *a); // forgets all; `maximum` stays

// What a PUBLISH means by its topic and alias: remembers or looks up, and puts the topic into the message.
// REASON_SUCCESS, or REASON_TOPIC_ALIAS_INVALID or REASON_PROTOCOL_ERROR.
uint8_t aliases_resolve(struct aliases *a, struct packet_message *m);

struct alias_use { // for one PUBLISH to the peer
  uint16_t alias;  // 0: none is used
  bool known;      // the peer knows it: the topic is left out
};
struct alias_use aliases_use(struct aliases *a, struct slice topic);

#endif
