// The client without I/O in MQTT 5: properties, what a server announces, aliases, reasons, AUTH.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mqtt_client_fixture.h"

#define CLEAN  ((struct mqtt_client_options){.version = MQTT_5, .clean_session = true})
#define STORED ((struct mqtt_client_options){.version = MQTT_5})

// Properties in a buffer of the test, for a while.
struct properties {
  struct buf raw;
};

static struct packet_properties of(struct properties *p) { return packet_properties_of(buf_slice(&p->raw)); }

static void receive_connack_with(struct fixture *f, bool present, struct properties *p) {
  receive(f, &(struct packet){.type = PACKET_CONNACK,
                              .connack = {.session_present = present, .properties = of(p)}});
  buf_release(&p->raw);
}

// Connected to a server that announces one number.
static void start_announced(struct fixture *f, struct mqtt_client_options options, bool bytewise,
                            enum packet_property_id id, uint32_t number) {
  struct properties p = {0};
  start(f, options, bytewise);
  packet_add_number(&p.raw, id, number);
  receive_connack_with(f, false, &p);
  f->text.len = f->client.out.len = 0;
}

static uint16_t publish(struct fixture *f, const char *topic, uint8_t qos) {
  struct packet_message m = {.topic = slice_str(topic), .payload = SLICE("x"), .qos = qos};
  return mqtt_client_publish(&f->client, &m);
}

static void receive_reason(struct fixture *f, uint8_t type, uint16_t id, uint8_t reason) {
  receive(f, &(struct packet){.type = type, .id = id, .ack = {.reason = reason}});
}

// A PUBLISH with an alias, and a topic or none.
static void receive_alias(struct fixture *f, const char *topic, uint16_t alias) {
  struct properties p = {0};
  packet_add_number(&p.raw, PROPERTY_TOPIC_ALIAS, alias);
  struct packet_message m = {.topic = slice_str(topic), .payload = SLICE("x"), .properties = of(&p)};
  receive(f, &(struct packet){.type = PACKET_PUBLISH, .publish = {.message = m}});
  buf_release(&p.raw);
}

#define PUBLISH(id, topic, qos, dup)                                                                         \
  "<Publish ID=" #id " Message=<Message Topic=\"" topic "\" QOS=" #qos " Retain=false Payload=78> Dup=" #dup \
  ">\n"

BOTH_WAYS(connect_sends_properties) {
  struct properties p = {0}, will = {0};
  packet_add_number(&p.raw, PROPERTY_SESSION_EXPIRY_INTERVAL, 60);
  packet_add_pair(&p.raw, SLICE("a"), SLICE("b"));
  packet_add_number(&will.raw, PROPERTY_WILL_DELAY_INTERVAL, 7);
  struct fixture f;
  start(&f,
        (struct mqtt_client_options){
            .version = MQTT_5,
            .clean_session = true,
            .has_password = true, // without a user name
            .password = SLICE("secret"),
            .has_will = true,
            .will = {.topic = SLICE("w"), .properties = of(&will)},
            .properties = of(&p),
        },
        bytewise);
  buf_release(&p.raw);
  buf_release(&will.raw);
  expect(&f, "<Connect ClientID=\"c\" KeepAlive=0 Username=\"\" Password=\"***\" CleanSession=true "
             "Will=<Message Topic=\"w\" QOS=0 Retain=false Payload= Properties=[WillDelayInterval=7]> "
             "Version=5 Properties=[SessionExpiryInterval=60, UserProperty=\"a\"=>\"b\"]>\n");
  stop(&f);
}

BOTH_WAYS(assigned_id_is_kept) { // [MQTT5-3.2.2-16]
  struct fixture f;
  start(&f, STORED, bytewise);
  f.client.out.len = 0;
  struct properties p = {0};
  packet_add_value(&p.raw, PROPERTY_ASSIGNED_CLIENT_IDENTIFIER, SLICE("auto-1"));
  receive_connack_with(&f, false, &p);
  expect(&f, "connack code=0 present=0 assigned_client_identifier=auto-1\n");
  mqtt_client_connect(&f.client);
  expect(&f, "<Connect ClientID=\"auto-1\" KeepAlive=0 Username=\"\" Password=\"\" CleanSession=false "
             "Will=nil Version=5>\n");
  stop(&f);
}

BOTH_WAYS(server_keep_alive_is_obeyed) { // [MQTT5-3.2.2-21]
  struct fixture f;
  struct mqtt_client_options options = CLEAN;
  options.keep_alive = 60;
  start_announced(&f, options, bytewise, PROPERTY_SERVER_KEEP_ALIVE, 9);
  assert_int_equal(f.client.keep_alive, 9);
  mqtt_client_connect(&f.client); // another server may say nothing
  assert_int_equal(f.client.keep_alive, 60);
  stop(&f);
}

BOTH_WAYS(refused_connection_tells_why) {
  struct fixture f;
  start(&f, CLEAN, bytewise);
  f.client.out.len = 0;
  struct properties p = {0};
  packet_add_value(&p.raw, PROPERTY_REASON_STRING, SLICE("no!"));
  receive(&f,
          &(struct packet){.type = PACKET_CONNACK, .connack = {.code = REASON_BANNED, .properties = of(&p)}});
  buf_release(&p.raw);
  expect(&f, "connack code=138 present=0 reason_string=no!\n");
  char text[REASON_TEXT_SIZE];
  assert_string_equal(mqtt_client_connack_text(&f.client, REASON_NOT_AUTHORIZED, text), "not authorized");
  assert_string_equal(mqtt_client_connack_text(&f.client, 0xff, text), "reason code 255");
  stop(&f);
}

BOTH_WAYS(session_after_a_clean_start_is_an_error) { // [MQTT5-3.2.2-2]
  struct fixture f;
  start(&f, CLEAN, bytewise);
  f.client.out.len = 0;
  receive_connack(&f, true, REASON_SUCCESS);
  expect(&f, "error code=130 session present after a clean start\n<Disconnect ReasonCode=130>\n");
  stop(&f);
}

BOTH_WAYS(no_more_is_sent_than_the_server_takes) { // [MQTT5-3.3.4-7]
  struct fixture f;
  start_announced(&f, CLEAN, bytewise, PROPERTY_RECEIVE_MAXIMUM, 2);
  publish(&f, "a", 1);
  publish(&f, "b", 2);
  publish(&f, "c", 1);
  publish(&f, "d", 2);
  publish(&f, "e", 0); // does not count
  assert_int_equal(f.client.inflight, 4);
  expect(&f, PUBLISH(1, "a", 1, false) PUBLISH(2, "b", 2, false) PUBLISH(0, "e", 0, false));
  receive_ack(&f, PACKET_PUBREC, 2); // makes no room yet
  expect(&f, "<Pubrel ID=2 ReasonCode=0>\n");
  receive_ack(&f, PACKET_PUBACK, 1);
  expect(&f, "published id=1\n" PUBLISH(3, "c", 1, false));
  receive_ack(&f, PACKET_PUBACK, 4); // was not sent
  expect(&f, "");
  receive_ack(&f, PACKET_PUBCOMP, 2);
  expect(&f, "published id=2\n" PUBLISH(4, "d", 2, false));
  receive_reason(&f, PACKET_PUBREC, 4, REASON_QUOTA_EXCEEDED);
  receive_ack(&f, PACKET_PUBACK, 3);
  expect(&f, "published id=4 code=151\npublished id=3\n");
  assert_int_equal(f.client.inflight, 0);
  assert_int_equal(f.client.under_way, 0);
  stop(&f);
}

BOTH_WAYS(resent_messages_count_as_well) { // [MQTT5-4.4.0-1], and the quota starts anew [MQTT5 4.9]
  struct fixture f;
  start_announced(&f, STORED, bytewise, PROPERTY_RECEIVE_MAXIMUM, 3);
  publish(&f, "a", 1);
  publish(&f, "b", 1);
  publish(&f, "c", 2);
  publish(&f, "d", 1); // held
  receive_ack(&f, PACKET_PUBREC, 3);
  f.text.len = 0;
  mqtt_client_connect(&f.client);
  f.client.out.len = 0;
  struct properties p = {0};
  packet_add_number(&p.raw, PROPERTY_RECEIVE_MAXIMUM, 2);
  receive_connack_with(&f, true, &p);
  expect(&f, "connack code=0 present=1 receive_maximum=2\n" PUBLISH(1, "a", 1, true)
                 PUBLISH(2, "b", 1, true) "<Pubrel ID=3 ReasonCode=0>\n");
  receive_ack(&f, PACKET_PUBACK, 1);
  receive_ack(&f, PACKET_PUBACK, 2);
  expect(&f, "published id=1\npublished id=2\n" PUBLISH(4, "d", 1, false));
  stop(&f);
}

BOTH_WAYS(a_message_that_was_sent_and_is_held_is_a_duplicate) { // [MQTT5-3.3.1-1]
  struct fixture f;
  start_connected(&f, STORED, bytewise);
  publish(&f, "a", 1);
  publish(&f, "b", 1);
  mqtt_client_connect(&f.client);
  f.client.out.len = 0;
  struct properties p = {0};
  packet_add_number(&p.raw, PROPERTY_RECEIVE_MAXIMUM, 1);
  receive_connack_with(&f, true, &p);
  receive_ack(&f, PACKET_PUBACK, 1);
  expect(&f, "connack code=0 present=1 receive_maximum=1\npublished id=1\n" PUBLISH(1, "a", 1, true)
                 PUBLISH(2, "b", 1, true));
  stop(&f);
}

static void check_refused(enum packet_property_id id, uint32_t number, const struct packet_message *m,
                          const char *why) {
  struct fixture f;
  start_connected(&f, CLEAN, false);
  assert_null(mqtt_client_refuses(&f.client, m));
  stop(&f);
  start_announced(&f, CLEAN, false, id, number);
  assert_string_equal(mqtt_client_refuses(&f.client, m), why);
  assert_int_equal(mqtt_client_publish(&f.client, m), 0);
  assert_int_equal(f.client.inflight, 0);
  expect(&f, "");
  stop(&f);
}

static void what_the_server_does_not_take_is_not_sent(void **state) { // [MQTT5-3.2.2-11, -14, -15]
  (void)state;
  struct packet_message m = {.topic = SLICE("a"), .payload = SLICE("0123456789"), .qos = 1, .retain = true};
  check_refused(PROPERTY_MAXIMUM_QOS, 0, &m, "the server does not take this qos");
  check_refused(PROPERTY_RETAIN_AVAILABLE, 0, &m, "the server does not retain messages");
  check_refused(PROPERTY_MAXIMUM_PACKET_SIZE, 17, &m, "the message is larger than the server takes");
}

BOTH_WAYS(requests_are_not_larger_than_the_server_takes) { // [MQTT5-3.2.2-15]
  struct fixture f;
  start_announced(&f, CLEAN, bytewise, PROPERTY_MAXIMUM_PACKET_SIZE, 12);
  struct packet_subscription large = {SLICE("01234"), 0}, fits = {SLICE("0123"), 0};
  struct slice filter = SLICE("012345");
  assert_int_equal(mqtt_client_subscribe(&f.client, &large, 1, NULL), 0);
  assert_int_equal(mqtt_client_unsubscribe(&f.client, &filter, 1, NULL), 0);
  expect(&f, "");
  assert_int_not_equal(mqtt_client_subscribe(&f.client, &fits, 1, NULL), 0);
  stop(&f);
}

BOTH_WAYS(a_message_that_another_server_does_not_take_ends_it) {
  struct fixture f;
  start_connected(&f, STORED, bytewise);
  publish(&f, "a", 2);
  mqtt_client_connect(&f.client);
  f.client.out.len = 0;
  struct properties p = {0};
  packet_add_number(&p.raw, PROPERTY_MAXIMUM_QOS, 1);
  receive_connack_with(&f, true, &p);
  expect(&f, "error the server does not take a message in flight any more\n<Disconnect ReasonCode=0>\n");
  stop(&f);
}

static struct mqtt_client_options announcing(struct properties *p, enum packet_property_id id,
                                             uint32_t number) {
  struct mqtt_client_options options = CLEAN;
  packet_add_number(&p->raw, id, number);
  options.properties = of(p);
  return options;
}

BOTH_WAYS(aliases_of_the_server_are_resolved) { // [MQTT5 3.3.2.3.4]
  struct fixture f;
  struct properties p = {0};
  start_connected(&f, announcing(&p, PROPERTY_TOPIC_ALIAS_MAXIMUM, 2), bytewise);
  buf_release(&p.raw);
  receive_alias(&f, "first", 1);
  receive_alias(&f, "second", 2);
  receive_alias(&f, "", 1);
  receive_alias(&f, "third", 1);
  receive_alias(&f, "", 1);
  expect(&f, "message first=x qos=0 topic_alias=1\nmessage second=x qos=0 topic_alias=2\n"
             "message first=x qos=0 topic_alias=1\nmessage third=x qos=0 topic_alias=1\n"
             "message third=x qos=0 topic_alias=1\n");
  mqtt_client_connect(&f.client); // they end with the connection [MQTT5-3.3.2-7]
  f.client.out.len = 0;
  receive_connack(&f, false, REASON_SUCCESS);
  f.text.len = 0;
  receive_alias(&f, "", 2);
  expect(&f, "error code=130 unknown topic alias\n<Disconnect ReasonCode=130>\n");
  stop(&f);
}

BOTH_WAYS(alias_above_the_maximum_is_an_error) { // [MQTT5-3.1.2-26]
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  receive_alias(&f, "a", 1);
  expect(&f, "error code=148 topic alias above the maximum\n<Disconnect ReasonCode=148>\n");
  stop(&f);
}

BOTH_WAYS(aliases_are_used_when_asked_for) { // [MQTT5-3.1.2-27]
  struct fixture f;
  struct mqtt_client_options options = CLEAN;
  start_announced(&f, options, bytewise, PROPERTY_TOPIC_ALIAS_MAXIMUM, 1);
  publish(&f, "topic", 0);
  publish(&f, "topic", 0);
  expect(&f, PUBLISH(0, "topic", 0, false) PUBLISH(0, "topic", 0, false));
  stop(&f);
  options.topic_aliases = 5; // and no more than the server allows
  start_announced(&f, options, bytewise, PROPERTY_TOPIC_ALIAS_MAXIMUM, 1);
  publish(&f, "topic", 0);
  publish(&f, "topic", 1);
  expect(&f, "<Publish ID=0 Message=<Message Topic=\"topic\" QOS=0 Retain=false Payload=78 "
             "Properties=[TopicAlias=1]> Dup=false>\n"
             "<Publish ID=1 Message=<Message Topic=\"\" QOS=1 Retain=false Payload=78 "
             "Properties=[TopicAlias=1]> Dup=false>\n");
  stop(&f);
}

BOTH_WAYS(an_alias_that_does_not_fit_is_not_used) { // a fuzzer found that it counted as known
  struct fixture f;
  struct mqtt_client_options options = CLEAN;
  options.topic_aliases = 1;
  start(&f, options, bytewise);
  struct properties p = {0};
  packet_add_number(&p.raw, PROPERTY_TOPIC_ALIAS_MAXIMUM, 1);
  packet_add_number(&p.raw, PROPERTY_MAXIMUM_PACKET_SIZE, 12);
  receive_connack_with(&f, false, &p);
  f.text.len = f.client.out.len = 0;
  publish(&f, "topic", 0);
  publish(&f, "topic", 0);
  expect(&f, PUBLISH(0, "topic", 0, false) PUBLISH(0, "topic", 0, false));
  stop(&f);
}

BOTH_WAYS(acks_tell_reasons) {
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  publish(&f, "a", 1);
  publish(&f, "b", 1);
  publish(&f, "c", 2);
  f.client.out.len = 0;
  receive_reason(&f, PACKET_PUBACK, 1, REASON_NO_MATCHING_SUBSCRIBERS);
  struct properties p = {0};
  packet_add_value(&p.raw, PROPERTY_REASON_STRING, SLICE("no"));
  receive(&f, &(struct packet){.type = PACKET_PUBACK,
                               .id = 2,
                               .ack = {.reason = REASON_NOT_AUTHORIZED, .properties = of(&p)}});
  buf_release(&p.raw);
  receive_reason(&f, PACKET_PUBREC, 3, REASON_NOT_AUTHORIZED); // ends it: no PUBREL [MQTT5 4.3.3]
  expect(&f, "published id=1 code=16\npublished id=2 code=135 reason_string=no\npublished id=3 code=135\n");
  assert_int_equal(f.client.inflight, 0);
  stop(&f);
}

BOTH_WAYS(ids_that_are_not_known_are_told) {
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  receive_ack(&f, PACKET_PUBREC, 9);
  receive_ack(&f, PACKET_PUBREL, 8);
  expect(&f, "<Pubrel ID=9 ReasonCode=146>\n<Pubcomp ID=8 ReasonCode=146>\n");
  receive_publish(&f, 8, 2, false);
  receive_ack(&f, PACKET_PUBREL, 8);
  expect(&f, "message id=8 a=x qos=2\n<Pubrec ID=8 ReasonCode=0>\n<Pubcomp ID=8 ReasonCode=0>\n");
  stop(&f);
}

BOTH_WAYS(subscriptions_have_options_properties_and_codes) {
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  struct properties p = {0};
  packet_add_number(&p.raw, PROPERTY_SUBSCRIPTION_IDENTIFIER, 5);
  struct packet_properties properties = of(&p);
  struct packet_subscription list[] = {{SLICE("a"), 1 | SUBSCRIPTION_NO_LOCAL}, {SLICE("b"), 0}};
  mqtt_client_subscribe(&f.client, list, 2, &properties);
  assert_memory_equal(f.client.out.ptr, "\x82\x0d\0\1\2\x0b\5\0\1a\5\0\1b\0", 15);
  f.client.out.len = 0;
  receive(&f, &(struct packet){
                  .type = PACKET_SUBACK, .id = 1, .suback = {.count = 2, .list = SLICE("\x01\x87")}});
  struct slice filters[] = {SLICE("a"), SLICE("b")};
  mqtt_client_unsubscribe(&f.client, filters, 2, NULL);
  receive(&f, &(struct packet){
                  .type = PACKET_UNSUBACK, .id = 2, .unsuback = {.count = 2, .list = SLICE("\x00\x11")}});
  expect(&f, "suback id=1 1 135\nunsuback id=2 0 17\n<Unsubscribe Topics=[\"a\", \"b\"]>\n");
  mqtt_client_unsubscribe(&f.client, filters, 2, NULL);
  f.client.out.len = 0;
  receive(&f, &(struct packet){
                  .type = PACKET_UNSUBACK, .id = 3, .unsuback = {.count = 1, .list = SLICE("\x00")}});
  expect(&f, "error code=130 wrong number of return codes in an Unsuback\n<Disconnect ReasonCode=130>\n");
  buf_release(&p.raw);
  stop(&f);
}

BOTH_WAYS(server_disconnects) {
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  struct properties p = {0};
  packet_add_value(&p.raw, PROPERTY_SERVER_REFERENCE, SLICE("other"));
  receive(&f, &(struct packet){.type = PACKET_DISCONNECT,
                               .ack = {.reason = REASON_SERVER_MOVED, .properties = of(&p)}});
  buf_release(&p.raw);
  receive_publish(&f, 7, 1, false);
  expect(&f, "disconnected code=157 server_reference=other\n");
  assert_int_equal(f.client.state, MQTT_CLIENT_ENDED);
  stop(&f);
}

BOTH_WAYS(client_disconnects_with_a_reason) {
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  struct properties p = {0};
  packet_add_number(&p.raw, PROPERTY_SESSION_EXPIRY_INTERVAL, 3);
  struct packet_properties properties = of(&p);
  mqtt_client_disconnect(&f.client, REASON_DISCONNECT_WITH_WILL_MESSAGE, &properties);
  expect(&f, "<Disconnect ReasonCode=4 Properties=[SessionExpiryInterval=3]>\n");
  buf_release(&p.raw);
  stop(&f);
}

static void receive_auth(struct fixture *f, uint8_t reason) {
  struct properties p = {0};
  packet_add_value(&p.raw, PROPERTY_AUTHENTICATION_METHOD, SLICE("m"));
  packet_add_value(&p.raw, PROPERTY_AUTHENTICATION_DATA, SLICE("ask"));
  receive(f, &(struct packet){.type = PACKET_AUTH, .ack = {.reason = reason, .properties = of(&p)}});
  buf_release(&p.raw);
}

BOTH_WAYS(auth_is_answered) { // [MQTT5-4.12.0-3, -5]
  struct fixture f;
  struct properties p = {0};
  packet_add_value(&p.raw, PROPERTY_AUTHENTICATION_METHOD, SLICE("m"));
  struct packet_properties properties = of(&p);
  struct mqtt_client_options options = CLEAN;
  options.properties = properties;
  start(&f, options, bytewise);
  f.client.out.len = 0;
  receive_auth(&f, REASON_CONTINUE_AUTHENTICATION);
  mqtt_client_auth(&f.client, REASON_CONTINUE_AUTHENTICATION, &properties);
  expect(&f, "auth code=24 authentication_method=m authentication_data=ask\n"
             "<Auth ReasonCode=24 Properties=[AuthenticationMethod=\"m\"]>\n");
  receive_connack(&f, false, REASON_SUCCESS);
  mqtt_client_auth(&f.client, REASON_RE_AUTHENTICATE, &properties);
  receive_auth(&f, REASON_SUCCESS);
  expect(&f, "connack code=0 present=0\nauth authentication_method=m authentication_data=ask\n"
             "<Auth ReasonCode=25 Properties=[AuthenticationMethod=\"m\"]>\n");
  buf_release(&p.raw);
  stop(&f);
}

BOTH_WAYS(auth_that_was_not_asked_for_is_an_error) { // [MQTT5-4.12.0-6]
  struct fixture f;
  start(&f, CLEAN, bytewise);
  f.client.out.len = 0;
  receive_auth(&f, REASON_CONTINUE_AUTHENTICATION);
  expect(&f, "error code=130 unexpected packet\n");
  stop(&f);
}

BOTH_WAYS(server_keeps_to_the_receive_maximum) { // [MQTT5-3.3.4-9]
  struct fixture f;
  struct properties p = {0};
  start_connected(&f, announcing(&p, PROPERTY_RECEIVE_MAXIMUM, 1), bytewise);
  buf_release(&p.raw);
  receive_publish(&f, 1, 2, false);
  receive_publish(&f, 1, 2, true);  // the same again
  receive_publish(&f, 2, 1, false); // acknowledged at once
  f.client.out.len = f.text.len = 0;
  receive_publish(&f, 3, 2, false);
  expect(&f, "error code=147 receive maximum exceeded\n<Disconnect ReasonCode=147>\n");
  stop(&f);
}

BOTH_WAYS(server_keeps_to_the_maximum_packet_size) { // [MQTT5-3.1.2-24]
  struct fixture f;
  struct properties p = {0};
  start_connected(&f, announcing(&p, PROPERTY_MAXIMUM_PACKET_SIZE, 7), bytewise);
  buf_release(&p.raw);
  receive_publish(&f, 0, 0, false);
  receive_publish(&f, 2, 1, false);
  expect(&f, "message a=x qos=0\nerror code=149 read limit exceeded\n<Disconnect ReasonCode=149>\n");
  stop(&f);
}

BOTH_WAYS(what_is_malformed_is_told) { // [MQTT5 4.13]
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  feed(&f, SLICE("\x30\x05\0\1a\1\x7f"));
  expect(&f, "error code=129 malformed properties\n<Disconnect ReasonCode=129>\n");
  stop(&f);
  start_connected(&f, CLEAN, bytewise);
  receive_ack(&f, PACKET_PINGREQ, 0);
  expect(&f, "error code=130 unexpected packet\n<Disconnect ReasonCode=130>\n");
  stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connect_sends_properties),
      cmocka_unit_test(assigned_id_is_kept),
      cmocka_unit_test(server_keep_alive_is_obeyed),
      cmocka_unit_test(refused_connection_tells_why),
      cmocka_unit_test(session_after_a_clean_start_is_an_error),
      cmocka_unit_test(no_more_is_sent_than_the_server_takes),
      cmocka_unit_test(resent_messages_count_as_well),
      cmocka_unit_test(a_message_that_was_sent_and_is_held_is_a_duplicate),
      cmocka_unit_test(what_the_server_does_not_take_is_not_sent),
      cmocka_unit_test(requests_are_not_larger_than_the_server_takes),
      cmocka_unit_test(a_message_that_another_server_does_not_take_ends_it),
      cmocka_unit_test(aliases_of_the_server_are_resolved),
      cmocka_unit_test(alias_above_the_maximum_is_an_error),
      cmocka_unit_test(aliases_are_used_when_asked_for),
      cmocka_unit_test(an_alias_that_does_not_fit_is_not_used),
      cmocka_unit_test(acks_tell_reasons),
      cmocka_unit_test(ids_that_are_not_known_are_told),
      cmocka_unit_test(subscriptions_have_options_properties_and_codes),
      cmocka_unit_test(server_disconnects),
      cmocka_unit_test(client_disconnects_with_a_reason),
      cmocka_unit_test(auth_is_answered),
      cmocka_unit_test(auth_that_was_not_asked_for_is_an_error),
      cmocka_unit_test(server_keeps_to_the_receive_maximum),
      cmocka_unit_test(server_keeps_to_the_maximum_packet_size),
      cmocka_unit_test(what_is_malformed_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
