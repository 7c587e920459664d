// Bodies that look different in MQTT 5: acks with a reason and properties, which may be left out from the
// end.
#include "packet/decode_impl.h"

// The reason codes that a packet may have [MQTT5 table 2-6].
static const struct {
  uint8_t count, list[32];
} reasons[16] = {
    [PACKET_CONNACK] = {22, {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
                             0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f}},
    [PACKET_PUBACK] = {9, {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}},
    [PACKET_PUBREC] = {9, {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}},
    [PACKET_PUBREL] = {2, {0x00, 0x92}},
    [PACKET_PUBCOMP] = {2, {0x00, 0x92}},
    [PACKET_SUBACK] = {12, {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2}},
    [PACKET_UNSUBACK] = {7, {0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91}},
    [PACKET_DISCONNECT] = {30, {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c,
                                0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
                                0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2}},
    [PACKET_AUTH] = {3, {0x00, 0x18, 0x19}},
};

bool packet_may_have_reason(uint8_t type, uint8_t reason) {
  return memchr(reasons[type].list, reason, reasons[type].count) != NULL;
}

// Reason and properties up to the end; the end may come before either.
static int take_reason(struct packet *p, struct slice in) {
  if (!in.len) return 0;
  p->ack.reason = in.ptr[0];
  in = slice_from(in, 1);
  if (!packet_may_have_reason(p->type, p->ack.reason)) return PACKET_BAD_CODE;
  if (!in.len) return 0;
  int error = decode_properties(&in, &p->ack.properties, p->type);
  if (error) return error;
  return in.len ? PACKET_MALFORMED_LENGTH : 0;
}

int decode_ack_5(struct packet *p, struct slice in, uint8_t version) {
  (void)version;
  int error = decode_id(&in, &p->id);
  return error ? error : take_reason(p, in);
}

int decode_reason_5(struct packet *p, struct slice in, uint8_t version) {
  (void)version;
  return take_reason(p, in);
}

int decode_connack_5(struct packet *p, struct slice in, uint8_t version) {
  (void)version;
  uint8_t flags = in.ptr[0], code = in.ptr[1];
  if (flags > 1 || !packet_may_have_reason(PACKET_CONNACK, code) || (flags && code))
    return PACKET_BAD_CODE; // [MQTT-3.2.2-6]
  p->connack.session_present = flags;
  p->connack.code = code;
  in = slice_from(in, 2);
  int error = decode_properties(&in, &p->connack.properties, PACKET_CONNACK);
  if (error) return error;
  return in.len ? PACKET_MALFORMED_LENGTH : 0;
}

// SUBACK and UNSUBACK.
int decode_codes_5(struct packet *p, struct slice in, uint8_t version) {
  (void)version;
  int error = decode_id(&in, &p->id);
  if (!error) error = decode_properties(&in, &p->suback.properties, p->type);
  if (error) return error;
  for (size_t i = 0; i < in.len; i++)
    if (!packet_may_have_reason(p->type, in.ptr[i])) return PACKET_BAD_CODE;
  p->suback.count = (uint32_t)in.len;
  p->suback.list = in;
  return in.len ? 0 : PACKET_EMPTY_LIST;
}
