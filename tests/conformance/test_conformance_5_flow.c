// Receive maximum in both directions: chapters 3.3.4 and 4.9.
#include "conformance.h"
#include "decorator.h"

static struct peer *subscriber(struct harness *h, const char *id, const char *properties) {
  struct peer *p = peer_connect_5(h, id, true, properties);
  assert_int_equal(peer_subscribe(p, "t", 2), 2);
  return p;
}

// --- towards the client ---

static void receive_maximum(void **state) { // no more than that unacknowledged, and each PUBACK frees one
  struct harness *h = *state;
  struct peer *p = subscriber(h, "x", "receive_maximum=2");
  const char *texts[] = {"1", "2", "3", "4", "5"};
  for (size_t i = 0; i < COUNT(texts); i++)
    somebody_publishes(h, "t", texts[i], 1, false);
  uint16_t first = expect_publish(p, "t", "1", 1, 0), second = expect_publish(p, "t", "2", 1, 0);
  assert_true(first && second && first != second);
  peer_expect_nothing(p);
  peer_send_ack(p, PACKET_PUBACK, second);
  uint16_t third = expect_publish(p, "t", "3", 1, 0);
  assert_true(third != first); // that one is in use
  peer_expect_nothing(p);
  peer_send_reason(p, PACKET_PUBACK, first, REASON_QUOTA_EXCEEDED, ""); // with an error as well
  expect_publish(p, "t", "4", 1, 0);
  peer_expect_nothing(p);
  peer_send_ack(p, PACKET_PUBACK, 999); // one that is none of these does not
  peer_expect_nothing(p);
}

static void receive_maximum_qos2(void **state) { // PUBREC frees none, unless it refuses
  struct harness *h = *state;
  struct peer *p = subscriber(h, "x", "receive_maximum=1");
  somebody_publishes(h, "t", "1", 2, false);
  somebody_publishes(h, "t", "2", 2, false);
  somebody_publishes(h, "t", "3", 2, false);
  uint16_t id = expect_publish(p, "t", "1", 2, 0);
  peer_send_ack(p, PACKET_PUBREC, id);
  peer_expect_ack(p, PACKET_PUBREL, id);
  peer_expect_nothing(p);
  peer_send_ack(p, PACKET_PUBCOMP, id);
  id = expect_publish(p, "t", "2", 2, 0);
  peer_send_reason(p, PACKET_PUBREC, id, REASON_UNSPECIFIED_ERROR, "");
  expect_publish(p, "t", "3", 2, 0); // and no PUBREL before it
  peer_expect_nothing(p);
}

static void other_packets(void **state) { // go on while the quota is used up
  struct harness *h = *state;
  struct peer *p = subscriber(h, "x", "receive_maximum=1");
  somebody_publishes(h, "t", "1", 1, false);
  somebody_publishes(h, "t", "2", 1, false);
  uint16_t id = expect_publish(p, "t", "1", 1, 0);
  expect_alive(p);
  assert_int_equal(peer_subscribe(p, "u", 1), 1);
  peer_unsubscribe(p, "u");
  publish_fully(p, "v", "A", 1, false);
  publish_fully(p, "v", "A", 2, false);
  peer_send_ack(p, PACKET_PUBREC, 999);
  peer_expect_reason(p, PACKET_PUBREL, 999, REASON_PACKET_IDENTIFIER_NOT_FOUND);
  peer_send_ack(p, PACKET_PUBACK, id);
  expect_publish(p, "t", "2", 1, 0);
}

static void quota_of_a_new_connection(void **state) { // resends use it up, PUBREL does not
  struct harness *h = *state;
  struct peer *p = subscriber(h, "x", "session_expiry_interval=100");
  const char *texts[] = {"1", "2", "3", "4"};
  for (size_t i = 0; i < COUNT(texts); i++)
    somebody_publishes(h, "t", texts[i], 2, false);
  uint16_t ids[COUNT(texts)];
  for (size_t i = 0; i < COUNT(texts); i++)
    ids[i] = expect_publish(p, "t", texts[i], 2, 0);
  peer_send_ack(p, PACKET_PUBREC, ids[3]);
  peer_expect_ack(p, PACKET_PUBREL, ids[3]);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "receive_maximum=1 session_expiry_interval=100", &p));
  struct packet got; // the PUBREL is not held up by the messages, wherever it stands among them
  uint16_t released = 0, sent = 0;
  for (int i = 0; i < 2; i++) {
    assert_true(peer_next(p, &got));
    *(got.type == PACKET_PUBREL ? &released : &sent) = got.id;
  }
  assert_int_equal(released, ids[3]);
  assert_int_equal(sent, ids[0]);
  peer_expect_nothing(p);
  peer_send_ack(p, PACKET_PUBCOMP,
                ids[3]); // of a message that this connection was not sent: none is free for it
  peer_expect_nothing(p);
  for (size_t i = 0; i < 3; i++) {
    finish_delivery(p, 2, ids[i]);
    if (i < 2) assert_int_equal(expect_publish(p, "t", texts[i + 1], 2, DUP), ids[i + 1]);
  }
  expect_alive(p);
}

static void no_receive_maximum(void **state) { // what the broker keeps in flight is what counts
  struct harness *h = *state;
  struct peer *p = subscriber(h, "x", "");
  for (int i = 0; i < 11; i++)
    somebody_publishes(h, "t", "A", 1, false);
  for (int i = 0; i < 10; i++)
    expect_publish(p, "t", "A", 1, 0);
  peer_expect_nothing(p);
}

// --- from the client ---

static struct harness *with_maximum(uint16_t maximum) {
  struct settings settings;
  settings_init(&settings);
  settings.client.parallel_publishes = maximum;
  return harness_new(&settings);
}

static void exceeded_qos2(void **state) { // before they are released
  (void)state;
  struct harness *h = with_maximum(2);
  struct peer *p = peer_connect_5(h, "x", true, "");
  for (int round = 0; round < 3; round++) { // up to it is fine, again and again
    uint16_t ids[2];
    for (int i = 0; i < 2; i++) {
      ids[i] = peer_publish(p, "t", "A", 2, false);
      peer_expect_ack(p, PACKET_PUBREC, ids[i]);
    }
    for (int i = 0; i < 2; i++) {
      peer_send_ack(p, PACKET_PUBREL, ids[i]);
      peer_expect_ack(p, PACKET_PUBCOMP, ids[i]);
    }
  }
  peer_expect_ack(p, PACKET_PUBREC, peer_publish(p, "t", "A", 2, false));
  peer_expect_ack(p, PACKET_PUBREC, peer_publish(p, "t", "A", 2, false));
  peer_publish(p, "t", "A", 0, false); // does not count
  peer_expect_nothing(p);
  peer_publish(p, "t", "A", 1, false);
  peer_expect_disconnect(p, REASON_RECEIVE_MAXIMUM_EXCEEDED);
  harness_free(h);
}

static void exceeded_qos1(void **state) { // while their acknowledgements wait
  (void)state;
  struct harness *h = with_maximum(2);
  struct decorator d;
  decorator_init(&d, h);
  d.hold_acks = true;
  struct peer *p = peer_connect_5(h, "x", true, "");
  uint16_t first = peer_publish(p, "t", "A", 1, false);
  peer_publish(p, "t", "A", 1, false);
  expect_alive(p); // other packets are answered
  decorator_release_acks(&d, h, 1);
  peer_expect_ack(p, PACKET_PUBACK, first);
  peer_publish(p, "t", "A", 1, false);
  peer_expect_nothing(p);
  peer_publish(p, "t", "A", 1, false);
  peer_expect_disconnect(p, REASON_RECEIVE_MAXIMUM_EXCEEDED);
  decorator_abandon(&d);
  harness_free(h);
}

static void refused_ones_do_not_count(void **state) {
  (void)state;
  struct harness *h = with_maximum(1);
  struct decorator d;
  decorator_init(&d, h);
  d.refuse_accept = true;
  struct peer *p = peer_connect_5(h, "x", true, "");
  for (int i = 0; i < 3; i++) {
    peer_expect_reason(p, PACKET_PUBREC, peer_publish(p, "t", "A", 2, false), REASON_NOT_AUTHORIZED);
    peer_expect_reason(p, PACKET_PUBACK, peer_publish(p, "t", "A", 1, false), REASON_NOT_AUTHORIZED);
  }
  harness_free(h);
}

static void counted_anew(void **state) { // a new connection begins with the whole maximum
  (void)state;
  struct harness *h = with_maximum(2);
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=100");
  peer_send(p, SLICE("\x34\6\0\1t\0\7\0\x34\6\0\1t\0\x08\0"));
  peer_expect_ack(p, PACKET_PUBREC, 7);
  peer_expect_ack(p, PACKET_PUBREC, 8);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "session_expiry_interval=100", &p));
  peer_send(p, SLICE("\x34\6\0\1t\0\x0a\0")); // a new one, before the others are released
  peer_expect_ack(p, PACKET_PUBREC, 10);
  peer_send(p, SLICE("\x3c\6\0\1t\0\7\0")); // one that is sent again counts
  peer_expect_ack(p, PACKET_PUBREC, 7);
  peer_send_ack(p, PACKET_PUBREL, 8); // releasing one of before frees nothing
  peer_expect_ack(p, PACKET_PUBCOMP, 8);
  peer_send(p, SLICE("\x34\6\0\1t\0\x0b\0"));
  peer_expect_disconnect(p, REASON_RECEIVE_MAXIMUM_EXCEEDED);
  harness_free(h);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT(
          "[MQTT5-3.3.4-9] [MQTT5-4.9.0-1] [MQTT5-4.9.0-2] [MQTT5-2.2.1-4] the client's receive maximum",
          receive_maximum),
      STATEMENT("[MQTT5-3.3.4-9] [MQTT5-4.9.0-2] with QoS 2", receive_maximum_qos2),
      STATEMENT("[MQTT5-3.3.4-10] [MQTT5-4.9.0-3] other packets go on", other_packets),
      STATEMENT(
          "[MQTT5-4.9.0-1] [MQTT5-3.3.4-9] [MQTT5-3.3.4-10] [MQTT5-4.4.0-1] a new connection has a new quota",
          quota_of_a_new_connection),
      STATEMENT("[MQTT5-4.9.0-1] without a receive maximum", no_receive_maximum),
      STATEMENT("[MQTT5-3.3.4-7] more unreleased QoS 2 than the server's receive maximum", exceeded_qos2),
      STATEMENT("[MQTT5-3.3.4-7] [MQTT5-3.3.4-8] more unacknowledged QoS 1", exceeded_qos1),
      STATEMENT("[MQTT5-3.3.4-7] publishes that were refused are done with", refused_ones_do_not_count),
      STATEMENT("[MQTT5-3.3.4-7] each connection is counted anew", counted_anew),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
