// Full queues: the policies, the backend's operation that decides, and the limit of all queues together.
#include "decorator.h"

enum { QUEUE = 3 };

struct fixture {
  struct harness *h;
  struct decorator d;
  struct backend_ops ops; // of the decorator, with an operation full_queue
  struct settings settings;
  struct peer *sub, *pub;
  uint16_t inflight; // the packet id of the one message that sub has
  enum full_queue answer;
  int asked;
};

static int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  settings_init(&f->settings);
  f->settings.session_queue_size = QUEUE;
  f->settings.client.inflight_messages = 1;
  f->settings.full_queue_wait_ms = 20000;
  *state = f;
  return 0;
}

static void start(struct fixture *f) {
  f->h = harness_new(&f->settings);
  decorator_init(&f->d, f->h);
  f->sub = peer_connect(f->h, "sub", false);
  peer_subscribe(f->sub, "t", 2);
  f->pub = peer_connect(f->h, "pub", true);
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  harness_end_peers(f->h);
  harness_free(f->h);
  mem_free(f);
  return 0;
}

static const struct stats *stats(const struct fixture *f) { return shard_stats(f->h->shard); }

static void publish(struct fixture *f, const char *payload) {
  uint16_t id = peer_publish(f->pub, "t", payload, 1, false);
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
}

// One message in flight, and a queue without room.
static void fill(struct fixture *f) {
  static const char *const payloads[QUEUE + 1] = {"0", "1", "2", "3"};
  for (int i = 0; i <= QUEUE; i++)
    publish(f, payloads[i]);
  f->inflight = peer_expect_message(f->sub, "t", "0", 1);
  decorator_clear_log(&f->d);
}

static void expect_messages(struct fixture *f, const char *payloads) {
  for (; *payloads; payloads++) {
    peer_send_ack(f->sub, PACKET_PUBACK, f->inflight);
    f->inflight = peer_expect_message(f->sub, "t", (const char[]){*payloads, 0}, 1);
  }
  peer_send_ack(f->sub, PACKET_PUBACK, f->inflight);
  peer_expect_nothing(f->sub);
}

// --- policies ---

static void drop_new_keeps_what_is_there(void **state) {
  struct fixture *f = *state;
  f->settings.full_queue = FULL_QUEUE_DROP_NEW;
  start(f);
  fill(f);
  publish(f, "4"); // nobody waits
  decorator_expect_line(&f->d, "[backend error] queue full\n");
  assert_int_equal(stats(f)->messages_dropped_queue_full, 1);
  assert_int_equal(stats(f)->publishes_waited, 0);
  expect_messages(f, "123");
}

static void drop_old_makes_room_for_what_is_new(void **state) {
  struct fixture *f = *state;
  f->settings.full_queue = FULL_QUEUE_DROP_OLD;
  start(f);
  fill(f);
  publish(f, "4");
  decorator_expect_line(&f->d, "[backend error] queue full\n");
  publish(f, "5");
  assert_int_equal(stats(f)->messages_dropped_old, 2);
  assert_int_equal(harness_session(f->h, "sub")->dropped, 2);
  assert_int_equal(stats(f)->messages_dropped_queue_full, 0);
  expect_messages(f, "345");
}

static void drop_old_drops_as_many_as_a_large_message_needs(void **state) {
  struct fixture *f = *state;
  f->settings.full_queue = FULL_QUEUE_DROP_OLD;
  f->settings.session_queue_size = 100;
  f->settings.session_queue_bytes = 155; // of messages of 34 bytes
  start(f);
  for (int i = 0; i < 8; i++)
    publish(f, (const char[]){(char)('0' + i), 0});
  f->inflight = peer_expect_message(f->sub, "t", "0", 1);
  assert_int_equal(stats(f)->messages_dropped_old, 2);
  expect_messages(f, "34567");
}

static void disconnect_ends_the_subscriber_and_keeps_its_session(void **state) {
  struct fixture *f = *state;
  f->settings.full_queue = FULL_QUEUE_DISCONNECT;
  start(f);
  fill(f);
  publish(f, "4");
  peer_expect_closed(f->sub);
  assert_string_equal(f->d.last_end, ERROR_QUEUE_FULL);
  assert_int_equal(stats(f)->clients_disconnected_queue_full, 1);
  assert_int_equal(stats(f)->messages_dropped_queue_full, 1);
  assert_int_equal(harness_session(f->h, "sub")->queue.count, QUEUE);
  publish(f, "5"); // offline: the new one is dropped
  assert_int_equal(stats(f)->messages_dropped_offline, 1);
  assert_int_equal(stats(f)->clients_disconnected_queue_full, 1);
}

static void a_client_may_be_disconnected_for_its_own_messages(void **state) {
  struct fixture *f = *state;
  f->settings.full_queue = FULL_QUEUE_DISCONNECT;
  start(f);
  for (int i = 0; i < QUEUE + 2; i++)
    peer_publish(f->sub, "t", "x", 1, false);
  assert_true(peer_is_closed(f->sub));
  assert_int_equal(stats(f)->clients_disconnected_queue_full, 1);
}

static void offline_only_drop_old_drops_what_is_old(void **state) {
  struct fixture *f = *state;
  start(f);
  peer_drop(f->sub);
  static const enum full_queue policies[] = {FULL_QUEUE_WAIT, FULL_QUEUE_DROP_NEW, FULL_QUEUE_DISCONNECT};
  for (int i = 0; i < QUEUE; i++)
    publish(f, (const char[]){(char)('0' + i), 0});
  for (size_t i = 0; i < 3; i++) {
    f->h->shard->settings.full_queue = (uint8_t)policies[i];
    publish(f, "x");
    assert_int_equal(stats(f)->messages_dropped_offline, i + 1);
  }
  f->h->shard->settings.full_queue = FULL_QUEUE_DROP_OLD;
  publish(f, "9");
  assert_int_equal(stats(f)->messages_dropped_offline, 3);
  assert_int_equal(stats(f)->messages_dropped_old, 1);
  struct delivery d;
  struct session *s = harness_session(f->h, "sub");
  for (const char *expected = "129"; *expected; expected++) {
    session_pop(s, &f->h->shard->pool, &d);
    assert_int_equal(message_payload(d.message).ptr[0], *expected);
    message_unref(d.message);
  }
}

// --- the operation ---

static enum full_queue decide(struct backend *b, struct client *c, const struct message *m) {
  struct fixture *f = container_of(decorator_of(b), struct fixture, d);
  assert_true(slice_eq(client_id(c), SLICE("sub")));
  assert_true(slice_eq(message_topic(m), SLICE("t")));
  f->asked++;
  return f->answer;
}

static void start_with_operation(struct fixture *f) {
  start(f);
  f->ops = *f->d.backend.ops;
  f->ops.full_queue = decide;
  f->d.backend.ops = &f->ops;
  fill(f);
}

static void the_operation_decides_for_each_message(void **state) {
  struct fixture *f = *state;
  start_with_operation(f);
  assert_int_equal(f->asked, 0);
  f->answer = FULL_QUEUE_DROP_NEW;
  publish(f, "4");
  f->answer = FULL_QUEUE_DROP_OLD;
  publish(f, "5");
  f->answer = FULL_QUEUE_WAIT;
  uint16_t id = peer_publish(f->pub, "t", "6", 1, false);
  peer_expect_nothing(f->pub);
  assert_int_equal(f->asked, 3);
  expect_messages(f, "2356");
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
  assert_int_equal(stats(f)->messages_dropped_queue_full, 1);
  assert_int_equal(stats(f)->messages_dropped_old, 1);
}

static void the_operation_is_not_asked_for_who_is_offline(void **state) {
  struct fixture *f = *state;
  start_with_operation(f);
  peer_drop(f->sub);
  f->answer = FULL_QUEUE_DROP_OLD;
  publish(f, "4");
  assert_int_equal(f->asked, 0);
  assert_int_equal(stats(f)->messages_dropped_offline, 1);
}

static void drop_old_serves_those_who_wait_first(void **state) {
  struct fixture *f = *state;
  start_with_operation(f);
  f->answer = FULL_QUEUE_WAIT;
  peer_publish(f->pub, "t", "4", 1, false);
  f->answer = FULL_QUEUE_DROP_OLD;
  struct peer *other = peer_connect(f->h, "other", true);
  peer_publish(other, "t", "5", 1, false);
  peer_expect(other, PACKET_PUBACK, NULL);
  peer_expect(f->pub, PACKET_PUBACK, NULL);
  expect_messages(f, "345");
}

// --- all queues together ---

static void bytes_are_counted_once_however_many_queues_hold_them(void **state) {
  struct fixture *f = *state;
  f->settings.session_queue_size = 100;
  start(f);
  static char payload[1001];
  memset(payload, 'x', sizeof payload - 1);
  for (int i = 0; i < 20; i++)
    peer_subscribe(peer_connect(f->h, (const char[]){(char)('a' + i), 0}, false), "t", 1);
  harness_end_peers(f->h);
  f->pub = peer_connect(f->h, "pub", true);
  assert_int_equal(stats(f)->queued_bytes, 0);
  publish(f, payload);
  uint64_t message = sizeof(struct message) + 1 + 1000, chunk = sizeof(struct queue_chunk);
  assert_int_equal(stats(f)->queued_bytes, message + 21 * chunk);
  publish(f, payload);
  assert_int_equal(stats(f)->queued_bytes, 2 * message + 21 * chunk);
  for (int i = 0; i < 20; i++)
    peer_connect(f->h, (const char[]){(char)('a' + i), 0}, true); // clean: the stored session ends
  assert_int_equal(stats(f)->queued_bytes, 2 * message + chunk);
  peer_connect(f->h, "sub", true);
  assert_int_equal(stats(f)->queued_bytes, 0);
}

// Offline sessions whose queues hold more than there may be.
static void start_too_full(struct fixture *f) {
  f->settings.session_queue_size = 100;
  f->settings.queued_bytes = 3000;
  start(f);
  peer_subscribe(peer_connect(f->h, "away", false), "away", 1);
  struct session *away = harness_session(f->h, "away");
  client_close(away->client, NULL);
  harness_run(f->h);
  static char payload[1001];
  memset(payload, 'x', sizeof payload - 1);
  for (int i = 0; i < 5; i++) {
    uint16_t id = peer_publish(f->pub, "away", payload, 1, false);
    peer_expect_ack(f->pub, PACKET_PUBACK, id);
  }
  assert_int_equal(away->queue.count, 3);
  assert_int_equal(stats(f)->messages_dropped_queued_bytes, 2);
  decorator_expect_line(&f->d, "[backend error] too many queued bytes\n");
}

static void too_many_queued_bytes_drop_what_cannot_go_at_once(void **state) {
  struct fixture *f = *state;
  start_too_full(f);
  publish(f, "0"); // sub is idle: it goes out
  f->inflight = peer_expect_message(f->sub, "t", "0", 1);
  publish(f, "1"); // its window is closed
  assert_int_equal(stats(f)->messages_dropped_queued_bytes, 3);
  assert_int_equal(stats(f)->publishes_waited, 0);
  peer_connect(f->h, "away", true);
  publish(f, "2");
  expect_messages(f, "2");
}

static void with_drop_old_too_many_queued_bytes_drop_the_oldest(void **state) {
  struct fixture *f = *state;
  start_too_full(f);
  f->h->shard->settings.full_queue = FULL_QUEUE_DROP_OLD;
  uint16_t id = peer_publish(f->pub, "away", "new", 1, false);
  peer_expect_ack(f->pub, PACKET_PUBACK, id);
  struct session *away = harness_session(f->h, "away");
  assert_int_equal(away->queue.count, 3);
  assert_int_equal(stats(f)->messages_dropped_old, 1);
  assert_int_equal(stats(f)->messages_dropped_queued_bytes, 2);
}

static void a_message_for_one_session_is_dropped_likewise(void **state) {
  struct fixture *f = *state;
  start_too_full(f);
  struct packet_message from = {.topic = SLICE("t"), .payload = SLICE("x"), .qos = 1};
  struct message *m = message_new(&from, 0);
  assert_false(memory_deliver(f->h->memory, harness_session(f->h, "away"), m, 1, false));
  assert_true(memory_deliver(f->h->memory, harness_session(f->h, "sub"), m, 1, false));
  peer_expect_message(f->sub, "t", "x", 1);
  assert_int_equal(m->refs, 2); // ours, and the one in flight
  assert_int_equal(m->queues, 0);
  message_unref(m);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(drop_new_keeps_what_is_there),
      test(drop_old_makes_room_for_what_is_new),
      test(drop_old_drops_as_many_as_a_large_message_needs),
      test(disconnect_ends_the_subscriber_and_keeps_its_session),
      test(a_client_may_be_disconnected_for_its_own_messages),
      test(offline_only_drop_old_drops_what_is_old),
      test(the_operation_decides_for_each_message),
      test(the_operation_is_not_asked_for_who_is_offline),
      test(drop_old_serves_those_who_wait_first),
      test(bytes_are_counted_once_however_many_queues_hold_them),
      test(too_many_queued_bytes_drop_what_cannot_go_at_once),
      test(with_drop_old_too_many_queued_bytes_drop_the_oldest),
      test(a_message_for_one_session_is_dropped_likewise),
  };
  return cmocka_run_group_tests_name("limits of queues", tests, NULL, NULL);
}
