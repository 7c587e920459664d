// What the encoder writes, and that the decoder reads the same back.
#include "packet_feed.h"

#include "base/rand.h"

static struct buf encode(const struct packet *p, uint8_t version) {
  struct buf out = BUF_INIT;
  packet_encode(p, version, &out);
  return out;
}

static void check(const struct packet *p, uint8_t version, struct slice expected) {
  struct buf out = encode(p, version);
  assert_int_equal(out.len, expected.len);
  assert_memory_equal(out.ptr, expected.ptr, expected.len);
  buf_release(&out);
}

// Byte for byte

static struct packet full_connect(uint8_t version) {
  struct packet p = {.type = PACKET_CONNECT};
  p.connect = (struct packet_connect){
      .version = version,
      .clean_session = true,
      .has_will = true,
      .has_username = true,
      .has_password = true,
      .keep_alive = 0x1234,
      .client_id = SLICE("id"),
      .username = SLICE("user"),
      .password = SLICE("pw"),
      .will = {.topic = SLICE("t"), .payload = SLICE("gone"), .qos = 1, .retain = true},
  };
  return p;
}

static void test_connect(void **state) {
  (void)state;
  struct packet p = full_connect(MQTT_3_1_1);
  check(&p, MQTT_3_1_1, SLICE("\x10\x21\0\4MQTT\4\xee\x12\x34\0\2id\0\1t\0\4gone\0\4user\0\2pw"));
  p = full_connect(MQTT_3_1);
  check(&p, MQTT_3_1_1, SLICE("\x10\x23\0\6MQIsdp\3\xee\x12\x34\0\2id\0\1t\0\4gone\0\4user\0\2pw"));
}

static void test_connect_minimal(void **state) {
  (void)state;
  struct packet p = {.type = PACKET_CONNECT};
  p.connect.version = MQTT_3_1_1;
  check(&p, MQTT_3_1_1, SLICE("\x10\x0c\0\4MQTT\4\0\0\0\0\0"));
}

// What a CONNECT does not have leaves no trace in its flags.
static void test_connect_without_will(void **state) {
  (void)state;
  struct packet p = full_connect(MQTT_3_1_1);
  p.connect.has_will = p.connect.has_username = p.connect.has_password = false;
  check(&p, MQTT_3_1_1, SLICE("\x10\x0e\0\4MQTT\4\2\x12\x34\0\2id"));
}

static void test_connack(void **state) {
  (void)state;
  struct packet p = {.type = PACKET_CONNACK};
  p.connack = (struct packet_connack){.session_present = true};
  check(&p, MQTT_3_1_1, SLICE("\x20\x02\1\0"));
  check(&p, MQTT_3_1, SLICE("\x20\x02\0\0"));
  p.connack = (struct packet_connack){.code = CONNACK_NOT_AUTHORIZED};
  check(&p, MQTT_3_1_1, SLICE("\x20\x02\0\5"));
}

static void test_publish(void **state) {
  (void)state;
  struct packet p = {.type = PACKET_PUBLISH};
  p.publish.message = (struct packet_message){.topic = SLICE("test"), .payload = SLICE("data")};
  check(&p, MQTT_3_1_1, SLICE("\x30\x0a\0\4testdata"));
  p.id = 0x0102;
  p.publish.dup = true;
  p.publish.message.qos = 2;
  p.publish.message.retain = true;
  check(&p, MQTT_3_1_1, SLICE("\x3d\x0c\0\4test\1\2data"));
}

static void test_acks(void **state) {
  (void)state;
  static const uint8_t first[] = {0x40, 0x50, 0x62, 0x70, 0xb0};
  for (size_t i = 0; i < sizeof first; i++) {
    struct packet p = {.type = first[i] >> 4, .id = 0xabcd};
    uint8_t expected[] = {first[i], 2, 0xab, 0xcd}, put[4];
    check(&p, MQTT_3_1_1, slice_of(expected, 4));
    assert_int_equal(packet_put_ack(put, p.type, p.id), 4);
    assert_memory_equal(put, expected, 4);
  }
}

static void test_empty_packets(void **state) {
  (void)state;
  for (uint8_t type = PACKET_PINGREQ; type <= PACKET_DISCONNECT; type++) {
    struct packet p = {.type = type};
    uint8_t expected[] = {(uint8_t)(type << 4), 0};
    check(&p, MQTT_3_1_1, slice_of(expected, 2));
  }
}

static void test_lists(void **state) {
  (void)state;
  struct buf list = BUF_INIT;
  packet_add_subscription(&list, SLICE("a/+"), 1);
  packet_add_subscription(&list, SLICE("#"), 2);
  struct packet p = {.type = PACKET_SUBSCRIBE, .id = 7};
  p.subscribe.list = buf_slice(&list);
  check(&p, MQTT_3_1_1, SLICE("\x82\x0c\0\7\0\3a/+\1\0\1#\2"));

  list.len = 0;
  packet_add_filter(&list, SLICE("a/+"));
  packet_add_filter(&list, SLICE("#"));
  p = (struct packet){.type = PACKET_UNSUBSCRIBE, .id = 8};
  p.unsubscribe.list = buf_slice(&list);
  check(&p, MQTT_3_1_1, SLICE("\xa2\x0a\0\x8\0\3a/+\0\1#"));
  buf_release(&list);

  p = (struct packet){.type = PACKET_SUBACK, .id = 9};
  p.suback.list = SLICE("\1\x80");
  check(&p, MQTT_3_1_1, SLICE("\x90\x04\0\x9\1\x80"));
}

static void test_appends(void **state) {
  (void)state;
  struct packet p = {.type = PACKET_PINGREQ};
  struct buf out = BUF_INIT;
  for (int i = 0; i < 3; i++)
    packet_encode(&p, MQTT_3_1_1, &out);
  assert_int_equal(out.len, 6);
  assert_memory_equal(out.ptr, "\xc0\0\xc0\0\xc0\0", 6);
  buf_release(&out);
}

// The lengths around which the remaining length takes another byte [MQTT 2.2.3].
static void test_put_publish_lengths(void **state) {
  (void)state;
  static const struct {
    size_t remaining;
    struct slice length;
  } rows[] = {
      {3, SLICE("\x03")},
      {127, SLICE("\x7f")},
      {128, SLICE("\x80\x01")},
      {16383, SLICE("\xff\x7f")},
      {16384, SLICE("\x80\x80\x01")},
      {2097151, SLICE("\xff\xff\x7f")},
      {2097152, SLICE("\x80\x80\x80\x01")},
      {268435455, SLICE("\xff\xff\xff\x7f")},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    size_t len = rows[i].length.len;
    uint8_t *out = mem_alloc(1 + len + 3);
    size_t n = packet_put_publish(out, 0x31, 0, SLICE("t"), 0, rows[i].remaining - 3, MQTT_3_1_1);
    assert_int_equal(n, 1 + len + 3);
    assert_int_equal(out[0], 0x31);
    assert_memory_equal(out + 1, rows[i].length.ptr, len);
    assert_memory_equal(out + 1 + len, "\0\1t", 3);
    assert_int_equal(packet_peek_size(slice_of(out, n)), 1 + len + rows[i].remaining);
    mem_free(out);
  }
}

static void test_publish_flags(void **state) {
  (void)state;
  assert_int_equal(packet_publish_flags(0, false, false), 0x30);
  assert_int_equal(packet_publish_flags(0, true, false), 0x31);
  assert_int_equal(packet_publish_flags(1, false, true), 0x3a);
  assert_int_equal(packet_publish_flags(2, true, true), 0x3d);
}

// Round trips with random contents

struct maker {
  struct rand rand;
  struct buf bytes; // of all strings of the packet; reserved once, so that slices stay
};

static uint64_t below(struct maker *m, uint64_t bound) { return rand_next(&m->rand) % bound; }
static bool coin(struct maker *m) { return below(m, 2); }
static uint16_t make_id(struct maker *m) { return (uint16_t)(1 + below(m, PACKET_ID_MAX)); }

static struct slice make_string(struct maker *m, size_t least) {
  static const char *const parts[] = {
      "a", "b/", "/", "$", " ", "\x01", "xyz", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x8c\xa1"};
  size_t start = m->bytes.len, count = least + below(m, 12);
  for (size_t i = 0; i < count; i++)
    buf_add_str(&m->bytes, parts[below(m, sizeof parts / sizeof *parts)]);
  return slice_of(m->bytes.ptr + start, m->bytes.len - start);
}

static struct slice make_binary(struct maker *m, size_t bound) {
  size_t start = m->bytes.len;
  for (size_t left = below(m, bound); left; left--)
    buf_add_byte(&m->bytes, (uint8_t)rand_next(&m->rand));
  return slice_of(m->bytes.ptr + start, m->bytes.len - start);
}

static struct packet_message make_message(struct maker *m) {
  return (struct packet_message){
      .topic = make_string(m, 1),
      .payload = make_binary(m, 400),
      .qos = (uint8_t)below(m, 3),
      .retain = coin(m),
  };
}

static void make_connect(struct maker *m, struct packet *p) {
  struct packet_connect *c = &p->connect;
  c->version = coin(m) ? MQTT_3_1 : MQTT_3_1_1;
  c->clean_session = coin(m);
  c->keep_alive = (uint16_t)below(m, 65536);
  c->client_id = make_string(m, 0);
  if ((c->has_will = coin(m))) c->will = make_message(m);
  if ((c->has_username = coin(m))) c->username = make_string(m, 0);
  if (c->has_username && (c->has_password = coin(m))) c->password = make_binary(m, 40);
}

static void make_connack(struct maker *m, struct packet *p) { p->connack.code = (uint8_t)below(m, 6); }

static void make_publish(struct maker *m, struct packet *p) {
  p->publish.message = make_message(m);
  if (!p->publish.message.qos) return;
  p->id = make_id(m);
  p->publish.dup = coin(m);
}

static void make_ack(struct maker *m, struct packet *p) { p->id = make_id(m); }

static struct slice make_filter(struct maker *m) {
  static const char *const wild[] = {"#", "+", "+/a", "a/+/b", "/#", "+/+/#"};
  return coin(m) ? make_string(m, 1) : slice_str(wild[below(m, sizeof wild / sizeof *wild)]);
}

static void make_list(struct maker *m, struct packet *p) {
  struct buf list = BUF_INIT;
  p->id = make_id(m);
  p->subscribe.count = (uint32_t)(1 + below(m, 8));
  for (uint32_t i = 0; i < p->subscribe.count; i++) {
    if (p->type == PACKET_SUBSCRIBE)
      packet_add_subscription(&list, make_filter(m), (uint8_t)below(m, 3));
    else if (p->type == PACKET_UNSUBSCRIBE)
      packet_add_filter(&list, make_filter(m));
    else
      buf_add_byte(&list, coin(m) ? SUBACK_FAILURE : (uint8_t)below(m, 3));
  }
  p->subscribe.list = slice_of(m->bytes.ptr + m->bytes.len, list.len);
  buf_add_slice(&m->bytes, buf_slice(&list));
  buf_release(&list);
}

static void make_nothing(struct maker *m, struct packet *p) { (void)m, (void)p; }

static const struct kind {
  uint8_t type;
  const char *name;
  void (*make)(struct maker *m, struct packet *p);
} kinds[] = {
    {PACKET_CONNECT, "round trip: CONNECT", make_connect},
    {PACKET_CONNACK, "round trip: CONNACK", make_connack},
    {PACKET_PUBLISH, "round trip: PUBLISH", make_publish},
    {PACKET_PUBACK, "round trip: PUBACK", make_ack},
    {PACKET_PUBREC, "round trip: PUBREC", make_ack},
    {PACKET_PUBREL, "round trip: PUBREL", make_ack},
    {PACKET_PUBCOMP, "round trip: PUBCOMP", make_ack},
    {PACKET_SUBSCRIBE, "round trip: SUBSCRIBE", make_list},
    {PACKET_SUBACK, "round trip: SUBACK", make_list},
    {PACKET_UNSUBSCRIBE, "round trip: UNSUBSCRIBE", make_list},
    {PACKET_UNSUBACK, "round trip: UNSUBACK", make_ack},
    {PACKET_PINGREQ, "round trip: PINGREQ", make_nothing},
    {PACKET_PINGRESP, "round trip: PINGRESP", make_nothing},
    {PACKET_DISCONNECT, "round trip: DISCONNECT", make_nothing},
};

// The text form shows every field but the password.
static void assert_same(const struct packet *a, const struct packet *b, uint8_t version) {
  struct buf texts[2] = {BUF_INIT, BUF_INIT};
  packet_format(a, version, &texts[0]);
  packet_format(b, version, &texts[1]);
  assert_string_equal(buf_text(&texts[0]), buf_text(&texts[1]));
  if (a->type == PACKET_CONNECT) assert_true(slice_eq(a->connect.password, b->connect.password));
  assert_int_equal(a->id, b->id);
  buf_release(&texts[0]);
  buf_release(&texts[1]);
}

static void check_round_trip(const struct packet *p, uint8_t version) {
  struct buf out = encode(p, version);
  struct packet decoded;
  uint8_t *copy;
  assert_int_equal(feed(&decoded, buf_slice(&out), version, NO_LIMIT, &copy), out.len);
  assert_same(p, &decoded, version);
  struct buf again = encode(&decoded, version);
  assert_true(slice_eq(buf_slice(&again), buf_slice(&out)));
  mem_free(copy);
  buf_release(&again);
  buf_release(&out);
}

static void test_round_trip(void **state) {
  const struct kind *kind = *state;
  struct maker m = {.bytes = BUF_INIT};
  rand_init(&m.rand, 20140301u + kind->type);
  buf_reserve(&m.bytes, 4096);
  for (int i = 0; i < 200; i++) {
    uint8_t version = i & 1 ? MQTT_3_1 : MQTT_3_1_1;
    struct packet p = {.type = kind->type};
    m.bytes.len = 0;
    kind->make(&m, &p);
    assert_true(m.bytes.len < 4096);
    check_round_trip(&p, version);
  }
  buf_release(&m.bytes);
}

static void test_longest_strings(void **state) {
  (void)state;
  uint8_t *text = mem_alloc(65535);
  memset(text, 'x', 65535);
  struct packet p = full_connect(MQTT_3_1_1), decoded;
  p.connect.client_id = p.connect.username = p.connect.password = slice_of(text, 65535);
  p.connect.will.topic = p.connect.will.payload = slice_of(text, 65535);
  struct buf out = encode(&p, MQTT_3_1_1);
  ssize_t n = packet_decode(&decoded, buf_slice(&out), MQTT_3_1_1, NO_LIMIT);
  assert_int_equal(n, out.len);
  assert_same(&p, &decoded, MQTT_3_1_1);
  buf_release(&out);
  mem_free(text);
}

static const struct CMUnitTest fixed[] = {
    {"[MQTT-3.1.3-1] CONNECT", test_connect, NULL, NULL, NULL},
    {"CONNECT without anything", test_connect_minimal, NULL, NULL, NULL},
    {"[MQTT-3.1.2-11] CONNECT without will has no will flags", test_connect_without_will, NULL, NULL, NULL},
    {"CONNACK; 3.1 has no session present", test_connack, NULL, NULL, NULL},
    {"[MQTT-2.3.1-5] PUBLISH; no id with QoS 0", test_publish, NULL, NULL, NULL},
    {"[MQTT-3.6.1-1] PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK", test_acks, NULL, NULL, NULL},
    {"PINGREQ, PINGRESP, DISCONNECT", test_empty_packets, NULL, NULL, NULL},
    {"SUBSCRIBE, UNSUBSCRIBE, SUBACK", test_lists, NULL, NULL, NULL},
    {"a packet is appended", test_appends, NULL, NULL, NULL},
    {"[MQTT 2.2.3] the remaining length takes as many bytes as it needs", test_put_publish_lengths, NULL,
     NULL, NULL},
    {"the first byte of PUBLISH", test_publish_flags, NULL, NULL, NULL},
    {"strings of 65535 bytes", test_longest_strings, NULL, NULL, NULL},
};

#define FIXED (sizeof fixed / sizeof *fixed)
#define KINDS (sizeof kinds / sizeof *kinds)

int main(void) {
  struct CMUnitTest tests[FIXED + KINDS];
  memcpy(tests, fixed, sizeof fixed);
  for (size_t i = 0; i < KINDS; i++)
    tests[FIXED + i] = (struct CMUnitTest){kinds[i].name, test_round_trip, NULL, NULL, (void *)&kinds[i]};
  return cmocka_run_group_tests_name("packet encode", tests, NULL, NULL);
}
