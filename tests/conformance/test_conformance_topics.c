// Topic names, topic filters and how they match: chapter 4.7. Each row is checked twice: with a message that
// is published after the subscription, and with one that was retained before.
#include "conformance.h"

static const struct {
  const char *filter, *topic;
  bool matches;
} rows[] = {
    {"sport/tennis/player1/#", "sport/tennis/player1", true},
    {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
    {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
    {"sport/tennis/player1/#", "sport/tennis/player10", false},
    {"sport/#", "sport", true},
    {"sport/#", "sports", false},
    {"#", "a", true},
    {"#", "/", true},
    {"#", "a/b/c/d/e/f/g", true},
    {"a/b/#", "a", false},
    {"sport/tennis/+", "sport/tennis/player1", true},
    {"sport/tennis/+", "sport/tennis/player1/ranking", false},
    {"sport/+", "sport", false},
    {"sport/+", "sport/", true},
    {"+", "a", true},
    {"+", "a/b", false},
    {"+", "/finance", false},
    {"+/+", "/finance", true},
    {"/+", "/finance", true},
    {"+/tennis/#", "sport/tennis", true},
    {"+/tennis/#", "sport/tennis/a/b", true},
    {"+/tennis/#", "tennis", false},
    {"sport/+/player1", "sport/tennis/player1", true},
    {"sport/+/player1", "sport//player1", true},
    {"sport/+/player1", "sport/player1", false},
    {"+/+/+", "//", true},
    {"+/+/+", "a/b", false},
    {"+/b/+/#", "a/b", false},
    {"+/b/+/#", "a/b/", true},
    {"#", "$SYSTEM/a", false},
    {"#", "$", false},
    {"+", "$own", false},
    {"+/monitor/clients", "$own/monitor/clients", false},
    {"+/#", "$own/a", false},
    {"$own/#", "$own/a", true},
    {"$own/#", "$own", true},
    {"$own/monitor/+", "$own/monitor/clients", true},
    {"$own/+/clients", "$own/$monitor/clients", true},
    {"a/#", "a/$b", true},
    {"a/+", "a/$b", true},
    {"accounts", "ACCOUNTS", false},
    {"accounts payable", "accounts payable", true},
    {" ", " ", true},
    {" a", "a", false},
    {"a", "a ", false},
    {"/finance", "finance", false},
    {"finance/", "finance", false},
    {"finance", "finance/", false},
    {"a//b", "a/b", false},
    {"a/b", "a//b", false},
    {"a/./b", "a/b", false},
    {"a/%62", "a/b", false},
    {"/", "/", true},
    {"//", "/", false},
    {"caf\xc3\xa9", "caf\xc3\xa9", true},
    {"caf\xc3\xa9", "cafe\xcc\x81", false}, // composed and decomposed
    {"\xef\xac\x81", "fi", false},          // a ligature
    {"+", "\xf0\xaa\x9b\x94", true},        // beyond the basic plane
    {"a/\xf0\xaa\x9b\x94/#", "a/\xf0\xaa\x9b\x94", true},
    {"\xef\xbb\xbf"
     "a",
     "\xef\xbb\xbf"
     "a",
     true}, // U+FEFF is a character as any other
    {"\xef\xbb\xbf"
     "a",
     "a", false},
    {"a",
     "\xef\xbb\xbf"
     "a",
     false},
    {"a\xef\xbb\xbf", "a", false},
    {"+", "\xef\xbb\xbf", true},
};

static void expect_row(struct peer *p, size_t row, unsigned flags) {
  if (rows[row].matches) expect_publish(p, rows[row].topic, "A", 0, flags);
  struct packet got;
  if (peer_next(p, &got)) fail_msg("\"%s\" does not match \"%s\"", rows[row].filter, rows[row].topic);
}

static void matching(void **state) {
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct peer *p = peer_connect(*state, "x", true);
    peer_subscribe(p, rows[i].filter, 0);
    somebody_publishes(*state, rows[i].topic, "A", 0, true);
    expect_row(p, i, 0);
    struct peer *late = peer_connect(*state, "y", true);
    peer_subscribe(late, rows[i].filter, 0);
    expect_row(late, i, RETAINED);
    peer_disconnect(late);
    peer_disconnect(p);
    somebody_publishes(*state, rows[i].topic, "", 0, true);
  }
}

static void all_at_once(void **state) { // many subscriptions of one client
  struct peer *p = peer_connect(*state, "x", true);
  for (size_t i = 0; i < COUNT(rows); i++)
    if (rows[i].filter[0] != '#' && rows[i].filter[0] != '+') peer_subscribe(p, rows[i].filter, 0);
  somebody_publishes(*state, "sport/tennis/player1", "A", 0, false);
  take_message(p, "sport/tennis/player1", "A", 0);
  somebody_publishes(*state, "nowhere", "B", 0, false);
  expect_alive(p);
}

// Sends SUBSCRIBE and UNSUBSCRIBE of the filter: both are violations.
static void expect_bad_filter(struct harness *h, struct slice filter) {
  struct buf list = BUF_INIT, packet = BUF_INIT;
  packet_add_subscription(&list, filter, 0);
  packet_encode(&(struct packet){.type = PACKET_SUBSCRIBE,
                                 .id = 1,
                                 .subscribe = {.count = 1, .list = buf_slice(&list)}},
                MQTT_3_1_1, &packet);
  expect_violation(h, buf_slice(&packet));
  list.len = packet.len = 0;
  packet_add_filter(&list, filter);
  packet_encode(&(struct packet){.type = PACKET_UNSUBSCRIBE,
                                 .id = 1,
                                 .unsubscribe = {.count = 1, .list = buf_slice(&list)}},
                MQTT_3_1_1, &packet);
  expect_violation(h, buf_slice(&packet));
  buf_release(&list);
  buf_release(&packet);
}

static void bad_multi_level(void **state) {
  const char *filters[] = {
      "sport/tennis#", "sport/tennis/#/ranking", "#/", "##", "a/#b", "a#", "#a", "a/##", "+#", "#/#"};
  for (size_t i = 0; i < COUNT(filters); i++)
    expect_bad_filter(*state, slice_str(filters[i]));
}

static void bad_single_level(void **state) {
  const char *filters[] = {"sport+", "+sport", "a/b+", "a/+b", "a/+b/c", "++", "a/++", "+a/b", "#+"};
  for (size_t i = 0; i < COUNT(filters); i++)
    expect_bad_filter(*state, slice_str(filters[i]));
}

static void empty(void **state) {
  expect_bad_filter(*state, SLICE(""));
  expect_violation(*state, SLICE("\x30\3\0\0A"));
  expect_violation(*state, SLICE("\x31\2\0\0"));
  expect_violation(*state, SLICE("\x32\5\0\0\0\1A"));
}

static void null_character(void **state) {
  expect_bad_filter(*state, SLICE("a\0b"));
  expect_bad_filter(*state, SLICE("\0"));
  expect_violation(*state, SLICE("\x30\5\0\3a\0b"));
  expect_violation(*state, SLICE("\x30\3\0\1\0"));
}

static char *text_of(size_t len, char c) {
  char *text = test_malloc(len + 1);
  memset(text, c, len);
  text[len] = 0;
  return text;
}

// A broker that takes all topics of the protocol.
static void take_any_topic(void **state) {
  struct settings settings;
  settings_init(&settings);
  settings.topic_length = 65535;
  settings.topic_levels = 65536;
  restart_broker(state, &settings);
}

static void longest(void **state) {
  take_any_topic(state);
  struct peer *p = peer_connect(*state, "x", true);
  char *topic = text_of(65535, 'a');
  assert_int_equal(peer_subscribe(p, topic, 1), 1);
  somebody_publishes(*state, topic, "A", 1, true);
  take_message(p, topic, "A", 1);
  peer_unsubscribe(p, topic);
  assert_int_equal(peer_subscribe(p, "+", 1), 1);
  finish_delivery(p, 1, expect_publish(p, topic, "A", 1, RETAINED));
  expect_alive(p);
  test_free(topic);
}

static void most_levels(void **state) {
  take_any_topic(state);
  struct peer *p = peer_connect(*state, "x", true), *q = peer_connect(*state, "y", true);
  char *topic = text_of(65535, '/');
  assert_int_equal(peer_subscribe(p, topic, 1), 1);
  assert_int_equal(peer_subscribe(q, "#", 1), 1);
  somebody_publishes(*state, topic, "A", 1, true);
  take_message(p, topic, "A", 1);
  take_message(q, topic, "A", 1);
  for (size_t i = 0; i < 65535; i += 2)
    topic[i] = '+';
  assert_int_equal(peer_subscribe(p, topic, 1), 1);
  peer_unsubscribe(p, topic);
  expect_alive(p);
  expect_alive(q);
  test_free(topic);
}

static void dollar_topics(void **state) { // other ones than $SYS are for clients to use
  struct peer *p = peer_connect(*state, "x", true);
  const char *topics[] = {"$", "$own", "$SYS2/a", "$sys/a", "$share/g/t", "$queue/t"};
  for (size_t i = 0; i < COUNT(topics); i++)
    for (uint8_t qos = 0; qos <= 2; qos++)
      publish_fully(p, topics[i], "A", qos, false);
  expect_alive(p);
}

static void sys_topics(void **state) {
  struct harness *h = *state;
  struct peer *p = peer_connect(h, "x", true), *all = peer_connect(h, "y", true);
  peer_subscribe(p, "$SYS/#", 1);
  peer_subscribe(all, "#", 1);
  peer_subscribe(all, "+/broker/+", 1);
  for (uint8_t qos = 0; qos <= 2; qos++)
    publish_fully(p, "$SYS/broker/uptime", "A", qos, true);
  expect_alive(p); // it is the broker's
  expect_alive(all);
  assert_int_equal(memory_retained(h->shard->backend)->count, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STATEMENT(
          "[MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1] [MQTT-4.7.3-4] [MQTT-1.5.3-3] [MQTT-3.3.2-3] filters "
          "match the topics that they should",
          matching),
      STATEMENT("[MQTT-4.7.3-4] [MQTT-3.3.5-1] also many filters at once", all_at_once),
      STATEMENT("[MQTT-4.7.1-2] a multi-level wildcard elsewhere than at the end closes", bad_multi_level),
      STATEMENT("[MQTT-4.7.1-3] a single-level wildcard that is a part of a level closes", bad_single_level),
      STATEMENT("[MQTT-4.7.3-1] [MQTT-4.7.0-1] an empty topic or filter closes", empty),
      STATEMENT("[MQTT-4.7.3-2] [MQTT-1.5.3-2] U+0000 in a topic or filter closes", null_character),
      STATEMENT("[MQTT-4.7.3-3] topics and filters have up to 65,535 bytes", longest),
      STATEMENT("[MQTT-4.7.3-3] and as many levels", most_levels),
      STATEMENT("[MQTT-4.7.2-1] clients may publish to $ topics", dollar_topics),
      STATEMENT("[MQTT-4.7.2-1] [MQTT-3.3.5-2] but not to $SYS, which wildcards do not match", sys_topics),
  };
  return cmocka_run_group_tests_name("conformance: topics", tests, NULL, NULL);
}
