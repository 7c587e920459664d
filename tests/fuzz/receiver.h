// What a client of MQTT 5 may rely on, kept by its own count: no packet is larger than it takes, no more
// messages are on their way to it than its receive maximum, each with a packet id of its own, and a topic
// alias is one that it allowed and, where the topic is left out, knows.
//
//   receiver_sent(&r, &packet);         // before each packet that it sends; unless it sends what is none
//   receiver_got(&r, &packet, size);    // CHECKs
#ifndef LUAMQ_TESTS_FUZZ_RECEIVER_H
#define LUAMQ_TESTS_FUZZ_RECEIVER_H

#include "packet/packet.h"

#define RECEIVER_FLIGHT_MAX 256
#define RECEIVER_ALIAS_MAX  16

struct receiver { // zeroes: nothing was sent
  bool connected; // its CONNECT was sent
  bool lost;      // it cannot count any more: it has sent anything, or an ack of what it did not have
  uint8_t version;
  uint32_t maximum_packet_size;
  uint16_t receive_maximum, topic_alias_maximum;
  uint16_t flight[RECEIVER_FLIGHT_MAX], count; // packet ids
  bool known[RECEIVER_ALIAS_MAX + 1];          // by alias
};

void receiver_sent(struct receiver *r, const struct packet *p); // all that came before has been got
void receiver_got(struct receiver *r, const struct packet *p, size_t size);

#endif
