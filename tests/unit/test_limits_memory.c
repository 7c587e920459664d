// What clients may not have the broker keep above the memory limit.
#include "harness.h"

#include <string.h>

#include "base/mem.h"
#include "broker/client_impl.h"

enum { LIMIT = 1000000 };

struct fixture {
  struct harness *h;
  uint64_t memory_bytes; // that the process seems to use
};

static uint64_t measure(void *arg) { return ((const struct fixture *)arg)->memory_bytes; }

static int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  struct settings settings;
  settings_init(&settings);
  settings.memory_limit_percent = 0;
  settings.memory_limit_bytes = LIMIT;
  f->h = harness_new(&settings);
  f->h->shard->pressure.measure = measure;
  f->h->shard->pressure.measure_arg = f;
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

static void use_memory(struct fixture *f, uint64_t bytes) {
  f->memory_bytes = bytes;
  harness_advance(f->h, 100);
}

static const struct client *client_of(struct fixture *f, const char *id) {
  return harness_session(f->h, id)->client;
}

static void a_topic_that_gets_an_alias_waits_for_memory(void **state) {
  struct fixture *f = *state;
  struct peer *sub = peer_connect(f->h, "sub", true), *pub = peer_connect_5(f->h, "pub", true, "");
  peer_subscribe(sub, "#", 0);
  peer_publish_5(pub, "t", "1", 0, false, "topic_alias=1");
  peer_expect_message(sub, "t", "1", 0);
  use_memory(f, LIMIT + 1);
  peer_publish_5(pub, "", "dropped", 0, false, "topic_alias=1");
  peer_publish_5(pub, "u", "2", 0, false, "topic_alias=2");
  peer_publish_5(pub, "", "3", 0, false, "topic_alias=2");
  assert_null(client_of(f, "pub")->v5->incoming.list[1].topic);
  use_memory(f, 1);
  peer_expect_message(sub, "u", "2", 0);
  peer_expect_message(sub, "u", "3", 0);
  peer_expect_nothing(sub);
}

// A session with so many unreleased messages, of a little more than 1000 bytes, stays behind.
static void leave_unreleased(struct harness *h, const char *id, int count, bool closed) {
  char payload[1001] = {0};
  memset(payload, 'x', 1000);
  struct peer *p = peer_connect(h, id, false);
  uint16_t last = 0;
  for (int i = 0; i < count; i++) {
    last = peer_publish(p, "t", payload, 2, false);
    if (i + 1 < count || !closed) peer_expect_ack(p, PACKET_PUBREC, last);
  }
  if (closed)
    peer_expect_closed(p);
  else
    peer_disconnect(p);
}

static void unreleased_messages_of_all_sessions_have_a_limit(void **state) {
  struct fixture *f = *state;
  f->h->shard->settings.queued_bytes = 200000;
  leave_unreleased(f->h, "a", 90, false);
  leave_unreleased(f->h, "b", 90, false);
  leave_unreleased(f->h, "c", 62, false); // few
  leave_unreleased(f->h, "d", 62, false);
  leave_unreleased(f->h, "e", 64, true);
  assert_int_equal(f->h->shard->stats.incoming_bytes_exceeded, 1);
  for (const char *id = "abcde"; *id; id++)
    peer_disconnect(peer_connect(f->h, (char[]){*id, 0}, true));
  leave_unreleased(f->h, "e", 100, false);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(a_topic_that_gets_an_alias_waits_for_memory),
      test(unreleased_messages_of_all_sessions_have_a_limit),
  };
  return cmocka_run_group_tests_name("limits of memory", tests, NULL, NULL);
}
