#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "random_topic.h"
#include "topic/index.h"
#include "topic/topic.h"

#define QOS(options) ((options)&3)

static struct index *fresh(struct subscriber *s, size_t count) {
  for (size_t i = 0; i < count; i++)
    subscriber_init(&s[i]);
  return index_new(42);
}

static void clear(struct index *ix, struct subscriber *s, size_t count) {
  for (size_t i = 0; i < count; i++)
    index_remove_all(ix, &s[i]);
  struct index_stats stats = index_stats(ix);
  assert_int_equal(stats.subscriptions, 0);
  assert_int_equal(stats.nodes, 0);
  index_free(ix);
}

static void assert_matches(struct index *ix, struct slice topic, uint32_t count) {
  assert_int_equal(index_match(ix, topic)->count, count); // a walk, or not
  assert_int_equal(index_match(ix, topic)->count, count); // cached
}

static void a_subscription_is_new_once(void **state) { // [MQTT-3.8.4-3]
  (void)state;
  struct subscriber s;
  struct index *ix = fresh(&s, 1);
  assert_true(index_add(ix, SLICE("a/+"), &s, 0, 0));
  assert_matches(ix, SLICE("a/b"), 1);
  assert_false(index_add(ix, SLICE("a/+"), &s, 2, 0));
  assert_int_equal(s.count, 1);
  assert_int_equal(index_match(ix, SLICE("a/b"))->list[0].options, 2);
  assert_int_equal(index_get(ix, SLICE("a/+"), &s)->options, 2);
  assert_null(index_get(ix, SLICE("a/b"), &s));
  assert_null(index_get(ix, SLICE("a"), &s));
  assert_true(index_remove(ix, SLICE("a/+"), &s));
  assert_false(index_remove(ix, SLICE("a/+"), &s));
  assert_false(index_remove(ix, SLICE("x"), &s));
  assert_matches(ix, SLICE("a/b"), 0);
  clear(ix, &s, 1);
}

static void overlapping_filters_match_once_at_the_highest_qos(void **state) { // [MQTT-3.3.5-1]
  (void)state;
  struct subscriber s[2];
  struct index *ix = fresh(s, 2);
  index_add(ix, SLICE("a/#"), &s[0], 1, 0);
  index_add(ix, SLICE("a/+"), &s[0], 2 | 8, 0);
  index_add(ix, SLICE("a/b"), &s[0], 0, 0);
  index_add(ix, SLICE("#"), &s[1], 0, 0);
  const struct matches *m = index_match(ix, SLICE("a/b"));
  assert_int_equal(m->count, 2);
  for (uint32_t i = 0; i < m->count; i++)
    assert_int_equal(m->list[i].options, m->list[i].subscriber == &s[0] ? 2 | 8 : 0);
  clear(ix, s, 2);
}

static void leading_wildcards_do_not_match_dollar_topics(void **state) { // [MQTT-4.7.2-1]
  (void)state;
  struct subscriber s[4];
  struct index *ix = fresh(s, 4);
  index_add(ix, SLICE("#"), &s[0], 0, 0);
  index_add(ix, SLICE("+/x"), &s[1], 0, 0);
  index_add(ix, SLICE("$SYS/#"), &s[2], 0, 0);
  index_add(ix, SLICE("$SYS/+"), &s[3], 0, 0);
  assert_matches(ix, SLICE("$SYS/x"), 2);
  assert_matches(ix, SLICE("$SYS"), 1);
  assert_matches(ix, SLICE("$other/x"), 0);
  assert_matches(ix, SLICE("SYS/x"), 2);
  assert_matches(ix, SLICE("SYS/$x"), 1);
  clear(ix, s, 4);
}

static void empty_levels_are_levels(void **state) {
  (void)state;
  struct subscriber s[3];
  struct index *ix = fresh(s, 3);
  index_add(ix, SLICE("/"), &s[0], 0, 0);
  index_add(ix, SLICE("+/+"), &s[1], 0, 0);
  index_add(ix, SLICE("/#"), &s[2], 0, 0);
  assert_matches(ix, SLICE("/"), 3);
  assert_matches(ix, SLICE("//"), 1);
  assert_matches(ix, SLICE("a/"), 1);
  assert_matches(ix, SLICE("a"), 0);
  clear(ix, s, 3);
}

static void a_change_is_seen_by_every_topic_that_it_touches(void **state) {
  (void)state;
  static const char *const filters[] = {"a/b", "a/+", "a/#", "+/b", "#"};
  struct subscriber s;
  struct index *ix = fresh(&s, 1);
  for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
    assert_matches(ix, SLICE("a/b"), 0);
    index_add(ix, slice_str(filters[i]), &s, 0, 0);
    assert_matches(ix, SLICE("a/b"), 1);
    index_remove(ix, slice_str(filters[i]), &s);
    assert_matches(ix, SLICE("a/b"), 0);
    index_add(ix, slice_str(filters[i]), &s, 0, 0);
    assert_matches(ix, SLICE("a/b"), 1);
    index_remove_all(ix, &s);
  }
  assert_matches(ix, SLICE("a/b"), 0);
  clear(ix, &s, 1);
}

static uint64_t misses_after(struct index *ix, struct slice topic) {
  uint64_t before = index_stats(ix).cache_misses;
  index_match(ix, topic);
  return index_stats(ix).cache_misses - before;
}

static void a_change_leaves_other_cached_topics_alone(void **state) {
  (void)state;
  struct subscriber s;
  struct index *ix = fresh(&s, 1);
  assert_int_equal(misses_after(ix, SLICE("a/b")), 1);
  assert_int_equal(misses_after(ix, SLICE("a/b")), 0);
  index_add(ix, SLICE("a/c"), &s, 0, 0);
  assert_int_equal(misses_after(ix, SLICE("a/b")), 0);
  index_add(ix, SLICE("c/#"), &s, 0, 0);
  assert_int_equal(misses_after(ix, SLICE("a/b")), 0);
  index_add(ix, SLICE("c/#"), &s, 0, 0); // nothing changed
  index_add(ix, SLICE("a/+"), &s, 0, 0);
  assert_int_equal(misses_after(ix, SLICE("a/b")), 1);
  index_add(ix, SLICE("a/+"), &s, 0, 0);
  assert_int_equal(misses_after(ix, SLICE("a/b")), 0);
  clear(ix, &s, 1);
}

static void the_cache_keeps_its_bounds(void **state) {
  (void)state;
  enum { SUBSCRIBERS = 50 };
  struct subscriber s[SUBSCRIBERS];
  struct index *ix = fresh(s, SUBSCRIBERS);
  for (int i = 0; i < SUBSCRIBERS; i++)
    index_add(ix, SLICE("big/#"), &s[i], 0, 0);
  index_limit_cache(ix, 10, 500);
  struct rand r;
  rand_init(&r, 5);
  for (int i = 0; i < 5000; i++) {
    struct random_topic topic = random_name(&r);
    assert_int_equal(index_match(ix, random_slice(&topic))->count, 0);
    struct index_stats stats = index_stats(ix);
    assert_in_range(stats.cached_topics, 1, 10);
    assert_in_range(stats.cached_bytes, 1, 500);
  }
  uint64_t hits = index_stats(ix).cache_hits;
  assert_matches(ix, SLICE("big/x"), SUBSCRIBERS); // larger than the cache: every time a walk
  assert_int_equal(index_stats(ix).cache_hits, hits);
  index_limit_cache(ix, 0, 0);
  assert_int_equal(index_stats(ix).cached_topics, 0);
  assert_int_equal(index_stats(ix).cached_bytes, 0);
  assert_matches(ix, SLICE("big/x"), SUBSCRIBERS);
  clear(ix, s, SUBSCRIBERS);
}

static void long_topics_are_not_cached(void **state) {
  (void)state;
  struct subscriber s[1];
  struct index *ix = fresh(s, 1);
  static char topic[1025];
  memset(topic, 'x', sizeof topic);
  index_add(ix, SLICE("+"), &s[0], 0, 0);
  for (int i = 0; i < 2; i++) {
    assert_matches(ix, slice_of(topic, 1025), 1);
    assert_int_equal(index_stats(ix).cached_topics, 0);
  }
  assert_matches(ix, slice_of(topic, 1024), 1);
  assert_int_equal(index_stats(ix).cached_topics, 1);
  clear(ix, s, 1);
}

static void an_array_that_outgrows_the_cache_is_dropped(void **state) {
  (void)state;
  struct subscriber s[40];
  struct index *ix = fresh(s, 40);
  index_limit_cache(ix, 10, 400);
  for (uint32_t i = 0; i < 40; i++) {
    assert_matches(ix, SLICE("x"), i);
    assert_matches(ix, SLICE("y"), i);
    index_add(ix, SLICE("+"), &s[i], 0, 0);
    assert_in_range(index_stats(ix).cached_bytes, 0, 400);
  }
  assert_matches(ix, SLICE("x"), 40);
  assert_int_equal(index_stats(ix).cached_bytes, 0);
  clear(ix, s, 40);
}

static void a_hot_topic_stays_cached_among_cold_ones(void **state) {
  (void)state;
  struct subscriber s;
  struct index *ix = fresh(&s, 1);
  index_limit_cache(ix, 8, 1 << 20);
  index_match(ix, SLICE("hot"));
  for (int i = 0; i < 1000; i++) {
    char cold[32];
    snprintf(cold, sizeof cold, "cold/%d", i);
    assert_int_equal(misses_after(ix, SLICE("hot")), 0);
    assert_int_equal(misses_after(ix, slice_str(cold)), 1);
  }
  clear(ix, &s, 1);
}

static void topics_of_65536_levels_are_matched(void **state) {
  (void)state;
  char *slashes = mem_alloc(TOPIC_MAX), *pluses = mem_alloc(TOPIC_MAX);
  memset(slashes, '/', TOPIC_MAX);
  for (size_t i = 0; i < TOPIC_MAX; i++)
    pluses[i] = i % 2 ? '/' : '+'; // 32,768 levels
  struct slice topic = slice_of(slashes, TOPIC_MAX), filter = slice_of(pluses, TOPIC_MAX);
  struct subscriber s[4];
  struct index *ix = fresh(s, 4);
  index_add(ix, topic, &s[0], 0, 0);
  index_add(ix, filter, &s[1], 0, 0);
  index_add(ix, SLICE("#"), &s[2], 0, 0);
  index_add(ix, SLICE("+/a"), &s[3], 0, 0);
  assert_matches(ix, topic, 2);
  assert_matches(ix, slice_of(slashes, TOPIC_MAX / 2), 2);
  assert_matches(ix, slice_of(slashes, TOPIC_MAX / 2 + 1), 1);
  clear(ix, s, 4);
  mem_free(slashes);
  mem_free(pluses);
}

// Filters of all combinations of "a" and "+": a topic reaches every node, but each only once.
static void many_wildcards_cost_no_more_than_the_tree(void **state) {
  (void)state;
  enum { LEVELS = 12 };
  struct subscriber s;
  struct index *ix = fresh(&s, 1);
  for (unsigned bits = 0; bits < 1u << LEVELS; bits++) {
    char filter[2 * LEVELS];
    for (unsigned i = 0; i < LEVELS; i++) {
      filter[2 * i] = bits >> i & 1 ? '+' : 'a';
      filter[2 * i + 1] = '/';
    }
    index_add(ix, slice_of(filter, 2 * LEVELS - 1), &s, 0, 0);
  }
  assert_matches(ix, SLICE("a/a/a/a/a/a/a/a/a/a/a/a"), 1);
  assert_matches(ix, SLICE("a/a/a/a/a/a/a/a/a/a/a/b"), 1);
  assert_matches(ix, SLICE("a/a/a/a/a/a/a/a/a/a/a/a/a"), 0);
  clear(ix, &s, 1);
}

// --- against a plain array ---

enum { SUBSCRIBERS = 12, FILTERS = 300, STEPS = 60000 };

struct row {
  struct random_topic filter;
  uint32_t who;
  uint8_t options;
};

struct model {
  struct row rows[FILTERS];
  size_t count;
};

// The same history in three indexes: a small cache, none, and one of the default size under another seed.
struct world {
  struct model model;
  struct index *indexes[3];
  struct subscriber subscribers[3][SUBSCRIBERS];
};

static struct row *model_find(struct model *m, struct slice filter, uint32_t who) {
  for (size_t i = 0; i < m->count; i++)
    if (m->rows[i].who == who && slice_eq(random_slice(&m->rows[i].filter), filter)) return &m->rows[i];
  return NULL;
}

static void world_add(struct world *w, const struct random_topic *filter, uint32_t who, uint8_t options) {
  struct row *row = model_find(&w->model, random_slice(filter), who);
  if (!row && w->model.count == FILTERS) return;
  for (int i = 0; i < 3; i++)
    assert_int_equal(index_add(w->indexes[i], random_slice(filter), &w->subscribers[i][who], options, 0),
                     !row);
  if (!row) row = &w->model.rows[w->model.count++];
  *row = (struct row){*filter, who, options};
}

static void world_remove(struct world *w, const struct random_topic *filter, uint32_t who) {
  struct row *row = model_find(&w->model, random_slice(filter), who);
  for (int i = 0; i < 3; i++)
    assert_int_equal(index_remove(w->indexes[i], random_slice(filter), &w->subscribers[i][who]), row != NULL);
  if (row) *row = w->model.rows[--w->model.count];
}

static void world_remove_all(struct world *w, uint32_t who) {
  for (int i = 0; i < 3; i++)
    index_remove_all(w->indexes[i], &w->subscribers[i][who]);
  for (size_t i = 0; i < w->model.count;) {
    if (w->model.rows[i].who == who)
      w->model.rows[i] = w->model.rows[--w->model.count];
    else
      i++;
  }
}

// The highest QoS at which the subscriber gets the topic, or -1.
static int model_qos(const struct model *m, struct slice topic, uint32_t who) {
  int qos = -1;
  for (size_t i = 0; i < m->count; i++) {
    const struct row *row = &m->rows[i];
    if (row->who != who || !topic_match(random_slice(&row->filter), topic)) continue;
    if (QOS(row->options) > qos) qos = QOS(row->options);
  }
  return qos;
}

static void world_match(struct world *w, struct slice topic) {
  const struct matches *m = index_match(w->indexes[0], topic);
  int qos[SUBSCRIBERS];
  uint32_t expected = 0;
  for (uint32_t who = 0; who < SUBSCRIBERS; who++)
    expected += (qos[who] = model_qos(&w->model, topic, who)) >= 0;
  assert_int_equal(m->count, expected);
  for (uint32_t i = 0; i < m->count; i++) {
    ptrdiff_t who = m->list[i].subscriber - w->subscribers[0];
    assert_int_equal(QOS(m->list[i].options), qos[who]);
    qos[who] = -1; // once only
  }
  for (int other = 1; other < 3; other++) { // the same order, cached or not
    const struct matches *o = index_match(w->indexes[other], topic);
    assert_int_equal(o->count, m->count);
    for (uint32_t i = 0; i < m->count; i++) {
      assert_int_equal(o->list[i].subscriber - w->subscribers[other],
                       m->list[i].subscriber - w->subscribers[0]);
      assert_int_equal(o->list[i].options, m->list[i].options);
    }
  }
}

static void world_check_lists(struct world *w) {
  struct buf filter = BUF_INIT;
  size_t total = 0;
  for (uint32_t who = 0; who < SUBSCRIBERS; who++) {
    const struct subscriber *s = &w->subscribers[0][who];
    uint32_t count = 0;
    for (const struct subscription *sub = s->first; sub; sub = sub->next_of_subscriber, count++) {
      filter.len = 0;
      subscription_filter(sub, &filter);
      const struct row *row = model_find(&w->model, buf_slice(&filter), who);
      assert_non_null(row);
      assert_int_equal(row->options, sub->options);
      assert_ptr_equal(index_get(w->indexes[0], buf_slice(&filter), s), sub);
    }
    assert_int_equal(s->count, count);
    total += count;
  }
  assert_int_equal(total, w->model.count);
  assert_int_equal(index_stats(w->indexes[0]).subscriptions, total);
  buf_release(&filter);
}

static void world_step(struct world *w, struct rand *r) {
  struct random_topic filter = random_filter(r), topic = random_name(r);
  uint32_t who = random_below(r, SUBSCRIBERS);
  uint32_t action = random_below(r, 100);
  if (action < 20)
    world_add(w, &filter, who, (uint8_t)(random_below(r, 3) | random_below(r, 2) << 3));
  else if (action < 32)
    world_remove(w, &filter, who);
  else if (action < 33)
    world_remove_all(w, who);
  else
    world_match(w, random_slice(&topic));
}

static void random_changes_match_a_naive_scan(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 3; seed++) {
    struct world *w = mem_calloc(1, sizeof *w);
    for (int i = 0; i < 3; i++) {
      w->indexes[i] = index_new(seed + (uint64_t)i);
      for (int j = 0; j < SUBSCRIBERS; j++)
        subscriber_init(&w->subscribers[i][j]);
    }
    index_limit_cache(w->indexes[0], 20, 3000);
    index_limit_cache(w->indexes[1], 0, 0);
    struct rand r;
    rand_init(&r, seed);
    for (int i = 0; i < STEPS; i++) {
      world_step(w, &r);
      if (i % 500 == 0) world_check_lists(w);
    }
    assert_true(index_stats(w->indexes[0]).cache_hits > 1000);
    assert_true(index_stats(w->indexes[2]).cache_hits > 1000);
    for (int i = 0; i < 3; i++)
      clear(w->indexes[i], w->subscribers[i], SUBSCRIBERS);
    mem_free(w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_subscription_is_new_once),
      cmocka_unit_test(overlapping_filters_match_once_at_the_highest_qos),
      cmocka_unit_test(leading_wildcards_do_not_match_dollar_topics),
      cmocka_unit_test(empty_levels_are_levels),
      cmocka_unit_test(a_change_is_seen_by_every_topic_that_it_touches),
      cmocka_unit_test(a_change_leaves_other_cached_topics_alone),
      cmocka_unit_test(the_cache_keeps_its_bounds),
      cmocka_unit_test(long_topics_are_not_cached),
      cmocka_unit_test(an_array_that_outgrows_the_cache_is_dropped),
      cmocka_unit_test(a_hot_topic_stays_cached_among_cold_ones),
      cmocka_unit_test(topics_of_65536_levels_are_matched),
      cmocka_unit_test(many_wildcards_cost_no_more_than_the_tree),
      cmocka_unit_test(random_changes_match_a_naive_scan),
  };
  return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
