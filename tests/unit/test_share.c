// Shared subscriptions: who of a group gets a message, and what happens to it when that one goes.
#include "broker/share.h"
#include "decorator.h"

static int set_up(void **state) {
  struct settings settings;
  settings_init(&settings);
  settings.client.maximum_keep_alive_ms = 0;
  *state = harness_new(&settings);
  return 0;
}

static int tear_down(void **state) {
  struct harness *h = *state;
  harness_end_peers(h);
  assert_int_equal(memory_shares(h->memory)->groups.count, 0);
  assert_int_equal(memory_shares(h->memory)->holders.count, 0);
  assert_int_equal(h->shard->stats.subscriptions, 0);
  harness_free(h);
  return 0;
}

// A member of "$share/g/t" whose session stays for 10 seconds.
static struct peer *join(struct harness *h, const char *id, uint8_t qos) {
  struct peer *p = peer_connect_5(h, id, true, "session_expiry_interval=10");
  assert_int_equal(peer_subscribe(p, "$share/g/t", qos), qos);
  return p;
}

static void publish(struct harness *h, const char *payload, uint8_t qos) {
  struct packet_message view = {.topic = SLICE("t"), .payload = slice_str(payload), .qos = qos};
  struct message *m = message_new(&view, 0);
  h->shard->backend->ops->publish(h->shard->backend, m, (struct ack){.message = m});
  message_unref(m);
  harness_run(h);
}

static void expect(struct peer *p, const char *payload, uint8_t qos) {
  uint16_t id = peer_expect_message(p, "t", payload, qos);
  if (qos == 1) peer_send_ack(p, PACKET_PUBACK, id);
}

static uint32_t receive_all(struct peer *p) {
  uint32_t count = 0;
  for (struct packet got; peer_next(p, &got); count++)
    if (got.id) peer_send_ack(p, PACKET_PUBACK, got.id);
  return count;
}

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
  assert_int_equal(peer_subscribe(five, "$share/g/t", 1), REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
  assert_int_equal(peer_subscribe(four, "$share/g/t", 1), SUBACK_FAILURE);
  assert_int_equal(peer_subscribe(five, "t", 1), 1);
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
  struct peer *a = join(h, "a", 1);
  peer_expect_nothing(a);
  peer_subscribe(a, "t", 1);
  expect(a, "old", 0);
  peer_publish(pub, "t", "", 0, true);
}

static void it_ends_with_the_whole_text(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1);
  assert_int_equal(h->shard->stats.subscriptions, 2);
  peer_subscribe(a, "t", 1);
  peer_unsubscribe(a, "t");
  peer_unsubscribe(a, "$share/other/t");
  assert_int_equal(h->shard->stats.subscriptions, 2);
  peer_unsubscribe(a, "$share/g/t");
  assert_int_equal(h->shard->stats.subscriptions, 1);
  publish(h, "1", 0);
  publish(h, "2", 0);
  expect(b, "1", 0);
  expect(b, "2", 0);
  peer_expect_nothing(a);
  peer_unsubscribe(b, "$share/g/t");
  publish(h, "3", 0);
  peer_expect_nothing(b);
  assert_int_equal(memory_shares(h->memory)->groups.count, 0);
}

static void unsuback_tells_whether_there_was_one(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 1);
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
  struct peer *a = join(h, "a", 1);
  assert_int_equal(peer_subscribe(a, "u", 1), 1);
  assert_int_equal(peer_subscribe(a, "$share/g/u", 1), REASON_QUOTA_EXCEEDED);
  assert_int_equal(peer_subscribe(a, "v", 1), REASON_QUOTA_EXCEEDED);
  assert_int_equal(peer_subscribe(a, "$share/g/t", 2), 2); // the same one
}

// --- who gets it ---

static void one_member_gets_each_message_in_turn(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1), *c = join(h, "c", 1);
  for (int round = 0; round < 2; round++) {
    publish(h, "1", 0);
    publish(h, "2", 1);
    publish(h, "3", 2);
    expect(a, "1", 0);
    expect(b, "2", 1);
    expect(c, "3", 1);
  }
  peer_expect_nothing(a);
  peer_expect_nothing(b);
  peer_expect_nothing(c);
}

static void clients_of_older_versions_may_be_members(void **state) {
  struct harness *h = *state;
  struct peer *a = peer_connect(h, "a", true), *b = join(h, "b", 1);
  assert_int_equal(peer_subscribe(a, "$share/g/t", 1), 1);
  publish(h, "1", 0); // turns go by the order in which they joined
  publish(h, "2", 0);
  expect(b, "1", 0);
  expect(a, "2", 0);
}

static void groups_and_sessions_of_their_own_get_it_as_well(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1), *c = peer_connect_5(h, "c", true, "");
  peer_subscribe(a, "$share/other/t", 1);
  peer_subscribe(a, "$share/g/#", 1);
  peer_subscribe(c, "t", 0);
  publish(h, "1", 1); // the turn of a in g
  publish(h, "2", 1); // of b
  assert_int_equal(receive_all(a), 3 + 2);
  assert_int_equal(receive_all(b), 1);
  assert_int_equal(receive_all(c), 2);
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
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1), *c = join(h, "c", 1);
  for (int i = 0; i < 90; i++)
    publish(h, "x", 0);
  uint32_t of_a = receive_all(a), of_b = receive_all(b), of_c = receive_all(c);
  assert_int_equal(of_a + of_b + of_c, 90);
  assert_true(of_a > 10 && of_b > 10 && of_c > 10);
}

static void a_sticky_group_stays_with_one_member_until_it_goes(void **state) {
  struct harness *h = *state;
  h->shard->settings.shared_strategy = SHARED_STICKY;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1);
  for (int i = 0; i < 3; i++)
    publish(h, "x", 1);
  assert_int_equal(receive_all(a), 3);
  peer_drop(a);
  for (int i = 0; i < 3; i++)
    publish(h, "x", 1);
  assert_int_equal(receive_all(b), 3);
  a = peer_connect_5(h, "a", false, "session_expiry_interval=10");
  publish(h, "x", 1);
  assert_int_equal(receive_all(b), 1);
  assert_int_equal(receive_all(a), 0);
}

static void the_one_with_the_least_to_do_gets_it(void **state) {
  struct harness *h = *state;
  h->shard->settings.shared_strategy = SHARED_LEAST_INFLIGHT;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1);
  publish(h, "1", 1);
  uint16_t id = peer_expect_message(a, "t", "1", 1); // and does not acknowledge it
  for (int i = 0; i < 4; i++) {
    publish(h, "2", 1);
    expect(b, "2", 1);
  }
  peer_send_ack(a, PACKET_PUBACK, id);
  publish(h, "3", 1);
  publish(h, "3", 1);
  assert_int_equal(receive_all(a) + receive_all(b), 2);
}

static void a_full_queue_is_passed_over(void **state) {
  struct harness *h = *state;
  h->shard->settings.session_queue_size = 1;
  h->shard->settings.client.inflight_messages = 1;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1);
  publish(h, "a1", 1);
  publish(h, "b1", 1);
  publish(h, "a2", 1);
  expect(b, "b1", 1);
  uint16_t id = peer_expect_message(a, "t", "a1", 1);
  for (int i = 0; i < 4; i++) {
    publish(h, "b", 1);
    expect(b, "b", 1);
  }
  peer_send_ack(a, PACKET_PUBACK, id);
  expect(a, "a2", 1);
  assert_int_equal(h->shard->stats.messages_dropped_queue_full, 0);
}

static void where_all_are_full_a_publisher_waits(void **state) {
  struct harness *h = *state;
  h->shard->settings.session_queue_size = 1;
  h->shard->settings.client.inflight_messages = 1;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1), *pub = peer_connect(h, "pub", true);
  for (int i = 0; i < 4; i++) {
    peer_publish(pub, "t", "x", 1, false);
    peer_expect(pub, PACKET_PUBACK, NULL);
  }
  peer_publish(pub, "t", "waits", 1, false);
  peer_expect_nothing(pub);
  assert_int_equal(h->shard->stats.publishes_waited, 1);
  assert_int_equal(receive_all(a) + receive_all(b), 5);
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
  expect(p, "x", 1);
  expect(p, "x", 1);
  peer_expect_nothing(p);
}

static void who_has_room_when_the_wait_is_over_gets_it(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1);
  struct peer *pub = wait_for_room(h); // for a, whose turn it is
  expect_the_rest(b);
  harness_advance(h, 100);
  peer_expect(pub, PACKET_PUBACK, NULL);
  expect(b, "waits", 1);
  expect_the_rest(a);
  assert_int_equal(h->shard->stats.messages_redispatched, 1);
  assert_int_equal(h->shard->stats.messages_dropped_queue_full, 0);
}

static void who_has_room_when_the_other_goes_gets_it(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1);
  struct peer *pub = wait_for_room(h);
  expect_the_rest(b);
  peer_drop(a);
  peer_expect(pub, PACKET_PUBACK, NULL);
  expect(b, "waits", 1);
}

static void where_nobody_has_room_after_the_wait_it_is_dropped(void **state) {
  struct harness *h = *state;
  join(h, "a", 1);
  join(h, "b", 1);
  struct peer *pub = wait_for_room(h);
  harness_advance(h, 100);
  peer_expect(pub, PACKET_PUBACK, NULL);
  assert_int_equal(h->shard->stats.messages_dropped_queue_full, 1);
  assert_int_equal(h->shard->stats.messages_redispatched, 0);
}

static void offline_members_are_passed_over(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1), *c = join(h, "c", 1);
  peer_drop(b);
  for (int i = 0; i < 4; i++)
    publish(h, "x", 1);
  assert_int_equal(receive_all(a), 2);
  assert_int_equal(receive_all(c), 2);
  b = peer_connect_5(h, "b", false, "session_expiry_interval=10");
  peer_expect_nothing(b);
  for (int i = 0; i < 3; i++)
    publish(h, "y", 1);
  assert_int_equal(receive_all(b), 1);
}

static void where_all_are_offline_stored_sessions_take_turns(void **state) {
  struct harness *h = *state;
  peer_drop(join(h, "a", 1));
  peer_drop(join(h, "b", 1));
  peer_drop(join(h, "zero", 0)); // stores nothing
  publish(h, "lost", 0);
  publish(h, "1", 1);
  publish(h, "2", 1);
  publish(h, "3", 2);
  struct peer *a = peer_connect_5(h, "a", false, "session_expiry_interval=10"),
              *b = peer_connect_5(h, "b", false, "session_expiry_interval=10");
  expect(a, "1", 1);
  expect(b, "2", 1);
  expect(a, "3", 1);
  peer_expect_nothing(a);
  peer_expect_nothing(b);
  struct peer *zero = peer_connect_5(h, "zero", false, "session_expiry_interval=10");
  peer_expect_nothing(zero);
}

// --- what is left of a session that ends ---

static void what_is_unacknowledged_goes_to_another_member(void **state) {
  struct harness *h = *state;
  h->shard->settings.client.inflight_messages = 1;
  struct peer *a = peer_connect_5(h, "a", true, "session_expiry_interval=10"),
              *b = peer_connect_5(h, "b", true, "session_expiry_interval=20");
  peer_subscribe_5(a, "$share/g/t", 2, "subscription_identifier=7");
  publish(h, "in flight", 1);
  publish(h, "queued", 1);
  publish(h, "queued 2", 2);
  publish(h, "0", 0);
  peer_expect(a, PACKET_PUBLISH, NULL);
  peer_subscribe_5(b, "$share/g/t", 1, "subscription_identifier=8");
  peer_drop(a);
  harness_advance(h, 9999);
  peer_expect_nothing(b);
  harness_advance(h, 1);
  struct packet got;
  peer_expect(b, PACKET_PUBLISH, &got);
  assert_true(slice_eq(got.publish.message.payload, SLICE("in flight")));
  assert_false(got.publish.dup);
  peer_expect_properties(b, "subscription_identifier=8"); // its own, and only that
  peer_send_ack(b, PACKET_PUBACK, got.id);
  expect(b, "queued", 1);
  expect(b, "queued 2", 1);
  peer_expect_nothing(b);
  assert_int_equal(h->shard->stats.messages_redispatched, 3);
}

static void a_clean_start_ends_the_session_too(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1);
  publish(h, "x", 1);
  peer_expect_message(a, "t", "x", 1);
  peer_connect_5(h, "a", true, "session_expiry_interval=10");
  peer_expect(a, PACKET_DISCONNECT, NULL);
  expect(b, "x", 1);
}

static void a_temporary_session_that_ends_leaves_it_to_the_others(void **state) {
  struct harness *h = *state;
  struct peer *a = peer_connect(h, "a", true), *b = join(h, "b", 1);
  peer_subscribe(a, "$share/g/t", 1);
  publish(h, "1", 1);
  publish(h, "2", 1);
  expect(b, "1", 1);
  peer_expect_message(a, "t", "2", 1);
  peer_disconnect(a);
  expect(b, "2", 1);
}

static void a_take_over_sends_it_again_to_the_same(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1);
  publish(h, "x", 1);
  peer_expect_message(a, "t", "x", 1);
  a = peer_connect_5(h, "a", false, "session_expiry_interval=10");
  struct packet got;
  peer_expect(a, PACKET_PUBLISH, &got);
  assert_true(got.publish.dup);
  peer_expect_nothing(b);
  peer_send_ack(a, PACKET_PUBACK, got.id);
}

static void what_was_refused_goes_to_nobody(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 2), *b = join(h, "b", 2);
  publish(h, "1", 1);
  publish(h, "2", 2);
  uint16_t one = peer_expect_message(a, "t", "1", 1), two = peer_expect_message(b, "t", "2", 2);
  peer_send_reason(a, PACKET_PUBACK, one, REASON_UNSPECIFIED_ERROR, "");
  peer_send_reason(b, PACKET_PUBREC, two, REASON_QUOTA_EXCEEDED, "");
  peer_expect_nothing(a);
  peer_connect_5(h, "b", true, "");
  peer_expect_nothing(a);
  assert_int_equal(h->shard->stats.messages_redispatched, 0);
}

static void qos_2_that_was_sent_stays_with_its_receiver(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 2), *b = join(h, "b", 2);
  publish(h, "1", 2);
  uint16_t id = peer_expect_message(a, "t", "1", 2);
  peer_drop(a);
  a = peer_connect_5(h, "a", false, "session_expiry_interval=10");
  assert_int_equal(peer_expect_message(a, "t", "1", 2), id);
  peer_send_ack(a, PACKET_PUBREC, id);
  peer_expect_ack(a, PACKET_PUBREL, id);
  peer_drop(a);
  harness_advance(h, 10000);
  peer_expect_nothing(b);
  assert_int_equal(h->shard->stats.messages_redispatched, 0);
}

static void what_came_by_another_group_or_subscription_stays(void **state) {
  struct harness *h = *state;
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1);
  peer_subscribe(a, "$share/alone/t", 1);
  peer_subscribe(a, "t", 1);
  publish(h, "x", 1);
  for (int i = 0; i < 3; i++)
    peer_expect_message(a, "t", "x", 1);
  peer_drop(a);
  harness_advance(h, 10000);
  expect(b, "x", 1); // once
  peer_expect_nothing(b);
}

// --- many sessions ---

static void a_group_gets_a_message_in_slices_once(void **state) {
  struct harness *h = *state;
  memory_set_fanout_slice(h->memory, 1);
  struct peer *a = join(h, "a", 1), *b = join(h, "b", 1), *c = peer_connect_5(h, "c", true, "");
  peer_subscribe(c, "t", 0);
  peer_subscribe(a, "t", 0);
  publish(h, "x", 0);
  assert_int_equal(receive_all(c), 1);
  assert_int_equal(receive_all(a) + receive_all(b), 2); // the group's, and that of a
}

static void who_joins_or_leaves_changes_nothing_for_what_was_published_before(void **state) {
  struct harness *h = *state;
  memory_set_fanout_slice(h->memory, 1);
  struct peer *c = peer_connect_5(h, "c", true, ""), *a = join(h, "a", 1);
  struct peer *pub = peer_connect(h, "pub", true),
              *b = peer_connect_5(h, "b", true, "session_expiry_interval=10");
  peer_subscribe(c, "#", 0);
  struct buf bytes = BUF_INIT; // two turns are needed for the publish; the others act after the first
  packet_encode(&(struct packet){.type = PACKET_PUBLISH,
                                 .publish.message = {.topic = SLICE("t"), .payload = SLICE("x")}},
                MQTT_3_1_1, &bytes);
  memory_send(pub->memory, buf_slice(&bytes));
  bytes.len = 0;
  struct buf list = BUF_INIT;
  packet_add_filter(&list, SLICE("$share/g/t"));
  packet_encode(&(struct packet){.type = PACKET_UNSUBSCRIBE,
                                 .id = 1,
                                 .unsubscribe = {.count = 1, .list = buf_slice(&list)}},
                MQTT_5, &bytes);
  memory_send(a->memory, buf_slice(&bytes));
  bytes.len = list.len = 0;
  packet_add_subscription(&list, SLICE("$share/g/t"), 1);
  packet_encode(&(struct packet){.type = PACKET_SUBSCRIBE,
                                 .id = 1,
                                 .subscribe = {.count = 1, .list = buf_slice(&list)}},
                MQTT_5, &bytes);
  memory_send(b->memory, buf_slice(&bytes));
  harness_run(h);
  buf_release(&bytes);
  buf_release(&list);
  expect(c, "x", 0);
  peer_expect(b, PACKET_SUBACK, NULL);
  peer_expect_nothing(b);
  struct packet got;
  int messages = 0, acks = 0;
  while (peer_next(a, &got)) {
    messages += got.type == PACKET_PUBLISH;
    acks += got.type == PACKET_UNSUBACK;
  }
  assert_int_equal(messages, 1);
  assert_int_equal(acks, 1);
}

#define test(name, function)                                                                                 \
  { name, function, set_up, tear_down, NULL }

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
      test("what is unacknowledged goes to another member when the session ends",
           what_is_unacknowledged_goes_to_another_member),
      test("a clean start ends the session too", a_clean_start_ends_the_session_too),
      test("a temporary session that ends leaves it to the others",
           a_temporary_session_that_ends_leaves_it_to_the_others),
      test("a take-over sends it again to the same", a_take_over_sends_it_again_to_the_same),
      test("[MQTT5-4.8.2-6] what was refused goes to nobody", what_was_refused_goes_to_nobody),
      test("[MQTT5-4.8.2-4] [MQTT5-4.8.2-5] QoS 2 that was sent stays with its receiver",
           qos_2_that_was_sent_stays_with_its_receiver),
      test("what came by another group or subscription stays",
           what_came_by_another_group_or_subscription_stays),
      test("a group gets a message in slices once", a_group_gets_a_message_in_slices_once),
      test("who joins or leaves changes nothing for what was published before",
           who_joins_or_leaves_changes_nothing_for_what_was_published_before),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
