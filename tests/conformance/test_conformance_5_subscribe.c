// SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK of MQTT 5, subscription identifiers, no local: chapters 3.3.4
// and 3.8 to 3.11.
#include <stdio.h>

#include "conformance.h"
#include "decorator.h"

enum { NO_LOCAL = SUBSCRIPTION_NO_LOCAL };

// --- SUBACK ---

static void one_answer(void **state) { // with the packet's id, and a code for each filter in order
  struct peer *p = peer_connect_5(*state, "x", true, "");
  peer_send(p, SLICE("\x82\x15\x12\x34\0\0\1a\2\0\1b\0\0\1+\1\0\3a/#\2"));
  expect_bytes(p, SLICE("\x90\7\x12\x34\0\2\0\1\2"));
  peer_send(p, SLICE("\xa2\x13\x43\x21\0\0\1b\0\1c\0\3a/#\0\3a/+"));
  expect_bytes(p, SLICE("\xb0\7\x43\x21\0\0\x11\0\x11"));
  struct buf list = BUF_INIT; // very many
  char codes[2000];
  for (size_t i = 0; i < sizeof codes; i++) {
    packet_add_subscription(&list, SLICE("many"), (uint8_t)(i % 3));
    codes[i] = (char)(i % 3);
  }
  peer_send_packet(p, &(struct packet){.type = PACKET_SUBSCRIBE,
                                       .id = 65535,
                                       .subscribe = {.count = sizeof codes, .list = buf_slice(&list)}});
  buf_release(&list);
  struct packet got;
  peer_expect(p, PACKET_SUBACK, &got);
  assert_int_equal(got.id, 65535);
  assert_true(slice_eq(got.suback.list, slice_of(codes, sizeof codes)));
}

static void refusals(void **state) { // each filter on its own, with a reason that SUBACK has
  struct settings settings;
  settings_init(&settings);
  settings.subscriptions = 2;
  settings.topic_levels = 2;
  struct harness *h = restart_broker(state, &settings);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_send(p, SLICE("\x82\x1b\0\1\0\0\1a\2\0\5a/b/c\1\0\1b\1\0\1c\1\0\1a\1"));
  expect_bytes(p, SLICE("\x90\x08\0\1\0\2\x8f\1\x97\1"));
  somebody_publishes(h, "c", "A", 0, false);
  expect_alive(p);
}

static void hook_refuses_unsubscribe(void **state) { // and the subscription stays
  (void)state;
  struct harness *h = harness_new(NULL);
  struct decorator d;
  decorator_init(&d, h);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "a", 0);
  peer_subscribe(p, "b", 0);
  d.hold_subscribes = true;
  peer_send(p, SLICE("\xa2\x09\0\7\0\0\1a\0\1b"));
  d.requests[0].request->list[0].reason = REASON_BANNED;
  decorator_release_request(&d, h);
  expect_bytes(p, SLICE("\xb0\5\0\7\0\x87\0"));
  somebody_publishes(h, "a", "A", 0, false);
  take_message(p, "a", "A", 0);
  somebody_publishes(h, "b", "B", 0, false);
  expect_alive(p);
  harness_free(h);
}

static void granted_qos(void **state) { // the lower of published and granted
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  for (uint8_t granted = 0; granted <= 2; granted++) {
    assert_int_equal(peer_subscribe(p, "t", granted), granted);
    for (uint8_t qos = 0; qos <= 2; qos++) {
      somebody_publishes(h, "t", "A", qos, false);
      take_message(p, "t", "A", qos < granted ? qos : granted);
    }
  }
  expect_alive(p);
}

static void replaced(void **state) { // the very same filter: options and identifier are the new ones
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe_5(p, "t", NO_LOCAL | 1, "subscription_identifier=1");
  peer_subscribe_5(p, "t", 2, "subscription_identifier=2");
  uint16_t id = peer_publish(p, "t", "A", 2, false);
  peer_expect_ack(p, PACKET_PUBREC, id);
  peer_send_ack(p, PACKET_PUBREL, id);
  peer_expect_ack(p, PACKET_PUBCOMP, id);
  id = expect_publish(p, "t", "A", 2, 0);
  peer_expect_properties(p, "subscription_identifier=2");
  finish_delivery(p, 2, id);
  peer_subscribe(p, "t", 0); // without one
  somebody_publishes(h, "t", "B", 2, false);
  expect_publish(p, "t", "B", 0, 0);
  peer_expect_properties(p, "");
  peer_unsubscribe(p, "t"); // it was one subscription
  somebody_publishes(h, "t", "C", 0, false);
  expect_alive(p);
}

static void as_a_sequence(void **state) { // the last one of a filter counts
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_send(p, SLICE("\x82\x0f\0\1\0\0\1a\2\0\1b\1\0\1a\0"));
  expect_bytes(p, SLICE("\x90\6\0\1\0\2\1\0"));
  somebody_publishes(h, "a", "A", 2, false);
  take_message(p, "a", "A", 0);
  expect_alive(p);
}

// --- no local ---

static void no_local(void **state) { // nothing of one's own, whatever the QoS, and all of others
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, ""), *other = peer_connect_5(h, "y", true, "");
  peer_subscribe(p, "#", NO_LOCAL | 2);
  peer_subscribe(other, "#", 2);
  for (uint8_t qos = 0; qos <= 2; qos++) {
    publish_fully(p, "t", "mine", qos, false);
    peer_expect_nothing(p);
    take_message(other, "t", "mine", qos);
    publish_fully(other, "t", "yours", qos, false);
    take_message(other, "t", "yours", qos);
    take_message(p, "t", "yours", qos);
  }
}

static void no_local_is_of_the_client_id(void **state) { // not of the connection
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=100");
  peer_subscribe(p, "t", NO_LOCAL | 1);
  uint16_t id = peer_publish(p, "t", "A", 2, false);
  peer_expect_ack(p, PACKET_PUBREC, id);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "", &p));
  peer_send_ack(p, PACKET_PUBREL, id);
  peer_expect_ack(p, PACKET_PUBCOMP, id);
  expect_alive(p);
}

static void no_local_beside_another(void **state) { // a subscription without it counts, as if it were alone
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe_5(p, "a/#", NO_LOCAL | SUBSCRIPTION_RETAIN_AS_PUBLISHED | 2, "subscription_identifier=1");
  peer_subscribe_5(p, "a/b", 0, "subscription_identifier=2");
  peer_subscribe_5(p, "+/b", NO_LOCAL | 1, "");
  peer_subscribe_5(p, "a/+", 1, "");
  uint16_t id = peer_publish(p, "a/b", "mine", 2, true);
  peer_expect_ack(p, PACKET_PUBREC, id);
  peer_send_ack(p, PACKET_PUBREL, id);
  struct packet got;
  for (int i = 0; i < 2; i++) { // in either order
    assert_true(peer_next(p, &got));
    if (got.type == PACKET_PUBCOMP) continue;
    assert_int_equal(got.publish.message.qos, 1);
    assert_false(got.publish.message.retain);
    peer_expect_properties(p, "subscription_identifier=2");
    peer_send_ack(p, PACKET_PUBACK, got.id);
  }
  expect_alive(p);
  somebody_publishes(h, "a/b", "yours", 2, true);
  peer_expect(p, PACKET_PUBLISH, &got);
  assert_int_equal(got.publish.message.qos, 2);
  assert_true(got.publish.message.retain);
  peer_expect_properties(p, "subscription_identifier=2 subscription_identifier=1");
  finish_delivery(p, 2, got.id);
  peer_unsubscribe(p, "a/b");
  peer_unsubscribe(p, "a/+");
  publish_fully(p, "a/b", "mine", 2, false);
  expect_alive(p);
}

static void no_local_and_retained(void **state) { // one's own retained message comes with SUBSCRIBE, or not
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  publish_fully(p, "t", "A", 1, true);
  peer_subscribe(p, "t", NO_LOCAL);
  // The specification says neither; what others publish comes.
  struct packet got;
  if (peer_next(p, &got)) assert_true(got.publish.message.retain);
  somebody_publishes(h, "t", "B", 0, true);
  expect_publish(p, "t", "B", 0, 0);
}

// --- identifiers ---

static void identifiers(void **state) { // of one subscription, up to the largest, until it ends
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=100");
  const char *ids[] = {"1", "127", "128", "16384", "268435455"};
  for (size_t i = 0; i < COUNT(ids); i++) {
    char properties[64];
    snprintf(properties, sizeof properties, "subscription_identifier=%s", ids[i]);
    peer_subscribe_5(p, "t", 1, properties);
    somebody_publishes_5(h, "t", "A", 1, false, "content_type=c");
    char wanted[96];
    snprintf(wanted, sizeof wanted, "content_type=c %s", properties);
    peer_send_ack(p, PACKET_PUBACK, expect_publish(p, "t", "A", 1, 0));
    peer_expect_properties(p, wanted);
  }
  peer_drop(p);
  somebody_publishes(h, "t", "B", 1, false);
  assert_true(peer_resume_5(h, "x", "", &p)); // it is part of the session, and of what was queued
  expect_publish(p, "t", "B", 1, 0);
  peer_expect_properties(p, "subscription_identifier=268435455");
}

static void overlapping(void **state) { // one copy, with the highest QoS and all identifiers
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, ""), *plain = peer_connect_5(h, "y", true, "");
  peer_subscribe_5(p, "a/#", 0, "subscription_identifier=10");
  peer_subscribe_5(p, "a/+", 2, "subscription_identifier=20");
  peer_subscribe_5(p, "+/b", 1, "subscription_identifier=10"); // the same one again
  peer_subscribe(p, "#", 1);                                   // and one without
  peer_subscribe(plain, "a/b", 2);
  for (uint8_t qos = 0; qos <= 2; qos++) {
    somebody_publishes(h, "a/b", "A", qos, false);
    struct packet got;
    peer_expect(p, PACKET_PUBLISH, &got);
    assert_int_equal(got.publish.message.qos, qos);
    unsigned tens = 0, twenties = 0;
    struct slice rest = got.publish.message.properties.raw;
    for (struct packet_property q; packet_next_property(&rest, &q);) {
      assert_int_equal(q.id, PROPERTY_SUBSCRIPTION_IDENTIFIER);
      tens += q.number == 10;
      twenties += q.number == 20;
    }
    assert_int_equal(tens, 2); // [MQTT5 3.3.4]: of each matching subscription
    assert_int_equal(twenties, 1);
    finish_delivery(p, qos, got.id);
    peer_expect_nothing(p);
    uint16_t id = expect_publish(plain, "a/b", "A", qos, 0);
    peer_expect_properties(plain, ""); // others' identifiers are not for it
    finish_delivery(plain, qos, id);
  }
}

static void not_of_others(void **state) { // each has its own
  struct harness *h = *state;
  struct peer *peers[3];
  for (unsigned i = 0; i < COUNT(peers); i++) {
    char properties[48];
    snprintf(properties, sizeof properties, "subscription_identifier=%u", i + 1);
    peers[i] = peer_connect_5(h, "", true, "");
    peer_subscribe_5(peers[i], "t", 0, properties);
  }
  somebody_publishes(h, "t", "A", 0, false);
  for (unsigned i = 0; i < COUNT(peers); i++) {
    char properties[48];
    snprintf(properties, sizeof properties, "subscription_identifier=%u", i + 1);
    expect_publish(peers[i], "t", "A", 0, 0);
    peer_expect_properties(peers[i], properties);
  }
}

// --- UNSUBSCRIBE ---

static void character_by_character(void **state) {
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "a/+", 0);
  peer_send(p, SLICE("\xa2\x15\0\7\0\0\3a/b\0\3a/#\0\3A/+\0\1#"));
  expect_bytes(p, SLICE("\xb0\7\0\7\0\x11\x11\x11\x11"));
  somebody_publishes(h, "a/b", "A", 0, false);
  take_message(p, "a/b", "A", 0);
  peer_send(p, SLICE("\xa2\x08\0\x08\0\0\3a/+"));
  expect_bytes(p, SLICE("\xb0\4\0\x08\0\0"));
  somebody_publishes(h, "a/b", "B", 0, false);
  expect_alive(p);
}

static void under_way(void **state) { // what was begun is finished, and nothing new is added
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=100");
  peer_subscribe(p, "t", 2);
  somebody_publishes(h, "t", "1", 1, false);
  somebody_publishes(h, "t", "2", 2, false);
  uint16_t first = expect_publish(p, "t", "1", 1, 0), second = expect_publish(p, "t", "2", 2, 0);
  peer_unsubscribe(p, "t");
  somebody_publishes(h, "t", "3", 2, false);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "", &p));
  assert_int_equal(expect_publish(p, "t", "1", 1, DUP), first);
  assert_int_equal(expect_publish(p, "t", "2", 2, DUP), second);
  finish_delivery(p, 1, first);
  finish_delivery(p, 2, second);
  expect_alive(p);
}

static void user_properties(void **state) { // mean nothing
  struct peer *p = peer_connect_5(*state, "x", true, "");
  peer_subscribe_5(p, "t", 0, "user_property=a:b user_property=a:b");
  peer_send(p, SLICE("\xa2\x0d\0\7\7\x26\0\1a\0\1b\0\1t"));
  expect_bytes(p, SLICE("\xb0\4\0\7\0\0"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT(
          "[MQTT5-3.8.4-1] [MQTT5-3.8.4-2] [MQTT5-3.8.4-6] [MQTT5-3.9.3-1] [MQTT5-3.10.4-4] [MQTT5-3.10.4-5] "
          "[MQTT5-3.10.4-6] [MQTT5-3.11.3-1] [MQTT5-2.2.1-6] one answer, a code for each filter in order",
          one_answer),
      STATEMENT("[MQTT5-3.8.4-7] [MQTT5-3.9.3-2] filters that are refused", refusals),
      STATEMENT("[MQTT5-3.11.3-2] UNSUBSCRIBEs that are refused", hook_refuses_unsubscribe),
      STATEMENT("[MQTT5-3.8.4-7] [MQTT5-3.8.4-8] the lower of published and granted QoS", granted_qos),
      STATEMENT("[MQTT5-3.8.4-3] the same filter replaces", replaced),
      STATEMENT("[MQTT5-3.8.4-5] many filters are as many SUBSCRIBEs", as_a_sequence),
      STATEMENT("[MQTT5-3.8.3-3] no local", no_local),
      STATEMENT("[MQTT5-3.8.3-3] no local goes by the client id", no_local_is_of_the_client_id),
      STATEMENT("[MQTT5-3.8.3-3] [MQTT5-3.3.4-2] no local beside a subscription without it",
                no_local_beside_another),
      STATEMENT("[MQTT5-3.8.3-3] no local and retained messages", no_local_and_retained),
      STATEMENT("[MQTT5-3.3.4-3] [MQTT5-1.5.5-1] the identifier of a subscription", identifiers),
      STATEMENT("[MQTT5-3.3.4-2] [MQTT5-3.3.4-3] [MQTT5-3.3.4-4] [MQTT5-3.3.4-5] overlapping subscriptions",
                overlapping),
      STATEMENT("[MQTT5-3.3.4-3] identifiers are of one session", not_of_others),
      STATEMENT("[MQTT5-3.10.4-1] [MQTT5-3.10.4-2] [MQTT5-3.11.3-2] filters to unsubscribe are compared "
                "character by "
                "character",
                character_by_character),
      STATEMENT("[MQTT5-3.10.4-2] [MQTT5-3.10.4-3] what is under way is finished", under_way),
      STATEMENT("user properties of SUBSCRIBE and UNSUBSCRIBE", user_properties),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
