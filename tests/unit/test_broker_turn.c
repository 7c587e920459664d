// The lists of a turn: what happens to a client that is in one of them.
#include "decorator.h"

#include <string.h>

#include "broker/client_impl.h"

enum { MESSAGE = 10000, MESSAGES = 40 }; // more than two flushes send

static struct harness *start(void) {
  struct settings settings;
  settings_init(&settings);
  settings.client.inflight_messages = MESSAGES;
  return harness_new(&settings);
}

static void publish_many(struct peer *pub, uint8_t qos) {
  char payload[MESSAGE + 1] = {0};
  memset(payload, 'x', MESSAGE);
  for (int i = 0; i < MESSAGES; i++)
    peer_publish(pub, "t", payload, qos, false);
}

static void expect_many(struct peer *sub) {
  struct packet p;
  for (int i = 0; i < MESSAGES; i++) {
    peer_expect(sub, PACKET_PUBLISH, &p);
    assert_int_equal(p.publish.message.payload.len, MESSAGE);
  }
}

static void packets_behind_connect_are_processed_when_a_long_resend_is_over(void **state) {
  (void)state;
  struct harness *h = start();
  struct peer *pub = peer_connect(h, "pub", true), *sub = peer_connect(h, "sub", false);
  peer_subscribe(sub, "t", 1);
  publish_many(pub, 1);
  expect_many(sub);
  peer_drop(sub);
  sub = peer_open(h);
  peer_send_hex(sub, "10 0f 00 04 4d 51 54 54 04 00 00 00 00 03 73 75 62  c0 00"); // CONNECT, PINGREQ
  peer_expect(sub, PACKET_CONNACK, NULL);
  expect_many(sub);
  peer_expect(sub, PACKET_PINGRESP, NULL);
  peer_expect_nothing(sub);
  harness_end_peers(h);
  harness_free(h);
}

// On a loop that waits for real: before its timer nothing is to be sent, but a client has packets to process.
static void a_write_delay_holds_up_no_packets(void **state) {
  (void)state;
  struct settings settings;
  settings_init(&settings);
  settings.max_write_delay_ms = 3000;
  struct loop *loop = loop_new();
  struct shard *s = shard_new(loop, &settings, 42);
  shard_set_backend(s, memory_backend_new(s));
  struct memory_peer *peer;
  shard_connect(s, memory_open(loop, &peer));
  struct client *c = container_of(s->clients.next, struct client, node);
  client_wake(c);
  shard_turn(s, false);
  assert_true(timer_armed(&s->flush_timer));
  uint64_t before_us = loop_now_us(loop);
  for (int i = 0; i < 10; i++) {
    client_add_work(c, WORK_PROCESS);
    shard_turn(s, true);
    client_wake(c);
  }
  assert_true(loop_now_us(loop) - before_us < 2000000);
  assert_int_equal(c->work & WORK_PROCESS, 0);
  shard_free(s);
  memory_peer_free(peer);
  loop_free(loop);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(packets_behind_connect_are_processed_when_a_long_resend_is_over),
      cmocka_unit_test(a_write_delay_holds_up_no_packets),
  };
  return cmocka_run_group_tests_name("broker turn", tests, NULL, NULL);
}
