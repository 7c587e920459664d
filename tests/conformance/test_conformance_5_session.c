// How long sessions live: chapters 3.1.2.11.2, 3.14.2.2.2 and 4.1.
#include "conformance.h"

static struct harness *without_longest(void **state) {
  struct settings settings;
  settings_init(&settings);
  settings.max_session_expiry_s = 0;
  return restart_broker(state, &settings);
}

static void stored(void **state) { // after DISCONNECT and after a loss, until its time is over
  struct harness *h = *state;
  for (int round = 0; round < 2; round++) {
    struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=10");
    peer_subscribe(p, "t", 1);
    if (round)
      peer_drop(p);
    else
      peer_disconnect(p);
    harness_advance(h, 9900);
    somebody_publishes(h, "t", "A", 1, false);
    assert_true(peer_resume_5(h, "x", "session_expiry_interval=10", &p));
    take_message(p, "t", "A", 1);
    peer_drop(p);
    harness_advance(h, 9000); // it began anew
    assert_non_null(harness_session(h, "x"));
    harness_advance(h, 2100);
    assert_null(harness_session(h, "x"));
    assert_int_equal(h->shard->stats.subscriptions, 0);
    assert_false(peer_resume_5(h, "x", "", &p));
    peer_disconnect(p);
  }
}

static void ends_with_its_connection(void **state) { // with expiry 0 and without one
  struct harness *h = *state;
  const char *properties[] = {"", "session_expiry_interval=0"};
  for (size_t i = 0; i < COUNT(properties); i++) {
    struct peer *p = peer_connect_5(h, "x", false, properties[i]);
    peer_subscribe(p, "t", 1);
    harness_advance(h, 100000); // it does not count while the client is there
    somebody_publishes(h, "t", "A", 1, false);
    take_message(p, "t", "A", 1);
    peer_drop(p);
    assert_null(harness_session(h, "x"));
    assert_false(peer_resume_5(h, "x", "", &p));
    peer_drop(p);
  }
}

static void not_while_connected(void **state) {
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=5");
  peer_subscribe(p, "t", 1);
  for (int i = 0; i < 10; i++) {
    harness_advance(h, 100000);
    expect_alive(p);
  }
  somebody_publishes(h, "t", "A", 1, false);
  take_message(p, "t", "A", 1);
}

static void for_ever(void **state) { // the largest interval
  struct harness *h = without_longest(state);
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=4294967295");
  peer_expect_properties(p, "receive_maximum=100 maximum_packet_size=8388608 topic_alias_maximum=32 "
                            "server_keep_alive=300");
  peer_disconnect(p);
  p = peer_connect_5(h, "y", true, "session_expiry_interval=4294967294");
  peer_disconnect(p);
  harness_advance(h, UINT64_C(4294967294) * 1000 + 2000);
  assert_non_null(harness_session(h, "x"));
  assert_null(harness_session(h, "y"));
}

static void shortened_by_the_broker(void **state) { // which tells so
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=4294967295");
  peer_expect_properties(p, "session_expiry_interval=2592000 receive_maximum=100 maximum_packet_size=8388608 "
                            "topic_alias_maximum=32 server_keep_alive=300");
  peer_drop(p);
  harness_advance(h, UINT64_C(2592000) * 1000 - 1000);
  assert_non_null(harness_session(h, "x"));
  harness_advance(h, 2100);
  assert_null(harness_session(h, "x"));
}

static void changed_by_connect(void **state) { // the last CONNECT counts
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=1000");
  peer_disconnect(p);
  assert_true(peer_resume_5(h, "x", "session_expiry_interval=5", &p));
  peer_disconnect(p);
  harness_advance(h, 6100);
  assert_null(harness_session(h, "x"));
  p = peer_connect_5(h, "x", true, "session_expiry_interval=1000");
  peer_disconnect(p);
  assert_true(peer_resume_5(h, "x", "", &p));
  peer_disconnect(p);
  assert_null(harness_session(h, "x"));
}

static void changed_by_disconnect(void **state) { // to longer, shorter, and none
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=5");
  peer_send_reason(p, PACKET_DISCONNECT, 0, REASON_SUCCESS, "session_expiry_interval=20");
  peer_expect_closed(p);
  harness_advance(h, 19000);
  assert_non_null(harness_session(h, "x"));
  harness_advance(h, 2100);
  assert_null(harness_session(h, "x"));
  p = peer_connect_5(h, "x", true, "session_expiry_interval=1000");
  peer_send_reason(p, PACKET_DISCONNECT, 0, REASON_SUCCESS, "session_expiry_interval=5");
  peer_expect_closed(p);
  harness_advance(h, 6100);
  assert_null(harness_session(h, "x"));
  p = peer_connect_5(h, "x", true, "session_expiry_interval=1000");
  peer_send_reason(p, PACKET_DISCONNECT, 0, REASON_SUCCESS, "session_expiry_interval=0");
  peer_expect_closed(p);
  assert_null(harness_session(h, "x"));
  p = peer_connect_5(h, "x", true, ""); // none stays none
  peer_send_reason(p, PACKET_DISCONNECT, 0, REASON_SUCCESS, "session_expiry_interval=0");
  peer_expect_closed(p);
}

static void not_from_none(void **state) { // DISCONNECT cannot make a session stay, and the will is sent
  struct harness *h = *state;
  struct peer *watcher = peer_connect_5(h, "y", true, "");
  peer_subscribe(watcher, "w", 0);
  struct packet_connect connect = connect_with_will("x", "w", "gone", 0, false);
  connect.version = MQTT_5;
  struct peer *p = peer_open(h);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  peer_send_reason(p, PACKET_DISCONNECT, 0, REASON_SUCCESS, "session_expiry_interval=10");
  peer_expect_disconnect(p, REASON_PROTOCOL_ERROR);
  assert_null(harness_session(h, "x"));
  take_message(watcher, "w", "gone", 0);
}

static void too_many_sessions(void **state) {
  struct settings settings;
  settings_init(&settings);
  settings.max_sessions = 1;
  struct harness *h = restart_broker(state, &settings);
  peer_connect_5(h, "x", true, "session_expiry_interval=10");
  struct packet_connect connect = peer_connect_5_defaults(h, "y", true, "session_expiry_interval=10");
  expect_connect_refused(h, &connect, REASON_QUOTA_EXCEEDED);
  peer_connect_5(h, "y", true, ""); // that is not a stored one
}

static void everything(void **state) { // that is part of a session is there when the client comes back
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=100");
  peer_subscribe_5(p, "t", 2, "subscription_identifier=5");
  peer_send(p, SLICE("\x34\7\0\1u\0\x4d\0A")); // unreleased
  peer_expect_ack(p, PACKET_PUBREC, 77);
  somebody_publishes(h, "t", "1", 1, false); // in flight
  somebody_publishes(h, "t", "2", 2, false);
  uint16_t first = expect_publish(p, "t", "1", 1, 0), second = expect_publish(p, "t", "2", 2, 0);
  peer_send_ack(p, PACKET_PUBREC, second);
  peer_expect_ack(p, PACKET_PUBREL, second);
  peer_drop(p);
  somebody_publishes(h, "t", "3", 2, false); // waits
  assert_true(peer_resume_5(h, "x", "", &p));
  peer_expect_ack(p, PACKET_PUBREL, second);
  assert_int_equal(expect_publish(p, "t", "1", 1, DUP), first);
  peer_expect_properties(p, "subscription_identifier=5");
  uint16_t third = expect_publish(p, "t", "3", 2, 0);
  peer_expect_properties(p, "subscription_identifier=5");
  struct peer *watcher = peer_connect_5(h, "y", true, "");
  peer_subscribe(watcher, "u", 2);
  peer_send_ack(p, PACKET_PUBREL, 77);
  peer_expect_reason(p, PACKET_PUBCOMP, 77, REASON_SUCCESS);
  take_message(watcher, "u", "A", 2);
  peer_send_ack(p, PACKET_PUBCOMP, second);
  finish_delivery(p, 1, first);
  finish_delivery(p, 2, third);
  expect_alive(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT5-3.1.2-23] [MQTT5-4.1.0-2] a session is kept as long as its expiry", stored),
      STATEMENT("[MQTT5-4.1.0-2] without an expiry it ends with its connection", ends_with_its_connection),
      STATEMENT("[MQTT5-4.1.0-1] it does not end while the client is connected", not_while_connected),
      STATEMENT("[MQTT5-3.1.2-23] [MQTT5-4.1.0-2] the largest expiry is for ever", for_ever),
      STATEMENT("[MQTT5-3.1.2-23] the broker may shorten it, and tells so", shortened_by_the_broker),
      STATEMENT("[MQTT5-4.1.0-2] each CONNECT sets it", changed_by_connect),
      STATEMENT("[MQTT5-4.1.0-2] [MQTT5-3.1.2-23] DISCONNECT may change it", changed_by_disconnect),
      STATEMENT("[MQTT5-4.1.0-2] DISCONNECT cannot set one where there was none", not_from_none),
      STATEMENT("more stored sessions than there may be", too_many_sessions),
      STATEMENT("[MQTT5-3.1.2-5] [MQTT5-3.1.2-23] [MQTT5-4.4.0-1] what a session keeps", everything),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
