// CONNECT of MQTT 5 and who is let in: chapters 3.1.0 to 3.1.4 without the will.
#include "conformance.h"
#include "decorator.h"

// --- the first packet ---

static void not_a_connect(void **state) { // nothing is answered before a CONNECT
  const struct slice packets[] = {
      SLICE("\xc0\0"), SLICE("\x30\4\0\1t\0"),        SLICE("\xe0\0"),
      SLICE("\xf0\0"), SLICE("\x30\xff\xff\xff\x7f"), SLICE("\x82\7\0\1\0\0\1t\0")};
  for (size_t i = 0; i < COUNT(packets); i++)
    expect_no_connack(*state, packets[i]);
}

static void second_connect(void **state) {
  expect_violation_5(*state, SLICE("\x10\x0e\0\4MQTT\5\2\0\0\0\0\1x"), REASON_PROTOCOL_ERROR);
}

static void protocol_names(void **state) {
  expect_no_connack(*state, SLICE("\x10\x0e\0\4MQTt\5\2\0\0\0\0\1x"));
  expect_no_connack(*state, SLICE("\x10\x10\0\6MQIsdp\5\2\0\0\0\0\1x"));
  expect_no_connack(*state, SLICE("\x10\x0f\0\5MQTT5\5\2\0\0\0\0\1x"));
}

static void protocol_levels(void **state) { // newer ones are told in the newest form there is
  struct peer *p = peer_open(*state);
  peer_send(p, SLICE("\x10\x0e\0\4MQTT\6\2\0\0\0\0\1x"));
  expect_bytes(p, SLICE("\x20\3\0\x84\0"));
  peer_expect_closed(p);
  p = peer_open(*state);
  peer_send(p, SLICE("\x10\7\0\4MQTT\xff"));
  expect_bytes(p, SLICE("\x20\3\0\x84\0"));
  peer_expect_closed(p);
  p = peer_open(*state);
  peer_send(p, SLICE("\x10\x0d\0\4MQTT\2\2\0\0\0\1x"));
  expect_bytes(p, SLICE("\x20\2\0\1"));
  peer_expect_closed(p);
}

static void reserved_flag(void **state) {
  expect_refused(open_5(*state, SLICE("\x10\x0e\0\4MQTT\5\3\0\0\0\0\1x")), REASON_MALFORMED_PACKET);
}

// --- clean start ---

static void clean_start(void **state) { // what was there is gone
  leave_subscription_5(*state, "x", "session_expiry_interval=100", "t", 1);
  somebody_publishes(*state, "t", "A", 1, false);
  struct packet_connect connect = peer_connect_5_defaults(*state, "x", true, "session_expiry_interval=100");
  bool present = true;
  struct peer *p = peer_open(*state);
  assert_int_equal(peer_connect_with(p, &connect, &present), 0);
  assert_false(present);
  somebody_publishes(*state, "t", "B", 1, false);
  expect_alive(p);
}

static void resumed(void **state) {
  leave_subscription_5(*state, "x", "session_expiry_interval=100", "t", 1);
  somebody_publishes(*state, "t", "A", 1, false);
  struct peer *p;
  assert_true(peer_resume_5(*state, "x", "session_expiry_interval=100", &p));
  take_message(p, "t", "A", 1);
  somebody_publishes(*state, "t", "B", 1, false);
  take_message(p, "t", "B", 1);
}

static void created(void **state) { // and kept as long as its expiry says
  struct peer *p;
  assert_false(peer_resume_5(*state, "x", "session_expiry_interval=100", &p));
  peer_subscribe(p, "t", 1);
  peer_drop(p);
  assert_true(peer_resume_5(*state, "x", "", &p));
  peer_disconnect(p);
  assert_false(peer_resume_5(*state, "x", "", &p));
}

// --- user name and password ---

static void credentials_flags(void **state) { // in all combinations, in that order, and nothing behind
  struct harness *h = *state;
  expect_refused(open_5(h, SLICE("\x10\x11\0\4MQTT\5\2\0\0\0\0\1x\0\1u")), REASON_MALFORMED_PACKET);
  expect_refused(open_5(h, SLICE("\x10\x0e\0\4MQTT\5\x82\0\0\0\0\1x")), REASON_MALFORMED_PACKET);
  expect_refused(open_5(h, SLICE("\x10\x0e\0\4MQTT\5\x42\0\0\0\0\1x")), REASON_MALFORMED_PACKET);
  expect_refused(open_5(h, SLICE("\x10\x11\0\4MQTT\5\xc2\0\0\0\0\1x\0\1u")), REASON_MALFORMED_PACKET);
  expect_refused(open_5(h, SLICE("\x10\x14\0\4MQTT\5\x82\0\0\0\0\1x\0\1u\0\1p")), REASON_MALFORMED_PACKET);
  expect_refused(open_5(h, SLICE("\x10\x14\0\4MQTT\5\x42\0\0\0\0\1x\0\1u\0\1p")), REASON_MALFORMED_PACKET);
  struct peer *p = open_5(h, SLICE("\x10\x11\0\4MQTT\5\x42\0\0\0\0\1x\0\1p")); // a password alone
  peer_expect(p, PACKET_CONNACK, NULL);
  expect_alive(p);
}

static struct packet_connect with_credentials(struct harness *h, const char *username, const char *password) {
  struct packet_connect connect = peer_connect_5_defaults(h, "x", true, "");
  connect.has_username = connect.has_password = true;
  connect.username = slice_str(username);
  connect.password = slice_str(password);
  return connect;
}

static void failed_login(void **state) { // what comes behind the CONNECT is not processed
  struct harness *h = *state;
  memory_add_credentials(h->memory, SLICE("u"), SLICE("secret"));
  memory_set_access(h->memory, MEMORY_CREDENTIALS);
  struct packet_connect connect = with_credentials(h, "u", "wrong");
  expect_connect_refused(h, &connect, REASON_NOT_AUTHORIZED);
  struct peer *p = open_5(h, SLICE("\x10\x14\0\4MQTT\5\xc2\0\0\0\0\1x\0\1u\0\1w\x31\5\0\1t\0A\xc0\0"));
  expect_refused(p, REASON_NOT_AUTHORIZED);
  assert_int_equal(memory_retained(h->memory)->count, 0);
  connect = with_credentials(h, "u", "secret");
  assert_int_equal(peer_connect_with(peer_open(h), &connect, NULL), 0);
}

static void packets_behind_connect(void **state) { // CONNACK comes first all the same
  struct peer *p =
      open_5(*state, SLICE("\x10\x0e\0\4MQTT\5\2\0\0\0\0\1x\x82\7\0\1\0\0\1t\1\x32\7\0\1t\0\2\0A"));
  struct packet got;
  peer_expect(p, PACKET_CONNACK, &got);
  assert_int_equal(got.connack.code, REASON_SUCCESS);
  peer_expect(p, PACKET_SUBACK, NULL);
  peer_expect_ack(p, PACKET_PUBACK, 2);
  take_message(p, "t", "A", 1);
  expect_alive(p);
}

static void nothing_while_login_waits(void **state) { // no packet and no second CONNACK
  (void)state;
  struct harness *h = harness_new(NULL);
  struct decorator d;
  decorator_init(&d, h);
  d.hold_authenticate = true;
  struct peer *p = open_5(h, SLICE("\x10\x0e\0\4MQTT\5\2\0\0\0\0\1x\xc0\0"));
  peer_expect_nothing(p);
  decorator_resume(&d, h, (struct reply){0});
  peer_expect(p, PACKET_CONNACK, NULL);
  peer_expect(p, PACKET_PINGRESP, NULL);
  peer_expect_nothing(p);
  p = open_5(h, SLICE("\x10\x0e\0\4MQTT\5\2\0\0\0\0\1y\xc0\0"));
  decorator_resume(&d, h, (struct reply){.reason = REASON_BANNED});
  expect_refused(p, REASON_BANNED);
  harness_free(h);
}

static void rejected_id(void **state) {
  (void)state;
  struct harness *h = harness_new(NULL);
  struct decorator d;
  decorator_init(&d, h);
  d.hold_authenticate = true;
  struct peer *p = open_5(h, SLICE("\x10\x0e\0\4MQTT\5\2\0\0\0\0\1x"));
  decorator_resume(&d, h, (struct reply){.reason = REASON_CLIENT_IDENTIFIER_NOT_VALID});
  expect_refused(p, REASON_CLIENT_IDENTIFIER_NOT_VALID);
  assert_null(harness_session(h, "x"));
  harness_free(h);
}

static void foreign_reason(void **state) { // a decision's reason that no CONNACK may have: the nearest
  (void)state;
  struct harness *h = harness_new(NULL);
  struct decorator d;
  decorator_init(&d, h);
  d.hold_authenticate = true;
  struct peer *p = open_5(h, SLICE("\x10\x0e\0\4MQTT\5\2\0\0\0\0\1x"));
  decorator_resume(&d, h, (struct reply){.reason = REASON_TOPIC_FILTER_INVALID});
  expect_refused(p, REASON_UNSPECIFIED_ERROR);
  harness_free(h);
}

// --- the payload ---

static void all_fields(void **state) {
  struct harness *h = *state;
  struct peer *watcher = peer_connect_5(h, "y", true, "");
  peer_subscribe(watcher, "w", 0);
  memory_add_credentials(h->memory, SLICE("u"), SLICE("p"));
  memory_set_access(h->memory, MEMORY_CREDENTIALS);
  struct peer *p = open_5(h, SLICE("\x10\x20\0\4MQTT\5\xc6\0\0\0\0\1x\3\3\0\0\0\1w\0\3end\0\1u\0\1p"));
  struct packet got;
  peer_expect(p, PACKET_CONNACK, &got);
  assert_int_equal(got.connack.code, REASON_SUCCESS);
  assert_non_null(harness_session(h, "x"));
  peer_drop(p);
  expect_publish(watcher, "w", "end", 0, 0);
  peer_expect_properties(watcher, "content_type=");
}

static void client_ids(void **state) {
  const char *ids[] = {"0",
                       "0123456789abcdefghijklm",
                       "nopqrstuvwxyzABCDEFGHIJ",
                       "KLMNOPQRSTUVWXYZ",
                       "sp ace",
                       "\xc3\xa4",
                       "more than twenty-three bytes, of which there may be 65,535"};
  for (size_t i = 0; i < COUNT(ids); i++)
    leave_subscription_5(*state, ids[i], "session_expiry_interval=9", ids[i], 1);
  for (size_t i = 0; i < COUNT(ids); i++) {
    struct peer *p;
    assert_true(peer_resume_5(*state, ids[i], "", &p)); // each has its own session
  }
  struct peer *p;
  assert_false(peer_resume_5(*state, "klmnopqrstuvwxyz", "", &p));
}

static void no_client_id(void **state) {
  expect_refused(open_5(*state, SLICE("\x10\x0b\0\4MQTT\5\2\0\0\0")), REASON_MALFORMED_PACKET);
  expect_refused(open_5(*state, SLICE("\x10\x0d\0\4MQTT\5\2\0\0\0\0\1")), REASON_MALFORMED_PACKET);
}

static void assigned_ids(void **state) { // with and without clean start, each a new one
  struct harness *h = *state;
  char ids[4][64];
  for (unsigned i = 0; i < COUNT(ids); i++) {
    struct packet_connect connect = peer_connect_5_defaults(h, "", i & 1, "session_expiry_interval=100");
    struct peer *p = peer_open(h);
    peer_send_packet(p, &(struct packet){.type = PACKET_CONNECT, .connect = connect});
    struct packet got;
    struct packet_property id;
    peer_expect(p, PACKET_CONNACK, &got);
    assert_false(got.connack.session_present);
    assert_true(packet_find_property(&got.connack.properties, PROPERTY_ASSIGNED_CLIENT_IDENTIFIER, &id));
    assert_true(id.value.len > 0 && id.value.len < sizeof ids[i]);
    memcpy(ids[i], id.value.ptr, id.value.len);
    ids[i][id.value.len] = 0;
    for (unsigned j = 0; j < i; j++)
      assert_string_not_equal(ids[i], ids[j]);
    peer_disconnect(p);
  }
  for (unsigned i = 0; i < COUNT(ids); i++) { // the session is that of the id
    struct peer *p;
    assert_true(peer_resume_5(h, ids[i], "", &p));
  }
}

static void no_assigned_id(void **state) { // where the client had one
  struct peer *p = peer_connect_5(*state, "x", true, "");
  struct packet got;
  assert_true(packet_decode(&got, buf_slice(&p->last), MQTT_5, PACKET_MAX_SIZE) > 0);
  assert_false(packet_has_property(&got.connack.properties, PROPERTY_ASSIGNED_CLIENT_IDENTIFIER));
}

static void user_name_not_utf8(void **state) {
  expect_refused(open_5(*state, SLICE("\x10\x11\0\4MQTT\5\x82\0\0\0\0\1x\0\1\xff")), REASON_MALFORMED_PACKET);
  expect_refused(open_5(*state, SLICE("\x10\x0e\0\4MQTT\5\2\0\0\0\0\1\xff")), REASON_MALFORMED_PACKET);
}

static void wrong_format(void **state) { // cut off anywhere
  const struct slice whole = SLICE("\x10\x1f\0\4MQTT\5\xc6\0\0\5\x11\0\0\0\1\0\1x\0\0\1w\0\0\0\1u\0\1p");
  uint8_t bytes[64];
  for (size_t len = 10; len < whole.len; len++) {
    memcpy(bytes, whole.ptr, len);
    bytes[1] = (uint8_t)(len - 2);
    expect_refused(open_5(*state, slice_of(bytes, len)), REASON_MALFORMED_PACKET);
  }
}

static void byte_by_byte(void **state) { // also when the fault is known only at the end
  struct slice whole = SLICE("\x10\x0e\0\4MQTT\5\3\0\0\0\0\1x");
  struct peer *p = peer_open(*state);
  p->version = MQTT_5;
  for (size_t i = 0; i < whole.len; i++)
    peer_send(p, slice_of(whole.ptr + i, 1));
  expect_refused(p, REASON_MALFORMED_PACKET);
}

// --- take-over ---

static void taken_over(void **state) {
  struct harness *h = *state;
  struct peer *old = peer_connect_5(h, "x", true, "session_expiry_interval=100"), *p;
  peer_subscribe(old, "t", 1);
  assert_true(peer_resume_5(h, "x", "", &p));
  peer_expect_disconnect(old, REASON_SESSION_TAKEN_OVER);
  somebody_publishes(h, "t", "A", 1, false);
  take_message(p, "t", "A", 1);
  struct peer *third = peer_connect_5(h, "x", true, "");
  peer_expect_disconnect(p, REASON_SESSION_TAKEN_OVER);
  somebody_publishes(h, "t", "B", 1, false);
  expect_alive(third);
}

static void response_information(void **state) { // there is none to be told, asked for or not
  struct peer *p = peer_connect_5(*state, "x", true, "request_response_information=0");
  peer_expect_properties(p, "receive_maximum=100 maximum_packet_size=8388608 topic_alias_maximum=32 "
                            "server_keep_alive=300");
}

static void no_reason_strings(void **state) {
  struct harness *h = *state;
  struct settings settings;
  settings_init(&settings);
  settings.topic_levels = 3;
  h = restart_broker(state, &settings);
  struct peer *p = peer_connect_5(h, "x", true, "request_problem_information=0");
  assert_int_equal(peer_subscribe(p, "a/b/c/d", 1), REASON_TOPIC_FILTER_INVALID);
  peer_expect_properties(p, "");
  peer_expect_reason(p, PACKET_PUBACK, peer_publish(p, "a/b/c/d", "A", 1, false), REASON_TOPIC_NAME_INVALID);
  peer_expect_properties(p, "");
  peer_expect_reason(p, PACKET_PUBREC, peer_publish(p, "$SYS/a", "A", 2, false), REASON_NOT_AUTHORIZED);
  peer_expect_properties(p, "");
  peer_send_ack(p, PACKET_PUBREL, 99);
  peer_expect_reason(p, PACKET_PUBCOMP, 99, REASON_PACKET_IDENTIFIER_NOT_FOUND);
  peer_expect_properties(p, "");
}

static void unused_properties(void **state) { // user properties of CONNECT may repeat, and mean nothing
  struct peer *p = peer_connect_5(*state, "x", true, "user_property=a:b user_property=a:b user_property=:");
  expect_alive(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT5-3.1.0-1] [MQTT5-3.14.0-1] [MQTT5-3.2.0-1] another first packet closes without a word",
                not_a_connect),
      STATEMENT("[MQTT5-3.1.0-2] a second CONNECT is a protocol error", second_connect),
      STATEMENT("[MQTT5-3.1.2-1] another protocol name closes", protocol_names),
      STATEMENT("[MQTT5-3.1.2-2] an unknown level is told, then the end", protocol_levels),
      STATEMENT("[MQTT5-3.1.2-3] the reserved flag is malformed", reserved_flag),
      STATEMENT("[MQTT5-3.1.2-4] [MQTT5-3.1.4-4] [MQTT5-3.2.2-2] clean start discards the session",
                clean_start),
      STATEMENT("[MQTT5-3.1.2-5] [MQTT5-3.2.2-3] without clean start the session goes on", resumed),
      STATEMENT("[MQTT5-3.1.2-6] [MQTT5-3.2.2-3] without clean start and session there is a new one",
                created),
      STATEMENT(
          "[MQTT5-3.1.2-16] [MQTT5-3.1.2-17] [MQTT5-3.1.2-18] [MQTT5-3.1.2-19] user name and password are "
          "there as their flags say",
          credentials_flags),
      STATEMENT(
          "[MQTT5-3.1.4-2] [MQTT5-3.1.4-6] [MQTT5-3.2.2-7] [MQTT5-4.13.2-1] a failed login is told and ends",
          failed_login),
      STATEMENT("[MQTT5-3.1.4-5] [MQTT5-3.2.0-1] CONNACK comes before what follows a CONNECT",
                packets_behind_connect),
      STATEMENT("[MQTT5-3.2.0-1] [MQTT5-3.2.0-2] [MQTT5-3.1.4-6] nothing comes before the one CONNACK",
                nothing_while_login_waits),
      STATEMENT("[MQTT5-3.1.3-8] a client id that is rejected closes with its reason", rejected_id),
      STATEMENT("[MQTT5-3.2.2-8] CONNACK has reasons of its own only", foreign_reason),
      STATEMENT("[MQTT5-3.1.3-1] all fields of the payload, in order", all_fields),
      STATEMENT("[MQTT5-3.1.3-2] [MQTT5-3.1.3-5] each client id has its session", client_ids),
      STATEMENT("[MQTT5-3.1.3-3] a CONNECT without client id is malformed", no_client_id),
      STATEMENT("[MQTT5-3.1.3-6] [MQTT5-3.1.3-7] [MQTT5-3.2.2-16] an empty client id gets a new one",
                assigned_ids),
      STATEMENT("[MQTT5-3.1.3-7] no id is assigned where there was one", no_assigned_id),
      STATEMENT("[MQTT5-3.1.3-4] [MQTT5-3.1.3-12] client id and user name that are not UTF-8 are malformed",
                user_name_not_utf8),
      STATEMENT("[MQTT5-3.1.4-1] a CONNECT of the wrong format is malformed", wrong_format),
      STATEMENT("[MQTT5-3.1.4-1] however its bytes come", byte_by_byte),
      STATEMENT("[MQTT5-3.1.4-3] a client whose id comes again is told that it was taken over", taken_over),
      STATEMENT("[MQTT5-3.1.2-28] no response information", response_information),
      STATEMENT("[MQTT5-3.1.2-29] [MQTT5-4.13.2-1] refusals without problem information have no properties",
                no_reason_strings),
      STATEMENT("user properties of CONNECT", unused_properties),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
