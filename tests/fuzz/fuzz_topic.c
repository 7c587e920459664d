// Three ways to the same answer: topic_match, the subscription index and the retained cursor. The input is
// lines: the first is a filter; the others, where valid, are topics, and where they are filters only, filters
// that the first may cover.
#include "fuzz.h"
#include "topic/index.h"
#include "topic/pattern.h"
#include "topic/retained.h"
#include "topic/topic.h"

#define MAX_LINES 64

struct input {
  struct slice filter;
  struct slice lines[MAX_LINES];
  bool seen[MAX_LINES]; // by the cursor
  size_t count;
};

static void split(struct input *in, struct slice rest) {
  in->filter = fuzz_line(&rest);
  while (rest.len && in->count < MAX_LINES)
    in->lines[in->count++] = fuzz_line(&rest);
}

static void check_invalid(const struct input *in) {
  for (size_t i = 0; i < in->count; i++) {
    CHECK(!topic_match(in->filter, in->lines[i]));
    CHECK(!topic_match(in->lines[i], in->filter));
  }
}

// What is covered by a filter that the first one covers, the first one covers too.
static void check_covering(const struct input *in) {
  for (size_t i = 0; i < in->count; i++) {
    if (!topic_match(in->filter, in->lines[i])) continue;
    for (size_t j = 0; j < in->count; j++)
      CHECK(!topic_match(in->lines[i], in->lines[j]) || topic_match(in->filter, in->lines[j]));
  }
}

// A pattern without placeholders is the filter, and has something in common with what it covers.
static void check_pattern(const struct input *in) {
  struct pattern *p = NULL;
  struct pattern_values none = {0};
  if (pattern_parse(in->filter, PATTERN_PLAIN, &p)) return;
  for (size_t i = 0; i < in->count; i++) {
    if (!topic_filter_valid(in->lines[i])) continue;
    bool covers = pattern_covers(p, &none, in->lines[i]), overlaps = pattern_overlaps(p, &none, in->lines[i]);
    CHECK(covers == topic_match(in->filter, in->lines[i]));
    CHECK(!covers || overlaps);
    if (!topic_has_wildcard(in->lines[i])) CHECK(covers == overlaps);
  }
  pattern_free(p);
}

static void check_levels(const struct input *in) {
  for (size_t i = 0; i < in->count; i++) {
    struct slice rest = in->lines[i], level;
    bool more = true, wildcard = false;
    uint32_t levels = 0;
    for (; topic_next_level(&rest, &more, &level); levels++)
      wildcard |= slice_eq(level, SLICE("+")) || slice_eq(level, SLICE("#"));
    CHECK(topic_levels(in->lines[i]) == levels);
    if (topic_filter_valid(in->lines[i])) CHECK(topic_has_wildcard(in->lines[i]) == wildcard);
    if (topic_filter_valid(in->lines[i])) CHECK(topic_name_valid(in->lines[i]) == !wildcard);
  }
}

static void check_index(const struct input *in) {
  struct index *ix = index_new(1);
  struct subscriber s, others;
  subscriber_init(&s);
  subscriber_init(&others);
  index_add(ix, in->filter, &s, 1, 0);
  for (size_t i = 0; i < in->count; i++)
    if (topic_filter_valid(in->lines[i])) index_add(ix, in->lines[i], &others, 0, 0);
  index_remove_all(ix, &others);
  for (int round = 0; round < 2; round++) { // not cached, cached
    for (size_t i = 0; i < in->count; i++) {
      if (!topic_name_valid(in->lines[i])) continue;
      const struct matches *m = index_match(ix, in->lines[i]);
      CHECK(m->count == topic_match(in->filter, in->lines[i]));
      CHECK(!m->count || (m->list[0].subscriber == &s && m->list[0].options == 1));
    }
  }
  CHECK(index_remove(ix, in->filter, &s));
  CHECK(index_stats(ix).nodes == 0);
  index_free(ix);
}

static void drop(void *arg, void *value) {
  (void)value;
  ++*(uint64_t *)arg;
}

static void walk(struct input *in, struct retained *r) {
  struct retained_cursor c;
  retained_open(&c, r, in->filter);
  for (uint32_t budget = 3;;) {
    struct slice *line = retained_next(&c, &budget);
    if (line) {
      CHECK(!in->seen[line - in->lines]);
      in->seen[line - in->lines] = true;
    } else if (budget) {
      break;
    }
    if (!budget) budget = 3;
  }
  retained_close(&c);
}

static void check_retained(struct input *in) {
  struct retained r;
  retained_init(&r, 1);
  for (size_t i = 0; i < in->count; i++)
    if (topic_name_valid(in->lines[i])) retained_set(&r, in->lines[i], &in->lines[i]);
  walk(in, &r);
  for (size_t i = 0; i < in->count; i++) {
    bool current = topic_name_valid(in->lines[i]) && retained_get(&r, in->lines[i]) == &in->lines[i];
    CHECK(in->seen[i] == (current && topic_match(in->filter, in->lines[i])));
  }
  uint64_t count = r.count, dropped = 0;
  retained_release(&r, drop, &dropped);
  CHECK(dropped == count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input in = {.count = 0};
  split(&in, slice_of(data, size));
  check_levels(&in);
  if (!topic_filter_valid(in.filter)) {
    check_invalid(&in);
    return 0;
  }
  check_pattern(&in);
  check_covering(&in);
  check_index(&in);
  check_retained(&in);
  return 0;
}
