#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "broker/rules.h"
#include "random_topic.h"

#define ALL (RULES_PUBLISH | RULES_SUBSCRIBE | RULES_DELIVER)

static struct rules_name name_of(enum rules_name_kind kind, const char *text) {
  return (struct rules_name){kind, slice_str(text)};
}

// A rule about everything, to be narrowed.
static struct rule rule_about(uint32_t number, bool allow, unsigned operations) {
  return (struct rule){.number = number,
                       .line = 100 + number,
                       .allow = allow,
                       .operations = (uint8_t)operations,
                       .named = (uint8_t)operations,
                       .any_retain = true,
                       .qos = RULES_ANY_QOS};
}

static void about_topic(struct rule *rule, const char *topic) {
  rule->has_topic = true;
  rule->topic = slice_str(topic);
}

static struct rules_decision check(struct rules *r, const char *user, enum rules_operation o,
                                   const char *topic, uint8_t qos) {
  struct rules_who who = {SLICE("c"), user ? slice_str(user) : slice_of(NULL, 0)};
  struct rules_input input = {.operation = o, .topic = slice_str(topic), .qos = qos};
  struct rules_decision d;
  rules_check(r, &who, &input, &d);
  return d;
}

static void a_decision_tells_the_rule_and_its_place(void **state) {
  (void)state;
  struct rules *r = rules_new("broker.lua", 7);
  struct rule first = rule_about(1, false, RULES_PUBLISH), second = rule_about(2, true, ALL);
  about_topic(&first, "a/#");
  second.qos = 1;
  assert_null(rules_add(r, &first));
  assert_null(rules_add(r, &second));
  rules_seal(r);
  assert_int_equal(rules_count(r), 2);
  char text[RULES_TEXT_MAX], place[RULES_PLACE_MAX];

  struct rules_decision d = check(r, NULL, RULES_PUBLISH, "a/b", 0);
  assert_int_equal(d.verdict, RULES_DENY);
  assert_string_equal(rules_decision_text(&d, text), "rule 1");
  assert_string_equal(rules_decision_place(&d, place), "broker.lua:101");
  d = check(r, NULL, RULES_SUBSCRIBE, "a/b", 2);
  assert_int_equal(d.verdict, RULES_ALLOW);
  assert_int_equal(d.qos, 1);
  assert_int_equal(d.number, 2);
  d = check(r, NULL, RULES_PUBLISH, "b", 2);
  assert_int_equal(d.verdict, RULES_SILENT);
  assert_string_equal(rules_decision_text(&d, text), "no rule applies");
  assert_string_equal(rules_decision_place(&d, place), "");
  rules_unref(r);
}

static void what_is_wrong_with_a_filter_is_told(void **state) {
  (void)state;
  struct rules *r = rules_new(NULL, 7);
  struct rule rule = rule_about(1, true, ALL);
  about_topic(&rule, "a/#/b");
  assert_string_equal(rules_add(r, &rule), "not a valid topic filter");
  rules_seal(r);
  assert_int_equal(rules_count(r), 0);
  assert_int_equal(check(r, NULL, RULES_PUBLISH, "a", 0).verdict, RULES_SILENT);
  rules_unref(r);
}

static void deliveries_are_a_concern_where_a_rule_names_them(void **state) {
  (void)state;
  struct rules *r = rules_new(NULL, 7);
  struct rule rule = rule_about(1, true, ALL);
  rule.named = 0;
  rules_add(r, &rule);
  assert_false(rules_concern(r, RULES_DELIVER));
  assert_true(rules_concern(r, RULES_PUBLISH));
  rule = rule_about(2, true, RULES_DELIVER);
  rules_add(r, &rule);
  rules_seal(r);
  assert_true(rules_concern(r, RULES_DELIVER));
  rules_unref(r);
}

static void ten_thousand_users_have_rules_of_their_own(void **state) {
  (void)state;
  struct rules *r = rules_new(NULL, 7);
  char user[16], topic[32];
  for (uint32_t i = 1; i <= 10000; i++) {
    snprintf(user, sizeof user, "u%u", i);
    snprintf(topic, sizeof topic, "t/u%u/#", i);
    struct rule rule = rule_about(i, true, ALL);
    about_topic(&rule, topic);
    rule.user = name_of(RULES_NAME_EXACT, user);
    assert_null(rules_add(r, &rule));
  }
  rules_seal(r);
  assert_int_equal(check(r, "u77", RULES_PUBLISH, "t/u77/x", 0).number, 77);
  assert_int_equal(check(r, "u77", RULES_PUBLISH, "t/u78/x", 0).number, 0);
  assert_int_equal(check(r, NULL, RULES_PUBLISH, "t/u78/x", 0).number, 0);
  rules_unref(r);
}

static void rules_of_the_same_source_are_there_once(void **state) {
  (void)state;
  struct rules_pool pool;
  rules_pool_init(&pool, 3);
  assert_null(rules_pool_get(&pool, SLICE("x")));
  struct rules *r = rules_new(NULL, 7);
  rules_seal(r);
  rules_pool_put(&pool, r, SLICE("x"));
  assert_ptr_equal(rules_pool_get(&pool, SLICE("x")), r);
  assert_null(rules_pool_get(&pool, SLICE("y")));
  rules_unref(r);
  assert_ptr_equal(rules_pool_get(&pool, SLICE("x")), r);
  rules_unref(r);
  rules_unref(r);
  assert_null(rules_pool_get(&pool, SLICE("x")));
  r = rules_new(NULL, 7);
  rules_seal(r);
  rules_pool_put(&pool, r, SLICE(""));
  rules_pool_release(&pool);
  rules_unref(r); // outlives it
}

// --- compared with the definition ---

#define RULES_MAX 60

struct naive {
  struct rule rules[RULES_MAX];
  struct random_topic topics[RULES_MAX];
  size_t count;
};

static const char *const names[] = {"a", "b", "ab", "a/b", "$s", "", "+"};

static bool naive_name(struct rules_name wanted, struct slice name) {
  switch (wanted.kind) {
  case RULES_NAME_ANY: return true;
  case RULES_NAME_NONE: return !name.ptr;
  case RULES_NAME_EXACT: return name.ptr && slice_eq(name, wanted.text);
  default: return name.ptr && slice_starts(name, wanted.text);
  }
}

static bool naive_topic(const struct rule *rule, const struct rules_who *who,
                        const struct rules_input *input) {
  struct pattern *p = NULL;
  if (!rule->has_topic) return true;
  assert_null(pattern_parse(rule->topic, rule->exact ? PATTERN_VERBATIM : PATTERN_FILTER, &p));
  struct pattern_values v = {pattern_value(who->client), pattern_value(who->user)};
  bool overlap = !rule->allow && !rule->exact && input->operation == RULES_SUBSCRIBE;
  bool yes = overlap ? pattern_overlaps(p, &v, input->topic) : pattern_covers(p, &v, input->topic);
  pattern_free(p);
  return yes;
}

static bool naive_applies(const struct rule *rule, const struct rules_who *who,
                          const struct rules_input *input) {
  if (!(rule->operations & input->operation)) return false;
  if (!naive_name(rule->user, who->user) || !naive_name(rule->client, who->client)) return false;
  if (!rule->any_retain && rule->retain != input->retain) return false;
  if (rule->qos != RULES_ANY_QOS && !rule->allow && input->qos < rule->qos) return false;
  if (rule->qos != RULES_ANY_QOS && rule->allow && input->operation == RULES_PUBLISH &&
      input->qos > rule->qos)
    return false;
  return naive_topic(rule, who, input);
}

static const struct rule *naive_find(const struct naive *n, const struct rules_who *who,
                                     const struct rules_input *input) {
  for (size_t i = 0; i < n->count; i++)
    if (naive_applies(&n->rules[i], who, input)) return &n->rules[i];
  return NULL;
}

static struct rules_name random_condition(struct rand *r) {
  switch (random_below(r, 8)) {
  case 0: return name_of(RULES_NAME_NONE, "");
  case 1: {
    static const char *const prefixes[] = {"", "a", "ab", "a/"};
    return name_of(RULES_NAME_PREFIX, prefixes[random_below(r, 4)]);
  }
  case 2:
  case 3: return name_of(RULES_NAME_EXACT, names[random_below(r, 7)]);
  default: return name_of(RULES_NAME_ANY, "");
  }
}

static struct random_topic random_rule_topic(struct rand *r) {
  static const char *const templates[] = {"%u/#", "a/%c", "+/%u", "a/%c%u/+", "%c", "ab/%u/#"};
  struct random_topic t = {.len = 0};
  if (random_below(r, 3)) return random_filter(r);
  random_add(&t, templates[random_below(r, 6)], 1);
  return t;
}

static void random_rule(struct rand *r, struct naive *n) {
  uint32_t number = n->count ? n->rules[n->count - 1].number + random_below(r, 2) : 1;
  struct rule *rule = &n->rules[n->count];
  struct random_topic *topic = &n->topics[n->count++];
  *rule = rule_about(number, random_below(r, 2), 1 + random_below(r, 7));
  if (n->count > 1 && number == rule[-1].number) { // a further part of the same rule
    *rule = rule[-1];
  } else {
    rule->qos = random_below(r, 3) ? RULES_ANY_QOS : (uint8_t)random_below(r, 3);
    rule->exact = rule->operations == RULES_SUBSCRIBE && !random_below(r, 3);
    if (!(rule->operations & RULES_SUBSCRIBE)) {
      rule->any_retain = random_below(r, 2);
      rule->retain = random_below(r, 2);
    }
  }
  rule->has_topic = rule->exact || random_below(r, 8);
  rule->user = random_condition(r);
  rule->client = random_condition(r);
  *topic = random_rule_topic(r);
  rule->topic = random_slice(topic);
}

static void compare(struct rand *r, struct rules *rules, const struct naive *n) {
  const char *user = names[random_below(r, 7)], *client = names[random_below(r, 7)];
  struct rules_who who = {slice_str(client), random_below(r, 4) ? slice_str(user) : slice_of(NULL, 0)};
  struct pattern_values values = {pattern_value(who.client), pattern_value(who.user)};
  struct rules_view *view = rules_view_new(rules, &who);
  for (int i = 0; i < 30; i++) {
    struct rules_input input = {.operation = (enum rules_operation)(1 << random_below(r, 3)),
                                .qos = (uint8_t)random_below(r, 3)};
    bool subscribes = input.operation == RULES_SUBSCRIBE;
    struct random_topic topic = subscribes ? random_filter(r) : random_name(r);
    input.topic = random_slice(&topic);
    input.retain = !subscribes && random_below(r, 2);
    const struct rule *expected = naive_find(n, &who, &input);
    struct rules_decision d;
    rules_decide(rules, view, &values, &input, &d);
    assert_int_equal(d.number, expected ? expected->number : 0);
    assert_int_equal(d.verdict, !expected ? RULES_SILENT : expected->allow ? RULES_ALLOW : RULES_DENY);
  }
  rules_view_free(view);
}

static void the_index_finds_the_first_rule_that_applies(void **state) {
  (void)state;
  struct rand r;
  rand_init(&r, 11);
  static struct naive n;
  for (int round = 0; round < 400; round++) {
    n.count = 0;
    struct rules *rules = rules_new(NULL, rand_next(&r));
    uint32_t count = 1 + random_below(&r, RULES_MAX);
    while (n.count < count) {
      random_rule(&r, &n);
      assert_null(rules_add(rules, &n.rules[n.count - 1]));
    }
    rules_seal(rules);
    for (int i = 0; i < 20; i++)
      compare(&r, rules, &n);
    rules_unref(rules);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_decision_tells_the_rule_and_its_place),
      cmocka_unit_test(what_is_wrong_with_a_filter_is_told),
      cmocka_unit_test(deliveries_are_a_concern_where_a_rule_names_them),
      cmocka_unit_test(ten_thousand_users_have_rules_of_their_own),
      cmocka_unit_test(rules_of_the_same_source_are_there_once),
      cmocka_unit_test(the_index_finds_the_first_rule_that_applies),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
