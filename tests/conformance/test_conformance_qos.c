// Delivery: packet ids, the QoS protocols in both roles, and order: chapters 2.3, 4.3 and 4.6.
#include <stdio.h>

#include "conformance.h"

enum { WINDOW = 10 }; // inflight_messages by default

static struct peer *subscriber(struct harness *h, const char *id, uint8_t qos) {
  struct peer *p = peer_connect(h, id, false);
  assert_int_equal(peer_subscribe(p, "t", qos), qos);
  return p;
}

static const char *number(int i) {
  static char text[12];
  snprintf(text, sizeof text, "%d", i);
  return text;
}

static void publish_numbers(struct harness *h, int from, int count, uint8_t qos) {
  struct peer *p = peer_connect(h, "", true);
  for (int i = from; i < from + count; i++)
    publish_fully(p, "t", number(i), qos, false);
  peer_disconnect(p);
}

// --- packet ids ---

static void id_zero(void **state) {
  const struct slice packets[] = {SLICE("\x32\5\0\1t\0\0"), SLICE("\x34\5\0\1t\0\0"),
                                  SLICE("\x3a\5\0\1t\0\0"), SLICE("\x82\6\0\0\0\1t\0"),
                                  SLICE("\xa2\5\0\0\0\1t")};
  for (size_t i = 0; i < COUNT(packets); i++)
    expect_violation(*state, packets[i]);
}

static void ids_are_never_zero(void **state) {
  struct peer *p = subscriber(*state, "x", 1);
  harness_session(*state, "x")->outgoing.last_id = 65530;
  for (int i = 0; i < 10; i++) {
    somebody_publishes(*state, "t", "A", 1, false);
    uint16_t id = expect_publish(p, "t", "A", 1, 0);
    assert_int_not_equal(id, 0);
    peer_send_ack(p, PACKET_PUBACK, id);
  }
  expect_alive(p);
}

static void ids_in_flight_are_not_reused(void **state) {
  struct peer *p = subscriber(*state, "x", 2);
  uint16_t ids[WINDOW];
  publish_numbers(*state, 0, WINDOW, 2);
  for (int i = 0; i < WINDOW; i++)
    ids[i] = expect_publish(p, "t", number(i), 2, 0);
  for (int i = 0; i < WINDOW; i++)
    for (int j = 0; j < i; j++)
      assert_int_not_equal(ids[i], ids[j]);
  for (int i = 1; i < WINDOW; i++)
    finish_delivery(p, 2, ids[i]);
  peer_send_ack(p, PACKET_PUBREC, ids[0]); // its PUBREL keeps the id in use
  peer_expect_ack(p, PACKET_PUBREL, ids[0]);
  harness_session(*state, "x")->outgoing.last_id = (uint16_t)(ids[0] - 1);
  somebody_publishes(*state, "t", "B", 1, false);
  assert_int_not_equal(expect_publish(p, "t", "B", 1, 0), ids[0]);
}

static void qos_0_has_no_id(void **state) {
  struct peer *p = subscriber(*state, "x", 2), *publisher = peer_connect(*state, "y", true);
  peer_send(publisher, SLICE("\x30\6\0\1t\0\7A")); // all behind the topic is payload
  expect_bytes(p, SLICE("\x30\6\0\1t\0\7A"));
  expect_alive(publisher);
}

static void acks_have_the_id(void **state) {
  const uint16_t ids[] = {1, 255, 256, 0xabcd, 65535};
  struct peer *p = peer_connect(*state, "x", true);
  for (size_t i = 0; i < COUNT(ids); i++) {
    uint8_t packet[] = {0x32, 5, 0, 1, 't', (uint8_t)(ids[i] >> 8), (uint8_t)ids[i]};
    peer_send(p, slice_of(packet, sizeof packet));
    peer_expect_ack(p, PACKET_PUBACK, ids[i]);
    packet[0] = 0x34;
    peer_send(p, slice_of(packet, sizeof packet));
    peer_expect_ack(p, PACKET_PUBREC, ids[i]);
    peer_send_ack(p, PACKET_PUBREL, ids[i]);
    peer_expect_ack(p, PACKET_PUBCOMP, ids[i]);
  }
  peer_expect_nothing(p);
}

static void same_ids_in_both_directions(void **state) { // each direction has ids of its own
  struct peer *p = subscriber(*state, "x", 2);
  somebody_publishes(*state, "t", "A", 2, false);
  uint16_t id = expect_publish(p, "t", "A", 2, 0);
  uint8_t packet[] = {0x34, 6, 0, 1, 'u', (uint8_t)(id >> 8), (uint8_t)id, 'B'};
  peer_send(p, slice_of(packet, sizeof packet));
  peer_expect_ack(p, PACKET_PUBREC, id);
  peer_send_ack(p, PACKET_PUBREC, id);
  peer_expect_ack(p, PACKET_PUBREL, id);
  peer_send_ack(p, PACKET_PUBREL, id);
  peer_expect_ack(p, PACKET_PUBCOMP, id);
  peer_send_ack(p, PACKET_PUBCOMP, id);
  expect_alive(p);
}

// --- QoS 0 ---

static void qos_0_once(void **state) {
  struct peer *p = subscriber(*state, "x", 0);
  somebody_publishes(*state, "t", "A", 2, false);
  expect_publish(p, "t", "A", 0, 0);
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  expect_alive(p);
}

// --- QoS 1 ---

static void qos_1_sender(void **state) {
  struct peer *p = subscriber(*state, "x", 1);
  publish_numbers(*state, 0, WINDOW + 2, 1);
  uint16_t first = expect_publish(p, "t", "0", 1, 0);
  for (int i = 1; i < WINDOW; i++)
    expect_publish(p, "t", number(i), 1, 0);
  peer_expect_nothing(p);                                   // the window is full of unacknowledged ones
  peer_send_ack(p, PACKET_PUBACK, (uint16_t)(first + 500)); // unknown
  peer_send_ack(p, PACKET_PUBREC, first);                   // not its protocol
  struct packet got;
  if (peer_next(p, &got)) assert_int_equal(got.type, PACKET_PUBREL);
  peer_expect_nothing(p);
  peer_send_ack(p, PACKET_PUBACK, first);
  expect_publish(p, "t", number(WINDOW), 1, 0);
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p)); // the first was acknowledged, the others were not
  for (int i = 1; i <= WINDOW; i++)
    finish_delivery(p, 1, expect_publish(p, "t", number(i), 1, DUP));
  take_message(p, "t", number(WINDOW + 1), 1);
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  expect_alive(p);
}

static void qos_1_receiver(void **state) { // after PUBACK the same id is a new publication, dup or not
  struct peer *p = subscriber(*state, "x", 1), *publisher = peer_connect(*state, "y", true);
  const struct slice packets[] = {SLICE("\x32\6\0\1t\0\7A"), SLICE("\x3a\6\0\1t\0\7A"),
                                  SLICE("\x32\6\0\1t\0\7A")};
  for (size_t i = 0; i < COUNT(packets); i++) {
    peer_send(publisher, packets[i]);
    peer_expect_ack(publisher, PACKET_PUBACK, 7);
    take_message(p, "t", "A", 1);
  }
  expect_alive(p);
}

// --- QoS 2 ---

static void qos_2_sender(void **state) {
  struct peer *p = subscriber(*state, "x", 2);
  somebody_publishes(*state, "t", "A", 2, false);
  uint16_t id = expect_publish(p, "t", "A", 2, 0);
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  assert_int_equal(expect_publish(p, "t", "A", 2, DUP), id); // until PUBREC the PUBLISH
  peer_send_ack(p, PACKET_PUBREC, id);
  peer_expect_ack(p, PACKET_PUBREL, id);
  peer_send_ack(p, PACKET_PUBREC, id); // again: PUBREL again
  peer_expect_ack(p, PACKET_PUBREL, id);
  for (int i = 0; i < 2; i++) { // until PUBCOMP the PUBREL, and never the PUBLISH
    peer_drop(p);
    assert_true(peer_resume(*state, "x", &p));
    expect_bytes(p, slice_of((uint8_t[]){0x62, 2, (uint8_t)(id >> 8), (uint8_t)id}, 4));
    expect_alive(p);
  }
  peer_send_ack(p, PACKET_PUBACK, id); // not its protocol
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  peer_expect_ack(p, PACKET_PUBREL, id);
  peer_send_ack(p, PACKET_PUBCOMP, id);
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  expect_alive(p);
}

static void pubcomp_before_pubrec(void **state) { // acknowledges nothing
  struct peer *p = subscriber(*state, "x", 2);
  somebody_publishes(*state, "t", "A", 2, false);
  uint16_t id = expect_publish(p, "t", "A", 2, 0);
  peer_send_ack(p, PACKET_PUBCOMP, id);
  peer_send_ack(p, PACKET_PUBACK, id);
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  assert_int_equal(expect_publish(p, "t", "A", 2, DUP), id);
  finish_delivery(p, 2, id);
  expect_alive(p);
}

static void qos_2_receiver(void **state) {
  struct peer *p = subscriber(*state, "x", 2), *publisher = peer_connect(*state, "y", false);
  const struct slice first = SLICE("\x34\6\0\1t\0\7A"), again = SLICE("\x3c\6\0\1t\0\7A");
  for (int round = 0; round < 3; round++) { // after PUBCOMP the same id is a new publication
    peer_send(publisher, first);
    peer_expect_ack(publisher, PACKET_PUBREC, 7);
    peer_send(publisher, again);
    peer_expect_ack(publisher, PACKET_PUBREC, 7);
    peer_drop(publisher);
    assert_true(peer_resume(*state, "y", &publisher));
    peer_send(publisher, again);
    peer_expect_ack(publisher, PACKET_PUBREC, 7);
    peer_send_ack(publisher, PACKET_PUBREL, 7);
    peer_expect_ack(publisher, PACKET_PUBCOMP, 7);
    peer_send_ack(publisher, PACKET_PUBREL, 7); // its answer may have been lost
    peer_expect_ack(publisher, PACKET_PUBCOMP, 7);
    take_message(p, "t", "A", 2); // exactly once
    expect_alive(p);
  }
}

static void qos_2_id_reused_in_flight(void **state) { // is a duplicate of the first
  struct peer *p = subscriber(*state, "x", 2), *publisher = peer_connect(*state, "y", true);
  peer_send(publisher, SLICE("\x34\6\0\1t\0\7A"));
  peer_expect_ack(publisher, PACKET_PUBREC, 7);
  peer_send(publisher, SLICE("\x34\6\0\1t\0\7B"));
  peer_expect_ack(publisher, PACKET_PUBREC, 7);
  peer_send_ack(publisher, PACKET_PUBREL, 7);
  peer_expect_ack(publisher, PACKET_PUBCOMP, 7);
  take_message(p, "t", "A", 2);
  expect_alive(p);
}

static void unknown_acks(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  peer_send_ack(p, PACKET_PUBREL, 99);
  peer_expect_ack(p, PACKET_PUBCOMP, 99);
  peer_send_ack(p, PACKET_PUBREC, 99); // the receiver holds a message that it wants to be released
  peer_expect_ack(p, PACKET_PUBREL, 99);
  peer_send_ack(p, PACKET_PUBACK, 99);
  peer_send_ack(p, PACKET_PUBCOMP, 99);
  expect_alive(p);
}

static void many_qos_2_in_flight(void **state) { // MQTT 3.1.1 has no limit of their number
  struct peer *p = peer_connect(*state, "x", true), *watcher = subscriber(*state, "y", 0);
  for (int i = 0; i < 500; i++)
    peer_expect_ack(p, PACKET_PUBREC, peer_publish(p, "t", "A", 2, false));
  peer_expect_nothing(watcher);
  for (uint16_t id = 1; id <= 500; id++) {
    peer_send_ack(p, PACKET_PUBREL, id);
    peer_expect_ack(p, PACKET_PUBCOMP, id);
    take_message(watcher, "t", "A", 0);
  }
  expect_alive(p);
}

static void too_much_qos_2_in_flight(void **state) { // but of their bytes, which the broker has to keep
  struct settings settings;
  settings_init(&settings);
  settings.incoming_bytes = 10000;
  struct harness *h = restart_broker(state, &settings);
  struct peer *watcher = subscriber(h, "y", 0);
  struct peer *p = peer_connect_will(h, "x", "t", "gone", 0, false);
  char payload[1001] = {0};
  memset(payload, 'A', sizeof payload - 1);
  for (int i = 0; i < 100 && !peer_is_closed(p); i++)
    peer_publish(p, "t", payload, 2, false);
  assert_true(peer_is_closed(p));
  take_message(watcher, "t", "gone", 0);
  expect_alive(watcher);
}

static void resends_fill_the_window(void **state) {
  struct peer *p = subscriber(*state, "x", 1);
  publish_numbers(*state, 0, WINDOW + 5, 1);
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  for (int i = 0; i < WINDOW; i++)
    expect_publish(p, "t", number(i), 1, DUP);
  peer_expect_nothing(p);
}

// --- order ---

static void resent_in_order(void **state) {
  struct peer *p = subscriber(*state, "x", 2);
  harness_session(*state, "x")->outgoing.last_id = 65531; // ids that wrap do not change it
  uint16_t ids[WINDOW];
  for (int i = 0; i < WINDOW; i++) {
    publish_numbers(*state, i, 1, 1 + i % 2);
    ids[i] = expect_publish(p, "t", number(i), 1 + i % 2, 0);
  }
  for (int round = 0; round < 2; round++) {
    peer_drop(p);
    assert_true(peer_resume(*state, "x", &p));
    for (int i = 0; i < WINDOW; i++)
      assert_int_equal(expect_publish(p, "t", number(i), 1 + i % 2, DUP), ids[i]);
    expect_alive(p);
  }
}

static void resent_before_what_is_new(void **state) {
  struct peer *p = subscriber(*state, "x", 1);
  publish_numbers(*state, 0, 3, 1);
  for (int i = 0; i < 3; i++)
    expect_publish(p, "t", number(i), 1, 0);
  peer_drop(p);
  publish_numbers(*state, 3, 30, 1);
  assert_true(peer_resume(*state, "x", &p));
  for (int i = 0; i < 33; i++)
    finish_delivery(p, 1, expect_publish(p, "t", number(i), 1, i < 3 ? DUP : 0));
  expect_alive(p);
}

static void puback_order(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  peer_send(p, SLICE("\x32\5\0\1t\0\5\x32\5\0\1t\0\2\x32\5\0\1t\0\x9\x32\5\0\1t\0\1"));
  expect_bytes(p, SLICE("\x40\2\0\5\x40\2\0\2\x40\2\0\x9\x40\2\0\1"));
}

static void pubrec_order(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  peer_send(p, SLICE("\x34\5\0\1t\0\5\x34\5\0\1t\0\2\x34\5\0\1t\0\x9\x34\5\0\1t\0\1"));
  expect_bytes(p, SLICE("\x50\2\0\5\x50\2\0\2\x50\2\0\x9\x50\2\0\1"));
  peer_send(p, SLICE("\x62\2\0\2\x62\2\0\1\x62\2\0\5\x62\2\0\x9"));
  expect_bytes(p, SLICE("\x70\2\0\2\x70\2\0\1\x70\2\0\5\x70\2\0\x9"));
}

static void pubrel_order(void **state) {
  struct peer *p = subscriber(*state, "x", 2);
  publish_numbers(*state, 0, 4, 2);
  for (int i = 0; i < 4; i++)
    assert_int_equal(expect_publish(p, "t", number(i), 2, 0), i + 1);
  peer_send(p, SLICE("\x50\2\0\3\x50\2\0\1\x50\2\0\4\x50\2\0\2"));
  expect_bytes(p, SLICE("\x62\2\0\3\x62\2\0\1\x62\2\0\4\x62\2\0\2"));
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  expect_bytes(p, SLICE("\x62\2\0\3\x62\2\0\1\x62\2\0\4\x62\2\0\2"));
}

enum { PUBLISHERS = 3, EACH = 60 };
struct progress { // what the subscriber got
  int next[PUBLISHERS][3], count;
};

// Takes what has arrived; each publisher's messages of each QoS have to come in the order in which it sent
// them.
static void take_in_order(struct peer *p, struct progress *done) {
  for (struct packet got; peer_next(p, &got);) {
    if (got.type == PACKET_PUBREL) {
      peer_send_ack(p, PACKET_PUBCOMP, got.id);
      continue;
    }
    assert_int_equal(got.type, PACKET_PUBLISH);
    const struct packet_message *m = &got.publish.message;
    uint8_t qos = m->qos;
    char text[32] = {0};
    memcpy(text, m->payload.ptr, m->payload.len);
    int who, which;
    assert_int_equal(sscanf(text, "%d %d", &who, &which), 2);
    assert_int_equal(which, done->next[who][qos]++);
    done->count++;
    if (qos) peer_send_ack(p, qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, got.id);
  }
}

static void order_of_each_publisher(void **state) {
  struct peer *p = subscriber(*state, "x", 2), *publishers[PUBLISHERS];
  for (int i = 0; i < PUBLISHERS; i++)
    publishers[i] = peer_connect(*state, "", true);
  int sent[PUBLISHERS][3] = {0};
  struct progress done = {0};
  for (int i = 0; i < PUBLISHERS * EACH; i++) {
    int from = i * 7 % PUBLISHERS, qos = i / 5 % 3;
    char payload[32];
    snprintf(payload, sizeof payload, "%d %d", from, sent[from][qos]++);
    publish_fully(publishers[from], "t", payload, (uint8_t)qos, false);
    if (i % 40 == 39) take_in_order(p, &done); // the subscriber reads now and then
  }
  take_in_order(p, &done);
  assert_int_equal(done.count, PUBLISHERS * EACH);
}

static void order_by_release(void **state) { // QoS 2 is published when it is released
  struct peer *p = subscriber(*state, "x", 2), *publisher = peer_connect(*state, "y", true);
  uint16_t a = peer_publish(publisher, "t", "A", 2, false), b = peer_publish(publisher, "t", "B", 2, false);
  peer_expect_ack(publisher, PACKET_PUBREC, a);
  peer_expect_ack(publisher, PACKET_PUBREC, b);
  peer_expect_nothing(p);
  peer_send_ack(publisher, PACKET_PUBREL, a);
  peer_send_ack(publisher, PACKET_PUBREL, b);
  expect_publish(p, "t", "A", 2, 0);
  expect_publish(p, "t", "B", 2, 0);
  peer_expect_nothing(p);
}

static void order_with_one_in_flight(void **state) {
  struct settings settings;
  settings_init(&settings);
  settings.client.inflight_messages = 1;
  struct harness *h = restart_broker(state, &settings);
  struct peer *p = subscriber(h, "x", 1);
  publish_numbers(h, 0, 20, 1);
  for (int i = 0; i < 20; i++) {
    uint16_t id = expect_publish(p, "t", number(i), 1, 0);
    peer_expect_nothing(p);
    peer_send_ack(p, PACKET_PUBACK, id);
  }
  expect_alive(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT-2.3.1-1] packet id 0 closes", id_zero),
      STATEMENT("[MQTT-2.3.1-1] [MQTT-2.3.1-4] ids to clients are never 0", ids_are_never_zero),
      STATEMENT("[MQTT-2.3.1-4] ids in flight are not reused, nor those of a PUBREL",
                ids_in_flight_are_not_reused),
      STATEMENT("[MQTT-2.3.1-5] QoS 0 has no packet id", qos_0_has_no_id),
      STATEMENT("[MQTT-2.3.1-6] answers have the id of the packet", acks_have_the_id),
      STATEMENT("[MQTT-2.3.1-6] both directions may use the same ids", same_ids_in_both_directions),
      STATEMENT("[MQTT-4.3.1-1] QoS 0 is sent once, without dup", qos_0_once),
      STATEMENT("[MQTT-4.3.2-1] QoS 1 is unacknowledged until its PUBACK", qos_1_sender),
      STATEMENT("[MQTT-4.3.2-2] QoS 1 is acknowledged; then its id is free", qos_1_receiver),
      STATEMENT("[MQTT-4.3.3-1] [MQTT-2.3.1-4] PUBLISH until PUBREC, PUBREL until PUBCOMP", qos_2_sender),
      STATEMENT("[MQTT-4.3.3-1] no other acknowledgement counts", pubcomp_before_pubrec),
      STATEMENT("[MQTT-4.3.3-2] QoS 2 is delivered once, whatever is sent again", qos_2_receiver),
      STATEMENT("[MQTT-4.3.3-2] an id that is reused in flight is a duplicate", qos_2_id_reused_in_flight),
      STATEMENT("[MQTT-4.3.3-1] [MQTT-4.3.3-2] unknown ids are answered", unknown_acks),
      STATEMENT("[MQTT-4.3.3-2] any number of QoS 2 messages may be in flight", many_qos_2_in_flight),
      STATEMENT("[MQTT-4.8.0-2] too many bytes of them close this client alone", too_much_qos_2_in_flight),
      STATEMENT("[MQTT-4.4.0-1] what is sent again counts as in flight", resends_fill_the_window),
      STATEMENT("[MQTT-4.6.0-1] [MQTT-2.3.1-4] what is sent again is sent in order", resent_in_order),
      STATEMENT("[MQTT-4.6.0-1] [MQTT-4.6.0-6] and before anything new", resent_before_what_is_new),
      STATEMENT("[MQTT-4.6.0-2] PUBACKs have the order of the PUBLISHes", puback_order),
      STATEMENT("[MQTT-4.6.0-3] PUBRECs have the order of the PUBLISHes", pubrec_order),
      STATEMENT("[MQTT-4.6.0-4] PUBRELs have the order of the PUBRECs", pubrel_order),
      STATEMENT("[MQTT-4.6.0-5] [MQTT-4.6.0-6] each publisher's order is kept", order_of_each_publisher),
      STATEMENT("[MQTT-4.6.0-5] [MQTT-4.6.0-6] the order of QoS 2 is that of PUBREL", order_by_release),
      STATEMENT("[MQTT-4.6.0-6] one in flight at a time is a strict order", order_with_one_in_flight),
  };
  return cmocka_run_group_tests_name("conformance: qos", tests, NULL, NULL);
}
