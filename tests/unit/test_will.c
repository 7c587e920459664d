// Wills of MQTT 5: the delay, what ends it, and what goes with the message.
#include "decorator.h"

struct fixture {
  struct harness *h;
  struct decorator d;
  struct peer *watcher;
};

static int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  f->h = harness_new(NULL);
  f->h->shard->settings.client.maximum_keep_alive_ms = 0; // the watcher is not asked for a sign of life
  decorator_init(&f->d, f->h);
  f->watcher = peer_connect_5(f->h, "watcher", true, "");
  peer_subscribe(f->watcher, "w", 1);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  harness_end_peers(f->h);
  harness_free(f->h);
  mem_free(f);
  return 0;
}

// The client "a", whose will has these properties.
static struct peer *connect_with(struct fixture *f, const char *expiry, const char *properties, bool retain) {
  struct peer *p = peer_open(f->h);
  struct packet_connect connect = peer_connect_5_defaults(f->h, "a", false, expiry);
  connect.has_will = true;
  connect.will = (struct packet_message){.topic = SLICE("w"),
                                         .payload = SLICE("x"),
                                         .qos = 1,
                                         .retain = retain,
                                         .properties = harness_properties(f->h, properties)};
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  return p;
}

static struct peer *connect_delayed(struct fixture *f, const char *expiry, const char *delay) {
  return connect_with(f, expiry, delay, false);
}

static void expect_will(struct fixture *f) {
  uint16_t id = peer_expect_message(f->watcher, "w", "x", 1);
  peer_send_ack(f->watcher, PACKET_PUBACK, id);
  peer_expect_nothing(f->watcher);
  assert_int_equal(f->h->shard->stats.wills_waiting, 0);
}

static void expect_waits(struct fixture *f) {
  peer_expect_nothing(f->watcher);
  assert_int_equal(f->h->shard->stats.wills_waiting, 1);
}

static void expect_none(struct fixture *f) {
  harness_advance(f->h, 1000000);
  peer_expect_nothing(f->watcher);
  assert_int_equal(f->h->shard->stats.wills_waiting, 0);
}

static void it_is_sent_when_its_delay_has_passed_and_not_before(void **state) {
  struct fixture *f = *state;
  peer_drop(connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10"));
  harness_advance(f->h, 9999);
  expect_waits(f);
  harness_advance(f->h, 1);
  expect_will(f);
  expect_none(f);
}

static void it_is_sent_when_the_session_ends_before_its_delay_has_passed(void **state) {
  struct fixture *f = *state;
  peer_drop(connect_delayed(f, "session_expiry_interval=5", "will_delay_interval=10"));
  harness_advance(f->h, 4999);
  expect_waits(f);
  harness_advance(f->h, 1);
  expect_will(f);
  expect_none(f);
}

static void a_session_that_ends_with_its_connection_sends_it_at_once(void **state) {
  struct fixture *f = *state;
  peer_drop(connect_delayed(f, "", "will_delay_interval=10"));
  expect_will(f);
}

static void it_waits_with_a_session_that_is_kept_for_ever(void **state) {
  struct fixture *f = *state;
  f->h->shard->settings.max_session_expiry_s = 0;
  peer_drop(connect_delayed(f, "session_expiry_interval=4294967295", "will_delay_interval=10"));
  expect_waits(f);
  harness_advance(f->h, 10000);
  expect_will(f);
  peer_connect_5(f->h, "a", true, "");
}

static void a_reconnect_to_the_session_cancels_it(void **state) {
  struct fixture *f = *state;
  peer_drop(connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10"));
  harness_advance(f->h, 9999);
  struct peer *p = peer_connect_5(f->h, "a", false, "session_expiry_interval=100");
  expect_none(f);
  peer_drop(p); // this one had no will
  expect_none(f);
}

static void a_take_over_of_the_session_cancels_it(void **state) {
  struct fixture *f = *state;
  struct peer *old = connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10");
  peer_connect_5(f->h, "a", false, "session_expiry_interval=100");
  peer_expect_disconnect(old, REASON_SESSION_TAKEN_OVER);
  expect_none(f);
}

static void a_clean_start_ends_the_session_and_sends_it(void **state) {
  struct fixture *f = *state;
  peer_drop(connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10"));
  peer_connect_5(f->h, "a", true, "session_expiry_interval=100");
  expect_will(f);
  expect_none(f);
}

static void a_take_over_with_a_clean_start_sends_it(void **state) {
  struct fixture *f = *state;
  struct peer *old = connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10");
  peer_connect_5(f->h, "a", true, "session_expiry_interval=100");
  peer_expect_disconnect(old, REASON_SESSION_TAKEN_OVER);
  expect_will(f);
}

static void a_normal_disconnect_deletes_it(void **state) {
  struct fixture *f = *state;
  struct peer *p = connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10");
  peer_send_reason(p, PACKET_DISCONNECT, 0, REASON_SUCCESS, "");
  peer_expect_closed(p);
  expect_none(f);
}

static void disconnect_with_will_message_sends_it_after_its_delay(void **state) {
  struct fixture *f = *state;
  struct peer *p = connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10");
  peer_send_reason(p, PACKET_DISCONNECT, 0, 0x04, "");
  peer_expect_closed(p);
  harness_advance(f->h, 9999);
  expect_waits(f);
  harness_advance(f->h, 1);
  expect_will(f);
}

static void a_disconnect_that_ends_the_session_sends_it_at_once(void **state) {
  struct fixture *f = *state;
  struct peer *p = connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10");
  peer_send_hex(p, "e0 07 04 05 11 00 00 00 00"); // 0x04, session expiry 0
  peer_expect_closed(p);
  expect_will(f);
}

static void its_properties_are_sent_but_for_the_delay(void **state) {
  struct fixture *f = *state;
  struct peer *p = connect_with(f, "session_expiry_interval=100",
                                "message_expiry_interval=20 content_type=text user_property=a:1 "
                                "will_delay_interval=30 user_property=a:2",
                                false);
  harness_advance(f->h, 60000); // its time has not begun
  peer_drop(p);
  harness_advance(f->h, 30000);
  peer_expect_message(f->watcher, "w", "x", 1);
  peer_expect_properties(f->watcher,
                         "content_type=text user_property=a:1 user_property=a:2 message_expiry_interval=20");
}

static void a_retained_one_is_retained_when_it_is_sent(void **state) {
  struct fixture *f = *state;
  peer_drop(connect_with(f, "session_expiry_interval=100", "will_delay_interval=10", true));
  assert_int_equal(f->h->shard->stats.retained_messages, 0);
  harness_advance(f->h, 10000);
  expect_will(f);
  assert_int_equal(f->h->shard->stats.retained_messages, 1);
}

static void it_passes_accept_when_it_is_sent_in_the_name_of_its_client(void **state) {
  struct fixture *f = *state;
  peer_drop(connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10"));
  assert_int_equal(f->d.accepted, 0);
  f->d.hold_wills = true;
  harness_advance(f->h, 10000);
  assert_int_equal(f->d.accepted, 1);
  assert_int_equal(f->d.pending_count, 1);
  const struct client *c = f->d.pending[0];
  assert_true(client_closed(c));
  assert_true(slice_eq(client_id(c), SLICE("a")));
  expect_none(f);
  decorator_resume(&f->d, f->h, (struct reply){0});
  expect_will(f);
}

static void a_refused_one_is_sent_to_nobody(void **state) {
  struct fixture *f = *state;
  peer_drop(connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10"));
  f->d.refuse_accept = true;
  expect_none(f);
  assert_int_equal(f->h->shard->stats.messages_refused, 1);
}

static void an_orderly_stop_sends_those_that_wait(void **state) {
  struct fixture *f = *state;
  peer_drop(connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10"));
  shard_close_clients(f->h->shard);
  peer_expect_message(f->watcher, "w", "x", 1);
  assert_int_equal(f->h->shard->stats.wills_waiting, 0);
  peer_expect_disconnect(f->watcher, REASON_SERVER_SHUTTING_DOWN);
}

static void an_orderly_stop_lets_none_wait(void **state) {
  struct fixture *f = *state;
  connect_delayed(f, "session_expiry_interval=100", "will_delay_interval=10");
  f->d.hold_wills = true;
  shard_close_clients(f->h->shard);
  harness_run(f->h);
  assert_int_equal(f->d.pending_count, 1);
  assert_int_equal(f->h->shard->stats.wills_waiting, 0);
  decorator_resume(&f->d, f->h, (struct reply){0});
}

static void a_broker_that_is_freed_drops_those_that_wait(void **state) {
  struct fixture *f = *state;
  peer_drop(connect_delayed(f, "session_expiry_interval=1000", "will_delay_interval=500"));
  expect_waits(f);
}

#define test(name, function)                                                                                 \
  { name, function, set_up, tear_down, NULL }

int main(void) {
  const struct CMUnitTest tests[] = {
      test("[MQTT5-3.1.2-8] a delayed will is sent when its delay has passed, and not before",
           it_is_sent_when_its_delay_has_passed_and_not_before),
      test("[MQTT5-3.1.2-8] it is sent when the session ends before that",
           it_is_sent_when_the_session_ends_before_its_delay_has_passed),
      test("a session that ends with its connection sends it at once",
           a_session_that_ends_with_its_connection_sends_it_at_once),
      test("it waits with a session that is kept for ever", it_waits_with_a_session_that_is_kept_for_ever),
      test("[MQTT5-3.1.3-9] a reconnect to the session cancels it", a_reconnect_to_the_session_cancels_it),
      test("[MQTT5-3.1.3-9] [MQTT5-3.1.4-3] a take-over of the session cancels it",
           a_take_over_of_the_session_cancels_it),
      test("a clean start ends the session and sends it", a_clean_start_ends_the_session_and_sends_it),
      test("a take-over with a clean start sends it", a_take_over_with_a_clean_start_sends_it),
      test("[MQTT5-3.14.4-3] a normal DISCONNECT deletes it", a_normal_disconnect_deletes_it),
      test("DISCONNECT 0x04 sends it after its delay", disconnect_with_will_message_sends_it_after_its_delay),
      test("a DISCONNECT that ends the session sends it at once",
           a_disconnect_that_ends_the_session_sends_it_at_once),
      test("its properties are sent but for the delay, and its expiry counts from then",
           its_properties_are_sent_but_for_the_delay),
      test("a retained one is retained when it is sent", a_retained_one_is_retained_when_it_is_sent),
      test("it passes accept when it is sent, in the name of its client, and may be held there",
           it_passes_accept_when_it_is_sent_in_the_name_of_its_client),
      test("a refused one is sent to nobody", a_refused_one_is_sent_to_nobody),
      test("an orderly stop sends those that wait", an_orderly_stop_sends_those_that_wait),
      test("an orderly stop lets none wait", an_orderly_stop_lets_none_wait),
      test("a broker that is freed drops those that wait", a_broker_that_is_freed_drops_those_that_wait),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
