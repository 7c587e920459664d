// MQTT 5 properties: which ones a packet may have, how often, with which values; walking and building them.
#include <stdio.h>

#include "base/rand.h"
#include "naive_properties.h"
#include "packet_feed.h"
#include "packet_places.h"

// A value that is right wherever the property may stand.
struct known {
  uint8_t id;
  struct slice value;
  const char *name;
};

static const struct known knowns[] = {
    {1, BYTES("\1"), "payload_format_indicator"},
    {2, BYTES("\0\0\0\x3c"), "message_expiry_interval"},
    {3, BYTES("\0\4text"), "content_type"},
    {8, BYTES("\0\3r/t"), "response_topic"},
    {9, BYTES("\0\3\0\xff\x80"), "correlation_data"},
    {11, BYTES("\xff\xff\xff\x7f"), "subscription_identifier"},
    {17, BYTES("\xff\xff\xff\xff"), "session_expiry_interval"},
    {18, BYTES("\0\2id"), "assigned_client_identifier"},
    {19, BYTES("\0\x1e"), "server_keep_alive"},
    {21, BYTES("\0\5plain"), "authentication_method"},
    {22, BYTES("\0\2\xff\0"), "authentication_data"},
    {23, BYTES("\0"), "request_problem_information"},
    {24, BYTES("\0\0\0\5"), "will_delay_interval"},
    {25, BYTES("\1"), "request_response_information"},
    {26, BYTES("\0\1r"), "response_information"},
    {28, BYTES("\0\5other"), "server_reference"},
    {31, BYTES("\0\3why"), "reason_string"},
    {33, BYTES("\xff\xff"), "receive_maximum"},
    {34, BYTES("\0\x0a"), "topic_alias_maximum"},
    {35, BYTES("\0\1"), "topic_alias"},
    {36, BYTES("\1"), "maximum_qos"},
    {37, BYTES("\0"), "retain_available"},
    {38, BYTES("\0\1n\0\5value"), "user_property"},
    {39, BYTES("\0\1\0\0"), "maximum_packet_size"},
    {40, BYTES("\0"), "wildcard_subscription_available"},
    {41, BYTES("\0"), "subscription_identifier_available"},
    {42, BYTES("\0"), "shared_subscription_available"},
};

#define KNOWNS (sizeof knowns / sizeof *knowns)

static const struct known *known_of(unsigned id) {
  for (size_t i = 0; i < KNOWNS; i++)
    if (knowns[i].id == id) return &knowns[i];
  return NULL;
}

static bool may_stand(const struct known *k, const struct place *p) {
  return strchr(naive_properties[k->id].where, p->letter);
}

static enum packet_property_type type_of(const struct known *k) {
  static const char letters[] = "bhwvsdp"; // in the order of the types
  return (enum packet_property_type)(strchr(letters, naive_properties[k->id].type) - letters);
}

static void add_raw(struct buf *raw, uint8_t id, struct slice value) {
  buf_add_byte(raw, id);
  buf_add_slice(raw, value);
}

// Authentication data needs a method before it.
static void add_needed(struct buf *raw, const struct known *k) {
  if (k->id == PROPERTY_AUTHENTICATION_DATA) add_raw(raw, PROPERTY_AUTHENTICATION_METHOD, SLICE("\0\1m"));
}

static void expect(const struct place *place, struct slice properties, size_t announced, ssize_t error) {
  struct buf in = place_packet_of(place, properties, announced);
  struct packet p;
  uint8_t *copy;
  assert_int_equal(feed(&p, buf_slice(&in), MQTT_5, NO_LIMIT, &copy), error ? error : (ssize_t)in.len);
  if (!error) assert_true(slice_eq(place_properties(place, &p)->raw, properties));
  mem_free(copy);
  buf_release(&in);
}

static void expect_all(const struct place *place, const struct buf *raw, ssize_t error) {
  expect(place, buf_slice(raw), raw->len, error);
}

// --- one property: a row of `knowns` is a test ---

static void check_places(const struct known *k) {
  for (const struct place *p = places; p < places + PLACES; p++) {
    struct buf raw = BUF_INIT;
    if (may_stand(k, p)) add_needed(&raw, k);
    add_raw(&raw, k->id, k->value);
    expect_all(p, &raw, may_stand(k, p) ? 0 : PACKET_BAD_PROPERTY);
    buf_release(&raw);
  }
}

static void check_repeated(const struct known *k, const struct place *p) {
  struct buf raw = BUF_INIT;
  bool may =
      k->id == PROPERTY_USER_PROPERTY || (k->id == PROPERTY_SUBSCRIPTION_IDENTIFIER && p->letter == 'P');
  add_needed(&raw, k);
  add_raw(&raw, k->id, k->value);
  add_raw(&raw, PROPERTY_USER_PROPERTY, SLICE("\0\0\0\0"));
  add_raw(&raw, k->id, k->value);
  expect_all(p, &raw, may ? 0 : PACKET_REPEATED_PROPERTY);
  buf_release(&raw);
}

// Cut off at each byte: by the properties' length, and by the packet's.
static void check_truncated(const struct known *k, const struct place *p) {
  struct buf raw = BUF_INIT;
  add_needed(&raw, k);
  size_t needed = raw.len;
  add_raw(&raw, k->id, k->value);
  for (size_t len = needed + 1; len < raw.len; len++)
    expect(p, slice_of(raw.ptr, len), len, PACKET_BAD_PROPERTY);
  size_t rest = raw.len + p->after.len;
  expect(p, buf_slice(&raw), rest + 1, PACKET_MALFORMED_LENGTH);
  expect(p, slice_of(NULL, 0), rest + 1, PACKET_MALFORMED_LENGTH);
  buf_release(&raw);
}

static void check_strings(const struct known *k, const struct place *p) {
  static const struct slice bad[] = {BYTES("\0\1\xff"), BYTES("\0\1\0"), BYTES("\0\3\xed\xa0\x80"),
                                     BYTES("\0\2\xc0\x80")};
  bool pair = type_of(k) == PROPERTY_PAIR;
  if (type_of(k) != PROPERTY_STRING && !pair) return;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    for (int second = 0; second <= pair; second++) {
      struct buf raw = BUF_INIT;
      buf_add_byte(&raw, k->id);
      if (second) buf_add_slice(&raw, SLICE("\0\1n"));
      buf_add_slice(&raw, bad[i]);
      if (pair && !second) buf_add_slice(&raw, SLICE("\0\1v"));
      expect_all(p, &raw, PACKET_BAD_STRING);
      buf_release(&raw);
    }
  }
}

static void test_property(void **state) {
  const struct known *k = *state;
  check_places(k);
  for (const struct place *p = places; p < places + PLACES; p++) {
    if (!may_stand(k, p)) continue;
    check_repeated(k, p);
    check_truncated(k, p);
    check_strings(k, p);
  }
}

// --- values ---

static void test_values(void **state) {
  (void)state;
  static const struct {
    char place;
    uint8_t id;
    struct slice value;
    ssize_t error;
  } rows[] = {
      {'P', 1, BYTES("\0"), 0},
      {'P', 1, BYTES("\2"), PACKET_BAD_VALUE},
      {'W', 1, BYTES("\xff"), PACKET_BAD_VALUE},
      {'P', 2, BYTES("\0\0\0\0"), 0},
      {'P', 2, BYTES("\xff\xff\xff\xff"), 0},
      {'P', 3, BYTES("\0\0"), 0},
      {'P', 8, BYTES("\0\0"), PACKET_BAD_VALUE},
      {'P', 8, BYTES("\0\3a/#"), PACKET_BAD_VALUE},
      {'W', 8, BYTES("\0\3+/a"), PACKET_BAD_VALUE},
      {'P', 9, BYTES("\0\0"), 0},
      {'P', 11, BYTES("\0"), PACKET_BAD_VALUE},
      {'P', 11, BYTES("\1"), 0},
      {'P', 11, BYTES("\x80\1"), 0},
      {'S', 11, BYTES("\0"), PACKET_BAD_VALUE},
      {'S', 11, BYTES("\x80\0"), PACKET_BAD_PROPERTY},
      {'S', 11, BYTES("\x81\x80\0"), PACKET_BAD_PROPERTY},
      {'S', 11, BYTES("\xff\xff\xff\xff\1"), PACKET_BAD_PROPERTY},
      {'C', 17, BYTES("\0\0\0\0"), 0},
      {'c', 18, BYTES("\0\0"), 0},
      {'c', 19, BYTES("\0\0"), 0},
      {'C', 23, BYTES("\1"), 0},
      {'C', 23, BYTES("\2"), PACKET_BAD_VALUE},
      {'W', 24, BYTES("\0\0\0\0"), 0},
      {'C', 25, BYTES("\0"), 0},
      {'C', 25, BYTES("\2"), PACKET_BAD_VALUE},
      {'C', 33, BYTES("\0\0"), PACKET_BAD_VALUE},
      {'c', 33, BYTES("\0\0"), PACKET_BAD_VALUE},
      {'C', 33, BYTES("\0\1"), 0},
      {'C', 34, BYTES("\0\0"), 0},
      {'P', 35, BYTES("\0\0"), PACKET_BAD_ALIAS},
      {'P', 35, BYTES("\xff\xff"), 0},
      {'c', 36, BYTES("\0"), 0},
      {'c', 36, BYTES("\2"), PACKET_BAD_VALUE},
      {'c', 37, BYTES("\2"), PACKET_BAD_VALUE},
      {'P', 38, BYTES("\0\0\0\0"), 0},
      {'C', 39, BYTES("\0\0\0\0"), PACKET_BAD_VALUE},
      {'c', 39, BYTES("\0\0\0\0"), PACKET_BAD_VALUE},
      {'C', 39, BYTES("\0\0\0\1"), 0},
      {'c', 40, BYTES("\2"), PACKET_BAD_VALUE},
      {'c', 41, BYTES("\2"), PACKET_BAD_VALUE},
      {'c', 42, BYTES("\2"), PACKET_BAD_VALUE},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct buf raw = BUF_INIT;
    add_raw(&raw, rows[i].id, rows[i].value);
    expect_all(place_of(rows[i].place), &raw, rows[i].error);
    buf_release(&raw);
  }
}

static void test_data_without_method(void **state) {
  (void)state;
  static const struct slice data = BYTES("\x16\0\1x");
  for (const char *where = "CcX"; *where; where++)
    expect(place_of(*where), data, data.len, PACKET_BAD_VALUE);
  struct buf raw = BUF_INIT; // the method may come after it
  buf_add_slice(&raw, data);
  add_raw(&raw, PROPERTY_AUTHENTICATION_METHOD, SLICE("\0\0"));
  expect_all(place_of('C'), &raw, 0);
  buf_release(&raw);
}

static void test_unknown_ids(void **state) {
  (void)state;
  for (unsigned id = 0; id < 256; id++) {
    if (known_of(id)) continue;
    uint8_t raw[] = {(uint8_t)id, 0, 0, 0, 0};
    for (const struct place *p = places; p < places + PLACES; p++)
      for (size_t len = 1; len <= sizeof raw; len++)
        expect(p, slice_of(raw, len), len, PACKET_BAD_PROPERTY);
  }
  // An id is a variable byte integer, in its shortest form.
  expect(place_of('P'), SLICE("\x81\0\1"), 3, PACKET_BAD_PROPERTY);
  expect(place_of('P'), SLICE("\x81\1\1"), 3, PACKET_BAD_PROPERTY);
  expect(place_of('P'), SLICE("\xff\xff\xff\xff\1"), 5, PACKET_BAD_PROPERTY);
}

static void test_none(void **state) {
  (void)state;
  for (const struct place *p = places; p < places + PLACES; p++)
    expect(p, slice_of(NULL, 0), 0, 0);
}

// The length of properties in a form that is not the shortest, and one that does not end.
static void test_length(void **state) {
  (void)state;
  static const struct slice bad[] = {
      BYTES("\x30\x06\0\1t\x80\0x"),
      BYTES("\x30\x09\0\1t\x84\0\x26\0\0x"),
      BYTES("\x30\x08\0\1t\xff\xff\xff\xff\x7f"),
      BYTES("\x30\x04\0\1t\x80"),
      BYTES("\x30\x03\0\1t"),
      BYTES("\x82\x08\0\1\x80\0\0\1a\0"),
      BYTES("\xe0\x03\0\x80\0"),
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct packet p;
    uint8_t *copy;
    assert_int_equal(feed(&p, bad[i], MQTT_5, NO_LIMIT, &copy), PACKET_MALFORMED_LENGTH);
    mem_free(copy);
  }
}

// --- variable byte integers ---

static void test_varints(void **state) {
  (void)state;
  static const struct {
    uint32_t value;
    struct slice bytes;
  } rows[] = {
      {0, BYTES("\0")},
      {1, BYTES("\1")},
      {127, BYTES("\x7f")},
      {128, BYTES("\x80\1")},
      {16383, BYTES("\xff\x7f")},
      {16384, BYTES("\x80\x80\1")},
      {2097151, BYTES("\xff\xff\x7f")},
      {2097152, BYTES("\x80\x80\x80\1")},
      {268435455, BYTES("\xff\xff\xff\x7f")},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    uint8_t bytes[5];
    uint32_t value;
    size_t len = rows[i].bytes.len;
    assert_ptr_equal(packet_put_varint(bytes, rows[i].value), bytes + len);
    assert_true(slice_eq(slice_of(bytes, len), rows[i].bytes));
    assert_int_equal(packet_varint_size(rows[i].value), len);
    struct slice in = rows[i].bytes;
    assert_true(packet_take_varint(&in, &value));
    assert_int_equal(value, rows[i].value);
    assert_int_equal(in.len, 0);
    for (size_t part = 0; part < len; part++) {
      in = slice_of(bytes, part);
      assert_false(packet_take_varint(&in, &value));
      assert_int_equal(in.len, part);
    }
  }
}

static void test_long_varints(void **state) {
  (void)state;
  static const struct slice bad[] = {BYTES("\x80\0"),         BYTES("\xff\0"),
                                     BYTES("\x80\x80\0"),     BYTES("\xff\xff\xff\0"),
                                     BYTES("\x80\x80\x80\0"), BYTES("\xff\xff\xff\xff\1")};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct slice in = bad[i];
    uint32_t value;
    assert_false(packet_take_varint(&in, &value));
  }
}

// --- walking and building ---

#define BUILT_MAX 40

struct built {
  uint8_t id;
  uint32_t number;
  char name[8], value[8];
};

// Any values, also such as no packet may have: building and walking do not judge them.
static struct built build_one(struct rand *rand, struct buf *raw) {
  const struct known *k = &knowns[rand_next(rand) % KNOWNS];
  struct built b = {.id = k->id};
  snprintf(b.name, sizeof b.name, "%.*s", (int)(rand_next(rand) % 7), "nameless");
  snprintf(b.value, sizeof b.value, "%.*s", (int)(rand_next(rand) % 7), "valuable");
  static const uint32_t masks[] = {[PROPERTY_BYTE] = 0xff,
                                   [PROPERTY_U16] = 0xffff,
                                   [PROPERTY_U32] = 0xffffffff,
                                   [PROPERTY_VARINT] = 0xfffffff};
  if (type_of(k) <= PROPERTY_VARINT) {
    b.number = (uint32_t)rand_next(rand) & masks[type_of(k)];
    if (rand_next(rand) & 1) b.number &= 0xff;
    packet_add_number(raw, k->id, b.number);
  } else if (type_of(k) == PROPERTY_PAIR) {
    packet_add_pair(raw, slice_str(b.name), slice_str(b.value));
  } else {
    packet_add_value(raw, k->id, slice_str(b.value));
  }
  return b;
}

static void assert_built(const struct packet_property *p, const struct built *b) {
  assert_int_equal(p->id, b->id);
  assert_int_equal(p->type, type_of(known_of(b->id)));
  assert_int_equal(p->number, b->number);
  if (p->type == PROPERTY_PAIR) assert_true(slice_eq(p->name, slice_str(b->name)));
  if (p->type > PROPERTY_VARINT) assert_true(slice_eq(p->value, slice_str(b->value)));
}

static void check_lookups(const struct packet_properties *p, const struct built *list, size_t count) {
  for (size_t i = 0; i < KNOWNS; i++) {
    size_t first = 0;
    struct packet_property found;
    while (first < count && list[first].id != knowns[i].id)
      first++;
    assert_int_equal(packet_has_property(p, knowns[i].id), first < count);
    assert_int_equal(packet_find_property(p, knowns[i].id, &found), first < count);
    if (first < count) assert_built(&found, &list[first]);
    assert_int_equal(packet_property_number(p, knowns[i].id, 77), first < count ? list[first].number : 77);
  }
}

static void test_building(void **state) {
  (void)state;
  struct rand rand;
  rand_init(&rand, 20190307);
  for (int round = 0; round < 500; round++) {
    struct built list[BUILT_MAX];
    size_t count = rand_next(&rand) % BUILT_MAX;
    struct buf raw = BUF_INIT;
    for (size_t i = 0; i < count; i++)
      list[i] = build_one(&rand, &raw);
    struct packet_properties p = packet_properties_of(buf_slice(&raw));
    struct slice rest = p.raw;
    struct packet_property q;
    for (size_t i = 0; i < count; i++) {
      assert_true(packet_next_property(&rest, &q));
      assert_built(&q, &list[i]);
    }
    assert_false(packet_next_property(&rest, &q));
    check_lookups(&p, list, count);
    buf_release(&raw);
  }
}

// There and back: random properties of each packet that it may have, and the same bytes again.
static void test_round_trip(void **state) {
  (void)state;
  struct rand rand;
  rand_init(&rand, 20190308);
  for (int round = 0; round < 2000; round++) {
    const struct place *place = &places[round % PLACES];
    struct buf raw = BUF_INIT, out = BUF_INIT;
    packet_add_pair(&raw, SLICE("n"), SLICE("v")); // an ack without any leaves out their length
    for (int i = 0; i < 20; i++) {
      size_t len = raw.len;
      build_one(&rand, &raw);
      struct packet_properties so_far = {.raw = buf_slice(&raw)};
      uint8_t where = place->letter == 'W' ? PROPERTIES_OF_WILL : place->first >> 4;
      if (packet_check_properties(&so_far, where)) raw.len = len;
    }
    struct buf in = place_packet(place, buf_slice(&raw));
    struct packet p;
    uint8_t *copy;
    assert_int_equal(feed(&p, buf_slice(&in), MQTT_5, NO_LIMIT, &copy), in.len);
    packet_encode(&p, MQTT_5, &out);
    assert_true(slice_eq(buf_slice(&out), buf_slice(&in)));
    mem_free(copy);
    buf_release(&in);
    buf_release(&out);
    buf_release(&raw);
  }
}

// As many as fit, and the longest that one may be.
static void test_many_and_long(void **state) {
  (void)state;
  struct buf raw = BUF_INIT;
  uint8_t *text = mem_alloc(65535);
  memset(text, 'x', 65535);
  for (int i = 0; i < 5000; i++)
    packet_add_pair(&raw, SLICE(""), SLICE("v"));
  packet_add_pair(&raw, slice_of(text, 65535), slice_of(text, 65535));
  packet_add_value(&raw, PROPERTY_CONTENT_TYPE, slice_of(text, 65535));
  packet_add_value(&raw, PROPERTY_CORRELATION_DATA, slice_of(text, 65535));
  struct buf in = place_packet(place_of('P'), buf_slice(&raw));
  struct packet p;
  assert_int_equal(packet_decode(&p, buf_slice(&in), MQTT_5, NO_LIMIT), in.len);
  assert_true(slice_eq(p.publish.message.properties.raw, buf_slice(&raw)));
  mem_free(text);
  buf_release(&in);
  buf_release(&raw);
}

static void test_names(void **state) {
  (void)state;
  for (unsigned id = 0; id < 256; id++) {
    const struct known *k = known_of(id);
    const char *name = packet_property_name((uint8_t)id);
    assert_int_equal(k != NULL, name != NULL);
    if (!k) continue;
    assert_string_equal(name, k->name);
    assert_int_equal(packet_property_by_name(slice_str(name)), id);
    assert_int_equal(packet_property_type((uint8_t)id), type_of(k));
  }
  assert_int_equal(packet_property_by_name(SLICE("")), 0);
  assert_int_equal(packet_property_by_name(SLICE("content_typ")), 0);
  assert_int_equal(packet_property_by_name(SLICE("content_types")), 0);
}

// Random bytes of few kinds, and properties that were built: both readers say the same.
static void test_naive(void **state) {
  (void)state;
  struct rand rand;
  rand_init(&rand, 20190309);
  size_t right = 0;
  for (int round = 0; round < 20000; round++) {
    struct buf raw = BUF_INIT;
    for (uint64_t left = rand_next(&rand) % 5; left; left--)
      build_one(&rand, &raw);
    if (raw.len && rand_next(&rand) & 1)
      raw.ptr[rand_next(&rand) % raw.len] = (uint8_t)(rand_next(&rand) % 43);
    for (uint8_t type = 0; type < 16; type++) {
      if (naive_place(type) == ' ') continue;
      struct packet_properties p = {.raw = buf_slice(&raw)};
      int error = packet_check_properties(&p, type);
      assert_int_equal(error, naive_check_properties(p.raw, type));
      right += raw.len && !error;
    }
    buf_release(&raw);
  }
  assert_true(right > 1000);
}

static const struct CMUnitTest fixed[] = {
    {"[MQTT5-3.3.2-14] [MQTT5-3.3.2-8] values that are right, and values that are not", test_values, NULL,
     NULL, NULL},
    {"authentication data needs a method", test_data_without_method, NULL, NULL, NULL},
    {"[MQTT5 2.2.2.2] what is no property is refused", test_unknown_ids, NULL, NULL, NULL},
    {"[MQTT5-2.2.2-1] no properties are a length of zero", test_none, NULL, NULL, NULL},
    {"[MQTT5-1.5.5-1] the length of properties is in its shortest form", test_length, NULL, NULL, NULL},
    {"[MQTT5 1.5.5] variable byte integers", test_varints, NULL, NULL, NULL},
    {"[MQTT5-1.5.5-1] variable byte integers that are longer than needed", test_long_varints, NULL, NULL,
     NULL},
    {"any bytes, read by two readers", test_naive, NULL, NULL, NULL},
    {"what was added is found, in order", test_building, NULL, NULL, NULL},
    {"random properties of each packet, there and back", test_round_trip, NULL, NULL, NULL},
    {"many properties, and the longest", test_many_and_long, NULL, NULL, NULL},
    {"every property has its name", test_names, NULL, NULL, NULL},
};

#define FIXED (sizeof fixed / sizeof *fixed)

int main(void) {
  struct CMUnitTest tests[FIXED + KNOWNS];
  memcpy(tests, fixed, sizeof fixed);
  for (size_t i = 0; i < KNOWNS; i++)
    tests[FIXED + i] = (struct CMUnitTest){knowns[i].name, test_property, NULL, NULL, (void *)&knowns[i]};
  return cmocka_run_group_tests_name("properties", tests, NULL, NULL);
}
