// Well-formed packets of MQTT clients out of a fuzzer's bytes: few client ids, topics, filters and packet
// ids, so that what several clients do meets. Each takes one byte or a few, and appends a packet to `out`; in
// MQTT 5 it takes some more, for options, reasons and properties.
#ifndef LUAMQ_TESTS_FUZZ_PACKETS_H
#define LUAMQ_TESTS_FUZZ_PACKETS_H

#include "packet/packet.h"

void fuzz_connect(struct slice *in, struct buf *out);
void fuzz_login(struct slice *in, struct buf *out); // the same with a user name, and mostly a password
void fuzz_connect_5(struct slice *in, struct buf *out);
void fuzz_subscribe(struct slice *in, uint8_t version, struct buf *out);
void fuzz_unsubscribe(struct slice *in, uint8_t version, struct buf *out);
void fuzz_share(struct slice *in, uint8_t version, struct buf *out);   // SUBSCRIBE to "$share/..."
void fuzz_unshare(struct slice *in, uint8_t version, struct buf *out); // UNSUBSCRIBE
void fuzz_publish(struct slice *in, uint8_t version, struct buf *out);
void fuzz_ack(struct slice *in, uint8_t version, struct buf *out); // PUBACK, PUBREC, PUBREL or PUBCOMP
void fuzz_disconnect(struct slice *in, uint8_t version, struct buf *out);
void fuzz_auth(struct slice *in, struct buf *out); // MQTT 5
void fuzz_ping(struct buf *out);

// What fuzz_publish sends; borrows from static storage.
struct packet_message fuzz_message(struct slice *in);

#endif
