// Shared subscriptions: what is one, and who of a group gets a message.
#include "share_group.h"

// --- the subscription ---

static void the_text_has_a_name_and_a_filter(void **state) {
  (void)state;
  struct slice name, filter;
  assert_true(share_parse(SLICE("$share/g/a/b"), &name, &filter));
  assert_true(slice_eq(name, SLICE("g")) && slice_eq(filter, SLICE("a/b")));
  assert_true(share_valid(name, filter));
  assert_true(share_parse(SLICE("$share/g//b"), &name, &filter));
  assert_true(slice_eq(filter, SLICE("/b")) && share_valid(name, filter));
  assert_false(share_parse(SLICE("$share"), &name, &filter));
  assert_false(share_parse(SLICE("$shared/g/a"), &name, &filter));
  static const char *const invalid[] = {"$share/",     "$share/g",    "$share/g/",
                                        "$share//f",   "$share/+/f",  "$share/#/f",
                                        "$share/g+/f", "$share/g/a#", "$share/g/#/a"};
  for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
    assert_true(share_parse(slice_str(invalid[i]), &name, &filter));
    assert_false(share_valid(name, filter));
  }
}

static void what_is_malformed_is_refused(void **state) {
  struct harness *h = *state;
  struct peer *five = peer_connect_5(h, "five", true, ""), *four = peer_connect(h, "four", true);
  static const char *const invalid[] = {"$share/g",    "$share//f", "$share/+/f", "$share/#/f",
                                        "$share/g+/f", "$share/g#", "$share/g/",  "$share/"};
  for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
    assert_int_equal(peer_subscribe(five, invalid[i], 1), REASON_TOPIC_FILTER_INVALID);
    assert_int_equal(peer_subscribe(four, invalid[i], 1), SUBACK_FAILURE);
  }
  assert_int_equal(h->shard->stats.subscriptions, 0);
}

static void they_may_be_turned_off(void **state) {
  struct harness *h = *state;
  h->shard->settings.shared_subscriptions = false;
  struct peer *five = peer_connect_5(h, "five", true, ""), *four = peer_connect(h, "four", true);
  assert_int_equal(peer_subscribe(five, "t", 1), 1);
  peer_send_subscribe(five, "$share/g/t", 1);
  peer_expect_disconnect(five, REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
  assert_int_equal(peer_subscribe(four, "$share/g/t", 1), SUBACK_FAILURE);
}

static void no_local_is_a_protocol_error(void **state) {
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "a", true, "");
  peer_send_hex(p, "82 14 00 01 00 00 01 74 01 00 0a 24 73 68 61 72 65 2f 67 2f 74 05"); // t, $share/g/t
  peer_expect_disconnect(p, REASON_PROTOCOL_ERROR);
  assert_int_equal(h->shard->stats.subscriptions, 0);
}

static void no_retained_message_comes_by_it(void **state) {
  struct harness *h = *state;
  struct peer *pub = peer_connect(h, "pub", true);
  peer_publish(pub, "t", "old", 0, true);
  struct peer *a = share_join(h, "a", 1);
  peer_expect_nothing(a);
  peer_subscribe(a, "t", 1);
  share_expect(a, "old", 0);
  peer_publish(pub, "t", "", 0, true);
}

static void it_ends_with_the_whole_text(void **state) {
  struct harness *h = *state;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1);
  assert_int_equal(h->shard->stats.subscriptions, 2);
  peer_subscribe(a, "t", 1);
  peer_unsubscribe(a, "t");
  peer_unsubscribe(a, "$share/other/t");
  assert_int_equal(h->shard->stats.subscriptions, 2);
  peer_unsubscribe(a, "$share/g/t");
  assert_int_equal(h->shard->stats.subscriptions, 1);
  share_publish(h, "1", 0);
  share_publish(h, "2", 0);
  share_expect(b, "1", 0);
  share_expect(b, "2", 0);
  peer_expect_nothing(a);
  peer_unsubscribe(b, "$share/g/t");
  share_publish(h, "3", 0);
  peer_expect_nothing(b);
  assert_int_equal(memory_shares(h->memory)->groups.count, 0);
}

static void unsuback_tells_whether_there_was_one(void **state) {
  struct harness *h = *state;
  struct peer *a = share_join(h, "a", 1);
  struct buf list = BUF_INIT;
  packet_add_filter(&list, SLICE("$share/g/t"));
  packet_add_filter(&list, SLICE("$share/g/t"));
  packet_add_filter(&list, SLICE("$share/g"));
  peer_send_packet(a, &(struct packet){.type = PACKET_UNSUBSCRIBE,
                                       .id = 9,
                                       .unsubscribe = {.count = 3, .list = buf_slice(&list)}});
  buf_release(&list);
  struct packet got;
  peer_expect(a, PACKET_UNSUBACK, &got);
  assert_int_equal(got.unsuback.count, 3);
  assert_int_equal(got.unsuback.list.ptr[0], REASON_SUCCESS);
  assert_int_equal(got.unsuback.list.ptr[1], REASON_NO_SUBSCRIPTION_EXISTED);
  assert_int_equal(got.unsuback.list.ptr[2], REASON_TOPIC_FILTER_INVALID);
}

static void it_counts_as_one_of_the_session(void **state) {
  struct harness *h = *state;
  h->shard->settings.subscriptions = 2;
  struct peer *a = share_join(h, "a", 1);
  assert_int_equal(peer_subscribe(a, "u", 1), 1);
  assert_int_equal(peer_subscribe(a, "$share/g/u", 1), REASON_QUOTA_EXCEEDED);
  assert_int_equal(peer_subscribe(a, "v", 1), REASON_QUOTA_EXCEEDED);
  assert_int_equal(peer_subscribe(a, "$share/g/t", 2), 2); // the same one
}

// --- who gets it ---

static void one_member_gets_each_message_in_turn(void **state) {
  struct harness *h = *state;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1), *c = share_join(h, "c", 1);
  for (int round = 0; round < 2; round++) {
    share_publish(h, "1", 0);
    share_publish(h, "2", 1);
    share_publish(h, "3", 2);
    share_expect(a, "1", 0);
    share_expect(b, "2", 1);
    share_expect(c, "3", 1);
  }
  peer_expect_nothing(a);
  peer_expect_nothing(b);
  peer_expect_nothing(c);
}

static void clients_of_older_versions_may_be_members(void **state) {
  struct harness *h = *state;
  struct peer *a = peer_connect(h, "a", true), *b = share_join(h, "b", 1);
  assert_int_equal(peer_subscribe(a, "$share/g/t", 1), 1);
  share_publish(h, "1", 0); // turns go by the order in which they joined
  share_publish(h, "2", 0);
  share_expect(b, "1", 0);
  share_expect(a, "2", 0);
}

static void groups_and_sessions_of_their_own_get_it_as_well(void **state) {
  struct harness *h = *state;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1), *c = peer_connect_5(h, "c", true, "");
  peer_subscribe(a, "$share/other/t", 1);
  peer_subscribe(a, "$share/g/#", 1);
  peer_subscribe(c, "t", 0);
  share_publish(h, "1", 1); // the turn of a in g
  share_publish(h, "2", 1); // of b
  assert_int_equal(share_receive_all(a), 3 + 2);
  assert_int_equal(share_receive_all(b), 1);
  assert_int_equal(share_receive_all(c), 2);
}

static void options_and_identifier_are_the_members_own(void **state) {
  struct harness *h = *state;
  struct peer *a = peer_connect_5(h, "a", true, "session_expiry_interval=10"),
              *b = peer_connect_5(h, "b", true, "session_expiry_interval=10");
  struct peer *pub = peer_connect(h, "pub", true);
  peer_subscribe_5(a, "$share/g/t", 1 | SUBSCRIPTION_RETAIN_AS_PUBLISHED, "subscription_identifier=7");
  peer_subscribe_5(b, "$share/g/t", 0, "subscription_identifier=200");
  for (int i = 0; i < 2; i++) {
    peer_publish(pub, "t", "x", 1, true);
    peer_expect(pub, PACKET_PUBACK, NULL);
  }
  struct packet got;
  peer_expect(a, PACKET_PUBLISH, &got);
  assert_int_equal(got.publish.message.qos, 1);
  assert_true(got.publish.message.retain);
  peer_expect_properties(a, "subscription_identifier=7");
  peer_send_ack(a, PACKET_PUBACK, got.id);
  peer_expect(b, PACKET_PUBLISH, &got);
  assert_int_equal(got.publish.message.qos, 0);
  assert_false(got.publish.message.retain);
  peer_expect_properties(b, "subscription_identifier=200");
  peer_subscribe_5(a, "$share/g/t", 0, ""); // again, otherwise
  peer_publish(pub, "t", "y", 1, true);
  peer_expect(a, PACKET_PUBLISH, &got);
  assert_int_equal(got.publish.message.qos, 0);
  peer_expect_properties(a, "");
}

static void at_random_each_has_a_share(void **state) {
  struct harness *h = *state;
  h->shard->settings.shared_strategy = SHARED_RANDOM;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1), *c = share_join(h, "c", 1);
  for (int i = 0; i < 90; i++)
    share_publish(h, "x", 0);
  uint32_t of_a = share_receive_all(a), of_b = share_receive_all(b), of_c = share_receive_all(c);
  assert_int_equal(of_a + of_b + of_c, 90);
  assert_true(of_a > 10 && of_b > 10 && of_c > 10);
}

static void a_sticky_group_stays_with_one_member_until_it_goes(void **state) {
  struct harness *h = *state;
  h->shard->settings.shared_strategy = SHARED_STICKY;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1);
  for (int i = 0; i < 3; i++)
    share_publish(h, "x", 1);
  assert_int_equal(share_receive_all(a), 3);
  peer_drop(a);
  for (int i = 0; i < 3; i++)
    share_publish(h, "x", 1);
  assert_int_equal(share_receive_all(b), 3);
  a = peer_connect_5(h, "a", false, "session_expiry_interval=10");
  share_publish(h, "x", 1);
  assert_int_equal(share_receive_all(b), 1);
  assert_int_equal(share_receive_all(a), 0);
}

static void the_one_with_the_least_to_do_gets_it(void **state) {
  struct harness *h = *state;
  h->shard->settings.shared_strategy = SHARED_LEAST_INFLIGHT;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1);
  share_publish(h, "1", 1);
  uint16_t id = peer_expect_message(a, "t", "1", 1); // and does not acknowledge it
  for (int i = 0; i < 4; i++) {
    share_publish(h, "2", 1);
    share_expect(b, "2", 1);
  }
  peer_send_ack(a, PACKET_PUBACK, id);
  share_publish(h, "3", 1);
  share_publish(h, "3", 1);
  assert_int_equal(share_receive_all(a) + share_receive_all(b), 2);
}

static void a_full_queue_is_passed_over(void **state) {
  struct harness *h = *state;
  h->shard->settings.session_queue_size = 1;
  h->shard->settings.client.inflight_messages = 1;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1);
  share_publish(h, "a1", 1);
  share_publish(h, "b1", 1);
  share_publish(h, "a2", 1);
  share_expect(b, "b1", 1);
  uint16_t id = peer_expect_message(a, "t", "a1", 1);
  for (int i = 0; i < 4; i++) {
    share_publish(h, "b", 1);
    share_expect(b, "b", 1);
  }
  peer_send_ack(a, PACKET_PUBACK, id);
  share_expect(a, "a2", 1);
  assert_int_equal(h->shard->stats.messages_dropped_queue_full, 0);
}

static void where_all_are_full_a_publisher_waits(void **state) {
  struct harness *h = *state;
  h->shard->settings.session_queue_size = 1;
  h->shard->settings.client.inflight_messages = 1;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1), *pub = peer_connect(h, "pub", true);
  for (int i = 0; i < 4; i++) {
    peer_publish(pub, "t", "x", 1, false);
    peer_expect(pub, PACKET_PUBACK, NULL);
  }
  peer_publish(pub, "t", "waits", 1, false);
  peer_expect_nothing(pub);
  assert_int_equal(h->shard->stats.publishes_waited, 1);
  assert_int_equal(share_receive_all(a) + share_receive_all(b), 5);
  peer_expect(pub, PACKET_PUBACK, NULL);
}

// Fills "a" and "b", whose messages are not acknowledged, and lets a publisher wait for one of them.
static struct peer *wait_for_room(struct harness *h) {
  h->shard->settings.session_queue_size = 1;
  h->shard->settings.client.inflight_messages = 1;
  struct peer *pub = peer_connect(h, "pub", true);
  for (int i = 0; i < 4; i++) {
    peer_publish(pub, "t", "x", 1, false);
    peer_expect(pub, PACKET_PUBACK, NULL);
  }
  peer_publish(pub, "t", "waits", 1, false);
  peer_expect_nothing(pub);
  return pub;
}

static void expect_the_rest(struct peer *p) {
  share_expect(p, "x", 1);
  share_expect(p, "x", 1);
  peer_expect_nothing(p);
}

static void who_has_room_when_the_wait_is_over_gets_it(void **state) {
  struct harness *h = *state;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1);
  struct peer *pub = wait_for_room(h); // for a, whose turn it is
  expect_the_rest(b);
  harness_advance(h, 100);
  peer_expect(pub, PACKET_PUBACK, NULL);
  share_expect(b, "waits", 1);
  expect_the_rest(a);
  assert_int_equal(h->shard->stats.messages_redispatched, 1);
  assert_int_equal(h->shard->stats.messages_dropped_queue_full, 0);
}

static void who_has_room_when_the_other_goes_gets_it(void **state) {
  struct harness *h = *state;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1);
  struct peer *pub = wait_for_room(h);
  expect_the_rest(b);
  peer_drop(a);
  peer_expect(pub, PACKET_PUBACK, NULL);
  share_expect(b, "waits", 1);
}

static void where_nobody_has_room_after_the_wait_it_is_dropped(void **state) {
  struct harness *h = *state;
  share_join(h, "a", 1);
  share_join(h, "b", 1);
  struct peer *pub = wait_for_room(h);
  harness_advance(h, 100);
  peer_expect(pub, PACKET_PUBACK, NULL);
  assert_int_equal(h->shard->stats.messages_dropped_queue_full, 1);
  assert_int_equal(h->shard->stats.messages_redispatched, 0);
}

static void offline_members_are_passed_over(void **state) {
  struct harness *h = *state;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1), *c = share_join(h, "c", 1);
  peer_drop(b);
  for (int i = 0; i < 4; i++)
    share_publish(h, "x", 1);
  assert_int_equal(share_receive_all(a), 2);
  assert_int_equal(share_receive_all(c), 2);
  b = peer_connect_5(h, "b", false, "session_expiry_interval=10");
  peer_expect_nothing(b);
  for (int i = 0; i < 3; i++)
    share_publish(h, "y", 1);
  assert_int_equal(share_receive_all(b), 1);
}

static void where_all_are_offline_stored_sessions_take_turns(void **state) {
  struct harness *h = *state;
  peer_drop(share_join(h, "a", 1));
  peer_drop(share_join(h, "b", 1));
  peer_drop(share_join(h, "zero", 0)); // stores nothing
  share_publish(h, "lost", 0);
  share_publish(h, "1", 1);
  share_publish(h, "2", 1);
  share_publish(h, "3", 2);
  struct peer *a = peer_connect_5(h, "a", false, "session_expiry_interval=10"),
              *b = peer_connect_5(h, "b", false, "session_expiry_interval=10");
  share_expect(a, "1", 1);
  share_expect(b, "2", 1);
  share_expect(a, "3", 1);
  peer_expect_nothing(a);
  peer_expect_nothing(b);
  struct peer *zero = peer_connect_5(h, "zero", false, "session_expiry_interval=10");
  peer_expect_nothing(zero);
}

#define test(name, function)                                                                                 \
  { name, function, share_set_up, share_tear_down, NULL }

int main(void) {
  const struct CMUnitTest tests[] = {
      test("[MQTT5-4.8.2-1] [MQTT5-4.8.2-2] the text has a name and a filter",
           the_text_has_a_name_and_a_filter),
      test("[MQTT5-4.8.2-1] [MQTT5-4.8.2-2] what is malformed is refused", what_is_malformed_is_refused),
      test("they may be turned off", they_may_be_turned_off),
      test("[MQTT5-3.8.3-4] no local is a protocol error", no_local_is_a_protocol_error),
      test("no retained message comes by it", no_retained_message_comes_by_it),
      test("it ends with the whole text", it_ends_with_the_whole_text),
      test("UNSUBACK tells whether there was one", unsuback_tells_whether_there_was_one),
      test("it counts as one of the session", it_counts_as_one_of_the_session),
      test("one member gets each message, in turn", one_member_gets_each_message_in_turn),
      test("clients of older versions may be members", clients_of_older_versions_may_be_members),
      test("groups, and sessions of their own, get it as well",
           groups_and_sessions_of_their_own_get_it_as_well),
      test("[MQTT5-4.8.2-3] options and identifier are the member's own",
           options_and_identifier_are_the_members_own),
      test("at random each has a share", at_random_each_has_a_share),
      test("a sticky group stays with one member until it goes",
           a_sticky_group_stays_with_one_member_until_it_goes),
      test("the one with the least to do gets it", the_one_with_the_least_to_do_gets_it),
      test("a full queue is passed over", a_full_queue_is_passed_over),
      test("where all are full, a publisher waits", where_all_are_full_a_publisher_waits),
      test("who has room when the wait is over gets it", who_has_room_when_the_wait_is_over_gets_it),
      test("who has room when the other one goes gets it", who_has_room_when_the_other_goes_gets_it),
      test("where nobody has room after the wait, it is dropped",
           where_nobody_has_room_after_the_wait_it_is_dropped),
      test("offline members are passed over", offline_members_are_passed_over),
      test("where all are offline, stored sessions take turns",
           where_all_are_offline_stored_sessions_take_turns),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
