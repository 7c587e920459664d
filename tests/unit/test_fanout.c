// Fan-outs in slices: each session that was subscribed when a message was published gets it once, whatever
// changes between two slices.
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "broker/fanout.h"

#define COUNT 20000 // more than two slices

struct crowd {
  struct harness *h;
  struct peer *publisher;
  struct peer *peers[COUNT];
};

static struct crowd *crowd_new(uint8_t qos) {
  struct crowd *c = mem_calloc(1, sizeof *c);
  c->h = harness_new(NULL);
  for (int i = 0; i < COUNT; i++) {
    char id[16];
    snprintf(id, sizeof id, "c%d", i);
    c->peers[i] = peer_connect(c->h, id, true);
    assert_int_equal(peer_subscribe(c->peers[i], "all", qos), qos);
  }
  c->publisher = peer_connect(c->h, "publisher", true);
  return c;
}

static void crowd_free(struct crowd *c) {
  harness_free(c->h);
  mem_free(c);
}

static void send_bytes(struct peer *p, const char *hex) { // without running
  struct buf b = BUF_INIT;
  for (; *hex; hex += 2)
    buf_add_byte(&b, (uint8_t)strtoul((char[]){hex[0], hex[1], 0}, NULL, 16));
  memory_send(p->memory, buf_slice(&b));
  buf_release(&b);
}

#define PUBLISH_ALL_1                                                                                        \
  "320800"                                                                                                   \
  "03616c6c"                                                                                                 \
  "000131" // QoS 1, id 1, "1"
#define PUBLISH_ALL_2                                                                                        \
  "320800"                                                                                                   \
  "03616c6c"                                                                                                 \
  "000232" // QoS 1, id 2, "2"

static uint64_t queued(const struct crowd *c) { return c->h->shard->stats.messages_queued; }

static void it_is_acknowledged_when_all_have_it(void **state) {
  (void)state;
  struct crowd *c = crowd_new(1);
  send_bytes(c->publisher, PUBLISH_ALL_1);
  int slices = 0;
  while (queued(c) < COUNT) {
    assert_int_equal(memory_received(c->publisher->memory).len, 0);
    uint64_t before = queued(c);
    assert_true(shard_turn(c->h->shard, false));
    assert_true(queued(c) - before <= FANOUT_SLICE);
    slices += queued(c) > before;
  }
  assert_int_equal(slices, 3);
  peer_expect_ack(c->publisher, PACKET_PUBACK, 1);
  for (int i = 0; i < COUNT; i++)
    peer_expect_message(c->peers[i], "all", "1", 1);
  crowd_free(c);
}

static void messages_keep_their_order_and_others_go_between(void **state) {
  (void)state;
  struct crowd *c = crowd_new(0);
  struct peer *other = peer_connect(c->h, "other", true);
  assert_int_equal(peer_subscribe(other, "few", 0), 0);
  send_bytes(c->publisher, PUBLISH_ALL_1 PUBLISH_ALL_2);
  shard_turn(c->h->shard, false);
  shard_turn(c->h->shard, false); // a slice
  assert_true(queued(c) > 0 && queued(c) < COUNT);
  send_bytes(other, "300600"
                    "03666577"
                    "21");
  while (!memory_received(other->memory).len)
    assert_true(shard_turn(c->h->shard, false));
  assert_true(queued(c) < 2 * COUNT);
  harness_run(c->h);
  peer_expect_ack(c->publisher, PACKET_PUBACK, 1);
  peer_expect_ack(c->publisher, PACKET_PUBACK, 2);
  for (int i = 0; i < COUNT; i++) {
    peer_expect_message(c->peers[i], "all", "1", 0);
    peer_expect_message(c->peers[i], "all", "2", 0);
  }
  crowd_free(c);
}

static void what_the_broker_publishes_does_not_overtake(void **state) {
  (void)state;
  struct crowd *c = crowd_new(0);
  send_bytes(c->publisher, PUBLISH_ALL_1);
  shard_turn(c->h->shard, false);
  struct packet_message will = {.topic = SLICE("all"), .payload = SLICE("will")};
  struct message *m = message_new(&will, 0);
  c->h->memory->ops->publish(c->h->memory, m, (struct ack){.message = m});
  message_unref(m);
  harness_run(c->h);
  for (int i = 0; i < COUNT; i++) {
    peer_expect_message(c->peers[i], "all", "1", 0);
    peer_expect_message(c->peers[i], "all", "will", 0);
  }
  crowd_free(c);
}

// What a session gets is what it was subscribed to when the message was published.
static void changes_between_slices_neither_add_nor_take(void **state) {
  (void)state;
  struct crowd *c = crowd_new(1);
  struct peer *late = peer_open(c->h);
  send_bytes(c->publisher, PUBLISH_ALL_1);
  uint32_t random = 7;
  bool gone[COUNT] = {false};
  for (int turn = 0; queued(c) < COUNT && turn < 40; turn++) {
    shard_turn(c->h->shard, false);
    for (int i = 0; i < 20; i++) {
      random = random * 1664525 + 1013904223;
      int at = (int)(random >> 8) % COUNT;
      struct peer *p = c->peers[at];
      if (gone[at]) continue;
      switch (random % 3) {
      case 0:
        send_bytes(p, "a207000100"
                      "03616c6c"); // UNSUBSCRIBE all
        break;
      case 1:
        send_bytes(p, "8208000200"
                      "03616c6c"
                      "00"); // SUBSCRIBE all, QoS 0
        break;
      default: memory_reset(p->memory); gone[at] = true;
      }
    }
    if (turn == 1)
      send_bytes(late, "100d00044d5154540402000000016c"
                       "820800010003616c6c01"); // CONNECT, SUBSCRIBE all
  }
  harness_run(c->h);
  peer_expect_ack(c->publisher, PACKET_PUBACK, 1);
  peer_expect(late, PACKET_CONNACK, NULL);
  peer_expect(late, PACKET_SUBACK, NULL);
  peer_expect_nothing(late);
  for (int i = 0; i < COUNT; i++) {
    if (gone[i]) continue;
    int copies = 0;
    struct packet p;
    while (peer_next(c->peers[i], &p))
      copies += p.type == PACKET_PUBLISH;
    assert_int_equal(copies, 1);
  }
  crowd_free(c);
}

static void a_publisher_that_goes_away_leaves_the_rest_to_be_done(void **state) {
  (void)state;
  struct crowd *c = crowd_new(0);
  send_bytes(c->publisher, PUBLISH_ALL_1);
  shard_turn(c->h->shard, false);
  memory_reset(c->publisher->memory);
  harness_run(c->h);
  for (int i = 0; i < COUNT; i++)
    peer_expect_message(c->peers[i], "all", "1", 0);
  assert_int_equal(c->h->shard->stats.connections, COUNT);
  crowd_free(c);
}

static void a_broker_that_ends_drops_what_is_under_way(void **state) {
  (void)state;
  struct crowd *c = crowd_new(1);
  send_bytes(c->publisher, PUBLISH_ALL_1);
  shard_turn(c->h->shard, false);
  assert_true(queued(c) < COUNT);
  crowd_free(c); // leaks nothing, says the sanitizer
}

// One that is full is waited for, and only then the whole is acknowledged.
static void a_full_session_is_waited_for(void **state) {
  (void)state;
  struct crowd *c = crowd_new(1);
  struct session *s = harness_session(c->h, "c5");
  memory_set_window(c->peers[5]->memory, 0);
  uint16_t id = 0;
  for (int i = 0; s->queue.count < c->h->shard->settings.session_queue_size; i++) {
    assert_true(i < 1000);
    struct packet_message fill = {.topic = SLICE("fill"), .payload = SLICE("x"), .qos = 1};
    struct message *m = message_new(&fill, 0);
    memory_deliver(c->h->memory, s, m, 1, false);
    message_unref(m);
    harness_run(c->h);
  }
  id = peer_publish(c->publisher, "all", "1", 1, false);
  peer_expect_nothing(c->publisher);
  for (int i = 0; i < COUNT; i++)
    if (i != 5) peer_expect_message(c->peers[i], "all", "1", 1);
  harness_advance(c->h, c->h->shard->settings.full_queue_wait_ms);
  peer_expect_ack(c->publisher, PACKET_PUBACK, id);
  assert_int_equal(c->h->shard->stats.messages_dropped_queue_full, 1);
  crowd_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_is_acknowledged_when_all_have_it),
      cmocka_unit_test(messages_keep_their_order_and_others_go_between),
      cmocka_unit_test(what_the_broker_publishes_does_not_overtake),
      cmocka_unit_test(changes_between_slices_neither_add_nor_take),
      cmocka_unit_test(a_publisher_that_goes_away_leaves_the_rest_to_be_done),
      cmocka_unit_test(a_broker_that_ends_drops_what_is_under_way),
      cmocka_unit_test(a_full_session_is_waited_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
