// Full queues: a publisher's bounded wait for room, and what is dropped.
#include "decorator.h"

enum { QUEUE = 4 };

struct fixture {
  struct harness *h;
  struct decorator d;
  struct peer *sub, *pub; // sub: a stored session, subscribed to "t", with one message in flight
  uint16_t inflight;      // the packet id of that message
};

static int set_up_with(void **state, uint32_t wait_ms) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  struct settings settings;
  settings_init(&settings);
  settings.session_queue_size = QUEUE;
  settings.client.inflight_messages = 1;
  settings.full_queue_wait_ms = wait_ms;
  f->h = harness_new(&settings);
  decorator_init(&f->d, f->h);
  f->sub = peer_connect(f->h, "sub", false);
  peer_subscribe(f->sub, "t", 2);
  f->pub = peer_connect(f->h, "pub", true);
  *state = f;
  return 0;
}

static int set_up(void **state) { return set_up_with(state, 100); }
static int set_up_patient(void **state) { return set_up_with(state, 20000); }

static int tear_down(void **state) {
  struct fixture *f = *state;
  harness_end_peers(f->h);
  harness_free(f->h);
  mem_free(f);
  return 0;
}

static void publish_acked(struct peer *p, const char *topic, const char *payload) {
  uint16_t id = peer_publish(p, topic, payload, 1, false);
  peer_expect_ack(p, PACKET_PUBACK, id);
}

// One message in flight, and a queue without room.
static void fill(struct fixture *f) {
  static const char *const payloads[QUEUE + 1] = {"m0", "m1", "m2", "m3", "m4"};
  for (int i = 0; i <= QUEUE; i++)
    publish_acked(f->pub, "t", payloads[i]);
  f->inflight = peer_expect_message(f->sub, "t", "m0", 1);
  peer_expect_nothing(f->sub);
  assert_int_equal(harness_session(f->h, "sub")->queue.count, QUEUE);
  decorator_clear_log(&f->d);
}

// The subscriber acknowledges what it has, and gets this.
static void next_message(struct fixture *f, const char *payload) {
  peer_send_ack(f->sub, PACKET_PUBACK, f->inflight);
  f->inflight = peer_expect_message(f->sub, "t", payload, 1);
}

static void last_message(struct fixture *f) {
  peer_send_ack(f->sub, PACKET_PUBACK, f->inflight);
  peer_expect_nothing(f->sub);
}

static void drain(struct fixture *f) {
  next_message(f, "m1");
  next_message(f, "m2");
  next_message(f, "m3");
  next_message(f, "m4");
}

static void a_publisher_is_acknowledged_when_there_is_room(void **state) {
  struct fixture *f = *state;
  fill(f);
  uint16_t id = peer_publish(f->pub, "t", "m5", 1, false);
  peer_expect_nothing(f->pub);
  next_message(f, "m1");
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
  next_message(f, "m2");
  next_message(f, "m3");
  next_message(f, "m4");
  next_message(f, "m5");
  last_message(f);
  assert_int_equal(f->h->shard->stats.publishes_waited, 1);
  assert_int_equal(f->h->shard->stats.messages_dropped_queue_full, 0);
}

static void the_wait_ends_after_full_queue_wait(void **state) {
  struct fixture *f = *state;
  fill(f);
  uint16_t id = peer_publish(f->pub, "t", "m5", 1, false);
  harness_advance(f->h, 99);
  peer_expect_nothing(f->pub);
  assert_false(harness_session(f->h, "sub")->slow);
  harness_advance(f->h, 1);
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
  assert_int_equal(f->h->shard->stats.messages_dropped_queue_full, 1);
  assert_int_equal(harness_session(f->h, "sub")->dropped, 1);
  assert_true(harness_session(f->h, "sub")->slow);
  decorator_expect_line(&f->d, "[backend error] queue full\n");
  drain(f);
  last_message(f);
}

static void nobody_waits_for_a_slow_subscriber_until_half_its_queue_is_free(void **state) {
  struct fixture *f = *state;
  fill(f);
  peer_publish(f->pub, "t", "m5", 1, false);
  harness_advance(f->h, 100);
  peer_expect(f->pub, PACKET_PUBACK, NULL);
  publish_acked(f->pub, "t", "not waited for");
  assert_int_equal(f->h->shard->stats.messages_dropped_queue_full, 2);
  next_message(f, "m1");
  assert_true(harness_session(f->h, "sub")->slow);
  publish_acked(f->pub, "t", "m6"); // there is room for this one
  publish_acked(f->pub, "t", "dropped");
  next_message(f, "m2");
  next_message(f, "m3");
  assert_false(harness_session(f->h, "sub")->slow);
  publish_acked(f->pub, "t", "m7");
  publish_acked(f->pub, "t", "m8");
  uint16_t id = peer_publish(f->pub, "t", "m9", 1, false);
  peer_expect_nothing(f->pub);
  next_message(f, "m4");
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
  next_message(f, "m6");
  next_message(f, "m7");
  next_message(f, "m8");
  next_message(f, "m9");
  last_message(f);
}

static void others_are_not_held_up_by_a_wait(void **state) {
  struct fixture *f = *state;
  fill(f);
  struct peer *other = peer_connect(f->h, "other", true), *reader = peer_connect(f->h, "reader", true);
  peer_subscribe(reader, "+", 1);
  uint16_t id = peer_publish(f->pub, "t", "m5", 1, false);
  uint64_t now = f->h->loop->clock.now_ms;
  assert_int_equal(peer_expect_message(reader, "t", "m5", 1), 1); // also of that very message
  peer_send_ack(reader, PACKET_PUBACK, 1);
  publish_acked(other, "u", "x");
  assert_int_equal(peer_expect_message(reader, "u", "x", 1), 2);
  publish_acked(f->sub, "u", "not me"); // nor is the one that is waited for
  peer_send_hex(f->sub, "c0 00");
  peer_expect(f->sub, PACKET_PINGRESP, NULL);
  peer_expect_nothing(f->pub);
  assert_int_equal(f->h->loop->clock.now_ms, now);
  next_message(f, "m1");
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
}

static void waiting_publishers_are_served_in_order(void **state) {
  struct fixture *f = *state;
  fill(f);
  struct peer *p[3];
  uint16_t id[3];
  static const char *const payloads[] = {"w0", "w1", "w2"}, *const ids[] = {"p0", "p1", "p2"};
  for (int i = 0; i < 3; i++) {
    p[i] = peer_connect(f->h, ids[i], true);
    id[i] = peer_publish(p[i], "t", payloads[i], 1, false);
  }
  static const char *const queued[] = {"m1", "m2", "m3"};
  for (int i = 0; i < 3; i++) {
    for (int j = i; j < 3; j++)
      peer_expect_nothing(p[j]);
    next_message(f, queued[i]);
    peer_expect_ack(p[i], PACKET_PUBACK, id[i]);
  }
  next_message(f, "m4");
  for (int i = 0; i < 3; i++)
    next_message(f, payloads[i]);
  last_message(f);
}

static void what_stands_behind_a_waiting_publish_keeps_its_order(void **state) {
  struct fixture *f = *state;
  fill(f);
  peer_subscribe(f->pub, "back", 0);
  uint16_t id = peer_publish(f->pub, "t", "m5", 1, false);
  peer_publish(f->pub, "back", "b", 0, false);
  peer_send_hex(f->pub, "c0 00");
  peer_expect_nothing(f->pub);
  next_message(f, "m1");
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
  struct packet first, second;
  assert_true(peer_next(f->pub, &first));
  uint8_t type = first.type;
  assert_true(peer_next(f->pub, &second));
  assert_int_equal(type + second.type, PACKET_PUBLISH + PACKET_PINGRESP);
}

static void qos_0_waits_too(void **state) {
  struct fixture *f = *state;
  fill(f);
  peer_publish(f->pub, "t", "m5", 0, false);
  peer_send_hex(f->pub, "c0 00");
  peer_expect_nothing(f->pub);
  next_message(f, "m1");
  peer_expect(f->pub, PACKET_PINGRESP, NULL);
  next_message(f, "m2");
  next_message(f, "m3");
  next_message(f, "m4");
  peer_send_ack(f->sub, PACKET_PUBACK, f->inflight);
  peer_expect_message(f->sub, "t", "m5", 0);
}

static void qos_2_waits_at_its_pubrel(void **state) {
  struct fixture *f = *state;
  fill(f);
  uint16_t id = peer_publish(f->pub, "t", "m5", 2, false);
  peer_expect_ack(f->pub, PACKET_PUBREC, id);
  peer_send_ack(f->pub, PACKET_PUBREL, id);
  peer_expect_nothing(f->pub);
  next_message(f, "m1");
  peer_expect_ack(f->pub, PACKET_PUBCOMP, id);
  next_message(f, "m2");
  next_message(f, "m3");
  next_message(f, "m4");
  peer_send_ack(f->sub, PACKET_PUBACK, f->inflight);
  peer_expect_message(f->sub, "t", "m5", 2);
}

static void a_publisher_that_goes_away_during_the_wait_loses_nothing(void **state) {
  struct fixture *f = *state;
  fill(f);
  peer_publish(f->pub, "t", "m5", 1, false);
  peer_drop(f->pub);
  next_message(f, "m1");
  harness_advance(f->h, 200);
  peer_expect_closed(f->pub);
  next_message(f, "m2");
  next_message(f, "m3");
  next_message(f, "m4");
  next_message(f, "m5");
}

static void a_waiting_publisher_can_be_taken_over(void **state) {
  struct fixture *f = *state;
  fill(f);
  peer_publish(f->pub, "t", "m5", 1, false);
  struct peer *again = peer_connect(f->h, "pub", true);
  peer_expect_closed(f->pub);
  next_message(f, "m1");
  peer_expect_nothing(again);
  next_message(f, "m2");
  next_message(f, "m3");
  next_message(f, "m4");
  next_message(f, "m5");
}

static void a_waiting_publisher_can_be_closed_and_the_wait_time_out(void **state) {
  struct fixture *f = *state;
  fill(f);
  peer_publish(f->pub, "t", "m5", 1, false);
  client_close(harness_session(f->h, "pub")->client, NULL);
  harness_run(f->h);
  peer_expect_closed(f->pub);
  harness_advance(f->h, 200);
  assert_int_equal(f->h->shard->stats.messages_dropped_queue_full, 1);
}

static void a_subscriber_that_goes_away_frees_those_who_wait(void **state) {
  struct fixture *f = *state;
  fill(f);
  uint16_t id = peer_publish(f->pub, "t", "m5", 1, false);
  peer_drop(f->sub);
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
  assert_int_equal(harness_session(f->h, "sub")->queue.count, QUEUE);
  assert_int_equal(harness_session(f->h, "sub")->dropped, 1);
  f->sub = peer_connect(f->h, "sub", false);
  f->inflight = peer_expect_message(f->sub, "t", "m0", 1);
  drain(f);
  last_message(f);
}

static void a_session_that_ends_frees_those_who_wait(void **state) {
  struct fixture *f = *state;
  struct peer *temporary = peer_connect(f->h, "temporary", true);
  peer_subscribe(temporary, "u", 1);
  for (int i = 0; i <= QUEUE; i++)
    publish_acked(f->pub, "u", "x");
  uint16_t id = peer_publish(f->pub, "u", "y", 1, false);
  peer_expect_nothing(f->pub);
  peer_drop(temporary);
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
  assert_null(harness_session(f->h, "temporary"));
}

static void room_that_comes_with_the_disconnect_is_used_by_those_who_wait(void **state) {
  struct fixture *f = *state;
  publish_acked(f->pub, "t", "m0");
  f->inflight = peer_expect_message(f->sub, "t", "m0", 1);
  for (int i = 0; i < QUEUE; i++)
    peer_publish(f->pub, "t", "gone", 0, false);
  uint16_t id = peer_publish(f->pub, "t", "m1", 1, false);
  peer_expect_nothing(f->pub);
  peer_drop(f->sub);
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
  f->sub = peer_connect(f->h, "sub", false);
  f->inflight = peer_expect_message(f->sub, "t", "m0", 1);
  next_message(f, "m1");
  last_message(f);
}

static void qos_0_that_waits_is_not_kept_for_a_subscriber_that_goes_away(void **state) {
  struct fixture *f = *state;
  publish_acked(f->pub, "t", "m0");
  for (int i = 0; i <= QUEUE; i++) // one more than there is room for
    peer_publish(f->pub, "t", "gone", 0, false);
  assert_int_equal(f->h->shard->stats.publishes_waited, 1);
  peer_drop(f->sub);
  assert_int_equal(harness_session(f->h, "sub")->queue.count, 0);
}

static void ones_own_full_queue_drops_and_never_waits(void **state) {
  struct fixture *f = *state;
  fill(f);
  uint16_t id = peer_publish(f->sub, "t", "own", 1, false);
  peer_expect_ack(f->sub, PACKET_PUBACK, id);
  assert_int_equal(f->h->shard->stats.publishes_waited, 0);
  assert_int_equal(f->h->shard->stats.messages_dropped_queue_full, 1);
  assert_false(harness_session(f->h, "sub")->slow);
  decorator_expect_line(&f->d, "[backend error] queue full\n");
  drain(f);
  last_message(f);
}

static void ones_own_queue_is_flushed_before_anything_is_dropped(void **state) {
  struct fixture *f = *state;
  struct peer *self = peer_connect(f->h, "self", true);
  peer_subscribe(self, "self", 0);
  struct buf many = BUF_INIT;
  for (int i = 0; i < 3 * QUEUE; i++)
    buf_add(&many, "\x30\x07\x00\x04selfx", 9);
  peer_send(self, buf_slice(&many)); // all in one turn
  buf_release(&many);
  for (int i = 0; i < 3 * QUEUE; i++)
    peer_expect_message(self, "self", "x", 0);
  peer_expect_nothing(self);
  assert_int_equal(f->h->shard->stats.messages_dropped_queue_full, 0);
}

static void the_acknowledgement_comes_when_all_have_room_or_were_given_up(void **state) {
  struct fixture *f = *state;
  struct peer *second = peer_connect(f->h, "second", true);
  peer_subscribe(second, "#", 1);
  fill(f);
  assert_int_equal(peer_expect_message(second, "t", "m0", 1), 1);
  uint16_t id = peer_publish(f->pub, "t", "m5", 1, false);
  next_message(f, "m1"); // room in one of the two
  peer_expect_nothing(f->pub);
  harness_advance(f->h, 99);
  peer_expect_nothing(f->pub);
  harness_advance(f->h, 1);
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
  assert_true(harness_session(f->h, "second")->slow);
  assert_false(harness_session(f->h, "sub")->slow);
  assert_int_equal(f->h->shard->stats.messages_dropped_queue_full, 1);
  assert_int_equal(f->h->shard->stats.publishes_waited, 1);
}

static void a_will_never_waits(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_open(f->h);
  struct packet_connect connect = peer_connect_defaults("p", true);
  connect.has_will = true;
  connect.will = (struct packet_message){.topic = SLICE("t"), .payload = SLICE("will"), .qos = 1};
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  fill(f);
  peer_drop(p);
  peer_expect_closed(p);
  assert_int_equal(f->h->shard->stats.publishes_waited, 0);
  assert_int_equal(f->h->shard->stats.messages_dropped_queue_full, 1);
}

static void the_wait_does_not_count_against_the_publishers_keep_alive(void **state) {
  struct fixture *f = *state;
  fill(f);
  struct peer *p = peer_open(f->h);
  struct packet_connect connect = peer_connect_defaults("p", true);
  connect.keep_alive = 1;
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  uint16_t id = peer_publish(p, "t", "m5", 1, false);
  harness_advance(f->h, 10000);
  peer_expect_nothing(p);
  next_message(f, "m1");
  peer_expect_ack(p, PACKET_PUBACK, id);
  harness_advance(f->h, 1499);
  peer_expect_nothing(p);
  harness_advance(f->h, 1);
  peer_expect_closed(p);
}

static void offline_queues_are_bounded_and_drops_counted(void **state) {
  struct fixture *f = *state;
  peer_disconnect(f->sub);
  static const char *const payloads[] = {"m0", "m1", "m2", "m3", "x", "y"};
  for (int i = 0; i < QUEUE + 2; i++)
    publish_acked(f->pub, "t", payloads[i]);
  peer_publish(f->pub, "t", "qos 0", 0, false);
  struct session *s = harness_session(f->h, "sub");
  assert_int_equal(s->queue.count, QUEUE);
  assert_int_equal(s->dropped, 2);
  assert_int_equal(f->h->shard->stats.messages_dropped_offline, 2);
  assert_int_equal(f->h->shard->stats.messages_dropped_queue_full, 0);
  f->sub = peer_connect(f->h, "sub", false);
  f->inflight = peer_expect_message(f->sub, "t", "m0", 1);
  next_message(f, "m1");
  next_message(f, "m2");
  next_message(f, "m3");
  last_message(f);
}

static void qos_0_that_was_queued_is_forgotten_at_the_disconnect(void **state) {
  struct fixture *f = *state;
  publish_acked(f->pub, "t", "m0");
  f->inflight = peer_expect_message(f->sub, "t", "m0", 1);
  peer_publish(f->pub, "t", "gone", 0, false);
  publish_acked(f->pub, "t", "m1");
  peer_publish(f->pub, "t", "gone", 0, false);
  peer_drop(f->sub);
  f->sub = peer_connect(f->h, "sub", false);
  f->inflight = peer_expect_message(f->sub, "t", "m0", 1);
  next_message(f, "m1");
  last_message(f);
}

static void a_queue_keeps_the_order_of_all_qos(void **state) {
  struct fixture *f = *state;
  publish_acked(f->pub, "t", "m0");
  peer_publish(f->pub, "t", "a", 0, false);
  publish_acked(f->pub, "t", "b");
  peer_publish(f->pub, "t", "c", 0, false);
  f->inflight = peer_expect_message(f->sub, "t", "m0", 1);
  peer_expect_nothing(f->sub);
  peer_send_ack(f->sub, PACKET_PUBACK, f->inflight);
  peer_expect_message(f->sub, "t", "a", 0);
  f->inflight = peer_expect_message(f->sub, "t", "b", 1);
  peer_expect_nothing(f->sub);
  peer_send_ack(f->sub, PACKET_PUBACK, f->inflight);
  peer_expect_message(f->sub, "t", "c", 0);
}

#define test(name)         cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define test_patient(name) cmocka_unit_test_setup_teardown(name, set_up_patient, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(a_publisher_is_acknowledged_when_there_is_room),
      test(the_wait_ends_after_full_queue_wait),
      test(nobody_waits_for_a_slow_subscriber_until_half_its_queue_is_free),
      test(others_are_not_held_up_by_a_wait),
      test(waiting_publishers_are_served_in_order),
      test(what_stands_behind_a_waiting_publish_keeps_its_order),
      test(qos_0_waits_too),
      test(qos_2_waits_at_its_pubrel),
      test(a_publisher_that_goes_away_during_the_wait_loses_nothing),
      test(a_waiting_publisher_can_be_taken_over),
      test(a_waiting_publisher_can_be_closed_and_the_wait_time_out),
      test(a_subscriber_that_goes_away_frees_those_who_wait),
      test(a_session_that_ends_frees_those_who_wait),
      test(room_that_comes_with_the_disconnect_is_used_by_those_who_wait),
      test(qos_0_that_waits_is_not_kept_for_a_subscriber_that_goes_away),
      test(ones_own_full_queue_drops_and_never_waits),
      test(ones_own_queue_is_flushed_before_anything_is_dropped),
      test(the_acknowledgement_comes_when_all_have_room_or_were_given_up),
      test(a_will_never_waits),
      test_patient(the_wait_does_not_count_against_the_publishers_keep_alive),
      test(offline_queues_are_bounded_and_drops_counted),
      test(qos_0_that_was_queued_is_forgotten_at_the_disconnect),
      test(a_queue_keeps_the_order_of_all_qos),
  };
  return cmocka_run_group_tests_name("broker queue", tests, NULL, NULL);
}
