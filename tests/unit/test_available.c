// What settings make available to MQTT 5 clients: CONNACK tells it, and what is asked for all the same is
// refused with its reason; payloads that are what they are said to be; retained messages whose time is over.
#include <string.h>

#include "decorator.h"

static int set_up(void **state) {
  *state = harness_new(NULL);
  return 0;
}

static int tear_down(void **state) {
  struct harness *h = *state;
  harness_end_peers(h);
  harness_free(h);
  return 0;
}

static struct settings *settings_of(struct harness *h) { return &h->shard->settings; }

// Sends a CONNECT of MQTT 5 with these properties; its CONNACK.
static struct packet connect_with(struct peer *p, const char *id, const char *properties) {
  struct packet_connect connect = peer_connect_5_defaults(p->harness, id, true, properties);
  peer_send_packet(p, &(struct packet){.type = PACKET_CONNECT, .connect = connect});
  struct packet got;
  peer_expect(p, PACKET_CONNACK, &got);
  return got;
}

static void expect_text(const struct packet_properties *properties, enum packet_property_id id,
                        const char *text) {
  struct packet_property found;
  assert_int_equal(packet_find_property(properties, id, &found), text != NULL);
  if (text) assert_true(slice_eq(found.value, slice_str(text)));
}

// --- subscriptions ---

static void wildcards_may_be_turned_off(void **state) {
  struct harness *h = *state;
  settings_of(h)->wildcard_subscriptions = false;
  static const char *const filters[] = {"a/+", "$share/g/#"};
  for (size_t i = 0; i < 2; i++) {
    struct peer *five = peer_connect_5(h, "five", true, "");
    assert_int_equal(peer_subscribe(five, "a/b", 1), 1);
    peer_send_subscribe(five, filters[i], 1);
    peer_expect_disconnect(five, REASON_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
  }
  struct peer *four = peer_connect(h, "four", true); // could not know
  assert_int_equal(peer_subscribe(four, "#", 0), SUBACK_FAILURE);
  assert_int_equal(peer_subscribe(four, "$share/g/#", 0), SUBACK_FAILURE);
  assert_int_equal(h->shard->stats.subscribes_refused, 2);
}

static void subscription_identifiers_may_be_turned_off(void **state) {
  struct harness *h = *state;
  settings_of(h)->subscription_identifiers = false;
  struct peer *p = peer_connect_5(h, "a", true, "");
  assert_int_equal(peer_subscribe_5(p, "t", 1, ""), 1);
  peer_send_hex(p, "82 09 00 02 02 0b 07 00 01 74 00");
  peer_expect_disconnect(p, REASON_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED);
}

static void a_subscription_is_granted_no_more_than_the_maximum_qos(void **state) {
  struct harness *h = *state;
  settings_of(h)->maximum_qos = 1;
  struct peer *p = peer_connect_5(h, "a", true, "");
  assert_int_equal(peer_subscribe(p, "t", 2), 1);
  assert_int_equal(peer_subscribe(p, "u", 0), 0);
  assert_int_equal(peer_subscribe(p, "$share/g/t", 2), 1);
}

static void connack_tells_what_is_not_available(void **state) {
  struct harness *h = *state;
  struct settings *s = settings_of(h);
  s->wildcard_subscriptions = s->subscription_identifiers = s->shared_subscriptions = false;
  s->retain_available = false;
  s->maximum_qos = 0;
  struct packet got = connect_with(peer_open(h), "a", "");
  static const uint8_t told[] = {
      PROPERTY_MAXIMUM_QOS, PROPERTY_RETAIN_AVAILABLE, PROPERTY_WILDCARD_SUBSCRIPTION_AVAILABLE,
      PROPERTY_SUBSCRIPTION_IDENTIFIER_AVAILABLE, PROPERTY_SHARED_SUBSCRIPTION_AVAILABLE};
  for (size_t i = 0; i < sizeof told; i++)
    assert_int_equal(packet_property_number(&got.connack.properties, told[i], 9), 0);
}

// --- where to go, and how to be answered ---

static void response_information_is_given_to_who_asks(void **state) {
  struct harness *h = *state;
  strcpy(settings_of(h)->response_information, "re/%c/%c");
  static const char asks[] = "request_response_information=1";
  struct packet got = connect_with(peer_open(h), "quiet", "");
  expect_text(&got.connack.properties, PROPERTY_RESPONSE_INFORMATION, NULL);
  got = connect_with(peer_open(h), "me", asks);
  expect_text(&got.connack.properties, PROPERTY_RESPONSE_INFORMATION, "re/me/me");
  *settings_of(h)->response_information = 0;
  got = connect_with(peer_open(h), "b", asks);
  expect_text(&got.connack.properties, PROPERTY_RESPONSE_INFORMATION, NULL);
}

static enum backend_status send_away(struct backend *b, struct client *c, const struct credentials *given,
                                     struct reply *reply) {
  (void)b, (void)c, (void)given;
  reply->reason = REASON_SERVER_MOVED;
  return BACKEND_DONE;
}

static void connack_tells_where_else_to_go(void **state) {
  struct harness *h = *state;
  const struct backend_ops *usual = h->memory->ops;
  struct backend_ops ops = *usual;
  ops.authenticate = send_away;
  h->memory->ops = &ops;
  strcpy(settings_of(h)->server_reference, "b.example.org");
  struct peer *p = peer_open(h);
  struct packet got = connect_with(p, "a", "");
  assert_int_equal(got.connack.code, REASON_SERVER_MOVED);
  expect_text(&got.connack.properties, PROPERTY_SERVER_REFERENCE, "b.example.org");
  peer_expect_closed(p);
  p = peer_open(h);
  struct packet_connect four = peer_connect_defaults("a", true);
  assert_int_equal(peer_connect_with(p, &four, NULL), CONNACK_SERVER_UNAVAILABLE);
  h->memory->ops = usual;
}

static void disconnect_tells_where_else_to_go(void **state) {
  struct harness *h = *state;
  strcpy(settings_of(h)->server_reference, "b.example.org");
  static const uint8_t reasons[] = {REASON_USE_ANOTHER_SERVER, REASON_SERVER_MOVED, REASON_SERVER_BUSY};
  for (size_t i = 0; i < sizeof reasons; i++) {
    struct peer *p = peer_connect_5(h, "a", true, "");
    client_close_with(harness_session(h, "a")->client, reasons[i], NULL);
    struct packet got;
    peer_expect(p, PACKET_DISCONNECT, &got);
    assert_int_equal(got.ack.reason, reasons[i]);
    expect_text(&got.ack.properties, PROPERTY_SERVER_REFERENCE, i < 2 ? "b.example.org" : NULL);
    peer_expect_closed(p);
  }
}

// --- payloads ---

static void publish_text(struct peer *p, struct slice payload, uint8_t qos, const char *properties) {
  struct packet_message m = {.topic = SLICE("t"),
                             .payload = payload,
                             .qos = qos,
                             .properties = harness_properties(p->harness, properties)};
  peer_send_packet(p, &(struct packet){.type = PACKET_PUBLISH, .id = qos ? 7 : 0, .publish = {.message = m}});
}

static void a_payload_that_is_not_the_text_that_it_says_is_refused(void **state) {
  struct harness *h = *state;
  settings_of(h)->check_payload_format = true;
  struct peer *p = peer_connect_5(h, "a", true, ""), *sub = peer_connect_5(h, "sub", true, "");
  peer_subscribe(sub, "t", 0);
  publish_text(p, SLICE("\xff"), 1, "payload_format_indicator=1");
  peer_expect_reason(p, PACKET_PUBACK, 7, REASON_PAYLOAD_FORMAT_INVALID);
  publish_text(p, SLICE("a\0\xc3"), 2, "payload_format_indicator=1");
  peer_expect_reason(p, PACKET_PUBREC, 7, REASON_PAYLOAD_FORMAT_INVALID);
  publish_text(p, SLICE("\xed\xa0\x80"), 0, "payload_format_indicator=1");
  peer_expect_nothing(sub);
  assert_int_equal(h->shard->stats.messages_refused, 3);
  publish_text(p, SLICE("\xff"), 1, "payload_format_indicator=0");
  peer_expect_reason(p, PACKET_PUBACK, 7, REASON_SUCCESS);
  peer_expect(sub, PACKET_PUBLISH, NULL);
  publish_text(p, SLICE("\xc3\xa4\0b"), 1, "payload_format_indicator=1"); // U+0000 is allowed in a payload
  peer_expect_reason(p, PACKET_PUBACK, 7, REASON_SUCCESS);
  peer_expect(sub, PACKET_PUBLISH, NULL);
  settings_of(h)->check_payload_format = false;
  publish_text(p, SLICE("\xff"), 1, "payload_format_indicator=1");
  peer_expect_reason(p, PACKET_PUBACK, 7, REASON_SUCCESS);
}

// --- retained messages ---

static void a_retained_message_is_sent_with_what_is_left_of_its_expiry(void **state) {
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "a", true, "");
  peer_publish_5(p, "t", "x", 0, true, "message_expiry_interval=60");
  harness_advance(h, 20000);
  peer_subscribe(p, "t", 0);
  peer_expect_message(p, "t", "x", 0);
  peer_expect_properties(p, "message_expiry_interval=40");
}

static void an_expired_retained_message_is_removed_when_it_is_met(void **state) {
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "a", true, "");
  peer_publish_5(p, "a/1", "x", 0, true, "message_expiry_interval=10");
  peer_publish_5(p, "a/2", "x", 0, true, "message_expiry_interval=30");
  peer_publish_5(p, "a/3", "x", 0, true, "message_expiry_interval=10");
  harness_advance(h, 10000);
  assert_int_equal(h->shard->stats.retained_messages, 3);
  peer_subscribe_5(p, "a/+", 0, "subscription_identifier=5");
  peer_expect_message(p, "a/2", "x", 0);
  peer_expect_nothing(p);
  assert_int_equal(h->shard->stats.retained_messages, 1);
  assert_int_equal(h->shard->stats.messages_expired, 2);
  harness_advance(h, 20000);
  peer_subscribe(p, "a/2", 0);
  peer_expect_nothing(p);
  assert_int_equal(h->shard->stats.retained_messages, 0);
  assert_int_equal(h->shard->stats.retained_bytes, 0);
}

#define test(name, function)                                                                                 \
  { name, function, set_up, tear_down, NULL }

int main(void) {
  const struct CMUnitTest tests[] = {
      test("wildcards may be turned off", wildcards_may_be_turned_off),
      test("subscription identifiers may be turned off", subscription_identifiers_may_be_turned_off),
      test("a subscription is granted no more than the maximum QoS",
           a_subscription_is_granted_no_more_than_the_maximum_qos),
      test("CONNACK tells what is not available", connack_tells_what_is_not_available),
      test("[MQTT5-3.1.2-28] response information is given to who asks",
           response_information_is_given_to_who_asks),
      test("CONNACK tells where else to go", connack_tells_where_else_to_go),
      test("DISCONNECT tells where else to go", disconnect_tells_where_else_to_go),
      test("a payload that is not the text that it says is refused",
           a_payload_that_is_not_the_text_that_it_says_is_refused),
      test("[MQTT5-3.3.2-6] a retained message is sent with what is left of its expiry",
           a_retained_message_is_sent_with_what_is_left_of_its_expiry),
      test("[MQTT5-3.3.2-5] an expired retained message is removed when it is met",
           an_expired_retained_message_is_removed_when_it_is_met),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
