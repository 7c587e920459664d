// Retained messages of MQTT 5: retain handling, retain as published, and expiry: chapter 3.3.1.3.
#include <stdio.h>

#include "conformance.h"

enum {
  SEND = 0,
  SEND_IF_NEW = 1 << SUBSCRIPTION_RETAIN_HANDLING_SHIFT,
  SEND_NOT = 2 << SUBSCRIPTION_RETAIN_HANDLING_SHIFT,
  AS_PUBLISHED = SUBSCRIPTION_RETAIN_AS_PUBLISHED,
};

static void replaced(void **state) { // with all that belongs to it
  struct harness *h = *state;
  somebody_publishes_5(h, "t", "A", 2, true, "content_type=old user_property=a:b");
  somebody_publishes_5(h, "t", "B", 1, true, "content_type=new");
  somebody_publishes_5(h, "t", "C", 1, false, ""); // not retained: replaces and removes nothing
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "t", 2);
  expect_publish(p, "t", "B", 1, RETAINED);
  peer_expect_properties(p, "content_type=new");
  expect_alive(p);
  assert_int_equal(memory_retained(h->memory)->count, 1);
}

static void removed(void **state) { // by an empty payload, which is sent on but not stored
  struct harness *h = *state;
  somebody_publishes_5(h, "t", "A", 1, true, "");
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "t", SEND_NOT | AS_PUBLISHED);
  somebody_publishes_5(h, "t", "", 0, true, "content_type=c");
  expect_publish(p, "t", "", 0, RETAINED);
  peer_expect_properties(p, "content_type=c");
  assert_int_equal(memory_retained(h->memory)->count, 0);
  peer_subscribe(p, "t", SEND);
  somebody_publishes_5(h, "u", "", 0, true, ""); // there was none
  assert_int_equal(memory_retained(h->memory)->count, 0);
  expect_alive(p);
}

static void handling_0(void **state) { // with each SUBSCRIBE
  struct harness *h = *state;
  somebody_publishes(h, "a/1", "A", 1, true);
  struct peer *p = peer_connect_5(h, "x", true, "");
  for (int i = 0; i < 3; i++) {
    peer_subscribe(p, "a/+", SEND | 1);
    peer_send_ack(p, PACKET_PUBACK, expect_publish(p, "a/1", "A", 1, RETAINED));
  }
  expect_alive(p);
}

static void handling_1(void **state) { // only with a subscription that is new
  struct harness *h = *state;
  somebody_publishes(h, "t", "A", 0, true);
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=100");
  peer_subscribe(p, "t", SEND_IF_NEW);
  expect_publish(p, "t", "A", 0, RETAINED);
  peer_subscribe(p, "t", SEND_IF_NEW | 1);
  peer_expect_nothing(p);
  peer_subscribe(p, "+", SEND_IF_NEW); // another filter
  expect_publish(p, "t", "A", 0, RETAINED);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "", &p)); // the session still has it
  peer_subscribe(p, "t", SEND_IF_NEW);
  peer_expect_nothing(p);
  peer_unsubscribe(p, "t");
  peer_subscribe(p, "t", SEND_IF_NEW); // new again
  expect_publish(p, "t", "A", 0, RETAINED);
}

static void handling_2(void **state) { // never
  struct harness *h = *state;
  somebody_publishes(h, "t", "A", 0, true);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "t", SEND_NOT);
  peer_subscribe(p, "#", SEND_NOT);
  peer_expect_nothing(p);
  somebody_publishes(h, "t", "B", 0, false);
  expect_publish(p, "t", "B", 0, 0);
  expect_alive(p);
}

static void each_filter_its_handling(void **state) {
  struct harness *h = *state;
  somebody_publishes(h, "a", "A", 0, true);
  somebody_publishes(h, "b", "B", 0, true);
  somebody_publishes(h, "c", "C", 0, true);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "b", SEND_NOT);
  peer_send(p, SLICE("\x82\x0f\0\7\0\0\1a\x20\0\1b\x10\0\1c\0"));
  peer_expect(p, PACKET_SUBACK, NULL);
  expect_publish(p, "c", "C", 0, RETAINED);
  expect_alive(p);
}

static void not_when_resumed(void **state) { // nor to whom takes the session over
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=100");
  peer_subscribe(p, "#", 1);
  somebody_publishes(h, "t", "A", 0, true);
  expect_publish(p, "t", "A", 0, 0);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "session_expiry_interval=100", &p));
  expect_alive(p);
  struct peer *next;
  assert_true(peer_resume_5(h, "x", "session_expiry_interval=100", &next));
  peer_expect_disconnect(p, REASON_SESSION_TAKEN_OVER);
  expect_alive(next);
}

static void goes_on_when_resumed(void **state) { // but what a SUBSCRIBE asked for is sent to its end
  struct harness *h = *state;
  char topic[16];
  for (int i = 0; i < 5; i++) {
    snprintf(topic, sizeof topic, "t/%d", i);
    somebody_publishes(h, topic, "A", 1, true);
  }
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=100 receive_maximum=2");
  peer_subscribe(p, "t/+", 1);
  struct packet got;
  bool seen[5] = {0};
  for (int i = 0; i < 2; i++) {
    peer_expect(p, PACKET_PUBLISH, &got);
    seen[got.publish.message.topic.ptr[2] - '0'] = true;
  }
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "", &p));
  for (int i = 0; i < 5; i++) {
    peer_expect(p, PACKET_PUBLISH, &got);
    bool *before = &seen[got.publish.message.topic.ptr[2] - '0'];
    assert_int_equal(got.publish.dup, *before);
    *before = true;
    peer_send_ack(p, PACKET_PUBACK, got.id);
  }
  expect_alive(p);
}

static void
of_a_retained_message(void **state) { // the identifier, the lower QoS, and what is left of its time
  struct harness *h = *state;
  somebody_publishes_5(h, "t", "A", 2, true, "content_type=c message_expiry_interval=60");
  harness_advance(h, 20000);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe_5(p, "t", 1, "subscription_identifier=7");
  peer_send_ack(p, PACKET_PUBACK, expect_publish(p, "t", "A", 1, RETAINED));
  peer_expect_properties(p, "content_type=c subscription_identifier=7 message_expiry_interval=40");
  peer_subscribe_5(p, "+", 0, "subscription_identifier=300"); // that of this SUBSCRIBE alone
  expect_publish(p, "t", "A", 0, RETAINED);
  peer_expect_properties(p, "content_type=c subscription_identifier=300 message_expiry_interval=40");
  harness_advance(h, 40000);
  peer_subscribe(p, "t", 1);
  peer_subscribe(p, "#", 1);
  expect_alive(p);
}

static void expired_ones_are_gone(void **state) { // and take no memory once they were met
  struct harness *h = *state;
  somebody_publishes_5(h, "a", "A", 0, true, "message_expiry_interval=10");
  somebody_publishes_5(h, "b", "B", 0, true, "message_expiry_interval=20");
  harness_advance(h, 10000);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "#", 0);
  expect_publish(p, "b", "B", 0, RETAINED);
  expect_alive(p);
  assert_int_equal(memory_retained(h->memory)->count, 1);
  assert_int_equal(h->shard->stats.retained_messages, 1);
}

static void as_published(void **state) { // the flag stays only where it is asked for
  struct harness *h = *state;
  struct peer *keeps = peer_connect_5(h, "x", true, ""), *clears = peer_connect_5(h, "y", true, ""),
              *old = peer_connect(h, "z", true);
  peer_subscribe(keeps, "t", AS_PUBLISHED | 2);
  peer_subscribe(clears, "t", 2);
  peer_subscribe(old, "t", 2);
  for (uint8_t qos = 0; qos <= 2; qos++)
    for (int retain = 0; retain <= 1; retain++) {
      somebody_publishes(h, "t", "A", qos, retain);
      finish_delivery(keeps, qos, expect_publish(keeps, "t", "A", qos, retain ? RETAINED : 0));
      finish_delivery(clears, qos, expect_publish(clears, "t", "A", qos, 0));
      finish_delivery(old, qos, expect_publish(old, "t", "A", qos, 0));
    }
}

static void as_published_offline(void **state) { // also from the queue, and when it is sent again
  struct harness *h = *state;
  leave_subscription_5(h, "x", "session_expiry_interval=100", "t", AS_PUBLISHED | 1);
  somebody_publishes(h, "t", "A", 1, true);
  somebody_publishes(h, "t", "B", 1, false);
  struct peer *p;
  assert_true(peer_resume_5(h, "x", "session_expiry_interval=100", &p));
  expect_publish(p, "t", "A", 1, RETAINED);
  expect_publish(p, "t", "B", 1, 0);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "", &p));
  expect_publish(p, "t", "A", 1, RETAINED | DUP);
  expect_publish(p, "t", "B", 1, DUP);
}

static void retained_keeps_its_flag(void **state) { // a replay has it, whatever the subscription says
  struct harness *h = *state;
  somebody_publishes(h, "t", "A", 1, true);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "t", 0);
  expect_publish(p, "t", "A", 0, RETAINED);
  peer_subscribe(p, "t", AS_PUBLISHED);
  expect_publish(p, "t", "A", 0, RETAINED);
}

static void replacing_loses_nothing(void **state) { // and retained messages come again
  struct harness *h = *state;
  somebody_publishes(h, "t", "kept", 1, true);
  struct peer *p = peer_connect_5(h, "x", true, "receive_maximum=2");
  peer_subscribe(p, "t", 1);
  uint16_t first = expect_publish(p, "t", "kept", 1, RETAINED);
  somebody_publishes(h, "t", "1", 1, false);
  somebody_publishes(h, "t", "2", 1, false);
  uint16_t second = expect_publish(p, "t", "1", 1, 0);
  peer_subscribe(p, "t", 1); // while "2" waits
  peer_send_ack(p, PACKET_PUBACK, first);
  peer_send_ack(p, PACKET_PUBACK, second);
  bool kept = false, waited = false;
  for (int i = 0; i < 2; i++) {
    struct packet got;
    peer_expect(p, PACKET_PUBLISH, &got);
    *(got.publish.message.retain ? &kept : &waited) = true;
    peer_send_ack(p, PACKET_PUBACK, got.id);
  }
  assert_true(kept && waited);
  expect_alive(p);
}

// Also what the subscription before has asked for, and has not been sent yet.
static void replacing_changes_what_waits(void **state) {
  struct harness *h = *state;
  somebody_publishes(h, "t", "A", 1, true);
  somebody_publishes(h, "u", "B", 1, true);
  struct peer *p = peer_connect_5(h, "x", true, "receive_maximum=1");
  peer_subscribe(p, "t", 1);
  uint16_t id = expect_publish(p, "t", "A", 1, RETAINED);
  peer_subscribe_5(p, "u", 1, "subscription_identifier=1");
  peer_subscribe_5(p, "u", SEND_NOT, "subscription_identifier=2");
  peer_send_ack(p, PACKET_PUBACK, id);
  expect_publish(p, "u", "B", 0, RETAINED);
  peer_expect_properties(p, "subscription_identifier=2");
  expect_alive(p);
}

static void replacing_forgets_what_is_gone(void **state) { // though another one comes in its place
  struct harness *h = *state;
  somebody_publishes(h, "t", "A", 1, true);
  somebody_publishes(h, "u", "B", 1, true);
  struct peer *p = peer_connect_5(h, "x", true, "receive_maximum=1");
  peer_subscribe(p, "t", 1);
  uint16_t id = expect_publish(p, "t", "A", 1, RETAINED);
  peer_subscribe_5(p, "u", 1, "subscription_identifier=1");
  somebody_publishes(h, "u", "", 0, true);
  peer_subscribe(p, "u", 0);
  somebody_publishes(h, "u", "C", 1, true);
  peer_send_ack(p, PACKET_PUBACK, id);
  expect_publish(p, "u", "", 0, 0);
  expect_publish(p, "u", "C", 0, 0);
  expect_alive(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT5-3.3.1-5] [MQTT5-3.3.1-8] a retained message replaces the one before", replaced),
      STATEMENT("[MQTT5-3.3.1-6] [MQTT5-3.3.1-7] an empty one removes it", removed),
      STATEMENT("[MQTT5-3.3.1-9] [MQTT5-3.8.4-4] retain handling 0: with each SUBSCRIBE", handling_0),
      STATEMENT("[MQTT5-3.3.1-10] retain handling 1: with a new subscription", handling_1),
      STATEMENT("[MQTT5-3.3.1-11] retain handling 2: not at all", handling_2),
      STATEMENT("[MQTT5-3.3.1-9] [MQTT5-3.3.1-10] [MQTT5-3.3.1-11] each filter has its own",
                each_filter_its_handling),
      STATEMENT("[MQTT5-3.3.1-9] not when a session is resumed or taken over", not_when_resumed),
      STATEMENT("[MQTT5-3.3.1-9] what was under way goes on", goes_on_when_resumed),
      STATEMENT("[MQTT5-3.3.1-9] [MQTT5-3.3.2-6] [MQTT5-3.3.4-3] [MQTT5-3.8.4-8] what a retained message "
                "comes with",
                of_a_retained_message),
      STATEMENT("[MQTT5-3.3.2-5] retained messages expire", expired_ones_are_gone),
      STATEMENT("[MQTT5-3.3.1-12] [MQTT5-3.3.1-13] retain as published", as_published),
      STATEMENT("[MQTT5-3.3.1-12] [MQTT5-3.3.1-13] through queues as well", as_published_offline),
      STATEMENT("[MQTT5-3.3.1-9] retained messages have the flag", retained_keeps_its_flag),
      STATEMENT("[MQTT5-3.8.4-4] replacing a subscription loses no message", replacing_loses_nothing),
      STATEMENT("[MQTT5-3.8.4-3] what waits for it comes by the new one", replacing_changes_what_waits),
      STATEMENT("[MQTT5-3.8.4-3] retained messages are those of the new one", replacing_forgets_what_is_gone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
