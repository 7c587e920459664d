// Every packet of a client that is malformed or a protocol error, with the reason code that it is told: a
// CONNECT in CONNACK, all others in DISCONNECT [MQTT5 4.13.1]. Where the specification names no code, it is
// 0x81 for what cannot be read and 0x82 for what can be read but is not allowed. Each row is a test of its
// own.
#include "conformance.h"

enum { MALFORMED = REASON_MALFORMED_PACKET, PROTOCOL = REASON_PROTOCOL_ERROR };

struct row {
  const char *name;
  uint8_t reason;
  uint8_t first;      // byte of the fixed header; 0: `bytes` is the whole packet
  struct slice bytes; // what stands behind the remaining length
};

#define BODY(first, bytes) first, SLICE(bytes)
#define WHOLE(bytes)       0, SLICE(bytes)

// A CONNECT with those flags: its properties with their length, and the payload.
#define CONNECT(flags, properties, payload) BODY(0x10, "\0\4MQTT\5" flags "\0\0" properties payload)
#define PROPERTIES(bytes)                   CONNECT("\2", bytes, "\0\1x")
#define WILL(bytes)                         CONNECT("\6", "\0", "\0\1x" bytes)
#define WILL_PROPERTIES(bytes)              WILL(bytes "\0\1w\0\1m")

static const struct row connects[] = {
    {"CONNECT: flags of the fixed header", MALFORMED, BODY(0x11, "\0\4MQTT\5\2\0\0\0\0\1x")},
    {"CONNECT: remaining length longer than needed", MALFORMED, WHOLE("\x10\x8e\0\0\4MQTT\5\2\0\0\0\0\1x")},
    {"CONNECT: larger than such a packet may be", REASON_PACKET_TOO_LARGE,
     WHOLE("\x10\xff\xff\x7f\0\4MQTT\5")},
    {"CONNECT: no flags", MALFORMED, BODY(0x10, "\0\4MQTT\5")},
    {"CONNECT: no properties", MALFORMED, CONNECT("\2", "", "")},
    {"CONNECT: no client id", MALFORMED, CONNECT("\2", "\0", "")},
    {"CONNECT: client id longer than the packet", MALFORMED, CONNECT("\2", "\0", "\0\2x")},
    {"CONNECT: bytes behind the end", MALFORMED, CONNECT("\2", "\0", "\0\1x\0")},
    {"[MQTT5-3.1.2-3] CONNECT: reserved flag", MALFORMED, CONNECT("\3", "\0", "\0\1x")},
    {"[MQTT5-3.1.3-4] [MQTT5-1.5.4-1] CONNECT: client id with a surrogate", MALFORMED,
     CONNECT("\2", "\0", "\0\3\xed\xa0\x80")},
    {"[MQTT5-1.5.4-2] CONNECT: client id with U+0000", MALFORMED, CONNECT("\2", "\0", "\0\1\0")},
    {"[MQTT5-3.1.2-17] CONNECT: no user name", MALFORMED, CONNECT("\x82", "\0", "\0\1x")},
    {"[MQTT5-3.1.3-12] CONNECT: user name that is not UTF-8", MALFORMED,
     CONNECT("\x82", "\0", "\0\1x\0\1\xc3")},
    {"[MQTT5-3.1.2-19] CONNECT: no password", MALFORMED, CONNECT("\x42", "\0", "\0\1x")},

    {"[MQTT5-3.1.2-11] CONNECT: will QoS without a will", MALFORMED, CONNECT("\x0a", "\0", "\0\1x")},
    {"[MQTT5-3.1.2-13] CONNECT: will retain without a will", MALFORMED, CONNECT("\x22", "\0", "\0\1x")},
    {"[MQTT5-3.1.2-12] CONNECT: will QoS 3", MALFORMED, CONNECT("\x1e", "\0", "\0\1x\0\0\1w\0\1m")},
    {"[MQTT5-3.1.2-9] CONNECT: no will properties", MALFORMED, WILL("")},
    {"[MQTT5-3.1.2-9] CONNECT: no will topic", MALFORMED, WILL("\0")},
    {"[MQTT5-3.1.2-9] CONNECT: no will payload", MALFORMED, WILL("\0\0\1w")},
    {"[MQTT5-3.1.3-11] CONNECT: will topic that is not UTF-8", MALFORMED, WILL("\0\0\1\xff\0\1m")},
    {"[MQTT5-4.7.0-1] CONNECT: wildcard in the will topic", REASON_TOPIC_NAME_INVALID,
     WILL("\0\0\3w/#\0\1m")},
    {"[MQTT5-4.7.3-1] CONNECT: empty will topic", REASON_TOPIC_NAME_INVALID, WILL("\0\0\0\0\1m")},
    {"CONNECT: will delay twice", PROTOCOL, WILL_PROPERTIES("\x0a\x18\0\0\0\1\x18\0\0\0\1")},
    {"CONNECT: payload format of the will twice", PROTOCOL, WILL_PROPERTIES("\4\1\0\1\0")},
    {"CONNECT: expiry of the will twice", PROTOCOL, WILL_PROPERTIES("\x0a\2\0\0\0\1\2\0\0\0\1")},
    {"CONNECT: content type of the will twice", PROTOCOL, WILL_PROPERTIES("\6\3\0\0\3\0\0")},
    {"CONNECT: response topic of the will twice", PROTOCOL, WILL_PROPERTIES("\x08\x08\0\1r\x08\0\1r")},
    {"CONNECT: correlation data of the will twice", PROTOCOL, WILL_PROPERTIES("\6\x09\0\0\x09\0\0")},
    {"CONNECT: payload format of the will above 1", PROTOCOL, WILL_PROPERTIES("\2\1\2")},
    {"[MQTT5-3.3.2-14] CONNECT: wildcard in the will's response topic", PROTOCOL,
     WILL_PROPERTIES("\4\x08\0\1+")},
    {"CONNECT: a property that is not a will's", MALFORMED, WILL_PROPERTIES("\3\x23\0\1")},

    {"CONNECT: session expiry twice", PROTOCOL, PROPERTIES("\x0a\x11\0\0\0\1\x11\0\0\0\1")},
    {"CONNECT: receive maximum twice", PROTOCOL, PROPERTIES("\6\x21\0\1\x21\0\1")},
    {"CONNECT: receive maximum 0", PROTOCOL, PROPERTIES("\3\x21\0\0")},
    {"CONNECT: maximum packet size twice", PROTOCOL, PROPERTIES("\x0a\x27\0\0\1\0\x27\0\0\1\0")},
    {"CONNECT: maximum packet size 0", PROTOCOL, PROPERTIES("\5\x27\0\0\0\0")},
    {"CONNECT: topic alias maximum twice", PROTOCOL, PROPERTIES("\6\x22\0\1\x22\0\1")},
    {"CONNECT: request response information twice", PROTOCOL, PROPERTIES("\4\x19\0\x19\0")},
    {"CONNECT: request response information above 1", PROTOCOL, PROPERTIES("\2\x19\2")},
    {"CONNECT: request problem information twice", PROTOCOL, PROPERTIES("\4\x17\0\x17\0")},
    {"CONNECT: request problem information above 1", PROTOCOL, PROPERTIES("\2\x17\2")},
    {"CONNECT: authentication method twice", PROTOCOL, PROPERTIES("\x08\x15\0\1m\x15\0\1m")},
    {"CONNECT: authentication data twice", PROTOCOL, PROPERTIES("\x0c\x15\0\1m\x16\0\1d\x16\0\1d")},
    {"CONNECT: authentication data without a method", PROTOCOL, PROPERTIES("\4\x16\0\1d")},
    {"[MQTT5-1.5.7-1] CONNECT: user property whose name is not UTF-8", MALFORMED,
     PROPERTIES("\7\x26\0\1\xff\0\1v")},
    {"[MQTT5-1.5.7-1] CONNECT: user property whose value is not UTF-8", MALFORMED,
     PROPERTIES("\7\x26\0\1n\0\1\xff")},
    {"CONNECT: a property of other packets", MALFORMED, PROPERTIES("\3\x23\0\1")},
    {"CONNECT: an unknown property", MALFORMED, PROPERTIES("\2\x2b\0")},
    {"CONNECT: a property that goes beyond the properties", MALFORMED, PROPERTIES("\2\x21\0")},
    {"CONNECT: properties that go beyond the packet", MALFORMED, PROPERTIES("\x10\x21\0\1")},
    {"[MQTT5-1.5.5-1] CONNECT: length of the properties longer than needed", MALFORMED, PROPERTIES("\x80\0")},
    {"[MQTT5-1.5.5-1] CONNECT: length of the properties of five bytes", MALFORMED,
     PROPERTIES("\x80\x80\x80\x80\1")},
};

#define PUBLISH(properties)    BODY(0x30, "\0\1t" properties "A")
#define SUBSCRIBE(filters)     BODY(0x82, "\0\1\0" filters)
#define UNSUBSCRIBE(filters)   BODY(0xa2, "\0\1\0" filters)
#define DISCONNECT(properties) BODY(0xe0, "\0" properties)

static const struct row packets[] = {
    {"no packet: type 0", MALFORMED, WHOLE("\0\0")},
    {"[MQTT5-1.5.5-1] remaining length of five bytes", MALFORMED, WHOLE("\x30\x80\x80\x80\x80\1")},
    {"[MQTT5-1.5.5-1] remaining length longer than needed: one byte more", MALFORMED, WHOLE("\xc0\x80\0")},
    {"[MQTT5-1.5.5-1] remaining length longer than needed: three more", MALFORMED,
     WHOLE("\x30\x85\x80\x80\0\0\1t\0A")},
    {"a packet above the maximum packet size", REASON_PACKET_TOO_LARGE, WHOLE("\x30\xff\xff\xff\x7f")},
    {"[MQTT5-3.1.0-2] a second CONNECT", PROTOCOL, BODY(0x10, "\0\4MQTT\5\2\0\0\0\0\1x")},
    {"a CONNECT of 3.1.1", PROTOCOL, BODY(0x10, "\0\4MQTT\4\2\0\0\0\1x")},
    {"CONNACK", PROTOCOL, BODY(0x20, "\0\0\0")},
    {"SUBACK", PROTOCOL, BODY(0x90, "\0\1\0\0")},
    {"UNSUBACK", PROTOCOL, BODY(0xb0, "\0\1\0\0")},
    {"PINGRESP", PROTOCOL, BODY(0xd0, "")},
    {"[MQTT5-4.12.0-7] AUTH of a client that has no method", PROTOCOL, BODY(0xf0, "\x18\4\x15\0\1m")},
    {"[MQTT5-3.15.1-1] AUTH: flags", MALFORMED, BODY(0xf1, "\x18\4\x15\0\1m")},

    {"[MQTT5-3.3.1-2] PUBLISH: dup with QoS 0", MALFORMED, BODY(0x38, "\0\1t\0A")},
    {"[MQTT5-3.3.1-4] PUBLISH: QoS 3", MALFORMED, BODY(0x36, "\0\1t\0\1\0A")},
    {"PUBLISH: shorter than a topic", MALFORMED, BODY(0x30, "\0")},
    {"PUBLISH: topic longer than the packet", MALFORMED, BODY(0x30, "\0\5t\0A")},
    {"[MQTT5-3.3.2-1] PUBLISH: no packet id", MALFORMED, BODY(0x32, "\0\1t\0")},
    {"[MQTT5-2.2.1-3] PUBLISH: packet id 0", MALFORMED, BODY(0x32, "\0\1t\0\0\0A")},
    {"PUBLISH: no properties", MALFORMED, BODY(0x32, "\0\1t\0\1")},
    {"PUBLISH: properties longer than the packet", MALFORMED, BODY(0x30, "\0\1t\4\2\0\0")},
    {"[MQTT5-3.3.2-1] [MQTT5-1.5.4-1] PUBLISH: topic that is not UTF-8", MALFORMED,
     BODY(0x30, "\0\2\xc3\x28\0A")},
    {"[MQTT5-1.5.4-1] PUBLISH: topic with a surrogate", MALFORMED, BODY(0x30, "\0\3\xed\xbf\xbf\0A")},
    {"[MQTT5-1.5.4-2] [MQTT5-4.7.3-2] PUBLISH: topic with U+0000", MALFORMED, BODY(0x30, "\0\3a\0b\0A")},
    {"[MQTT5-3.3.2-2] [MQTT5-4.7.0-1] PUBLISH: # in the topic", REASON_TOPIC_NAME_INVALID,
     BODY(0x30, "\0\1#\0A")},
    {"[MQTT5-3.3.2-2] [MQTT5-4.7.0-1] PUBLISH: + in the topic", REASON_TOPIC_NAME_INVALID,
     BODY(0x30, "\0\3a/+\0A")},
    {"[MQTT5-4.7.3-1] PUBLISH: neither topic nor alias", PROTOCOL, BODY(0x30, "\0\0\0A")},
    {"[MQTT5-3.3.2-8] PUBLISH: topic alias 0", REASON_TOPIC_ALIAS_INVALID, PUBLISH("\3\x23\0\0")},
    {"[MQTT5-3.3.2-9] PUBLISH: topic alias above the maximum", REASON_TOPIC_ALIAS_INVALID,
     PUBLISH("\3\x23\0\x21")},
    {"PUBLISH: topic alias that was never set", PROTOCOL, BODY(0x30, "\0\0\3\x23\0\1A")},
    {"PUBLISH: topic alias twice", PROTOCOL, PUBLISH("\6\x23\0\1\x23\0\1")},
    {"[MQTT5-3.3.4-6] PUBLISH: subscription identifier", PROTOCOL, PUBLISH("\2\x0b\1")},
    {"PUBLISH: payload format above 1", PROTOCOL, PUBLISH("\2\1\2")},
    {"PUBLISH: payload format twice", PROTOCOL, PUBLISH("\4\1\0\1\0")},
    {"PUBLISH: message expiry twice", PROTOCOL, PUBLISH("\x0a\2\0\0\0\1\2\0\0\0\1")},
    {"PUBLISH: content type twice", PROTOCOL, PUBLISH("\6\3\0\0\3\0\0")},
    {"[MQTT5-3.3.2-19] PUBLISH: content type that is not UTF-8", MALFORMED, PUBLISH("\4\3\0\1\xff")},
    {"PUBLISH: response topic twice", PROTOCOL, PUBLISH("\x08\x08\0\1r\x08\0\1r")},
    {"[MQTT5-3.3.2-13] PUBLISH: response topic that is not UTF-8", MALFORMED, PUBLISH("\4\x08\0\1\xff")},
    {"[MQTT5-3.3.2-14] PUBLISH: # in the response topic", PROTOCOL, PUBLISH("\4\x08\0\1#")},
    {"[MQTT5-3.3.2-14] PUBLISH: + in the response topic", PROTOCOL, PUBLISH("\6\x08\0\3r/+")},
    {"[MQTT5-4.7.3-1] PUBLISH: empty response topic", PROTOCOL, PUBLISH("\3\x08\0\0")},
    {"PUBLISH: correlation data twice", PROTOCOL, PUBLISH("\6\x09\0\0\x09\0\0")},
    {"[MQTT5-1.5.7-1] PUBLISH: user property whose name has U+0000", MALFORMED, PUBLISH("\7\x26\0\1\0\0\1v")},
    {"[MQTT5-1.5.7-1] PUBLISH: user property whose value is not UTF-8", MALFORMED,
     PUBLISH("\7\x26\0\1n\0\1\xff")},
    {"PUBLISH: a property of other packets", MALFORMED, PUBLISH("\5\x11\0\0\0\1")},
    {"PUBLISH: will delay", MALFORMED, PUBLISH("\5\x18\0\0\0\1")},
    {"PUBLISH: an unknown property", MALFORMED, PUBLISH("\2\x7f\0")},
    {"[MQTT5-1.5.5-1] PUBLISH: property of two bytes id", MALFORMED, PUBLISH("\3\x81\0\0")},
    {"[MQTT5-1.5.5-1] PUBLISH: length of the properties longer than needed", MALFORMED, PUBLISH("\x80\0")},

    {"[MQTT5-2.1.3-1] PUBACK: flags", MALFORMED, BODY(0x41, "\0\1")},
    {"PUBACK: no packet id", MALFORMED, BODY(0x40, "\0")},
    {"PUBACK: packet id 0", MALFORMED, BODY(0x40, "\0\0")},
    {"[MQTT5-3.4.2-1] PUBACK: a reason that it may not have", MALFORMED, BODY(0x40, "\0\1\x92")},
    {"PUBACK: bytes behind the end", MALFORMED, BODY(0x40, "\0\1\0\0\0")},
    {"PUBACK: reason string twice", PROTOCOL, BODY(0x40, "\0\1\0\x08\x1f\0\1r\x1f\0\1r")},
    {"PUBACK: a property of other packets", MALFORMED, BODY(0x40, "\0\1\0\3\x23\0\1")},
    {"[MQTT5-2.1.3-1] PUBREC: flags", MALFORMED, BODY(0x52, "\0\1")},
    {"PUBREC: packet id 0", MALFORMED, BODY(0x50, "\0\0")},
    {"[MQTT5-3.5.2-1] PUBREC: a reason that it may not have", MALFORMED, BODY(0x50, "\0\1\1")},
    {"PUBREC: reason string twice", PROTOCOL, BODY(0x50, "\0\1\0\x08\x1f\0\1r\x1f\0\1r")},
    {"[MQTT5-3.6.1-1] PUBREL: no flags", MALFORMED, BODY(0x60, "\0\1")},
    {"[MQTT5-3.6.1-1] PUBREL: other flags", MALFORMED, BODY(0x6a, "\0\1")},
    {"PUBREL: packet id 0", MALFORMED, BODY(0x62, "\0\0")},
    {"[MQTT5-3.6.2-1] PUBREL: a reason that it may not have", MALFORMED, BODY(0x62, "\0\1\x80")},
    {"PUBREL: reason string twice", PROTOCOL, BODY(0x62, "\0\1\0\x08\x1f\0\1r\x1f\0\1r")},
    {"[MQTT5-2.1.3-1] PUBCOMP: flags", MALFORMED, BODY(0x78, "\0\1")},
    {"PUBCOMP: packet id 0", MALFORMED, BODY(0x70, "\0\0")},
    {"[MQTT5-3.7.2-1] PUBCOMP: a reason that it may not have", MALFORMED, BODY(0x70, "\0\1\x80")},
    {"PUBCOMP: reason string twice", PROTOCOL, BODY(0x70, "\0\1\0\x08\x1f\0\1r\x1f\0\1r")},

    {"[MQTT5-3.8.1-1] SUBSCRIBE: flags", MALFORMED, BODY(0x80, "\0\1\0\0\1t\0")},
    {"SUBSCRIBE: packet id 0", MALFORMED, BODY(0x82, "\0\0\0\0\1t\0")},
    {"[MQTT5-3.8.3-2] SUBSCRIBE: no filter", PROTOCOL, SUBSCRIBE("")},
    {"SUBSCRIBE: no options", MALFORMED, SUBSCRIBE("\0\1t")},
    {"SUBSCRIBE: filter longer than the packet", MALFORMED, SUBSCRIBE("\0\5t\0")},
    {"[MQTT5-3.8.3-5] SUBSCRIBE: reserved option", MALFORMED, SUBSCRIBE("\0\1t\x40")},
    {"[MQTT5-3.8.3-5] SUBSCRIBE: the other reserved option, of the second filter", MALFORMED,
     SUBSCRIBE("\0\1t\0\0\1u\x80")},
    {"SUBSCRIBE: QoS 3", PROTOCOL, SUBSCRIBE("\0\1t\3")},
    {"SUBSCRIBE: retain handling 3", PROTOCOL, SUBSCRIBE("\0\1t\x30")},
    {"[MQTT5-3.8.3-1] SUBSCRIBE: filter that is not UTF-8", MALFORMED, SUBSCRIBE("\0\1\xff\0")},
    {"[MQTT5-4.7.3-2] SUBSCRIBE: filter with U+0000", MALFORMED, SUBSCRIBE("\0\1\0\0")},
    {"[MQTT5-4.7.3-1] SUBSCRIBE: empty filter", REASON_TOPIC_FILTER_INVALID, SUBSCRIBE("\0\0\0")},
    {"[MQTT5-4.7.1-1] SUBSCRIBE: # that is not last", REASON_TOPIC_FILTER_INVALID, SUBSCRIBE("\0\5a/#/b\0")},
    {"[MQTT5-4.7.1-1] SUBSCRIBE: # that is not alone", REASON_TOPIC_FILTER_INVALID, SUBSCRIBE("\0\2a#\0")},
    {"[MQTT5-4.7.1-2] SUBSCRIBE: + that is not alone", REASON_TOPIC_FILTER_INVALID,
     SUBSCRIBE("\0\1t\0\0\4a/b+\0")},
    {"SUBSCRIBE: subscription identifier 0", PROTOCOL, BODY(0x82, "\0\1\2\x0b\0\0\1t\0")},
    {"SUBSCRIBE: subscription identifier twice", PROTOCOL, BODY(0x82, "\0\1\4\x0b\1\x0b\2\0\1t\0")},
    {"[MQTT5-1.5.5-1] SUBSCRIBE: subscription identifier longer than needed", MALFORMED,
     BODY(0x82, "\0\1\3\x0b\x81\0\0\1t\0")},
    {"SUBSCRIBE: a property of other packets", MALFORMED, BODY(0x82, "\0\1\3\x23\0\1\0\1t\0")},
    {"[MQTT5-3.10.1-1] UNSUBSCRIBE: flags", MALFORMED, BODY(0xa0, "\0\1\0\0\1t")},
    {"UNSUBSCRIBE: packet id 0", MALFORMED, BODY(0xa2, "\0\0\0\0\1t")},
    {"[MQTT5-3.10.3-2] UNSUBSCRIBE: no filter", PROTOCOL, UNSUBSCRIBE("")},
    {"[MQTT5-3.10.3-1] UNSUBSCRIBE: filter that is not UTF-8", MALFORMED, UNSUBSCRIBE("\0\1\xff")},
    {"[MQTT5-4.7.3-1] UNSUBSCRIBE: empty filter", REASON_TOPIC_FILTER_INVALID, UNSUBSCRIBE("\0\0")},
    {"[MQTT5-4.7.1-1] UNSUBSCRIBE: # that is not last", REASON_TOPIC_FILTER_INVALID, UNSUBSCRIBE("\0\3#/a")},
    {"UNSUBSCRIBE: subscription identifier", MALFORMED, BODY(0xa2, "\0\1\2\x0b\1\0\1t")},

    {"[MQTT5-2.1.3-1] PINGREQ: flags", MALFORMED, BODY(0xc1, "")},
    {"PINGREQ: a body", MALFORMED, BODY(0xc0, "\0")},
    {"[MQTT5-3.14.1-1] DISCONNECT: flags", MALFORMED, BODY(0xe1, "")},
    {"[MQTT5-3.14.2-1] DISCONNECT: a reason that it may not have", MALFORMED, BODY(0xe0, "\1")},
    {"DISCONNECT: bytes behind the end", MALFORMED, DISCONNECT("\0\0")},
    {"DISCONNECT: a session expiry where there was none", PROTOCOL, DISCONNECT("\5\x11\0\0\0\1")},
    {"DISCONNECT: session expiry twice", PROTOCOL, DISCONNECT("\x0a\x11\0\0\0\0\x11\0\0\0\0")},
    {"DISCONNECT: reason string twice", PROTOCOL, DISCONNECT("\x08\x1f\0\1r\x1f\0\1r")},
    {"DISCONNECT: a property of other packets", MALFORMED, DISCONNECT("\3\x23\0\1")},
};

static struct slice packet_of(const struct row *row, struct buf *out) {
  if (!row->first) return row->bytes;
  assert_true(row->bytes.len < 128);
  buf_add_byte(out, row->first);
  buf_add_byte(out, (uint8_t)row->bytes.len);
  buf_add_slice(out, row->bytes);
  return buf_slice(out);
}

static void told_in_connack(void **state) {
  const struct row *row = *state;
  struct harness *h = harness_new(NULL);
  struct buf packet = BUF_INIT;
  expect_refused(open_5(h, packet_of(row, &packet)), row->reason);
  assert_null(harness_session(h, "x"));
  buf_release(&packet);
  harness_free(h);
}

static void told_in_disconnect(void **state) {
  const struct row *row = *state;
  struct harness *h = harness_new(NULL);
  struct buf packet = BUF_INIT;
  struct slice bytes = packet_of(row, &packet);
  expect_violation_5(h, bytes, row->reason);
  assert_int_equal(h->shard->stats.messages_published, 1); // the will
  struct peer *p = peer_connect_5(h, "x", true, "");
  for (size_t i = 0; i < bytes.len && !peer_is_closed(p); i++) // byte by byte it is the same
    peer_send(p, slice_of(bytes.ptr + i, 1));
  peer_expect_disconnect(p, row->reason);
  buf_release(&packet);
  harness_free(h);
}

static void add_rows(struct CMUnitTest *tests, const struct row *rows, size_t count,
                     CMUnitTestFunction test) {
  for (size_t i = 0; i < count; i++)
    tests[i] = (struct CMUnitTest){rows[i].name, test, NULL, NULL, (void *)(uintptr_t)&rows[i]};
}

int main(void) {
  struct CMUnitTest tests[COUNT(connects) + COUNT(packets)];
  add_rows(tests, connects, COUNT(connects), told_in_connack);
  add_rows(tests + COUNT(connects), packets, COUNT(packets), told_in_disconnect);
  return _cmocka_run_group_tests("[MQTT5-4.13.1-1] malformed packets and protocol errors", tests,
                                 COUNT(tests), NULL, NULL);
}
