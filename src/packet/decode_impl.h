// The inside of the decoder, for decode*.c only: parts that the bodies of all versions take off their front,
// and the bodies that MQTT 5 has of its own.
#ifndef LUAMQ_PACKET_DECODE_IMPL_H
#define LUAMQ_PACKET_DECODE_IMPL_H

#include "packet/packet.h"

static inline uint16_t get_u16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

// Each takes its bytes off the front of `in`: 0, or an enum packet_error.
int decode_id(struct slice *in, uint16_t *out);
int decode_properties(struct slice *in, struct packet_properties *out, uint8_t packet_type);

// Bodies, as in the rows of decode.c.
int decode_connack_5(struct packet *p, struct slice in, uint8_t version);
int decode_ack_5(struct packet *p, struct slice in, uint8_t version);
int decode_codes_5(struct packet *p, struct slice in, uint8_t version);
int decode_reason_5(struct packet *p, struct slice in, uint8_t version);

#endif
