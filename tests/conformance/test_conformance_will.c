// Wills: chapter 3.1.2.5 to 3.1.2.7.
#include "conformance.h"

#define CONNECT(length, flags, payload) SLICE("\x10" length "\0\4MQTT\4" flags "\0\0" payload)

// A client that sees everything, with QoS 2.
static struct peer *watch(struct harness *h) {
  struct peer *p = peer_connect(h, "watcher", true);
  peer_subscribe(p, "#", 2);
  return p;
}

static void connection_lost(void **state) {
  struct peer *watcher = watch(*state), *p = peer_connect_will(*state, "x", "w", "gone", 1, false);
  harness_advance(*state, 86400000);
  peer_expect_nothing(watcher); // never early
  peer_drop(p);
  take_message(watcher, "w", "gone", 1);
  harness_advance(*state, 86400000);
  expect_alive(watcher); // and never again
}

static void closed_by_the_peer(void **state) {
  struct peer *watcher = watch(*state), *p = peer_connect_will(*state, "x", "w", "gone", 1, false);
  memory_shutdown(p->memory); // an end without DISCONNECT
  take_message(watcher, "w", "gone", 1);
  peer_expect_closed(p);
  expect_alive(watcher);
}

static void closed_by_the_broker(void **state) {
  struct harness *h = *state;
  struct peer *watcher = watch(h), *p = peer_connect_will(h, "x", "w", "gone", 1, false);
  client_close(harness_session(h, "x")->client, NULL);
  harness_run(h);
  peer_expect_closed(p);
  take_message(watcher, "w", "gone", 1);
  expect_alive(watcher);
}

static void will_of_a_refused_client(void **state) {
  struct peer *watcher = watch(*state);
  struct packet_connect connect = connect_with_will("", "w", "gone", 0, true);
  connect.clean_session = false;
  struct peer *p = peer_open(*state);
  assert_int_equal(peer_connect_with(p, &connect, NULL), CONNACK_IDENTIFIER_REJECTED);
  peer_expect_closed(p);
  memory_set_access(((struct harness *)*state)->shard->backend, MEMORY_CREDENTIALS);
  connect = connect_with_will("x", "w", "gone", 0, true);
  p = peer_open(*state);
  assert_int_equal(peer_connect_with(p, &connect, NULL), CONNACK_NOT_AUTHORIZED);
  peer_expect_closed(p);
  expect_alive(watcher);
}

static void fields_missing(void **state) {
  expect_no_connack(*state, CONNECT("\x0d", "\6", "\0\1x"));
  expect_no_connack(*state, CONNECT("\x10", "\6", "\0\1x\0\1w"));
  expect_no_connack(*state, CONNECT("\x12", "\6", "\0\1x\0\1w\0\2m"));
  struct peer *p = peer_open(*state);
  peer_send(p, CONNECT("\x12", "\6", "\0\1x\0\1w\0\0")); // a will message may be empty
  expect_bytes(p, SLICE("\x20\2\0\0"));
}

static void fields_are_used(void **state) {
  struct peer *watcher = watch(*state);
  for (uint8_t qos = 0; qos <= 2; qos++) {
    peer_drop(peer_connect_will(*state, "x", "w", "a \xc3\xa9", qos, false));
    take_message(watcher, "w", "a \xc3\xa9", qos);
  }
  peer_subscribe(watcher, "#", 1);
  peer_drop(peer_connect_will(*state, "x", "w", "lowered", 2, false));
  take_message(watcher, "w", "lowered", 1);
  expect_alive(watcher);
}

static void removed_once_published(void **state) {
  struct peer *watcher = watch(*state), *p;
  struct packet_connect connect = connect_with_will("x", "w", "gone", 1, false);
  connect.clean_session = false;
  p = peer_open(*state);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  peer_drop(p);
  take_message(watcher, "w", "gone", 1);
  assert_true(peer_resume(*state, "x", &p)); // the same session, without a will
  peer_drop(p);
  expect_alive(watcher);
}

static void removed_by_disconnect(void **state) {
  struct peer *watcher = watch(*state), *p;
  struct packet_connect connect = connect_with_will("x", "w", "gone", 1, true);
  connect.clean_session = false;
  p = peer_open(*state);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  peer_disconnect(p);
  expect_alive(watcher);
  assert_true(peer_resume(*state, "x", &p));
  peer_drop(p);
  harness_advance(*state, 86400000);
  expect_alive(watcher);
  assert_int_equal(memory_retained(((struct harness *)*state)->shard->backend)->count, 0);
}

static void disconnect_behind_a_violation(void **state) { // what is not a DISCONNECT does not delete the will
  struct peer *watcher = watch(*state);
  const struct slice ends[] = {SLICE("\xe1\0"), SLICE("\xe0\1\0"), SLICE("\xf0\0\xe0\0"), SLICE("\xe0")};
  for (size_t i = 0; i < COUNT(ends); i++) {
    struct peer *p = peer_connect_will(*state, "x", "w", "gone", 0, false);
    peer_send(p, ends[i]);
    if (!peer_is_closed(p)) peer_drop(p);
    take_message(watcher, "w", "gone", 0);
  }
  expect_alive(watcher);
}

static void fields_not_announced(void **state) {
  struct peer *watcher = watch(*state);
  expect_no_connack(*state, CONNECT("\x12", "\2", "\0\1x\0\1w\0\0"));
  expect_no_connack(*state, CONNECT("\x0d", "\x2a", "\0\1x"));
  expect_alive(watcher);
}

static void no_will(void **state) {
  struct peer *watcher = watch(*state);
  peer_drop(peer_connect(*state, "x", true));
  peer_drop(peer_connect(*state, "x", false));
  struct peer *p = peer_connect(*state, "x", false);
  peer_send(p, SLICE("\xf0\0"));
  peer_expect_closed(p);
  expect_alive(watcher);
}

static void qos_without_a_will(void **state) {
  expect_no_connack(*state, CONNECT("\x0d", "\x0a", "\0\1x"));
  expect_no_connack(*state, CONNECT("\x0d", "\x12", "\0\1x"));
  expect_no_connack(*state, CONNECT("\x0d", "\x1a", "\0\1x"));
}

static void qos_3(void **state) {
  expect_no_connack(*state, CONNECT("\x13", "\x1e", "\0\1x\0\1w\0\1m"));
  for (uint8_t qos = 0; qos <= 2; qos++)
    expect_alive(peer_connect_will(*state, "x", "w", "m", qos, false));
}

static void retain_without_a_will(void **state) {
  expect_no_connack(*state, CONNECT("\x0d", "\x22", "\0\1x"));
}

static void not_retained(void **state) {
  struct peer *watcher = watch(*state);
  somebody_publishes(*state, "w", "kept", 1, true);
  take_message(watcher, "w", "kept", 1);
  peer_drop(peer_connect_will(*state, "x", "w", "gone", 1, false));
  take_message(watcher, "w", "gone", 1);
  struct peer *late = peer_connect(*state, "late", true);
  peer_subscribe(late, "w", 2);
  expect_publish(late, "w", "kept", 1, RETAINED);
  expect_alive(late);
}

static void retained(void **state) {
  struct peer *watcher = watch(*state);
  peer_drop(peer_connect_will(*state, "x", "w", "gone", 2, true));
  finish_delivery(watcher, 2, expect_publish(watcher, "w", "gone", 2, 0));
  struct peer *late = peer_connect(*state, "late", true);
  peer_subscribe(late, "w", 2);
  finish_delivery(late, 2, expect_publish(late, "w", "gone", 2, RETAINED));
  peer_drop(peer_connect_will(*state, "x", "w", "", 0, true)); // an empty one deletes, as any publish
  take_message(watcher, "w", "", 0);
  take_message(late, "w", "", 0);
  peer_subscribe(late, "w", 2);
  expect_alive(late);
}

static void topic_not_utf8(void **state) {
  expect_no_connack(*state, CONNECT("\x14", "\6", "\0\1x\0\2\xc3w\0\1m"));
  expect_no_connack(*state, CONNECT("\x14", "\6", "\0\1x\0\2w\0\0\1m"));
}

static void topic_invalid(void **state) {
  expect_no_connack(*state, CONNECT("\x12", "\6", "\0\1x\0\0\0\1m"));
  expect_no_connack(*state, CONNECT("\x13", "\6", "\0\1x\0\1#\0\1m"));
  expect_no_connack(*state, CONNECT("\x15", "\6", "\0\1x\0\3a/+\0\1m"));
}

static void binary_message(void **state) { // any bytes, also what is not UTF-8
  struct peer *watcher = watch(*state), *p = peer_open(*state);
  peer_send(p, CONNECT("\x15", "\6", "\0\1x\0\1w\0\3\0\xff\xed"));
  expect_bytes(p, SLICE("\x20\2\0\0"));
  peer_drop(p);
  expect_bytes(watcher, SLICE("\x30\6\0\1w\0\xff\xed"));
}

static void own_subscription(void **state) { // the will is routed to the session that it comes from as well
  struct packet_connect connect = connect_with_will("x", "w", "gone", 1, false);
  connect.clean_session = false;
  struct peer *p = peer_open(*state);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  peer_subscribe(p, "w", 1);
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  struct packet got;
  peer_expect(p, PACKET_PUBLISH, &got);
  assert_true(slice_eq(got.publish.message.payload, SLICE("gone")));
  peer_send_ack(p, PACKET_PUBACK, got.id);
  expect_alive(p);
}

static void to_offline_sessions(void **state) {
  leave_subscription(*state, "off", "w", 1);
  peer_drop(peer_connect_will(*state, "x", "w", "gone", 2, false));
  struct peer *p;
  assert_true(peer_resume(*state, "off", &p));
  take_message(p, "w", "gone", 1);
  expect_alive(p);
}

static void published_before_it_is_lost(void **state) { // what the client had published comes before its will
  struct peer *watcher = watch(*state), *p = peer_connect_will(*state, "x", "t", "gone", 1, false);
  peer_publish(p, "t", "1", 1, false);
  peer_publish(p, "t", "2", 1, false);
  peer_drop(p);
  take_message(watcher, "t", "1", 1);
  take_message(watcher, "t", "2", 1);
  take_message(watcher, "t", "gone", 1);
}

static void dollar_topics(void **state) {
  struct harness *h = *state;
  struct peer *watcher = watch(h);
  peer_subscribe(watcher, "$SYS/#", 1);
  peer_subscribe(watcher, "$own/#", 1);
  peer_drop(peer_connect_will(h, "x", "$own/w", "gone", 1, false));
  take_message(watcher, "$own/w", "gone", 1);
  peer_drop(peer_connect_will(h, "x", "$SYS/w", "gone", 1, true)); // as a publish: clients may not
  expect_alive(watcher);
  assert_int_equal(memory_retained(h->shard->backend)->count, 0);
}

// A backend that lets nobody publish to topics with "forbidden".
static struct backend_ops strict;
static enum backend_status refuse_forbidden(struct backend *b, struct client *c, struct message **m,
                                            struct reply *reply) {
  (void)b, (void)c;
  if (slice_starts(message_topic(*m), SLICE("forbidden"))) reply->reason = REASON_NOT_AUTHORIZED;
  return BACKEND_DONE;
}

static void not_authorized(void **state) {
  struct harness *h = *state;
  strict = *h->shard->backend->ops;
  strict.accept = refuse_forbidden;
  h->shard->backend->ops = &strict;
  struct peer *watcher = watch(h);
  peer_drop(peer_connect_will(h, "x", "forbidden/w", "gone", 2, true));
  expect_alive(watcher);
  assert_int_equal(memory_retained(h->shard->backend)->count, 0);
  peer_drop(peer_connect_will(h, "x", "allowed/w", "gone", 1, true));
  take_message(watcher, "allowed/w", "gone", 1);
}

static void broker_stops(void **state) {
  struct harness *h = *state;
  leave_subscription(h, "off", "w", 1);
  struct peer *p = peer_connect_will(h, "x", "w", "gone", 1, false);
  shard_close_clients(h->shard);
  harness_run(h);
  peer_expect_closed(p);
  assert_int_equal(harness_session(h, "off")->queue.count, 1);
}

static void wills_of_a_crowd(void **state) { // that watches each other, and is lost at once
  enum { PEERS = 4 };
  struct harness *h = *state;
  struct peer *watcher = watch(h), *peers[PEERS];
  for (char i = 0; i < PEERS; i++) {
    char id[2] = {(char)('a' + i), 0};
    peers[(int)i] = peer_connect_will(h, id, "w", id, 0, false);
    peer_subscribe(peers[(int)i], "w", 2);
  }
  for (int i = 0; i < PEERS; i++)
    memory_reset(peers[i]->memory);
  harness_run(h);
  for (int i = 0; i < PEERS; i++)
    peer_expect(watcher, PACKET_PUBLISH, NULL);
  expect_alive(watcher);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT-3.1.2-8] the will is published when the connection is lost, once", connection_lost),
      STATEMENT("[MQTT-3.1.2-8] also when the client closes it without DISCONNECT", closed_by_the_peer),
      STATEMENT("[MQTT-3.1.2-8] also when the broker closes it", closed_by_the_broker),
      STATEMENT("[MQTT-3.1.2-8] a client that was not let in has no will", will_of_a_refused_client),
      STATEMENT("[MQTT-3.1.2-8] [MQTT-4.6.0-6] what was published before comes before the will",
                published_before_it_is_lost),
      STATEMENT("[MQTT-3.1.2-8] [MQTT-4.5.0-1] offline sessions get it as well", to_offline_sessions),
      STATEMENT("[MQTT-3.1.2-8] a session gets its own client's will", own_subscription),
      STATEMENT("[MQTT-3.1.2-9] a will without its fields closes, an empty message is one", fields_missing),
      STATEMENT("[MQTT-3.1.2-9] the fields and the QoS are those of the message", fields_are_used),
      STATEMENT("[MQTT-3.1.2-10] a will that was published is gone", removed_once_published),
      STATEMENT("[MQTT-3.1.2-10] [MQTT-3.14.4-3] DISCONNECT deletes the will for good",
                removed_by_disconnect),
      STATEMENT("[MQTT-3.14.1-1] [MQTT-3.1.2-8] a malformed DISCONNECT does not",
                disconnect_behind_a_violation),
      STATEMENT("[MQTT-3.1.2-11] fields of a will that was not announced close", fields_not_announced),
      STATEMENT("[MQTT-3.1.2-12] without the will flag nothing is published", no_will),
      STATEMENT("[MQTT-3.1.2-13] a will QoS without the will flag closes", qos_without_a_will),
      STATEMENT("[MQTT-3.1.2-14] will QoS 3 closes, 0 to 2 are let in", qos_3),
      STATEMENT("[MQTT-3.1.2-15] will retain without the will flag closes", retain_without_a_will),
      STATEMENT("[MQTT-3.1.2-16] without will retain nothing is retained or replaced", not_retained),
      STATEMENT("[MQTT-3.1.2-17] with will retain it is", retained),
      STATEMENT("[MQTT-3.1.3-10] [MQTT-1.5.3-1] a will topic that is not UTF-8 closes", topic_not_utf8),
      STATEMENT("[MQTT-4.7.1-1] [MQTT-4.7.3-1] a will topic that is no topic name closes", topic_invalid),
      STATEMENT("a will message is any bytes", binary_message),
      STATEMENT("wills go to $ topics as publishes do", dollar_topics),
      STATEMENT("[MQTT-3.3.5-2] a will passes the authorisation of a publish", not_authorized),
      STATEMENT("[MQTT-3.1.2-8] a broker that stops publishes wills", broker_stops),
      STATEMENT("[MQTT-3.1.2-8] each one of a crowd that is lost at once", wills_of_a_crowd),
  };
  return cmocka_run_group_tests_name("conformance: will", tests, NULL, NULL);
}
