// MQTT 5 packets besides their properties: what the decoder accepts and refuses, and what the encoder writes.
#include "packet_feed.h"
#include "packet_places.h"

#define CONNECT_5(length, flags) "\x10" length "\0\4MQTT\5" flags "\0\36\0\0\2id"

// Refused input: a row is a test.
struct refused {
  const char *name;
  enum packet_error error;
  struct slice in;
};

static const struct refused refused[] = {
    // Fixed header
    {"[MQTT5-2.1.3-1] reserved flags: AUTH", PACKET_BAD_FLAGS, BYTES("\xf1\0")},
    {"[MQTT5-2.1.3-1] reserved flags: DISCONNECT", PACKET_BAD_FLAGS, BYTES("\xe4\0")},
    {"[MQTT5-3.6.1-1] reserved flags: PUBREL with dup", PACKET_BAD_FLAGS, BYTES("\x6a\x02\0\1")},
    {"[MQTT5-3.8.1-1] reserved flags: SUBSCRIBE with dup", PACKET_BAD_FLAGS, BYTES("\x8a\x07\0\1\0\0\1a\0")},
    {"[MQTT5-3.10.1-1] reserved flags: UNSUBSCRIBE with dup", PACKET_BAD_FLAGS, BYTES("\xaa\x06\0\1\0\0\1a")},
    {"[MQTT5-3.3.1-4] QoS 3", PACKET_BAD_QOS, BYTES("\x36\x06\0\1t\0\1\0")},
    {"[MQTT5-3.3.1-2] dup with QoS 0", PACKET_BAD_QOS, BYTES("\x38\x04\0\1t\0")},
    {"type 0", PACKET_BAD_TYPE, BYTES("\0\0")},
    {"[MQTT5-1.5.5-1] a remaining length in two bytes that fits into one", PACKET_MALFORMED_LENGTH,
     BYTES("\xc0\x80\0")},
    {"[MQTT5-1.5.5-1] a remaining length in four bytes that fits into one", PACKET_MALFORMED_LENGTH,
     BYTES("\x30\x84\x80\x80\0\0\1t\0")},
    {"[MQTT5-1.5.5-1] the remaining length of a CONNECT", PACKET_MALFORMED_LENGTH,
     BYTES("\x10\x8f\0\0\4MQTT\5\2\0\36\0\0\2id")},
    {"a remaining length of five bytes", PACKET_MALFORMED_LENGTH, BYTES("\x30\xff\xff\xff\xff\1")},
    {"a body in PINGREQ", PACKET_MALFORMED_LENGTH, BYTES("\xc0\1\0")},
    {"a body in PINGRESP", PACKET_MALFORMED_LENGTH, BYTES("\xd0\1\0")},

    // CONNECT
    {"[MQTT5-3.1.2-3] the reserved flag", PACKET_BAD_CONNECT_FLAGS, BYTES(CONNECT_5("\x0f", "\3"))},
    {"[MQTT5-3.1.2-11] will QoS without will", PACKET_BAD_WILL, BYTES(CONNECT_5("\x0f", "\x0a"))},
    {"[MQTT5-3.1.2-13] will retain without will", PACKET_BAD_WILL, BYTES(CONNECT_5("\x0f", "\x22"))},
    {"[MQTT5-3.1.2-12] will QoS 3", PACKET_BAD_QOS, BYTES(CONNECT_5("\x16", "\x1e") "\0\0\1t\0\1m")},
    {"[MQTT5-3.1.2-9] no will where one is announced", PACKET_MALFORMED_LENGTH,
     BYTES(CONNECT_5("\x0f", "\6"))},
    {"a will without a length of properties", PACKET_MALFORMED_LENGTH,
     BYTES(CONNECT_5("\x15", "\6") "\0\1t\0\1m")},
    {"a will topic that is empty", PACKET_BAD_TOPIC, BYTES(CONNECT_5("\x15", "\6") "\0\0\0\0\1m")},
    {"[MQTT5-3.1.3-11] a will topic that is not UTF-8", PACKET_BAD_STRING,
     BYTES(CONNECT_5("\x16", "\6") "\0\0\1\xff\0\1m")},
    {"[MQTT5-3.1.2-16] a user name that was not announced", PACKET_MALFORMED_LENGTH,
     BYTES(CONNECT_5("\x12", "\2") "\0\1u")},
    {"[MQTT5-3.1.2-19] no password where one is announced", PACKET_MALFORMED_LENGTH,
     BYTES(CONNECT_5("\x0f", "\x42"))},
    {"a CONNECT that ends before its properties", PACKET_MALFORMED_LENGTH,
     BYTES("\x10\x0a\0\4MQTT\5\2\0\36")},
    {"[MQTT5-3.1.3-3] a CONNECT that ends before its client id", PACKET_MALFORMED_LENGTH,
     BYTES("\x10\x0b\0\4MQTT\5\2\0\36\0")},

    // CONNACK
    {"CONNACK without properties", PACKET_MALFORMED_LENGTH, BYTES("\x20\2\0\0")},
    {"CONNACK with more than properties", PACKET_MALFORMED_LENGTH, BYTES("\x20\4\0\0\0\0")},
    {"[MQTT5-3.2.2-1] reserved acknowledge flags", PACKET_BAD_CODE, BYTES("\x20\3\2\0\0")},
    {"[MQTT5-3.2.2-6] session present with a refusal", PACKET_BAD_CODE, BYTES("\x20\3\1\x87\0")},
    {"[MQTT5-3.2.2-8] a return code of 3.1.1", PACKET_BAD_CODE, BYTES("\x20\3\0\5\0")},

    // PUBLISH
    {"neither topic nor alias", PACKET_NO_TOPIC, BYTES("\x30\3\0\0\0")},
    {"neither topic nor alias, but other properties", PACKET_NO_TOPIC, BYTES("\x30\x05\0\0\2\1\1")},
    {"[MQTT5-3.3.2-2] a wildcard in the topic", PACKET_BAD_TOPIC, BYTES("\x30\x06\0\3a/#\0")},
    {"[MQTT5-3.3.2-1] a topic that is not UTF-8", PACKET_BAD_STRING, BYTES("\x30\x04\0\1\xff\0")},
    {"[MQTT5-1.5.4-2] U+0000 in the topic", PACKET_BAD_STRING, BYTES("\x30\x05\0\2a\0\0")},
    {"[MQTT5-2.2.1-2] id 0: PUBLISH of QoS 1", PACKET_BAD_ID, BYTES("\x32\x06\0\1t\0\0\0")},
    {"a PUBLISH that ends before its id", PACKET_MALFORMED_LENGTH, BYTES("\x32\4\0\1t\0")},
    {"a PUBLISH that ends before its properties", PACKET_MALFORMED_LENGTH, BYTES("\x32\5\0\1t\0\1")},

    // Acks
    {"[MQTT5-2.2.1-2] id 0: PUBACK", PACKET_BAD_ID, BYTES("\x40\2\0\0")},
    {"[MQTT5-2.2.1-2] id 0: PUBREC with a reason", PACKET_BAD_ID, BYTES("\x50\3\0\0\x10")},
    {"half an id", PACKET_MALFORMED_LENGTH, BYTES("\x62\1\0")},
    {"more than properties: PUBACK", PACKET_MALFORMED_LENGTH, BYTES("\x40\5\0\1\0\0\0")},
    {"more than properties: PUBCOMP", PACKET_MALFORMED_LENGTH, BYTES("\x70\5\0\1\0\0\0")},
    {"fewer properties than announced", PACKET_MALFORMED_LENGTH, BYTES("\x50\4\0\1\0\1")},

    // Lists
    {"[MQTT5-3.8.3-2] SUBSCRIBE without filters", PACKET_EMPTY_LIST, BYTES("\x82\3\0\1\0")},
    {"[MQTT5-3.10.3-2] UNSUBSCRIBE without filters", PACKET_EMPTY_LIST, BYTES("\xa2\3\0\1\0")},
    {"[MQTT5 2.2.1] id 0: SUBSCRIBE", PACKET_BAD_ID, BYTES("\x82\7\0\0\0\0\1a\0")},
    {"[MQTT5 2.2.1] id 0: UNSUBSCRIBE", PACKET_BAD_ID, BYTES("\xa2\6\0\0\0\0\1a")},
    {"SUBSCRIBE without a length of properties", PACKET_MALFORMED_LENGTH, BYTES("\x82\3\0\1\1")},
    {"a filter without options", PACKET_MALFORMED_LENGTH, BYTES("\x82\6\0\1\0\0\1a")},
    {"[MQTT5-4.7.1-1] a filter that goes on after #", PACKET_BAD_FILTER, BYTES("\x82\x09\0\1\0\0\3#/a\0")},
    {"[MQTT5-4.7.3-1] an empty filter", PACKET_BAD_FILTER, BYTES("\x82\6\0\1\0\0\0\0")},
    {"[MQTT5-3.8.3-1] a filter that is not UTF-8", PACKET_BAD_STRING, BYTES("\x82\7\0\1\0\0\1\xff\0")},
    {"[MQTT5-3.10.3-1] a filter that is not UTF-8: UNSUBSCRIBE", PACKET_BAD_STRING,
     BYTES("\xa2\6\0\1\0\0\1\xff")},
    {"SUBACK without codes", PACKET_MALFORMED_LENGTH, BYTES("\x90\3\0\1\0")},
    {"SUBACK with properties and no codes", PACKET_EMPTY_LIST, BYTES("\x90\x08\0\1\5\x26\0\0\0\0")},
    {"UNSUBACK of 3.1.1", PACKET_MALFORMED_LENGTH, BYTES("\xb0\2\0\1")},
    {"UNSUBACK with properties and no codes", PACKET_EMPTY_LIST, BYTES("\xb0\x08\0\1\5\x26\0\0\0\0")},

    // DISCONNECT and AUTH
    {"more than properties: DISCONNECT", PACKET_MALFORMED_LENGTH, BYTES("\xe0\3\0\0\0")},
    {"more than properties: AUTH", PACKET_MALFORMED_LENGTH, BYTES("\xf0\3\x18\0\0")},
};

static void test_refused(void **state) {
  const struct refused *row = *state;
  struct packet p;
  uint8_t *copy;
  // A CONNECT says itself how it is read.
  uint8_t version = row->in.ptr[0] == 0x10 ? MQTT_3_1_1 : MQTT_5;
  assert_int_equal(feed(&p, row->in, version, NO_LIMIT, &copy), row->error);
  mem_free(copy);
}

// --- what is accepted ---

static uint8_t *decode_whole(struct packet *p, struct slice in) {
  uint8_t *copy;
  assert_int_equal(feed(p, in, MQTT_5, NO_LIMIT, &copy), in.len);
  return copy;
}

static void assert_encodes(const struct packet *p, struct slice expected) {
  struct buf out = BUF_INIT;
  packet_encode(p, MQTT_5, &out);
  assert_true(slice_eq(buf_slice(&out), expected));
  buf_release(&out);
}

#define assert_slice(s, literal) assert_true(slice_eq(s, SLICE(literal)))

static void test_connect(void **state) {
  (void)state;
  static const struct slice in =
      BYTES("\x10\x34\0\4MQTT\5\xee\0\x1e\x05\x11\0\0\0\x3c\0\2id\x0c\x18\0\0\0\5\1\1\x26\0\0\0\0"
            "\0\1w\0\4gone\0\4user\0\2pw");
  struct packet p;
  uint8_t *copy;
  assert_int_equal(feed(&p, in, MQTT_3_1_1, NO_LIMIT, &copy), in.len);
  const struct packet_connect *c = &p.connect;
  assert_int_equal(c->version, MQTT_5);
  assert_true(c->clean_session && c->has_will && c->has_username && c->has_password);
  assert_int_equal(packet_property_number(&c->properties, PROPERTY_SESSION_EXPIRY_INTERVAL, 0), 60);
  assert_slice(c->client_id, "id");
  assert_int_equal(packet_property_number(&c->will.properties, PROPERTY_WILL_DELAY_INTERVAL, 0), 5);
  assert_int_equal(packet_property_number(&c->will.properties, PROPERTY_PAYLOAD_FORMAT_INDICATOR, 0), 1);
  assert_true(packet_has_property(&c->will.properties, PROPERTY_USER_PROPERTY));
  assert_slice(c->will.topic, "w");
  assert_slice(c->will.payload, "gone");
  assert_int_equal(c->will.qos, 1);
  assert_true(c->will.retain);
  assert_slice(c->username, "user");
  assert_slice(c->password, "pw");
  assert_encodes(&p, in);
  mem_free(copy);
}

static void test_password_alone(void **state) {
  (void)state;
  struct packet p;
  struct slice in = SLICE(CONNECT_5("\x13", "\x42") "\0\2pw");
  uint8_t *copy = decode_whole(&p, in);
  assert_false(p.connect.has_username);
  assert_slice(p.connect.password, "pw");
  assert_encodes(&p, in);
  mem_free(copy);
}

// The same CONNECT whichever version the connection has.
static void test_connect_any_version(void **state) {
  (void)state;
  struct slice in = SLICE(CONNECT_5("\x0f", "\2"));
  for (uint8_t version = MQTT_3_1; version <= MQTT_5; version++) {
    struct packet p;
    uint8_t *copy;
    assert_int_equal(feed(&p, in, version, NO_LIMIT, &copy), in.len);
    assert_int_equal(p.connect.version, MQTT_5);
    mem_free(copy);
  }
}

static void test_publish(void **state) {
  (void)state;
  struct packet p;
  struct slice in = SLICE("\x3d\x0f\0\1t\0\7\7\1\1\3\0\2tx+#");
  uint8_t *copy = decode_whole(&p, in);
  assert_int_equal(p.id, 7);
  assert_true(p.publish.dup && p.publish.message.retain);
  assert_int_equal(p.publish.message.qos, 2);
  assert_slice(p.publish.message.properties.raw, "\1\1\3\0\2tx");
  assert_slice(p.publish.message.payload, "+#");
  assert_encodes(&p, in);
  mem_free(copy);
}

static void test_aliases(void **state) {
  (void)state;
  struct packet p;
  struct slice without = SLICE("\x30\x07\0\0\3\x23\0\1x"), with = SLICE("\x30\x08\0\1t\3\x23\0\1x");
  uint8_t *copy = decode_whole(&p, without);
  assert_int_equal(p.publish.message.topic.len, 0);
  assert_int_equal(packet_property_number(&p.publish.message.properties, PROPERTY_TOPIC_ALIAS, 0), 1);
  assert_encodes(&p, without);
  mem_free(copy);
  copy = decode_whole(&p, with);
  assert_slice(p.publish.message.topic, "t");
  assert_encodes(&p, with);
  mem_free(copy);
}

// Reason and properties may be left out from the end: every length, and the shortest that is written.
static void test_ack_lengths(void **state) {
  (void)state;
  static const struct {
    struct slice rest, shortest;
    uint8_t reason;
  } rows[] = {
      {BYTES("\0\1"), BYTES("\0\1"), 0},
      {BYTES("\0\1\0"), BYTES("\0\1"), 0},
      {BYTES("\0\1\0\0"), BYTES("\0\1"), 0},
      {BYTES("\0\1\x92"), BYTES("\0\1\x92"), 0x92},
      {BYTES("\0\1\x92\0"), BYTES("\0\1\x92"), 0x92},
      {BYTES("\0\1\0\4\x1f\0\1w"), BYTES("\0\1\0\4\x1f\0\1w"), 0},
      {BYTES("\0\1\x92\4\x1f\0\1w"), BYTES("\0\1\x92\4\x1f\0\1w"), 0x92},
  };
  static const uint8_t first[] = {0x40, 0x50, 0x62, 0x70};
  for (size_t t = 0; t < sizeof first; t++) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
      struct buf in = BUF_INIT, out = BUF_INIT;
      uint8_t reason = rows[i].reason && t < 2 ? 0x97 : rows[i].reason;
      buf_add(&in, (uint8_t[]){first[t], (uint8_t)rows[i].rest.len}, 2);
      buf_add_slice(&in, rows[i].rest);
      buf_add(&out, (uint8_t[]){first[t], (uint8_t)rows[i].shortest.len}, 2);
      buf_add_slice(&out, rows[i].shortest);
      if (reason) in.ptr[4] = out.ptr[4] = reason;
      struct packet p;
      uint8_t *copy = decode_whole(&p, buf_slice(&in));
      assert_int_equal(p.type, first[t] >> 4);
      assert_int_equal(p.id, 1);
      assert_int_equal(p.ack.reason, reason);
      assert_encodes(&p, buf_slice(&out));
      mem_free(copy);
      buf_release(&in);
      buf_release(&out);
    }
  }
}

static void test_leave_lengths(void **state) {
  (void)state;
  static const struct {
    struct slice in, shortest;
    uint8_t reason;
  } rows[] = {
      {BYTES("\xe0\0"), BYTES("\xe0\0"), 0},
      {BYTES("\xe0\1\0"), BYTES("\xe0\0"), 0},
      {BYTES("\xe0\1\4"), BYTES("\xe0\1\4"), 4},
      {BYTES("\xe0\2\4\0"), BYTES("\xe0\1\4"), 4},
      {BYTES("\xe0\7\0\5\x11\0\0\0\1"), BYTES("\xe0\7\0\5\x11\0\0\0\1"), 0},
      {BYTES("\xf0\0"), BYTES("\xf0\0"), 0},
      {BYTES("\xf0\2\x19\0"), BYTES("\xf0\1\x19"), 0x19},
      {BYTES("\xf0\x0a\x18\x08\x15\0\1m\x16\0\1d"), BYTES("\xf0\x0a\x18\x08\x15\0\1m\x16\0\1d"), 0x18},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct packet p;
    uint8_t *copy = decode_whole(&p, rows[i].in);
    assert_int_equal(p.ack.reason, rows[i].reason);
    assert_int_equal(p.id, 0);
    assert_encodes(&p, rows[i].shortest);
    mem_free(copy);
  }
}

// The specification's table 2-6, as letters of places. 0 is told as QoS 0 in SUBACK.
static void test_reasons(void **state) {
  (void)state;
  static const char *const where[256] = {
      [0x00] = "carlosuDX", [0x01] = "s",      [0x02] = "s",  [0x04] = "D",      [0x10] = "ar",
      [0x11] = "u",         [0x18] = "X",      [0x19] = "X",  [0x80] = "carsuD", [0x81] = "cD",
      [0x82] = "cD",        [0x83] = "carsuD", [0x84] = "c",  [0x85] = "c",      [0x86] = "c",
      [0x87] = "carsuD",    [0x88] = "c",      [0x89] = "cD", [0x8a] = "c",      [0x8b] = "D",
      [0x8c] = "cD",        [0x8d] = "D",      [0x8e] = "D",  [0x8f] = "suD",    [0x90] = "carD",
      [0x91] = "arsu",      [0x92] = "lo",     [0x93] = "D",  [0x94] = "D",      [0x95] = "cD",
      [0x96] = "D",         [0x97] = "carsD",  [0x98] = "D",  [0x99] = "carD",   [0x9a] = "cD",
      [0x9b] = "cD",        [0x9c] = "cD",     [0x9d] = "cD", [0x9e] = "sD",     [0x9f] = "cD",
      [0xa0] = "D",         [0xa1] = "sD",     [0xa2] = "sD",
  };
  static const struct {
    char letter;
    struct slice in;
    size_t at; // where the reason stands
  } rows[] = {
      {'c', BYTES("\x20\3\0\0\0"), 3},   {'a', BYTES("\x40\3\0\1\0"), 4}, {'r', BYTES("\x50\3\0\1\0"), 4},
      {'l', BYTES("\x62\3\0\1\0"), 4},   {'o', BYTES("\x70\3\0\1\0"), 4}, {'s', BYTES("\x90\5\0\1\0\0\0"), 6},
      {'u', BYTES("\xb0\4\0\1\0\0"), 5}, {'D', BYTES("\xe0\1\0"), 2},     {'X', BYTES("\xf0\1\0"), 2},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    for (unsigned reason = 0; reason < 256; reason++) {
      bool may = where[reason] && strchr(where[reason], rows[i].letter);
      uint8_t bytes[8], *copy;
      struct packet p;
      memcpy(bytes, rows[i].in.ptr, rows[i].in.len);
      bytes[rows[i].at] = (uint8_t)reason;
      ssize_t n = feed(&p, slice_of(bytes, rows[i].in.len), MQTT_5, NO_LIMIT, &copy);
      assert_int_equal(n, may ? (ssize_t)rows[i].in.len : PACKET_BAD_CODE);
      assert_int_equal(packet_may_have_reason(bytes[0] >> 4, (uint8_t)reason), may);
      mem_free(copy);
    }
  }
}

static void test_no_reasons(void **state) {
  (void)state;
  static const uint8_t without[] = {PACKET_CONNECT, PACKET_PUBLISH,     PACKET_SUBSCRIBE,
                                    PACKET_PINGREQ, PACKET_UNSUBSCRIBE, PACKET_PINGRESP};
  for (size_t i = 0; i < sizeof without; i++)
    for (unsigned reason = 0; reason < 256; reason++)
      assert_false(packet_may_have_reason(without[i], (uint8_t)reason));
}

static void test_options(void **state) {
  (void)state;
  for (unsigned options = 0; options < 256; options++) {
    uint8_t bytes[] = {0x82, 7, 0, 1, 0, 0, 1, 'a', (uint8_t)options}, *copy;
    ssize_t expected = (options & 3) == 3 || (options & 0x30) == 0x30 ? PACKET_BAD_VALUE : 9;
    if (options & 0xc0 && (options & 3) != 3) expected = PACKET_BAD_OPTIONS;
    struct packet p;
    assert_int_equal(feed(&p, slice_of(bytes, sizeof bytes), MQTT_5, NO_LIMIT, &copy), expected);
    if (expected > 0) {
      struct slice rest = p.subscribe.list;
      struct packet_subscription s;
      assert_true(packet_next_subscription(&rest, MQTT_5, &s));
      assert_int_equal(s.options, options);
      assert_encodes(&p, slice_of(bytes, sizeof bytes));
    }
    mem_free(copy);
    // Before MQTT 5 there is only a QoS.
    uint8_t before[] = {0x82, 6, 0, 1, 0, 1, 'a', (uint8_t)options};
    ssize_t n = packet_decode(&p, slice_of(before, sizeof before), MQTT_3_1_1, NO_LIMIT);
    assert_int_equal(n, options <= 2 ? 8 : PACKET_BAD_QOS);
  }
}

static void test_lists(void **state) {
  (void)state;
  static const struct slice lists[] = {
      BYTES("\x82\x0f\0\5\2\x0b\7\0\1a\x2e\0\3b/+\1"),
      BYTES("\xa2\x0a\0\5\0\0\1a\0\2/#"),
      BYTES("\x90\x06\0\5\0\0\1\x87"),
      BYTES("\xb0\x05\0\5\0\0\x11"),
  };
  static const uint32_t counts[] = {2, 2, 3, 2};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    struct packet p;
    uint8_t *copy = decode_whole(&p, lists[i]);
    assert_int_equal(p.id, 5);
    assert_int_equal(p.subscribe.count, counts[i]);
    assert_encodes(&p, lists[i]);
    mem_free(copy);
  }
}

// What an older version does not have is not there in its packets.
static void test_not_before_5(void **state) {
  (void)state;
  struct packet_properties properties = packet_properties_of(SLICE("\x1f\0\3why"));
  const struct {
    struct packet p;
    struct slice bytes;
  } rows[] = {
      {{.type = PACKET_PUBACK, .id = 1, .ack = {0x97, properties}}, BYTES("\x40\2\0\1")},
      {{.type = PACKET_DISCONNECT, .ack = {0x8b, properties}}, BYTES("\xe0\0")},
      {{.type = PACKET_CONNACK, .connack = {.properties = properties}}, BYTES("\x20\2\0\0")},
      {{.type = PACKET_UNSUBACK, .id = 1, .unsuback = {1, SLICE("\0"), properties}}, BYTES("\xb0\2\0\1")},
      {{.type = PACKET_SUBACK, .id = 1, .suback = {1, SLICE("\1"), properties}}, BYTES("\x90\3\0\1\1")},
      {{.type = PACKET_PUBLISH, .publish.message = {SLICE("t"), SLICE("x"), properties, 0, false}},
       BYTES("\x30\4\0\1tx")},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    for (uint8_t version = MQTT_3_1; version <= MQTT_3_1_1; version++) {
      struct buf out = BUF_INIT;
      packet_encode(&rows[i].p, version, &out);
      assert_true(slice_eq(buf_slice(&out), rows[i].bytes));
      buf_release(&out);
    }
  }
}

static void test_publish_size(void **state) {
  (void)state;
  static const size_t lengths[] = {0, 1, 127, 128, 16383, 16384};
  for (uint8_t version = MQTT_3_1; version <= MQTT_5; version++) {
    for (size_t i = 0; i < 6 * 6 * 3; i++) {
      size_t properties = lengths[i % 6], payload = lengths[i / 6 % 6];
      uint8_t qos = (uint8_t)(i / 36), out[64];
      size_t header = packet_put_publish(out, packet_publish_flags(qos, false, false), 1, SLICE("topic"),
                                         properties, payload, version);
      assert_true(header <= PACKET_PUBLISH_HEADER_MAX + 5);
      size_t size = packet_publish_size(qos, 5, properties, payload, version);
      assert_int_equal(size, header + (version == MQTT_5 ? properties : 0) + payload);
      assert_int_equal(packet_peek_size(slice_of(out, header)), size);
    }
  }
}

// [MQTT5 4.13] What a peer is told.
static void test_error_reasons(void **state) {
  (void)state;
  static const uint8_t reasons[] = {
      [-PACKET_MALFORMED_LENGTH] = 0x81,  [-PACKET_TOO_LARGE] = 0x95,         [-PACKET_BAD_TYPE] = 0x81,
      [-PACKET_BAD_FLAGS] = 0x81,         [-PACKET_BAD_QOS] = 0x81,           [-PACKET_BAD_ID] = 0x81,
      [-PACKET_BAD_STRING] = 0x81,        [-PACKET_BAD_TOPIC] = 0x90,         [-PACKET_BAD_FILTER] = 0x8f,
      [-PACKET_BAD_PROTOCOL] = 0x84,      [-PACKET_BAD_CONNECT_FLAGS] = 0x81, [-PACKET_BAD_WILL] = 0x81,
      [-PACKET_EMPTY_LIST] = 0x82,        [-PACKET_BAD_CODE] = 0x81,          [-PACKET_BAD_PROPERTY] = 0x81,
      [-PACKET_REPEATED_PROPERTY] = 0x82, [-PACKET_BAD_VALUE] = 0x82,         [-PACKET_BAD_ALIAS] = 0x94,
      [-PACKET_NO_TOPIC] = 0x82,          [-PACKET_BAD_OPTIONS] = 0x81,
  };
  for (int error = 1; error < (int)(sizeof reasons / sizeof *reasons); error++) {
    assert_int_equal(packet_error_reason(-error), reasons[error]);
    assert_true(packet_may_have_reason(PACKET_DISCONNECT, reasons[error]) || reasons[error] == 0x84);
  }
}

static const struct CMUnitTest accepted[] = {
    {"[MQTT5-3.1.3-1] CONNECT with everything", test_connect, NULL, NULL, NULL},
    {"CONNECT with a password and no user name", test_password_alone, NULL, NULL, NULL},
    {"CONNECT says its version itself", test_connect_any_version, NULL, NULL, NULL},
    {"PUBLISH with properties", test_publish, NULL, NULL, NULL},
    {"PUBLISH with an alias, with and without a topic", test_aliases, NULL, NULL, NULL},
    {"[MQTT5-3.4.2-1] acks of 2, 3, 4 and more bytes", test_ack_lengths, NULL, NULL, NULL},
    {"[MQTT5-3.14.2-1] DISCONNECT and AUTH of all lengths", test_leave_lengths, NULL, NULL, NULL},
    {"[MQTT5-3.2.2-8] [MQTT5-3.5.2-1] [MQTT5-3.6.2-1] [MQTT5-3.7.2-1] reasons stand where they may",
     test_reasons, NULL, NULL, NULL},
    {"packets without reasons have none", test_no_reasons, NULL, NULL, NULL},
    {"[MQTT5-3.8.3-5] subscription options", test_options, NULL, NULL, NULL},
    {"SUBSCRIBE, UNSUBSCRIBE, SUBACK, UNSUBACK", test_lists, NULL, NULL, NULL},
    {"older versions have neither reasons nor properties", test_not_before_5, NULL, NULL, NULL},
    {"[MQTT5 2.1.4] the size of a PUBLISH is known beforehand", test_publish_size, NULL, NULL, NULL},
    {"[MQTT5 4.13] every error has its reason code", test_error_reasons, NULL, NULL, NULL},
};

#define ACCEPTED (sizeof accepted / sizeof *accepted)
#define REFUSED  (sizeof refused / sizeof *refused)

int main(void) {
  struct CMUnitTest tests[ACCEPTED + REFUSED];
  memcpy(tests, accepted, sizeof accepted);
  for (size_t i = 0; i < REFUSED; i++)
    tests[ACCEPTED + i] = (struct CMUnitTest){refused[i].name, test_refused, NULL, NULL, (void *)&refused[i]};
  return cmocka_run_group_tests_name("packet 5", tests, NULL, NULL);
}
