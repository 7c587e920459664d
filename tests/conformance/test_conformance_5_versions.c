// Clients of 3.1, 3.1.1 and 5 through the same sessions, queues and retained messages.
#include <stdio.h>

#include "conformance.h"

#define PROPERTIES                                                                                           \
  "payload_format_indicator=1 content_type=c response_topic=r correlation_data=d user_property=a:b"

// A client of that version, with a session that stays.
static struct peer *connect_as(struct harness *h, uint8_t version, const char *id, bool clean) {
  struct packet_connect connect =
      peer_connect_5_defaults(h, id, clean, version == MQTT_5 ? "session_expiry_interval=1000" : "");
  connect.version = version;
  struct peer *p = peer_open(h);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  return p;
}

static void expect_properties(struct peer *p, const char *properties) {
  if (p->version == MQTT_5) peer_expect_properties(p, properties);
}

static const uint8_t versions[] = {MQTT_3_1, MQTT_3_1_1, MQTT_5};

static void each_to_each(void **state) { // live and retained, with all QoS
  struct harness *h = *state;
  for (size_t from = 0; from < COUNT(versions); from++)
    for (size_t to = 0; to < COUNT(versions); to++)
      for (uint8_t qos = 0; qos <= 2; qos++) {
        struct peer *publisher = connect_as(h, versions[from], "from", true),
                    *subscriber = connect_as(h, versions[to], "to", true);
        peer_subscribe(subscriber, "t", 2);
        uint16_t id = peer_publish_5(publisher, "t", "A", qos, true, PROPERTIES);
        const char *properties = publisher->version == MQTT_5 ? PROPERTIES : "";
        if (qos == 1) peer_expect_ack(publisher, PACKET_PUBACK, id);
        if (qos == 2) {
          peer_expect_ack(publisher, PACKET_PUBREC, id);
          peer_send_ack(publisher, PACKET_PUBREL, id);
          peer_expect_ack(publisher, PACKET_PUBCOMP, id);
        }
        id = expect_publish(subscriber, "t", "A", qos, 0);
        expect_properties(subscriber, properties);
        finish_delivery(subscriber, qos, id);
        peer_subscribe(subscriber, "t", 2);
        id = expect_publish(subscriber, "t", "A", qos, RETAINED);
        expect_properties(subscriber, properties);
        finish_delivery(subscriber, qos, id);
        peer_disconnect(subscriber);
        peer_publish(publisher, "t", "", 0, true); // removes it
        peer_disconnect(publisher);
      }
}

static void wills(void **state) {
  struct harness *h = *state;
  for (size_t from = 0; from < COUNT(versions); from++)
    for (size_t to = 0; to < COUNT(versions); to++) {
      struct peer *subscriber = connect_as(h, versions[to], "to", true);
      peer_subscribe(subscriber, "w", 2);
      struct packet_connect connect = connect_with_will("from", "w", "A", 1, false);
      connect.version = versions[from];
      if (versions[from] == MQTT_5) connect.will.properties = harness_properties(h, PROPERTIES);
      struct peer *p = peer_open(h);
      assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
      peer_drop(p);
      uint16_t id = expect_publish(subscriber, "w", "A", 1, 0);
      expect_properties(subscriber, versions[from] == MQTT_5 ? PROPERTIES : "");
      finish_delivery(subscriber, 1, id);
      peer_disconnect(subscriber);
    }
}

// The session of one version is another's: subscriptions, what waits, what is in flight, and what is
// unreleased.
static void resumed_by_another(void **state) {
  struct harness *h = *state;
  for (size_t from = 0; from < COUNT(versions); from++)
    for (size_t to = 0; to < COUNT(versions); to++) {
      struct peer *p = connect_as(h, versions[from], "x", true);
      if (versions[from] == MQTT_3_1) { // whose clean session does not stay
        peer_disconnect(p);
        p = connect_as(h, versions[from], "x", false);
      } else if (versions[from] == MQTT_3_1_1) {
        peer_disconnect(p);
        p = connect_as(h, versions[from], "x", false);
      }
      peer_subscribe_5(p, "t", 2, "subscription_identifier=9");
      const char *properties = p->version == MQTT_5 ? PROPERTIES " subscription_identifier=9" : PROPERTIES;
      somebody_publishes_5(h, "t", "1", 1, false, PROPERTIES);
      somebody_publishes_5(h, "t", "2", 2, false, PROPERTIES);
      uint16_t first = expect_publish(p, "t", "1", 1, 0);
      expect_properties(p, properties);
      uint16_t second = expect_publish(p, "t", "2", 2, 0);
      uint16_t unreleased = peer_publish(p, "u", "B", 2, false);
      peer_expect_ack(p, PACKET_PUBREC, unreleased);
      peer_drop(p);
      somebody_publishes_5(h, "t", "3", 1, false, PROPERTIES);

      p = connect_as(h, versions[to], "x", false);
      assert_int_equal(expect_publish(p, "t", "1", 1, DUP), first);
      expect_properties(p, properties);
      assert_int_equal(expect_publish(p, "t", "2", 2, DUP), second);
      expect_properties(p, properties);
      uint16_t third = expect_publish(p, "t", "3", 1, 0);
      expect_properties(p, properties);
      struct peer *watcher = peer_connect(h, "watcher", true);
      peer_subscribe(watcher, "u", 1);
      peer_send_ack(p, PACKET_PUBREL, unreleased);
      peer_expect_ack(p, PACKET_PUBCOMP, unreleased);
      take_message(watcher, "u", "B", 1);
      finish_delivery(p, 1, first);
      finish_delivery(p, 1, third);
      peer_send_ack(p, PACKET_PUBREC, second);
      peer_expect_ack(p, PACKET_PUBREL, second);
      peer_drop(p);

      p = connect_as(h, versions[from], "x", false); // and back: PUBREL goes on
      peer_expect_ack(p, PACKET_PUBREL, second);
      peer_send_ack(p, PACKET_PUBCOMP, second);
      expect_alive(p);
      somebody_publishes_5(h, "t", "4", 0, false, PROPERTIES);
      expect_publish(p, "t", "4", 0, 0);
      expect_properties(p, properties);
      peer_disconnect(p);
      peer_disconnect(watcher);
    }
}

static void options_stay(void **state) { // of a subscription that another version resumes
  struct harness *h = *state;
  struct peer *p = connect_as(h, MQTT_5, "x", true);
  peer_subscribe(p, "t", SUBSCRIPTION_NO_LOCAL | SUBSCRIPTION_RETAIN_AS_PUBLISHED | 1);
  peer_disconnect(p);
  p = connect_as(h, MQTT_3_1_1, "x", false);
  publish_fully(p, "t", "mine", 1, false);
  peer_expect_nothing(p);
  somebody_publishes(h, "t", "A", 1, true);
  peer_send_ack(p, PACKET_PUBACK, expect_publish(p, "t", "A", 1, RETAINED));
  peer_subscribe(p, "t", 1); // that of 3.1.1 has none
  expect_publish(p, "t", "A", 1, RETAINED);
  publish_fully(p, "u", "", 0, false);
  uint16_t id = peer_publish(p, "t", "mine", 1, false);
  struct packet got;
  bool delivered = false;
  for (int i = 0; i < 2; i++) {
    assert_true(peer_next(p, &got));
    if (got.type == PACKET_PUBACK)
      assert_int_equal(got.id, id);
    else
      delivered = slice_eq(got.publish.message.payload, SLICE("mine"));
  }
  assert_true(delivered);
}

static void taken_over(void **state) { // who knows the packet is told, others are closed
  struct harness *h = *state;
  struct peer *old = connect_as(h, MQTT_3_1_1, "x", false), *p = connect_as(h, MQTT_5, "x", false);
  peer_expect_closed(old);
  peer_subscribe(p, "t", 1);
  struct peer *next = connect_as(h, MQTT_3_1, "x", false);
  peer_expect_disconnect(p, REASON_SESSION_TAKEN_OVER);
  somebody_publishes(h, "t", "A", 1, false);
  take_message(next, "t", "A", 1);
}

static void lifetimes(void **state) { // clean session is an expiry of 0 or for ever
  struct harness *h = *state;
  peer_drop(connect_as(h, MQTT_3_1_1, "x", false));
  struct peer *p;
  assert_true(peer_resume_5(h, "x", "", &p)); // and now it ends with this connection
  peer_drop(p);
  assert_null(harness_session(h, "x"));
  peer_drop(peer_connect_5(h, "x", true, "session_expiry_interval=10"));
  peer_drop(connect_as(h, MQTT_3_1_1, "x", false)); // and now it stays
  harness_advance(h, 1000000);
  assert_non_null(harness_session(h, "x"));
  peer_drop(connect_as(h, MQTT_3_1_1, "x", true));
  assert_null(harness_session(h, "x"));
}

static void expiry(void **state) { // counts for those who cannot see it as well
  struct harness *h = *state;
  struct peer *p = connect_as(h, MQTT_3_1_1, "x", false);
  peer_subscribe(p, "t", 1);
  peer_drop(p);
  somebody_publishes_5(h, "t", "A", 1, true, "message_expiry_interval=10");
  somebody_publishes_5(h, "t", "B", 1, false, "message_expiry_interval=30");
  harness_advance(h, 11000);
  p = connect_as(h, MQTT_3_1_1, "x", false);
  take_message(p, "t", "B", 1);
  peer_subscribe(p, "t", 1);
  expect_alive(p);
}

static void aliases(void **state) { // of a publisher are nobody else's matter
  struct harness *h = *state;
  struct peer *old = connect_as(h, MQTT_3_1, "x", true), *p = peer_connect_5(h, "y", true, "");
  peer_subscribe(old, "#", 0);
  peer_publish_5(p, "a/b", "1", 0, false, "topic_alias=3");
  peer_publish_5(p, "", "2", 0, false, "topic_alias=3");
  take_message(old, "a/b", "1", 0);
  take_message(old, "a/b", "2", 0);
}

static void
fan_out(void **state) { // to all of them, at once and in slices, with identifiers where there are some
  struct harness *h = *state;
  struct peer *peers[60];
  char properties[48];
  for (unsigned i = 0; i < COUNT(peers); i++) {
    char id[8];
    snprintf(id, sizeof id, "%u", i);
    peers[i] = connect_as(h, versions[i % 3], id, true);
    snprintf(properties, sizeof properties, "subscription_identifier=%u", 1 + i % 7);
    peer_subscribe_5(peers[i], i % 2 ? "t" : "+", 1, properties);
  }
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "t", SUBSCRIPTION_NO_LOCAL | 1);
  for (int round = 0; round < 2; round++) {
    uint16_t acknowledged = peer_publish_5(p, "t", "A", 1, false, "content_type=c");
    for (unsigned i = 0; i < COUNT(peers); i++) {
      uint16_t id = expect_publish(peers[i], "t", "A", 1, 0);
      snprintf(properties, sizeof properties, "content_type=c subscription_identifier=%u", 1 + i % 7);
      expect_properties(peers[i], properties);
      peer_send_ack(peers[i], PACKET_PUBACK, id);
      expect_alive(peers[i]);
    }
    peer_expect_ack(p, PACKET_PUBACK, acknowledged);
    expect_alive(p);
    memory_set_fanout_slice(h->memory, 7);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("messages of each version to each", each_to_each),
      STATEMENT("wills of each version to each", wills),
      STATEMENT("[MQTT5-3.1.2-5] [MQTT-3.1.2-4] a session of one version is resumed by another, and back",
                resumed_by_another),
      STATEMENT("options of subscriptions stay when another version resumes", options_stay),
      STATEMENT("[MQTT5-3.1.4-3] [MQTT-3.1.4-2] take-overs between versions", taken_over),
      STATEMENT("how long a session lives goes by the last CONNECT", lifetimes),
      STATEMENT("[MQTT5-3.3.2-5] messages expire for all", expiry),
      STATEMENT("aliases of a publisher", aliases),
      STATEMENT("a fan-out to clients of all versions", fan_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
