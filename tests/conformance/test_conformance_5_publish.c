// PUBLISH of MQTT 5 and its properties, acknowledgements, message expiry: chapters 2.2, 3.3.1 to 3.3.4, 3.4
// and 3.5.
#include <stdio.h>
#include <stdlib.h>

#include "conformance.h"
#include "decorator.h"

// --- bytes ---

static void bytes_of_a_delivery(void **state) { // no packet id with QoS 0, and a length of no properties
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "t", 2);
  somebody_publishes(h, "t", "A", 0, false);
  expect_bytes(p, SLICE("\x30\5\0\1t\0A"));
  somebody_publishes(h, "t", "A", 1, false);
  expect_bytes(p, SLICE("\x32\7\0\1t\0\1\0A"));
  somebody_publishes(h, "t", "A", 2, false);
  expect_bytes(p, SLICE("\x34\7\0\1t\0\2\0A"));
  peer_send_ack(p, PACKET_PUBREC, 2);
  expect_bytes(p, SLICE("\x62\2\0\2"));
}

static void bytes_of_answers(void **state) {
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_send(p, SLICE("\x82\7\xab\xcd\0\0\1t\2\xa2\6\1\1\0\0\1t\xc0\0"));
  expect_bytes(p, SLICE("\x90\4\xab\xcd\0\2\xb0\4\1\1\0\0\xd0\0"));
  peer_send(p, SLICE("\x32\7\0\1t\1\2\0A\x34\7\0\1t\1\3\0A\x62\2\1\3\x62\2\1\4"));
  expect_bytes(p, SLICE("\x40\3\1\2\x10\x50\2\1\3\x70\2\1\3\x70\3\1\4\x92"));
}

// Lengths of properties take as few bytes as they can, at each of their borders.
static void lengths_of_properties(void **state) {
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "t", 0);
  const size_t lengths[] = {3, 127, 128, 16383, 16384, 65538};
  char *text = malloc(65600);
  for (size_t i = 0; i < COUNT(lengths); i++) {
    int head = snprintf(text, 64, "content_type=");
    memset(text + head, 'c', lengths[i] - 3);
    text[head + (int)lengths[i] - 3] = 0;
    somebody_publishes_5(h, "t", "A", 0, false, text);
    struct slice got = memory_received(p->memory); // fixed header, topic
    size_t at = 1 + (got.ptr[1] < 0x80 ? 1 : got.ptr[2] < 0x80 ? 2 : 3) + 3;
    struct slice rest = slice_from(got, at);
    uint32_t len;
    assert_true(packet_take_varint(&rest, &len)); // refuses what is longer than needed
    assert_int_equal(len, lengths[i]);
    assert_int_equal(rest.len, len + 1);
    memory_consume(p->memory, got.len);
  }
  free(text);
}

// --- properties ---

static void passed_on(void **state) { // unaltered and in order, through queues and the retained store
  struct harness *h = *state;
  const char *properties = "user_property=b:1 payload_format_indicator=1 content_type=text/plain "
                           "response_topic=reply/to user_property=a:2 correlation_data=id7 user_property=b:1 "
                           "user_property=: user_property=b:0";
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=100");
  peer_subscribe(p, "t", 2);
  for (uint8_t qos = 0; qos <= 2; qos++) {
    somebody_publishes_5(h, "t", "A", qos, true, properties);
    uint16_t id = expect_publish(p, "t", "A", qos, 0);
    peer_expect_properties(p, properties);
    finish_delivery(p, qos, id);
  }
  peer_drop(p);
  somebody_publishes_5(h, "t", "A", 2, false, properties);
  assert_true(peer_resume_5(h, "x", "session_expiry_interval=100", &p)); // from the queue
  expect_publish(p, "t", "A", 2, 0);
  peer_expect_properties(p, properties);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "", &p)); // sent again
  expect_publish(p, "t", "A", 2, DUP);
  peer_expect_properties(p, properties);
  struct peer *late = peer_connect_5(h, "y", true, "");
  peer_subscribe(late, "#", 2);
  expect_publish(late, "t", "A", 2, RETAINED);
  peer_expect_properties(late, properties);
}

static void any_bytes(void **state) { // of what the broker does not look at
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "t", 0);
  const struct slice publish = SLICE("\x30\x0d\0\1t\7\x09\0\4\0\xff\xed\xa0\xff\0");
  peer_send(p, publish);
  expect_bytes(p, publish);
}

static void very_many_user_properties(void **state) { // in CONNECT, in a will, and in messages
  struct harness *h = *state;
  struct buf raw = BUF_INIT;
  char name[16];
  for (int i = 0; i < 5000; i++) {
    snprintf(name, sizeof name, "n%d", i % 100);
    packet_add_pair(&raw, slice_str(name), SLICE("v"));
  }
  struct packet_properties properties = packet_properties_of(buf_slice(&raw));
  struct packet_connect connect = connect_with_will("x", "t", "will", 1, false);
  connect.version = MQTT_5;
  connect.properties = connect.will.properties = properties;
  struct peer *watcher = peer_connect_5(h, "y", true, ""), *p = peer_open(h);
  peer_subscribe(watcher, "t", 1);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  struct packet_message message = {
      .topic = SLICE("t"), .payload = SLICE("A"), .properties = properties, .qos = 1};
  peer_send_packet(p, &(struct packet){.type = PACKET_PUBLISH, .id = 1, .publish = {.message = message}});
  peer_expect_ack(p, PACKET_PUBACK, 1);
  peer_drop(p);
  for (int i = 0; i < 2; i++) {
    struct packet got;
    peer_expect(watcher, PACKET_PUBLISH, &got);
    assert_true(slice_eq(got.publish.message.properties.raw, buf_slice(&raw)));
    peer_send_ack(watcher, PACKET_PUBACK, got.id);
  }
  buf_release(&raw);
}

static void byte_order_mark(void **state) { // is a character in each string
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "\xef\xbb\xbf/t", 0);
  somebody_publishes(h, "/t", "A", 0, false);
  peer_expect_nothing(p);
  const char *properties = "content_type=\xef\xbb\xbf"
                           "c response_topic=\xef\xbb\xbfr user_property=\xef\xbb\xbfn:\xef\xbb\xbfv";
  somebody_publishes_5(h, "\xef\xbb\xbf/t", "A", 0, false, properties);
  expect_publish(p, "\xef\xbb\xbf/t", "A", 0, 0);
  peer_expect_properties(p, properties);
}

static void payload_of_another_format(void **state) { // is not looked at unless the broker is told to
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "t", 0);
  somebody_publishes_5(h, "t", "\xff", 0, false, "payload_format_indicator=1");
  expect_publish(p, "t", "\xff", 0, 0);
  peer_expect_properties(p, "payload_format_indicator=1");
  somebody_publishes_5(h, "t", "A", 0, false, "payload_format_indicator=0");
  expect_publish(p, "t", "A", 0, 0);
  peer_expect_properties(p, "payload_format_indicator=0");
}

// --- expiry ---

static void expiry_counts_down(void **state) {
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=1000");
  peer_subscribe(p, "t", 1);
  somebody_publishes_5(h, "t", "now", 1, false, "content_type=c message_expiry_interval=60");
  peer_send_ack(p, PACKET_PUBACK, expect_publish(p, "t", "now", 1, 0));
  peer_expect_properties(p, "content_type=c message_expiry_interval=60");
  peer_disconnect(p);
  somebody_publishes_5(h, "t", "short", 1, false, "message_expiry_interval=9");
  somebody_publishes_5(h, "t", "long", 1, false, "message_expiry_interval=60");
  somebody_publishes_5(h, "t", "for ever", 1, false, "");
  somebody_publishes_5(h, "t", "very long", 1, false, "message_expiry_interval=4294967295");
  harness_advance(h, 10000);
  assert_true(peer_resume_5(h, "x", "session_expiry_interval=1000", &p));
  expect_publish(p, "t", "long", 1, 0);
  peer_expect_properties(p, "message_expiry_interval=50");
  expect_publish(p, "t", "for ever", 1, 0);
  peer_expect_properties(p, "");
  struct packet got;
  peer_expect(p, PACKET_PUBLISH, &got);
  expect_alive(p);
  assert_int_equal(h->shard->stats.messages_expired, 1);
}

static void expired_while_it_waits(void **state) { // behind the client's window
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "receive_maximum=1");
  peer_subscribe(p, "t", 1);
  somebody_publishes(h, "t", "1", 1, false);
  somebody_publishes_5(h, "t", "2", 1, false, "message_expiry_interval=5");
  somebody_publishes_5(h, "t", "3", 1, false, "message_expiry_interval=25");
  uint16_t id = expect_publish(p, "t", "1", 1, 0);
  harness_advance(h, 6000);
  peer_send_ack(p, PACKET_PUBACK, id);
  expect_publish(p, "t", "3", 1, 0);
  peer_expect_properties(p, "message_expiry_interval=19");
}

static void never_too_early(void **state) { // the clock's seconds are not the message's
  struct harness *h = *state;
  leave_subscription_5(h, "x", "session_expiry_interval=1000", "t", 1);
  harness_advance(h, 900);
  somebody_publishes_5(h, "t", "A", 1, false, "message_expiry_interval=2");
  harness_advance(h, 1900);
  struct peer *p;
  assert_true(peer_resume_5(h, "x", "session_expiry_interval=1000", &p));
  peer_send_ack(p, PACKET_PUBACK, expect_publish(p, "t", "A", 1, 0));
  peer_expect_properties(p, "message_expiry_interval=1");
  peer_disconnect(p);
  somebody_publishes_5(h, "t", "B", 1, false, "message_expiry_interval=2");
  harness_advance(h, 2000);
  assert_true(peer_resume_5(h, "x", "session_expiry_interval=1000", &p));
  expect_alive(p);
}

static void
not_applied_once_sent(void **state) { // the protocol of the QoS goes on, on a new connection as well
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=1000");
  peer_subscribe(p, "t", 2);
  somebody_publishes_5(h, "t", "A", 2, false, "message_expiry_interval=5");
  uint16_t id = expect_publish(p, "t", "A", 2, 0);
  harness_advance(h, 6000);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "session_expiry_interval=1000", &p));
  assert_int_equal(expect_publish(p, "t", "A", 2, DUP), id);
  peer_expect_properties(p, "message_expiry_interval=0");
  finish_delivery(p, 2, id);
  expect_alive(p);
}

static void expired_before_pubrel(void **state) { // the acknowledgements go on
  struct harness *h = *state;
  struct peer *watcher = peer_connect_5(h, "y", true, ""), *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(watcher, "t", 2);
  uint16_t id = peer_publish_5(p, "t", "A", 2, false, "message_expiry_interval=5");
  peer_expect_ack(p, PACKET_PUBREC, id);
  harness_advance(h, 6000);
  peer_send_ack(p, PACKET_PUBREL, id);
  peer_expect_reason(p, PACKET_PUBCOMP, id, REASON_SUCCESS);
  peer_expect_nothing(watcher);
}

// --- acknowledgements ---

static void acknowledged(void **state) { // as the QoS says, whoever gets it
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_publish(p, "t", "A", 0, false);
  peer_expect_nothing(p);
  peer_expect_reason(p, PACKET_PUBACK, peer_publish(p, "t", "A", 1, false), REASON_NO_MATCHING_SUBSCRIBERS);
  peer_subscribe(p, "t", 0);
  peer_expect_reason(p, PACKET_PUBACK, peer_publish(p, "t", "A", 1, false), REASON_SUCCESS);
  take_message(p, "t", "A", 0);
  uint16_t id = peer_publish(p, "t", "A", 2, false);
  peer_expect_reason(p, PACKET_PUBREC, id, REASON_SUCCESS);
  peer_send_ack(p, PACKET_PUBREL, id);
  peer_expect_reason(p, PACKET_PUBCOMP, id, REASON_SUCCESS);
  take_message(p, "t", "A", 0);
}

static void refused(void **state) { // only the message is, and QoS 0 without a word
  (void)state;
  struct harness *h = harness_new(NULL);
  struct decorator d;
  decorator_init(&d, h);
  struct peer *watcher = peer_connect_5(h, "y", true, ""), *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(watcher, "#", 2);
  d.refuse_accept = true;
  peer_publish(p, "t", "A", 0, false);
  peer_expect_nothing(p);
  peer_expect_reason(p, PACKET_PUBACK, peer_publish(p, "t", "A", 1, false), REASON_NOT_AUTHORIZED);
  peer_send(p, SLICE("\x34\7\0\1t\0\7\0A"));
  peer_expect_reason(p, PACKET_PUBREC, 7, REASON_NOT_AUTHORIZED);
  peer_expect_nothing(watcher);
  d.refuse_accept = false;
  peer_send(p, SLICE("\x34\7\0\1t\0\7\0B")); // the id is free: this is another message
  peer_expect_reason(p, PACKET_PUBREC, 7, REASON_SUCCESS);
  peer_send_ack(p, PACKET_PUBREL, 7);
  peer_expect_reason(p, PACKET_PUBCOMP, 7, REASON_SUCCESS);
  take_message(watcher, "t", "B", 2);
  harness_free(h);
}

static void
reasons_that_acks_have(void **state) { // a decision's reason that PUBACK may not have: the nearest
  (void)state;
  struct harness *h = harness_new(NULL);
  struct decorator d;
  decorator_init(&d, h);
  d.hold_accept = true;
  struct peer *p = peer_connect_5(h, "x", true, "");
  const struct {
    uint8_t given, told;
  } reasons[] = {{REASON_QUOTA_EXCEEDED, REASON_QUOTA_EXCEEDED},
                 {REASON_PAYLOAD_FORMAT_INVALID, REASON_PAYLOAD_FORMAT_INVALID},
                 {REASON_BANNED, REASON_NOT_AUTHORIZED},
                 {REASON_SERVER_BUSY, REASON_QUOTA_EXCEEDED},
                 {REASON_SERVER_MOVED, REASON_UNSPECIFIED_ERROR}};
  for (size_t i = 0; i < COUNT(reasons); i++)
    for (uint8_t qos = 1; qos <= 2; qos++) {
      uint16_t id = peer_publish(p, "t", "A", qos, false);
      decorator_resume(&d, h, (struct reply){.reason = reasons[i].given});
      peer_expect_reason(p, qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, id, reasons[i].told);
    }
  harness_free(h);
}

static void topics_that_are_refused(void **state) { // well-formed, but not accepted
  struct settings settings;
  settings_init(&settings);
  settings.topic_levels = 3;
  settings.topic_length = 20;
  struct harness *h = restart_broker(state, &settings);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_expect_reason(p, PACKET_PUBACK, peer_publish(p, "a/b/c/d", "A", 1, false), REASON_TOPIC_NAME_INVALID);
  peer_expect_reason(p, PACKET_PUBREC, peer_publish(p, "a very very long topic", "A", 2, false),
                     REASON_TOPIC_NAME_INVALID);
  peer_expect_reason(p, PACKET_PUBACK, peer_publish(p, "$SYS/x", "A", 1, false), REASON_NOT_AUTHORIZED);
  expect_alive(p);
}

static void independent_dup(void **state) { // dup is that of the delivery, not of the publish
  struct harness *h = *state;
  struct peer *watcher = peer_connect_5(h, "y", true, ""), *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(watcher, "t", 2);
  peer_send(p, SLICE("\x3a\7\0\1t\0\1\0A"));
  peer_expect_ack(p, PACKET_PUBACK, 1);
  take_message(watcher, "t", "A", 1);
  peer_send(p, SLICE("\x3c\7\0\1t\0\2\0B\x62\2\0\2"));
  take_message(watcher, "t", "B", 2);
  peer_subscribe(watcher, "t", 0);
  peer_send(p, SLICE("\x3a\7\0\1t\0\3\0C"));
  take_message(watcher, "t", "C", 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT(
          "[MQTT5-2.2.1-2] [MQTT5-2.2.2-1] [MQTT5-3.3.2-1] [MQTT5-3.3.1-2] [MQTT5-4.3.1-1] the bytes of a "
          "delivery",
          bytes_of_a_delivery),
      STATEMENT(
          "[MQTT5-2.1.3-1] [MQTT5-2.2.1-5] [MQTT5-2.2.1-6] [MQTT5-2.2.2-1] [MQTT5-3.12.4-1] the bytes of "
          "answers",
          bytes_of_answers),
      STATEMENT("[MQTT5-1.5.5-1] lengths of properties are in their shortest form", lengths_of_properties),
      STATEMENT("[MQTT5-3.3.2-4] [MQTT5-3.3.2-15] [MQTT5-3.3.2-16] [MQTT5-3.3.2-17] [MQTT5-3.3.2-18] "
                "[MQTT5-3.3.2-20] properties are passed on unaltered",
                passed_on),
      STATEMENT("[MQTT5-3.3.2-16] any bytes of correlation data and payload", any_bytes),
      STATEMENT("[MQTT5-3.3.2-17] [MQTT5-3.1.3-10] very many user properties", very_many_user_properties),
      STATEMENT("[MQTT5-1.5.4-3] a byte order mark is a character", byte_order_mark),
      STATEMENT("[MQTT5-3.3.2-4] a payload that is not what it claims", payload_of_another_format),
      STATEMENT("[MQTT5-3.3.2-5] [MQTT5-3.3.2-6] the expiry counts down in a queue", expiry_counts_down),
      STATEMENT("[MQTT5-3.3.2-5] [MQTT5-3.3.2-6] and of what waits for the client", expired_while_it_waits),
      STATEMENT("[MQTT5-3.3.2-5] [MQTT5-3.3.2-6] no message ends before its time", never_too_early),
      STATEMENT("[MQTT5-4.3.3-7] expiry is not applied to what was sent", not_applied_once_sent),
      STATEMENT("[MQTT5-4.3.3-13] acknowledgements of an expired message go on", expired_before_pubrel),
      STATEMENT("[MQTT5-3.3.4-1] [MQTT5-4.3.2-4] [MQTT5-4.3.3-8] [MQTT5-4.3.3-11] each QoS has its answers",
                acknowledged),
      STATEMENT("[MQTT5-4.3.3-9] [MQTT5-4.13.2-1] a publish that is refused", refused),
      STATEMENT("[MQTT5-3.4.2-1] [MQTT5-3.5.2-1] acknowledgements have reasons of their own only",
                reasons_that_acks_have),
      STATEMENT("[MQTT5-3.4.2-1] [MQTT5-3.5.2-1] topics that are not accepted", topics_that_are_refused),
      STATEMENT("[MQTT5-3.3.1-3] [MQTT5-3.3.1-2] dup of a delivery does not come from the publish",
                independent_dup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
