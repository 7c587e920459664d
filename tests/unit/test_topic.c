#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "random_topic.h"
#include "topic/topic.h"

static struct slice of_bytes(size_t len, char byte) {
  char *text = mem_alloc(len);
  memset(text, byte, len);
  return slice_of(text, len);
}

static void free_bytes(struct slice s) { mem_free((void *)(uintptr_t)s.ptr); }

// --- validity ---

struct validity {
  const char *clause;
  struct slice text;
  bool name, filter;
};

static const struct validity validities[] = {
    {"plain", {(const uint8_t *)"sport/tennis", 12}, true, true},
    {"[MQTT-4.7.3-1] empty", {(const uint8_t *)"", 0}, false, false},
    {"[MQTT-4.7.3-2] NUL alone", {(const uint8_t *)"\0", 1}, false, false},
    {"[MQTT-4.7.3-2] NUL inside", {(const uint8_t *)"a\0b", 3}, false, false},
    {"[MQTT-4.7.3-2] NUL after a wildcard", {(const uint8_t *)"+\0", 2}, false, false},
    {"[MQTT-4.7.1-1] '#' in a name", {(const uint8_t *)"a/#", 3}, false, true},
    {"[MQTT-4.7.1-1] '+' in a name", {(const uint8_t *)"a/+", 3}, false, true},
    {"[MQTT-4.7.1-1] '#' inside a level", {(const uint8_t *)"a#b", 3}, false, false},
    {"[MQTT-4.7.1-2] '#' alone", {(const uint8_t *)"#", 1}, false, true},
    {"[MQTT-4.7.1-2] '#' not last", {(const uint8_t *)"a/#/b", 5}, false, false},
    {"[MQTT-4.7.1-2] '#' with a slash behind", {(const uint8_t *)"#/", 2}, false, false},
    {"[MQTT-4.7.1-2] '#' not alone in its level", {(const uint8_t *)"a/b#", 4}, false, false},
    {"[MQTT-4.7.1-2] '#' before other bytes", {(const uint8_t *)"a/#b", 4}, false, false},
    {"[MQTT-4.7.1-2] '##'", {(const uint8_t *)"##", 2}, false, false},
    {"[MQTT-4.7.1-3] '+' alone", {(const uint8_t *)"+", 1}, false, true},
    {"[MQTT-4.7.1-3] '+' everywhere", {(const uint8_t *)"+/+/+", 5}, false, true},
    {"[MQTT-4.7.1-3] '+' with '#'", {(const uint8_t *)"+/a/#", 5}, false, true},
    {"[MQTT-4.7.1-3] '+' not alone in its level", {(const uint8_t *)"a+/b", 4}, false, false},
    {"[MQTT-4.7.1-3] '+' before other bytes", {(const uint8_t *)"+a", 2}, false, false},
    {"[MQTT-4.7.1-3] '++'", {(const uint8_t *)"++", 2}, false, false},
    {"[MQTT-4.7.1-3] '+#'", {(const uint8_t *)"+#", 2}, false, false},
    {"a slash alone", {(const uint8_t *)"/", 1}, true, true},
    {"empty levels", {(const uint8_t *)"//a//", 5}, true, true},
    {"spaces", {(const uint8_t *)" a / b ", 7}, true, true},
    {"'$' first", {(const uint8_t *)"$SYS/a", 6}, true, true},
};

static void names_and_filters_are_valid_or_not(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof validities / sizeof validities[0]; i++) {
    const struct validity *v = &validities[i];
    if (topic_name_valid(v->text) != v->name) fail_msg("name: %s", v->clause);
    if (topic_filter_valid(v->text) != v->filter) fail_msg("filter: %s", v->clause);
  }
}

static void length_is_at_most_65535(void **state) { // [MQTT-4.7.3-3]
  (void)state;
  struct slice text = of_bytes(TOPIC_MAX + 1, 'x');
  assert_true(topic_name_valid(slice_of(text.ptr, TOPIC_MAX)));
  assert_true(topic_filter_valid(slice_of(text.ptr, TOPIC_MAX)));
  assert_false(topic_name_valid(text));
  assert_false(topic_filter_valid(text));
  free_bytes(text);
}

static void wildcards_are_seen(void **state) {
  (void)state;
  assert_true(topic_has_wildcard(SLICE("a/+")));
  assert_true(topic_has_wildcard(SLICE("#")));
  assert_false(topic_has_wildcard(SLICE("a/b")));
  assert_false(topic_has_wildcard(slice_of(NULL, 0)));
}

// --- matching ---

struct matching {
  const char *clause, *filter, *topic;
  bool matches;
};

static const struct matching matchings[] = {
    {"equal", "a/b", "a/b", true},
    {"longer topic", "a", "a/b", false},
    {"longer filter", "a/b", "a", false},
    {"[MQTT-4.7.3-4] case", "ACCOUNTS", "Accounts", false},
    {"a space counts", "a b", "ab", false},
    {"[MQTT 4.7.1.2] '#' with the parent", "sport/tennis/player1/#", "sport/tennis/player1", true},
    {"[MQTT 4.7.1.2] '#' with a child", "sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
    {"[MQTT 4.7.1.2] '#' with a grandchild", "sport/tennis/player1/#", "sport/tennis/player1/score/x", true},
    {"'#' not with a longer name", "sport/#", "sports", false},
    {"'#' with an empty level", "sport/#", "sport/", true},
    {"'#' is everything", "#", "a/b/c", true},
    {"'#' with a slash", "#", "/", true},
    {"'/#' with a slash", "/#", "/", true},
    {"'/#' not without one", "/#", "a", false},
    {"[MQTT 4.7.1.3] '+' one level", "sport/tennis/+", "sport/tennis/player1", true},
    {"[MQTT 4.7.1.3] '+' not two", "sport/tennis/+", "sport/tennis/player1/ranking", false},
    {"[MQTT 4.7.1.3] '+' not none", "sport/+", "sport", false},
    {"[MQTT 4.7.1.3] '+' an empty level", "sport/+", "sport/", true},
    {"[MQTT 4.7.1.3] '+/+' with '/finance'", "+/+", "/finance", true},
    {"[MQTT 4.7.1.3] '/+' with '/finance'", "/+", "/finance", true},
    {"[MQTT 4.7.1.3] '+' not with '/finance'", "+", "/finance", false},
    {"'+' inside", "a/+/c", "a/b/c", true},
    {"'+' inside, empty", "a/+/c", "a//c", true},
    {"'+' inside, other end", "a/+/c", "a/b/d", false},
    {"'+' and '#'", "+/tennis/#", "sport/tennis", true},
    {"empty levels are levels", "a//b", "a/b", false},
    {"empty levels are equal", "a//b", "a//b", true},
    {"a leading slash is a level", "/a", "a", false},
    {"a trailing slash is a level", "a/", "a", false},
    {"[MQTT-4.7.2-1] '#' not with '$'", "#", "$SYS/a", false},
    {"[MQTT-4.7.2-1] '+' not with '$'", "+/monitor/Clients", "$SYS/monitor/Clients", false},
    {"[MQTT-4.7.2-1] '+' alone not with '$'", "+", "$", false},
    {"[MQTT-4.7.2-1] '+/#' not with '$'", "+/#", "$SYS/a", false},
    {"[MQTT 4.7.2] '$SYS/#'", "$SYS/#", "$SYS/a", true},
    {"[MQTT 4.7.2] '$SYS/#' with the parent", "$SYS/#", "$SYS", true},
    {"[MQTT 4.7.2] '$SYS/monitor/+'", "$SYS/monitor/+", "$SYS/monitor/Clients", true},
    {"[MQTT 4.7.2] '$' below the first level", "a/+", "a/$x", true},
    {"[MQTT 4.7.2] '$' behind an empty level", "+/+", "/$x", true},
    {"[MQTT 4.7.2] '$' not first in its level", "#", "x$", true},
    {"not valid matches nothing: filter", "a/#/b", "a/x/b", false},
    {"not valid matches nothing: topic", "#", "a+", false},
    {"not valid matches nothing: equal", "a#", "a#", false},
    {"not valid matches nothing: empty topic", "#", "", false},
    {"not valid matches nothing: empty filter", "", "a", false},
    {"covers: '+' not '#'", "t/+", "t/#", false},
    {"covers: '+' alone not '#'", "+", "#", false},
    {"covers: '#' a '+' below", "t/#", "t/+/a", true},
    {"covers: itself", "t/#", "t/#", true},
    {"covers: '#' a deeper '#'", "a/#", "a/b/#", true},
    {"covers: '#' its parent", "a/#", "a", true},
    {"covers: '#' a '+'", "a/#", "a/+", true},
    {"covers: '#' not the level above", "a/b/#", "a/#", false},
    {"covers: '+/#' behind a level is less than '#'", "a/+/#", "a/#", false},
    {"covers: '#' a leading '+'", "#", "+/a", true},
    {"covers: '+/#' is '#'", "+/#", "#", true},
    {"covers: '#' is '+/#'", "#", "+/#", true},
    {"covers: '+' a '+'", "+/b", "+/b", true},
    {"covers: '+' a level", "+/b", "a/b", true},
    {"covers: a level not '+'", "a/b", "+/b", false},
    {"covers: '#' not '$'", "#", "$SYS/#", false},
    {"covers: '$' its own", "$SYS/#", "$SYS/+/a", true},
};

static void filters_match_or_not(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof matchings / sizeof matchings[0]; i++) {
    const struct matching *m = &matchings[i];
    if (topic_match(slice_str(m->filter), slice_str(m->topic)) != m->matches)
      fail_msg("%s: \"%s\" and \"%s\"", m->clause, m->filter, m->topic);
  }
}

// "Covers" by its definition: all that `filter` matches among all topics of up to five levels.
static const char *const alphabet[] = {"a", "b", "", "$s", "ab", "other"};
enum { LETTERS = sizeof alphabet / sizeof alphabet[0], LEVELS = 5, TOPICS = 9330 };

static size_t all_topics(struct random_topic *topics) {
  size_t count = 0;
  for (uint32_t levels = 1, total = LETTERS; levels <= LEVELS; levels++, total *= LETTERS) {
    for (uint32_t n = 0; n < total; n++) {
      struct random_topic *t = &topics[count++];
      t->len = 0;
      for (uint32_t i = 0, rest = n; i < levels; i++, rest /= LETTERS)
        random_add(t, alphabet[rest % LETTERS], i == 0);
    }
  }
  return count;
}

static bool covers_all(const struct random_topic *topics, struct slice filter, struct slice covered) {
  for (size_t i = 0; i < TOPICS; i++) {
    struct slice topic = random_slice(&topics[i]);
    if (topic_match(covered, topic) && !topic_match(filter, topic)) return false;
  }
  return true;
}

static void covering_means_that_every_topic_is_matched(void **state) {
  (void)state;
  struct random_topic *topics = mem_alloc(TOPICS * sizeof *topics);
  assert_int_equal(all_topics(topics), TOPICS);
  struct rand r;
  rand_init(&r, 7);
  for (int i = 0; i < 2000; i++) {
    struct random_topic a = random_filter(&r), b = random_filter(&r);
    bool covers = covers_all(topics, random_slice(&a), random_slice(&b));
    if (topic_match(random_slice(&a), random_slice(&b)) != covers)
      fail_msg("\"%s\" %s \"%s\"", a.text, covers ? "covers" : "does not cover", b.text);
  }
  mem_free(topics);
}

static void topics_of_65535_bytes_match(void **state) {
  (void)state;
  struct slice slashes = of_bytes(TOPIC_MAX, '/');
  assert_true(topic_match(slashes, slashes));
  assert_true(topic_match(SLICE("#"), slashes));
  assert_true(topic_match(SLICE("/#"), slashes));
  assert_false(topic_match(SLICE("/+"), slashes));
  assert_false(topic_match(slice_from(slashes, 1), slashes));
  free_bytes(slashes);
}

static void levels_are_taken_one_by_one(void **state) {
  (void)state;
  static const char *const expected[] = {"", "a", "", "bc", ""};
  struct slice rest = SLICE("/a//bc/"), level;
  bool more = true;
  for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
    assert_true(topic_next_level(&rest, &more, &level));
    assert_true(slice_eq(level, slice_str(expected[i])));
  }
  assert_false(topic_next_level(&rest, &more, &level));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_and_filters_are_valid_or_not),
      cmocka_unit_test(length_is_at_most_65535),
      cmocka_unit_test(wildcards_are_seen),
      cmocka_unit_test(filters_match_or_not),
      cmocka_unit_test(covering_means_that_every_topic_is_matched),
      cmocka_unit_test(topics_of_65535_bytes_match),
      cmocka_unit_test(levels_are_taken_one_by_one),
  };
  return cmocka_run_group_tests_name("topic", tests, NULL, NULL);
}
