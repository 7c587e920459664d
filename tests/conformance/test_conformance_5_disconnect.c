// DISCONNECT of MQTT 5 in both directions, and what is left out of a packet that would be too large:
// chapters 3.14, 4.13 and the reason strings of all packets.
#include "conformance.h"
#include "decorator.h"

// A client with the will "gone" to "will", and one that gets it.
static struct peer *with_will(struct harness *h, struct peer **watcher, const char *properties) {
  *watcher = peer_connect_5(h, "watcher", true, "");
  peer_subscribe(*watcher, "will", 0);
  struct packet_connect connect = connect_with_will("x", "will", "gone", 0, false);
  connect.version = MQTT_5;
  connect.properties = harness_properties(h, properties);
  struct peer *p = peer_open(h);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  return p;
}

static struct client *client_of(struct harness *h, const char *id) { return harness_session(h, id)->client; }

// --- of the client ---

static void normal(void **state) { // in all its lengths: nothing is answered, and there is no will
  const struct slice forms[] = {SLICE("\xe0\0"), SLICE("\xe0\1\0"), SLICE("\xe0\2\0\0"),
                                SLICE("\xe0\x0d\0\x0b\x1f\0\1r\x26\0\1a\0\1b")};
  for (size_t i = 0; i < COUNT(forms); i++) {
    struct peer *watcher, *p = with_will(*state, &watcher, "");
    peer_send(p, forms[i]);
    peer_expect_closed(p);
    expect_alive(watcher);
    peer_disconnect(watcher);
  }
}

static void with_the_will(void **state) { // any other reason sends it
  const uint8_t reasons[] = {0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99};
  for (size_t i = 0; i < COUNT(reasons); i++) {
    struct peer *watcher, *p = with_will(*state, &watcher, "");
    peer_send_reason(p, PACKET_DISCONNECT, 0, reasons[i], "");
    peer_expect_closed(p);
    take_message(watcher, "will", "gone", 0);
    expect_alive(watcher);
    peer_disconnect(watcher);
  }
}

static void what_follows(void **state) { // is not processed
  struct peer *watcher, *p = with_will(*state, &watcher, "");
  peer_send(p, SLICE("\xe0\0\x30\x0a\0\4will\0abc\xc0\0"));
  peer_expect_closed(p);
  expect_alive(watcher);
}

// --- of the server ---

static void shut_down(void **state) {
  struct harness *h = *state;
  struct peer *watcher, *p = with_will(h, &watcher, "session_expiry_interval=10"),
                        *old = peer_connect(h, "y", true);
  shard_close_clients(h->shard);
  peer_expect_reason(p, PACKET_DISCONNECT, 0, REASON_SERVER_SHUTTING_DOWN);
  peer_expect_properties(p, "");
  peer_expect_closed(p);
  peer_expect_closed(old);
  struct packet_connect connect = peer_connect_5_defaults(h, "z", true, "");
  expect_connect_refused(h, &connect, REASON_SERVER_UNAVAILABLE);
}

static void administrative(void **state) { // and the will is sent
  struct harness *h = *state;
  struct peer *watcher, *p = with_will(h, &watcher, "session_expiry_interval=10");
  client_close(client_of(h, "x"), NULL);
  peer_expect_reason(p, PACKET_DISCONNECT, 0, REASON_ADMINISTRATIVE_ACTION);
  peer_expect_properties(p, "");
  peer_expect_closed(p);
  take_message(watcher, "will", "gone", 0);
}

static void with_another_reason(void **state) { // one that DISCONNECT has, or the nearest
  struct harness *h = *state;
  const struct {
    uint8_t given, told;
  } reasons[] = {{REASON_QUOTA_EXCEEDED, REASON_QUOTA_EXCEEDED},
                 {REASON_USE_ANOTHER_SERVER, REASON_USE_ANOTHER_SERVER},
                 {REASON_MAXIMUM_CONNECT_TIME, REASON_MAXIMUM_CONNECT_TIME},
                 {REASON_BANNED, REASON_NOT_AUTHORIZED},
                 {REASON_BAD_USER_NAME_OR_PASSWORD, REASON_NOT_AUTHORIZED},
                 {REASON_PACKET_IDENTIFIER_IN_USE, REASON_UNSPECIFIED_ERROR}};
  for (size_t i = 0; i < COUNT(reasons); i++) {
    struct peer *p = peer_connect_5(h, "x", true, "");
    client_close_with(client_of(h, "x"), reasons[i].given, "that is why");
    peer_expect_disconnect(p, reasons[i].told);
  }
}

static void last_packet(void **state) { // nothing comes behind DISCONNECT, and nothing that waits before it
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "session_expiry_interval=10 receive_maximum=1");
  peer_subscribe(p, "t", 1);
  somebody_publishes(h, "t", "1", 1, false);
  somebody_publishes(h, "t", "2", 1, false);
  uint16_t id = expect_publish(p, "t", "1", 1, 0);
  uint8_t bytes[] = {
      0x40, 2, (uint8_t)(id >> 8), (uint8_t)id, 0xc0, 0, 0xd0, 0, 0xc0, 0, 0x82, 7, 0, 1, 0, 0, 1, 't', 1};
  peer_send(p, slice_of(bytes, sizeof bytes));
  struct packet got;
  bool disconnected = false;
  while (peer_next(p, &got)) {
    assert_false(disconnected);
    disconnected = got.type == PACKET_DISCONNECT;
    assert_true(got.type != PACKET_SUBACK);
  }
  assert_true(disconnected && peer_is_closed(p));
  assert_true(peer_resume_5(h, "x", "", &p)); // and no message is lost by it
  struct packet_message *m = &got.publish.message;
  peer_expect(p, PACKET_PUBLISH, &got);
  assert_true(slice_eq(m->payload, SLICE("2")));
}

static void does_not_acknowledge(void **state) { // in the end: out of tokens
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "receive_maximum=1");
  peer_subscribe(p, "t", 1);
  somebody_publishes(h, "t", "1", 1, false);
  somebody_publishes(h, "t", "2", 1, false);
  expect_publish(p, "t", "1", 1, 0);
  harness_advance(h, 29000);
  expect_alive(p);
  harness_advance(h, 3000);
  peer_expect_disconnect(p, REASON_QUOTA_EXCEEDED);
}

static void unfinished_packet(void **state) {
  struct peer *p = peer_connect_5(*state, "x", true, "");
  peer_send(p, SLICE("\x30\x10\0\1"));
  harness_advance(*state, 62000);
  peer_expect_disconnect(p, REASON_KEEP_ALIVE_TIMEOUT);
}

static void
never_before_connack(void **state) { // a connection that is not let in is told in CONNACK, or not at all
  struct harness *h = *state;
  struct peer *p = peer_open(h);
  p->version = MQTT_5;
  harness_advance(h, 11000);
  peer_expect_closed(p);
  p = open_5(h, SLICE("\x10\x0e\0\4MQTT\5\2"));
  harness_advance(h, 62000);
  peer_expect_closed(p);
}

static void closing_while_login_waits(void **state) {
  (void)state;
  struct harness *h = harness_new(NULL);
  struct decorator d;
  decorator_init(&d, h);
  d.hold_authenticate = true;
  struct peer *p = open_5(h, SLICE("\x10\x0e\0\4MQTT\5\2\0\0\0\0\1x"));
  shard_close_clients(h->shard);
  decorator_resume(&d, h, (struct reply){0});
  expect_refused(p, REASON_SERVER_UNAVAILABLE);
  harness_free(h);
}

// --- too large ---

static void nothing_but_connack(struct settings *settings) {
  settings->client.parallel_publishes = 65535;
  settings->client.maximum_keep_alive_ms = 0;
  settings->topic_alias_maximum = 0;
  settings->topic_levels = 2;
}

// A client that takes no packet with any text in it: what there might be to say is left out, the packet
// comes.
static void no_room_for_texts(void **state) {
  struct settings settings;
  settings_init(&settings);
  nothing_but_connack(&settings);
  struct harness *h = restart_broker(state, &settings);
  struct peer *p = peer_connect_5(h, "x", true, "maximum_packet_size=10");
  peer_send(p, SLICE("\x32\x0b\0\5a/b/c\0\1\0A"));
  peer_expect_reason(p, PACKET_PUBACK, 1, REASON_TOPIC_NAME_INVALID);
  peer_expect_properties(p, "");
  peer_send(p, SLICE("\x34\x0b\0\5a/b/c\0\2\0A"));
  peer_expect_reason(p, PACKET_PUBREC, 2, REASON_TOPIC_NAME_INVALID);
  peer_expect_properties(p, "");
  peer_send_ack(p, PACKET_PUBREC, 3);
  peer_expect_reason(p, PACKET_PUBREL, 3, REASON_PACKET_IDENTIFIER_NOT_FOUND);
  peer_expect_properties(p, "");
  peer_send_ack(p, PACKET_PUBREL, 4);
  peer_expect_reason(p, PACKET_PUBCOMP, 4, REASON_PACKET_IDENTIFIER_NOT_FOUND);
  peer_expect_properties(p, "");
  assert_int_equal(peer_subscribe(p, "a/b/c", 1), REASON_TOPIC_FILTER_INVALID);
  peer_expect_properties(p, "");
  peer_unsubscribe(p, "a/b/c");
  peer_expect_properties(p, "");
  peer_send(p, SLICE("\xf0\0"));
  peer_expect_reason(p, PACKET_DISCONNECT, 0, REASON_PROTOCOL_ERROR);
  peer_expect_properties(p, "");
  peer_expect_closed(p);
  memory_set_access(h->memory, MEMORY_CREDENTIALS);
  struct packet_connect connect = peer_connect_5_defaults(h, "x", true, "maximum_packet_size=10");
  expect_connect_refused(h, &connect, REASON_NOT_AUTHORIZED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT5-3.14.4-3] a normal DISCONNECT deletes the will", normal),
      STATEMENT("[MQTT5-3.14.2-1] [MQTT5-3.1.2-8] one with another reason sends it", with_the_will),
      STATEMENT("[MQTT5-3.14.4-1] what follows a DISCONNECT is not processed", what_follows),
      STATEMENT("[MQTT5-3.14.2-1] [MQTT5-3.14.2-2] [MQTT5-3.14.4-2] a broker that stops tells so", shut_down),
      STATEMENT("[MQTT5-3.14.2-1] [MQTT5-3.14.2-2] [MQTT5-3.14.4-2] [MQTT5-4.13.2-1] a client that is closed "
                "is told so",
                administrative),
      STATEMENT("[MQTT5-3.14.2-1] DISCONNECT has reasons of its own only", with_another_reason),
      STATEMENT("[MQTT5-3.14.4-1] [MQTT5-3.14.4-2] nothing comes behind a DISCONNECT", last_packet),
      STATEMENT("[MQTT5-3.14.4-2] a client that does not acknowledge", does_not_acknowledge),
      STATEMENT("[MQTT5-3.14.4-2] a client that does not finish a packet", unfinished_packet),
      STATEMENT("[MQTT5-3.14.0-1] there is no DISCONNECT before CONNACK", never_before_connack),
      STATEMENT("[MQTT5-3.14.0-1] nor for a client whose login waits", closing_while_login_waits),
      STATEMENT(
          "[MQTT5-3.2.2-19] [MQTT5-3.2.2-20] [MQTT5-3.4.2-2] [MQTT5-3.4.2-3] [MQTT5-3.5.2-2] [MQTT5-3.5.2-3] "
          "[MQTT5-3.6.2-2] [MQTT5-3.6.2-3] [MQTT5-3.7.2-2] [MQTT5-3.7.2-3] [MQTT5-3.9.2-1] [MQTT5-3.9.2-2] "
          "[MQTT5-3.11.2-1] [MQTT5-3.11.2-2] [MQTT5-3.14.2-3] [MQTT5-3.14.2-4] texts do not make a packet "
          "too "
          "large",
          no_room_for_texts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
