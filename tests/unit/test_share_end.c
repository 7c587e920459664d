// Shared subscriptions: what happens to messages when a member goes, and in fan-outs that take several turns.
#include "share_group.h"

// --- what is left of a session that ends ---

static void what_is_unacknowledged_goes_to_another_member(void **state) {
  struct harness *h = *state;
  h->shard->settings.client.inflight_messages = 1;
  struct peer *a = peer_connect_5(h, "a", true, "session_expiry_interval=10"),
              *b = peer_connect_5(h, "b", true, "session_expiry_interval=20");
  peer_subscribe_5(a, "$share/g/t", 2, "subscription_identifier=7");
  share_publish(h, "in flight", 1);
  share_publish(h, "queued", 1);
  share_publish(h, "queued 2", 2);
  share_publish(h, "0", 0);
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
  share_expect(b, "queued", 1);
  share_expect(b, "queued 2", 1);
  peer_expect_nothing(b);
  assert_int_equal(h->shard->stats.messages_redispatched, 3);
}

static void a_clean_start_ends_the_session_too(void **state) {
  struct harness *h = *state;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1);
  share_publish(h, "x", 1);
  peer_expect_message(a, "t", "x", 1);
  peer_connect_5(h, "a", true, "session_expiry_interval=10");
  peer_expect(a, PACKET_DISCONNECT, NULL);
  share_expect(b, "x", 1);
}

static void a_temporary_session_that_ends_leaves_it_to_the_others(void **state) {
  struct harness *h = *state;
  struct peer *a = peer_connect(h, "a", true), *b = share_join(h, "b", 1);
  peer_subscribe(a, "$share/g/t", 1);
  share_publish(h, "1", 1);
  share_publish(h, "2", 1);
  share_expect(b, "1", 1);
  peer_expect_message(a, "t", "2", 1);
  peer_disconnect(a);
  share_expect(b, "2", 1);
}

static void a_take_over_sends_it_again_to_the_same(void **state) {
  struct harness *h = *state;
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1);
  share_publish(h, "x", 1);
  peer_expect_message(a, "t", "x", 1);
  a = peer_connect_5(h, "a", false, "session_expiry_interval=10");
  struct packet got;
  peer_expect(a, PACKET_PUBLISH, &got);
  assert_true(got.publish.dup);
  peer_expect_nothing(b);
  peer_send_ack(a, PACKET_PUBACK, got.id);
}

// The last member that is online, and takes QoS 0 only, has a will for its own group.
static void a_will_goes_to_a_stored_member_not_to_its_client(void **state) {
  struct harness *h = *state;
  struct peer *stored = share_join(h, "stored", 1), *leaving = peer_open(h);
  struct packet_connect connect = peer_connect_5_defaults(h, "leaving", true, "session_expiry_interval=10");
  connect.has_will = true;
  connect.will = (struct packet_message){.topic = SLICE("t"), .payload = SLICE("gone"), .qos = 1};
  assert_int_equal(peer_connect_with(leaving, &connect, NULL), 0);
  peer_subscribe(leaving, "$share/g/t", 0);
  peer_drop(stored);
  peer_drop(leaving);
  stored = peer_connect_5(h, "stored", false, "session_expiry_interval=10");
  share_expect(stored, "gone", 1);
}

static void what_was_refused_goes_to_nobody(void **state) {
  struct harness *h = *state;
  struct peer *a = share_join(h, "a", 2), *b = share_join(h, "b", 2);
  share_publish(h, "1", 1);
  share_publish(h, "2", 2);
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
  struct peer *a = share_join(h, "a", 2), *b = share_join(h, "b", 2);
  share_publish(h, "1", 2);
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
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1);
  peer_subscribe(a, "$share/alone/t", 1);
  peer_subscribe(a, "t", 1);
  share_publish(h, "x", 1);
  for (int i = 0; i < 3; i++)
    peer_expect_message(a, "t", "x", 1);
  peer_drop(a);
  harness_advance(h, 10000);
  share_expect(b, "x", 1); // once
  peer_expect_nothing(b);
}

// --- many sessions ---

static void a_group_gets_a_message_in_slices_once(void **state) {
  struct harness *h = *state;
  memory_set_fanout_slice(h->memory, 1);
  struct peer *a = share_join(h, "a", 1), *b = share_join(h, "b", 1), *c = peer_connect_5(h, "c", true, "");
  peer_subscribe(c, "t", 0);
  peer_subscribe(a, "t", 0);
  share_publish(h, "x", 0);
  assert_int_equal(share_receive_all(c), 1);
  assert_int_equal(share_receive_all(a) + share_receive_all(b), 2); // the group's, and that of a
}

static void who_joins_or_leaves_changes_nothing_for_what_was_published_before(void **state) {
  struct harness *h = *state;
  memory_set_fanout_slice(h->memory, 1);
  struct peer *c = peer_connect_5(h, "c", true, ""), *a = share_join(h, "a", 1);
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
  share_expect(c, "x", 0);
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
  { name, function, share_set_up, share_tear_down, NULL }

int main(void) {
  const struct CMUnitTest tests[] = {
      test("what is unacknowledged goes to another member when the session ends",
           what_is_unacknowledged_goes_to_another_member),
      test("a clean start ends the session too", a_clean_start_ends_the_session_too),
      test("a temporary session that ends leaves it to the others",
           a_temporary_session_that_ends_leaves_it_to_the_others),
      test("a take-over sends it again to the same", a_take_over_sends_it_again_to_the_same),
      test("a will goes to a stored member, not to its own client",
           a_will_goes_to_a_stored_member_not_to_its_client),
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
