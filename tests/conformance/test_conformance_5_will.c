// The will of MQTT 5: chapters 3.1.2.5 to 3.1.2.7 and 3.1.3.2.
#include "conformance.h"

// A client "x" with this will, which is to be sent with those properties.
static struct peer *client_with(struct harness *h, struct packet_connect connect, const char *properties,
                                const char *will_properties) {
  connect.version = MQTT_5;
  connect.properties = harness_properties(h, properties);
  connect.will.properties = harness_properties(h, will_properties);
  struct peer *p = peer_open(h);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  return p;
}

static struct peer *with_will(struct harness *h, const char *properties, const char *will_properties) {
  return client_with(h, connect_with_will("x", "w", "gone", 1, false), properties, will_properties);
}

static struct peer *watcher_of(struct harness *h, const char *filter) {
  struct peer *p = peer_connect_5(h, "watcher", true, "");
  peer_subscribe(p, filter, 2 | SUBSCRIPTION_RETAIN_AS_PUBLISHED);
  return p;
}

static void sent_once(void **state) { // when the connection is lost, and then it is gone
  struct harness *h = *state;
  struct peer *watcher = watcher_of(h, "w"), *p = with_will(h, "session_expiry_interval=100", "");
  expect_alive(watcher);
  peer_drop(p);
  take_message(watcher, "w", "gone", 1);
  assert_true(peer_resume_5(h, "x", "session_expiry_interval=100", &p)); // this one has no will
  peer_drop(p);
  harness_advance(h, 200000);
  expect_alive(watcher);
}

static void whoever_ends_it(void **state) { // keep alive, a violation, the broker, a take-over
  struct harness *h = *state;
  struct peer *watcher = watcher_of(h, "w"), *p = with_will(h, "", "");
  peer_send(p, SLICE("\xf0\0"));
  peer_expect_disconnect(p, REASON_PROTOCOL_ERROR);
  take_message(watcher, "w", "gone", 1);
  p = with_will(h, "", "");
  client_close(harness_session(h, "x")->client, NULL);
  peer_expect_disconnect(p, REASON_ADMINISTRATIVE_ACTION);
  take_message(watcher, "w", "gone", 1);
  p = with_will(h, "session_expiry_interval=100", "");
  struct peer *next = with_will(h, "", "");
  peer_expect_disconnect(p, REASON_SESSION_TAKEN_OVER);
  take_message(watcher, "w", "gone", 1);
  peer_disconnect(next); // deletes its own
  struct packet_connect connect = connect_with_will("x", "w", "gone", 1, false);
  connect.keep_alive = 10;
  p = client_with(h, connect, "", "");
  harness_advance(h, 16000);
  peer_expect_disconnect(p, REASON_KEEP_ALIVE_TIMEOUT);
  take_message(watcher, "w", "gone", 1);
  expect_alive(watcher);
}

static void deleted(void **state) { // by a normal DISCONNECT, for good
  struct harness *h = *state;
  struct peer *watcher = watcher_of(h, "w"),
              *p = with_will(h, "session_expiry_interval=10", "will_delay_interval=5");
  peer_disconnect(p);
  harness_advance(h, 20000);
  expect_alive(watcher);
}

static void qos_and_retain(void **state) {
  struct harness *h = *state;
  struct peer *watcher = watcher_of(h, "w");
  for (uint8_t qos = 0; qos <= 2; qos++)
    for (int retain = 0; retain <= 1; retain++) {
      peer_drop(client_with(h, connect_with_will("x", "w", "gone", qos, retain), "", ""));
      finish_delivery(watcher, qos, expect_publish(watcher, "w", "gone", qos, retain ? RETAINED : 0));
      assert_int_equal(memory_retained(h->memory)->count, retain);
      somebody_publishes(h, "w", "", 0, true);
      expect_publish(watcher, "w", "", 0, RETAINED);
    }
  somebody_publishes(h, "w", "kept", 0, true);
  expect_publish(watcher, "w", "kept", 0, RETAINED);
  peer_drop(client_with(h, connect_with_will("x", "w", "gone", 0, false), "", "")); // replaces nothing
  expect_publish(watcher, "w", "gone", 0, 0);
  struct peer *late = peer_connect_5(h, "late", true, "");
  peer_subscribe(late, "w", 0);
  expect_publish(late, "w", "kept", 0, RETAINED);
}

static void properties(void **state) { // all but the delay, in order
  struct harness *h = *state;
  struct peer *watcher = watcher_of(h, "w");
  const char *passed_on = "user_property=b:1 content_type=c response_topic=r correlation_data=d "
                          "user_property=a:2 payload_format_indicator=1 user_property=b:1";
  peer_drop(with_will(h, "",
                      "will_delay_interval=0 user_property=b:1 content_type=c response_topic=r "
                      "correlation_data=d user_property=a:2 payload_format_indicator=1 user_property=b:1"));
  expect_publish(watcher, "w", "gone", 1, 0);
  peer_expect_properties(watcher, passed_on);
}

static void expiry(void **state) { // begins when it is sent, not with CONNECT
  struct harness *h = *state;
  struct peer *watcher = watcher_of(h, "w"), *p = with_will(h, "", "message_expiry_interval=10");
  harness_advance(h, 60000);
  leave_subscription_5(h, "away", "session_expiry_interval=100", "w", 1);
  peer_drop(p);
  peer_send_ack(watcher, PACKET_PUBACK, expect_publish(watcher, "w", "gone", 1, 0));
  peer_expect_properties(watcher, "message_expiry_interval=10");
  harness_advance(h, 4000);
  struct peer *away;
  assert_true(peer_resume_5(h, "away", "session_expiry_interval=100", &away));
  expect_publish(away, "w", "gone", 1, 0);
  peer_expect_properties(away, "message_expiry_interval=6");
}

static void empty_and_dollar(void **state) {
  struct harness *h = *state;
  struct peer *watcher = watcher_of(h, "$w/#");
  peer_drop(client_with(h, connect_with_will("x", "$w/a", "", 1, false), "", ""));
  take_message(watcher, "$w/a", "", 1);
  peer_drop(
      client_with(h, connect_with_will("x", "$SYS/a", "A", 1, true), "", "")); // refused as a publish is
  assert_int_equal(memory_retained(h->memory)->count, 0);
  assert_int_equal(h->shard->stats.messages_refused, 1);
}

static void not_of_a_refused_client(void **state) {
  struct harness *h = *state;
  struct peer *watcher = watcher_of(h, "w");
  memory_set_access(h->memory, MEMORY_CREDENTIALS);
  struct packet_connect connect = connect_with_will("x", "w", "gone", 1, false);
  connect.version = MQTT_5;
  expect_connect_refused(h, &connect, REASON_NOT_AUTHORIZED);
  memory_set_access(h->memory, MEMORY_OPEN);
  connect.properties = harness_properties(h, "maximum_packet_size=10"); // the CONNACK does not fit
  expect_connect_refused(h, &connect, REASON_PACKET_TOO_LARGE);
  expect_alive(watcher);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT(
          "[MQTT5-3.1.2-7] [MQTT5-3.1.2-8] [MQTT5-3.1.2-10] a will is sent when the connection is lost, once",
          sent_once),
      STATEMENT("[MQTT5-3.1.2-8] whoever ends the connection", whoever_ends_it),
      STATEMENT("[MQTT5-3.1.2-10] [MQTT5-3.14.4-3] DISCONNECT deletes it for good", deleted),
      STATEMENT("[MQTT5-3.1.2-14] [MQTT5-3.1.2-15] [MQTT5-3.1.2-12] its QoS, and whether it is retained",
                qos_and_retain),
      STATEMENT("[MQTT5-3.1.3-10] [MQTT5-3.1.2-9] its properties", properties),
      STATEMENT("[MQTT5-3.3.2-6] its expiry begins when it is sent", expiry),
      STATEMENT("wills of an empty payload, and to $ topics", empty_and_dollar),
      STATEMENT("a client that was not let in has no will", not_of_a_refused_client),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
