// Sessions: clean and persistent ones, what is stored and what is sent again: chapters 3.1.2.4, 3.2.2.2, 4.1
// and 4.4.
#include "conformance.h"

static bool connect_clean(struct harness *h, const char *id, struct peer **p) { // returns session present
  struct packet_connect connect = peer_connect_defaults(id, true);
  bool present;
  *p = peer_open(h);
  assert_int_equal(peer_connect_with(*p, &connect, &present), 0);
  return present;
}

// A persistent session "x" with everything that one can have: a subscription to "t", a PUBLISH in flight to
// it ("1", id 2) and a PUBREL (id 1), an unreleased QoS 2 PUBLISH from it to "u" (id 77), and a message that
// waits ("2").
static void leave_full_session(struct harness *h) {
  struct peer *p = peer_connect(h, "x", false);
  peer_subscribe(p, "t", 2);
  somebody_publishes(h, "t", "0", 2, false);
  uint16_t id = expect_publish(p, "t", "0", 2, 0);
  assert_int_equal(id, 1);
  peer_send_ack(p, PACKET_PUBREC, id);
  peer_expect_ack(p, PACKET_PUBREL, id);
  somebody_publishes(h, "t", "1", 1, false);
  assert_int_equal(expect_publish(p, "t", "1", 1, 0), 2);
  peer_send(p, SLICE("\x34\7\0\1u\0\x4dup"));
  peer_expect_ack(p, PACKET_PUBREC, 77);
  peer_drop(p);
  somebody_publishes(h, "t", "2", 1, false);
}

// The client of that session gets all of it, in this order.
static void expect_full_session(struct harness *h, struct peer *p) {
  struct peer *watcher = peer_connect(h, "", true);
  peer_subscribe(watcher, "u", 2);
  peer_expect_ack(p, PACKET_PUBREL, 1);
  peer_send_ack(p, PACKET_PUBCOMP, 1);
  assert_int_equal(expect_publish(p, "t", "1", 1, DUP), 2);
  peer_send_ack(p, PACKET_PUBACK, 2);
  take_message(p, "t", "2", 1);
  peer_send(p, SLICE("\x3c\7\0\1u\0\x4dup"));
  peer_expect_ack(p, PACKET_PUBREC, 77);
  peer_expect_nothing(watcher);
  peer_send_ack(p, PACKET_PUBREL, 77);
  peer_expect_ack(p, PACKET_PUBCOMP, 77);
  take_message(watcher, "u", "up", 2);
  somebody_publishes(h, "t", "3", 2, false);
  take_message(p, "t", "3", 2);
  expect_alive(p);
  peer_disconnect(watcher);
}

static void resumed(void **state) {
  leave_full_session(*state);
  struct peer *p;
  assert_true(peer_resume(*state, "x", &p));
  expect_full_session(*state, p);
}

static void created(void **state) {
  struct peer *p;
  assert_false(peer_resume(*state, "x", &p));
  peer_subscribe(p, "t", 1);
  peer_disconnect(p);
  assert_true(peer_resume(*state, "x", &p)); // stored after DISCONNECT
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p)); // and after a loss
  somebody_publishes(*state, "t", "A", 1, false);
  take_message(p, "t", "A", 1);
}

static void stored_while_offline(void **state) {
  struct peer *p = peer_connect(*state, "x", false);
  peer_subscribe(p, "q0", 0);
  peer_subscribe(p, "q1", 1);
  peer_subscribe(p, "q2", 2);
  peer_subscribe(p, "no", 2);
  peer_unsubscribe(p, "no");
  peer_disconnect(p);
  const char *topics[] = {"q0", "q1", "q2", "no", "other"};
  for (size_t i = 0; i < COUNT(topics); i++)
    for (uint8_t qos = 0; qos <= 2; qos++)
      somebody_publishes(*state, topics[i], "A", qos, false);
  assert_true(peer_resume(*state, "x", &p));
  take_message(p, "q1", "A", 1);
  take_message(p, "q1", "A", 1);
  take_message(p, "q2", "A", 1);
  take_message(p, "q2", "A", 2);
  expect_alive(p); // nothing of QoS 0: neither as published nor as granted
}

static void stored_after_a_loss(void **state) { // lost without a word, with messages on their way
  struct peer *p = peer_connect(*state, "x", false);
  peer_subscribe(p, "t", 1);
  memory_set_window(p->memory, 0); // nothing reaches the client any longer
  for (int i = 0; i < 30; i++)
    somebody_publishes(*state, "t", "A", 1, false);
  memory_reset(p->memory);
  assert_true(peer_resume(*state, "x", &p));
  for (int i = 0; i < 30; i++) {
    struct packet got;
    peer_expect(p, PACKET_PUBLISH, &got);
    peer_send_ack(p, PACKET_PUBACK, got.id);
  }
  expect_alive(p);
}

static void clean_discards(void **state) {
  leave_full_session(*state);
  struct peer *p, *watcher = peer_connect(*state, "watcher", true);
  peer_subscribe(watcher, "u", 2);
  assert_false(connect_clean(*state, "x", &p));
  expect_alive(p); // nothing is sent again
  somebody_publishes(*state, "t", "3", 2, false);
  expect_alive(p); // no subscription
  peer_send_ack(p, PACKET_PUBREL, 77);
  peer_expect_ack(p, PACKET_PUBCOMP, 77);
  expect_alive(watcher); // no message to be released
  peer_disconnect(p);
  assert_false(peer_resume(*state, "x", &p));
  expect_alive(p);
}

static void clean_is_not_reused(void **state) {
  struct peer *p;
  assert_false(connect_clean(*state, "x", &p));
  peer_subscribe(p, "t", 1);
  somebody_publishes(*state, "t", "A", 1, false);
  expect_publish(p, "t", "A", 1, 0);
  peer_drop(p);
  somebody_publishes(*state, "t", "B", 1, false);
  assert_false(peer_resume(*state, "x", &p));
  expect_alive(p);
  somebody_publishes(*state, "t", "C", 1, false);
  expect_alive(p);
}

static void clean_taken_over(void **state) { // by a persistent one, and the other way round
  struct peer *p, *old;
  assert_false(connect_clean(*state, "x", &old));
  peer_subscribe(old, "t", 1);
  assert_false(peer_resume(*state, "x", &p));
  peer_expect_closed(old);
  somebody_publishes(*state, "t", "A", 1, false);
  expect_alive(p);
  peer_subscribe(p, "t", 1);
  old = p;
  assert_false(connect_clean(*state, "x", &p));
  peer_expect_closed(old);
  somebody_publishes(*state, "t", "B", 1, false);
  expect_alive(p);
}

static void session_present(void **state) {
  const struct slice new = SLICE("\x10\x0d\0\4MQTT\4\0\0\0\0\1x");
  const struct slice clean = SLICE("\x10\x0d\0\4MQTT\4\2\0\0\0\1x");
  const struct {
    struct slice connect;
    struct slice connack;
  } steps[] = {
      {clean, SLICE("\x20\2\0\0")}, {clean, SLICE("\x20\2\0\0")}, {new, SLICE("\x20\2\0\0")},
      {new, SLICE("\x20\2\1\0")},   {new, SLICE("\x20\2\1\0")},   {clean, SLICE("\x20\2\0\0")},
      {clean, SLICE("\x20\2\0\0")}, {new, SLICE("\x20\2\0\0")},   {new, SLICE("\x20\2\1\0")},
  };
  for (size_t i = 0; i < COUNT(steps); i++) {
    struct peer *p = peer_open(*state);
    peer_send(p, steps[i].connect);
    expect_bytes(p, steps[i].connack);
    if (i % 2) peer_disconnect(p); // else it is taken over
  }
}

static void stored_for_its_duration(void **state) {
  leave_full_session(*state);
  harness_advance(*state, UINT64_C(29) * 86400 * 1000);
  struct peer *p;
  assert_true(peer_resume(*state, "x", &p));
  expect_full_session(*state, p);
}

static void lasts_as_long_as_its_connection(void **state) {
  struct peer *p = peer_connect(*state, "x", true), *watcher = peer_connect(*state, "y", true);
  peer_subscribe(p, "t", 1);
  peer_subscribe(watcher, "u", 2);
  peer_send(p, SLICE("\x34\7\0\1u\0\x4dup"));
  peer_expect_ack(p, PACKET_PUBREC, 77);
  harness_advance(*state, UINT64_C(29) * 86400 * 1000);
  peer_expect_nothing(p);
  peer_send_ack(p, PACKET_PUBREL, 77);
  peer_expect_ack(p, PACKET_PUBCOMP, 77);
  take_message(watcher, "u", "up", 2);
  somebody_publishes(*state, "t", "A", 1, false);
  take_message(p, "t", "A", 1);
}

static void resent_once_a_connection(void **state) { // acknowledged ones are not sent again
  struct peer *p = peer_connect(*state, "x", false);
  peer_subscribe(p, "t", 2);
  for (int i = 0; i < 3; i++)
    somebody_publishes(*state, "t", "A", 1, false);
  uint16_t ids[3];
  for (int i = 0; i < 3; i++)
    ids[i] = expect_publish(p, "t", "A", 1, 0);
  peer_send_ack(p, PACKET_PUBACK, ids[1]);
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  assert_int_equal(expect_publish(p, "t", "A", 1, DUP), ids[0]);
  assert_int_equal(expect_publish(p, "t", "A", 1, DUP), ids[2]);
  harness_advance(*state, 25000);
  expect_alive(p);
  peer_send_ack(p, PACKET_PUBACK, ids[0]);
  peer_send_ack(p, PACKET_PUBACK, ids[2]);
  peer_drop(p);
  assert_true(peer_resume(*state, "x", &p));
  expect_alive(p);
}

static void added_to_every_matching_session(void **state) {
  struct peer *online = peer_connect(*state, "on", false), *clean = peer_connect(*state, "clean", true);
  struct peer *other = peer_connect(*state, "other", true), *off;
  peer_subscribe(online, "a/#", 2);
  peer_subscribe(clean, "+/b", 1);
  peer_subscribe(other, "b", 2);
  leave_subscription(*state, "off", "a/b", 2);
  leave_subscription(*state, "off2", "b/#", 2);
  struct peer *self = peer_connect(*state, "self", true); // the publisher's own as well
  peer_subscribe(self, "#", 1);
  uint16_t id = peer_publish(self, "a/b", "A", 2, false);
  peer_expect_ack(self, PACKET_PUBREC, id);
  peer_send_ack(self, PACKET_PUBREL, id);
  bool completed = false, got_own = false;
  for (struct packet got; peer_next(self, &got);) {
    completed |= got.type == PACKET_PUBCOMP;
    got_own |= got.type == PACKET_PUBLISH;
  }
  assert_true(completed && got_own);
  take_message(online, "a/b", "A", 2);
  take_message(clean, "a/b", "A", 1);
  expect_alive(other);
  assert_true(peer_resume(*state, "off", &off));
  take_message(off, "a/b", "A", 2);
  assert_true(peer_resume(*state, "off2", &off));
  expect_alive(off);
}

static void owned_once_acknowledged(void **state) { // whoever published may go at once
  leave_subscription(*state, "off", "t", 2);
  struct peer *p = peer_open(*state); // CONNECT, PUBLISH with QoS 1, and the end of the stream
  memory_send(p->memory, SLICE("\x10\x0d\0\4MQTT\4\2\0\0\0\1x\x32\6\0\1t\0\1A"));
  memory_shutdown(p->memory);
  harness_run(*state);
  assert_true(peer_resume(*state, "off", &p));
  take_message(p, "t", "A", 1);
}

static void disconnect_closes(void **state) {
  struct peer *p = peer_connect(*state, "x", true);
  peer_disconnect(p); // the client should close; the broker does not wait for it
}

static void nothing_after_disconnect(void **state) {
  struct peer *watcher = peer_connect(*state, "y", true), *p = peer_connect(*state, "x", true);
  peer_subscribe(watcher, "#", 0);
  peer_send(p, SLICE("\xe0\0\x31\4\0\1tA\xc0\0\x10\x0d\0\4MQTT\4\2\0\0\0\1z"));
  peer_expect_closed(p);
  expect_alive(watcher);
  assert_null(harness_session(*state, "z"));
  assert_int_equal(memory_retained(((struct harness *)*state)->shard->backend)->count, 0);
}

static void nothing_is_lost_before_disconnect(void **state) { // what came before it counts
  struct peer *watcher = peer_connect(*state, "y", true), *p = peer_connect(*state, "x", true);
  peer_subscribe(watcher, "#", 0);
  peer_send(p, SLICE("\x30\4\0\1tA\x32\6\0\1t\0\1B\xe0\0"));
  peer_expect_ack(p, PACKET_PUBACK, 1);
  peer_expect_closed(p);
  take_message(watcher, "t", "A", 0);
  take_message(watcher, "t", "B", 0);
}

static void disconnect_discards_the_will(void **state) {
  struct peer *watcher = peer_connect(*state, "y", true);
  peer_subscribe(watcher, "#", 0);
  struct peer *p = peer_connect_will(*state, "x", "w", "gone", 0, true);
  peer_disconnect(p);
  p = peer_connect_will(*state, "x", "w", "gone", 0, true);
  peer_send(p, SLICE("\xe0\0\xf0\0")); // a violation behind it does not bring it back
  peer_expect_closed(p);
  harness_advance(*state, 86400000);
  expect_alive(watcher);
  assert_int_equal(memory_retained(((struct harness *)*state)->shard->backend)->count, 0);
}

static void qos_0_ends_with_the_connection(void **state) { // and leaves the order of the others alone
  struct peer *p = peer_connect(*state, "x", false);
  peer_subscribe(p, "t", 1);
  memory_set_window(p->memory, 0);
  for (char i = 'a'; i <= 'z'; i++)
    somebody_publishes(*state, "t", (char[]){i, 0}, (uint8_t)(i & 1), false);
  memory_reset(p->memory);
  harness_run(*state);
  somebody_publishes(*state, "t", "0", 0, false);
  somebody_publishes(*state, "t", "1", 1, false);
  assert_true(peer_resume(*state, "x", &p));
  struct packet got;
  for (char i = 'a'; i <= 'z'; i = (char)(i + 2)) {
    peer_expect(p, PACKET_PUBLISH, &got);
    assert_int_equal(got.publish.message.payload.ptr[0], i);
    peer_send_ack(p, PACKET_PUBACK, got.id);
  }
  take_message(p, "t", "1", 1);
  expect_alive(p);
}

static void take_over_of_a_silent_one(void **state) { // which reads nothing any longer
  struct peer *watcher = peer_connect(*state, "watcher", true), *p;
  peer_subscribe(watcher, "w", 0);
  struct packet_connect connect = connect_with_will("x", "w", "gone", 0, false);
  connect.clean_session = false;
  struct peer *old = peer_open(*state);
  assert_int_equal(peer_connect_with(old, &connect, NULL), 0);
  peer_subscribe(old, "t", 1);
  memory_set_window(old->memory, 0);
  somebody_publishes(*state, "t", "A", 1, false);
  somebody_publishes(*state, "t", "B", 1, false);
  assert_true(peer_resume(*state, "x", &p));
  take_message(watcher, "w", "gone", 0);
  struct packet got;
  for (char i = 'A'; i <= 'B'; i++) {
    peer_expect(p, PACKET_PUBLISH, &got);
    assert_int_equal(got.publish.message.payload.ptr[0], i);
    peer_send_ack(p, PACKET_PUBACK, got.id);
  }
  expect_alive(p);
  harness_advance(*state, 60000);
  assert_true(peer_is_closed(old));
  expect_alive(p);
  expect_alive(watcher);
}

static void many_at_once(void **state) { // of one id: one of them stays
  enum { PEERS = 5 };
  struct peer *peers[PEERS];
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < PEERS; i++)
      peers[i] = peer_open(*state);
    for (int i = 0; i < PEERS; i++)
      memory_send(peers[i]->memory, i % 2 ? SLICE("\x10\x0d\0\4MQTT\4\2\0\0\0\1x\xc0\0")
                                          : SLICE("\x10\x0d\0\4MQTT\4\0\0\0\0\1x\xc0\0"));
    harness_run(*state);
    int open = 0;
    for (int i = 0; i < PEERS; i++) {
      peer_expect(peers[i], PACKET_CONNACK, NULL);
      if (!peer_is_closed(peers[i])) open++;
    }
    assert_int_equal(open, 1);
  }
}

// A backend that does not answer whether a message may be published until `client` is resumed.
static struct backend_ops slow;
static struct client *waits;
static enum backend_status never_answer(struct backend *b, struct client *c, struct message **m,
                                        struct reply *reply) {
  (void)b, (void)m, (void)reply;
  waits = c;
  return BACKEND_PENDING;
}

static struct peer *busy_client(struct harness *h) {
  slow = *h->shard->backend->ops;
  slow.accept = never_answer;
  h->shard->backend->ops = &slow;
  struct peer *p = peer_connect(h, "x", false);
  peer_subscribe(p, "t", 1);
  peer_publish(p, "t", "A", 1, false);
  return p;
}

static void take_over_waits(void **state) { // for what the client before it has under way
  struct harness *h = *state;
  struct peer *old = busy_client(h), *new = peer_open(h);
  peer_send(new, SLICE("\x10\x0d\0\4MQTT\4\0\0\0\0\1x\xc0\0"));
  peer_expect_nothing(new);
  client_resume(waits, &(struct reply){0});
  harness_run(h);
  assert_true(peer_is_closed(old));
  struct packet got;
  peer_expect(new, PACKET_CONNACK, &got);
  assert_true(got.connack.session_present);
  bool delivered = false, pinged = false;
  while (peer_next(new, &got)) {
    delivered |= got.type == PACKET_PUBLISH;
    pinged |= got.type == PACKET_PINGRESP;
  }
  assert_true(delivered && pinged);
}

static void take_over_times_out(void **state) {
  struct harness *h = *state;
  struct peer *old = busy_client(h), *new = peer_open(h), *other = peer_connect(h, "y", true);
  peer_send(new, SLICE("\x10\x0d\0\4MQTT\4\0\0\0\0\1x\xc0\0"));
  harness_advance(h, 5000);
  expect_bytes(new, SLICE("\x20\2\0\3"));
  peer_expect_closed(new);
  expect_alive(other);
  client_resume(waits, &(struct reply){0});
  harness_run(h);
  assert_true(peer_is_closed(old));
  assert_true(peer_resume(h, "x", &new));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT-3.1.2-4] [MQTT-4.4.0-1] a stored session goes on with all of its state", resumed),
      STATEMENT("[MQTT-3.1.2-4] a session is created when there is none, and kept", created),
      STATEMENT("[MQTT-3.1.2-5] QoS 1 and 2 are stored for an offline session, QoS 0 is not",
                stored_while_offline),
      STATEMENT("[MQTT-3.1.2-5] nothing is lost with a connection", stored_after_a_loss),
      STATEMENT("[MQTT-3.1.2-6] [MQTT-3.1.4-3] clean session 1 discards everything", clean_discards),
      STATEMENT("[MQTT-3.1.2-6] a clean session ends with its connection", clean_is_not_reused),
      STATEMENT("[MQTT-3.1.2-6] [MQTT-3.1.4-2] [MQTT-3.1.4-3] a take-over changes nothing about that",
                clean_taken_over),
      STATEMENT("[MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3] session present tells what was stored",
                session_present),
      STATEMENT("[MQTT-4.1.0-1] a session is stored until it ends", stored_for_its_duration),
      STATEMENT("[MQTT-4.1.0-2] a session lasts as long as its connection", lasts_as_long_as_its_connection),
      STATEMENT("[MQTT-4.4.0-1] what was acknowledged is not sent again", resent_once_a_connection),
      STATEMENT("[MQTT-4.5.0-1] a message is added to every session that matches",
                added_to_every_matching_session),
      STATEMENT("[MQTT-4.5.0-1] what arrived before the end of a connection counts", owned_once_acknowledged),
      STATEMENT("[MQTT-3.14.4-1] the broker closes after a DISCONNECT", disconnect_closes),
      STATEMENT("[MQTT-3.14.4-2] nothing behind a DISCONNECT is processed", nothing_after_disconnect),
      STATEMENT("[MQTT-3.14.4-2] everything before it is", nothing_is_lost_before_disconnect),
      STATEMENT("[MQTT-3.14.4-3] a DISCONNECT discards the will", disconnect_discards_the_will),
      STATEMENT(
          "[MQTT-3.1.2-5] [MQTT-4.6.0-6] QoS 0 that waits ends with the connection, the rest stays in order",
          qos_0_ends_with_the_connection),
      STATEMENT("[MQTT-3.1.4-2] [MQTT-3.1.2-8] a client that reads nothing is taken over as well",
                take_over_of_a_silent_one),
      STATEMENT("[MQTT-3.1.4-2] of many that come at once one stays", many_at_once),
      STATEMENT("[MQTT-3.1.4-2] a take-over waits for what is under way", take_over_waits),
      STATEMENT("[MQTT-4.8.0-2] [MQTT-3.2.2-5] and gives up after a time", take_over_times_out),
  };
  return cmocka_run_group_tests_name("conformance: session", tests, NULL, NULL);
}
