// Copies of a message, which each subscription identifier is in need of: many large ones are made in slices,
// so that the limit of all queues together holds for them.
#include "harness.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "broker/fanout.h"

enum { SIZE = 1 << 20, RECEIVERS = 100, LIMIT = 8 << 20, MOST = LIMIT + FANOUT_BYTES + 2 * SIZE };

static int set_up(void **state) {
  struct settings settings;
  settings_init(&settings);
  settings.queued_bytes = LIMIT;
  settings.client.inflight_messages = 1;
  *state = harness_new(&settings);
  return 0;
}

static int tear_down(void **state) {
  harness_end_peers(*state);
  harness_free(*state);
  return 0;
}

static uint16_t publish_large(struct peer *p) {
  char *payload = mem_calloc(1, SIZE + 1);
  memset(payload, 'x', SIZE);
  uint16_t id = peer_publish(p, "t", payload, 1, false);
  mem_free(payload);
  return id;
}

static void stored_sessions_get_no_more_than_all_queues_may_hold(void **state) {
  struct harness *h = *state;
  for (int i = 1; i <= RECEIVERS; i++) {
    char id[16], properties[64];
    snprintf(id, sizeof id, "c%d", i);
    snprintf(properties, sizeof properties, "subscription_identifier=%d", i);
    struct peer *p = peer_connect_5(h, id, true, "session_expiry_interval=100");
    peer_subscribe_5(p, "t", 1, properties);
    peer_disconnect(p);
  }
  struct peer *pub = peer_connect(h, "pub", true);
  peer_expect_ack(pub, PACKET_PUBACK, publish_large(pub));
  const struct stats *stats = shard_stats(h->shard);
  assert_true(stats->queued_bytes <= MOST);
  assert_true(stats->messages_queued >= LIMIT / SIZE);
  assert_int_equal(stats->messages_queued + stats->messages_dropped_queued_bytes, RECEIVERS);
}

// Each group of a client has an identifier of its own: one client can ask for as many copies as it may have
// subscriptions.
static struct peer *connect_to_many_groups(struct harness *h) {
  struct peer *p = peer_connect_5(h, "sub", true, "");
  for (int i = 1; i <= RECEIVERS; i++) {
    char filter[32], properties[64];
    snprintf(filter, sizeof filter, "$share/g%d/t", i);
    snprintf(properties, sizeof properties, "subscription_identifier=%d", i);
    peer_subscribe_5(p, filter, 1, properties);
  }
  return p;
}

static void what_waits_for_room_counts_as_queued(void **state) {
  struct harness *h = *state;
  h->shard->settings.session_queue_size = 1;
  struct peer *sub = connect_to_many_groups(h), *pub = peer_connect(h, "pub", true);
  uint16_t id = publish_large(pub);
  peer_expect(sub, PACKET_PUBLISH, NULL);
  peer_expect_nothing(pub);
  assert_true(shard_stats(h->shard)->queued_bytes >= LIMIT);
  assert_true(shard_stats(h->shard)->queued_bytes <= MOST);
  assert_true(shard_stats(h->shard)->messages_dropped_queued_bytes >= RECEIVERS - MOST / SIZE);
  peer_drop(sub);
  peer_expect_ack(pub, PACKET_PUBACK, id);
  assert_int_equal(shard_stats(h->shard)->queued_bytes, 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(stored_sessions_get_no_more_than_all_queues_may_hold),
      test(what_waits_for_room_counts_as_queued),
  };
  return cmocka_run_group_tests_name("limits of copies", tests, NULL, NULL);
}
