// SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK: chapters 3.8 to 3.11.
#include <stdio.h>

#include "conformance.h"

static void not_utf8(void **state) {
  expect_violation(*state, SLICE("\x82\7\0\1\0\2\xc3t\0"));
  expect_violation(*state, SLICE("\x82\x8\0\1\0\3\xed\xa0\x80\0"));
  expect_violation(*state, SLICE("\x82\x0a\0\1\0\1t\0\0\1\xff\0")); // the second of two
}

static void wildcards(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  assert_int_equal(peer_subscribe(p, "#", 1), 1);
  peer_unsubscribe(p, "#");
  assert_int_equal(peer_subscribe(p, "+/b/#", 1), 1);
  assert_int_equal(peer_subscribe(p, "a/+/c", 2), 2);
  somebody_publishes(*state, "a/b/c", "A", 2, false);
  take_message(p, "a/b/c", "A", 2);
  somebody_publishes(*state, "x/b", "B", 1, false);
  take_message(p, "x/b", "B", 1);
  somebody_publishes(*state, "x/c", "C", 1, false);
  expect_alive(p);
}

static void no_filter(void **state) {
  expect_violation(*state, SLICE("\x82\2\0\1"));
  expect_violation(*state, SLICE("\x82\0"));
}

static void cut_off(void **state) {
  const struct slice packets[] = {SLICE("\x82\1\0"), SLICE("\x82\3\0\1\0"), SLICE("\x82\5\0\1\0\1t"),
                                  SLICE("\x82\6\0\1\0\2t\0"), SLICE("\x82\x08\0\1\0\1t\0\0\1")};
  for (size_t i = 0; i < COUNT(packets); i++)
    expect_violation(*state, packets[i]);
}

static void reserved_bits(void **state) {
  uint8_t packet[] = {0x82, 6, 0, 1, 0, 1, 't', 0};
  for (unsigned options = 3; options < 256; options++) {
    packet[7] = (uint8_t)options;
    expect_violation(*state, slice_of(packet, sizeof packet));
  }
}

static void flags_of_the_fixed_header(void **state) {
  uint8_t packet[] = {0x80, 6, 0, 1, 0, 1, 't', 0};
  for (unsigned flags = 0; flags < 16; flags++) {
    packet[0] = (uint8_t)(0x80 | flags);
    if (flags != 2) expect_violation(*state, slice_of(packet, sizeof packet));
  }
}

static void suback(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  const uint16_t ids[] = {1, 0xabcd, 65535, 1};
  for (size_t i = 0; i < COUNT(ids); i++) {
    uint8_t high = (uint8_t)(ids[i] >> 8), low = (uint8_t)ids[i];
    peer_send(p, slice_of((uint8_t[]){0x82, 6, high, low, 0, 1, 't', 1}, 8));
    expect_bytes(p, slice_of((uint8_t[]){0x90, 3, high, low, 1}, 5));
  }
}

static void replaced(void **state) {
  somebody_publishes(*state, "t", "kept", 2, true);
  struct peer *p = peer_connect(*state, "x", true);
  for (int round = 0; round < 2; round++)
    for (uint8_t qos = 0; qos <= 2; qos++) {
      assert_int_equal(peer_subscribe(p, "t", qos), qos);
      finish_delivery(p, qos, expect_publish(p, "t", "kept", qos, RETAINED)); // sent again each time
      somebody_publishes(*state, "t", "A", 2, false);
      take_message(p, "t", "A", qos); // once, with the new QoS
      expect_alive(p);
    }
  peer_unsubscribe(p, "t"); // there was one subscription only
  somebody_publishes(*state, "t", "A", 2, false);
  expect_alive(p);
}

static void flow_is_not_interrupted(void **state) { // what is under way stays so
  struct peer *p = peer_connect(*state, "x", true);
  peer_subscribe(p, "t", 1);
  for (int i = 0; i < 15; i++) // some in flight, some waiting
    somebody_publishes(*state, "t", "A", 1, false);
  uint16_t ids[10];
  for (int i = 0; i < 10; i++)
    ids[i] = expect_publish(p, "t", "A", 1, 0);
  peer_subscribe(p, "t", 1);
  for (int i = 0; i < 10; i++)
    peer_send_ack(p, PACKET_PUBACK, ids[i]);
  for (int i = 0; i < 5; i++)
    take_message(p, "t", "A", 1);
  somebody_publishes(*state, "t", "B", 1, false);
  take_message(p, "t", "B", 1);
  expect_alive(p);
}

static void other_filters_stay(void **state) { // the filter is the same or it is another one
  struct peer *p = peer_connect(*state, "x", true);
  peer_subscribe(p, "a/b", 1);
  peer_subscribe(p, "a/+", 0);
  peer_subscribe(p, "A/b", 0);
  somebody_publishes(*state, "a/b", "A", 2, false);
  take_message(p, "a/b", "A", 1);
  expect_alive(p);
}

static void many_filters(void **state) { // "a" 1, "b" 0, "+" 2, "c" 1, "a" again 0
  struct peer *p = peer_connect(*state, "x", true);
  somebody_publishes(*state, "c", "kept", 1, true);
  peer_send(p, SLICE("\x82\x16\0\7\0\1a\1\0\1b\0\0\1+\2\0\1c\1\0\1a\0"));
  struct packet got;
  peer_expect(p, PACKET_SUBACK, &got);
  assert_int_equal(got.id, 7);
  assert_true(slice_eq(got.suback.list, SLICE("\1\0\2\1\0"))); // one SUBACK, in the order of the filters
  for (unsigned i = 0; i < 2; i++) {                           // retained for "+" and for "c"
    peer_expect(p, PACKET_PUBLISH, &got);
    assert_true(got.publish.message.retain && got.publish.message.qos == 1);
    peer_send_ack(p, PACKET_PUBACK, got.id);
    if (i == 0 && !memory_received(p->memory).len) break; // or once for both
  }
  peer_unsubscribe(p, "+");
  somebody_publishes(*state, "a", "A", 2, false);
  take_message(p, "a", "A", 0); // the last one of the same filter counts
  somebody_publishes(*state, "b", "B", 2, false);
  take_message(p, "b", "B", 0);
  somebody_publishes(*state, "c", "C", 2, false);
  take_message(p, "c", "C", 1);
  expect_alive(p);
}

static void very_many_filters(void **state) {
  enum { FILTERS = 2000 };
  struct peer *p = peer_connect(*state, "x", true);
  struct buf list = BUF_INIT;
  char filter[16];
  for (int i = 0; i < FILTERS; i++) {
    snprintf(filter, sizeof filter, "t/%d", i);
    packet_add_subscription(&list, slice_str(filter), (uint8_t)(i % 3));
  }
  peer_send_packet(p, &(struct packet){.type = PACKET_SUBSCRIBE,
                                       .id = 9,
                                       .subscribe = {.count = FILTERS, .list = buf_slice(&list)}});
  buf_release(&list);
  struct packet got;
  peer_expect(p, PACKET_SUBACK, &got);
  assert_int_equal(got.suback.count, FILTERS);
  for (int i = 0; i < FILTERS; i++)
    assert_int_equal(got.suback.list.ptr[i], i % 3);
  somebody_publishes(*state, "t/1999", "A", 2, false);
  take_message(p, "t/1999", "A", 1);
}

// A backend that refuses filters that begin with "no".
static const struct backend_ops *decorated;
static struct backend_ops strict;
static void refuse_some(struct backend *b, struct client *c, struct subscribe_request *request) {
  for (uint32_t i = 0; i < request->count; i++)
    if (slice_starts(request->list[i].filter, SLICE("no"))) request->list[i].code = SUBACK_FAILURE;
  decorated->subscribe(b, c, request);
}

static void refused_filters(void **state) {
  struct harness *h = *state;
  decorated = h->shard->backend->ops;
  strict = *decorated;
  strict.subscribe = refuse_some;
  h->shard->backend->ops = &strict;
  somebody_publishes(h, "no", "kept", 1, true);
  struct peer *p = peer_connect(h, "x", true);
  peer_send(p, SLICE("\x82\x0f\0\7\0\1a\1\0\2no\2\0\1b\2"));
  expect_bytes(p, SLICE("\x90\5\0\7\1\x80\2"));
  somebody_publishes(h, "no", "A", 2, false);
  expect_alive(p);
  somebody_publishes(h, "b", "B", 2, false);
  take_message(p, "b", "B", 2);
}

static void least_qos(void **state) {
  for (uint8_t granted = 0; granted <= 2; granted++) {
    struct peer *p = peer_connect(*state, "x", true);
    assert_int_equal(peer_subscribe(p, "t", granted), granted);
    for (uint8_t qos = 0; qos <= 2; qos++) {
      somebody_publishes(*state, "t", "A", qos, false);
      take_message(p, "t", "A", qos < granted ? qos : granted);
    }
    expect_alive(p);
  }
}

// --- UNSUBSCRIBE ---

static void unsubscribe_flags(void **state) {
  uint8_t packet[] = {0xa0, 5, 0, 1, 0, 1, 't'};
  for (unsigned flags = 0; flags < 16; flags++) {
    packet[0] = (uint8_t)(0xa0 | flags);
    if (flags != 2) expect_violation(*state, slice_of(packet, sizeof packet));
  }
}

static void unsubscribe_not_utf8(void **state) {
  expect_violation(*state, SLICE("\xa2\6\0\1\0\2\xc3t"));
  expect_violation(*state, SLICE("\xa2\x08\0\1\0\1t\0\1\xff"));
}

static void unsubscribe_no_filter(void **state) {
  expect_violation(*state, SLICE("\xa2\2\0\1"));
  expect_violation(*state, SLICE("\xa2\0"));
  expect_violation(*state, SLICE("\xa2\4\0\1\0\2"));
}

static void unsubscribe_compares(void **state) {
  const char *others[] = {"a", "a/#", "+/b", "#", "a/b/", "/a/b", "A/b", "a//b", "a/ b"};
  struct peer *p = peer_connect(*state, "x", true);
  peer_subscribe(p, "a/b", 1);
  peer_subscribe(p, "a/+", 0);
  for (size_t i = 0; i < COUNT(others); i++)
    peer_unsubscribe(p, others[i]);
  somebody_publishes(*state, "a/b", "A", 1, false);
  take_message(p, "a/b", "A", 1);
  peer_unsubscribe(p, "a/b");
  somebody_publishes(*state, "a/b", "B", 1, false);
  take_message(p, "a/b", "B", 0);
  peer_unsubscribe(p, "a/+");
  somebody_publishes(*state, "a/b", "C", 1, false);
  expect_alive(p);
}

static void unsubscribe_others(void **state) { // of another client it is none of its business
  struct peer *p = peer_connect(*state, "x", true), *q = peer_connect(*state, "y", true);
  peer_subscribe(p, "t", 1);
  peer_subscribe(q, "t", 1);
  peer_unsubscribe(q, "t");
  somebody_publishes(*state, "t", "A", 1, false);
  take_message(p, "t", "A", 1);
  expect_alive(q);
}

static void nothing_new(void **state) {
  struct peer *p = peer_connect(*state, "x", false);
  peer_subscribe(p, "t", 2);
  peer_unsubscribe(p, "t");
  for (uint8_t qos = 0; qos <= 2; qos++)
    somebody_publishes(*state, "t", "A", qos, true);
  expect_alive(p);
  peer_drop(p);
  somebody_publishes(*state, "t", "A", 2, false);
  assert_true(peer_resume(*state, "x", &p)); // and it stays so
  expect_alive(p);
}

static void completed(void **state) {
  struct peer *p = peer_connect(*state, "x", false);
  peer_subscribe(p, "t", 2);
  somebody_publishes(*state, "t", "A", 1, false);
  somebody_publishes(*state, "t", "B", 2, false);
  somebody_publishes(*state, "t", "C", 2, false);
  uint16_t a = expect_publish(p, "t", "A", 1, 0), b = expect_publish(p, "t", "B", 2, 0);
  uint16_t c = expect_publish(p, "t", "C", 2, 0);
  peer_send_ack(p, PACKET_PUBREC, c);
  peer_expect_ack(p, PACKET_PUBREL, c);
  peer_unsubscribe(p, "t");
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  assert_int_equal(expect_publish(p, "t", "A", 1, DUP), a);
  assert_int_equal(expect_publish(p, "t", "B", 2, DUP), b);
  peer_expect_ack(p, PACKET_PUBREL, c);
  peer_send_ack(p, PACKET_PUBACK, a);
  finish_delivery(p, 2, b);
  peer_send_ack(p, PACKET_PUBCOMP, c);
  expect_alive(p);
}

static void unsuback(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  peer_subscribe(p, "t", 1);
  peer_send(p, SLICE("\xa2\5\xab\xcd\0\1t"));
  expect_bytes(p, SLICE("\xb0\2\xab\xcd"));
}

static void unsuback_for_nothing(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  peer_send(p, SLICE("\xa2\5\xff\xff\0\1t"));
  expect_bytes(p, SLICE("\xb0\2\xff\xff"));
}

static void unsubscribe_many(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  peer_subscribe(p, "a", 0);
  peer_subscribe(p, "b", 0);
  peer_subscribe(p, "c", 0);
  peer_send(p, SLICE("\xa2\x0e\0\7\0\1a\0\1x\0\1c\0\1a"));
  expect_bytes(p, SLICE("\xb0\2\0\7"));
  const char *topics[] = {"a", "b", "c"};
  for (size_t i = 0; i < COUNT(topics); i++)
    somebody_publishes(*state, topics[i], "A", 0, false);
  take_message(p, "b", "A", 0);
  expect_alive(p);
}

static void answers_in_order(void **state) { // each answer has the id of its packet
  struct peer *p = peer_connect(*state, "x", true);
  peer_send(p, SLICE("\x82\6\0\5\0\1a\0\xa2\5\0\2\0\1a\x82\6\0\3\0\1b\1\xc0\0"));
  expect_bytes(p, SLICE("\x90\3\0\5\0\xb0\2\0\2\x90\3\0\3\1\xd0\0"));
  somebody_publishes(*state, "a", "A", 0, false);
  expect_alive(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT-3.8.1-1] other flags of SUBSCRIBE than 2 close", flags_of_the_fixed_header),
      STATEMENT("[MQTT-3.8.3-1] [MQTT-1.5.3-1] a filter that is not UTF-8 closes", not_utf8),
      STATEMENT("[MQTT-3.8.3-2] filters may have wildcards", wildcards),
      STATEMENT("[MQTT-3.8.3-3] SUBSCRIBE without a filter closes", no_filter),
      STATEMENT("[MQTT-3.8.3-4] reserved bits and QoS 3 close", reserved_bits),
      STATEMENT("[MQTT-3.8.3-3] [MQTT-4.8.0-1] a list that is cut off closes", cut_off),
      STATEMENT("[MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-2.3.1-7] SUBACK has the id of SUBSCRIBE", suback),
      STATEMENT("[MQTT-3.8.4-3] the same filter again replaces the subscription", replaced),
      STATEMENT("[MQTT-3.8.4-3] and interrupts nothing", flow_is_not_interrupted),
      STATEMENT("[MQTT-3.8.4-3] another filter replaces nothing", other_filters_stay),
      STATEMENT("[MQTT-3.8.4-4] [MQTT-3.9.3-1] many filters are as many SUBSCRIBEs, with one SUBACK",
                many_filters),
      STATEMENT("[MQTT-3.8.4-5] [MQTT-3.9.3-1] a return code for each filter, in order", very_many_filters),
      STATEMENT("[MQTT-3.8.4-5] [MQTT-3.9.3-2] a refused filter gets 0x80, the others stand",
                refused_filters),
      STATEMENT("[MQTT-3.8.4-6] messages come with the lesser of both QoS", least_qos),
      STATEMENT("[MQTT-3.10.1-1] other flags of UNSUBSCRIBE than 2 close", unsubscribe_flags),
      STATEMENT("[MQTT-3.10.3-1] a filter that is not UTF-8 closes", unsubscribe_not_utf8),
      STATEMENT("[MQTT-3.10.3-2] UNSUBSCRIBE without a filter closes", unsubscribe_no_filter),
      STATEMENT("[MQTT-3.10.4-1] filters are compared byte by byte", unsubscribe_compares),
      STATEMENT("[MQTT-3.10.4-1] [MQTT-3.1.3-2] subscriptions of other clients stay", unsubscribe_others),
      STATEMENT("[MQTT-3.10.4-2] nothing new is added", nothing_new),
      STATEMENT("[MQTT-3.10.4-3] what has begun is completed", completed),
      STATEMENT("[MQTT-3.10.4-4] [MQTT-2.3.1-7] UNSUBACK has the id of UNSUBSCRIBE", unsuback),
      STATEMENT("[MQTT-3.10.4-5] also where nothing was deleted", unsuback_for_nothing),
      STATEMENT("[MQTT-3.10.4-6] many filters are as many UNSUBSCRIBEs, with one UNSUBACK", unsubscribe_many),
      STATEMENT("[MQTT-2.3.1-7] answers come in order", answers_in_order),
  };
  return cmocka_run_group_tests_name("conformance: subscribe", tests, NULL, NULL);
}
