// What holds a client back or ends it: its publish rate, bytes in flight, unfinished packets, the memory of
// the process, the number of clients of its user.
#include "decorator.h"

struct fixture {
  struct harness *h;
  struct decorator d;
  struct settings settings;
  uint64_t memory_bytes; // that the process seems to use
};

static uint64_t measure(void *arg) { return ((const struct fixture *)arg)->memory_bytes; }

static int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  settings_init(&f->settings);
  f->settings.memory_limit_percent = 0;
  f->settings.memory_limit_bytes = 1000000;
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
  harness_end_peers(f->h);
  harness_free(f->h);
  mem_free(f);
  return 0;
}

static const struct stats *stats(const struct fixture *f) { return &f->h->shard->stats; }

// As many QoS 1 messages at once; ids from 1 on.
static void send_publishes(struct peer *p, int count, const char *payload) {
  struct buf b = BUF_INIT;
  for (int i = 1; i <= count; i++) {
    struct packet_message m = {.topic = SLICE("t"), .payload = slice_str(payload), .qos = 1};
    packet_encode(&(struct packet){.type = PACKET_PUBLISH, .id = (uint16_t)i, .publish = {.message = m}},
                  MQTT_3_1_1, &b);
  }
  peer_send(p, buf_slice(&b));
  buf_release(&b);
}

static int count_acks(struct peer *p) {
  struct packet got;
  int count = 0;
  while (peer_next(p, &got))
    count += got.type == PACKET_PUBACK;
  return count;
}

// --- publish rate ---

static void a_publisher_above_its_rate_is_not_read_and_loses_nothing(void **state) {
  struct fixture *f = *state;
  f->settings.client.publish_rate = 10;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  decorator_clear_log(&f->d);
  send_publishes(p, 25, "x");
  assert_int_equal(count_acks(p), 10); // a second's worth
  decorator_expect_line(&f->d, "[client error] publish rate: it is not read\n");
  harness_advance(f->h, 99);
  assert_int_equal(count_acks(p), 1);
  harness_advance(f->h, 1001);
  assert_int_equal(count_acks(p), 10);
  harness_advance(f->h, 1000);
  assert_int_equal(count_acks(p), 4);
  assert_int_equal(stats(f)->messages_published, 25);
  assert_true(stats(f)->publishes_throttled >= 2);
  assert_null(strstr(buf_text(&f->d.log), "publish rate")); // once an episode
  harness_advance(f->h, 3000);
  send_publishes(p, 11, "x");
  decorator_expect_line(&f->d, "[client error] publish rate: it is not read\n");
}

static void a_rate_in_bytes_lets_a_large_message_through_and_waits_for_its_debt(void **state) {
  struct fixture *f = *state;
  f->settings.client.publish_bytes = 100;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  static char payload[600];
  memset(payload, 'x', sizeof payload - 1);
  send_publishes(p, 2, payload); // 600 bytes each, with the topic
  assert_int_equal(count_acks(p), 1);
  harness_advance(f->h, 5000);
  assert_int_equal(count_acks(p), 0);
  harness_advance(f->h, 1);
  assert_int_equal(count_acks(p), 1);
}

static void the_wait_for_the_rate_is_neither_keep_alive_nor_token_time(void **state) {
  struct fixture *f = *state;
  f->settings.client.publish_bytes = 1;
  f->settings.client.token_timeout_ms = 1000;
  f->settings.client.inflight_messages = 1;
  start(f);
  struct peer *p = peer_open(f->h);
  struct packet_connect connect = peer_connect_defaults("p", true);
  connect.keep_alive = 2;
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  peer_subscribe(p, "t", 1);
  send_publishes(p, 3, "0123456789012345678901234567890123456789");
  harness_advance(f->h, 30000);
  assert_false(peer_is_closed(p)); // although two of its messages wait for its acknowledgement
  harness_advance(f->h, 3600000);
  assert_true(peer_is_closed(p));
}

static void the_rate_may_change_while_it_waits(void **state) {
  struct fixture *f = *state;
  f->settings.client.publish_rate = 1;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  send_publishes(p, 3, "x");
  assert_int_equal(count_acks(p), 1);
  struct client *c = harness_session(f->h, "p")->client;
  struct client_settings own = *client_settings(c);
  own.publish_rate = 0;
  client_change_settings(c, &own);
  assert_int_equal(count_acks(p), 2);
  own.publish_rate = 2;
  client_change_settings(c, &own);
  send_publishes(p, 3, "x");
  assert_int_equal(count_acks(p), 2);
}

static void a_paused_publisher_may_be_closed(void **state) {
  struct fixture *f = *state;
  f->settings.client.publish_rate = 1;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  send_publishes(p, 3, "x");
  client_close(harness_session(f->h, "p")->client, NULL);
  assert_int_equal(count_acks(p), 1);
  peer_expect_closed(p);
}

// --- bytes in flight ---

static void bytes_in_flight_are_bounded_but_one_message_always_goes(void **state) {
  struct fixture *f = *state;
  f->settings.client.inflight_bytes = 1024;
  start(f);
  struct peer *sub = peer_connect(f->h, "sub", true), *pub = peer_connect(f->h, "pub", true);
  peer_subscribe(sub, "t", 2);
  decorator_clear_log(&f->d);
  static char payload[3000], small[600];
  memset(payload, 'x', sizeof payload - 1);
  memset(small, 'y', sizeof small - 1);
  peer_publish(pub, "t", payload, 1, false);
  uint16_t large = peer_expect_message(sub, "t", payload, 1);
  for (int i = 0; i < 3; i++)
    peer_publish(pub, "t", small, 1, false);
  peer_expect_nothing(sub);
  assert_int_equal(stats(f)->inflight_bytes_reached, 1);
  decorator_expect_line(&f->d, "[client error] too many bytes in flight\n");
  peer_send_ack(sub, PACKET_PUBACK, large);
  uint16_t first = peer_expect_message(sub, "t", small, 1);
  peer_expect_message(sub, "t", small, 1);
  peer_expect_nothing(sub);
  peer_send_ack(sub, PACKET_PUBACK, first);
  peer_expect_message(sub, "t", small, 1);
}

static void qos_2_bytes_are_in_flight_until_pubrec(void **state) {
  struct fixture *f = *state;
  f->settings.client.inflight_bytes = 1024;
  start(f);
  struct peer *sub = peer_connect(f->h, "sub", false);
  peer_subscribe(sub, "t", 2);
  static char payload[2000];
  memset(payload, 'x', sizeof payload - 1);
  struct peer *pub = peer_connect(f->h, "pub", true);
  for (int i = 0; i < 2; i++) {
    uint16_t id = peer_publish(pub, "t", payload, 2, false);
    peer_expect_ack(pub, PACKET_PUBREC, id);
    peer_send_ack(pub, PACKET_PUBREL, id);
    peer_expect_ack(pub, PACKET_PUBCOMP, id);
  }
  uint16_t id = peer_expect_message(sub, "t", payload, 2);
  peer_expect_nothing(sub);
  peer_send_ack(sub, PACKET_PUBREC, id);
  peer_expect_ack(sub, PACKET_PUBREL, id);
  id = peer_expect_message(sub, "t", payload, 2);
  peer_send_ack(sub, PACKET_PUBREC, id);
  peer_expect_ack(sub, PACKET_PUBREL, id);
  assert_int_equal(harness_session(f->h, "sub")->outgoing_bytes, 0);
}

static void a_client_that_leaves_its_bytes_in_flight_runs_out_of_tokens(void **state) {
  struct fixture *f = *state;
  f->settings.client.inflight_bytes = 1024;
  start(f);
  struct peer *sub = peer_connect(f->h, "sub", true), *pub = peer_connect(f->h, "pub", true);
  peer_subscribe(sub, "t", 1);
  static char payload[2000];
  memset(payload, 'x', sizeof payload - 1);
  for (int i = 0; i < 2; i++)
    peer_publish(pub, "t", payload, 1, false);
  peer_expect_message(sub, "t", payload, 1);
  harness_advance(f->h, 29999);
  peer_expect_nothing(sub);
  harness_advance(f->h, 1);
  peer_expect_closed(sub);
  assert_int_equal(stats(f)->tokens_timed_out, 1);
}

// --- unfinished packets ---

static void an_unfinished_publish_ends_its_client_in_time(void **state) {
  struct fixture *f = *state;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  peer_send_hex(p, "30 7f 00 01 74");
  for (int i = 0; i < 59; i++) { // a byte now and then is no help
    harness_advance(f->h, 1000);
    peer_send_hex(p, "78");
  }
  harness_advance(f->h, 999);
  peer_expect_nothing(p);
  harness_advance(f->h, 8); // 127 bytes are worth 7 ms
  peer_expect_closed(p);
  assert_int_equal(stats(f)->packets_timed_out, 1);
  assert_string_equal(f->d.last_end, "packet timeout");
}

static void a_large_packet_has_more_time(void **state) {
  struct fixture *f = *state;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  peer_send_hex(p, "30 80 80 40 00 01 74"); // 1 MiB: 64 seconds
  harness_advance(f->h, 60000 + 64000 - 1);
  peer_expect_nothing(p);
  harness_advance(f->h, 1);
  peer_expect_closed(p);
}

static void a_header_alone_must_be_completed_too(void **state) {
  struct fixture *f = *state;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  peer_send_hex(p, "30 80");
  harness_advance(f->h, 60000);
  peer_expect_closed(p);
}

static void the_time_begins_anew_with_each_packet(void **state) {
  struct fixture *f = *state;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  peer_send_hex(p, "c0");
  for (int i = 0; i < 5; i++) { // never without an unfinished packet
    harness_advance(f->h, 50000);
    peer_send_hex(p, "00 c0");
    peer_expect(p, PACKET_PINGRESP, NULL);
  }
  harness_advance(f->h, 59999);
  peer_send_hex(p, "00");
  peer_expect(p, PACKET_PINGRESP, NULL);
  harness_advance(f->h, 3600000);
  peer_expect_nothing(p);
}

static void an_unfinished_connect_has_the_shorter_of_both_times(void **state) {
  struct fixture *f = *state;
  f->settings.packet_time_ms = 3000;
  start(f);
  struct peer *slow = peer_open(f->h), *silent = peer_open(f->h);
  harness_advance(f->h, 1000);
  peer_send_hex(slow, "10 0d 00 04");
  harness_advance(f->h, 3000);
  peer_expect_closed(slow);
  assert_int_equal(stats(f)->packets_timed_out, 1);
  peer_send_hex(silent, "10");
  harness_advance(f->h, 3000);
  peer_expect_closed(silent);
  struct peer *late = peer_open(f->h);
  harness_advance(f->h, 8000);
  peer_send_hex(late, "10");
  harness_advance(f->h, 2000);
  peer_expect_closed(late);
  assert_int_equal(stats(f)->connects_timed_out, 1);
}

static void the_time_in_which_nothing_is_read_does_not_count(void **state) {
  struct fixture *f = *state;
  f->settings.client.publish_bytes = 1;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  static char payload[201];
  memset(payload, 'x', sizeof payload - 1);
  send_publishes(p, 1, payload);
  peer_send_hex(p, "c0");
  harness_advance(f->h, 199000); // it is paused for 200 seconds
  assert_int_equal(count_acks(p), 1);
  harness_advance(f->h, 60000);
  peer_expect_nothing(p);
  harness_advance(f->h, 1100);
  peer_expect_closed(p);
}

static void without_a_packet_time_a_packet_may_take_for_ever(void **state) {
  struct fixture *f = *state;
  f->settings.packet_time_ms = 0;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  peer_send_hex(p, "c0");
  harness_advance(f->h, 86400000);
  peer_send_hex(p, "00");
  peer_expect(p, PACKET_PINGRESP, NULL);
}

// --- memory ---

static void use_memory(struct fixture *f, uint64_t bytes) {
  f->memory_bytes = bytes;
  harness_advance(f->h, 10);
  harness_run(f->h);
}

static void above_the_memory_limit_nothing_new_is_taken_on(void **state) {
  struct fixture *f = *state;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true), *sub = peer_connect(f->h, "sub", true);
  struct peer *later = peer_open(f->h);
  peer_subscribe(sub, "#", 1);
  use_memory(f, 1000001);
  assert_int_equal(stats(f)->memory_limit_reached, 1);
  struct packet_connect connect = peer_connect_defaults("later", true);
  assert_int_equal(peer_connect_with(later, &connect, NULL), CONNACK_SERVER_UNAVAILABLE);
  peer_expect_closed(later);
  assert_int_equal(stats(f)->connects_refused_memory, 1);
  assert_int_equal(peer_subscribe(p, "a", 1), SUBACK_FAILURE);
  peer_publish(p, "t", "x", 0, false);
  peer_expect_nothing(sub);
  assert_int_equal(stats(f)->messages_dropped_memory, 1);
  struct packet_message own = {.topic = SLICE("t"), .payload = SLICE("own"), .retain = true};
  struct message *m = message_new(&own, 0);
  f->h->memory->ops->publish(f->h->memory, m, (struct ack){.message = m});
  message_unref(m);
  peer_expect_message(sub, "t", "own", 0); // what the broker itself publishes
  assert_int_equal(stats(f)->retained_refused, 1);
  assert_int_equal(stats(f)->retained_messages, 0);
  use_memory(f, 850000);
  assert_int_equal(peer_subscribe(p, "a", 1), 1);
}

static void above_the_memory_limit_publishers_of_qos_1_wait(void **state) {
  struct fixture *f = *state;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  use_memory(f, 1000001);
  peer_publish(p, "t", "x", 1, false);
  peer_send_hex(p, "c0 00");
  peer_expect_nothing(p);
  assert_int_equal(stats(f)->publishes_held_memory, 1);
  harness_advance(f->h, 29000);
  use_memory(f, 950001); // not yet
  peer_expect_nothing(p);
  use_memory(f, 950000);
  peer_expect(p, PACKET_PUBACK, NULL);
  peer_expect(p, PACKET_PINGRESP, NULL);
  assert_int_equal(stats(f)->messages_published, 1);
}

static void the_token_timeout_ends_the_wait_for_memory(void **state) {
  struct fixture *f = *state;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true), *other = peer_connect(f->h, "other", true);
  use_memory(f, 1000001);
  peer_publish(p, "t", "x", 2, false);
  harness_advance(f->h, 30000);
  peer_expect_closed(p);
  assert_int_equal(stats(f)->tokens_timed_out, 1);
  peer_expect_nothing(other);
}

static void what_is_released_goes_on_above_the_memory_limit(void **state) {
  struct fixture *f = *state;
  start(f);
  struct peer *p = peer_connect(f->h, "p", true);
  uint16_t id = peer_publish(p, "t", "x", 2, false);
  peer_expect_ack(p, PACKET_PUBREC, id);
  use_memory(f, 1000001);
  peer_send_ack(p, PACKET_PUBREL, id);
  peer_expect_ack(p, PACKET_PUBCOMP, id);
}

static void the_memory_is_read_every_ten_milliseconds_at_most(void **state) {
  struct fixture *f = *state;
  start(f);
  use_memory(f, 5);
  f->memory_bytes = 6;
  harness_advance(f->h, 9);
  assert_int_equal(shard_stats(f->h->shard)->memory_bytes, 5);
  harness_advance(f->h, 1);
  assert_int_equal(shard_stats(f->h->shard)->memory_bytes, 6);
  assert_int_equal(shard_stats(f->h->shard)->memory_limit_bytes, 1000000);
}

static void without_a_memory_limit_there_is_none(void **state) {
  struct fixture *f = *state;
  f->settings.memory_limit_bytes = 0;
  start(f);
  use_memory(f, UINT64_MAX);
  peer_connect(f->h, "p", true);
}

static void the_default_is_a_share_of_what_there_is(void **state) {
  struct fixture *f = *state;
  settings_init(&f->settings);
  start(f);
  uint64_t limit = shard_stats(f->h->shard)->memory_limit_bytes;
  assert_true(limit > 1 << 20);
  f->h->shard->pressure.measure = NULL;
  harness_advance(f->h, 10);
  assert_in_range(shard_stats(f->h->shard)->memory_bytes, 1 << 20, limit);
}

// --- users ---

static uint8_t log_in(struct harness *h, const char *id, const char *user) {
  struct peer *p = peer_open(h);
  struct packet_connect connect = peer_connect_defaults(id, true);
  connect.has_username = user != NULL;
  if (user) connect.username = slice_str(user);
  uint8_t code = peer_connect_with(p, &connect, NULL);
  if (code) peer_expect_closed(p);
  return code;
}

static void clients_of_a_user_are_bounded(void **state) {
  struct fixture *f = *state;
  f->settings.connections_per_user = 2;
  start(f);
  assert_int_equal(log_in(f->h, "a", "u"), 0);
  assert_int_equal(log_in(f->h, "b", "u"), 0);
  assert_int_equal(log_in(f->h, "c", "u"), CONNACK_SERVER_UNAVAILABLE);
  assert_int_equal(stats(f)->connects_refused_user, 1);
  assert_int_equal(log_in(f->h, "b", "u"), 0); // a take-over is none more
  assert_int_equal(log_in(f->h, "c", "v"), 0);
  for (int i = 0; i < 5; i++)
    assert_int_equal(log_in(f->h, (const char *[]){"d", "e", "f", "g", "h"}[i], NULL), 0);
  client_close(harness_session(f->h, "a")->client, NULL);
  harness_run(f->h);
  assert_int_equal(log_in(f->h, "c2", "u"), 0);
}

// --- filters ---

static void send_filters(struct peer *p, uint8_t type, uint32_t count) {
  struct buf list = BUF_INIT;
  for (uint32_t i = 0; i < count; i++)
    buf_add(&list, "\0\1t\0", type == PACKET_SUBSCRIBE ? 4 : 3);
  peer_send_packet(
      p, &(struct packet){.type = type, .id = 1, .subscribe = {.count = count, .list = buf_slice(&list)}});
  buf_release(&list);
}

static void a_packet_with_more_filters_than_a_session_may_have_ends_the_client(void **state) {
  struct fixture *f = *state;
  f->settings.subscriptions = 2000;
  start(f);
  static const uint8_t types[] = {PACKET_SUBSCRIBE, PACKET_UNSUBSCRIBE};
  for (size_t i = 0; i < 2; i++) {
    struct peer *p = peer_connect(f->h, "p", true);
    send_filters(p, types[i], 2000);
    peer_expect(p, types[i] + 1, NULL);
    send_filters(p, types[i], 2001);
    peer_expect_closed(p);
    p = peer_connect_5(f->h, "p", true, "");
    send_filters(p, types[i], 2001);
    peer_expect_disconnect(p, REASON_QUOTA_EXCEEDED);
  }
  assert_int_equal(stats(f)->subscribes_refused, 4 * 2001);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(a_publisher_above_its_rate_is_not_read_and_loses_nothing),
      test(a_rate_in_bytes_lets_a_large_message_through_and_waits_for_its_debt),
      test(the_wait_for_the_rate_is_neither_keep_alive_nor_token_time),
      test(the_rate_may_change_while_it_waits),
      test(a_paused_publisher_may_be_closed),
      test(bytes_in_flight_are_bounded_but_one_message_always_goes),
      test(qos_2_bytes_are_in_flight_until_pubrec),
      test(a_client_that_leaves_its_bytes_in_flight_runs_out_of_tokens),
      test(an_unfinished_publish_ends_its_client_in_time),
      test(a_large_packet_has_more_time),
      test(a_header_alone_must_be_completed_too),
      test(the_time_begins_anew_with_each_packet),
      test(an_unfinished_connect_has_the_shorter_of_both_times),
      test(the_time_in_which_nothing_is_read_does_not_count),
      test(without_a_packet_time_a_packet_may_take_for_ever),
      test(above_the_memory_limit_nothing_new_is_taken_on),
      test(above_the_memory_limit_publishers_of_qos_1_wait),
      test(the_token_timeout_ends_the_wait_for_memory),
      test(what_is_released_goes_on_above_the_memory_limit),
      test(the_memory_is_read_every_ten_milliseconds_at_most),
      test(without_a_memory_limit_there_is_none),
      test(the_default_is_a_share_of_what_there_is),
      test(clients_of_a_user_are_bounded),
      test(a_packet_with_more_filters_than_a_session_may_have_ends_the_client),
  };
  return cmocka_run_group_tests_name("limits of clients", tests, NULL, NULL);
}
