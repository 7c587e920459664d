// Topic names and filters in MQTT 5: chapter 4.7.
#include <stdio.h>

#include "conformance.h"

// Subscribes a client of its own, and tells whether a message to the topic comes.
static bool matches(struct harness *h, const char *filter, const char *topic) {
  struct peer *p = peer_connect_5(h, "", true, "");
  assert_int_equal(peer_subscribe(p, filter, 0), 0);
  somebody_publishes_5(h, topic, "A", 0, false, "");
  struct packet got;
  bool any = peer_next(p, &got);
  if (any) assert_true(slice_eq(got.publish.message.topic, slice_str(topic)));
  expect_alive(p);
  peer_disconnect(p);
  return any;
}

static void wildcards(void **state) {
  const struct {
    const char *filter, *topic;
    bool matches;
  } rows[] = {
      {"#", "a", true},
      {"#", "/", true},
      {"a/#", "a", true},
      {"a/#", "a/b/c", true},
      {"a/#", "ab", false},
      {"+", "a", true},
      {"+", "/a", false},
      {"+/+", "/a", true},
      {"/+", "/a", true},
      {"a/+", "a", false},
      {"a/+", "a/", true},
      {"a/+", "a/b", true},
      {"a/+", "a/b/c", false},
      {"+/b/#", "a/b", true},
      {"a/+/c", "a/b/c", true},
      {"+/a/+/#", "/a/", true},
      {"#", "$other/a", false},
      {"+/a", "$other/a", false},
      {"+", "$other", false},
      {"$other/#", "$other/a", true},
      {"$other/+", "$other/a", true},
      {"$other", "$other", true},
      {"a/+", "a/$b", true},
  };
  for (size_t i = 0; i < COUNT(rows); i++)
    if (matches(*state, rows[i].filter, rows[i].topic) != rows[i].matches)
      fail_msg("%s and %s", rows[i].filter, rows[i].topic);
}

static void no_normalization(void **state) { // bytes are compared, whatever they look like
  const char *texts[] = {"a",      "A",     "a/",           "/a",        "a//b",     "a/b",
                         " a",     "a b",   "\xc3\xa9",     "e\xcc\x81", "\xc2\xa0", "a/./b",
                         "a/../b", "a%2Fb", "\xe2\x84\xab", "\xc3\x85"};
  for (size_t i = 0; i < COUNT(texts); i++)
    for (size_t j = 0; j < COUNT(texts); j++)
      assert_int_equal(matches(*state, texts[i], texts[j]), i == j);
}

static void dollar_topics(void **state) { // a client may publish to others than the broker's own
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, "");
  peer_subscribe(p, "$other/#", 1);
  publish_fully(p, "$other/a", "A", 2, false);
  take_message(p, "$other/a", "A", 1);
  peer_expect_reason(p, PACKET_PUBACK, peer_publish(p, "$SYS/a", "A", 1, true), REASON_NOT_AUTHORIZED);
  peer_publish(p, "$SYS/a", "A", 0, true);
  expect_alive(p);
  assert_int_equal(memory_retained(h->memory)->count, 0);
}

static void shared_is_no_topic(void **state) { // the text of a shared subscription as a topic is just a topic
  struct harness *h = *state;
  struct peer *p = peer_connect_5(h, "x", true, ""), *shared = peer_connect_5(h, "y", true, "");
  peer_subscribe(shared, "$share/g/t", 0);
  peer_subscribe(p, "+/g/t", 0);
  peer_subscribe(p, "#", 0);
  peer_expect_reason(p, PACKET_PUBACK, peer_publish(p, "$share/g/t", "A", 1, false),
                     REASON_NO_MATCHING_SUBSCRIBERS);
  expect_alive(p);
  expect_alive(shared);
}

static void longest(void **state) { // 65,535 bytes
  struct settings settings;
  settings_init(&settings);
  settings.topic_length = 65535;
  struct harness *h = restart_broker(state, &settings);
  static char topic[65536];
  memset(topic, 't', sizeof topic - 1);
  struct peer *p = peer_connect_5(h, "x", true, "topic_alias_maximum=5");
  peer_subscribe(p, topic, 0);
  somebody_publishes_5(h, topic, "A", 0, false, "");
  expect_publish(p, topic, "A", 0, 0);
  expect_alive(p);
}

static void very_many_levels(void **state) { // are refused, and the connection goes on
  struct harness *h = *state;
  static char topic[65536];
  memset(topic, '/', sizeof topic - 1);
  struct peer *p = peer_connect_5(h, "x", true, "");
  assert_int_equal(peer_subscribe(p, topic, 1), REASON_TOPIC_FILTER_INVALID);
  peer_expect_reason(p, PACKET_PUBACK, peer_publish(p, topic, "A", 1, false), REASON_TOPIC_NAME_INVALID);
  peer_unsubscribe(p, topic);
  expect_alive(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT("[MQTT5-4.7.1-1] [MQTT5-4.7.1-2] [MQTT5-4.7.2-1] [MQTT5-3.3.2-3] what filters match",
                wildcards),
      STATEMENT("[MQTT5-4.7.3-4] names are not normalized", no_normalization),
      STATEMENT("[MQTT5-4.7.2-1] topics that begin with $", dollar_topics),
      STATEMENT("[MQTT5-4.7.2-1] the text of a shared subscription is no topic of it", shared_is_no_topic),
      STATEMENT("[MQTT5-4.7.3-3] the longest topic there can be", longest),
      STATEMENT("[MQTT5-4.7.3-3] very many levels", very_many_levels),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
