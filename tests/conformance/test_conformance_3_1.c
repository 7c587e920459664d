// MQTT 3.1, and clients of both versions together. What is not here is as in MQTT 3.1.1.
#include "conformance.h"

static struct peer *connect_3_1(struct harness *h, const char *id, bool clean) {
  struct packet_connect connect = peer_connect_defaults(id, clean);
  connect.version = MQTT_3_1;
  struct peer *p = peer_open(h);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  return p;
}

static void let_in(void **state) {
  struct peer *p = peer_open(*state);
  peer_send(p, SLICE("\x10\x0f\0\6MQIsdp\3\2\0\0\0\1x"));
  expect_bytes(p, SLICE("\x20\2\0\0"));
  expect_alive(p);
}

static void wrong_level(void **state) {
  expect_no_connack(*state, SLICE("\x10\x0f\0\6MQIsdp\4\2\0\0\0\1x"));
  expect_no_connack(*state, SLICE("\x10\x0f\0\6MQIsdq\3\2\0\0\0\1x"));
}

static void no_session_present(void **state) {
  leave_subscription(*state, "x", "t", 1);
  struct peer *p = peer_open(*state);
  peer_send(p, SLICE("\x10\x0f\0\6MQIsdp\3\0\0\0\0\1x"));
  expect_bytes(p, SLICE("\x20\2\0\0")); // the byte is reserved
  somebody_publishes(*state, "t", "A", 1, false);
  take_message(p, "t", "A", 1); // but the session was there
  peer_disconnect(p);
  assert_true(peer_resume(*state, "x", &p)); // and 3.1.1 is told of it
}

static void empty_id(void **state) {
  for (uint8_t clean = 0; clean <= 2; clean += 2) {
    struct peer *p = peer_open(*state);
    peer_send(p,
              slice_of((uint8_t[]){0x10, 14, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, clean, 0, 0, 0, 0}, 16));
    expect_bytes(p, SLICE("\x20\2\0\2"));
    peer_expect_closed(p);
  }
}

static void announced_but_not_given(void **state) { // the remaining length goes before the flags
  const struct slice connects[] = {SLICE("\x10\x0f\0\6MQIsdp\3\x82\0\0\0\1x"),
                                   SLICE("\x10\x0f\0\6MQIsdp\3\xc2\0\0\0\1x"),
                                   SLICE("\x10\x12\0\6MQIsdp\3\xc2\0\0\0\1x\0\1u")};
  for (size_t i = 0; i < COUNT(connects); i++) {
    struct peer *p = peer_open(*state);
    peer_send(p, connects[i]);
    expect_bytes(p, SLICE("\x20\2\0\0"));
  }
  memory_set_access(((struct harness *)*state)->shard->backend,
                    MEMORY_CREDENTIALS); // nobody is let in by that
  for (size_t i = 0; i < COUNT(connects); i++) {
    struct peer *p = peer_open(*state);
    peer_send(p, connects[i]);
    expect_bytes(p, SLICE("\x20\2\0\5"));
    peer_expect_closed(p);
  }
}

static void dup_of_requests(void **state) {
  struct peer *p = connect_3_1(*state, "x", true);
  peer_send(p, SLICE("\x8a\6\0\1\0\1t\1"));
  expect_bytes(p, SLICE("\x90\3\0\1\1"));
  peer_send(p, SLICE("\xaa\5\0\2\0\1t"));
  expect_bytes(p, SLICE("\xb0\2\0\2"));
  peer_send(p, SLICE("\x34\6\0\1t\0\3A"));
  peer_expect_ack(p, PACKET_PUBREC, 3);
  peer_send(p, SLICE("\x6a\2\0\3"));
  peer_expect_ack(p, PACKET_PUBCOMP, 3);
  expect_alive(p);
  const struct slice wrong[] = {SLICE("\x80\6\0\1\0\1t\1"), SLICE("\x84\6\0\1\0\1t\1"),
                                SLICE("\xa0\5\0\2\0\1t"), SLICE("\x60\2\0\3"), SLICE("\x8b\6\0\1\0\1t\1")};
  for (size_t i = 0; i < COUNT(wrong); i++)
    expect_violation_by(*state, MQTT_3_1, wrong[i]);
  const struct slice dup[] = {SLICE("\x8a\6\0\1\0\1t\1"), SLICE("\xaa\5\0\2\0\1t"), SLICE("\x6a\2\0\3")};
  for (size_t i = 0; i < COUNT(dup); i++)
    expect_violation(*state, dup[i]); // in 3.1.1 the bit is reserved
}

static void both_together(void **state) {
  struct peer *old = connect_3_1(*state, "old", false), *new = peer_connect(*state, "new", false);
  for (uint8_t qos = 0; qos <= 2; qos++) {
    peer_subscribe(old, "t", qos);
    peer_subscribe(new, "t", qos);
    somebody_publishes(*state, "t", "A", 2, false);
    take_message(old, "t", "A", qos);
    take_message(new, "t", "A", qos);
  }
  struct peer *publisher = connect_3_1(*state, "publisher", true);
  for (uint8_t qos = 0; qos <= 2; qos++) {
    publish_fully(publisher, "t", "B", qos, true);
    take_message(old, "t", "B", qos);
    take_message(new, "t", "B", qos);
  }
  peer_subscribe(old, "t", 2);
  finish_delivery(old, 2, expect_publish(old, "t", "B", 2, RETAINED));
  expect_alive(old);
  expect_alive(new);
}

static void take_over(void **state) {
  struct peer *old = connect_3_1(*state, "x", false), *new;
  peer_subscribe(old, "t", 2);
  somebody_publishes(*state, "t", "A", 2, false);
  uint16_t id = expect_publish(old, "t", "A", 2, 0);
  assert_true(peer_resume(*state, "x", &new));
  peer_expect_closed(old);
  assert_int_equal(expect_publish(new, "t", "A", 2, DUP), id);
  peer_send_ack(new, PACKET_PUBREC, id);
  peer_expect_ack(new, PACKET_PUBREL, id);
  old = connect_3_1(*state, "x", false);
  peer_expect_closed(new);
  expect_bytes(old, slice_of((uint8_t[]){0x62, 2, (uint8_t)(id >> 8), (uint8_t)id}, 4));
  peer_send_ack(old, PACKET_PUBCOMP, id);
  expect_alive(old);
}

static void violations(void **state) {
  const struct slice packets[] = {SLICE("\x36\6\0\1t\0\7A"), SLICE("\x30\4\0\1#A"), SLICE("\xd0\0"),
                                  SLICE("\x82\6\0\1\0\1t\3"), SLICE("\x10\x0f\0\6MQIsdp\3\2\0\0\0\1x")};
  for (size_t i = 0; i < COUNT(packets); i++)
    expect_violation_by(*state, MQTT_3_1, packets[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT-3.1.2-1] MQIsdp with level 3 is let in", let_in),
      STATEMENT("[MQTT-3.1.2-1] MQIsdp with another level is closed", wrong_level),
      STATEMENT("MQTT 3.1 has no session present", no_session_present),
      STATEMENT("[MQTT-3.1.3-9] MQTT 3.1 has no empty client id", empty_id),
      STATEMENT("MQTT 3.1 may announce a username and password and not give them", announced_but_not_given),
      STATEMENT("MQTT 3.1 may set dup in SUBSCRIBE, UNSUBSCRIBE and PUBREL", dup_of_requests),
      STATEMENT("clients of 3.1 and 3.1.1 talk to each other", both_together),
      STATEMENT("[MQTT-3.1.4-2] sessions are the same for both versions", take_over),
      STATEMENT("[MQTT-4.8.0-1] MQTT 3.1 closes for violations as well", violations),
  };
  return cmocka_run_group_tests_name("conformance: MQTT 3.1", tests, NULL, NULL);
}
