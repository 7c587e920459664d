#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "random_topic.h"
#include "topic/retained.h"
#include "topic/topic.h"

static void count_drop(void *arg, void *value) {
  (void)value;
  ++*(int *)arg;
}

static char values[16]; // something to point at

static void *set(struct retained *r, const char *topic, int value) {
  return retained_set(r, slice_str(topic), &values[value]);
}

// All values for the filter, in the order of the walk, as digits; `budget` nodes at a time.
static const char *walk(struct retained *r, const char *filter, uint32_t budget) {
  static char seen[32];
  size_t count = 0;
  struct retained_cursor c;
  retained_open(&c, r, slice_str(filter));
  for (uint32_t left = budget;;) {
    char *value = retained_next(&c, &left);
    assert_true(left <= budget);
    if (value)
      seen[count++] = (char)('0' + (value - values));
    else if (left)
      break;
    if (!left) left = budget;
  }
  retained_close(&c);
  seen[count] = 0;
  return seen;
}

static void a_topic_has_one_value(void **state) { // [MQTT-3.3.1-5]
  (void)state;
  struct retained r;
  retained_init(&r, 1);
  assert_null(set(&r, "a/b", 1));
  assert_ptr_equal(set(&r, "a/b", 2), &values[1]);
  assert_ptr_equal(retained_get(&r, SLICE("a/b")), &values[2]);
  assert_null(retained_get(&r, SLICE("a")));
  assert_null(retained_get(&r, SLICE("a/b/")));
  assert_int_equal(r.count, 1);
  assert_null(retained_delete(&r, SLICE("a")));
  assert_ptr_equal(retained_delete(&r, SLICE("a/b")), &values[2]);
  assert_null(retained_delete(&r, SLICE("a/b")));
  assert_int_equal(r.count, 0);
  assert_int_equal(r.tree.count, 0);
  retained_release(&r, count_drop, NULL);
}

static void release_hands_every_value_back(void **state) {
  (void)state;
  struct retained r;
  int dropped = 0;
  retained_init(&r, 1);
  set(&r, "a/b/c", 1);
  set(&r, "a/b", 2);
  set(&r, "/", 3);
  retained_release(&r, count_drop, &dropped);
  assert_int_equal(dropped, 3);
}

static const struct {
  const char *clause, *filter, *seen;
} walks[] = {
    {"[MQTT-4.7.2-1] '#' without '$'", "#", "1234569"},
    {"[MQTT-4.7.2-1] '+' without '$'", "+", "1"},
    {"[MQTT-4.7.2-1] '+/x' without '$'", "+/x", "3"},
    {"[MQTT-4.7.2-1] '+/#' without '$'", "+/#", "1234569"},
    {"[MQTT 4.7.2] '$SYS/#'", "$SYS/#", "78"},
    {"[MQTT 4.7.2] '$SYS/+'", "$SYS/+", "8"},
    {"[MQTT 4.7.2] '$' below the first level", "b/+", "69"},
    {"[MQTT 4.7.1.2] '#' with the parent", "a/#", "12345"},
    {"[MQTT 4.7.1.2] '#' below", "a/x/#", "34"},
    {"[MQTT 4.7.1.2] '#' without topics", "a/none/#", ""},
    {"literal", "a/x/y", "4"},
    {"literal, not there", "a/y", ""},
    {"'+' last", "a/+", "23"},
    {"'+' inside", "a/+/y", "45"},
    {"'+' twice", "+/+/y", "45"},
    {"'+' then '#'", "a/+/#", "2345"},
    {"empty levels", "a//y", "5"},
    {"empty level last", "a/", "2"},
};

static void filters_find_their_topics(void **state) {
  (void)state;
  static const char *const topics[] = {"a", "a/", "a/x", "a/x/y", "a//y", "b/c", "$SYS", "$SYS/x", "b/$d"};
  struct retained r;
  int dropped = 0;
  retained_init(&r, 1);
  for (int i = 0; i < 9; i++)
    set(&r, topics[i], i + 1);
  for (size_t i = 0; i < sizeof walks / sizeof walks[0]; i++) {
    for (uint32_t budget = 1; budget < 20; budget++) {
      char sorted[10];
      size_t len = 0;
      const char *seen = walk(&r, walks[i].filter, budget);
      for (char digit = '1'; digit <= '9'; digit++)
        if (strchr(seen, digit)) sorted[len++] = digit;
      sorted[len] = 0;
      if (strlen(seen) != len || strcmp(sorted, walks[i].seen) != 0)
        fail_msg("%s: \"%s\" saw \"%s\"", walks[i].clause, walks[i].filter, seen);
    }
  }
  retained_release(&r, count_drop, &dropped);
  assert_int_equal(dropped, 9);
}

static void an_empty_index_has_nothing(void **state) {
  (void)state;
  struct retained r;
  retained_init(&r, 1);
  assert_string_equal(walk(&r, "#", 1), "");
  assert_string_equal(walk(&r, "a/+/b", 1), "");
  retained_release(&r, count_drop, NULL);
}

static void a_budget_bounds_what_a_step_looks_at(void **state) {
  (void)state;
  struct retained r;
  struct retained_cursor c;
  retained_init(&r, 1);
  set(&r, "a/b/c/d", 1);
  retained_open(&c, &r, SLICE("#"));
  uint32_t budget = 3;
  assert_null(retained_next(&c, &budget));
  assert_int_equal(budget, 0);
  budget = 3;
  assert_ptr_equal(retained_next(&c, &budget), &values[1]);
  assert_int_equal(budget, 2);
  budget = 100;
  assert_null(retained_next(&c, &budget));
  assert_in_range(budget, 1, 100);
  assert_null(retained_next(&c, &budget)); // and so it stays
  assert_in_range(budget, 1, 100);
  retained_close(&c);
  int dropped = 0;
  retained_release(&r, count_drop, &dropped);
}

static void a_cursor_outlives_all_topics(void **state) {
  (void)state;
  struct retained r;
  struct retained_cursor c;
  uint32_t budget = 1000;
  retained_init(&r, 1);
  set(&r, "a/b/c", 1);
  set(&r, "a/b/d", 2);
  retained_open(&c, &r, SLICE("a/+/#"));
  assert_ptr_equal(retained_next(&c, &budget), &values[1]);
  retained_delete(&r, SLICE("a/b/c"));
  retained_delete(&r, SLICE("a/b/d"));
  assert_null(retained_next(&c, &budget));
  assert_int_equal(r.tree.count, 0);
  retained_close(&c);
  retained_release(&r, count_drop, NULL);
}

static void closing_early_frees_the_pinned_node(void **state) {
  (void)state;
  struct retained r;
  struct retained_cursor c;
  uint32_t budget = 1000;
  retained_init(&r, 1);
  set(&r, "a/b", 1);
  retained_open(&c, &r, SLICE("#"));
  assert_ptr_equal(retained_next(&c, &budget), &values[1]);
  retained_delete(&r, SLICE("a/b"));
  assert_int_equal(r.tree.count, 2);
  retained_close(&c);
  assert_int_equal(r.tree.count, 0);
  retained_release(&r, count_drop, NULL);
}

static void the_value_is_the_one_of_the_moment(void **state) {
  (void)state;
  struct retained r;
  struct retained_cursor c;
  uint32_t budget = 1000;
  retained_init(&r, 1);
  set(&r, "a", 1);
  set(&r, "b", 1);
  retained_open(&c, &r, SLICE("+"));
  assert_ptr_equal(retained_next(&c, &budget), &values[1]);
  set(&r, "a", 2);
  set(&r, "b", 2);
  assert_ptr_equal(retained_next(&c, &budget), &values[2]);
  assert_null(retained_next(&c, &budget));
  retained_close(&c);
  int dropped = 0;
  retained_release(&r, count_drop, &dropped);
}

static void topics_of_65536_levels_are_walked(void **state) {
  (void)state;
  char *text = mem_alloc(TOPIC_MAX + 1);
  memset(text, '/', TOPIC_MAX);
  text[TOPIC_MAX] = 0;
  struct retained r;
  retained_init(&r, 1);
  set(&r, text, 1);
  assert_string_equal(walk(&r, "#", 1000), "1");
  assert_string_equal(walk(&r, "/#", 1000), "1");
  assert_string_equal(walk(&r, text, 1000), "1");
  for (size_t i = 0; i < TOPIC_MAX; i += 2)
    text[i] = '+'; // "+/+/.../+"
  assert_string_equal(walk(&r, text, 1000), "");
  memset(text, '/', TOPIC_MAX / 2);
  text[TOPIC_MAX / 2] = 0;
  set(&r, text, 2);
  for (size_t i = 0; i < TOPIC_MAX; i++)
    text[i] = i % 2 ? '/' : '+';
  assert_string_equal(walk(&r, text, 1000), "2");
  int dropped = 0;
  retained_release(&r, count_drop, &dropped);
  mem_free(text);
}

// --- against a plain array ---

enum { TOPICS = 120, CURSORS = 4, STEPS = 60000 };

struct row {
  struct random_topic topic;
  int value;
};

struct watch { // what an open cursor has to see, and what it has seen
  bool open;
  struct retained_cursor cursor;
  struct random_topic filter;
  bool stayed[TOPICS]; // since it was opened
  int seen[TOPICS];
};

struct world {
  struct retained retained;
  struct row rows[TOPICS]; // values point here; an empty topic is a free row
  struct watch watches[CURSORS];
};

static struct row *model_find(struct world *w, struct slice topic) {
  for (size_t i = 0; i < TOPICS; i++)
    if (slice_eq(random_slice(&w->rows[i].topic), topic)) return &w->rows[i];
  return NULL;
}

static void not_stayed(struct world *w, const struct row *row) {
  for (int i = 0; i < CURSORS; i++)
    w->watches[i].stayed[row - w->rows] = false;
}

static void world_set(struct world *w, const struct random_topic *topic) {
  struct row *row = model_find(w, random_slice(topic)), *old = row;
  if (!row) row = model_find(w, slice_of("", 0));
  if (!row) return;
  assert_ptr_equal(retained_set(&w->retained, random_slice(topic), row), old);
  if (!old) not_stayed(w, row);
  row->topic = *topic;
}

static void world_delete(struct world *w, const struct random_topic *topic) {
  struct row *row = model_find(w, random_slice(topic));
  assert_ptr_equal(retained_get(&w->retained, random_slice(topic)), row);
  assert_ptr_equal(retained_delete(&w->retained, random_slice(topic)), row);
  if (!row) return;
  row->topic.len = 0;
  not_stayed(w, row);
}

static void watch_open(struct world *w, struct watch *watch, struct rand *r) {
  *watch = (struct watch){.open = true, .filter = random_filter(r)};
  for (size_t i = 0; i < TOPICS; i++)
    watch->stayed[i] = w->rows[i].topic.len != 0;
  retained_open(&watch->cursor, &w->retained, random_slice(&watch->filter));
}

// What stayed was seen once, or not at all where it does not match.
static void watch_finish(struct world *w, struct watch *watch) {
  for (size_t i = 0; i < TOPICS; i++) {
    if (!watch->stayed[i]) continue;
    struct slice topic = random_slice(&w->rows[i].topic);
    assert_int_equal(watch->seen[i], topic_match(random_slice(&watch->filter), topic));
  }
  retained_close(&watch->cursor);
  watch->open = false;
}

static void watch_step(struct world *w, struct watch *watch, struct rand *r) {
  uint32_t budget = 1 + random_below(r, 12);
  struct row *row = retained_next(&watch->cursor, &budget);
  if (row) {
    struct slice topic = random_slice(&row->topic);
    assert_true(topic.len && topic_match(random_slice(&watch->filter), topic));
    watch->seen[row - w->rows]++;
  } else if (budget) {
    watch_finish(w, watch);
  } else if (random_below(r, 100) == 0) { // given up
    retained_close(&watch->cursor);
    watch->open = false;
  }
}

static void world_step(struct world *w, struct rand *r, uint32_t changes) {
  struct random_topic topic = random_name(r);
  struct watch *watch = &w->watches[random_below(r, CURSORS)];
  if (random_below(r, 100) >= changes) {
    if (watch->open)
      watch_step(w, watch, r);
    else
      watch_open(w, watch, r);
  } else if (random_below(r, 2)) {
    world_set(w, &topic);
  } else {
    world_delete(w, &topic);
  }
}

static void a_world_runs(uint64_t seed, uint32_t changes) {
  struct world *w = mem_calloc(1, sizeof *w);
  struct rand r;
  rand_init(&r, seed);
  retained_init(&w->retained, seed);
  for (int i = 0; i < TOPICS; i++) {
    struct random_topic topic = random_name(&r);
    world_set(w, &topic);
  }
  for (int i = 0; i < STEPS; i++)
    world_step(w, &r, changes);
  int expected = 0, dropped = 0;
  for (size_t i = 0; i < TOPICS; i++)
    expected += w->rows[i].topic.len != 0;
  assert_int_equal(w->retained.count, expected);
  for (int i = 0; i < CURSORS; i++)
    if (w->watches[i].open) retained_close(&w->watches[i].cursor);
  retained_release(&w->retained, count_drop, &dropped);
  assert_int_equal(dropped, expected);
  mem_free(w);
}

static void a_topic_that_stays_is_seen_exactly_once(void **state) {
  (void)state;
  a_world_runs(1, 0); // nothing changes: every walk is a naive scan
  a_world_runs(2, 5);
  a_world_runs(3, 40);
  a_world_runs(4, 80);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_topic_has_one_value),
      cmocka_unit_test(release_hands_every_value_back),
      cmocka_unit_test(filters_find_their_topics),
      cmocka_unit_test(an_empty_index_has_nothing),
      cmocka_unit_test(a_budget_bounds_what_a_step_looks_at),
      cmocka_unit_test(a_cursor_outlives_all_topics),
      cmocka_unit_test(closing_early_frees_the_pinned_node),
      cmocka_unit_test(the_value_is_the_one_of_the_moment),
      cmocka_unit_test(topics_of_65536_levels_are_walked),
      cmocka_unit_test(a_topic_that_stays_is_seen_exactly_once),
  };
  return cmocka_run_group_tests_name("retained", tests, NULL, NULL);
}
