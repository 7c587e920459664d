// Random topics and filters over a small alphabet, so that they often meet: empty levels, '$' levels,
// wildcards, one level that begins like another.
#ifndef LUAMQ_TESTS_RANDOM_TOPIC_H
#define LUAMQ_TESTS_RANDOM_TOPIC_H

#include <stdio.h>

#include "base/rand.h"
#include "base/slice.h"

#define RANDOM_TOPIC_MAX 32

struct random_topic { // a buffer of its own, so that what borrows it too long is found
  char text[RANDOM_TOPIC_MAX];
  size_t len;
};

static inline uint32_t random_below(struct rand *r, uint32_t n) { return (uint32_t)(rand_next(r) >> 32) % n; }

static inline struct slice random_slice(const struct random_topic *t) { return slice_of(t->text, t->len); }

static inline void random_add(struct random_topic *t, const char *level, int first) {
  t->len += (size_t)snprintf(t->text + t->len, sizeof t->text - t->len, "%s%s", first ? "" : "/", level);
}

static inline struct random_topic random_name(struct rand *r) {
  static const char *const levels[] = {"a", "b", "", "$s", "ab", "a", "b", "c"};
  struct random_topic t = {.len = 0};
  uint32_t count = 1 + random_below(r, 4);
  for (uint32_t i = 0; i < count; i++)
    random_add(&t, levels[random_below(r, 8)], i == 0);
  if (!t.len) random_add(&t, "a", 1); // not the empty topic
  return t;
}

static inline struct random_topic random_filter(struct rand *r) {
  static const char *const levels[] = {"a", "b", "", "$s", "ab", "a", "+", "+"};
  struct random_topic t = {.len = 0};
  uint32_t count = 1 + random_below(r, 4);
  for (uint32_t i = 0; i < count; i++) {
    int last = i == count - 1;
    random_add(&t, last && random_below(r, 3) == 0 ? "#" : levels[random_below(r, 8)], i == 0);
  }
  if (!t.len) random_add(&t, "+", 1);
  return t;
}

#endif
