// What the decoder accepts and what it refuses.
#include "packet_feed.h"

#include "packet/utf8.h"

#define BYTES(literal)                                                                                       \
  { (const uint8_t *)(literal), sizeof(literal) - 1 }

// Parts of CONNECT.
#define LEVEL_4                "\0\4MQTT\4"
#define LEVEL_3                "\0\6MQIsdp\3"
#define CLIENT_ID              "\0\2id"
#define KEEP_ALIVE             "\0\36"
#define CONNECT(length, flags) "\x10" length LEVEL_4 flags KEEP_ALIVE CLIENT_ID

// Refused input: a row is a test.
struct refused {
  const char *name;
  uint8_t version; // 0: both
  enum packet_error error;
  struct slice in;
};

static const struct refused refused[] = {
    // Fixed header
    {"[MQTT 2.2.1] type 0 is refused", 0, PACKET_BAD_TYPE, BYTES("\x00\x00")},
    {"[MQTT 2.2.1] type 15 is refused", 0, PACKET_BAD_TYPE, BYTES("\xf0\x00")},
    {"[MQTT-2.2.2-2] reserved flags close: CONNECT", 0, PACKET_BAD_FLAGS, BYTES("\x11\x00")},
    {"[MQTT-2.2.2-2] reserved flags close: CONNACK", 0, PACKET_BAD_FLAGS, BYTES("\x28\x02\0\0")},
    {"[MQTT-2.2.2-2] reserved flags close: PUBACK", 0, PACKET_BAD_FLAGS, BYTES("\x42\x02\0\1")},
    {"[MQTT-2.2.2-2] reserved flags close: PUBREC", 0, PACKET_BAD_FLAGS, BYTES("\x52\x02\0\1")},
    {"[MQTT-3.6.1-1] reserved flags close: PUBREL with QoS 0", 0, PACKET_BAD_FLAGS, BYTES("\x60\x02\0\1")},
    {"[MQTT-3.6.1-1] reserved flags close: PUBREL with retain", 0, PACKET_BAD_FLAGS, BYTES("\x63\x02\0\1")},
    {"[MQTT-3.6.1-1] reserved flags close: PUBREL with dup", 4, PACKET_BAD_FLAGS, BYTES("\x6a\x02\0\1")},
    {"[MQTT-2.2.2-2] reserved flags close: PUBCOMP", 0, PACKET_BAD_FLAGS, BYTES("\x71\x02\0\1")},
    {"[MQTT-3.8.1-1] reserved flags close: SUBSCRIBE with QoS 0", 0, PACKET_BAD_FLAGS, BYTES("\x80\x02\0\1")},
    {"[MQTT-3.8.1-1] reserved flags close: SUBSCRIBE with dup", 4, PACKET_BAD_FLAGS,
     BYTES("\x8a\x06\0\1\0\1a\0")},
    {"[MQTT-2.2.2-2] reserved flags close: SUBACK", 0, PACKET_BAD_FLAGS, BYTES("\x92\x03\0\1\0")},
    {"[MQTT-3.10.1-1] reserved flags close: UNSUBSCRIBE with QoS 2", 0, PACKET_BAD_FLAGS,
     BYTES("\xa4\x05\0\1\0\1a")},
    {"[MQTT-3.10.1-1] reserved flags close: UNSUBSCRIBE with dup", 4, PACKET_BAD_FLAGS,
     BYTES("\xaa\x05\0\1\0\1a")},
    {"[MQTT-2.2.2-2] reserved flags close: UNSUBACK", 0, PACKET_BAD_FLAGS, BYTES("\xb2\x02\0\1")},
    {"[MQTT-2.2.2-2] reserved flags close: PINGREQ", 0, PACKET_BAD_FLAGS, BYTES("\xc1\x00")},
    {"[MQTT-2.2.2-2] reserved flags close: PINGRESP", 0, PACKET_BAD_FLAGS, BYTES("\xd4\x00")},
    {"[MQTT-3.14.1-1] reserved flags close: DISCONNECT", 0, PACKET_BAD_FLAGS, BYTES("\xe8\x00")},
    {"[MQTT 2.2.3] a remaining length of five bytes is refused", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x30\xff\xff\xff\xff\x01")},
    {"[MQTT 2.2.3] a remaining length of five bytes is refused, even when it is zero", 0,
     PACKET_MALFORMED_LENGTH, BYTES("\x30\x80\x80\x80\x80\x00")},
    {"a remaining length that the type cannot have is refused: PUBACK of 1", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x40\x01\0")},
    {"a remaining length that the type cannot have is refused: PUBACK of 3", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x40\x03\0\1\0")},
    {"a remaining length that the type cannot have is refused: PUBREC of 0", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x50\x00")},
    {"a remaining length that the type cannot have is refused: PUBREL of 4", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x62\x04\0\1\0\0")},
    {"a remaining length that the type cannot have is refused: PUBCOMP of 1", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x70\x01\0")},
    {"a remaining length that the type cannot have is refused: CONNACK of 3", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x20\x03\0\0\0")},
    {"a remaining length that the type cannot have is refused: SUBACK of 2", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x90\x02\0\1")},
    {"a remaining length that the type cannot have is refused: UNSUBACK of 3", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\xb0\x03\0\1\0")},
    {"a remaining length that the type cannot have is refused: PINGREQ of 1", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\xc0\x01\0")},
    {"a remaining length that the type cannot have is refused: PINGRESP of 1", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\xd0\x01\0")},
    {"a remaining length that the type cannot have is refused: DISCONNECT of 2", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\xe0\x02\0\0")},
    {"a remaining length that the type cannot have is refused: PUBLISH of 1", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x30\x01\0")},
    {"a remaining length that the type cannot have is refused: CONNECT of 6", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x10\x06\0\4MQTT")},

    // CONNECT
    {"[MQTT-3.1.2-1] an unknown protocol name is refused", 0, PACKET_BAD_PROTOCOL,
     BYTES("\x10\x0e\0\4MQXX\4\2" KEEP_ALIVE CLIENT_ID)},
    {"[MQTT-3.1.2-1] the protocol name is case sensitive", 0, PACKET_BAD_PROTOCOL,
     BYTES("\x10\x0e\0\4mqtt\4\2" KEEP_ALIVE CLIENT_ID)},
    {"[MQTT-3.1.2-1] an empty protocol name is refused", 0, PACKET_BAD_PROTOCOL,
     BYTES("\x10\x0a\0\0\4\2" KEEP_ALIVE CLIENT_ID)},
    {"[MQTT-3.1.2-1] the 3.1 name does not go with level 4", 0, PACKET_BAD_PROTOCOL,
     BYTES("\x10\x10\0\6MQIsdp\4\2" KEEP_ALIVE CLIENT_ID)},
    {"[MQTT-3.1.2-1] the 3.1 name does not go with a bridge's level", 0, PACKET_BAD_PROTOCOL,
     BYTES("\x10\x10\0\6MQIsdp\x83\2" KEEP_ALIVE CLIENT_ID)},
    {"[MQTT-3.1.2-3] the reserved connect flag is refused", 0, PACKET_BAD_CONNECT_FLAGS,
     BYTES(CONNECT("\x0e", "\3"))},
    {"[MQTT-3.1.2-3] the reserved connect flag is refused in 3.1", 0, PACKET_BAD_CONNECT_FLAGS,
     BYTES("\x10\x10" LEVEL_3 "\3" KEEP_ALIVE CLIENT_ID)},
    {"[MQTT-3.1.2-22] a password without a username is refused", 0, PACKET_BAD_CONNECT_FLAGS,
     BYTES(CONNECT("\x11", "\x42") "\0\1p")},
    {"[MQTT-3.1.2-13] will QoS without will is refused", 0, PACKET_BAD_WILL, BYTES(CONNECT("\x0e", "\x0a"))},
    {"[MQTT-3.1.2-13] will QoS 3 without will is refused", 0, PACKET_BAD_WILL,
     BYTES(CONNECT("\x0e", "\x1a"))},
    {"[MQTT-3.1.2-15] will retain without will is refused", 0, PACKET_BAD_WILL,
     BYTES(CONNECT("\x0e", "\x22"))},
    {"[MQTT-3.1.2-14] will QoS 3 is refused", 0, PACKET_BAD_QOS, BYTES(CONNECT("\x14", "\x1e") "\0\1t\0\1m")},
    {"[MQTT-4.7.3-1] an empty will topic is refused", 0, PACKET_BAD_WILL,
     BYTES(CONNECT("\x13", "\x06") "\0\0\0\1m")},
    {"[MQTT-4.7.1-1] a wildcard in the will topic is refused", 0, PACKET_BAD_WILL,
     BYTES(CONNECT("\x15", "\x06") "\0\2t#\0\1m")},
    {"[MQTT-3.1.3-10] a will topic that is not UTF-8 is refused", 0, PACKET_BAD_STRING,
     BYTES(CONNECT("\x14", "\x06") "\0\1\xff\0\1m")},
    {"[MQTT-3.1.3-4] a client id that is not UTF-8 is refused", 0, PACKET_BAD_STRING,
     BYTES("\x10\x0e" LEVEL_4 "\2" KEEP_ALIVE "\0\2\xc3(")},
    {"[MQTT-1.5.3-2] a client id with U+0000 is refused", 0, PACKET_BAD_STRING,
     BYTES("\x10\x0e" LEVEL_4 "\2" KEEP_ALIVE "\0\2a\0")},
    {"[MQTT-3.1.3-11] a username that is not UTF-8 is refused", 0, PACKET_BAD_STRING,
     BYTES(CONNECT("\x11", "\x82") "\0\1\x80")},
    {"[MQTT-3.1.2-19] a missing username is refused", 0, PACKET_MALFORMED_LENGTH,
     BYTES(CONNECT("\x0e", "\x82"))},
    {"[MQTT-3.1.2-21] a missing password is refused", 0, PACKET_MALFORMED_LENGTH,
     BYTES(CONNECT("\x11", "\xc2") "\0\1u")},
    {"[MQTT-3.1.2-9] a missing will is refused", 0, PACKET_MALFORMED_LENGTH, BYTES(CONNECT("\x0e", "\x06"))},
    {"[MQTT-3.1.2-9] a missing will message is refused", 0, PACKET_MALFORMED_LENGTH,
     BYTES(CONNECT("\x11", "\x06") "\0\1t")},
    {"[MQTT-3.1.2-18] a username without its flag is refused", 0, PACKET_MALFORMED_LENGTH,
     BYTES(CONNECT("\x11", "\x02") "\0\1u")},
    {"bytes after CONNECT's last field are refused", 0, PACKET_MALFORMED_LENGTH,
     BYTES(CONNECT("\x0f", "\x02") "\0")},
    {"CONNECT without flags is refused", 0, PACKET_MALFORMED_LENGTH, BYTES("\x10\x07" LEVEL_4)},
    {"CONNECT without keep alive is refused", 0, PACKET_MALFORMED_LENGTH, BYTES("\x10\x09" LEVEL_4 "\2\0")},
    {"[MQTT-3.1.3-3] CONNECT without client id is refused", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x10\x0a" LEVEL_4 "\2" KEEP_ALIVE)},
    {"CONNECT with a client id beyond its end is refused", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x10\x0e" LEVEL_4 "\2" KEEP_ALIVE "\0\3id")},
    {"CONNECT with a protocol name beyond its end is refused", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x10\x07\0\6MQTT\4")},
    {"3.1: a username that is cut short is refused", 3, PACKET_MALFORMED_LENGTH,
     BYTES("\x10\x12" LEVEL_3 "\x82" KEEP_ALIVE CLIENT_ID "\0\1")},

    // CONNACK
    {"[MQTT 3.2.2.1] reserved acknowledge flags are refused", 0, PACKET_BAD_CODE, BYTES("\x20\x02\2\0")},
    {"[MQTT 3.2.2.3] an unknown return code is refused", 0, PACKET_BAD_CODE, BYTES("\x20\x02\0\6")},
    {"[MQTT-3.2.2-4] session present with a refusal is refused", 0, PACKET_BAD_CODE, BYTES("\x20\x02\1\5")},
    {"3.1: session present is refused", 3, PACKET_BAD_CODE, BYTES("\x20\x02\1\0")},

    // PUBLISH
    {"[MQTT-3.3.1-4] QoS 3 is refused", 0, PACKET_BAD_QOS, BYTES("\x36\x07\0\4test\0")},
    {"[MQTT-3.3.1-4] QoS 3 with dup and retain is refused", 0, PACKET_BAD_QOS, BYTES("\x3f\x07\0\4test\0")},
    {"[MQTT-3.3.1-2] dup with QoS 0 is refused", 0, PACKET_BAD_QOS, BYTES("\x38\x06\0\4test")},
    {"[MQTT-2.3.1-1] id 0 is refused: PUBLISH of QoS 1", 0, PACKET_BAD_ID, BYTES("\x32\x05\0\1t\0\0")},
    {"[MQTT-2.3.1-1] id 0 is refused: PUBLISH of QoS 2", 0, PACKET_BAD_ID, BYTES("\x34\x05\0\1t\0\0")},
    {"a missing id is refused: PUBLISH", 0, PACKET_MALFORMED_LENGTH, BYTES("\x32\x03\0\1t")},
    {"half an id is refused: PUBLISH", 0, PACKET_MALFORMED_LENGTH, BYTES("\x32\x04\0\1t\0")},
    {"a topic beyond the end of PUBLISH is refused", 0, PACKET_MALFORMED_LENGTH, BYTES("\x30\x03\0\2t")},
    {"[MQTT-4.7.3-1] an empty topic is refused", 0, PACKET_BAD_TOPIC, BYTES("\x30\x03\0\0x")},
    {"[MQTT-3.3.2-2] # in a topic is refused", 0, PACKET_BAD_TOPIC, BYTES("\x30\x05\0\3a/#")},
    {"[MQTT-3.3.2-2] + in a topic is refused", 0, PACKET_BAD_TOPIC, BYTES("\x30\x05\0\3+/a")},
    {"[MQTT-3.3.2-2] # alone is refused", 0, PACKET_BAD_TOPIC, BYTES("\x30\x03\0\1#")},
    {"[MQTT-3.3.2-2] + in the middle of a long topic is refused", 0, PACKET_BAD_TOPIC,
     BYTES("\x30\x15\0\x13"
           "abcdefgh/i+jklmnopq")},
    {"[MQTT-3.3.2-2] + in a topic that is not ASCII is refused", 0, PACKET_BAD_TOPIC,
     BYTES("\x30\x0a\0\x08"
           "b\xc3\xbcro/+x")},
    {"[MQTT-1.5.3-2] U+0000 in a topic is refused", 0, PACKET_BAD_STRING, BYTES("\x30\x05\0\3a\0b")},
    {"[MQTT-1.5.3-2] U+0000 in a long topic is refused", 0, PACKET_BAD_STRING,
     BYTES("\x30\x0c\0\x0a"
           "abcdefgh\0b")},
    {"[MQTT-1.5.3-1] a surrogate in a topic is refused", 0, PACKET_BAD_STRING,
     BYTES("\x30\x05\0\3\xed\xa0\x80")},
    {"[MQTT-3.3.2-1] a topic that is not UTF-8 is refused", 0, PACKET_BAD_STRING, BYTES("\x30\x04\0\2a\xff")},
    {"a character cut off by the topic's end is refused", 0, PACKET_BAD_STRING,
     BYTES("\x30\x06\0\2a\xc3\xbcx")},

    // Acks
    {"[MQTT-2.3.1-6] id 0 is refused: PUBACK", 0, PACKET_BAD_ID, BYTES("\x40\x02\0\0")},
    {"[MQTT-2.3.1-6] id 0 is refused: PUBREC", 0, PACKET_BAD_ID, BYTES("\x50\x02\0\0")},
    {"[MQTT-2.3.1-6] id 0 is refused: PUBREL", 0, PACKET_BAD_ID, BYTES("\x62\x02\0\0")},
    {"[MQTT-2.3.1-6] id 0 is refused: PUBCOMP", 0, PACKET_BAD_ID, BYTES("\x70\x02\0\0")},
    {"[MQTT-2.3.1-7] id 0 is refused: UNSUBACK", 0, PACKET_BAD_ID, BYTES("\xb0\x02\0\0")},
    {"[MQTT-2.3.1-7] id 0 is refused: SUBACK", 0, PACKET_BAD_ID, BYTES("\x90\x03\0\0\0")},
    {"[MQTT-3.9.3-2] an unknown SUBACK code is refused: 3", 0, PACKET_BAD_CODE, BYTES("\x90\x04\0\1\0\3")},
    {"[MQTT-3.9.3-2] an unknown SUBACK code is refused: 0x81", 0, PACKET_BAD_CODE,
     BYTES("\x90\x04\0\1\x80\x81")},

    // SUBSCRIBE and UNSUBSCRIBE
    {"[MQTT-2.3.1-1] id 0 is refused: SUBSCRIBE", 0, PACKET_BAD_ID, BYTES("\x82\x06\0\0\0\1a\0")},
    {"[MQTT-3.8.3-3] SUBSCRIBE without a filter is refused", 0, PACKET_EMPTY_LIST, BYTES("\x82\x02\0\1")},
    {"[MQTT-3.8.3-4] requested QoS 3 is refused", 0, PACKET_BAD_QOS, BYTES("\x82\x06\0\1\0\1a\3")},
    {"[MQTT-3.8.3-4] reserved bits of the requested QoS are refused", 0, PACKET_BAD_QOS,
     BYTES("\x82\x06\0\1\0\1a\4")},
    {"[MQTT-3.8.3-4] the highest reserved bit is refused", 0, PACKET_BAD_QOS, BYTES("\x82\x06\0\1\0\1a\x80")},
    {"[MQTT-3.8.3-1] a filter that is not UTF-8 is refused", 0, PACKET_BAD_STRING,
     BYTES("\x82\x06\0\1\0\1\xfe\0")},
    {"[MQTT-4.7.3-1] an empty filter is refused", 0, PACKET_BAD_FILTER, BYTES("\x82\x05\0\1\0\0\0")},
    {"[MQTT-4.7.1-2] # that is not last is refused", 0, PACKET_BAD_FILTER, BYTES("\x82\x08\0\1\0\3#/a\0")},
    {"[MQTT-4.7.1-2] # that is not alone is refused", 0, PACKET_BAD_FILTER, BYTES("\x82\x07\0\1\0\2a#\0")},
    {"[MQTT-4.7.1-2] ## is refused", 0, PACKET_BAD_FILTER, BYTES("\x82\x07\0\1\0\2##\0")},
    {"[MQTT-4.7.1-3] + after a character is refused", 0, PACKET_BAD_FILTER, BYTES("\x82\x07\0\1\0\2a+\0")},
    {"[MQTT-4.7.1-3] + before a character is refused", 0, PACKET_BAD_FILTER, BYTES("\x82\x07\0\1\0\2+a\0")},
    {"[MQTT-4.7.1-3] +# is refused", 0, PACKET_BAD_FILTER, BYTES("\x82\x07\0\1\0\2+#\0")},
    {"a bad filter of a shared subscription is refused", 0, PACKET_BAD_FILTER,
     BYTES("\x82\x10\0\1\0\x0b$share/g/a#\0")},
    {"a bad second filter is refused: SUBSCRIBE", 0, PACKET_BAD_FILTER, BYTES("\x82\x0b\0\1\0\1a\0\0\2b#\0")},
    {"a missing requested QoS is refused", 0, PACKET_MALFORMED_LENGTH, BYTES("\x82\x05\0\1\0\1a")},
    {"a filter beyond the end is refused: SUBSCRIBE", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x82\x06\0\1\0\3a\0")},
    {"half a filter length is refused: SUBSCRIBE", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\x82\x07\0\1\0\1a\0\0")},
    {"[MQTT-2.3.1-1] id 0 is refused: UNSUBSCRIBE", 0, PACKET_BAD_ID, BYTES("\xa2\x05\0\0\0\1a")},
    {"[MQTT-3.10.3-2] UNSUBSCRIBE without a filter is refused", 0, PACKET_EMPTY_LIST, BYTES("\xa2\x02\0\1")},
    {"[MQTT-3.10.3-1] a filter to unsubscribe that is not UTF-8 is refused", 0, PACKET_BAD_STRING,
     BYTES("\xa2\x05\0\1\0\1\x80")},
    {"[MQTT-4.7.3-1] an empty filter to unsubscribe is refused", 0, PACKET_BAD_FILTER,
     BYTES("\xa2\x04\0\1\0\0")},
    {"a bad second filter is refused: UNSUBSCRIBE", 0, PACKET_BAD_FILTER, BYTES("\xa2\x0b\0\1\0\1a\0\4+/b+")},
    {"a filter beyond the end is refused: UNSUBSCRIBE", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\xa2\x05\0\1\0\2a")},
    {"half a filter length is refused: UNSUBSCRIBE", 0, PACKET_MALFORMED_LENGTH,
     BYTES("\xa2\x06\0\1\0\1a\0")},
};

static void test_refused(void **state) {
  const struct refused *r = *state;
  ssize_t size = packet_peek_size(r->in);
  assert_true(size == (ssize_t)r->in.len || size == PACKET_MALFORMED_LENGTH); // the row says what it means
  for (uint8_t version = MQTT_3_1; version <= MQTT_3_1_1; version++) {
    if (r->version && r->version != version) continue;
    struct packet p;
    uint8_t *copy;
    assert_int_equal(feed(&p, r->in, version, NO_LIMIT, &copy), r->error);
    mem_free(copy);
  }
}

// Decodes one packet with more bytes behind it, which are not to be touched.
static uint8_t *decode_whole(struct packet *p, struct slice in, uint8_t version) {
  uint8_t *copy;
  assert_int_equal(feed(p, in, version, NO_LIMIT, &copy), in.len);
  mem_free(copy);
  struct buf followed = BUF_INIT;
  buf_add_slice(&followed, in);
  buf_add(&followed, "\xff\xff\xff", 3);
  assert_int_equal(feed(p, buf_slice(&followed), version, NO_LIMIT, &copy), in.len);
  buf_release(&followed);
  return copy;
}

#define assert_slice(actual, literal)                                                                        \
  do {                                                                                                       \
    assert_int_equal((actual).len, sizeof(literal) - 1);                                                     \
    assert_memory_equal((actual).ptr, literal, sizeof(literal) - 1);                                         \
  } while (0)

static void test_connect_minimal(void **state) {
  (void)state;
  struct packet p;
  uint8_t *copy = decode_whole(&p, SLICE("\x10\x0c" LEVEL_4 "\0\0\0\0\0"), MQTT_3_1_1);
  assert_int_equal(p.type, PACKET_CONNECT);
  assert_int_equal(p.id, 0);
  assert_int_equal(p.connect.version, MQTT_3_1_1);
  assert_false(p.connect.clean_session || p.connect.has_will || p.connect.has_username ||
               p.connect.has_password);
  assert_int_equal(p.connect.keep_alive, 0);
  assert_int_equal(p.connect.client_id.len, 0);
  mem_free(copy);
}

static void test_connect_full(void **state) {
  (void)state;
  struct packet p;
  uint8_t *copy = decode_whole(&p,
                               SLICE("\x10\x24" LEVEL_4 "\xf6\x01\x02" CLIENT_ID "\0\3a/b\0\4w\0\xff\x01"
                                     "\0\4user\0\3p\0\x80"),
                               MQTT_3_1_1);
  assert_true(p.connect.clean_session && p.connect.has_will && p.connect.has_username &&
              p.connect.has_password);
  assert_int_equal(p.connect.keep_alive, 0x102);
  assert_slice(p.connect.client_id, "id");
  assert_slice(p.connect.will.topic, "a/b");
  assert_slice(p.connect.will.payload, "w\0\xff\x01");
  assert_int_equal(p.connect.will.qos, 2);
  assert_true(p.connect.will.retain);
  assert_slice(p.connect.username, "user");
  assert_slice(p.connect.password, "p\0\x80");
  mem_free(copy);
}

static void test_connect_empty_parts(void **state) {
  (void)state;
  struct packet p;
  uint8_t *copy =
      decode_whole(&p, SLICE("\x10\x17" LEVEL_4 "\xc6\0\0" CLIENT_ID "\0\1t\0\0\0\0\0\0"), MQTT_3_1_1);
  assert_true(p.connect.has_username && p.connect.has_password && p.connect.has_will);
  assert_int_equal(p.connect.username.len + p.connect.password.len + p.connect.will.payload.len, 0);
  mem_free(copy);
}

static void test_connect_3_1(void **state) {
  (void)state;
  struct packet p;
  uint8_t *copy = decode_whole(&p, SLICE("\x10\x10" LEVEL_3 "\2" KEEP_ALIVE CLIENT_ID), MQTT_3_1_1);
  assert_int_equal(p.connect.version, MQTT_3_1);
  assert_slice(p.connect.client_id, "id");
  assert_int_equal(p.connect.keep_alive, 30);
  mem_free(copy);
}

static void test_connect_3_1_lacks_credentials(void **state) {
  (void)state;
  struct packet p;
  uint8_t *copy = decode_whole(&p, SLICE("\x10\x10" LEVEL_3 "\xc2" KEEP_ALIVE CLIENT_ID), MQTT_3_1_1);
  assert_false(p.connect.has_username || p.connect.has_password);
  mem_free(copy);
  copy = decode_whole(&p, SLICE("\x10\x13" LEVEL_3 "\xc2" KEEP_ALIVE CLIENT_ID "\0\1u"), MQTT_3_1_1);
  assert_slice(p.connect.username, "u");
  assert_true(p.connect.has_username);
  assert_false(p.connect.has_password);
  mem_free(copy);
}

static void test_connect_unknown_level(void **state) {
  (void)state;
  static const struct {
    struct slice in;
    uint8_t version;
  } rows[] = {
      {BYTES("\x10\x0e\0\4MQTT\x84\2" KEEP_ALIVE CLIENT_ID), 0x84},
      {BYTES("\x10\x0e\0\4MQTT\0\2" KEEP_ALIVE CLIENT_ID), 0},
      {BYTES("\x10\x0e\0\4MQTT\3\2" KEEP_ALIVE CLIENT_ID), 0},
      {BYTES("\x10\x07\0\4MQTT\6"), 6},
      {BYTES("\x10\x0a\0\4MQTT\xff\xff\xff\xff"), 0xff}, // nothing after the level is looked at
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct packet p, expected;
    uint8_t *copy = decode_whole(&p, rows[i].in, MQTT_3_1_1);
    memset(&expected, 0, sizeof expected);
    expected.type = PACKET_CONNECT;
    expected.connect.version = rows[i].version;
    assert_memory_equal(&p, &expected, sizeof p);
    mem_free(copy);
  }
}

static void test_connack(void **state) {
  (void)state;
  struct packet p;
  mem_free(decode_whole(&p, SLICE("\x20\x02\1\0"), MQTT_3_1_1));
  assert_int_equal(p.type, PACKET_CONNACK);
  assert_true(p.connack.session_present);
  for (uint8_t code = 0; code <= CONNACK_NOT_AUTHORIZED; code++) {
    uint8_t bytes[] = {0x20, 2, 0, code};
    mem_free(decode_whole(&p, slice_of(bytes, sizeof bytes), MQTT_3_1));
    assert_int_equal(p.connack.code, code);
    assert_false(p.connack.session_present);
  }
}

static void test_publish(void **state) {
  (void)state;
  struct packet p;
  uint8_t *copy = decode_whole(&p, SLICE("\x30\x0a\0\4testdata"), MQTT_3_1_1);
  assert_int_equal(p.type, PACKET_PUBLISH);
  assert_int_equal(p.id, 0);
  assert_slice(p.publish.message.topic, "test");
  assert_slice(p.publish.message.payload, "data");
  assert_int_equal(p.publish.message.qos, 0);
  assert_false(p.publish.message.retain || p.publish.dup);
  assert_int_equal(p.publish.message.properties.raw.len, 0);
  mem_free(copy);

  copy = decode_whole(&p, SLICE("\x3d\x05\0\1t\xab\xcd"), MQTT_3_1_1);
  assert_int_equal(p.id, 0xabcd);
  assert_int_equal(p.publish.message.qos, 2);
  assert_true(p.publish.message.retain && p.publish.dup);
  assert_int_equal(p.publish.message.payload.len, 0);
  mem_free(copy);
}

static void test_publish_topics(void **state) {
  (void)state;
  static const char *const topics[] = {
      "/",  "$SYS/x", "abc",         "abcdefg",          "abcdefgh",
      "a ", "//",     "b\xc3\xbcro", "\xf0\x9f\x8c\xa1", "sensors/kitchen/temperature",
  };
  for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) {
    struct packet p;
    struct buf in = BUF_INIT;
    struct slice topic = slice_str(topics[i]);
    buf_printf(&in, "\x30%c%c%c%s", (int)topic.len + 2, 0, (int)topic.len, topics[i]);
    uint8_t *copy = decode_whole(&p, buf_slice(&in), MQTT_3_1_1);
    assert_true(slice_eq(p.publish.message.topic, topic));
    mem_free(copy);
    buf_release(&in);
  }
}

// Every length up to some words, every place, every bad byte: the check by words misses none.
static void test_publish_bad_byte_anywhere(void **state) {
  (void)state;
  static const struct {
    uint8_t byte;
    ssize_t error;
  } bad[] = {
      {'#', PACKET_BAD_TOPIC}, {'+', PACKET_BAD_TOPIC}, {0, PACKET_BAD_STRING}, {0x80, PACKET_BAD_STRING}};
  for (size_t len = 1; len <= 40; len++) {
    for (size_t at = 0; at < len; at++) {
      for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct packet p;
        uint8_t *in = mem_alloc(4 + len);
        memcpy(in, (uint8_t[]){0x30, (uint8_t)(2 + len), 0, (uint8_t)len}, 4);
        memset(in + 4, '\x7f', len);
        assert_int_equal(packet_decode(&p, slice_of(in, 4 + len), MQTT_3_1_1, NO_LIMIT), 4 + len);
        in[4 + at] = bad[i].byte;
        assert_int_equal(packet_decode(&p, slice_of(in, 4 + len), MQTT_3_1_1, NO_LIMIT), bad[i].error);
        mem_free(in);
      }
    }
  }
}

static void test_acks(void **state) {
  (void)state;
  static const uint8_t first[] = {0x40, 0x50, 0x62, 0x70, 0xb0};
  for (size_t i = 0; i < sizeof first; i++) {
    struct packet p;
    uint8_t bytes[] = {first[i], 2, 0x12, 0x34};
    for (uint8_t version = MQTT_3_1; version <= MQTT_3_1_1; version++) {
      mem_free(decode_whole(&p, slice_of(bytes, sizeof bytes), version));
      assert_int_equal(p.type, first[i] >> 4);
      assert_int_equal(p.id, 0x1234);
      assert_int_equal(p.ack.reason, 0);
    }
  }
}

static void test_empty_packets(void **state) {
  (void)state;
  for (uint8_t type = PACKET_PINGREQ; type <= PACKET_DISCONNECT; type++) {
    struct packet p;
    uint8_t bytes[] = {(uint8_t)(type << 4), 0};
    mem_free(decode_whole(&p, slice_of(bytes, sizeof bytes), MQTT_3_1_1));
    assert_int_equal(p.type, type);
    assert_int_equal(p.id, 0);
  }
}

static void test_subscribe(void **state) {
  (void)state;
  struct packet p;
  uint8_t *copy = decode_whole(&p, SLICE("\x82\x15\0\x07\0\1#\2\0\5+/a/#\0\0\4/+/+\1"), MQTT_3_1_1);
  static const struct {
    const char *filter;
    uint8_t options;
  } expected[] = {{"#", 2}, {"+/a/#", 0}, {"/+/+", 1}};
  assert_int_equal(p.id, 7);
  assert_int_equal(p.subscribe.count, 3);
  struct slice rest = p.subscribe.list;
  struct packet_subscription s;
  for (size_t i = 0; i < 3; i++) {
    assert_true(packet_next_subscription(&rest, MQTT_3_1_1, &s));
    assert_true(slice_eq(s.filter, slice_str(expected[i].filter)));
    assert_int_equal(s.options, expected[i].options);
  }
  assert_false(packet_next_subscription(&rest, MQTT_3_1_1, &s));
  mem_free(copy);
}

static void test_suback(void **state) {
  (void)state;
  struct packet p;
  uint8_t *copy = decode_whole(&p, SLICE("\x90\x06\0\1\0\1\2\x80"), MQTT_3_1_1);
  assert_int_equal(p.id, 1);
  assert_int_equal(p.suback.count, 4);
  assert_slice(p.suback.list, "\0\1\2\x80");
  mem_free(copy);
}

static void test_unsubscribe(void **state) {
  (void)state;
  struct packet p;
  uint8_t *copy = decode_whole(&p, SLICE("\xa2\x0a\xff\xff\0\1a\0\3b/#"), MQTT_3_1_1);
  assert_int_equal(p.id, 0xffff);
  assert_int_equal(p.unsubscribe.count, 2);
  struct slice rest = p.unsubscribe.list, filter;
  assert_true(packet_next_filter(&rest, &filter));
  assert_slice(filter, "a");
  assert_true(packet_next_filter(&rest, &filter));
  assert_slice(filter, "b/#");
  assert_false(packet_next_filter(&rest, &filter));
  mem_free(copy);
}

static void test_3_1_dup(void **state) {
  (void)state;
  static const struct slice in[] = {
      BYTES("\x6a\x02\0\1"),
      BYTES("\x8a\x06\0\1\0\1a\0"),
      BYTES("\xaa\x05\0\1\0\1a"),
  };
  for (size_t i = 0; i < sizeof in / sizeof *in; i++) {
    struct packet p;
    mem_free(decode_whole(&p, in[i], MQTT_3_1));
    assert_int_equal(p.id, 1);
  }
}

static void test_limit(void **state) {
  (void)state;
  struct packet p;
  uint8_t *copy;
  struct slice in = SLICE("\x30\x0a\0\4testdata");
  assert_int_equal(feed(&p, in, MQTT_3_1_1, 12, &copy), 12);
  mem_free(copy);
  assert_int_equal(feed(&p, in, MQTT_3_1_1, 11, &copy), PACKET_TOO_LARGE);
  mem_free(copy);
}

static void test_limit_needs_no_body(void **state) {
  (void)state;
  struct packet p;
  assert_int_equal(packet_decode(&p, SLICE("\x30\xff"), MQTT_3_1_1, 1000), 0);
  assert_int_equal(packet_decode(&p, SLICE("\x30\xff\xff\xff\x7f"), MQTT_3_1_1, 1000), PACKET_TOO_LARGE);
  assert_int_equal(packet_decode(&p, SLICE("\x30\xff\xff\xff\x7f"), MQTT_3_1_1, NO_LIMIT), 0);
}

static void test_long_form_length(void **state) {
  (void)state;
  struct packet p;
  mem_free(decode_whole(&p, SLICE("\xc0\x80\x80\x00"), MQTT_3_1_1));
  uint8_t *copy = decode_whole(&p, SLICE("\x30\x8a\x00\0\4testdata"), MQTT_3_1_1);
  assert_slice(p.publish.message.payload, "data");
  mem_free(copy);
}

static void test_peek_size(void **state) {
  (void)state;
  assert_int_equal(packet_peek_size(SLICE("")), 0);
  assert_int_equal(packet_peek_size(SLICE("\x30")), 0);
  assert_int_equal(packet_peek_size(SLICE("\x30\x80")), 0);
  assert_int_equal(packet_peek_size(SLICE("\x30\x00")), 2);
  assert_int_equal(packet_peek_size(SLICE("\x30\x7f")), 129);
  assert_int_equal(packet_peek_size(SLICE("\x30\x80\x01")), 131);
  assert_int_equal(packet_peek_size(SLICE("\x30\xff\xff\xff\x7f")), PACKET_MAX_SIZE);
  assert_int_equal(packet_peek_size(SLICE("\x30\xff\xff\xff\xff")), PACKET_MALFORMED_LENGTH);
}

// UTF-8: a row is what the bytes are good for, on their own and behind and before eight plain letters.
static void test_utf8(void **state) {
  (void)state;
  static const struct {
    bool valid;
    struct slice in;
  } rows[] = {
      {true, BYTES("")},
      {true, BYTES("\x01\x7f")},
      {true, BYTES("\xc2\x80")},
      {true, BYTES("\xdf\xbf")},
      {true, BYTES("\xe0\xa0\x80")},
      {true, BYTES("\xed\x9f\xbf")},
      {true, BYTES("\xee\x80\x80")},
      {true, BYTES("\xef\xbf\xbf")}, // U+FFFF, a non-character
      {true, BYTES("\xef\xbb\xbf")}, // [MQTT-1.5.3-3] U+FEFF
      {true, BYTES("\xf0\x90\x80\x80")},
      {true, BYTES("\xf4\x8f\xbf\xbf")},
      {false, BYTES("\0")},
      {false, BYTES("\x80")},
      {false, BYTES("\xbf")},
      {false, BYTES("\xc0\x80")},
      {false, BYTES("\xc1\xbf")},
      {false, BYTES("\xc2")},
      {false, BYTES("\xc2\x41")},
      {false, BYTES("\xe0\x9f\xbf")},
      {false, BYTES("\xe1\x80")},
      {false, BYTES("\xe1\x80\xc0")},
      {false, BYTES("\xed\xa0\x80")},
      {false, BYTES("\xed\xbf\xbf")},
      {false, BYTES("\xf0\x8f\xbf\xbf")},
      {false, BYTES("\xf1\x80\x80")},
      {false, BYTES("\xf1\x80\x80\x41")},
      {false, BYTES("\xf4\x90\x80\x80")},
      {false, BYTES("\xf5\x80\x80\x80")},
      {false, BYTES("\xff")},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    for (size_t before = 0; before <= 9; before++) {
      for (size_t after = 0; after <= 9; after++) {
        size_t len = before + rows[i].in.len + after;
        uint8_t *in = mem_alloc(len);
        memset(in, 'a', len);
        memcpy(in + before, rows[i].in.ptr, rows[i].in.len);
        assert_int_equal(utf8_valid(slice_of(in, len)), rows[i].valid);
        mem_free(in);
      }
    }
  }
  assert_true(utf8_valid(slice_of(NULL, 0)));
}

static const struct CMUnitTest accepted[] = {
    {"[MQTT-3.1.3-6] CONNECT with an empty client id", test_connect_minimal, NULL, NULL, NULL},
    {"[MQTT-3.1.3-1] CONNECT with all fields in order", test_connect_full, NULL, NULL, NULL},
    {"CONNECT with empty will message, username and password", test_connect_empty_parts, NULL, NULL, NULL},
    {"CONNECT of 3.1", test_connect_3_1, NULL, NULL, NULL},
    {"CONNECT of 3.1 may end before its username or password", test_connect_3_1_lacks_credentials, NULL, NULL,
     NULL},
    {"[MQTT-3.1.2-2] an unknown level can be answered", test_connect_unknown_level, NULL, NULL, NULL},
    {"CONNACK", test_connack, NULL, NULL, NULL},
    {"PUBLISH", test_publish, NULL, NULL, NULL},
    {"[MQTT-4.7.3] PUBLISH to all kinds of topics", test_publish_topics, NULL, NULL, NULL},
    {"[MQTT-3.3.2-2] a bad byte is found wherever it is", test_publish_bad_byte_anywhere, NULL, NULL, NULL},
    {"PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK", test_acks, NULL, NULL, NULL},
    {"PINGREQ, PINGRESP, DISCONNECT", test_empty_packets, NULL, NULL, NULL},
    {"SUBSCRIBE", test_subscribe, NULL, NULL, NULL},
    {"SUBACK", test_suback, NULL, NULL, NULL},
    {"UNSUBSCRIBE", test_unsubscribe, NULL, NULL, NULL},
    {"3.1: dup is allowed in PUBREL, SUBSCRIBE, UNSUBSCRIBE", test_3_1_dup, NULL, NULL, NULL},
    {"the limit is for the whole packet", test_limit, NULL, NULL, NULL},
    {"the limit is applied before the body is there", test_limit_needs_no_body, NULL, NULL, NULL},
    {"[MQTT 2.2.3] a remaining length may be longer than needed", test_long_form_length, NULL, NULL, NULL},
    {"[MQTT 2.2.3] the size shows from the fixed header", test_peek_size, NULL, NULL, NULL},
    {"[MQTT-1.5.3-1, -2, -3] UTF-8", test_utf8, NULL, NULL, NULL},
};

#define ACCEPTED (sizeof accepted / sizeof *accepted)
#define REFUSED  (sizeof refused / sizeof *refused)

int main(void) {
  struct CMUnitTest tests[ACCEPTED + REFUSED];
  memcpy(tests, accepted, sizeof accepted);
  for (size_t i = 0; i < REFUSED; i++)
    tests[ACCEPTED + i] = (struct CMUnitTest){refused[i].name, test_refused, NULL, NULL, (void *)&refused[i]};
  return cmocka_run_group_tests_name("packet decode", tests, NULL, NULL);
}
