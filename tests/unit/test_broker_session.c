// Sessions: temporary and stored ones, take-over, wills, what is sent again.
#include "decorator.h"

struct fixture {
  struct harness *h;
  struct decorator d;
};

static int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  f->h = harness_new(NULL);
  decorator_init(&f->d, f->h);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  harness_end_peers(f->h);
  harness_free(f->h);
  mem_free(f);
  return 0;
}

static struct peer *connect_present(struct harness *h, const char *id, bool clean, bool expected) {
  struct peer *p = peer_open(h);
  struct packet_connect connect = peer_connect_defaults(id, clean);
  bool present;
  assert_int_equal(peer_connect_with(p, &connect, &present), 0);
  assert_int_equal(present, expected);
  return p;
}

static struct peer *connect_will(struct harness *h, const char *id, const char *payload) {
  struct peer *p = peer_open(h);
  struct packet_connect connect = peer_connect_defaults(id, true);
  connect.has_will = true;
  connect.will = (struct packet_message){.topic = SLICE("w"), .payload = slice_str(payload), .qos = 1};
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  return p;
}

static void send_connect(struct peer *p, const char *id, bool clean) {
  peer_send_packet(p, &(struct packet){.type = PACKET_CONNECT, .connect = peer_connect_defaults(id, clean)});
}

static void the_defaults_are_those_of_the_model(void **state) {
  (void)state;
  struct settings s;
  settings_init(&s);
  assert_int_equal(s.client.read_limit, 8 * 1024 * 1024);
  assert_int_equal(s.connect_read_limit, 384 * 1024);
  assert_int_equal(s.max_write_delay_ms, 0);
  assert_int_equal(s.connect_timeout_ms, 10000);
  assert_int_equal(s.client.maximum_keep_alive_ms, 300000);
  assert_false(s.client.maximum_keep_alive_set);
  assert_int_equal(s.client.parallel_publishes, 100);
  assert_int_equal(s.client.parallel_subscribes, 10);
  assert_int_equal(s.client.inflight_messages, 10);
  assert_int_equal(s.client.token_timeout_ms, 30000);
  assert_int_equal(s.session_queue_size, 100);
  assert_int_equal(s.kill_timeout_ms, 5000);
  assert_int_equal(s.full_queue_wait_ms, 100);
}

static void the_texts_are_those_of_the_model(void **state) {
  (void)state;
  static const char *const events[] = {
      "new connection",   "packet received",   "message published", "message acknowledged",
      "message dequeued", "message forwarded", "packet sent",       "client disconnected",
      "transport error",  "session error",     "backend error",     "client error",
      "lost connection",
  };
  assert_int_equal(sizeof events / sizeof events[0], EVENT_COUNT);
  for (int i = 0; i < EVENT_COUNT; i++)
    assert_string_equal(event_name((enum log_event)i), events[i]);
  assert_string_equal(ERROR_CLIENT_CLOSED, "client closed");
  assert_string_equal(ERROR_CLIENT_DISCONNECTED, "client disconnected");
  assert_string_equal(ERROR_CLOSING, "closing");
  assert_string_equal(ERROR_KILL_TIMEOUT, "kill timeout");
  assert_string_equal(ERROR_MISSING_SESSION, "missing session");
  assert_string_equal(ERROR_NOT_AUTHORIZED, "not authorized");
  assert_string_equal(ERROR_QUEUE_FULL, "queue full");
  assert_string_equal(ERROR_TOKEN_TIMEOUT, "token timeout");
  assert_string_equal(ERROR_UNEXPECTED_PACKET, "unexpected packet");
}

static void a_stored_session_is_resumed_and_a_temporary_one_is_not(void **state) {
  struct fixture *f = *state;
  struct peer *p = connect_present(f->h, "a", false, false);
  peer_subscribe(p, "t", 1);
  peer_disconnect(p);
  p = connect_present(f->h, "a", false, true);
  peer_publish(p, "t", "x", 0, false);
  peer_expect_message(p, "t", "x", 0);
  peer_drop(p);
  p = connect_present(f->h, "a", true, false); // [MQTT-3.1.2-6]
  peer_publish(p, "t", "x", 0, false);
  peer_expect_nothing(p);
  peer_subscribe(p, "t", 1);
  peer_disconnect(p);
  assert_null(harness_session(f->h, "a"));
  p = connect_present(f->h, "a", false, false);
  peer_publish(p, "t", "x", 0, false);
  peer_expect_nothing(p);
}

static void an_empty_id_gets_a_temporary_session(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_connect(f->h, "", true), *q = peer_connect(f->h, "", true);
  peer_subscribe(p, "t", 0);
  peer_subscribe(q, "t", 0);
  peer_publish(p, "t", "x", 0, false);
  peer_expect_message(p, "t", "x", 0);
  peer_expect_message(q, "t", "x", 0);
  uint32_t at = 0, count = 0;
  while (memory_each_session(f->h->memory, &at))
    count++;
  assert_int_equal(count, 2);
  peer_disconnect(p);
  peer_drop(q);
  at = 0;
  assert_null(memory_each_session(f->h->memory, &at));
}

static void an_empty_id_with_a_stored_session_is_rejected(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_open(f->h);
  struct packet_connect connect = peer_connect_defaults("", false);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 2); // [MQTT-3.1.3-8]
  peer_expect_closed(p);
  assert_int_equal(f->d.terminated, 0);
}

static void credentials_decide_who_gets_in(void **state) {
  struct fixture *f = *state;
  memory_add_credentials(f->h->memory, SLICE("u"), SLICE("p"));
  memory_set_access(f->h->memory, MEMORY_CREDENTIALS);
  static const struct {
    const char *username, *password;
    uint8_t code;
  } rows[] = {{"u", "p", 0}, {"u", "P", 5}, {"u", "", 5},   {"u", NULL, 5}, {"v", "p", 5},
              {"", "", 5},   {"v", "", 5},  {"u", "pp", 5}, {NULL, NULL, 5}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    struct peer *p = peer_open(f->h);
    struct packet_connect connect = peer_connect_defaults("c", true);
    connect.has_username = rows[i].username != NULL;
    connect.has_password = rows[i].password != NULL;
    if (rows[i].username) connect.username = slice_str(rows[i].username);
    if (rows[i].password) connect.password = slice_str(rows[i].password);
    assert_int_equal(peer_connect_with(p, &connect, NULL), rows[i].code);
    if (rows[i].code)
      peer_expect_closed(p);
    else
      peer_disconnect(p);
  }
}

// --- take-over ---

static void a_take_over_closes_the_old_client_first(void **state) {
  struct fixture *f = *state;
  struct peer *watcher = peer_connect(f->h, "watcher", true);
  peer_subscribe(watcher, "w", 1);
  struct peer *old = connect_will(f->h, "a", "will");
  decorator_clear_log(&f->d);
  struct peer *new = connect_present(f->h, "a", true, false);
  peer_expect_closed(old);
  assert_string_equal(f->d.last_end, "client closed");
  assert_int_equal(f->h->shard->stats.sessions_taken_over, 1);
  peer_expect_message(watcher, "w", "will", 1);
  peer_expect_nothing(new);
}

static void a_take_over_of_a_stored_session_is_resumed(void **state) {
  struct fixture *f = *state;
  struct peer *pub = peer_connect(f->h, "pub", true), *old = connect_present(f->h, "a", false, false);
  peer_subscribe(old, "t", 1);
  peer_publish(pub, "t", "x", 1, false);
  assert_int_equal(peer_expect_message(old, "t", "x", 1), 1);
  struct peer *new = connect_present(f->h, "a", false, true);
  peer_expect_closed(old);
  assert_int_equal(peer_expect_message(new, "t", "x", 1), 1);
  peer_expect_nothing(new);
  peer_send_ack(new, PACKET_PUBACK, 1);
  struct peer *newest = connect_present(f->h, "a", true, false);
  peer_expect_closed(new);
  peer_publish(pub, "t", "x", 1, false);
  peer_expect_nothing(newest);
}

static void what_an_old_client_sent_before_it_was_taken_over_is_not_lost(void **state) {
  struct fixture *f = *state;
  struct peer *sub = peer_connect(f->h, "sub", true), *old = peer_connect(f->h, "a", true);
  peer_subscribe(sub, "t", 0);
  memory_send(old->memory, slice_of("\x30\x04\x00\x01tx", 6));
  struct peer *new = peer_connect(f->h, "a", true);
  peer_expect_message(sub, "t", "x", 0);
  peer_expect_nothing(new);
}

// A client whose operation is pending cannot end.
static struct peer *busy(struct fixture *f, const char *id) {
  struct peer *p = peer_connect(f->h, id, false);
  f->d.hold_accept = true;
  peer_publish(p, "t", "x", 1, false);
  f->d.hold_accept = false;
  assert_int_equal(f->d.pending_count, 1);
  return p;
}

static void a_take_over_waits_for_kill_timeout_at_most(void **state) {
  struct fixture *f = *state;
  struct peer *old = busy(f, "a"), *new = peer_open(f->h);
  decorator_clear_log(&f->d);
  send_connect(new, "a", false);
  peer_expect_nothing(new);
  harness_advance(f->h, 4999);
  peer_expect_nothing(new);
  harness_advance(f->h, 1);
  struct packet connack;
  peer_expect(new, PACKET_CONNACK, &connack);
  assert_int_equal(connack.connack.code, 3);
  peer_expect_closed(new);
  decorator_expect_line(&f->d, "[client error] kill timeout\n[lost connection]\n");
  assert_int_equal(f->h->shard->stats.kills_timed_out, 1);
  decorator_resume(&f->d, f->h, (struct reply){0});
  peer_expect_closed(old);
  connect_present(f->h, "a", false, true);
}

static void a_take_over_goes_on_when_the_old_client_has_ended(void **state) {
  struct fixture *f = *state;
  struct peer *old = busy(f, "a"), *new = peer_open(f->h);
  send_connect(new, "a", false);
  harness_advance(f->h, 4000);
  peer_expect_nothing(new);
  decorator_resume(&f->d, f->h, (struct reply){0});
  struct packet connack;
  peer_expect(new, PACKET_CONNACK, &connack);
  assert_int_equal(connack.connack.code, 0);
  assert_true(connack.connack.session_present);
  assert_true(peer_is_closed(old));
  harness_advance(f->h, 10000);
  peer_expect_nothing(new);
  assert_int_equal(f->h->shard->stats.kills_timed_out, 0);
}

static void the_last_of_several_who_take_over_stays(void **state) {
  struct fixture *f = *state;
  busy(f, "a");
  struct peer *second = peer_open(f->h), *third = peer_open(f->h);
  send_connect(second, "a", false);
  harness_advance(f->h, 100);
  send_connect(third, "a", false);
  decorator_resume(&f->d, f->h, (struct reply){0});
  harness_run(f->h);
  struct packet connack;
  peer_expect(third, PACKET_CONNACK, &connack);
  assert_int_equal(connack.connack.code, 0);
  assert_true(peer_is_closed(second)); // [MQTT-3.1.4-2]
  harness_advance(f->h, 10000);
  peer_expect_nothing(third);
}

static void closing_while_a_take_over_waits_is_clean(void **state) {
  struct fixture *f = *state;
  busy(f, "a");
  struct peer *new = peer_open(f->h);
  send_connect(new, "a", false);
  shard_close_clients(f->h->shard);
  harness_advance(f->h, 100);
  decorator_resume(&f->d, f->h, (struct reply){0});
  harness_advance(f->h, 5000);
  assert_true(peer_is_closed(new));
  assert_true(list_empty(&f->h->shard->clients));
}

static void nothing_follows_a_disconnect(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_connect_5(f->h, "a", true, "");
  f->d.hold_accept = true;
  peer_publish(p, "t", "x", 2, false);
  client_close(harness_session(f->h, "a")->client, NULL);
  decorator_resume(&f->d, f->h, (struct reply){0});
  peer_expect_disconnect(p, REASON_ADMINISTRATIVE_ACTION);
}

// --- wills ---

static void a_will_is_sent_unless_the_client_says_goodbye(void **state) {
  struct fixture *f = *state;
  struct peer *watcher = peer_connect(f->h, "watcher", true);
  peer_subscribe(watcher, "w", 1);
  peer_disconnect(connect_will(f->h, "a", "never"));
  peer_expect_nothing(watcher);
  peer_drop(connect_will(f->h, "a", "dropped"));
  peer_expect_message(watcher, "w", "dropped", 1);
  struct peer *p = connect_will(f->h, "a", "ended");
  memory_shutdown(p->memory);
  peer_expect_message(watcher, "w", "ended", 1);
  p = connect_will(f->h, "a", "misbehaved");
  peer_send_hex(p, "20 02 00 00");
  peer_expect_message(watcher, "w", "misbehaved", 1);
}

static void a_will_that_is_not_decided_at_once_is_sent_when_it_is(void **state) {
  struct fixture *f = *state;
  struct peer *watcher = peer_connect(f->h, "watcher", true);
  peer_subscribe(watcher, "w", 1);
  struct peer *p = connect_will(f->h, "a", "x");
  f->d.hold_wills = true;
  peer_drop(p);
  peer_drop(connect_will(f->h, "b", "y"));
  peer_drop(connect_will(f->h, "c", "z"));
  peer_expect_nothing(watcher);
  assert_int_equal(f->h->shard->stats.connections, 1); // they have gone all the same
  decorator_resume(&f->d, f->h, (struct reply){0});
  peer_expect_message(watcher, "w", "x", 1);
  decorator_resume(&f->d, f->h, (struct reply){.reason = REASON_NOT_AUTHORIZED});
  decorator_resume(&f->d, f->h, (struct reply){.drop = true});
  peer_expect_nothing(watcher);
  assert_int_equal(f->h->shard->stats.messages_refused, 1);
}

static void a_will_that_is_never_decided_goes_with_its_client(void **state) {
  struct fixture *f = *state;
  struct peer *p = connect_will(f->h, "a", "x");
  f->d.hold_wills = true;
  peer_drop(p);
  assert_int_equal(f->d.pending_count, 1);
  decorator_abandon(&f->d);
}

static void a_will_passes_accept(void **state) {
  struct fixture *f = *state;
  struct peer *watcher = peer_connect(f->h, "watcher", true);
  peer_subscribe(watcher, "w", 1);
  struct peer *p = connect_will(f->h, "a", "x");
  f->d.refuse_accept = true;
  peer_drop(p);
  peer_expect_nothing(watcher);
  assert_int_equal(f->d.accepted, 1);
  assert_int_equal(f->h->shard->stats.messages_refused, 1);
}

static void a_refused_client_leaves_no_will(void **state) {
  struct fixture *f = *state;
  struct peer *watcher = peer_connect(f->h, "watcher", true);
  peer_subscribe(watcher, "#", 1);
  f->d.refuse_authenticate = true;
  struct peer *p = peer_open(f->h);
  struct packet_connect connect = peer_connect_defaults("a", true);
  connect.has_will = true;
  connect.will = (struct packet_message){.topic = SLICE("w"), .payload = SLICE("x"), .qos = 1};
  assert_int_equal(peer_connect_with(p, &connect, NULL), 5);
  peer_expect_closed(p);
  peer_expect_nothing(watcher);
}

static void what_comes_before_the_end_of_the_stream_is_processed(void **state) {
  struct fixture *f = *state;
  struct peer *sub = peer_connect(f->h, "sub", true), *p = peer_open(f->h);
  peer_subscribe(sub, "t", 1);
  struct buf all = BUF_INIT;
  struct packet_connect connect = peer_connect_defaults("a", true);
  packet_encode(&(struct packet){.type = PACKET_CONNECT, .connect = connect}, MQTT_3_1_1, &all);
  buf_add(&all, "\x32\x06\x00\x01t\x00\x09x", 8);
  memory_send(p->memory, buf_slice(&all));
  memory_shutdown(p->memory);
  buf_release(&all);
  peer_expect(p, PACKET_CONNACK, NULL);
  peer_expect_ack(p, PACKET_PUBACK, 9);
  peer_expect_closed(p);
  peer_expect_message(sub, "t", "x", 1);
}

// --- subscriptions ---

static void overlapping_subscriptions_deliver_once_with_the_highest_qos(void **state) {
  struct fixture *f = *state;
  struct peer *sub = peer_connect(f->h, "sub", true), *pub = peer_connect(f->h, "pub", true);
  peer_subscribe(sub, "a/+", 0);
  peer_subscribe(sub, "a/b", 2);
  peer_subscribe(sub, "#", 1);
  peer_publish(pub, "a/b", "x", 1, false);
  peer_expect_message(sub, "a/b", "x", 1);
  peer_expect_nothing(sub);
  peer_unsubscribe(sub, "a/b");
  peer_unsubscribe(sub, "#");
  peer_publish(pub, "a/b", "y", 1, false);
  peer_expect_message(sub, "a/b", "y", 0);
  peer_expect_nothing(sub);
}

static void a_refused_publish_is_acknowledged_and_goes_nowhere(void **state) {
  struct fixture *f = *state;
  struct peer *sub = peer_connect(f->h, "sub", true), *pub = peer_connect(f->h, "pub", true);
  peer_subscribe(sub, "#", 2);
  peer_publish(pub, "$SYS/a", "x", 1, false);
  peer_expect_ack(pub, PACKET_PUBACK, 1);
  f->d.refuse_accept = true;
  peer_publish(pub, "a", "x", 1, true);
  peer_expect_ack(pub, PACKET_PUBACK, 2);
  f->d.refuse_accept = false;
  f->d.drop_accept = true;
  peer_publish(pub, "a", "x", 2, false);
  peer_expect_ack(pub, PACKET_PUBREC, 3);
  peer_send_ack(pub, PACKET_PUBREL, 3);
  peer_expect_ack(pub, PACKET_PUBCOMP, 3);
  peer_expect_nothing(sub);
  assert_int_equal(memory_retained(f->h->memory)->count, 0);
  assert_int_equal(f->h->shard->stats.messages_refused, 2);
}

static void gauges_count_what_is_there(void **state) {
  struct fixture *f = *state;
  const struct stats *stats = &f->h->shard->stats;
  struct peer *p = peer_connect(f->h, "p", false), *q = peer_connect(f->h, "q", true);
  peer_subscribe(p, "a", 0);
  peer_subscribe(p, "a", 1); // the same again
  peer_subscribe(p, "b", 0);
  peer_subscribe(q, "a", 0);
  peer_publish(q, "r", "x", 0, true);
  peer_publish(q, "r", "y", 0, true);
  peer_publish(q, "s", "x", 0, true);
  assert_int_equal(stats->connections, 2);
  assert_int_equal(stats->clients, 2);
  assert_int_equal(stats->sessions, 2);
  assert_int_equal(stats->subscriptions, 3);
  assert_int_equal(stats->retained_messages, 2);
  peer_disconnect(p);
  peer_disconnect(q);
  assert_int_equal(stats->sessions, 1);
  assert_int_equal(stats->subscriptions, 2);
  p = connect_present(f->h, "p", true, false);
  peer_publish(p, "r", "", 0, true);
  assert_int_equal(stats->sessions, 1);
  assert_int_equal(stats->subscriptions, 0);
  assert_int_equal(stats->retained_messages, 1);
}

// --- what is sent again ---

static void publish_qos2(struct peer *p, const char *payload) {
  uint16_t id = peer_publish(p, "t", payload, 2, false);
  peer_expect_ack(p, PACKET_PUBREC, id);
  peer_send_ack(p, PACKET_PUBREL, id);
  peer_expect_ack(p, PACKET_PUBCOMP, id);
}

static void stored_packets_are_sent_again_in_order_before_anything_else(void **state) {
  struct fixture *f = *state;
  struct peer *sub = peer_connect(f->h, "sub", false), *pub = peer_connect(f->h, "pub", true);
  peer_subscribe(sub, "t", 2);
  static const char *const payloads[] = {"0", "1", "2", "3", "4", "5"};
  for (int i = 0; i < 6; i++)
    publish_qos2(pub, payloads[i]);
  for (int i = 0; i < 6; i++)
    assert_int_equal(peer_expect_message(sub, "t", payloads[i], 2), i + 1);
  static const uint16_t released[] = {5, 2, 4};
  for (int i = 0; i < 3; i++) {
    peer_send_ack(sub, PACKET_PUBREC, released[i]);
    peer_expect_ack(sub, PACKET_PUBREL, released[i]);
  }
  peer_drop(sub);
  publish_qos2(pub, "late");
  sub = connect_present(f->h, "sub", false, true);
  uint16_t published[3], releases[3];
  int publish_count = 0, release_count = 0;
  for (int i = 0; i < 6; i++) {
    struct packet got;
    assert_true(peer_next(sub, &got));
    if (got.type == PACKET_PUBREL) {
      assert_true(release_count < 3);
      releases[release_count++] = got.id;
    } else {
      assert_int_equal(got.type, PACKET_PUBLISH);
      assert_true(got.publish.dup); // [MQTT-3.3.1-1]
      assert_true(publish_count < 3);
      published[publish_count++] = got.id;
      assert_true(slice_eq(got.publish.message.payload, slice_str(payloads[got.id - 1])));
    }
  }
  static const uint16_t first_sent[] = {1, 3, 6};
  assert_memory_equal(published, first_sent, sizeof published);
  assert_memory_equal(releases, released, sizeof releases);
  struct packet got;
  peer_expect(sub, PACKET_PUBLISH, &got);
  assert_int_equal(got.id, 7); // none that is in flight
  assert_false(got.publish.dup);
  peer_expect_nothing(sub);
}

static void what_was_acknowledged_is_not_sent_again(void **state) {
  struct fixture *f = *state;
  struct peer *sub = peer_connect(f->h, "sub", false), *pub = peer_connect(f->h, "pub", true);
  peer_subscribe(sub, "t", 2);
  publish_qos2(pub, "0");
  peer_publish(pub, "t", "1", 1, false);
  peer_expect_message(sub, "t", "0", 2);
  peer_expect_message(sub, "t", "1", 1);
  peer_send_ack(sub, PACKET_PUBREC, 1);
  peer_send_ack(sub, PACKET_PUBACK, 2);
  peer_send_ack(sub, PACKET_PUBCOMP, 1);
  peer_drop(sub);
  sub = connect_present(f->h, "sub", false, true);
  peer_expect_nothing(sub);
}

static void an_incoming_qos_2_message_survives_a_reconnect_once(void **state) {
  struct fixture *f = *state;
  struct peer *sub = peer_connect(f->h, "sub", true), *pub = peer_connect(f->h, "pub", false);
  peer_subscribe(sub, "t", 2);
  peer_publish(pub, "t", "x", 2, false);
  peer_expect_ack(pub, PACKET_PUBREC, 1);
  peer_drop(pub);
  pub = connect_present(f->h, "pub", false, true);
  peer_send_hex(pub, "3c 06 00 01 74 00 01 78");
  peer_expect_ack(pub, PACKET_PUBREC, 1);
  peer_expect_nothing(sub);
  for (int i = 0; i < 2; i++) {
    peer_send_ack(pub, PACKET_PUBREL, 1);
    peer_expect_ack(pub, PACKET_PUBCOMP, 1);
  }
  peer_expect_message(sub, "t", "x", 2);
  peer_expect_nothing(sub);
}

static void an_offline_session_gets_its_messages_in_order(void **state) {
  struct fixture *f = *state;
  struct peer *sub = peer_connect(f->h, "sub", false), *pub = peer_connect(f->h, "pub", true);
  peer_subscribe(sub, "t", 2);
  peer_disconnect(sub);
  peer_publish(pub, "t", "qos 0", 0, false);
  peer_publish(pub, "t", "0", 1, false);
  peer_expect(pub, PACKET_PUBACK, NULL);
  publish_qos2(pub, "1");
  peer_publish(pub, "t", "2", 1, false);
  peer_expect(pub, PACKET_PUBACK, NULL);
  sub = connect_present(f->h, "sub", false, true);
  peer_expect_message(sub, "t", "0", 1);
  peer_expect_message(sub, "t", "1", 2);
  peer_expect_message(sub, "t", "2", 1);
  peer_expect_nothing(sub);
}

static void a_subscription_of_qos_0_stores_nothing_offline(void **state) {
  struct fixture *f = *state;
  struct peer *sub = peer_connect(f->h, "sub", false), *pub = peer_connect(f->h, "pub", true);
  peer_subscribe(sub, "t", 0);
  peer_drop(sub);
  peer_publish(pub, "t", "x", 1, false);
  peer_expect_ack(pub, PACKET_PUBACK, 1);
  sub = connect_present(f->h, "sub", false, true);
  peer_expect_nothing(sub);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(the_defaults_are_those_of_the_model),
      test(the_texts_are_those_of_the_model),
      test(a_stored_session_is_resumed_and_a_temporary_one_is_not),
      test(an_empty_id_gets_a_temporary_session),
      test(an_empty_id_with_a_stored_session_is_rejected),
      test(credentials_decide_who_gets_in),
      test(a_take_over_closes_the_old_client_first),
      test(a_take_over_of_a_stored_session_is_resumed),
      test(what_an_old_client_sent_before_it_was_taken_over_is_not_lost),
      test(a_take_over_waits_for_kill_timeout_at_most),
      test(a_take_over_goes_on_when_the_old_client_has_ended),
      test(the_last_of_several_who_take_over_stays),
      test(closing_while_a_take_over_waits_is_clean),
      test(nothing_follows_a_disconnect),
      test(a_will_is_sent_unless_the_client_says_goodbye),
      test(a_will_that_is_not_decided_at_once_is_sent_when_it_is),
      test(a_will_that_is_never_decided_goes_with_its_client),
      test(a_will_passes_accept),
      test(a_refused_client_leaves_no_will),
      test(what_comes_before_the_end_of_the_stream_is_processed),
      test(overlapping_subscriptions_deliver_once_with_the_highest_qos),
      test(a_refused_publish_is_acknowledged_and_goes_nowhere),
      test(gauges_count_what_is_there),
      test(stored_packets_are_sent_again_in_order_before_anything_else),
      test(what_was_acknowledged_is_not_sent_again),
      test(an_incoming_qos_2_message_survives_a_reconnect_once),
      test(an_offline_session_gets_its_messages_in_order),
      test(a_subscription_of_qos_0_stores_nothing_offline),
  };
  return cmocka_run_group_tests_name("broker session", tests, NULL, NULL);
}
