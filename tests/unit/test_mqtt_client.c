// The client without I/O in MQTT 3.1 and 3.1.1: what goes out for each call, and what comes of each packet of
// a server.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mqtt_client_fixture.h"

#define CLEAN  ((struct mqtt_client_options){.clean_session = true})
#define STORED ((struct mqtt_client_options){.clean_session = false})

static const struct packet_message hello = {.topic = {(const uint8_t *)"t", 1},
                                            .payload = {(const uint8_t *)"hi", 2}};

static struct packet_message hello_with(uint8_t qos) {
  struct packet_message m = hello;
  m.qos = qos;
  return m;
}

BOTH_WAYS(connect_sends_all_options) {
  struct fixture f;
  start(&f,
        (struct mqtt_client_options){
            .id = SLICE("me"),
            .keep_alive = 30,
            .clean_session = true,
            .has_username = true,
            .username = SLICE("u"),
            .has_password = true,
            .password = SLICE("secret"),
            .has_will = true,
            .will = {.topic = SLICE("w"), .payload = SLICE("z"), .qos = 1, .retain = true},
        },
        bytewise);
  expect(&f, "<Connect ClientID=\"me\" KeepAlive=30 Username=\"u\" Password=\"***\" CleanSession=true "
             "Will=<Message Topic=\"w\" QOS=1 Retain=true Payload=7a> Version=4>\n");
  receive_connack(&f, false, CONNACK_ACCEPTED);
  expect(&f, "connack code=0 present=0\n");
  assert_int_equal(f.client.state, MQTT_CLIENT_CONNECTED);
  stop(&f);
}

BOTH_WAYS(connect_of_mqtt_3_1) {
  struct fixture f;
  start(&f, (struct mqtt_client_options){.version = MQTT_3_1, .clean_session = true}, bytewise);
  assert_memory_equal(f.client.out.ptr + 2, "\0\6MQIsdp\3", 9);
  receive_connack(&f, false, CONNACK_ACCEPTED);
  assert_string_equal(buf_text(&f.text), "connack code=0 present=0\n");
  stop(&f);
}

BOTH_WAYS(refused_connection_ends) {
  struct fixture f;
  start(&f, CLEAN, bytewise);
  f.client.out.len = 0;
  receive_connack(&f, false, CONNACK_NOT_AUTHORIZED);
  receive_publish(&f, 0, 0, false);
  expect(&f, "connack code=5 present=0\n");
  assert_int_equal(f.client.state, MQTT_CLIENT_ENDED);
  char text[REASON_TEXT_SIZE];
  assert_string_equal(mqtt_client_connack_text(&f.client, 5, text), "not authorized");
  assert_string_equal(mqtt_client_connack_text(&f.client, 77, text), "unknown return code");
  stop(&f);
}

BOTH_WAYS(connack_comes_first_and_once) { // [MQTT-3.2.0-1]
  struct fixture f;
  start(&f, CLEAN, bytewise);
  f.client.out.len = 0;
  receive_ack(&f, PACKET_PINGRESP, 0);
  expect(&f, "error unexpected packet\n");
  stop(&f);
  start_connected(&f, CLEAN, bytewise);
  receive_connack(&f, false, CONNACK_ACCEPTED);
  expect(&f, "error unexpected packet\n");
  stop(&f);
}

BOTH_WAYS(subscribe_and_unsubscribe) {
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  struct packet_subscription list[] = {{SLICE("a/#"), 1}, {SLICE("b"), 2}};
  assert_int_equal(mqtt_client_subscribe(&f.client, list, 2, NULL), 1);
  expect(&f, "<Subscribe ID=1 Subscriptions=[\"a/#\"=>1, \"b\"=>2]>\n");
  receive(&f, &(struct packet){
                  .type = PACKET_SUBACK, .id = 1, .suback = {.count = 2, .list = SLICE("\x01\x80")}});
  expect(&f, "suback id=1 1 128\n");
  struct slice filters[] = {SLICE("a/#"), SLICE("b")};
  assert_int_equal(mqtt_client_unsubscribe(&f.client, filters, 2, NULL), 2);
  expect(&f, "<Unsubscribe Topics=[\"a/#\", \"b\"]>\n");
  receive_ack(&f, PACKET_UNSUBACK, 2);
  receive_ack(&f, PACKET_UNSUBACK, 2);
  expect(&f, "unsuback id=2\n");
  stop(&f);
}

BOTH_WAYS(suback_has_a_code_for_each_filter) { // [MQTT-3.8.4-5]
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  mqtt_client_subscribe(&f.client, &(struct packet_subscription){SLICE("a"), 0}, 1, NULL);
  f.client.out.len = 0;
  receive(&f,
          &(struct packet){.type = PACKET_SUBACK, .id = 1, .suback = {.count = 2, .list = SLICE("\0\0")}});
  expect(&f, "error wrong number of return codes in a Suback\n");
  stop(&f);
}

BOTH_WAYS(publish_of_each_qos) {
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  struct packet_message m = hello_with(0);
  m.retain = true;
  assert_int_equal(mqtt_client_publish(&f.client, &m), 0);
  m = hello_with(1);
  assert_int_equal(mqtt_client_publish(&f.client, &m), 1);
  m = hello_with(2);
  assert_int_equal(mqtt_client_publish(&f.client, &m), 2);
  assert_int_equal(f.client.inflight, 2);
  expect(&f, "<Publish ID=0 Message=<Message Topic=\"t\" QOS=0 Retain=true Payload=6869> Dup=false>\n"
             "<Publish ID=1 Message=<Message Topic=\"t\" QOS=1 Retain=false Payload=6869> Dup=false>\n"
             "<Publish ID=2 Message=<Message Topic=\"t\" QOS=2 Retain=false Payload=6869> Dup=false>\n");
  receive_ack(&f, PACKET_PUBREC, 2);
  expect(&f, "<Pubrel ID=2>\n");
  receive_ack(&f, PACKET_PUBACK, 1);
  receive_ack(&f, PACKET_PUBCOMP, 2);
  expect(&f, "published id=1\npublished id=2\n");
  assert_int_equal(f.client.inflight, 0);
  stop(&f);
}

BOTH_WAYS(acks_for_nothing_are_ignored) {
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  struct packet_message m = hello_with(2);
  mqtt_client_publish(&f.client, &m);
  f.client.out.len = 0;
  receive_ack(&f, PACKET_PUBACK, 1); // it waits for PUBREC
  receive_ack(&f, PACKET_PUBCOMP, 1);
  receive_ack(&f, PACKET_PUBACK, 9);
  expect(&f, "");
  receive_ack(&f, PACKET_PUBREC, 9); // [MQTT-4.3.3-1]: released, so that the server can forget it
  expect(&f, "<Pubrel ID=9>\n");
  assert_int_equal(f.client.inflight, 1);
  stop(&f);
}

BOTH_WAYS(messages_are_acknowledged) {
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  receive_publish(&f, 0, 0, false);
  receive_publish(&f, 7, 1, false);
  expect(&f, "message a=x qos=0\nmessage id=7 a=x qos=1\n<Puback ID=7>\n");
  receive_publish(&f, 8, 2, false);
  receive_publish(&f, 8, 2, true); // not a second message [MQTT-4.3.3-2]
  expect(&f, "message id=8 a=x qos=2\n<Pubrec ID=8>\n<Pubrec ID=8>\n");
  receive_ack(&f, PACKET_PUBREL, 8);
  expect(&f, "<Pubcomp ID=8>\n");
  receive_publish(&f, 8, 2, false);
  expect(&f, "message id=8 a=x qos=2\n<Pubrec ID=8>\n");
  stop(&f);
}

BOTH_WAYS(manual_acks_are_left_to_the_caller) {
  struct fixture f;
  start_connected(&f, (struct mqtt_client_options){.clean_session = true, .manual_acks = true}, bytewise);
  receive_publish(&f, 7, 1, false);
  receive_publish(&f, 8, 2, false);
  receive_publish(&f, 8, 2, true);
  receive_ack(&f, PACKET_PUBREL, 8);
  expect(&f, "message id=7 a=x qos=1\nmessage id=8 a=x qos=2\nmessage id=8 a=x qos=2 dup\npubrel id=8\n");
  struct packet_message m = hello_with(2);
  mqtt_client_publish(&f.client, &m);
  f.client.out.len = 0;
  receive_ack(&f, PACKET_PUBREC, 1);
  mqtt_client_ack(&f.client, PACKET_PUBREL, 1, REASON_SUCCESS);
  expect(&f, "pubrec id=1\n<Pubrel ID=1>\n");
  receive_ack(&f, PACKET_PUBCOMP, 1);
  expect(&f, "published id=1\n");
  stop(&f);
}

// Publishes 1 (QoS 1), 2 and 3 (QoS 2); 3, then nothing else, is past its PUBREC. A subscription is open.
static void leave_in_flight(struct fixture *f) {
  struct packet_message m = hello_with(1);
  mqtt_client_publish(&f->client, &m);
  m = hello_with(2);
  mqtt_client_publish(&f->client, &m);
  mqtt_client_publish(&f->client, &m);
  mqtt_client_subscribe(&f->client, &(struct packet_subscription){SLICE("a"), 0}, 1, NULL);
  receive_ack(f, PACKET_PUBREC, 3);
  receive_publish(f, 9, 2, false);
  f->text.len = 0;
  mqtt_client_feed(&f->client, SLICE("\x30\x0a")); // and half a packet
  mqtt_client_connect(&f->client);
}

BOTH_WAYS(resumed_session_gets_messages_again) { // [MQTT-4.4.0-1]
  struct fixture f;
  start_connected(&f, STORED, bytewise);
  leave_in_flight(&f);
  expect(&f, "<Connect ClientID=\"c\" KeepAlive=0 Username=\"\" Password=\"\" CleanSession=false Will=nil "
             "Version=4>\n");
  receive_connack(&f, true, CONNACK_ACCEPTED);
  expect(&f, "connack code=0 present=1\n"
             "<Publish ID=1 Message=<Message Topic=\"t\" QOS=1 Retain=false Payload=6869> Dup=true>\n"
             "<Publish ID=2 Message=<Message Topic=\"t\" QOS=2 Retain=false Payload=6869> Dup=true>\n"
             "<Pubrel ID=3>\n");
  receive_publish(&f, 9, 2, true); // still the message of before
  expect(&f, "<Pubrec ID=9>\n");
  receive_ack(&f, PACKET_PUBACK, 1);
  receive_ack(&f, PACKET_PUBREC, 2);
  receive_ack(&f, PACKET_PUBCOMP, 3);
  receive_ack(&f, PACKET_PUBCOMP, 2);
  expect(&f, "published id=1\npublished id=3\npublished id=2\n<Pubrel ID=2>\n");
  assert_int_equal(f.client.inflight, 0);
  stop(&f);
}

BOTH_WAYS(lost_session_gets_messages_as_new) {
  struct fixture f;
  start_connected(&f, STORED, bytewise);
  leave_in_flight(&f);
  f.client.out.len = 0;
  receive_connack(&f, false, CONNACK_ACCEPTED);
  expect(&f, "connack code=0 present=0\n"
             "<Publish ID=1 Message=<Message Topic=\"t\" QOS=1 Retain=false Payload=6869> Dup=false>\n"
             "<Publish ID=2 Message=<Message Topic=\"t\" QOS=2 Retain=false Payload=6869> Dup=false>\n"
             "<Pubrel ID=3>\n");
  receive_publish(&f, 9, 2, false);
  expect(&f, "message id=9 a=x qos=2\n<Pubrec ID=9>\n");
  stop(&f);
}

BOTH_WAYS(clean_session_forgets) {
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  leave_in_flight(&f);
  assert_int_equal(f.client.inflight, 0);
  f.client.out.len = 0;
  receive_connack(&f, false, CONNACK_ACCEPTED);
  expect(&f, "connack code=0 present=0\n");
  stop(&f);
}

BOTH_WAYS(ping_and_disconnect) {
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  mqtt_client_ping(&f.client);
  receive_ack(&f, PACKET_PINGRESP, 0);
  expect(&f, "pingresp\n<Pingreq>\n");
  mqtt_client_disconnect(&f.client, REASON_SUCCESS, NULL);
  receive_publish(&f, 7, 1, false); // on its way already; no ack after DISCONNECT [MQTT-3.14.4-2]
  expect(&f, "<Disconnect>\n");
  stop(&f);
}

BOTH_WAYS(what_no_server_sends_is_an_error) {
  static const uint8_t types[] = {PACKET_SUBSCRIBE, PACKET_UNSUBSCRIBE, PACKET_PINGREQ, PACKET_DISCONNECT};
  for (size_t i = 0; i < sizeof types; i++) {
    struct fixture f;
    start_connected(&f, CLEAN, bytewise);
    struct buf list = BUF_INIT;
    if (types[i] == PACKET_SUBSCRIBE) packet_add_subscription(&list, SLICE("a"), 0);
    if (types[i] == PACKET_UNSUBSCRIBE) packet_add_filter(&list, SLICE("a"));
    receive(&f,
            &(struct packet){.type = types[i], .id = 1, .subscribe = {.count = 1, .list = buf_slice(&list)}});
    expect(&f, "error unexpected packet\n");
    buf_release(&list);
    stop(&f);
  }
  struct fixture f;
  start_connected(&f, CLEAN, bytewise);
  feed(&f, SLICE("\x36\x04\0\1ax\xd0\0"));
  assert_int_equal(strncmp(buf_text(&f.text), "error ", 6), 0);
  assert_int_equal(f.client.state, MQTT_CLIENT_ENDED);
  stop(&f);
}

static void ids_in_use_are_skipped(void **state) {
  (void)state;
  struct fixture f;
  start_connected(&f, CLEAN, false);
  struct packet_message m = hello_with(1);
  for (unsigned id = 1; id <= PACKET_ID_MAX; id++)
    assert_int_equal(mqtt_client_publish(&f.client, &m), id);
  assert_int_equal(mqtt_client_publish(&f.client, &m), 0);
  assert_int_equal(mqtt_client_subscribe(&f.client, &(struct packet_subscription){SLICE("a"), 0}, 1, NULL),
                   0);
  receive_ack(&f, PACKET_PUBACK, 4711);
  assert_int_equal(mqtt_client_publish(&f.client, &m), 4711);
  stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connect_sends_all_options),
      cmocka_unit_test(connect_of_mqtt_3_1),
      cmocka_unit_test(refused_connection_ends),
      cmocka_unit_test(connack_comes_first_and_once),
      cmocka_unit_test(subscribe_and_unsubscribe),
      cmocka_unit_test(suback_has_a_code_for_each_filter),
      cmocka_unit_test(publish_of_each_qos),
      cmocka_unit_test(acks_for_nothing_are_ignored),
      cmocka_unit_test(messages_are_acknowledged),
      cmocka_unit_test(manual_acks_are_left_to_the_caller),
      cmocka_unit_test(resumed_session_gets_messages_again),
      cmocka_unit_test(lost_session_gets_messages_as_new),
      cmocka_unit_test(clean_session_forgets),
      cmocka_unit_test(ping_and_disconnect),
      cmocka_unit_test(what_no_server_sends_is_an_error),
      cmocka_unit_test(ids_in_use_are_skipped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
