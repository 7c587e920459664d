// The protocols of QoS 1 and 2, what is sent again, and order: chapters 3.3.1.1, 3.4 to 3.7 and 4.3 to 4.6.
#include <stdio.h>

#include "conformance.h"

static struct peer *subscriber(struct harness *h, const char *id, uint8_t qos) {
  struct peer *p = peer_connect_5(h, id, true, "session_expiry_interval=1000");
  assert_int_equal(peer_subscribe(p, "t", qos), qos);
  return p;
}

static bool resume(struct harness *h, const char *id, struct peer **p) {
  return peer_resume_5(h, id, "session_expiry_interval=1000", p);
}

// --- to a client ---

static void unused_ids(void **state) { // a new one for each message, also with many in flight
  struct harness *h = *state;
  struct peer *p = subscriber(h, "x", 2);
  bool used[65536] = {0};
  for (int i = 0; i < 10; i++) {
    uint8_t qos = (uint8_t)(1 + i % 2);
    somebody_publishes(h, "t", "A", qos, false);
    uint16_t id = expect_publish(p, "t", "A", qos, 0);
    assert_true(id && !used[id]);
    used[id] = true;
  }
  peer_expect_nothing(p);
}

static void puback(void **state) { // unacknowledged until it comes, and sent again only to a new connection
  struct harness *h = *state;
  struct peer *p = subscriber(h, "x", 1);
  somebody_publishes(h, "t", "A", 1, false);
  uint16_t id = expect_publish(p, "t", "A", 1, 0);
  peer_send_ack(p, PACKET_PUBACK, (uint16_t)(id + 1));
  harness_advance(h, 100000);
  expect_alive(p);
  for (int i = 0; i < 2; i++) {
    peer_drop(p);
    assert_true(resume(h, "x", &p));
    assert_int_equal(expect_publish(p, "t", "A", 1, DUP), id);
    expect_alive(p);
  }
  peer_send_ack(p, PACKET_PUBACK, id);
  peer_drop(p);
  assert_true(resume(h, "x", &p));
  expect_alive(p);
}

static void pubrec(void **state) { // then PUBREL until PUBCOMP, and the message never again
  struct harness *h = *state;
  struct peer *p = subscriber(h, "x", 2);
  somebody_publishes(h, "t", "A", 2, false);
  uint16_t id = expect_publish(p, "t", "A", 2, 0);
  peer_drop(p);
  assert_true(resume(h, "x", &p));
  assert_int_equal(expect_publish(p, "t", "A", 2, DUP), id);
  peer_send_reason(p, PACKET_PUBREC, id, REASON_NO_MATCHING_SUBSCRIBERS, ""); // a success
  peer_expect_reason(p, PACKET_PUBREL, id, REASON_SUCCESS);
  for (int i = 0; i < 2; i++) {
    peer_drop(p);
    assert_true(resume(h, "x", &p));
    peer_expect_reason(p, PACKET_PUBREL, id, REASON_SUCCESS);
    peer_send_ack(p, PACKET_PUBREC, id); // again: so is the answer
    peer_expect_reason(p, PACKET_PUBREL, id, REASON_SUCCESS);
    expect_alive(p);
  }
  peer_send_ack(p, PACKET_PUBCOMP, id);
  peer_drop(p);
  assert_true(resume(h, "x", &p));
  expect_alive(p);
}

static void refused_by_the_client(void **state) { // it is acknowledged for good, and the id is free
  struct harness *h = *state;
  struct peer *p = subscriber(h, "x", 2);
  somebody_publishes(h, "t", "A", 1, false);
  somebody_publishes(h, "t", "B", 2, false);
  peer_send_reason(p, PACKET_PUBACK, expect_publish(p, "t", "A", 1, 0), REASON_NOT_AUTHORIZED,
                   "reason_string=no");
  peer_send_reason(p, PACKET_PUBREC, expect_publish(p, "t", "B", 2, 0), REASON_QUOTA_EXCEEDED,
                   "reason_string=no");
  expect_alive(p); // no PUBREL
  assert_int_equal(harness_session(h, "x")->outgoing.count, 0);
  peer_drop(p);
  assert_true(resume(h, "x", &p));
  expect_alive(p);
}

static void
refused_in_the_middle(void **state) { // a PUBREC with an error for what is not there, or was released
  struct harness *h = *state;
  struct peer *p = subscriber(h, "x", 2);
  peer_send_reason(p, PACKET_PUBREC, 99, REASON_NOT_AUTHORIZED, "");
  expect_alive(p);
  somebody_publishes(h, "t", "A", 2, false);
  uint16_t id = expect_publish(p, "t", "A", 2, 0);
  peer_send_ack(p, PACKET_PUBREC, id);
  peer_expect_ack(p, PACKET_PUBREL, id);
  peer_send_reason(p, PACKET_PUBREC, id, REASON_NOT_AUTHORIZED, "");
  peer_send_reason(p, PACKET_PUBCOMP, id, REASON_PACKET_IDENTIFIER_NOT_FOUND, "");
  expect_alive(p);
  assert_int_equal(harness_session(h, "x")->outgoing.count, 0);
}

static void unknown_ids(void **state) {
  struct peer *p = peer_connect_5(*state, "x", true, "");
  peer_send_ack(p, PACKET_PUBACK, 7);
  peer_expect_nothing(p);
  peer_send_ack(p, PACKET_PUBREC, 7);
  peer_expect_reason(p, PACKET_PUBREL, 7, REASON_PACKET_IDENTIFIER_NOT_FOUND);
  peer_send_ack(p, PACKET_PUBREL, 7);
  peer_expect_reason(p, PACKET_PUBCOMP, 7, REASON_PACKET_IDENTIFIER_NOT_FOUND);
  peer_send_ack(p, PACKET_PUBCOMP, 7);
  peer_expect_nothing(p);
  peer_send_reason(p, PACKET_PUBREL, 7, REASON_PACKET_IDENTIFIER_NOT_FOUND, "");
  peer_expect_reason(p, PACKET_PUBCOMP, 7, REASON_PACKET_IDENTIFIER_NOT_FOUND);
}

static void
lengths_of_acks(void **state) { // an id; a reason; no properties; a reason string and user properties
  struct harness *h = *state;
  struct peer *p = subscriber(h, "x", 2);
  const struct slice tails[] = {SLICE(""), SLICE("\0"), SLICE("\0\0"), SLICE("\0\4\x1f\0\1r"),
                                SLICE("\x10\x12\x1f\0\1r\x26\0\1a\0\1b\x26\0\1a\0\1b")};
  for (size_t i = 0; i < COUNT(tails); i++) {
    const struct {
      uint8_t type, first;
    } acks[] = {{PACKET_PUBACK, 0x40}, {PACKET_PUBREC, 0x50}, {PACKET_PUBCOMP, 0x70}};
    somebody_publishes(h, "t", "A", 1, false);
    somebody_publishes(h, "t", "B", 2, false);
    uint16_t first = expect_publish(p, "t", "A", 1, 0), second = expect_publish(p, "t", "B", 2, 0);
    for (size_t j = 0; j < COUNT(acks); j++) {
      uint16_t id = acks[j].type == PACKET_PUBACK ? first : second;
      struct slice tail = tails[i];
      if (acks[j].type == PACKET_PUBCOMP && tail.len > 2) tail = SLICE("\0\x0b\x1f\0\1r\x26\0\1a\0\1b");
      uint8_t bytes[64] = {acks[j].first, (uint8_t)(2 + tail.len), (uint8_t)(id >> 8), (uint8_t)id};
      if (tail.len) memcpy(bytes + 4, tail.ptr, tail.len);
      peer_send(p, slice_of(bytes, 4 + tail.len));
      if (acks[j].type == PACKET_PUBREC) peer_expect_reason(p, PACKET_PUBREL, id, REASON_SUCCESS);
    }
    expect_alive(p);
    assert_int_equal(harness_session(h, "x")->outgoing.count, 0);
    uint16_t id = peer_publish(p, "u", "A", 2, false); // PUBREL
    peer_expect_ack(p, PACKET_PUBREC, id);
    struct slice tail = tails[i].len > 4 ? SLICE("\x92\4\x1f\0\1r") : tails[i];
    uint8_t bytes[64] = {0x62, (uint8_t)(2 + tail.len), (uint8_t)(id >> 8), (uint8_t)id};
    if (tail.len) memcpy(bytes + 4, tail.ptr, tail.len);
    peer_send(p, slice_of(bytes, 4 + tail.len));
    peer_expect_reason(p, PACKET_PUBCOMP, id, REASON_SUCCESS);
  }
}

// --- from a client ---

static void new_after_puback(void **state) { // the same id is another message, whatever dup says
  struct harness *h = *state;
  struct peer *watcher = subscriber(h, "y", 2), *p = peer_connect_5(h, "x", true, "");
  const char *payloads[] = {"A", "B", "C"};
  for (size_t i = 0; i < COUNT(payloads); i++) {
    uint8_t bytes[] = {i ? 0x3a : 0x32, 7, 0, 1, 't', 0, 7, 0, (uint8_t)payloads[i][0]};
    peer_send(p, slice_of(bytes, sizeof bytes));
    peer_expect_reason(p, PACKET_PUBACK, 7, REASON_SUCCESS);
    take_message(watcher, "t", payloads[i], 1);
  }
}

static void once(void **state) { // until PUBREL the same id is the same message, on whatever connection
  struct harness *h = *state;
  struct peer *watcher = subscriber(h, "y", 2),
              *p = peer_connect_5(h, "x", true, "session_expiry_interval=1000");
  const struct slice publish = SLICE("\x34\7\0\1t\0\7\0A"), again = SLICE("\x3c\7\0\1t\0\7\0A");
  peer_send(p, publish);
  peer_expect_reason(p, PACKET_PUBREC, 7, REASON_SUCCESS);
  peer_send(p, again);
  peer_expect_reason(p, PACKET_PUBREC, 7, REASON_SUCCESS);
  peer_drop(p);
  assert_true(resume(h, "x", &p));
  peer_send(p, again);
  peer_expect_reason(p, PACKET_PUBREC, 7, REASON_SUCCESS);
  peer_send_ack(p, PACKET_PUBREL, 7);
  peer_expect_reason(p, PACKET_PUBCOMP, 7, REASON_SUCCESS);
  take_message(watcher, "t", "A", 2);
  peer_send_ack(p, PACKET_PUBREL, 7);
  peer_expect_reason(p, PACKET_PUBCOMP, 7, REASON_PACKET_IDENTIFIER_NOT_FOUND);
  expect_alive(watcher);
  peer_send(p, publish); // a new one
  peer_expect_reason(p, PACKET_PUBREC, 7, REASON_SUCCESS);
  peer_send_ack(p, PACKET_PUBREL, 7);
  peer_expect_reason(p, PACKET_PUBCOMP, 7, REASON_SUCCESS);
  take_message(watcher, "t", "A", 2);
}

// --- sessions and order ---

static void ownership(void **state) { // every matching session has it before it is acknowledged
  struct harness *h = *state;
  leave_subscription_5(h, "away", "session_expiry_interval=1000", "t", 2);
  leave_subscription_5(h, "away too", "session_expiry_interval=1000", "#", 1);
  struct peer *here = subscriber(h, "here", 1), *p = peer_connect_5(h, "x", true, "");
  peer_expect_reason(p, PACKET_PUBACK, peer_publish(p, "t", "A", 1, false), REASON_SUCCESS);
  peer_drop(p);
  take_message(here, "t", "A", 1);
  assert_true(resume(h, "away", &p));
  take_message(p, "t", "A", 1);
  assert_true(resume(h, "away too", &p));
  take_message(p, "t", "A", 1);
}

static void qos0_is_not_kept(void **state) {
  struct harness *h = *state;
  leave_subscription_5(h, "x", "session_expiry_interval=1000", "t", 2);
  somebody_publishes(h, "t", "0", 0, false);
  somebody_publishes(h, "t", "1", 1, false);
  struct peer *p;
  assert_true(resume(h, "x", &p));
  take_message(p, "t", "1", 1);
  expect_alive(p);
}

static void order(void **state) { // of each publisher, also through a small window and a reconnect
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=1000 receive_maximum=3");
  peer_subscribe(p, "t", 2);
  struct peer *one = peer_connect_5(h, "one", true, ""), *two = peer_connect(h, "two", true);
  char payload[16];
  for (int i = 0; i < 20; i++) {
    snprintf(payload, sizeof payload, "1 %d", i);
    publish_fully(one, "t", payload, 1, false);
    snprintf(payload, sizeof payload, "2 %d", i);
    publish_fully(two, "t", payload, 1, false);
  }
  int next[3] = {0};
  for (int i = 0; i < 40; i++) {
    struct packet got;
    peer_expect(p, PACKET_PUBLISH, &got);
    if (i == 10) { // the three that are in flight come again, in their order
      peer_drop(p);
      assert_true(resume(h, "x", &p));
      peer_expect(p, PACKET_PUBLISH, &got);
      assert_true(got.publish.dup);
    }
    snprintf(payload, sizeof payload, "%d %d", 1 + i % 2, next[1 + i % 2]);
    assert_true(slice_eq(got.publish.message.payload, slice_str(payload)));
    next[1 + i % 2]++;
    peer_send_ack(p, PACKET_PUBACK, got.id);
  }
  expect_alive(p);
}

static void order_of_acks(void **state) { // as the publishes came
  struct peer *p = peer_connect_5(*state, "x", true, "");
  peer_subscribe(p, "t", 0);
  peer_send(p, SLICE("\x32\7\0\1t\0\3\0A\x34\7\0\1t\0\1\0B\x32\7\0\1t\0\2\0C\x34\7\0\1t\0\4\0D"));
  const struct {
    uint8_t type;
    uint16_t id;
  } wanted[] = {{PACKET_PUBACK, 3}, {PACKET_PUBREC, 1}, {PACKET_PUBACK, 2}, {PACKET_PUBREC, 4}};
  for (size_t i = 0; i < COUNT(wanted);) {
    struct packet got;
    assert_true(peer_next(p, &got));
    if (got.type == PACKET_PUBLISH) continue;
    assert_int_equal(got.type, wanted[i].type);
    assert_int_equal(got.id, wanted[i++].id);
  }
}

static void byte_stream(void **state) { // packets may come in any pieces
  struct harness *h = *state;
  struct peer *p = peer_open(h), *watcher = peer_connect_5(h, "y", true, "");
  p->version = MQTT_5;
  peer_subscribe(watcher, "#", 2);
  const struct slice whole = SLICE("\x10\x0e\0\4MQTT\5\2\0\0\0\0\1x\x32\x0c\0\1t\0\7\5\2\0\0\0\x3c"
                                   "A\x34\6\0\1t\0\x08\0\x62\2\0\x08\xc0\0\xe0\0");
  for (size_t i = 0; i < whole.len; i++)
    peer_send(p, slice_of(whole.ptr + i, 1));
  peer_expect(p, PACKET_CONNACK, NULL);
  peer_expect_ack(p, PACKET_PUBACK, 7);
  peer_expect_ack(p, PACKET_PUBREC, 8);
  peer_expect_ack(p, PACKET_PUBCOMP, 8);
  peer_expect(p, PACKET_PINGRESP, NULL);
  peer_expect_closed(p);
  take_message(watcher, "t", "A", 1);
  take_message(watcher, "t", "", 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT5-2.2.1-4] [MQTT5-4.3.2-1] [MQTT5-4.3.2-2] [MQTT5-4.3.3-1] [MQTT5-4.3.3-2] each "
                "message has an "
                "id of its own",
                unused_ids),
      STATEMENT("[MQTT5-4.3.2-3] [MQTT5-4.4.0-1] [MQTT5-3.3.1-1] QoS 1 until PUBACK", puback),
      STATEMENT(
          "[MQTT5-4.3.3-3] [MQTT5-4.3.3-4] [MQTT5-4.3.3-5] [MQTT5-4.3.3-6] [MQTT5-4.4.0-1] [MQTT5-3.3.1-1] "
          "QoS 2 until PUBREC, then PUBREL until PUBCOMP",
          pubrec),
      STATEMENT("[MQTT5-4.4.0-2] [MQTT5-4.3.3-4] what a client refuses is done with", refused_by_the_client),
      STATEMENT("[MQTT5-4.3.3-4] a PUBREC that refuses nothing", refused_in_the_middle),
      STATEMENT("[MQTT5-3.6.2-1] [MQTT5-3.7.2-1] [MQTT5-2.2.1-5] acknowledgements of unknown ids",
                unknown_ids),
      STATEMENT("[MQTT5-2.2.2-1] acknowledgements of all lengths", lengths_of_acks),
      STATEMENT("[MQTT5-4.3.2-5] after PUBACK the id is that of a new message", new_after_puback),
      STATEMENT("[MQTT5-4.3.3-10] [MQTT5-4.3.3-12] QoS 2 is delivered once", once),
      STATEMENT("[MQTT5-4.5.0-1] a message is in all sessions before it is acknowledged", ownership),
      STATEMENT("[MQTT5-4.5.0-1] QoS 0 is not kept for who is away", qos0_is_not_kept),
      STATEMENT("[MQTT5-4.6.0-5] [MQTT5-4.6.0-6] the order of each publisher", order),
      STATEMENT("the order of acknowledgements", order_of_acks),
      STATEMENT("[MQTT5-4.2-1] packets are an ordered stream of bytes", byte_stream),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
