// Rules at a running broker: exchanged, of one client, and for each of many subscribers.
#include "harness.h"

#include <stdio.h>

#include "broker/access.h"

static struct rules *rules_of(bool allow, unsigned operations, const char *topic) {
  struct rules *r = rules_new(NULL, 5);
  struct rule rule = {.number = 1,
                      .allow = allow,
                      .operations = (uint8_t)operations,
                      .named = (uint8_t)operations,
                      .any_retain = true,
                      .qos = RULES_ANY_QOS,
                      .has_topic = topic != NULL};
  if (topic) rule.topic = slice_str(topic);
  assert_null(rules_add(r, &rule));
  rules_seal(r);
  return r;
}

static const struct stats *stats(struct harness *h) { return shard_stats(h->shard); }

// Publishes with QoS 0, and tells how many publishes have been denied since the start.
static uint64_t denied_after(struct peer *p, const char *topic) {
  peer_publish(p, topic, "x", 0, false);
  return stats(p->harness)->acl_denied_publish;
}

static void rules_are_exchanged_under_clients(void **state) {
  (void)state;
  struct harness *h = harness_new(NULL);
  struct peer *p = peer_connect(h, "c", true);
  assert_int_equal(denied_after(p, "a"), 0); // there are none
  struct rules *first = rules_of(true, RULES_PUBLISH, "%c/a"), *second = rules_of(true, RULES_PUBLISH, "b");
  shard_set_rules(h->shard, first);
  assert_int_equal(denied_after(p, "c/a"), 0);
  assert_int_equal(denied_after(p, "b"), 1);
  shard_set_rules(h->shard, second);
  rules_unref(first); // what the client knew of them is not looked at
  assert_int_equal(denied_after(p, "c/a"), 2);
  assert_int_equal(denied_after(p, "b"), 2);
  shard_set_rules(h->shard, NULL);
  rules_unref(second);
  assert_int_equal(denied_after(p, "c/a"), 2);
  harness_free(h);
}

static struct client *client_of(struct harness *h, const char *id) { return harness_session(h, id)->client; }

static void own_rules_stay_when_the_others_are_exchanged(void **state) {
  (void)state;
  struct harness *h = harness_new(NULL);
  struct peer *p = peer_connect(h, "c", true);
  client_set_rules(client_of(h, "c"), rules_of(true, RULES_PUBLISH, "own"));
  assert_non_null(client_rules(client_of(h, "c")));
  assert_int_equal(denied_after(p, "own"), 0);
  assert_int_equal(denied_after(p, "a"), 1);
  struct rules *all = rules_of(true, RULES_PUBLISH, "a");
  shard_set_rules(h->shard, all);
  assert_int_equal(denied_after(p, "own"), 1);
  assert_int_equal(denied_after(p, "a"), 1);
  shard_set_rules(h->shard, NULL);
  rules_unref(all);
  assert_int_equal(denied_after(p, "a"), 2);
  client_set_rules(client_of(h, "c"), NULL);
  assert_int_equal(denied_after(p, "a"), 2);
  harness_free(h);
}

static void the_id_that_the_broker_assigns_counts(void **state) {
  (void)state;
  struct harness *h = harness_new(NULL);
  struct rules *r = rules_of(true, RULES_PUBLISH, "%c/x");
  shard_set_rules(h->shard, r);
  struct peer *p = peer_connect(h, "", true);
  assert_int_equal(denied_after(p, "/x"), 1);
  assert_int_equal(denied_after(p, "c/x"), 2);
  harness_free(h);
  rules_unref(r);
}

static void a_fan_out_asks_for_each_subscriber(void **state) {
  (void)state;
  enum { SUBSCRIBERS = 300 };
  struct harness *h = harness_new(NULL);
  struct rules *r = rules_of(true, RULES_DELIVER | RULES_PUBLISH | RULES_SUBSCRIBE, "a/#");
  shard_set_rules(h->shard, r);
  struct peer *subscribers[SUBSCRIBERS], *p = peer_connect(h, "publisher", true);
  for (int i = 0; i < SUBSCRIBERS; i++) {
    char id[16];
    snprintf(id, sizeof id, "s%d", i);
    subscribers[i] = peer_connect(h, id, true);
    assert_int_equal(peer_subscribe(subscribers[i], "a/#", 0), 0);
    if (i % 3 == 0) client_set_rules(client_of(h, id), rules_of(false, RULES_DELIVER, NULL));
  }
  peer_publish(p, "a/b", "x", 0, false);
  for (int i = 0; i < SUBSCRIBERS; i++)
    if (i % 3 == 0)
      peer_expect_nothing(subscribers[i]);
    else
      peer_expect_message(subscribers[i], "a/b", "x", 0);
  assert_int_equal(stats(h)->acl_denied_deliver, SUBSCRIBERS / 3);
  harness_free(h);
  rules_unref(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rules_are_exchanged_under_clients),
      cmocka_unit_test(own_rules_stay_when_the_others_are_exchanged),
      cmocka_unit_test(the_id_that_the_broker_assigns_counts),
      cmocka_unit_test(a_fan_out_asks_for_each_subscriber),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
