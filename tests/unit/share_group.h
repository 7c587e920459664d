// Members of the group "$share/g/t" and what they get, for tests of shared subscriptions.
#ifndef LUAMQ_TESTS_SHARE_GROUP_H
#define LUAMQ_TESTS_SHARE_GROUP_H

#include "broker/share.h"
#include "decorator.h"

static inline int share_set_up(void **state) {
  struct settings settings;
  settings_init(&settings);
  settings.client.maximum_keep_alive_ms = 0;
  *state = harness_new(&settings);
  return 0;
}

static inline int share_tear_down(void **state) {
  struct harness *h = *state;
  harness_end_peers(h);
  assert_int_equal(memory_shares(h->memory)->groups.count, 0);
  assert_int_equal(memory_shares(h->memory)->holders.count, 0);
  assert_int_equal(h->shard->stats.subscriptions, 0);
  harness_free(h);
  return 0;
}

// A member of "$share/g/t" whose session stays for 10 seconds.
static inline struct peer *share_join(struct harness *h, const char *id, uint8_t qos) {
  struct peer *p = peer_connect_5(h, id, true, "session_expiry_interval=10");
  assert_int_equal(peer_subscribe(p, "$share/g/t", qos), qos);
  return p;
}

static inline void share_publish(struct harness *h, const char *payload, uint8_t qos) {
  struct packet_message view = {.topic = SLICE("t"), .payload = slice_str(payload), .qos = qos};
  struct message *m = message_new(&view, 0);
  h->shard->backend->ops->publish(h->shard->backend, m, (struct ack){.message = m});
  message_unref(m);
  harness_run(h);
}

static inline void share_expect(struct peer *p, const char *payload, uint8_t qos) {
  uint16_t id = peer_expect_message(p, "t", payload, qos);
  if (qos == 1) peer_send_ack(p, PACKET_PUBACK, id);
}

static inline uint32_t share_receive_all(struct peer *p) {
  uint32_t count = 0;
  for (struct packet got; peer_next(p, &got); count++)
    if (got.id) peer_send_ack(p, PACKET_PUBACK, got.id);
  return count;
}

#endif
