// What clients cost those beside them: the bytes of packets that are not complete, memory that stays, time.
#include "broker/unfinished.h"
#include "decorator.h"

#define KIB UINT64_C(1024)

struct fixture {
  struct harness *h;
  struct decorator d;
  struct settings settings;
  uint64_t memory_bytes; // that the process seems to use, beside unfinished packets
  uint64_t time_us;
};

// --- unfinished packets, without a broker ---

static void the_largest_unfinished_packet_is_the_oldest_of_its_power(void **state) {
  (void)state;
  struct unfinished u;
  struct unfinished_packet p[4];
  unfinished_init(&u);
  assert_null(unfinished_largest(&u));
  static const uint32_t sizes[] = {5000, 70000, 100000, 4200};
  for (int i = 0; i < 4; i++) {
    unfinished_packet_init(&p[i]);
    unfinished_update(&u, &p[i], sizes[i]);
  }
  assert_int_equal(u.bytes, 5000 + 70000 + 100000 + 4200);
  assert_ptr_equal(unfinished_largest(&u), &p[1]);
  unfinished_update(&u, &p[1], 80000); // keeps its place
  assert_ptr_equal(unfinished_largest(&u), &p[1]);
  unfinished_update(&u, &p[1], 5000);
  assert_ptr_equal(unfinished_largest(&u), &p[2]);
  unfinished_update(&u, &p[2], 0);
  assert_ptr_equal(unfinished_largest(&u), &p[0]);
  unfinished_update(&u, &p[3], UINT32_MAX);
  assert_ptr_equal(unfinished_largest(&u), &p[3]);
  for (int i = 0; i < 4; i++)
    unfinished_update(&u, &p[i], 0);
  assert_null(unfinished_largest(&u));
  assert_int_equal(u.bytes, 0);
}

// --- a broker ---

static uint64_t measure(void *arg) {
  const struct fixture *f = arg;
  return f->memory_bytes + f->h->shard->unfinished.bytes;
}

static int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  settings_init(&f->settings);
  f->settings.memory_limit_percent = 0;
  *state = f;
  return 0;
}

// After a test has changed the settings.
static void start(struct fixture *f) {
  f->h = harness_new(&f->settings);
  f->h->shard->pressure.measure = measure;
  f->h->shard->pressure.measure_arg = f;
  decorator_init(&f->d, f->h);
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  f->h->loop->now_us = NULL;
  harness_end_peers(f->h);
  assert_int_equal(shard_stats(f->h->shard)->unfinished_bytes, 0);
  harness_free(f->h);
  mem_free(f);
  return 0;
}

static const struct stats *stats(const struct fixture *f) { return shard_stats(f->h->shard); }

// A PUBLISH of QoS 0 to "t" with as many bytes of payload, but for the last ones that are missing.
static void send_publish(struct peer *p, size_t payload, size_t missing) {
  uint8_t *bytes = mem_calloc(1, payload);
  struct buf b = BUF_INIT;
  struct packet_message m = {.topic = SLICE("t"), .payload = slice_of(bytes, payload)};
  packet_encode(&(struct packet){.type = PACKET_PUBLISH, .publish = {.message = m}}, MQTT_3_1_1, &b);
  peer_send(p, slice_of(b.ptr, b.len - missing));
  buf_release(&b);
  mem_free(bytes);
}

static void the_largest_unfinished_packets_go_when_there_are_too_many_bytes(void **state) {
  struct fixture *f = *state;
  f->settings.unfinished_bytes = 1500 * KIB;
  start(f);
  struct peer *small = peer_connect(f->h, "small", true), *a = peer_connect(f->h, "a", true);
  struct peer *b = peer_connect(f->h, "b", true), *whole = peer_connect(f->h, "whole", true);
  send_publish(small, 100 * KIB, 1);
  send_publish(a, 400 * KIB, 1);
  send_publish(whole, 900 * KIB, 0);
  peer_expect_nothing(a);
  assert_in_range(stats(f)->unfinished_bytes, 500 * KIB, 1000 * KIB);
  decorator_clear_log(&f->d);
  send_publish(b, 1200 * KIB, 1);
  peer_expect_closed(b);
  decorator_expect_line(&f->d, "[client error] too many bytes in unfinished packets\n");
  assert_string_equal(f->d.last_end, "too many bytes in unfinished packets");
  assert_int_equal(stats(f)->unfinished_bytes_exceeded, 1);
  peer_expect_nothing(a);
  peer_expect_nothing(whole);
  peer_send_hex(small, "00 c0 00"); // the last byte of its packet
  peer_expect(small, PACKET_PINGRESP, NULL);
  assert_int_equal(stats(f)->messages_published, 2);
}

static void small_unfinished_packets_are_not_counted(void **state) {
  struct fixture *f = *state;
  f->settings.unfinished_bytes = 1;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  send_publish(p, 2000, 1);
  assert_int_equal(stats(f)->unfinished_bytes, 0);
  peer_send_hex(p, "00 c0 00");
  peer_expect(p, PACKET_PINGRESP, NULL);
}

static void whole_packets_that_wait_are_not_unfinished(void **state) {
  struct fixture *f = *state;
  f->settings.unfinished_bytes = 1;
  f->settings.client.publish_rate = 1;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  send_publish(p, 10, 0);
  send_publish(p, 100 * KIB, 0);
  peer_expect_nothing(p);
  assert_int_equal(stats(f)->unfinished_bytes, 0);
}

static void without_a_limit_unfinished_packets_may_have_any_size(void **state) {
  struct fixture *f = *state;
  f->settings.unfinished_bytes = 0;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  send_publish(p, 7 << 20, 1);
  peer_expect_nothing(p);
  assert_true(stats(f)->unfinished_bytes >= 7 << 20);
}

static void use_memory(struct fixture *f, uint64_t bytes) {
  f->memory_bytes = bytes;
  harness_advance(f->h, 10);
  harness_run(f->h);
}

static void unfinished_packets_go_before_anybody_is_refused_memory(void **state) {
  struct fixture *f = *state;
  f->settings.memory_limit_bytes = 1000 * KIB;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true), *small = peer_connect(f->h, "small", true);
  struct peer *large = peer_connect(f->h, "large", true);
  send_publish(small, 100 * KIB, 1);
  send_publish(large, 300 * KIB, 1);
  use_memory(f, 700 * KIB);
  peer_expect_closed(large);
  peer_expect_nothing(small);
  assert_int_equal(stats(f)->unfinished_bytes_exceeded, 1);
  assert_int_equal(stats(f)->memory_limit_near, 0);
  assert_int_equal(peer_subscribe(p, "t", 1), 1);
}

static void near_the_memory_limit_a_large_packet_may_still_be_sent(void **state) {
  struct fixture *f = *state;
  f->settings.memory_limit_bytes = 1000 * KIB;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  use_memory(f, 910 * KIB);
  send_publish(p, 20 * KIB, 1);
  harness_advance(f->h, 1000);
  peer_send_hex(p, "00 c0 00");
  peer_expect(p, PACKET_PINGRESP, NULL);
  send_publish(p, 100 * KIB, 1); // now it is above
  harness_advance(f->h, 1000);
  peer_expect_closed(p);
  assert_int_equal(stats(f)->memory_limit_reached, 0);
}

static void near_the_memory_limit_messages_pass_but_nothing_stays(void **state) {
  struct fixture *f = *state;
  f->settings.memory_limit_bytes = 1000 * KIB;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true), *later = peer_open(f->h);
  peer_subscribe(p, "t", 1);
  use_memory(f, 901 * KIB);
  assert_int_equal(stats(f)->memory_limit_near, 1);
  assert_int_equal(stats(f)->memory_limit_reached, 0);
  struct packet_connect connect = peer_connect_defaults("later", true);
  assert_int_equal(peer_connect_with(later, &connect, NULL), CONNACK_SERVER_UNAVAILABLE);
  assert_int_equal(peer_subscribe(p, "a", 1), SUBACK_FAILURE);
  uint16_t id = peer_publish(p, "t", "x", 1, true);
  peer_expect_ack(p, PACKET_PUBACK, id);
  peer_send_ack(p, PACKET_PUBACK, peer_expect_message(p, "t", "x", 1));
  assert_int_equal(stats(f)->retained_refused, 1);
  use_memory(f, 851 * KIB); // not yet
  assert_int_equal(peer_subscribe(p, "a", 1), SUBACK_FAILURE);
  use_memory(f, 850 * KIB);
  assert_int_equal(peer_subscribe(p, "a", 1), 1);
}

// --- time ---

// Each look at the time takes 100 microseconds.
static uint64_t tick(void *arg) { return ((struct fixture *)arg)->time_us += 100; }

static void a_client_whose_packets_take_long_lets_others_go_first(void **state) {
  struct fixture *f = *state;
  start(f);
  struct peer *busy = peer_connect(f->h, "busy", true), *other = peer_connect(f->h, "other", true);
  f->h->loop->now_us = tick;
  f->h->loop->now_arg = f;
  struct buf pings = BUF_INIT;
  for (int i = 0; i < 1000; i++)
    buf_add(&pings, "\xc0", 2);
  memory_send(busy->memory, buf_slice(&pings));
  buf_release(&pings);
  memory_send(other->memory, SLICE("\xc0\x00"));
  shard_turn(f->h->shard, false);
  assert_in_range(stats(f)->packets_received, 2 + 1 + 8, 200);
  assert_int_equal(memory_received(other->memory).len, 2);
  struct packet got;
  int answers = 0;
  while (peer_next(busy, &got))
    answers += got.type == PACKET_PINGRESP;
  assert_int_equal(answers, 1000);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_largest_unfinished_packet_is_the_oldest_of_its_power),
      test(the_largest_unfinished_packets_go_when_there_are_too_many_bytes),
      test(small_unfinished_packets_are_not_counted),
      test(whole_packets_that_wait_are_not_unfinished),
      test(without_a_limit_unfinished_packets_may_have_any_size),
      test(unfinished_packets_go_before_anybody_is_refused_memory),
      test(near_the_memory_limit_a_large_packet_may_still_be_sent),
      test(near_the_memory_limit_messages_pass_but_nothing_stays),
      test(a_client_whose_packets_take_long_lets_others_go_first),
  };
  return cmocka_run_group_tests_name("limits of turns", tests, NULL, NULL);
}
