// A topic filter with placeholders, taken apart once so that it is quickly compared with many topics.
//
//   "t/%u/dev-%c/#"     %u the user name, %c the client id, %% a percent sign
//
// A placeholder stands for a value inside of one level. A value that could mean anything else there stands
// for nothing, and then the pattern covers nothing: none, an empty one, and one with `/`, `+` or `#`. Like a
// wildcard, a placeholder that begins the first level never makes it start with `$`: nobody gets at `$SYS` by
// calling himself so.
//
//   struct pattern *p;
//   const char *error = pattern_parse(SLICE("t/%u/#"), PATTERN_FILTER, &p);
//   struct pattern_values v = {.user = pattern_value(SLICE("ann"))};
//   pattern_covers(p, &v, SLICE("t/ann/x"));
//   pattern_free(p);
#ifndef LUAMQ_TOPIC_PATTERN_H
#define LUAMQ_TOPIC_PATTERN_H

#include "base/slice.h"

#define PATTERN_LEVELS_MAX 128
#define PATTERN_MAX        65000 // bytes, below TOPIC_MAX: the edge of a template has room for its mark

enum pattern_kind {
  PATTERN_LITERAL,
  PATTERN_TEMPLATE, // with placeholders
  PATTERN_PLUS,
  PATTERN_HASH,
};

struct pattern_level {
  enum pattern_kind kind;
  struct slice text; // as written, but of a literal without the doubled `%`
};

struct pattern { // owns what its slices point into
  uint32_t count;
  bool has_placeholder;
  struct slice head;    // the literal levels that it begins with, joined
  uint32_t head_levels; // how many
  struct pattern_level levels[];
};

struct pattern_values {
  struct slice client, user; // ptr NULL: stands for nothing
};

enum pattern_form {
  PATTERN_FILTER,
  PATTERN_PLAIN,    // `%` is a character like others
  PATTERN_VERBATIM, // wildcards are levels like others: it covers the very same filter only
};

// NULL, or what is wrong with the text. The pattern is the caller's.
const char *pattern_parse(struct slice text, enum pattern_form form, struct pattern **out);
void pattern_free(struct pattern *p); // NULL is fine

// The text, where it can stand for a placeholder; else a slice whose ptr is NULL.
struct slice pattern_value(struct slice text);

// Whether it covers the topic name or filter, as topic_match tells it. The topic is valid.
bool pattern_covers(const struct pattern *p, const struct pattern_values *v, struct slice topic);
// Whether there may be a topic that both it and the valid filter match.
bool pattern_overlaps(const struct pattern *p, const struct pattern_values *v, struct slice filter);
// Whether a template stands for this level. `first`: it is the first one.
bool pattern_level_is(const struct pattern_level *level, const struct pattern_values *v, struct slice given,
                      bool first);

#endif
