// CONNECT and CONNACK: chapters 3.1 and 3.2, without wills and sessions, which have programs of their own.
#include "conformance.h"

// A CONNECT of MQTT 3.1.1 with these flags and payload, keep alive 0; `length` is the remaining length.
#define CONNECT(length, flags, payload) SLICE("\x10" length "\0\4MQTT\4" flags "\0\0" payload)

static void first_packet(void **state) {
  const struct slice others[] = {
      SLICE("\x20\2\0\0"),
      SLICE("\x30\5\0\1tab"),
      SLICE("\x32\5\0\1t\0\1"),
      SLICE("\x34\5\0\1t\0\1"),
      SLICE("\x40\2\0\1"),
      SLICE("\x50\2\0\1"),
      SLICE("\x62\2\0\1"),
      SLICE("\x70\2\0\1"),
      SLICE("\x82\6\0\1\0\1t\0"),
      SLICE("\x90\3\0\1\0"),
      SLICE("\xa2\5\0\1\0\1t"),
      SLICE("\xb0\2\0\1"),
      SLICE("\xc0\0"),
      SLICE("\xd0\0"),
      SLICE("\xe0\0"),
      SLICE("\0\0"),
      SLICE("\xf0\0"),
      SLICE("GET / HTTP/1.1\r\n\r\n"),
  };
  struct peer *all = peer_connect(*state, "all", true);
  peer_subscribe(all, "#", 0);
  for (size_t i = 0; i < COUNT(others); i++)
    expect_no_connack(*state, others[i]);
  expect_alive(all);
}

static void connect_after_another_packet(void **state) {
  expect_no_connack(*state, SLICE("\xc0\0\x10\x0d\0\4MQTT\4\2\0\0\0\1x"));
  assert_null(harness_session(*state, "x"));
}

static void huge_first_packet(void **state) {
  expect_no_connack(*state, SLICE("\x30\xff\xff\xff\x7f"));
  expect_no_connack(*state, SLICE("\x10\xff\xff\xff\x7f"));
}

static void silence(void **state) {
  struct peer *p = peer_open(*state), *slow = peer_open(*state);
  harness_advance(*state, 9000);
  peer_send(slow, SLICE("\x10\x0d\0\4MQ"));
  harness_advance(*state, 999);
  assert_false(peer_is_closed(p));
  harness_advance(*state, 1);
  peer_expect_closed(p);
  peer_expect_closed(slow);
}

static void second_connect(void **state) {
  expect_violation(*state, CONNECT("\x14", "\2", "\0\x08offender"));
  expect_violation(*state, CONNECT("\x11", "\2", "\0\5other"));
  assert_null(harness_session(*state, "other"));
}

static void second_connect_at_once(void **state) {
  struct peer *p = peer_open(*state);
  peer_send(p, SLICE("\x10\x0d\0\4MQTT\4\2\0\0\0\1x\x10\x0d\0\4MQTT\4\2\0\0\0\1y"));
  peer_expect(p, PACKET_CONNACK, NULL);
  peer_expect_closed(p);
  assert_null(harness_session(*state, "y"));
}

static void protocol_names(void **state) {
  const struct slice names[] = {
      SLICE("\x10\x0d\0\4mqtt\4\2\0\0\0\1x"),   SLICE("\x10\x0d\0\4MQTt\4\2\0\0\0\1x"),
      SLICE("\x10\x0c\0\3MQT\4\2\0\0\0\1x"),    SLICE("\x10\x0e\0\5MQTTT\4\2\0\0\0\1x"),
      SLICE("\x10\x09\0\0\4\2\0\0\0\1x"),       SLICE("\x10\x0f\0\6MQISDP\3\2\0\0\0\1x"),
      SLICE("\x10\x0f\0\6MQIsdp\4\2\0\0\0\1x"), SLICE("\x10\x0d\0\4HTTP\4\2\0\0\0\1x"),
  };
  for (size_t i = 0; i < COUNT(names); i++)
    expect_no_connack(*state, names[i]);
  assert_null(harness_session(*state, "x"));
}

static void protocol_levels(void **state) {
  const struct slice levels[] = {
      SLICE("\x10\x0d\0\4MQTT\0\2\0\0\0\1x"),
      SLICE("\x10\x0d\0\4MQTT\1\2\0\0\0\1x"),
      SLICE("\x10\x0d\0\4MQTT\3\2\0\0\0\1x"),
      SLICE("\x10\x0d\0\4MQTT\x84\2\0\0\0\1x"),
  };
  for (size_t i = 0; i < COUNT(levels); i++) {
    struct peer *p = peer_open(*state);
    peer_send(p, levels[i]);
    expect_bytes(p, SLICE("\x20\2\0\1"));
    peer_expect_closed(p);
  }
  assert_null(harness_session(*state, "x"));
}

static void reserved_flag(void **state) {
  expect_no_connack(*state, CONNECT("\x0d", "\3", "\0\1x"));
  expect_no_connack(*state, CONNECT("\x0d", "\1", "\0\1x"));
  assert_null(harness_session(*state, "x"));
}

// What a CONNECT flag announces and what the payload has are the same.
static void username_not_announced(void **state) {
  expect_no_connack(*state, CONNECT("\x10", "\2", "\0\1x\0\1u"));
}

static void username_missing(void **state) {
  expect_no_connack(*state, CONNECT("\x0d", "\x82", "\0\1x"));
  expect_no_connack(*state, CONNECT("\x0e", "\x82", "\0\1x\0"));
  expect_no_connack(*state, CONNECT("\x10", "\x82", "\0\1x\0\2u"));
}

static void password_not_announced(void **state) {
  expect_no_connack(*state, CONNECT("\x13", "\x82", "\0\1x\0\1u\0\1p"));
}

static void password_missing(void **state) {
  expect_no_connack(*state, CONNECT("\x10", "\xc2", "\0\1x\0\1u"));
  expect_no_connack(*state, CONNECT("\x13", "\xc2", "\0\1x\0\1u\0\2p"));
}

static void password_without_username(void **state) {
  expect_no_connack(*state, CONNECT("\x10", "\x42", "\0\1x\0\1p"));
  expect_no_connack(*state, CONNECT("\x13", "\x42", "\0\1x\0\1u\0\1p"));
}

static void only_ada_may_enter(struct harness *h) {
  memory_add_credentials(h->shard->backend, SLICE("ada"), SLICE("secret"));
  memory_set_access(h->shard->backend, MEMORY_CREDENTIALS);
}

static struct packet_connect ada(const char *password) {
  struct packet_connect connect = peer_connect_defaults("x", true);
  connect.has_username = connect.has_password = true;
  connect.username = SLICE("ada");
  connect.password = slice_str(password);
  return connect;
}

static void payload_order(void **state) {
  struct harness *h = *state;
  struct peer *watcher = peer_connect(h, "watcher", true);
  peer_subscribe(watcher, "#", 0);
  only_ada_may_enter(h);
  struct peer *p = peer_open(h);
  peer_send(p, CONNECT("\x23", "\xc6", "\0\1x\0\1w\0\4last\0\3ada\0\6secret"));
  expect_bytes(p, SLICE("\x20\2\0\0"));
  assert_non_null(harness_session(h, "x"));
  peer_drop(p);
  expect_publish(watcher, "w", "last", 0, 0);

  struct peer *swapped = peer_open(h);
  peer_send(swapped, CONNECT("\x23", "\xc6", "\0\1x\0\3ada\0\6secret\0\1w\0\4last"));
  expect_bytes(swapped, SLICE("\x20\2\0\5"));
  peer_expect_closed(swapped);
  expect_alive(watcher);
}

static void keep_alive_ends(void **state) {
  struct peer *watcher = peer_connect(*state, "watcher", true);
  peer_subscribe(watcher, "#", 0);
  struct packet_connect connect = connect_with_will("x", "will", "gone", 0, false);
  connect.keep_alive = 10;
  struct peer *p = peer_open(*state);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  harness_advance(*state, 14999);
  peer_expect_nothing(p);
  peer_expect_nothing(watcher);
  harness_advance(*state, 1);
  peer_expect_closed(p);
  expect_publish(watcher, "will", "gone", 0, 0);
  expect_alive(watcher);
}

static struct peer *connect_keep_alive(struct harness *h, const char *id, uint16_t seconds) {
  struct packet_connect connect = peer_connect_defaults(id, true);
  connect.keep_alive = seconds;
  struct peer *p = peer_open(h);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  return p;
}

static void any_packet_keeps_alive(void **state) {
  const struct slice packets[] = {
      SLICE("\xc0\0"),     SLICE("\x30\3\0\1t"),       SLICE("\x32\5\0\1t\0\1"),
      SLICE("\x40\2\0\7"), SLICE("\x50\2\0\7"),        SLICE("\x62\2\0\7"),
      SLICE("\x70\2\0\7"), SLICE("\x82\6\0\1\0\1u\0"), SLICE("\xa2\5\0\1\0\1u"),
  };
  struct peer *p = connect_keep_alive(*state, "x", 2);
  for (size_t i = 0; i < COUNT(packets); i++) {
    harness_advance(*state, 2900);
    assert_false(peer_is_closed(p));
    peer_send(p, packets[i]);
  }
  harness_advance(*state, 2999);
  assert_false(peer_is_closed(p));
  harness_advance(*state, 1);
  assert_true(peer_is_closed(p));
}

static void what_is_sent_does_not_keep_alive(void **state) {
  struct peer *p = connect_keep_alive(*state, "x", 2), *other = peer_connect(*state, "other", true);
  peer_subscribe(p, "t", 0);
  for (int i = 0; i < 3; i++) {
    harness_advance(*state, 999);
    peer_publish(other, "t", "", 0, false);
    peer_expect_message(p, "t", "", 0);
  }
  harness_advance(*state, 3);
  peer_expect_closed(p);
}

static void no_keep_alive(void **state) {
  struct peer *p = connect_keep_alive(*state, "x", 0), *longest = connect_keep_alive(*state, "y", 65535);
  harness_advance(*state, 98302499);
  assert_false(peer_is_closed(longest));
  harness_advance(*state, 1);
  assert_true(peer_is_closed(longest));
  harness_advance(*state, UINT64_C(365) * 86400 * 1000);
  expect_alive(p);
}

static void keep_alive_starts_with_connect(void **state) {
  struct packet_connect connect = peer_connect_defaults("x", true);
  connect.keep_alive = 2;
  struct peer *p = peer_open(*state);
  harness_advance(*state, 9000);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  harness_advance(*state, 2999);
  peer_expect_nothing(p);
  harness_advance(*state, 1);
  peer_expect_closed(p);
}

static void client_id_is_the_state(void **state) {
  leave_subscription(*state, "a", "t", 1);
  struct peer *p;
  assert_false(peer_resume(*state, "A", &p));
  assert_false(peer_resume(*state, "aa", &p));
  assert_false(peer_resume(*state, "a ", &p));
  somebody_publishes(*state, "t", "for a", 1, false);
  peer_expect_nothing(p);
  assert_true(peer_resume(*state, "a", &p));
  take_message(p, "t", "for a", 1);
}

static void client_id_missing(void **state) {
  expect_no_connack(*state, CONNECT("\x0a", "\2", ""));
  expect_no_connack(*state, CONNECT("\x0b", "\2", "\0"));
  expect_no_connack(*state, CONNECT("\x0d", "\2", "\0\2x"));
}

static void client_id_not_utf8(void **state) {
  expect_no_connack(*state, CONNECT("\x0e", "\2", "\0\2\xc3x"));
  expect_no_connack(*state, CONNECT("\x0f", "\2", "\0\3\xed\xa0\x80"));
}

static void client_ids_that_must_be_allowed(void **state) {
  const char *letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  struct peer *p;
  for (size_t at = 0; letters[at]; at++) {
    char id[2] = {letters[at], 0};
    p = peer_connect(*state, id, true);
    assert_non_null(harness_session(*state, id));
  }
  for (size_t len = 1; len <= 23; len++) {
    char id[24] = {0};
    for (size_t i = 0; i < len; i++)
      id[i] = letters[(len * 7 + i * 5) % 62];
    leave_subscription(*state, id, "t", 1);
    assert_true(peer_resume(*state, id, &p));
  }
}

static void empty_client_id(void **state) {
  struct peer *a = peer_connect(*state, "", true), *b = peer_connect(*state, "", true);
  peer_subscribe(a, "a", 0);
  peer_subscribe(b, "b", 0);
  somebody_publishes(*state, "a", "1", 0, false);
  somebody_publishes(*state, "b", "2", 0, false);
  take_message(a, "a", "1", 0);
  take_message(b, "b", "2", 0);
  expect_alive(a);
  expect_alive(b);
  assert_null(harness_session(*state, ""));
  uint32_t at = 0, count = 0;
  while (memory_each_session(((struct harness *)*state)->shard->backend, &at))
    count++;
  assert_int_equal(count, 2);
}

static void empty_client_id_persistent(void **state) {
  struct peer *p = peer_open(*state);
  peer_send(p, CONNECT("\x0c", "\0", "\0\0"));
  expect_bytes(p, SLICE("\x20\2\0\2"));
  peer_expect_closed(p);
}

static void rejected_client_id(void **state) { // MQTT 3.1 has no empty id
  struct peer *p = peer_open(*state);
  peer_send(p, SLICE("\x10\x0e\0\6MQIsdp\3\2\0\0\0\0"));
  expect_bytes(p, SLICE("\x20\2\0\2"));
  peer_expect_closed(p);
}

static void username_not_utf8(void **state) {
  expect_no_connack(*state, CONNECT("\x10", "\x82", "\0\1x\0\1\xff"));
  expect_no_connack(*state, CONNECT("\x11", "\x82", "\0\1x\0\2u\0"));
  struct peer *p = peer_open(*state); // a password is any bytes
  peer_send(p, CONNECT("\x14", "\xc2", "\0\1x\0\1u\0\2\0\xff"));
  expect_bytes(p, SLICE("\x20\2\0\0"));
}

static void malformed_connects(void **state) {
  const struct slice connects[] = {
      CONNECT("\x0e", "\2", "\0\1xy"),        // more than its fields
      CONNECT("\x0d", "\x0a", "\0\1x"),       // QoS of a will, and no will
      CONNECT("\x0d", "\6", "\0\1x"),         // a will, and no fields of it
      SLICE("\x10\x06\0\4MQTT"),              // no level
      SLICE("\x10\x07\0\4MQTT\4"),            // no flags
      SLICE("\x10\x08\0\4MQTT\4\2"),          // no keep alive
      SLICE("\x10\x02\0\4"),                  // not even the name
      SLICE("\x10\0"),                        // nothing at all
      SLICE("\x12\x0d\0\4MQTT\4\2\0\0\0\1x"), // reserved flags of the fixed header
      SLICE("\x10\xff\xff\xff\xff\1"),        // a remaining length of five bytes
  };
  for (size_t i = 0; i < COUNT(connects); i++)
    expect_no_connack(*state, connects[i]);
  assert_null(harness_session(*state, "x"));
}

static void take_over(void **state) {
  struct peer *watcher = peer_connect(*state, "watcher", true);
  peer_subscribe(watcher, "#", 0);
  struct peer *old = peer_connect_will(*state, "x", "will", "1", 0, false);
  struct peer *namesake = peer_connect(*state, "X", true);
  struct peer *new = peer_connect_will(*state, "x", "will", "2", 0, false);
  peer_expect_closed(old);
  expect_publish(watcher, "will", "1", 0, 0);
  struct peer *last = peer_connect(*state, "x", true);
  peer_expect_closed(new);
  expect_publish(watcher, "will", "2", 0, 0);
  peer_disconnect(last);
  expect_alive(namesake);
  expect_alive(watcher);
}

static void take_over_resumes(void **state) {
  struct peer *old = peer_connect(*state, "x", false), *new;
  peer_subscribe(old, "t", 1);
  somebody_publishes(*state, "t", "1", 1, false);
  uint16_t id = expect_publish(old, "t", "1", 1, 0);
  assert_true(peer_resume(*state, "x", &new));
  peer_expect_closed(old);
  assert_int_equal(expect_publish(new, "t", "1", 1, DUP), id);
  peer_send_ack(new, PACKET_PUBACK, id);
  somebody_publishes(*state, "t", "2", 1, false);
  take_message(new, "t", "2", 1);
}

static void refused_connect_is_the_end(void **state) {
  struct harness *h = *state;
  struct peer *watcher = peer_connect(h, "watcher", true);
  peer_subscribe(watcher, "#", 0);
  struct peer *p = peer_open(h); // level 2, then a retained PUBLISH and a PINGREQ
  peer_send(p, SLICE("\x10\x0d\0\4MQTT\2\2\0\0\0\1x\x31\5\0\1tab\xc0\0"));
  expect_bytes(p, SLICE("\x20\2\0\1"));
  peer_expect_closed(p);
  only_ada_may_enter(h);
  p = peer_open(h);
  peer_send(p, SLICE("\x10\x0d\0\4MQTT\4\2\0\0\0\1x\x31\5\0\1tab\xc0\0"));
  expect_bytes(p, SLICE("\x20\2\0\5"));
  peer_expect_closed(p);
  expect_alive(watcher);
  assert_int_equal(memory_retained(h->shard->backend)->count, 0);
  assert_null(harness_session(h, "x"));
}

static void refused_login(void **state) {
  only_ada_may_enter(*state);
  const char *passwords[] = {"Secret", "secre", "secrets", ""};
  for (size_t i = 0; i < COUNT(passwords); i++) {
    struct packet_connect connect = ada(passwords[i]);
    struct peer *p = peer_open(*state);
    bool present = true;
    assert_int_equal(peer_connect_with(p, &connect, &present), CONNACK_NOT_AUTHORIZED);
    assert_false(present);
    peer_expect_closed(p);
  }
  struct packet_connect connect = ada("secret");
  struct peer *p = peer_open(*state);
  assert_int_equal(peer_connect_with(p, &connect, NULL), CONNACK_ACCEPTED);
  expect_alive(p);
}

static void refused_login_disturbs_nobody(void **state) {
  struct harness *h = *state;
  struct peer *p = peer_connect(h, "x", false), *watcher = peer_connect(h, "watcher", true);
  peer_subscribe(watcher, "#", 0);
  only_ada_may_enter(h);
  struct packet_connect connect = connect_with_will("x", "will", "gone", 0, false); // the id of another
  struct peer *intruder = peer_open(h);
  bool present = true;
  assert_int_equal(peer_connect_with(intruder, &connect, &present), CONNACK_NOT_AUTHORIZED);
  assert_false(present);
  peer_expect_closed(intruder);
  expect_alive(p);
  expect_alive(watcher);
}

static void connack_first(void **state) {
  struct peer *p = peer_connect(*state, "x", false);
  peer_subscribe(p, "t", 1);
  somebody_publishes(*state, "t", "1", 1, false);
  uint16_t id = expect_publish(p, "t", "1", 1, 0);
  peer_drop(p);
  somebody_publishes(*state, "t", "2", 1, false);
  p = peer_open(*state);
  peer_expect_nothing(p);
  peer_send(p, SLICE("\x10\x0d\0\4MQTT\4\0\0\0\0\1x\xc0\0")); // a client may send on without waiting
  struct packet got;
  peer_expect(p, PACKET_CONNACK, &got);
  assert_true(got.connack.session_present);
  bool pinged = false;
  int published = 0;
  while (peer_next(p, &got)) {
    if (got.type == PACKET_PINGRESP) pinged = true;
    if (got.type == PACKET_PUBLISH && ++published == 1) assert_int_equal(got.id, id);
  }
  assert_true(pinged);
  assert_int_equal(published, 2);
}

static void accepted(void **state) {
  struct peer *p = peer_open(*state);
  peer_send(p, CONNECT("\x0d", "\2", "\0\1x"));
  expect_bytes(p, SLICE("\x20\2\0\0"));
  expect_alive(p);
}

static void pipelined(void **state) {
  struct peer *p = peer_open(*state); // CONNECT, SUBSCRIBE, PUBLISH, PINGREQ, DISCONNECT at once
  peer_send(p, SLICE("\x10\x0d\0\4MQTT\4\2\0\0\0\1x\x82\6\0\1\0\1t\0\x30\4\0\1t!\xc0\0\xe0\0"));
  peer_expect(p, PACKET_CONNACK, NULL);
  peer_expect_ack(p, PACKET_SUBACK, 1);
  bool published = false, pinged = false;
  for (struct packet got; peer_next(p, &got);) {
    published |= got.type == PACKET_PUBLISH;
    pinged |= got.type == PACKET_PINGRESP;
  }
  assert_true(published && pinged);
  peer_expect_closed(p);
}

static void shutting_down(void **state) {
  struct harness *h = *state;
  leave_subscription(h, "x", "t", 1);
  struct peer *p = peer_open(h);
  h->shard->closing = true;
  peer_send(p, CONNECT("\x0d", "\0", "\0\1x"));
  expect_bytes(p, SLICE("\x20\2\0\3"));
  peer_expect_closed(p);
}

static void empty_credentials(void **state) { // are given, and are none that anybody has
  const struct slice connects[] = {CONNECT("\x0f", "\x82", "\0\1x\0\0"),
                                   CONNECT("\x11", "\xc2", "\0\1x\0\0\0\0")};
  for (size_t i = 0; i < COUNT(connects); i++) {
    struct peer *p = peer_open(*state);
    peer_send(p, connects[i]);
    expect_bytes(p, SLICE("\x20\2\0\0"));
    expect_alive(p);
  }
  only_ada_may_enter(*state);
  for (size_t i = 0; i < COUNT(connects); i++) {
    struct peer *p = peer_open(*state);
    peer_send(p, connects[i]);
    expect_bytes(p, SLICE("\x20\2\0\5"));
    peer_expect_closed(p);
  }
}

static void largest_connect(void **state) { // every field of 65,535 bytes
  char *text = test_malloc(65536);
  memset(text, 'a', 65535);
  text[65535] = 0;
  struct settings settings;
  settings_init(&settings);
  settings.topic_length = 65535;
  restart_broker(state, &settings);
  struct peer *watcher = peer_connect(*state, "watcher", true);
  peer_subscribe(watcher, "#", 0);
  struct packet_connect connect = connect_with_will(text, text, text, 0, false);
  connect.has_username = connect.has_password = true;
  connect.username = connect.password = slice_str(text);
  struct peer *p = peer_open(*state);
  assert_int_equal(peer_connect_with(p, &connect, NULL), CONNACK_ACCEPTED);
  assert_non_null(harness_session(*state, text));
  peer_drop(p);
  expect_publish(watcher, text, text, 0, 0);
  test_free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT-3.1.0-1] [MQTT-4.8.0-1] any other first packet than CONNECT closes unanswered",
                first_packet),
      STATEMENT("[MQTT-3.1.0-1] a CONNECT behind another packet comes too late",
                connect_after_another_packet),
      STATEMENT("[MQTT-3.1.0-1] a huge first packet is not waited for", huge_first_packet),
      STATEMENT("[MQTT-3.1.0-1] a connection without a CONNECT in time is closed", silence),
      STATEMENT("[MQTT-3.1.0-2] a second CONNECT ends the client, whatever its id", second_connect),
      STATEMENT("[MQTT-3.1.0-2] a second CONNECT right behind the first ends it as well",
                second_connect_at_once),
      STATEMENT("[MQTT-3.1.2-1] a wrong protocol name closes without CONNACK", protocol_names),
      STATEMENT("[MQTT-3.1.2-2] an unknown level gets return code 1, then the end", protocol_levels),
      STATEMENT("[MQTT-3.1.2-3] [MQTT-2.2.2-1] the reserved connect flag closes", reserved_flag),
      STATEMENT("[MQTT-3.1.2-18] a username that was not announced closes", username_not_announced),
      STATEMENT("[MQTT-3.1.2-19] a missing username closes", username_missing),
      STATEMENT("[MQTT-3.1.2-20] a password that was not announced closes", password_not_announced),
      STATEMENT("[MQTT-3.1.2-21] a missing password closes", password_missing),
      STATEMENT("[MQTT-3.1.2-22] a password without a username closes", password_without_username),
      STATEMENT("[MQTT-3.1.2-24] 1.5 times the keep alive without a packet is the end", keep_alive_ends),
      STATEMENT("[MQTT-3.1.2-24] every packet from the client starts it anew", any_packet_keeps_alive),
      STATEMENT("[MQTT-3.1.2-24] packets to the client do not", what_is_sent_does_not_keep_alive),
      STATEMENT("[MQTT-3.1.2-24] a keep alive of 0 never ends, and one of 65,535 late", no_keep_alive),
      STATEMENT("[MQTT-3.1.2-24] it counts from CONNECT, not from the connection",
                keep_alive_starts_with_connect),
      STATEMENT("[MQTT-3.1.3-1] id, will topic, will message, username, password in this order",
                payload_order),
      STATEMENT("[MQTT-3.1.3-2] state belongs to exactly one client id", client_id_is_the_state),
      STATEMENT("[MQTT-3.1.3-3] a missing client id closes", client_id_missing),
      STATEMENT("[MQTT-3.1.3-4] [MQTT-1.5.3-1] a client id that is not UTF-8 closes", client_id_not_utf8),
      STATEMENT("[MQTT-3.1.3-5] 1 to 23 letters and digits are an id", client_ids_that_must_be_allowed),
      STATEMENT("[MQTT-3.1.3-6] an empty id gets a unique one", empty_client_id),
      STATEMENT("[MQTT-3.1.3-7] [MQTT-3.1.3-8] [MQTT-3.2.2-5] an empty id without clean session is rejected",
                empty_client_id_persistent),
      STATEMENT("[MQTT-3.1.3-9] [MQTT-3.2.2-5] a rejected id gets return code 2, then the end",
                rejected_client_id),
      STATEMENT("[MQTT-3.1.3-11] a username that is not UTF-8 closes", username_not_utf8),
      STATEMENT("[MQTT-3.1.4-1] [MQTT-3.2.2-6] a malformed CONNECT closes without CONNACK",
                malformed_connects),
      STATEMENT("[MQTT-3.1.4-2] a client of the same id ends the one before", take_over),
      STATEMENT("[MQTT-3.1.4-2] and goes on where that one was", take_over_resumes),
      STATEMENT("[MQTT-3.1.4-4] a CONNECT that is let in gets return code 0", accepted),
      STATEMENT("[MQTT-3.1.4-4] packets right behind CONNECT are processed after it, in order", pipelined),
      STATEMENT("[MQTT-3.1.4-5] nothing behind a refused CONNECT is processed", refused_connect_is_the_end),
      STATEMENT("[MQTT-3.2.0-1] CONNACK is the first packet, whatever waits", connack_first),
      STATEMENT("[MQTT-3.2.2-4] [MQTT-3.2.2-5] a refused login is told, then closed", refused_login),
      STATEMENT("[MQTT-3.2.2-4] a refused login touches neither the session nor its client",
                refused_login_disturbs_nobody),
      STATEMENT("[MQTT-3.2.2-4] [MQTT-3.2.2-5] a broker that stops answers 3 without session present",
                shutting_down),
      STATEMENT("[MQTT-3.1.2-19] [MQTT-3.1.2-21] a username and a password may be empty", empty_credentials),
      STATEMENT("[MQTT-3.1.4-4] the largest CONNECT there can be is let in", largest_connect),
  };
  return cmocka_run_group_tests_name("conformance: connect", tests, NULL, NULL);
}
