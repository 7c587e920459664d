// What a turn does is bounded, and what is shed when the loop cannot keep up.
#include "harness.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "transport/tcp.h"

// --- levels ---

static void turns_with_lag(struct harness *h, uint32_t lag_ms, int turns) {
  h->loop->lag_ms = lag_ms;
  for (int i = 0; i < turns; i++)
    shard_turn(h->shard, false);
}

static void one_long_turn_sheds_nothing(void **state) {
  (void)state;
  struct harness *h = harness_new(NULL);
  turns_with_lag(h, 1900, 1);
  assert_int_equal(h->shard->overload, OVERLOAD_NONE);
  turns_with_lag(h, 0, 50);
  assert_int_equal(h->shard->overload, OVERLOAD_NONE);
  assert_int_equal(h->shard->stats.loop_lag_ms, 0);
  harness_free(h);
}

static void connections_are_shed_first_then_qos_0(void **state) {
  (void)state;
  struct harness *h = harness_new(NULL);
  turns_with_lag(h, 600, 30);
  assert_int_equal(h->shard->overload, OVERLOAD_SHEDS_CONNECTIONS);
  turns_with_lag(h, 1200, 30);
  assert_int_equal(h->shard->overload, OVERLOAD_SHEDS_QOS0);
  turns_with_lag(h, 600, 30); // not below half of it
  assert_int_equal(h->shard->overload, OVERLOAD_SHEDS_QOS0);
  turns_with_lag(h, 400, 30);
  assert_int_equal(h->shard->overload, OVERLOAD_SHEDS_CONNECTIONS);
  turns_with_lag(h, 100, 30);
  assert_int_equal(h->shard->overload, OVERLOAD_NONE);
  harness_free(h);
}

static void without_a_limit_nothing_is_shed(void **state) {
  (void)state;
  struct settings settings;
  settings_init(&settings);
  settings.loop_lag_ms = 0;
  struct harness *h = harness_new(&settings);
  turns_with_lag(h, 60000, 30);
  assert_int_equal(h->shard->overload, OVERLOAD_NONE);
  harness_free(h);
}

static void qos_0_is_dropped_and_counted_and_qos_1_is_not(void **state) {
  (void)state;
  struct harness *h = harness_new(NULL);
  struct peer *p = peer_connect(h, "p", true);
  assert_int_equal(peer_subscribe(p, "a", 1), 1);
  turns_with_lag(h, 5000, 30);
  peer_publish(p, "a", "lost", 0, false);
  peer_expect_nothing(p);
  assert_int_equal(h->shard->stats.messages_shed, 1);
  uint16_t id = peer_publish(p, "a", "kept", 1, false);
  peer_expect_ack(p, PACKET_PUBACK, id);
  peer_expect_message(p, "a", "kept", 1);
  turns_with_lag(h, 0, 50);
  peer_publish(p, "a", "again", 0, false);
  peer_expect_message(p, "a", "again", 0);
  harness_free(h);
}

// --- bounds of a turn ---

static void a_fan_out_is_sent_over_several_turns(void **state) {
  (void)state;
  enum { COUNT = 20000 };
  struct harness *h = harness_new(NULL);
  struct peer **peers = mem_alloc(COUNT * sizeof *peers);
  for (int i = 0; i < COUNT; i++) {
    char id[16];
    snprintf(id, sizeof id, "c%d", i);
    peers[i] = peer_connect(h, id, true);
    assert_int_equal(peer_subscribe(peers[i], "all", 0), 0);
  }
  struct peer *publisher = peer_connect(h, "publisher", true);
  memory_send(publisher->memory, SLICE("\x30\x06\0\3all!"));
  int turns = 0;
  for (uint64_t sent = 0; sent < COUNT; turns++) {
    assert_true(shard_turn(h->shard, false));
    assert_true(h->shard->stats.messages_sent - sent <= 8192);
    sent = h->shard->stats.messages_sent;
  }
  assert_true(turns > 2);
  for (int i = 0; i < COUNT; i++) {
    peer_expect_message(peers[i], "all", "!", 0);
    peer_expect_nothing(peers[i]);
  }
  mem_free(peers);
  harness_free(h);
}

struct busy { // connections whose handler takes its time
  struct loop *loop;
  struct timer timer;
  int handled;
};

static void on_readable(struct conn *c) {
  struct busy *b = c->owner;
  uint8_t byte;
  assert_int_equal(conn_read(c, &(struct iovec){&byte, 1}, 1), 1);
  b->handled++;
  for (uint64_t end = loop_now_us(b->loop) + LOOP_TURN_US / 4; loop_now_us(b->loop) < end;) {
  }
}

static void on_writable(struct conn *c) { (void)c; }

static void what_is_ready_waits_for_the_next_turn_when_this_one_was_long(void **state) {
  (void)state;
  enum { COUNT = 30 };
  static const struct conn_handler handler = {on_readable, on_writable};
  struct busy b = {.loop = loop_new()};
  struct conn *conns[COUNT];
  int fds[COUNT][2];
  for (int i = 0; i < COUNT; i++) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds[i]), 0);
    conns[i] = tcp_new(b.loop, fds[i][0]);
    conn_start(conns[i], &handler, &b);
    assert_int_equal(write(fds[i][1], "x", 1), 1);
  }
  int turns = 0, most = 0;
  for (int before = 0; b.handled < COUNT; turns++) {
    loop_turn(b.loop, false);
    if (b.handled - before > most) most = b.handled - before;
    before = b.handled;
    assert_true(turns < 1000);
  }
  assert_true(most <= 5); // four quarters, and the one that found the time used up
  loop_measure(b.loop);
  assert_true(b.loop->lag_ms >= LOOP_TURN_US / 1000); // the probe went through the queue behind them
  for (int i = 0; i < COUNT; i++) {
    conn_close(conns[i], false);
    close(fds[i][1]);
  }
  loop_free(b.loop);
}

static void take_long(struct timer *t) {
  struct busy *b = container_of(t, struct busy, timer);
  for (uint64_t end = loop_now_us(b->loop) + 3 * LOOP_TURN_US; loop_now_us(b->loop) < end;) {
  }
  b->handled++;
}

static void a_timer_that_takes_long_is_lag(void **state) {
  (void)state;
  struct busy b = {.loop = loop_new()};
  timer_init(&b.timer, take_long);
  timer_arm(&b.loop->timers, &b.timer, b.loop->clock.now_ms);
  for (int turns = 0; !b.handled; turns++) {
    loop_turn(b.loop, true);
    assert_true(turns < 1000);
  }
  loop_measure(b.loop);
  assert_true(b.loop->lag_ms >= 3 * LOOP_TURN_US / 1000);
  loop_free(b.loop);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_long_turn_sheds_nothing),
      cmocka_unit_test(connections_are_shed_first_then_qos_0),
      cmocka_unit_test(without_a_limit_nothing_is_shed),
      cmocka_unit_test(qos_0_is_dropped_and_counted_and_qos_1_is_not),
      cmocka_unit_test(a_fan_out_is_sent_over_several_turns),
      cmocka_unit_test(what_is_ready_waits_for_the_next_turn_when_this_one_was_long),
      cmocka_unit_test(a_timer_that_takes_long_is_lag),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
