// CONNACK of MQTT 5, what client and server tell each other in it, and that it counts: chapters 3.1.2.11
// and 3.2, keep alive, maximum packet size, and what a server need not offer.
#include <stdio.h>

#include "conformance.h"

static struct harness *with_settings(void **state, void (*set)(struct settings *settings)) {
  struct settings settings;
  settings_init(&settings);
  set(&settings);
  return restart_broker(state, &settings);
}

// --- form ---

static void
bytes_of_connack(void **state) { // flags, and a length of the properties also where there are none
  struct peer *p = open_5(*state, SLICE("\x10\x0e\0\4MQTT\5\2\0\0\0\0\1x"));
  expect_bytes(p, SLICE("\x20\x11\0\0\x0e\x21\0\x64\x27\0\x80\0\0\x22\0\x20\x13\1\x2c"));
  struct packet_connect connect = peer_connect_5_defaults(*state, "x", true, "authentication_method=none");
  p = peer_open(*state);
  peer_send_packet(p, &(struct packet){.type = PACKET_CONNECT, .connect = connect});
  expect_bytes(p, SLICE("\x20\3\0\x8c\0"));
  peer_expect_closed(p);
}

static void not_present_when_refused(void **state) {
  struct harness *h = *state;
  leave_subscription_5(h, "x", "session_expiry_interval=100", "t", 1);
  memory_set_access(h->memory, MEMORY_CREDENTIALS);
  struct packet_connect connect = peer_connect_5_defaults(h, "x", false, "");
  expect_connect_refused(h, &connect, REASON_NOT_AUTHORIZED);
  memory_set_access(h->memory, MEMORY_OPEN);
  struct peer *p;
  assert_true(peer_resume_5(h, "x", "", &p)); // it is there all the same
}

// --- keep alive ---

static void server_keep_alive(void **state) { // is in force where the client asked for none, or for more
  const uint16_t asked[] = {0, 301, 65535};
  for (size_t i = 0; i < COUNT(asked); i++) {
    struct packet_connect connect = peer_connect_5_defaults(*state, "x", true, "");
    connect.keep_alive = asked[i];
    struct peer *p = peer_open(*state);
    assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
    peer_expect_properties(p, "receive_maximum=100 maximum_packet_size=8388608 topic_alias_maximum=32 "
                              "server_keep_alive=300");
    harness_advance(*state, 448000);
    peer_expect_nothing(p);
    harness_advance(*state, 4000);
    peer_expect_disconnect(p, REASON_KEEP_ALIVE_TIMEOUT);
  }
}

static void own_keep_alive(void **state) {
  struct packet_connect connect = peer_connect_5_defaults(*state, "x", true, "");
  connect.keep_alive = 10;
  struct peer *p = peer_open(*state);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  peer_expect_properties(p, "receive_maximum=100 maximum_packet_size=8388608 topic_alias_maximum=32");
  for (int i = 0; i < 3; i++) { // anything that comes counts
    harness_advance(*state, 14000);
    expect_alive(p);
  }
  harness_advance(*state, 17000);
  peer_expect_disconnect(p, REASON_KEEP_ALIVE_TIMEOUT);
}

static void no_keep_alive(struct settings *settings) { settings->client.maximum_keep_alive_ms = 0; }

static void keep_alive_off(void **state) {
  struct harness *h = with_settings(state, no_keep_alive);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_expect_properties(p, "receive_maximum=100 maximum_packet_size=8388608 topic_alias_maximum=32");
  harness_advance(h, UINT64_C(1000) * 86400);
  expect_alive(p);
}

// --- maximum packet size of the client ---

// A subscriber of "t" that takes packets of so many bytes.
static struct peer *peer_of_size(struct harness *h, unsigned size, uint8_t qos) {
  char properties[64];
  snprintf(properties, sizeof properties, "maximum_packet_size=%u", size);
  struct peer *p = peer_connect_5(h, "", true, properties);
  peer_subscribe(p, "t", qos);
  return p;
}

static void maximum_packet_size(void **state) { // exactly that size fits, one byte more does not
  struct harness *h = *state;
  enum { SIZE = 100, HEADER = 2 + 3 + 2 + 1 }; // fixed header, topic, packet id, properties
  struct peer *p = peer_of_size(h, SIZE, 2), *other = peer_connect_5(h, "", true, "");
  peer_subscribe(other, "t", 2);
  char payload[SIZE];
  memset(payload, 'A', sizeof payload);
  for (uint8_t qos = 0; qos <= 2; qos++) {
    size_t fits = SIZE - HEADER + (qos ? 0 : 2);
    payload[fits + 1] = 0;
    somebody_publishes(h, "t", payload, qos, false);
    take_message(other, "t", payload, qos); // those who take it get it
    peer_expect_nothing(p);
    payload[fits] = 0;
    somebody_publishes(h, "t", payload, qos, false);
    take_message(other, "t", payload, qos);
    take_message(p, "t", payload, qos);
    memset(payload, 'A', sizeof payload);
  }
  assert_int_equal(h->shard->stats.messages_dropped_size, 3);
  expect_alive(p);
}

static void size_with_properties(void **state) { // those that the broker adds count as well
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "", true, "maximum_packet_size=50");
  peer_subscribe_5(p, "t", 0, "subscription_identifier=1000");
  enum { FITS = 50 - 2 - 3 - 1 - 5 - 3 }; // fixed header, topic, their length, expiry, identifier
  char payload[64];
  memset(payload, 'A', sizeof payload);
  payload[FITS + 1] = 0;
  somebody_publishes_5(h, "t", payload, 0, false, "message_expiry_interval=10");
  peer_expect_nothing(p);
  payload[FITS] = 0;
  somebody_publishes_5(h, "t", payload, 0, false, "message_expiry_interval=10");
  expect_publish(p, "t", payload, 0, 0);
  peer_expect_properties(p, "subscription_identifier=1000 message_expiry_interval=10");
  expect_alive(p);
}

static void size_with_alias(void **state) { // an alias is not what makes it too large
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "", true, "maximum_packet_size=50 topic_alias_maximum=10");
  peer_subscribe(p, "topic", 0);
  char payload[64];
  memset(payload, 'A', sizeof payload);
  payload[50 - 2 - 7 - 1] = 0;
  for (int i = 0; i < 3; i++) {
    somebody_publishes(h, "topic", payload, 0, false);
    expect_publish(p, "topic", payload, 0, 0);
  }
}

static void too_large_to_resend(void **state) { // for the new connection: as if it were done with
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=100");
  peer_subscribe(p, "t", 2);
  char payload[64];
  memset(payload, 'A', sizeof payload);
  payload[sizeof payload - 1] = 0;
  somebody_publishes(h, "t", payload, 1, false);
  somebody_publishes(h, "t", "small", 2, false);
  expect_publish(p, "t", payload, 1, 0);
  expect_publish(p, "t", "small", 2, 0);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "maximum_packet_size=50 session_expiry_interval=100", &p));
  finish_delivery(p, 2, expect_publish(p, "t", "small", 2, DUP));
  expect_alive(p);
  peer_drop(p);
  assert_true(peer_resume_5(h, "x", "", &p));
  expect_alive(p);
}

static void answer_too_large(void **state) { // it is not sent, and the client told why
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "maximum_packet_size=24");
  struct buf list = BUF_INIT;
  for (int i = 0; i < 24; i++)
    packet_add_subscription(&list, SLICE("t"), 0);
  peer_send_packet(p, &(struct packet){.type = PACKET_SUBSCRIBE,
                                       .id = 1,
                                       .subscribe = {.count = 24, .list = buf_slice(&list)}});
  buf_release(&list);
  peer_expect_disconnect(p, REASON_PACKET_TOO_LARGE);
}

static void connack_too_large(void **state) {
  struct packet_connect connect = peer_connect_5_defaults(*state, "x", true, "maximum_packet_size=10");
  expect_connect_refused(*state, &connect, REASON_PACKET_TOO_LARGE);
  connect = peer_connect_5_defaults(*state, "x", true, "maximum_packet_size=4"); // nothing fits
  struct peer *p = peer_open(*state);
  peer_send_packet(p, &(struct packet){.type = PACKET_CONNECT, .connect = connect});
  peer_expect_closed(p);
}

// --- what is announced ---

static void small_limits(struct settings *settings) {
  settings->client.read_limit = 100;
  settings->client.parallel_publishes = 3;
  settings->topic_alias_maximum = 0;
}

static void announced_limits(void **state) {
  struct harness *h = with_settings(state, small_limits);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_expect_properties(p, "receive_maximum=3 maximum_packet_size=100 server_keep_alive=300");
  uint8_t packet[101] = {0x30, 98, 0, 1, 't', 0};
  peer_send(p, slice_of(packet, 100));
  expect_alive(p);
  packet[1]++;
  peer_send(p, slice_of(packet, 101));
  peer_expect_disconnect(p, REASON_PACKET_TOO_LARGE);
  p = peer_connect_5(h, "x", true, "");
  peer_publish_5(p, "t", "A", 0, false, "topic_alias=1");
  peer_expect_disconnect(p, REASON_TOPIC_ALIAS_INVALID);
}

static void with_maximum_qos(struct settings *settings) { settings->maximum_qos = 1; }

static void maximum_qos(void **state) {
  struct harness *h = with_settings(state, with_maximum_qos);
  struct peer *p = peer_connect_5(h, "x", true, ""), *old = peer_connect(h, "y", true);
  peer_expect_properties(p, "receive_maximum=100 maximum_qos=1 maximum_packet_size=8388608 "
                            "topic_alias_maximum=32 server_keep_alive=300");
  for (uint8_t qos = 0; qos <= 2; qos++) // who subscribes may ask for more, and is granted what there is
    assert_int_equal(peer_subscribe(p, "t", qos), qos < 1 ? qos : 1);
  publish_fully(old, "t", "A", 2, false);
  take_message(p, "t", "A", 1);
  publish_fully(p, "t", "B", 1, false);
  take_message(p, "t", "B", 1);
  peer_publish(p, "t", "C", 2, false);
  peer_expect_disconnect(p, REASON_QOS_NOT_SUPPORTED);
  struct packet_connect connect = connect_with_will("x", "w", "m", 2, false);
  connect.version = MQTT_5;
  expect_connect_refused(h, &connect, REASON_QOS_NOT_SUPPORTED);
  connect.will.qos = 1;
  assert_int_equal(peer_connect_with(peer_open(h), &connect, NULL), 0);
}

static void without_retain(struct settings *settings) { settings->retain_available = false; }

static void retain_not_available(void **state) {
  struct harness *h = with_settings(state, without_retain);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_expect_properties(p, "receive_maximum=100 retain_available=0 maximum_packet_size=8388608 "
                            "topic_alias_maximum=32 server_keep_alive=300");
  peer_publish(p, "t", "A", 0, true);
  peer_expect_disconnect(p, REASON_RETAIN_NOT_SUPPORTED);
  assert_int_equal(memory_retained(h->memory)->count, 0);
  struct packet_connect connect = connect_with_will("x", "w", "m", 0, true);
  connect.version = MQTT_5;
  expect_connect_refused(h, &connect, REASON_RETAIN_NOT_SUPPORTED);
}

static void without_subscription_features(struct settings *settings) {
  settings->wildcard_subscriptions = settings->subscription_identifiers = false;
}

static void subscriptions_not_available(void **state) {
  struct harness *h = with_settings(state, without_subscription_features);
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_expect_properties(p, "receive_maximum=100 maximum_packet_size=8388608 topic_alias_maximum=32 "
                            "wildcard_subscription_available=0 subscription_identifier_available=0 "
                            "server_keep_alive=300");
  assert_int_equal(peer_subscribe(p, "t", 0), 0);
  peer_send(p, SLICE("\x82\x0b\0\1\0\0\1t\0\0\1#\0"));
  peer_expect_disconnect(p, REASON_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
  p = peer_connect_5(h, "x", true, "");
  peer_send(p, SLICE("\x82\x09\0\1\2\x0b\1\0\1t\0"));
  peer_expect_disconnect(p, REASON_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED);
  struct peer *old = peer_connect(h, "y", true); // could not know
  assert_int_equal(peer_subscribe(old, "a/+", 0), SUBACK_FAILURE);
  expect_alive(old);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT5-3.2.2-1] [MQTT5-2.2.2-1] the bytes of a CONNACK", bytes_of_connack),
      STATEMENT("[MQTT5-3.2.2-6] a refusal has no session present, also where there is one",
                not_present_when_refused),
      STATEMENT("[MQTT5-3.1.2-21] [MQTT5-3.1.2-22] the server's keep alive is in force", server_keep_alive),
      STATEMENT("[MQTT5-3.2.2-22] [MQTT5-3.1.2-22] the client's is where the server has none",
                own_keep_alive),
      STATEMENT("[MQTT5-3.2.2-22] keep alive 0 without a server's is none", keep_alive_off),
      STATEMENT(
          "[MQTT5-3.1.2-24] [MQTT5-3.1.2-25] messages above the client's maximum packet size are left out",
          maximum_packet_size),
      STATEMENT("[MQTT5-3.1.2-24] what the broker adds to a message counts", size_with_properties),
      STATEMENT("[MQTT5-3.1.2-24] [MQTT5-3.1.2-25] an alias does not make a message too large",
                size_with_alias),
      STATEMENT("[MQTT5-3.1.2-24] [MQTT5-3.1.2-25] nor is sent again what a new connection does not take",
                too_large_to_resend),
      STATEMENT("[MQTT5-3.1.2-24] an answer that is too large closes", answer_too_large),
      STATEMENT("[MQTT5-3.1.2-24] a CONNACK that is too large is a refusal", connack_too_large),
      STATEMENT("[MQTT5-3.2.2-15] [MQTT5-3.2.2-17] [MQTT5-3.2.2-18] limits are announced and hold",
                announced_limits),
      STATEMENT(
          "[MQTT5-3.2.2-9] [MQTT5-3.2.2-10] [MQTT5-3.2.2-11] [MQTT5-3.2.2-12] a maximum QoS is announced, "
          "and holds for publishes and wills, not for subscriptions",
          maximum_qos),
      STATEMENT("[MQTT5-3.2.2-13] [MQTT5-3.2.2-14] no retain is announced and holds", retain_not_available),
      STATEMENT("no wildcards or subscription identifiers are announced and hold",
                subscriptions_not_available),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
