// What holds for all packets: strings, flags and lengths, malformed and misplaced packets, and the byte
// stream: chapters 1.5.3, 2, 3.6, 3.12, 3.14, 4.8 and 7.
#include "conformance.h"

// --- strings ---

// A packet around a string: the bytes before its length and behind it. The remaining length is one byte.
struct frame {
  struct slice head, tail;
};

static struct slice framed(struct buf *out, const struct frame *f, struct slice text) {
  out->len = 0;
  buf_add_byte(out, f->head.ptr[0]);
  buf_add_byte(out, (uint8_t)(f->head.len - 1 + 2 + text.len + f->tail.len));
  buf_add_slice(out, slice_from(f->head, 1));
  buf_add_byte(out, 0);
  buf_add_byte(out, (uint8_t)text.len);
  buf_add_slice(out, text);
  buf_add_slice(out, f->tail);
  return buf_slice(out);
}

// In every place where a string may stand, these make the packet malformed.
static void expect_bad_strings(struct harness *h, const struct slice *texts, size_t count) {
  const struct frame connects[] = {
      {SLICE("\x10\0\4MQTT\4\2\0\0"), SLICE("")},                       // client id
      {SLICE("\x10\0\4MQTT\4\6\0\0\0\1x"), SLICE("\0\1m")},             // will topic
      {SLICE("\x10\0\4MQTT\4\x82\0\0\0\1x"), SLICE("")},                // username
      {SLICE("\x10\0\4MQTT\4\xc6\0\0\0\1x\0\1w\0\1m"), SLICE("\0\1p")}, // username behind a will
  };
  const struct frame others[] = {
      {SLICE("\x30"), SLICE("A")},             // topic
      {SLICE("\x33"), SLICE("\0\1A")},         // topic of a retained one with QoS 1
      {SLICE("\x82\0\1"), SLICE("\0")},        // filter to subscribe
      {SLICE("\x82\0\1\0\1t\0"), SLICE("\0")}, // behind another
      {SLICE("\xa2\0\1"), SLICE("")},          // filter to unsubscribe
      {SLICE("\xa2\0\1\0\1t"), SLICE("")},
  };
  struct buf packet = BUF_INIT;
  for (size_t i = 0; i < count; i++) {
    for (size_t j = 0; j < COUNT(connects); j++)
      expect_no_connack(h, framed(&packet, &connects[j], texts[i]));
    for (size_t j = 0; j < COUNT(others); j++)
      expect_violation(h, framed(&packet, &others[j], texts[i]));
  }
  buf_release(&packet);
  assert_int_equal(memory_retained(h->shard->backend)->count, 0);
}

static void ill_formed_utf8(void **state) {
  const struct slice texts[] = {
      SLICE("\xed\xa0\x80"),             // U+D800
      SLICE("\xed\xbf\xbf"),             // U+DFFF
      SLICE("\xed\xa0\x81\xed\xb0\x80"), // a pair of surrogates
      SLICE("a\x80"),                    // a continuation alone
      SLICE("\xbf"),
      SLICE("\xc3"), // a continuation too few
      SLICE("\xc3"
            "a"),
      SLICE("\xe2\x82"),
      SLICE("\xe2\x82/"),
      SLICE("\xf0\x90\x8d"),
      SLICE("\xc0\xaf"), // longer than needed
      SLICE("\xc1\xbf"),
      SLICE("\xe0\x9f\xbf"),
      SLICE("\xf0\x8f\xbf\xbf"),
      SLICE("\xf4\x90\x80\x80"), // above U+10FFFF
      SLICE("\xf5\x80\x80\x80"),
      SLICE("\xf8\x88\x80\x80\x80"),
      SLICE("abcdefgh\xfe"), // no byte of UTF-8
      SLICE("abcdefghabcdefgh\xff"
            "abcdefgh"),
  };
  expect_bad_strings(*state, texts, COUNT(texts));
}

static void null_character(void **state) {
  const struct slice texts[] = {SLICE("\0"), SLICE("a\0"),
                                SLICE("\0"
                                      "a"),
                                SLICE("abcdefgh\0abcdefgh"), SLICE("\xc0\x80")};
  expect_bad_strings(*state, texts, COUNT(texts));
}

static void well_formed_utf8(void **state) { // the first and last of each length
  const char *texts[] = {"\x7f",         "\xc2\x80",     "\xdf\xbf",         "\xe0\xa0\x80",
                         "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbd",
                         "\xef\xbf\xbd"};
  for (size_t i = 0; i < COUNT(texts); i++) {
    leave_subscription(*state, texts[i], texts[i], 1);
    somebody_publishes(*state, texts[i], texts[i], 1, false);
    struct peer *p;
    assert_true(peer_resume(*state, texts[i], &p));
    take_message(p, texts[i], texts[i], 1);
  }
}

static void byte_order_mark(void **state) { // is a character
  leave_subscription(*state, "\xef\xbb\xbfx", "\xef\xbb\xbf/t", 1);
  struct peer *p;
  assert_false(peer_resume(*state, "x", &p));
  assert_false(peer_resume(*state, "\xef\xbb\xbf\xef\xbb\xbfx", &p));
  somebody_publishes(*state, "/t", "A", 1, false);
  somebody_publishes(*state, "\xef\xbb\xbf/t",
                     "\xef\xbb\xbf"
                     "B",
                     1, false);
  assert_true(peer_resume(*state, "\xef\xbb\xbfx", &p));
  expect_bytes(p, SLICE("\x32\x0d\0\5\xef\xbb\xbf/t\0\1\xef\xbb\xbf"
                        "B"));
  memory_add_credentials(((struct harness *)*state)->shard->backend, SLICE("\xef\xbb\xbfu"), SLICE("p"));
  memory_set_access(((struct harness *)*state)->shard->backend, MEMORY_CREDENTIALS);
  p = peer_open(*state);
  peer_send(p, SLICE("\x10\x13\0\4MQTT\4\xc2\0\0\0\1x\0\1u\0\1p"));
  expect_bytes(p, SLICE("\x20\2\0\5"));
  p = peer_open(*state);
  peer_send(p, SLICE("\x10\x16\0\4MQTT\4\xc2\0\0\0\1x\0\4\xef\xbb\xbfu\0\1p"));
  expect_bytes(p, SLICE("\x20\2\0\0"));
}

// --- flags ---

static void flags_that_are_sent(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  peer_send(
      p, SLICE("\x82\6\0\1\0\1t\2\xc0\0\x32\5\0\1u\0\1\x34\5\0\1u\0\2\x62\2\0\2\x50\2\0\3\xa2\5\0\4\0\1u"));
  expect_bytes(p, SLICE("\x90\3\0\1\2\xd0\0\x40\2\0\1\x50\2\0\2\x70\2\0\2\x62\2\0\3\xb0\2\0\4"));
}

static void flags_that_are_received(void **state) {
  const struct {
    uint8_t legal;
    struct slice packet;
  } packets[] = {
      {0, SLICE("\x40\2\0\1")},
      {0, SLICE("\x50\2\0\1")},
      {2, SLICE("\x60\2\0\1")},
      {0, SLICE("\x70\2\0\1")},
      {2, SLICE("\x80\6\0\1\0\1t\0")},
      {2, SLICE("\xa0\5\0\1\0\1t")},
      {0, SLICE("\xc0\0")},
      {0, SLICE("\xe0\0")},
  };
  uint8_t bytes[16];
  for (size_t i = 0; i < COUNT(packets); i++)
    for (uint8_t flags = 0; flags < 16; flags++) {
      if (flags == packets[i].legal) continue;
      memcpy(bytes, packets[i].packet.ptr, packets[i].packet.len);
      bytes[0] |= flags;
      expect_violation(*state, slice_of(bytes, packets[i].packet.len));
    }
  uint8_t connect[] = "\x10\x0d\0\4MQTT\4\2\0\0\0\1x";
  for (uint8_t flags = 1; flags < 16; flags++) {
    connect[0] = 0x10 | flags;
    expect_no_connack(*state, slice_of(connect, sizeof connect - 1));
  }
}

static void pubrel_flags(void **state) {
  for (uint8_t flags = 0; flags < 16; flags++) {
    const uint8_t pubrel[] = {0x60 | flags, 2, 0, 9};
    if (flags != 2) expect_violation(*state, slice_of(pubrel, sizeof pubrel));
  }
}

static void bad_pubrel_releases_nothing(void **state) {
  struct peer *watcher = peer_connect(*state, "y", true), *p = peer_connect(*state, "x", false);
  peer_subscribe(watcher, "#", 0);
  peer_send(p, SLICE("\x34\6\0\1t\0\7A"));
  peer_expect_ack(p, PACKET_PUBREC, 7);
  peer_send(p, SLICE("\x60\2\0\7"));
  peer_expect_closed(p);
  expect_alive(watcher);
  assert_true(peer_resume(*state, "x", &p));
  peer_send_ack(p, PACKET_PUBREL, 7);
  peer_expect_ack(p, PACKET_PUBCOMP, 7);
  take_message(watcher, "t", "A", 0);
}

// --- violations ---

static void packets_of_a_server(void **state) {
  const struct slice packets[] = {SLICE("\x20\2\0\0"), SLICE("\x90\3\0\1\0"), SLICE("\xb0\2\0\1"),
                                  SLICE("\xd0\0")};
  for (size_t i = 0; i < COUNT(packets); i++)
    expect_violation(*state, packets[i]);
}

static void no_packets(void **state) {
  const struct slice packets[] = {SLICE("\0\0"), SLICE("\x02\2\0\1"), SLICE("\xf0\0"), SLICE("\xf2\2\0\1"),
                                  SLICE("\xff\xff\xff\xff\xff")};
  for (size_t i = 0; i < COUNT(packets); i++)
    expect_violation(*state, packets[i]);
}

static void bad_lengths(void **state) {
  const struct slice packets[] = {
      SLICE("\x40\0"),
      SLICE("\x40\1\0"),
      SLICE("\x40\3\0\1\0"),
      SLICE("\x50\1\0"),
      SLICE("\x50\3\0\1\0"),
      SLICE("\x62\1\0"),
      SLICE("\x62\3\0\1\0"),
      SLICE("\x70\1\0"),
      SLICE("\x70\4\0\1\0\0"),
      SLICE("\xc0\1\0"),
      SLICE("\xe0\1\0"),
      SLICE("\x30\xff\xff\xff\xff\1"),
      SLICE("\x30\x80\x80\x80\x80\0"),
      SLICE("\xc0\x80\x80\x80\x80\0"),
      SLICE("\x30\xff\xff\xff\x7f"), // above the read limit
  };
  for (size_t i = 0; i < COUNT(packets); i++)
    expect_violation(*state, packets[i]);
}

static void read_limit(void **state) { // a packet of exactly that many bytes is the largest
  struct settings settings;
  settings_init(&settings);
  settings.client.read_limit = 100;
  struct harness *h = restart_broker(state, &settings);
  struct peer *watcher = peer_connect(h, "y", true), *p = peer_connect(h, "x", true);
  peer_subscribe(watcher, "#", 0);
  uint8_t packet[101] = {0x30, 98, 0, 1, 't'};
  peer_send(p, slice_of(packet, 100));
  peer_expect(watcher, PACKET_PUBLISH, NULL);
  packet[1]++;
  peer_send(p, slice_of(packet, 2)); // told by its first bytes
  peer_expect_closed(p);
  expect_alive(watcher);
}

static void violations_stop_here(void **state) { // what follows in the same bytes is not processed
  struct peer *watcher = peer_connect(*state, "y", true), *p = peer_connect(*state, "x", true);
  peer_subscribe(watcher, "#", 0);
  peer_send(p, SLICE("\x30\4\0\1tA\xd0\0\x30\4\0\1tB\x31\4\0\1tC"));
  peer_expect_closed(p);
  take_message(watcher, "t", "A", 0); // and what came before it is
  expect_alive(watcher);
}

// --- the rest ---

static void ping(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  peer_send(p, SLICE("\xc0\0"));
  expect_bytes(p, SLICE("\xd0\0"));
  peer_send(p, SLICE("\xc0\0\xc0\0\xc0\0"));
  expect_bytes(p, SLICE("\xd0\0\xd0\0\xd0\0"));
}

static void disconnect_flags(void **state) {
  for (uint8_t flags = 1; flags < 16; flags++)
    expect_violation(*state, slice_of((uint8_t[]){0xe0 | flags, 0}, 2));
  expect_violation(*state, SLICE("\xe0\1\0"));
}

// A conversation: all that the client says, and all that it is answered.
static const char words[] = "\x10\x0d\0\4MQTT\4\2\0\0\0\1x"
                            "\x82\6\0\1\0\1t\1"
                            "\x32\6\0\1u\0\2A"
                            "\x34\x86\0\0\1u\0\3A" // a length in more bytes than it needs
                            "\x62\2\0\3"
                            "\xa2\5\0\4\0\1t"
                            "\xc0\0"
                            "\xe0\0";
static const char answers[] = "\x20\2\0\0\x90\3\0\1\1\x40\2\0\2\x50\2\0\3\x70\2\0\3\xb0\2\0\4\xd0\0";

static void any_pieces(void **state) {
  const struct slice all = slice_of(words, sizeof words - 1);
  for (size_t step = 1; step <= all.len; step++) {
    struct peer *p = peer_open(*state);
    for (size_t at = 0; at < all.len; at += step)
      peer_send(p, slice_of(all.ptr + at, all.len - at < step ? all.len - at : step));
    expect_bytes(p, slice_of(answers, sizeof answers - 1));
    peer_expect_closed(p);
  }
}

static void slow_reader(void **state) { // the same bytes, however few the client takes at a time
  for (size_t window = 1; window < sizeof answers; window++) {
    struct peer *p = peer_open(*state);
    struct buf got = BUF_INIT;
    memory_set_window(p->memory, window);
    peer_send(p, slice_of(words, sizeof words - 1));
    for (struct slice part; (part = memory_received(p->memory)).len; harness_run(*state)) {
      buf_add_slice(&got, part);
      memory_consume(p->memory, part.len);
    }
    assert_int_equal(got.len, sizeof answers - 1);
    assert_memory_equal(got.ptr, answers, got.len);
    buf_release(&got);
    peer_expect_closed(p);
  }
}

// Sizes around those at which the remaining length takes one byte more, and larger than the broker's buffers.
static const size_t sizes[] = {0,     123,   124,    125,     16379,   16380,
                               16381, 65536, 262144, 2097147, 2097148, 2097149};

static void publish_sized(struct peer *p, size_t size) {
  struct buf payload = BUF_INIT;
  for (size_t i = 0; i < size; i++)
    buf_add_byte(&payload, (uint8_t)(i * 31 + i / 256 + size));
  struct packet_message message = {.topic = SLICE("t"), .payload = buf_slice(&payload)};
  peer_send_packet(p, &(struct packet){.type = PACKET_PUBLISH, .publish = {.message = message}});
  buf_release(&payload);
}

static void expect_sized(struct peer *p, size_t size) {
  struct packet got;
  peer_expect(p, PACKET_PUBLISH, &got);
  struct slice payload = got.publish.message.payload;
  assert_int_equal(payload.len, size);
  for (size_t i = 0; i < size; i++)
    if (payload.ptr[i] != (uint8_t)(i * 31 + i / 256 + size))
      fail_msg("byte %zu of %zu is another one", i, size);
}

static void all_sizes(void **state) {
  struct peer *p = peer_connect(*state, "x", true), *q = peer_connect(*state, "y", true);
  peer_subscribe(p, "#", 0);
  peer_subscribe(q, "t", 0);
  for (size_t i = 0; i < COUNT(sizes); i++) {
    publish_sized(p, sizes[i]);
    expect_sized(p, sizes[i]);
  }
  for (size_t i = 0; i < COUNT(sizes); i++)
    expect_sized(q, sizes[i]);
  expect_alive(q);
}

static void all_sizes_slowly(void **state) { // a client that takes a part at a time gets the same
  struct peer *p = peer_connect(*state, "x", true), *q = peer_connect(*state, "y", true);
  peer_subscribe(q, "t", 0);
  memory_set_window(q->memory, 10000);
  for (size_t i = 0; i < COUNT(sizes); i++)
    publish_sized(p, sizes[i]);
  struct buf got = BUF_INIT;
  for (struct slice part; (part = memory_received(q->memory)).len; harness_run(*state)) {
    buf_add_slice(&got, part);
    memory_consume(q->memory, part.len);
  }
  struct slice rest = buf_slice(&got);
  for (size_t i = 0; i < COUNT(sizes); i++) {
    struct packet packet;
    ssize_t n = packet_decode(&packet, rest, MQTT_3_1_1, PACKET_MAX_SIZE);
    assert_true(n > 0);
    assert_int_equal(packet.publish.message.payload.len, sizes[i]);
    rest = slice_from(rest, (size_t)n);
  }
  assert_int_equal(rest.len, 0);
  buf_release(&got);
  expect_alive(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT-1.5.3-1] [MQTT-3.3.2-1] ill-formed UTF-8 closes, wherever it stands", ill_formed_utf8),
      STATEMENT("[MQTT-1.5.3-1] well-formed UTF-8 is not touched", well_formed_utf8),
      STATEMENT("[MQTT-1.5.3-2] U+0000 closes, wherever it stands", null_character),
      STATEMENT("[MQTT-1.5.3-3] a byte order mark is a character", byte_order_mark),
      STATEMENT("[MQTT-2.2.2-1] reserved flags are sent as they have to be", flags_that_are_sent),
      STATEMENT("[MQTT-2.2.2-2] other flags close", flags_that_are_received),
      STATEMENT("[MQTT-3.6.1-1] other flags of PUBREL than 2 close", pubrel_flags),
      STATEMENT("[MQTT-3.6.1-1] and release nothing", bad_pubrel_releases_nothing),
      STATEMENT("[MQTT-3.12.4-1] a PINGREQ is answered", ping),
      STATEMENT("[MQTT-3.14.1-1] reserved flags of DISCONNECT close, with the will", disconnect_flags),
      STATEMENT("[MQTT-4.8.0-1] packets that only a server sends close", packets_of_a_server),
      STATEMENT("[MQTT-4.8.0-1] what is no packet closes", no_packets),
      STATEMENT("[MQTT-4.8.0-1] a wrong remaining length closes", bad_lengths),
      STATEMENT("[MQTT-4.8.0-1] nothing behind a violation is processed", violations_stop_here),
      STATEMENT("[MQTT-4.8.0-2] a packet above the read limit closes", read_limit),
      STATEMENT("[MQTT-7.1.1-1] packets may arrive in any pieces", any_pieces),
      STATEMENT("[MQTT-7.1.1-1] packets may leave in any pieces", slow_reader),
      STATEMENT("[MQTT-7.1.1-1] packets of all sizes arrive as they were", all_sizes),
      STATEMENT("[MQTT-7.1.1-1] also at a slow reader", all_sizes_slowly),
  };
  return cmocka_run_group_tests_name("conformance: packets", tests, NULL, NULL);
}
