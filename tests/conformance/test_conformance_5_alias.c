// Topic aliases in both directions: chapter 3.3.2.3.4.
#include <stdio.h>

#include "conformance.h"

// --- of the client ---

static void used(void **state) { // and never sent on
  struct harness *h = *state;
  struct peer *watcher = peer_connect_5(h, "y", true, ""), *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(watcher, "#", 2);
  peer_publish_5(p, "a/b", "1", 0, false, "topic_alias=1 content_type=c");
  expect_publish(watcher, "a/b", "1", 0, 0);
  peer_expect_properties(watcher, "content_type=c");
  for (uint8_t qos = 0; qos <= 2; qos++) {
    uint16_t id = peer_publish_5(p, "", "2", qos, false, "user_property=a:b topic_alias=1");
    if (qos == 1) peer_expect_ack(p, PACKET_PUBACK, id);
    if (qos == 2) peer_expect_ack(p, PACKET_PUBREC, id);
    if (qos == 2) peer_send_ack(p, PACKET_PUBREL, id);
    if (qos == 2) peer_expect_ack(p, PACKET_PUBCOMP, id);
    uint16_t got = expect_publish(watcher, "a/b", "2", qos, 0);
    peer_expect_properties(watcher, "user_property=a:b");
    finish_delivery(watcher, qos, got);
  }
}

static void changed(void **state) {
  struct harness *h = *state;
  struct peer *watcher = peer_connect(h, "y", true), *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(watcher, "#", 0);
  const char *topics[] = {"a", "", "a/much/longer/topic", "", "b", ""};
  const char *meant[] = {"a", "a", "a/much/longer/topic", "a/much/longer/topic", "b", "b"};
  for (size_t i = 0; i < COUNT(topics); i++) {
    peer_publish_5(p, topics[i], "A", 0, false, "topic_alias=7");
    expect_publish(watcher, meant[i], "A", 0, 0);
  }
}

static void all_of_them(void **state) { // from 1 to the maximum
  struct harness *h = *state;
  struct peer *watcher = peer_connect(h, "y", true), *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(watcher, "#", 0);
  char properties[32], topic[16];
  for (int round = 0; round < 2; round++)
    for (unsigned alias = 1; alias <= 32; alias++) {
      snprintf(properties, sizeof properties, "topic_alias=%u", alias);
      snprintf(topic, sizeof topic, "t/%u", alias);
      peer_publish_5(p, round ? "" : topic, "A", 0, false, properties);
      expect_publish(watcher, topic, "A", 0, 0);
    }
  peer_publish_5(p, "t", "A", 0, false, "topic_alias=33");
  peer_expect_disconnect(p, REASON_TOPIC_ALIAS_INVALID);
  expect_alive(watcher);
}

static void of_one_connection(void **state) { // a new one has none, and others have their own
  struct harness *h = *state;
  struct peer *watcher = peer_connect(h, "z", true);
  peer_subscribe(watcher, "#", 0);
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=100");
  peer_publish_5(p, "a", "A", 0, false, "topic_alias=1");
  expect_publish(watcher, "a", "A", 0, 0);
  struct peer *other = peer_connect_5(h, "y", true, "");
  peer_publish_5(other, "", "A", 0, false, "topic_alias=1");
  peer_expect_disconnect(other, REASON_PROTOCOL_ERROR);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "", &p));
  peer_publish_5(p, "", "A", 0, false, "topic_alias=1");
  peer_expect_disconnect(p, REASON_PROTOCOL_ERROR);
  expect_alive(watcher);
}

static void retained_and_will(void **state) { // an alias stands for the topic everywhere
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_publish_5(p, "a/b", "", 0, false, "topic_alias=1");
  peer_publish_5(p, "", "kept", 0, true, "topic_alias=1");
  struct peer *late = peer_connect_5(h, "y", true, "");
  peer_subscribe(late, "a/+", 0);
  expect_publish(late, "a/b", "kept", 0, RETAINED);
  peer_expect_properties(late, "");
}

static void of_a_duplicate(void **state) { // sets it all the same
  struct harness *h = *state;
  struct peer *watcher = peer_connect(h, "y", true), *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(watcher, "#", 0);
  peer_send(p, SLICE("\x34\x09\0\1a\0\7\3\x23\0\1"));
  peer_expect_ack(p, PACKET_PUBREC, 7);
  peer_send(p, SLICE("\x3c\x09\0\1a\0\7\3\x23\0\2"));
  peer_expect_ack(p, PACKET_PUBREC, 7);
  peer_publish_5(p, "", "A", 0, false, "topic_alias=2");
  expect_publish(watcher, "a", "A", 0, 0);
}

// --- towards the client ---

static void not_without_maximum(void **state) {
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, ""),
              *zero = peer_connect_5(h, "y", true, "topic_alias_maximum=0");
  peer_subscribe(p, "topic", 0);
  peer_subscribe(zero, "topic", 0);
  for (int i = 0; i < 5; i++) {
    somebody_publishes(h, "topic", "A", 0, false);
    expect_publish(p, "topic", "A", 0, 0);
    peer_expect_properties(p, "");
    expect_publish(zero, "topic", "A", 0, 0);
    peer_expect_properties(zero, "");
  }
}

static void up_to_the_maximum(void **state) { // each alias within it, and always for the right topic
  struct harness *h = *state;
  enum { MAXIMUM = 3, TOPICS = 20, ROUNDS = 10 };
  struct peer *p = peer_connect_5(h, "x", true, "topic_alias_maximum=3"), *from = peer_connect(h, "y", true);
  peer_subscribe(p, "#", 0);
  char known[MAXIMUM + 1][32] = {0}, topic[32];
  unsigned saved = 0;
  for (int i = 0; i < ROUNDS * TOPICS; i++) {
    snprintf(topic, sizeof topic, "topic/%d", i % TOPICS * (i % 3 == 0)); // one of them is hot
    peer_publish(from, topic, "A", 0, false);
    struct packet got;
    peer_expect(p, PACKET_PUBLISH, &got);
    const struct packet_message *m = &got.publish.message;
    uint32_t alias = packet_property_number(&m->properties, PROPERTY_TOPIC_ALIAS, 0);
    assert_true(alias <= MAXIMUM);
    if (m->topic.len) {
      assert_true(slice_eq(m->topic, slice_str(topic)));
      if (alias) snprintf(known[alias], sizeof known[alias], "%s", topic);
    } else {
      assert_true(alias);
      assert_string_equal(known[alias], topic);
      saved++;
    }
  }
  assert_true(saved > 50);
}

static void sent_again_with_topic(void **state) { // a resend relies on no alias
  struct harness *h = *state;
  const char *properties = "session_expiry_interval=100 topic_alias_maximum=5";
  struct peer *p = peer_connect_5(h, "x", true, properties);
  peer_subscribe(p, "topic", 1);
  somebody_publishes(h, "topic", "1", 1, false);
  somebody_publishes(h, "topic", "2", 1, false);
  peer_expect(p, PACKET_PUBLISH, NULL);
  peer_expect(p, PACKET_PUBLISH, NULL);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", properties, &p));
  peer_send_ack(p, PACKET_PUBACK, expect_publish(p, "topic", "1", 1, DUP));
  peer_send_ack(p, PACKET_PUBACK, expect_publish(p, "topic", "2", 1, DUP));
  somebody_publishes(h, "topic", "3", 1, false);
  expect_publish(p, "topic", "3", 1, 0); // the first use on this connection
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT5-3.3.2-12] an alias stands for its topic, and is not sent on", used),
      STATEMENT("[MQTT5-3.3.2-12] an alias can be given another topic", changed),
      STATEMENT("[MQTT5-3.3.2-12] [MQTT5-3.3.2-9] [MQTT5-3.2.2-17] all up to the maximum", all_of_them),
      STATEMENT("[MQTT5-3.3.2-7] aliases end with their connection", of_one_connection),
      STATEMENT("[MQTT5-3.3.2-12] retained messages", retained_and_will),
      STATEMENT("[MQTT5-3.3.2-12] also a duplicate sets one", of_a_duplicate),
      STATEMENT("[MQTT5-3.1.2-27] a client without a maximum is sent no alias", not_without_maximum),
      STATEMENT(
          "[MQTT5-3.1.2-26] [MQTT5-3.3.2-11] [MQTT5-3.3.2-10] [MQTT5-3.3.2-8] aliases within the client's "
          "maximum",
          up_to_the_maximum),
      STATEMENT("[MQTT5-3.3.2-7] what is sent again has its topic", sent_again_with_topic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
