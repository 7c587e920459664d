// PUBLISH: its flags, topic and answers, and retained messages: chapter 3.3.
#include <stdio.h>

#include "conformance.h"

static uint32_t retained_count(struct harness *h) { return memory_retained(h->shard->backend)->count; }

static struct peer *subscriber(struct harness *h, const char *id, const char *filter, uint8_t qos) {
  struct peer *p = peer_connect(h, id, true);
  assert_int_equal(peer_subscribe(p, filter, qos), qos);
  return p;
}

// What a new subscriber of the filter is sent: nothing.
static void expect_nothing_retained(struct harness *h, const char *filter) {
  struct peer *p = subscriber(h, "", filter, 2);
  expect_alive(p);
  peer_disconnect(p);
}

static void expect_retained(struct harness *h, const char *topic, const char *payload, uint8_t qos) {
  struct peer *p = subscriber(h, "", topic, 2);
  finish_delivery(p, qos, expect_publish(p, topic, payload, qos, RETAINED));
  expect_alive(p);
  peer_disconnect(p);
}

static void dup_when_sent_again(void **state) {
  for (uint8_t qos = 1; qos <= 2; qos++) {
    struct peer *p = peer_connect(*state, "x", false);
    peer_subscribe(p, "t", qos);
    somebody_publishes(*state, "t", "1", qos, false);
    uint16_t id = expect_publish(p, "t", "1", qos, 0);
    for (int i = 0; i < 3; i++) {
      peer_drop(p);
      assert_true(peer_resume(*state, "x", &p));
      assert_int_equal(expect_publish(p, "t", "1", qos, DUP), id);
      expect_alive(p);
    }
    finish_delivery(p, qos, id);
    peer_disconnect(p);
  }
}

static void dup_not_when_first_sent(void **state) { // also when it waited for its session
  leave_subscription(*state, "x", "t", 1);
  somebody_publishes(*state, "t", "1", 1, false);
  struct peer *p;
  assert_true(peer_resume(*state, "x", &p));
  take_message(p, "t", "1", 1);
}

static void dup_of_qos_0(void **state) {
  struct peer *p = subscriber(*state, "x", "t", 2);
  somebody_publishes(*state, "t", "1", 0, false);
  expect_bytes(p, SLICE("\x30\4\0\1t1"));
  expect_violation(*state, SLICE("\x38\4\0\1u1"));
  expect_violation(*state, SLICE("\x39\4\0\1u1"));
  expect_alive(p);
  assert_int_equal(retained_count(*state), 0);
}

static void dup_is_not_passed_on(void **state) {
  struct peer *p = subscriber(*state, "x", "t", 2), *publisher = peer_connect(*state, "y", true);
  peer_send(publisher, SLICE("\x3a\6\0\1t\0\7A"));
  peer_expect_ack(publisher, PACKET_PUBACK, 7);
  take_message(p, "t", "A", 1);
  peer_send(publisher, SLICE("\x3d\6\0\1t\0\x8"
                             "B"));
  peer_expect_ack(publisher, PACKET_PUBREC, 8);
  peer_send_ack(publisher, PACKET_PUBREL, 8);
  peer_expect_ack(publisher, PACKET_PUBCOMP, 8);
  take_message(p, "t", "B", 2);
  struct peer *late = subscriber(*state, "z", "t", 2);
  finish_delivery(late, 2, expect_publish(late, "t", "B", 2, RETAINED));
}

static void qos_3(void **state) {
  const struct slice packets[] = {SLICE("\x36\6\0\1t\0\7A"), SLICE("\x37\6\0\1t\0\7A"),
                                  SLICE("\x3e\6\0\1t\0\7A"), SLICE("\x3f\6\0\1t\0\7A")};
  for (size_t i = 0; i < COUNT(packets); i++)
    expect_violation(*state, packets[i]);
  assert_int_equal(retained_count(*state), 0);
}

static void retained_with_its_qos(void **state) {
  for (uint8_t qos = 0; qos <= 2; qos++) {
    somebody_publishes(*state, "t", "kept", qos, true);
    expect_retained(*state, "t", "kept", qos);
    expect_retained(*state, "t", "kept", qos); // for everyone who comes
    for (uint8_t granted = 0; granted <= 2; granted++) {
      struct peer *p = subscriber(*state, "x", "t", granted);
      uint8_t least = qos < granted ? qos : granted;
      finish_delivery(p, least, expect_publish(p, "t", "kept", least, RETAINED));
      expect_alive(p);
    }
  }
}

static void retained_of_qos_2_on_release(void **state) { // owned from PUBREL on
  struct peer *p = peer_connect(*state, "x", true);
  uint16_t id = peer_publish(p, "t", "kept", 2, true);
  peer_expect_ack(p, PACKET_PUBREC, id);
  peer_send_ack(p, PACKET_PUBREL, id);
  peer_expect_ack(p, PACKET_PUBCOMP, id);
  expect_retained(*state, "t", "kept", 2);
}

static void last_retained_of_each_topic(void **state) {
  const char *topics[] = {"a", "a/b", "a/c", "a/b/c", "b", "a/", "/a"};
  for (size_t i = 0; i < COUNT(topics); i++) {
    somebody_publishes(*state, topics[i], "old", 1, true);
    somebody_publishes(*state, topics[i], "new", 1, true);
  }
  struct peer *p = subscriber(*state, "x", "a/#", 1);
  unsigned seen = 0;
  for (struct packet got; peer_next(p, &got);) {
    assert_int_equal(got.type, PACKET_PUBLISH);
    assert_true(got.publish.message.retain);
    assert_true(slice_eq(got.publish.message.payload, SLICE("new")));
    for (unsigned i = 0; i < COUNT(topics); i++)
      if (slice_eq(got.publish.message.topic, slice_str(topics[i]))) {
        assert_false(seen & 1u << i);
        seen |= 1u << i;
      }
    peer_send_ack(p, PACKET_PUBACK, got.id);
  }
  assert_int_equal(seen, 0x2f); // all but "b" and "/a"
}

static void many_retained(void **state) { // more than the queue and the window hold
  char topic[16];
  for (int i = 0; i < 500; i++) {
    snprintf(topic, sizeof topic, "t/%d", i);
    somebody_publishes(*state, topic, "kept", 1, true);
  }
  struct peer *p = subscriber(*state, "x", "t/+", 1);
  int count = 0;
  for (struct packet got; peer_next(p, &got); count++) {
    assert_true(got.publish.message.retain);
    peer_send_ack(p, PACKET_PUBACK, got.id);
  }
  assert_int_equal(count, 500);
}

static void qos_0_replaces_retained(void **state) {
  somebody_publishes(*state, "t", "old", 2, true);
  somebody_publishes(*state, "t", "new", 0, true);
  expect_retained(*state, "t", "new", 0);
}

static void retain_flag_of_live_messages(void **state) {
  struct peer *p = subscriber(*state, "x", "t", 2);
  leave_subscription(*state, "off", "t", 2);
  for (uint8_t qos = 0; qos <= 2; qos++) {
    somebody_publishes(*state, "t", "live", qos, true);
    take_message(p, "t", "live", qos);
  }
  expect_alive(p);
  assert_true(peer_resume(*state, "off", &p)); // a resumed session is no new subscription
  take_message(p, "t", "live", 1);
  take_message(p, "t", "live", 2);
  expect_alive(p);
}

static void retained_not_on_take_over(void **state) {
  somebody_publishes(*state, "t", "kept", 0, true);
  struct peer *p = peer_connect(*state, "x", false);
  peer_subscribe(p, "t", 1);
  expect_publish(p, "t", "kept", 0, RETAINED);
  assert_true(peer_resume(*state, "x", &p));
  expect_alive(p);
  peer_disconnect(p);
  assert_true(peer_resume(*state, "x", &p));
  expect_alive(p);
}

static void retain_flag_when_sent_again(void **state) {
  somebody_publishes(*state, "t", "kept", 1, true);
  struct peer *p = peer_connect(*state, "x", false);
  peer_subscribe(p, "t", 1);
  uint16_t id = expect_publish(p, "t", "kept", 1, RETAINED);
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  assert_int_equal(expect_publish(p, "t", "kept", 1, RETAINED | DUP), id);
}

static void empty_deletes_retained(void **state) {
  for (uint8_t qos = 0; qos <= 2; qos++) {
    somebody_publishes(*state, "t", "kept", 1, true);
    somebody_publishes(*state, "t/u", "other", 1, true);
    struct peer *p = subscriber(*state, "x", "t", 2);
    finish_delivery(p, 1, expect_publish(p, "t", "kept", 1, RETAINED));
    somebody_publishes(*state, "t", "", qos, true);
    take_message(p, "t", "", qos); // a message as any other for those who are there
    expect_alive(p);
    expect_nothing_retained(*state, "t");
    expect_retained(*state, "t/u", "other", 1);
  }
}

static void empty_is_not_retained(void **state) {
  for (uint8_t qos = 0; qos <= 2; qos++) {
    somebody_publishes(*state, "t", "", qos, true);
    expect_nothing_retained(*state, "t");
    assert_int_equal(retained_count(*state), 0);
  }
}

static void not_retained(void **state) {
  struct peer *p = subscriber(*state, "x", "t", 0);
  for (uint8_t qos = 0; qos <= 2; qos++) {
    somebody_publishes(*state, "u", "live", qos, false);
    expect_nothing_retained(*state, "u");
  }
  somebody_publishes(*state, "t", "kept", 1, true);
  for (uint8_t qos = 0; qos <= 2; qos++) {
    somebody_publishes(*state, "t", "live", qos, false);
    somebody_publishes(*state, "t", "", qos, false);
  }
  expect_retained(*state, "t", "kept", 1);
  take_message(p, "t", "kept", 0);
}

static void retained_outlives_its_session(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  publish_fully(p, "t", "kept", 1, true);
  peer_drop(p);
  expect_retained(*state, "t", "kept", 1);
  p = peer_connect(*state, "x", false);
  publish_fully(p, "u", "kept", 2, true);
  peer_disconnect(p);
  peer_disconnect(peer_connect(*state, "x", true)); // discards the session
  expect_retained(*state, "u", "kept", 2);
  expect_retained(*state, "t", "kept", 1);
}

static void topic_first(void **state) {
  struct peer *p = subscriber(*state, "x", "#", 2);
  somebody_publishes(*state, "a/\xc3\xa9", "b", 1, false);
  expect_bytes(p, SLICE("\x32\x09\0\4a/\xc3\xa9\0\1b"));
  peer_send_ack(p, PACKET_PUBACK, 1);
  expect_violation(*state, SLICE("\x30\0"));           // no topic
  expect_violation(*state, SLICE("\x30\1\0"));         // not even its length
  expect_violation(*state, SLICE("\x30\3\0\2t"));      // longer than the packet
  expect_violation(*state, SLICE("\x32\4\0\1t\0"));    // no room for the packet id
  expect_violation(*state, SLICE("\x30\5\0\2\xc3t!")); // not UTF-8
  for (int i = 0; i < 5; i++)
    expect_publish(p, "will", "gone", 0, 0);
  expect_alive(p);
}

static void topic_with_wildcards(void **state) {
  const struct slice packets[] = {SLICE("\x30\4\0\1#A"),   SLICE("\x30\4\0\1+A"),
                                  SLICE("\x30\6\0\3a/#A"), SLICE("\x30\6\0\3a/+A"),
                                  SLICE("\x31\5\0\2a#A"),  SLICE("\x32\x8\0\3+/a\0\1A")};
  for (size_t i = 0; i < COUNT(packets); i++)
    expect_violation(*state, packets[i]);
  assert_int_equal(retained_count(*state), 0);
}

static void topic_is_that_of_the_publish(void **state) {
  struct peer *p = subscriber(*state, "x", "a/+/c/#", 0), *q = subscriber(*state, "y", "a/b/c", 0);
  somebody_publishes(*state, "a/b/c", "1", 0, false);
  somebody_publishes(*state, "a/B/c/d", "2", 0, false);
  somebody_publishes(*state, "a/b", "3", 0, false);
  take_message(p, "a/b/c", "1", 0);
  take_message(p, "a/B/c/d", "2", 0);
  expect_alive(p);
  take_message(q, "a/b/c", "1", 0);
  expect_alive(q);
}

static void answers(void **state) { // nobody subscribed: the answers are the same
  struct peer *p = peer_connect(*state, "x", true);
  peer_send(p, SLICE("\x30\4\0\1tA"));
  peer_expect_nothing(p);
  peer_send(p, SLICE("\x32\6\0\1t\xab\xcd"
                     "A"));
  expect_bytes(p, SLICE("\x40\2\xab\xcd"));
  peer_send(p, SLICE("\x34\6\0\1t\xff\xff"
                     "A"));
  expect_bytes(p, SLICE("\x50\2\xff\xff"));
  peer_send(p, SLICE("\x62\2\xff\xff"));
  expect_bytes(p, SLICE("\x70\2\xff\xff"));
  expect_alive(p);
}

static void overlapping_subscriptions(void **state) { // one copy, with the highest granted QoS
  for (uint8_t qos = 0; qos <= 2; qos++) {
    struct peer *p = peer_connect(*state, "x", true);
    peer_subscribe(p, "a/+", 0);
    peer_subscribe(p, "a/b", 1);
    peer_subscribe(p, "#", 2);
    peer_subscribe(p, "+/b", 0);
    somebody_publishes(*state, "a/b", "1", qos, false);
    take_message(p, "a/b", "1", qos);
    expect_alive(p);
    peer_unsubscribe(p, "#");
    somebody_publishes(*state, "a/b", "2", qos, false);
    take_message(p, "a/b", "2", qos > 1 ? 1 : qos);
    expect_alive(p);
  }
}

static void overlapping_subscriptions_offline(void **state) {
  struct peer *p = peer_connect(*state, "x", false);
  peer_subscribe(p, "a/b", 0);
  peer_subscribe(p, "#", 2);
  peer_disconnect(p);
  somebody_publishes(*state, "a/b", "1", 2, false);
  assert_true(peer_resume(*state, "x", &p));
  take_message(p, "a/b", "1", 2);
  expect_alive(p);
}

// A backend that lets nobody publish to topics that begin with "no".
static struct backend_ops strict;
static enum backend_status refuse_some(struct backend *b, struct client *c, struct message **m,
                                       struct reply *reply) {
  (void)b, (void)c;
  if (slice_starts(message_topic(*m), SLICE("no"))) reply->reason = REASON_NOT_AUTHORIZED;
  return BACKEND_DONE;
}

static void be_strict(struct harness *h) {
  strict = *h->shard->backend->ops;
  strict.accept = refuse_some;
  h->shard->backend->ops = &strict;
}

static void refused_but_acknowledged(void **state) {
  struct peer *watcher = subscriber(*state, "watcher", "#", 2), *p = peer_connect(*state, "x", true);
  peer_subscribe(watcher, "$SYS/#", 2);
  be_strict(*state);
  for (uint8_t qos = 0; qos <= 2; qos++) {
    publish_fully(p, "no/t", "A", qos, true);
    publish_fully(p, "$SYS/t", "A", qos, true);
  }
  publish_fully(p, "yes", "B", 1, false);
  take_message(watcher, "yes", "B", 1);
  expect_alive(watcher);
  expect_alive(p);
  assert_int_equal(retained_count(*state), 0);
}

static void refused_and_closed(void **state) {
  struct settings settings;
  settings_init(&settings);
  settings.disconnect_refused_publish = true;
  be_strict(restart_broker(state, &settings));
  for (uint8_t qos = 0; qos <= 2; qos++) {
    struct peer *p = peer_connect(*state, "x", true);
    peer_publish(p, "no/t", "A", qos, true);
    peer_expect_closed(p);
  }
  assert_int_equal(retained_count(*state), 0);
}

// A replay that does not fit into the window goes on later, whatever happens meanwhile.
static struct peer *subscribe_to_many_retained(void **state, int count) {
  struct settings settings;
  settings_init(&settings);
  settings.client.inflight_messages = 1;
  struct harness *h = restart_broker(state, &settings);
  char topic[16];
  for (int i = 0; i < count; i++) {
    snprintf(topic, sizeof topic, "t/%d", i);
    somebody_publishes(h, topic, "kept", 1, true);
  }
  struct peer *p = peer_connect(h, "x", false);
  peer_subscribe(p, "t/+", 1);
  return p;
}

static void retained_across_a_loss(void **state) {
  enum { COUNT_RETAINED = 20 };
  struct peer *p = subscribe_to_many_retained(state, COUNT_RETAINED);
  struct packet got;
  int count = 0;
  for (; count < 5; count++) {
    peer_expect(p, PACKET_PUBLISH, &got);
    peer_send_ack(p, PACKET_PUBACK, got.id);
  }
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  for (; peer_next(p, &got); count++) {
    assert_true(got.publish.message.retain);
    peer_send_ack(p, PACKET_PUBACK, got.id);
  }
  assert_int_equal(count, COUNT_RETAINED);
}

static void replay_replaced(void **state) { // by that of the same filter with another QoS
  enum { COUNT_RETAINED = 20 };
  struct peer *p = subscribe_to_many_retained(state, COUNT_RETAINED);
  struct packet got;
  peer_expect(p, PACKET_PUBLISH, &got);
  peer_send_ack(p, PACKET_PUBACK, got.id);
  peer_expect(p, PACKET_PUBLISH, &got);
  uint16_t in_flight = got.id;
  assert_int_equal(peer_subscribe(p, "t/+", 0), 0);
  peer_send_ack(p, PACKET_PUBACK, in_flight);
  int count = 0;
  for (; peer_next(p, &got); count++)
    assert_int_equal(got.publish.message.qos, 0);
  assert_int_equal(count, COUNT_RETAINED);
  expect_alive(p);
}

static void retained_before_what_is_newer(void **state) { // the order of a topic
  enum { COUNT_RETAINED = 20 };
  struct peer *p = subscribe_to_many_retained(state, COUNT_RETAINED);
  bool newer[COUNT_RETAINED] = {0};
  char topic[16];
  somebody_publishes(*state, "t/19", "live", 1, false);
  somebody_publishes(*state, "t/10", "live", 1, false);
  somebody_publishes(*state, "t/0", "live", 1, false);
  for (struct packet got; peer_next(p, &got); peer_send_ack(p, PACKET_PUBACK, got.id)) {
    const struct packet_message *m = &got.publish.message;
    snprintf(topic, sizeof topic, "%.*s", (int)m->topic.len, (const char *)m->topic.ptr);
    int i = -1;
    assert_int_equal(sscanf(topic, "t/%d", &i), 1);
    if (m->retain && newer[i]) fail_msg("the retained message of %s came after a newer one", topic);
    newer[i] |= !m->retain;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT-3.3.1-1] [MQTT-2.3.1-4] what is sent again has dup and its id", dup_when_sent_again),
      STATEMENT("[MQTT-3.3.1-1] [MQTT-3.3.1-3] what is first sent has no dup", dup_not_when_first_sent),
      STATEMENT("[MQTT-3.3.1-2] QoS 0 has no dup, and closes with it", dup_of_qos_0),
      STATEMENT("[MQTT-3.3.1-3] the dup of a publisher is not passed on", dup_is_not_passed_on),
      STATEMENT("[MQTT-3.3.1-4] QoS 3 closes", qos_3),
      STATEMENT("[MQTT-3.3.1-5] [MQTT-3.3.1-8] a retained message is stored with its QoS",
                retained_with_its_qos),
      STATEMENT("[MQTT-3.3.1-5] with QoS 2 from its release on", retained_of_qos_2_on_release),
      STATEMENT("[MQTT-3.3.1-6] a new subscription gets the last one of each matching topic",
                last_retained_of_each_topic),
      STATEMENT("[MQTT-3.3.1-6] however many they are", many_retained),
      STATEMENT("[MQTT-3.3.1-7] QoS 0 replaces what was retained", qos_0_replaces_retained),
      STATEMENT("[MQTT-3.3.1-8] [MQTT-3.3.1-1] retain stays set when it is sent again",
                retain_flag_when_sent_again),
      STATEMENT("[MQTT-3.3.1-9] an established subscription gets retain 0", retain_flag_of_live_messages),
      STATEMENT("[MQTT-3.3.1-6] resumption and take-over are no new subscriptions",
                retained_not_on_take_over),
      STATEMENT("[MQTT-3.3.1-10] an empty one deletes, and is delivered", empty_deletes_retained),
      STATEMENT("[MQTT-3.3.1-11] an empty one is not stored", empty_is_not_retained),
      STATEMENT("[MQTT-3.3.1-12] without retain nothing is stored, replaced or deleted", not_retained),
      STATEMENT("[MQTT-3.1.2-7] retained messages outlive the session", retained_outlives_its_session),
      STATEMENT("[MQTT-3.3.2-1] the topic comes first", topic_first),
      STATEMENT("[MQTT-3.3.2-2] [MQTT-4.7.1-1] [MQTT-4.7.0-1] a topic name with wildcards closes",
                topic_with_wildcards),
      STATEMENT("[MQTT-3.3.2-3] subscribers get the topic of the publish, which matches",
                topic_is_that_of_the_publish),
      STATEMENT("[MQTT-3.3.4-1] [MQTT-2.3.1-6] no answer, PUBACK, or PUBREC and PUBCOMP", answers),
      STATEMENT("[MQTT-3.3.5-1] overlapping subscriptions get one copy, with the highest QoS",
                overlapping_subscriptions),
      STATEMENT("[MQTT-3.3.5-1] also of an offline session", overlapping_subscriptions_offline),
      STATEMENT("[MQTT-3.3.5-2] a refused publish is acknowledged, and goes nowhere",
                refused_but_acknowledged),
      STATEMENT("[MQTT-3.3.5-2] or closes, as the settings say", refused_and_closed),
      STATEMENT("[MQTT-3.3.1-6] [MQTT-4.1.0-1] a lost connection does not end it", retained_across_a_loss),
      STATEMENT("[MQTT-3.3.1-6] [MQTT-3.8.4-3] the same filter again begins anew", replay_replaced),
      STATEMENT("[MQTT-4.6.0-6] a retained message does not come after a newer one of its topic",
                retained_before_what_is_newer),
  };
  return cmocka_run_group_tests_name("conformance: publish", tests, NULL, NULL);
}
