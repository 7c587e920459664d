// Windows and deadlines of a client: tokens, keep alive, the first packet, read limits.
#include "decorator.h"

struct fixture {
  struct harness *h;
  struct decorator d;
};

static struct settings defaults(void) {
  struct settings s;
  settings_init(&s);
  return s;
}

static void start(struct fixture *f, const struct settings *settings) {
  f->h = harness_new(settings);
  decorator_init(&f->d, f->h);
}

static void stop(struct fixture *f) {
  harness_end_peers(f->h);
  harness_free(f->h);
}

static struct peer *connect_alive(struct harness *h, const char *id, uint16_t keep_alive) {
  struct peer *p = peer_open(h);
  struct packet_connect connect = peer_connect_defaults(id, true);
  connect.keep_alive = keep_alive;
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  return p;
}

static struct client *client_of(struct harness *h, const char *id) { return harness_session(h, id)->client; }

static void ping(struct peer *p) {
  peer_send_hex(p, "c0 00");
  peer_expect(p, PACKET_PINGRESP, NULL);
}

// --- the window towards the client ---

static void no_more_than_inflight_messages_are_under_way(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  s.client.inflight_messages = 3;
  start(&f, &s);
  struct peer *sub = peer_connect(f.h, "sub", true), *pub = peer_connect(f.h, "pub", true);
  peer_subscribe(sub, "t", 2);
  static const char *const payloads[] = {"0", "1", "2", "3", "4", "5"};
  for (int i = 0; i < 6; i++)
    peer_publish(pub, "t", payloads[i], 1, false);
  uint16_t id[3];
  for (int i = 0; i < 3; i++)
    id[i] = peer_expect_message(sub, "t", payloads[i], 1);
  peer_expect_nothing(sub);
  peer_send_ack(sub, PACKET_PUBACK, id[1]); // in any order
  peer_expect_message(sub, "t", "3", 1);
  peer_expect_nothing(sub);
  peer_send_ack(sub, PACKET_PUBACK, id[0]);
  peer_send_ack(sub, PACKET_PUBACK, id[2]);
  peer_expect_message(sub, "t", "4", 1);
  peer_expect_message(sub, "t", "5", 1);
  stop(&f);
}

static void qos_2_takes_its_token_until_pubcomp(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  s.client.inflight_messages = 1;
  start(&f, &s);
  struct peer *sub = peer_connect(f.h, "sub", true), *pub = peer_connect(f.h, "pub", true);
  peer_subscribe(sub, "t", 2);
  for (int i = 0; i < 2; i++) {
    uint16_t sent = peer_publish(pub, "t", "x", 2, false);
    peer_expect_ack(pub, PACKET_PUBREC, sent);
    peer_send_ack(pub, PACKET_PUBREL, sent);
    peer_expect_ack(pub, PACKET_PUBCOMP, sent);
  }
  uint16_t id = peer_expect_message(sub, "t", "x", 2);
  peer_expect_nothing(sub);
  peer_send_ack(sub, PACKET_PUBREC, id);
  peer_expect_ack(sub, PACKET_PUBREL, id);
  peer_expect_nothing(sub);
  peer_send_ack(sub, PACKET_PUBREC, id); // again: answered again
  peer_expect_ack(sub, PACKET_PUBREL, id);
  peer_expect_nothing(sub);
  peer_send_ack(sub, PACKET_PUBCOMP, id);
  assert_int_not_equal(peer_expect_message(sub, "t", "x", 2), 0);
  stop(&f);
}

static void wrong_acknowledgements_free_no_token(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  s.client.inflight_messages = 1;
  start(&f, &s);
  struct peer *sub = peer_connect(f.h, "sub", true), *pub = peer_connect(f.h, "pub", true);
  peer_subscribe(sub, "t", 1);
  peer_publish(pub, "t", "0", 1, false);
  peer_publish(pub, "t", "1", 1, false);
  uint16_t id = peer_expect_message(sub, "t", "0", 1);
  peer_send_ack(sub, PACKET_PUBACK, (uint16_t)(id + 7));
  peer_send_ack(sub, PACKET_PUBCOMP, id);
  peer_expect_nothing(sub);
  peer_send_ack(sub, PACKET_PUBACK, id);
  peer_expect_message(sub, "t", "1", 1);
  stop(&f);
}

// A window of one message that is full, and `waiting` messages behind it.
static void block(struct fixture *f, struct peer **sub, int waiting) {
  struct settings s = defaults();
  s.client.inflight_messages = 1;
  start(f, &s);
  *sub = peer_connect(f->h, "sub", true);
  struct peer *pub = peer_connect(f->h, "pub", true);
  peer_subscribe(*sub, "t", 1);
  for (int i = 0; i <= waiting; i++)
    peer_publish(pub, "t", "x", 1, false);
  assert_int_equal(peer_expect_message(*sub, "t", "x", 1), 1);
}

static void a_client_without_dequeue_tokens_is_closed_while_a_message_waits(void **state) {
  (void)state;
  struct fixture f;
  struct peer *sub;
  block(&f, &sub, 1);
  harness_advance(f.h, 29999);
  peer_expect_nothing(sub);
  harness_advance(f.h, 1);
  peer_expect_closed(sub);
  assert_string_equal(f.d.last_end, "token timeout");
  decorator_expect_line(&f.d, "[client error] token timeout\n[lost connection]\n");
  assert_int_equal(f.h->shard->stats.tokens_timed_out, 1);
  stop(&f);
}

static void without_a_waiting_message_no_time_counts(void **state) {
  (void)state;
  struct fixture f;
  struct peer *sub;
  block(&f, &sub, 0);
  harness_advance(f.h, 100000);
  peer_expect_nothing(sub);
  struct peer *pub = peer_connect(f.h, "late", true);
  peer_publish(pub, "t", "y", 1, false);
  harness_advance(f.h, 29999);
  peer_expect_nothing(sub);
  harness_advance(f.h, 1);
  peer_expect_closed(sub);
  stop(&f);
}

static void pings_do_not_buy_dequeue_time(void **state) {
  (void)state;
  struct fixture f;
  struct peer *sub;
  block(&f, &sub, 1);
  for (int i = 0; i < 2; i++) {
    harness_advance(f.h, 10000);
    ping(sub);
  }
  harness_advance(f.h, 10000);
  peer_expect_closed(sub);
  assert_string_equal(f.d.last_end, "token timeout");
  stop(&f);
}

static void each_acknowledgement_starts_the_dequeue_time_anew(void **state) {
  (void)state;
  struct fixture f;
  struct peer *sub;
  block(&f, &sub, 3);
  for (uint16_t id = 1; id <= 3; id++) {
    harness_advance(f.h, 20000);
    peer_send_ack(sub, PACKET_PUBACK, id);
    peer_expect_message(sub, "t", "x", 1);
  }
  harness_advance(f.h, 100000); // nothing waits any longer
  peer_expect_nothing(sub);
  stop(&f);
}

// --- the tokens of what the client sends ---

static void parallel_publishes_bound_what_is_under_way(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  s.client.parallel_publishes = 3;
  start(&f, &s);
  f.d.hold_acks = true;
  struct peer *p = peer_connect(f.h, "p", true);
  for (int i = 0; i < 5; i++)
    peer_publish(p, "t", "x", 1, false);
  peer_send_hex(p, "c0 00");
  assert_int_equal(f.d.ack_count, 3);
  peer_expect_nothing(p);
  decorator_release_acks(&f.d, f.h, 1);
  peer_expect_ack(p, PACKET_PUBACK, 1);
  assert_int_equal(f.d.ack_count, 3);
  peer_expect_nothing(p);
  decorator_release_acks(&f.d, f.h, 3);
  for (uint16_t id = 2; id <= 4; id++)
    peer_expect_ack(p, PACKET_PUBACK, id);
  peer_expect(p, PACKET_PINGRESP, NULL);
  decorator_release_acks(&f.d, f.h, 1);
  peer_expect_ack(p, PACKET_PUBACK, 5);
  stop(&f);
}

static void a_client_out_of_publish_tokens_is_closed(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  s.client.parallel_publishes = 2;
  start(&f, &s);
  f.d.hold_acks = true;
  struct peer *p = connect_alive(f.h, "p", 1), *q = connect_alive(f.h, "q", 0);
  peer_publish(p, "t", "x", 1, false);
  harness_advance(f.h, 1000);
  peer_publish(p, "t", "x", 1, false); // the last token
  harness_advance(f.h, 29999);         // far beyond the keep alive
  peer_expect_nothing(p);
  peer_publish(q, "t", "x", 1, false); // has tokens: no time counts
  harness_advance(f.h, 1);
  peer_expect_closed(p);
  assert_string_equal(f.d.last_end, "token timeout");
  harness_advance(f.h, 60000);
  peer_expect_nothing(q);
  decorator_release_acks(&f.d, f.h, f.d.ack_count); // of a client that is gone
  peer_expect_ack(q, PACKET_PUBACK, 1);
  stop(&f);
}

static void tokens_used_up_by_an_operation_that_was_resumed_count_too(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  s.client.parallel_publishes = 1;
  start(&f, &s);
  f.d.hold_acks = f.d.hold_accept = true;
  struct peer *p = peer_connect(f.h, "p", true);
  peer_publish(p, "t", "x", 1, false);
  harness_advance(f.h, 60000); // the backend takes its time
  peer_expect_nothing(p);
  decorator_resume(&f.d, f.h, (struct reply){0});
  assert_int_equal(f.d.ack_count, 1);
  harness_advance(f.h, 29999);
  peer_expect_nothing(p);
  harness_advance(f.h, 1);
  peer_expect_closed(p);
  assert_string_equal(f.d.last_end, "token timeout");
  decorator_release_acks(&f.d, f.h, 1);
  stop(&f);
}

static void a_client_out_of_subscribe_tokens_is_closed(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  s.client.parallel_subscribes = 2;
  start(&f, &s);
  f.d.hold_subscribes = true;
  struct peer *p = peer_connect(f.h, "p", true);
  peer_send_hex(p, "82 06 00 01 00 01 61 00");
  peer_send_hex(p, "a2 05 00 02 00 01 61");
  peer_send_hex(p, "82 06 00 03 00 01 62 01");
  assert_int_equal(f.d.request_count, 2);
  harness_advance(f.h, 29000);
  peer_expect_nothing(p);
  decorator_release_request(&f.d, f.h);
  peer_expect_ack(p, PACKET_SUBACK, 1);
  assert_int_equal(f.d.request_count, 2);
  decorator_release_request(&f.d, f.h);
  peer_expect_ack(p, PACKET_UNSUBACK, 2);
  decorator_release_request(&f.d, f.h);
  peer_expect_ack(p, PACKET_SUBACK, 3);
  peer_send_hex(p, "82 06 00 04 00 01 61 00 82 06 00 05 00 01 61 00");
  harness_advance(f.h, 30000);
  peer_expect_closed(p);
  assert_string_equal(f.d.last_end, "token timeout");
  while (f.d.request_count)
    decorator_release_request(&f.d, f.h);
  stop(&f);
}

static void outstanding_pubrels_never_stop_reading(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  s.client.parallel_publishes = 2;
  start(&f, &s);
  struct peer *p = peer_connect(f.h, "p", true);
  for (int i = 0; i < 200; i++)
    peer_expect_ack(p, PACKET_PUBREC, peer_publish(p, "t", "x", 2, false));
  harness_advance(f.h, 60000);
  ping(p);
  for (uint16_t id = 1; id <= 200; id++) {
    peer_send_ack(p, PACKET_PUBREL, id);
    peer_expect_ack(p, PACKET_PUBCOMP, id);
  }
  stop(&f);
}

static void incoming_qos_2_bytes_are_bounded(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  s.incoming_bytes = 4000;
  start(&f, &s);
  struct peer *p = peer_connect(f.h, "p", true), *sub = peer_connect(f.h, "sub", true);
  char payload[1001];
  memset(payload, 'x', 1000);
  payload[1000] = 0;
  for (int i = 0; i < 20; i++) { // what is released does not count
    uint16_t id = peer_publish(p, "t", payload, 2, false);
    peer_expect_ack(p, PACKET_PUBREC, id);
    peer_send_ack(p, PACKET_PUBREL, id);
    peer_expect_ack(p, PACKET_PUBCOMP, id);
  }
  for (int i = 0; i < 3; i++)
    peer_expect_ack(p, PACKET_PUBREC, peer_publish(p, "t", payload, 2, false));
  peer_publish(p, "t", payload, 2, false);
  peer_expect_closed(p);
  assert_int_equal(f.h->shard->stats.incoming_bytes_exceeded, 1);
  peer_expect_nothing(sub);
  stop(&f);
}

static void an_accept_that_is_pending_keeps_the_order(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *p = peer_connect(f.h, "p", true), *sub = peer_connect(f.h, "sub", true);
  peer_subscribe(sub, "t", 2);
  f.d.hold_accept = true;
  uint16_t first = peer_publish(p, "t", "0", 1, false), second = peer_publish(p, "t", "1", 2, false);
  peer_send_hex(p, "c0 00");
  assert_int_equal(f.d.pending_count, 1);
  peer_expect_nothing(p);
  decorator_resume(&f.d, f.h, (struct reply){0});
  peer_expect_ack(p, PACKET_PUBACK, first);
  peer_expect_message(sub, "t", "0", 1);
  assert_int_equal(f.d.pending_count, 1);
  decorator_resume(&f.d, f.h, (struct reply){.reason = REASON_NOT_AUTHORIZED});
  peer_expect_ack(p, PACKET_PUBREC, second); // in 3.1.1 a refusal looks like success
  peer_expect(p, PACKET_PINGRESP, NULL);
  peer_send_ack(p, PACKET_PUBREL, second);
  peer_expect_ack(p, PACKET_PUBCOMP, second);
  peer_expect_nothing(sub);
  stop(&f);
}

static void a_duplicate_of_qos_2_is_not_decided_again(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *p = peer_connect(f.h, "p", true);
  for (int i = 0; i < 3; i++) {
    peer_send_hex(p, i ? "3c 06 00 01 74 00 07 78" : "34 06 00 01 74 00 07 78");
    peer_expect_ack(p, PACKET_PUBREC, 7);
  }
  assert_int_equal(f.d.accepted, 1);
  peer_send_ack(p, PACKET_PUBREL, 7);
  peer_expect_ack(p, PACKET_PUBCOMP, 7);
  assert_int_equal(f.h->shard->stats.messages_published, 1);
  stop(&f);
}

// --- keep alive ---

static void keep_alive_is_one_and_a_half_times_the_interval(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *p = connect_alive(f.h, "p", 10), *never = connect_alive(f.h, "never", 0);
  harness_advance(f.h, 14999);
  ping(p);
  harness_advance(f.h, 14999);
  peer_expect_nothing(p);
  harness_advance(f.h, 1);
  peer_expect_closed(p);
  assert_int_equal(f.h->shard->stats.keep_alives_timed_out, 1);
  decorator_expect_line(&f.d, "[transport error] ");
  harness_advance(f.h, 10000000);
  peer_expect_nothing(never);
  stop(&f);
}

static void half_a_packet_is_no_packet_for_the_keep_alive(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *p = connect_alive(f.h, "p", 10);
  harness_advance(f.h, 14000);
  peer_send_hex(p, "30 40 00 01");
  harness_advance(f.h, 1000);
  peer_expect_closed(p);
  stop(&f);
}

static void what_the_broker_sends_does_not_count_for_the_keep_alive(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *p = connect_alive(f.h, "p", 10), *pub = peer_connect(f.h, "pub", true);
  peer_subscribe(p, "t", 0);
  harness_advance(f.h, 14999);
  peer_publish(pub, "t", "x", 0, false);
  peer_expect_message(p, "t", "x", 0);
  harness_advance(f.h, 1);
  peer_expect_closed(p);
  stop(&f);
}

static void keep_alive_starts_with_connect_not_with_the_connection(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *p = peer_open(f.h);
  harness_advance(f.h, 9000);
  struct packet_connect connect = peer_connect_defaults("p", true);
  connect.keep_alive = 2;
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  harness_advance(f.h, 2999);
  peer_expect_nothing(p);
  harness_advance(f.h, 1);
  peer_expect_closed(p);
  stop(&f);
}

static void keep_alive_goes_on_after_a_pause(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *p = connect_alive(f.h, "p", 10);
  client_pause(client_of(f.h, "p"));
  harness_advance(f.h, 100000);
  peer_expect_nothing(p);
  client_unpause(client_of(f.h, "p"));
  harness_run(f.h);
  harness_advance(f.h, 14999);
  peer_expect_nothing(p);
  harness_advance(f.h, 1);
  peer_expect_closed(p);
  stop(&f);
}

static void keep_alive_is_capped_only_where_that_was_set(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  start(&f, &s);
  connect_alive(f.h, "free", 600);
  connect_alive(f.h, "none", 0);
  assert_int_equal(client_keep_alive(client_of(f.h, "free")), 600);
  assert_int_equal(client_keep_alive(client_of(f.h, "none")), 0);
  stop(&f);
  s.client.maximum_keep_alive_ms = 60000;
  s.client.maximum_keep_alive_set = true;
  start(&f, &s);
  connect_alive(f.h, "higher", 600);
  connect_alive(f.h, "lower", 30);
  struct peer *none = connect_alive(f.h, "none", 0);
  assert_int_equal(client_keep_alive(client_of(f.h, "higher")), 60);
  assert_int_equal(client_keep_alive(client_of(f.h, "lower")), 30);
  assert_int_equal(client_keep_alive(client_of(f.h, "none")), 60);
  struct client_settings own = s.client;
  own.maximum_keep_alive_ms = 10000;
  client_change_settings(client_of(f.h, "none"), &own);
  assert_int_equal(client_keep_alive(client_of(f.h, "none")), 10);
  harness_advance(f.h, 14999);
  peer_expect_nothing(none);
  harness_advance(f.h, 1);
  peer_expect_closed(none);
  stop(&f);
}

// --- the first packet, and the size of packets ---

static void a_connection_has_to_send_connect_in_time(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *silent = peer_open(f.h), *half = peer_open(f.h), *good = peer_open(f.h);
  harness_advance(f.h, 9999);
  peer_send_hex(half, "10 0d 00 04 4d 51");
  struct packet_connect connect = peer_connect_defaults("good", true);
  assert_int_equal(peer_connect_with(good, &connect, NULL), 0);
  peer_expect_nothing(silent);
  harness_advance(f.h, 1);
  peer_expect_closed(silent);
  peer_expect_closed(half);
  assert_int_equal(f.h->shard->stats.connects_timed_out, 2);
  harness_advance(f.h, 100000);
  peer_expect_nothing(good);
  stop(&f);
}

static void time_that_authentication_takes_is_not_the_clients(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  f.d.hold_authenticate = true;
  struct peer *p = peer_open(f.h);
  struct packet_connect connect = peer_connect_defaults("p", true);
  connect.keep_alive = 1;
  peer_send_packet(p, &(struct packet){.type = PACKET_CONNECT, .connect = connect});
  peer_publish(p, "t", "early", 1, false); // may be sent before CONNACK [MQTT-3.1.4-5]
  harness_advance(f.h, 60000);
  peer_expect_nothing(p);
  decorator_resume(&f.d, f.h, (struct reply){0});
  peer_expect(p, PACKET_CONNACK, NULL);
  peer_expect_ack(p, PACKET_PUBACK, 1);
  harness_advance(f.h, 1499);
  peer_expect_nothing(p);
  harness_advance(f.h, 1);
  peer_expect_closed(p);
  stop(&f);
}

static void a_publish_above_the_read_limit_closes(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  s.client.read_limit = 100;
  start(&f, &s);
  struct peer *p = peer_connect(f.h, "p", true);
  char payload[101];
  memset(payload, 'x', sizeof payload);
  payload[95] = 0;
  peer_publish(p, "t", payload, 0, false); // 2 + 3 + 95 bytes
  peer_expect_nothing(p);
  peer_send_hex(p, "30 63"); // one more; its first bytes are enough
  peer_expect_closed(p);
  assert_string_equal(f.d.last_end, "read limit exceeded");
  assert_int_equal(f.h->shard->stats.read_limits_exceeded, 1);
  stop(&f);
}

static void connect_has_a_limit_of_its_own(void **state) {
  (void)state;
  struct fixture f;
  struct settings s = defaults();
  s.client.read_limit = 20;
  s.connect_read_limit = 50;
  start(&f, &s);
  struct peer *p = peer_connect(f.h, "abcdefghijklmnopqrst", true); // 34 bytes
  peer_expect_nothing(p);
  struct peer *q = peer_open(f.h);
  peer_send_hex(q, "10 31");
  peer_expect_closed(q);
  assert_int_equal(f.h->shard->stats.read_limits_exceeded, 1);
  stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_more_than_inflight_messages_are_under_way),
      cmocka_unit_test(qos_2_takes_its_token_until_pubcomp),
      cmocka_unit_test(wrong_acknowledgements_free_no_token),
      cmocka_unit_test(a_client_without_dequeue_tokens_is_closed_while_a_message_waits),
      cmocka_unit_test(without_a_waiting_message_no_time_counts),
      cmocka_unit_test(pings_do_not_buy_dequeue_time),
      cmocka_unit_test(each_acknowledgement_starts_the_dequeue_time_anew),
      cmocka_unit_test(parallel_publishes_bound_what_is_under_way),
      cmocka_unit_test(a_client_out_of_publish_tokens_is_closed),
      cmocka_unit_test(tokens_used_up_by_an_operation_that_was_resumed_count_too),
      cmocka_unit_test(a_client_out_of_subscribe_tokens_is_closed),
      cmocka_unit_test(outstanding_pubrels_never_stop_reading),
      cmocka_unit_test(incoming_qos_2_bytes_are_bounded),
      cmocka_unit_test(an_accept_that_is_pending_keeps_the_order),
      cmocka_unit_test(a_duplicate_of_qos_2_is_not_decided_again),
      cmocka_unit_test(keep_alive_is_one_and_a_half_times_the_interval),
      cmocka_unit_test(half_a_packet_is_no_packet_for_the_keep_alive),
      cmocka_unit_test(what_the_broker_sends_does_not_count_for_the_keep_alive),
      cmocka_unit_test(keep_alive_starts_with_connect_not_with_the_connection),
      cmocka_unit_test(keep_alive_goes_on_after_a_pause),
      cmocka_unit_test(keep_alive_is_capped_only_where_that_was_set),
      cmocka_unit_test(a_connection_has_to_send_connect_in_time),
      cmocka_unit_test(time_that_authentication_takes_is_not_the_clients),
      cmocka_unit_test(a_publish_above_the_read_limit_closes),
      cmocka_unit_test(connect_has_a_limit_of_its_own),
  };
  return cmocka_run_group_tests_name("broker tokens", tests, NULL, NULL);
}
