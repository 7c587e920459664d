#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "random_topic.h"
#include "topic/filters.h"
#include "topic/topic.h"

static struct slice text_of(const char *text) { return text ? slice_str(text) : slice_of(NULL, 0); }

static struct pattern *parse(const char *text) {
  struct pattern *p = NULL;
  assert_null(pattern_parse(slice_str(text), PATTERN_FILTER, &p));
  return p;
}

static struct pattern_values values_of(const char *client, const char *user) {
  return (struct pattern_values){pattern_value(text_of(client)), pattern_value(text_of(user))};
}

static bool covers(const char *text, const char *client, const char *user, const char *topic) {
  struct pattern *p = parse(text);
  struct pattern_values v = values_of(client, user);
  bool yes = pattern_covers(p, &v, slice_str(topic));
  pattern_free(p);
  return yes;
}

static bool overlaps(const char *text, const char *client, const char *user, const char *filter) {
  struct pattern *p = parse(text);
  struct pattern_values v = values_of(client, user);
  bool yes = pattern_overlaps(p, &v, slice_str(filter));
  pattern_free(p);
  return yes;
}

// --- what is valid ---

static void text_that_is_no_pattern_is_refused(void **state) {
  (void)state;
  static const char *const texts[] = {"", "a#", "#/a", "a+/b", "%", "a/%", "%x", "%C", "a/%%%", "%/u"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct pattern *p = NULL;
    assert_non_null(pattern_parse(slice_str(texts[i]), PATTERN_FILTER, &p));
    assert_null(p);
  }
}

static void as_many_levels_as_there_may_be(void **state) {
  (void)state;
  char text[2 * PATTERN_LEVELS_MAX + 2];
  for (int i = 0; i < 2 * PATTERN_LEVELS_MAX; i += 2)
    memcpy(text + i, "a/", 2);
  struct pattern *p = NULL;
  assert_non_null(pattern_parse(slice_of(text, 2 * PATTERN_LEVELS_MAX), PATTERN_FILTER, &p));
  assert_null(pattern_parse(slice_of(text, 2 * PATTERN_LEVELS_MAX - 1), PATTERN_FILTER, &p));
  assert_int_equal(p->count, PATTERN_LEVELS_MAX);
  pattern_free(p);
}

// --- placeholders ---

static void placeholders_stand_for_one_level_or_a_part_of_it(void **state) {
  (void)state;
  assert_true(covers("t/%u/#", "c", "ann", "t/ann/x"));
  assert_true(covers("t/%u/#", "c", "ann", "t/ann"));
  assert_false(covers("t/%u/#", "c", "ann", "t/anna"));
  assert_false(covers("t/%u", "c", "ann", "t/an"));
  assert_true(covers("%c/%u/%c-%u", "c", "u", "c/u/c-u"));
  assert_true(covers("x%u%%y%%", "c", "ann", "xann%y%"));
  assert_true(covers("%%u", "c", "ann", "%u"));
  assert_false(covers("%%u", "c", "ann", "ann"));
  assert_true(covers("%%%u", "c", "ann", "%ann"));
  assert_true(covers("+/%u", "c", "ann", "x/ann"));
  assert_false(covers("%u", "c", "ann", "+"));
  assert_false(covers("t/%u", "c", "ann", "t/#"));
  assert_true(covers("t/%u", "c", "%c", "t/%c")); // a value is no pattern
  assert_false(covers("t/%u", "c", "%c", "t/c"));
}

static void a_value_that_could_mean_more_stands_for_nothing(void **state) {
  (void)state;
  static const char *const values[] = {"", NULL, "a/b", "/", "+", "#", "a+", "#a", "a/#", "/a"};
  static const char *const topics[] = {"t",   "t/",   "t/a",  "t/a/b", "t/+", "t/#",
                                       "t//", "t/a+", "t//a", "#",     "+/+"};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    assert_null(pattern_value(text_of(values[i])).ptr);
    for (size_t j = 0; j < sizeof topics / sizeof *topics; j++) {
      assert_false(covers("t/%u", "c", values[i], topics[j]));
      assert_false(covers("t/%u/#", "c", values[i], topics[j]));
      assert_false(covers("t/a%c", values[i], "u", topics[j]));
      assert_false(overlaps("t/%u", "c", values[i], topics[j]));
    }
  }
}

static void no_value_makes_a_topic_begin_with_a_dollar(void **state) {
  (void)state;
  assert_false(covers("%u/#", "c", "$SYS", "$SYS/x"));
  assert_false(covers("%u", "c", "$SYS", "$SYS"));
  assert_false(covers("%u%c", "$x", "$SYS", "$SYS$x"));
  assert_false(overlaps("%u/#", "c", "$SYS", "$SYS/#"));
  assert_false(overlaps("%u/#", "c", "$SYS", "+/x"));
  assert_false(overlaps("%u/#", "c", "$SYS", "#"));
  assert_true(covers("t/%u", "c", "$SYS", "t/$SYS"));
  assert_true(covers("$app/%u", "c", "ann", "$app/ann"));
  assert_true(covers("$%u", "c", "ann", "$ann"));
  assert_false(overlaps("$%u/#", "c", "ann", "#"));
  assert_false(covers("#", "c", "ann", "$SYS"));
  assert_false(overlaps("+/x", "c", "ann", "$SYS/x"));
}

static void a_verbatim_pattern_covers_itself_only(void **state) {
  (void)state;
  struct pattern *p = NULL;
  struct pattern_values v = values_of("c", "ann");
  assert_null(pattern_parse(SLICE("t/%u/+/#"), PATTERN_VERBATIM, &p));
  assert_true(pattern_covers(p, &v, SLICE("t/ann/+/#")));
  assert_false(pattern_covers(p, &v, SLICE("t/ann/x/#")));
  assert_false(pattern_covers(p, &v, SLICE("t/ann/+/x")));
  assert_false(pattern_covers(p, &v, SLICE("t/ann/+")));
  pattern_free(p);
}

// --- compared with topic_match ---

static void without_placeholders_it_covers_what_topic_match_says(void **state) {
  (void)state;
  struct rand r;
  rand_init(&r, 1);
  struct pattern_values v = values_of("c", "ann");
  for (int i = 0; i < 100000; i++) {
    struct random_topic filter = random_filter(&r),
                        topic = random_below(&r, 2) ? random_filter(&r) : random_name(&r);
    struct pattern *p = NULL;
    assert_null(pattern_parse(random_slice(&filter), PATTERN_FILTER, &p));
    assert_int_equal(pattern_covers(p, &v, random_slice(&topic)),
                     topic_match(random_slice(&filter), random_slice(&topic)));
    pattern_free(p);
  }
}

static const char *const template_levels[] = {"a", "%u", "%c", "a%c", "%u%c", "b", "%%", "x%%%u", "+", "$%c"};
static const char *const some_values[] = {"a", "b", "ab", "$s", "", "a/b", "+", "#", "%", "%u", NULL};

static struct random_topic random_template(struct rand *r) {
  struct random_topic t = {.len = 0};
  uint32_t count = 1 + random_below(r, 4);
  for (uint32_t i = 0; i < count; i++)
    random_add(&t, i == count - 1 && !random_below(r, 3) ? "#" : template_levels[random_below(r, 10)], !i);
  return t;
}

// The filter that the text is with these values. False: it is none, and covers nothing.
static bool expand(struct slice text, const char *client, const char *user, struct buf *out) {
  out->len = 0;
  bool opens = text.len > 1 && text.ptr[0] == '%' && text.ptr[1] != '%';
  for (size_t i = 0; i < text.len; i++) {
    if (text.ptr[i] != '%' || text.ptr[++i] == '%') {
      buf_add_byte(out, text.ptr[i]);
      continue;
    }
    const char *value = text.ptr[i] == 'c' ? client : user;
    if (!value || !*value || strpbrk(value, "/+#")) return false;
    buf_add_str(out, value);
  }
  return !opens || out->ptr[0] != '$';
}

static void with_placeholders_it_is_the_filter_that_the_values_make(void **state) {
  (void)state;
  struct rand r;
  rand_init(&r, 2);
  struct buf expanded = BUF_INIT;
  int yes = 0;
  for (int i = 0; i < 200000; i++) {
    struct random_topic text = random_template(&r),
                        topic = random_below(&r, 2) ? random_filter(&r) : random_name(&r);
    const char *client = some_values[random_below(&r, 11)], *user = some_values[random_below(&r, 11)];
    struct pattern_values v = values_of(client, user);
    struct pattern *p = NULL;
    assert_null(pattern_parse(random_slice(&text), PATTERN_FILTER, &p));
    bool expected = expand(random_slice(&text), client, user, &expanded) &&
                    topic_match(buf_slice(&expanded), random_slice(&topic));
    assert_int_equal(pattern_covers(p, &v, random_slice(&topic)), expected);
    yes += expected;
    pattern_free(p);
  }
  assert_true(yes > 1000);
  buf_release(&expanded);
}

// --- overlapping: there is a topic that both match ---

static bool has_common_topic(struct slice a, struct slice b, struct random_topic *topic, uint32_t levels) {
  static const char *const all[] = {"a", "b", "", "$s", "ab", "z", "%"};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    struct random_topic longer = *topic;
    random_add(&longer, all[i], levels == 0);
    struct slice name = random_slice(&longer);
    if (longer.len && topic_match(a, name) && topic_match(b, name)) return true;
    if (levels < 3 && has_common_topic(a, b, &longer, levels + 1)) return true;
  }
  return false;
}

static void it_overlaps_a_filter_where_both_match_a_topic(void **state) {
  (void)state;
  struct rand r;
  rand_init(&r, 3);
  struct buf expanded = BUF_INIT;
  int yes = 0, no = 0;
  for (int i = 0; i < 3000; i++) {
    struct random_topic text = random_template(&r), filter = random_filter(&r), topic = {.len = 0};
    const char *client = some_values[random_below(&r, 5)], *user = some_values[random_below(&r, 5)];
    struct pattern_values v = values_of(client, user);
    struct pattern *p = NULL;
    assert_null(pattern_parse(random_slice(&text), PATTERN_FILTER, &p));
    if (expand(random_slice(&text), client, user, &expanded)) {
      // levels that no name of this alphabet has are compared by covering
      struct slice whole = buf_slice(&expanded);
      bool expected = has_common_topic(whole, random_slice(&filter), &topic, 0);
      if (!expected && topic_name_valid(whole)) expected = topic_match(random_slice(&filter), whole);
      if (expected) assert_true(pattern_overlaps(p, &v, random_slice(&filter)));
      if (!p->has_placeholder) assert_int_equal(pattern_overlaps(p, &v, random_slice(&filter)), expected);
      yes += expected;
    } else {
      assert_false(pattern_overlaps(p, &v, random_slice(&filter)));
      no++;
    }
    pattern_free(p);
  }
  assert_true(yes > 100 && no > 100);
  buf_release(&expanded);
}

// --- lists: a tree finds what a look from the beginning finds ---

static void add_random(struct rand *r, struct filters *f, struct filters *same, uint32_t number,
                       bool has_templates) {
  struct random_topic text = has_templates && !random_below(r, 3) ? random_template(r) : random_filter(r);
  enum filters_how how = random_below(r, 3) ? FILTERS_COVER : FILTERS_OVERLAP;
  uint32_t cases = 1 + random_below(r, 7);
  struct pattern *p = NULL, *q = NULL;
  if (random_below(r, 12)) {
    assert_null(pattern_parse(random_slice(&text), PATTERN_FILTER, &p));
    assert_null(pattern_parse(random_slice(&text), PATTERN_FILTER, &q));
  }
  filters_add(f, p, number, how, cases);
  filters_add(same, q, number, how, cases);
}

static void a_tree_finds_what_a_look_from_the_beginning_finds(void **state) {
  (void)state;
  struct rand r;
  rand_init(&r, 4);
  int found = 0;
  for (int list = 0; list < 300; list++) {
    struct filters tree, scanned;
    filters_init(&tree, rand_next(&r));
    filters_init(&scanned, 0);
    bool has_templates = random_below(&r, 2);
    uint32_t count = 1 + random_below(&r, 40);
    for (uint32_t number = 1; number <= count; number++)
      add_random(&r, &tree, &scanned, number, has_templates);
    filters_seal(&tree, 0);
    if (list % 2) filters_remember(&tree);
    filters_seal(&scanned, UINT32_MAX);
    for (int i = 0; i < 300; i++) {
      bool is_filter = random_below(&r, 2);
      struct random_topic topic = is_filter ? random_filter(&r) : random_name(&r);
      struct pattern_values v =
          values_of(some_values[random_below(&r, 11)], some_values[random_below(&r, 11)]);
      struct filters_query q = {random_slice(&topic), is_filter, 1u << random_below(&r, 3), &v};
      uint32_t below = random_below(&r, 3) ? UINT32_MAX : 1 + random_below(&r, count);
      const struct filter *a = filters_find(&tree, &q, below), *b = filters_find(&scanned, &q, below);
      assert_int_equal(a ? a->number : 0, b ? b->number : 0);
      found += a != NULL;
    }
    filters_release(&tree);
    filters_release(&scanned);
  }
  assert_true(found > 10000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(text_that_is_no_pattern_is_refused),
      cmocka_unit_test(as_many_levels_as_there_may_be),
      cmocka_unit_test(placeholders_stand_for_one_level_or_a_part_of_it),
      cmocka_unit_test(a_value_that_could_mean_more_stands_for_nothing),
      cmocka_unit_test(no_value_makes_a_topic_begin_with_a_dollar),
      cmocka_unit_test(a_verbatim_pattern_covers_itself_only),
      cmocka_unit_test(without_placeholders_it_covers_what_topic_match_says),
      cmocka_unit_test(with_placeholders_it_is_the_filter_that_the_values_make),
      cmocka_unit_test(it_overlaps_a_filter_where_both_match_a_topic),
      cmocka_unit_test(a_tree_finds_what_a_look_from_the_beginning_finds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
