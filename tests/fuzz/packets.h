// Well-formed packets of MQTT clients out of a fuzzer's bytes: few client ids, topics, filters and packet
// ids, so that what several clients do meets. Each takes one byte or a few, and appends a packet to `out`.
#ifndef LUAMQ_TESTS_FUZZ_PACKETS_H
#define LUAMQ_TESTS_FUZZ_PACKETS_H

#include "packet/packet.h"

void fuzz_connect(struct slice *in, struct buf *out);
void fuzz_login(struct slice *in, struct buf *out); // the same with a user name, and mostly a password
void fuzz_subscribe(struct slice *in, struct buf *out);
void fuzz_unsubscribe(struct slice *in, struct buf *out);
void fuzz_publish(struct slice *in, struct buf *out);
void fuzz_ack(struct slice *in, struct buf *out); // PUBACK, PUBREC, PUBREL or PUBCOMP
void fuzz_empty(uint8_t type, struct buf *out);   // PINGREQ or DISCONNECT

// What fuzz_publish sends; borrows from static storage.
struct packet_message fuzz_message(struct slice *in);

#endif
