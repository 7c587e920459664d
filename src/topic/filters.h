// A numbered list of patterns, and the first of them that fits a topic. What an access list or the scope of a
// hook is made of.
//
//   struct filters f;
//   filters_init(&f, seed);
//   filters_add(&f, pattern, 1, FILTERS_COVER, PUBLISH);      // in the order of the numbers
//   filters_seal(&f, FILTERS_SCANNED);
//   struct filters_query q = {.topic = topic, .cases = PUBLISH, .values = &v};
//   const struct filter *found = filters_find(&f, &q, UINT32_MAX);
//
// A short list is looked through from its beginning. A longer one has a tree of levels beside it:
//
//   root ── "t" ── template "%u" ── "#"      2, 7       the numbers of the patterns that end there
//    └──── "+" ── "status"                   1
//
// Each node knows the lowest number below it and the cases that are there, so that a walk leaves out what
// cannot be the first. Where no pattern has a placeholder the answer does not depend on who asks: the last
// ones may be kept in a small table, for a message that goes to very many (filters_remember).
#ifndef LUAMQ_TOPIC_FILTERS_H
#define LUAMQ_TOPIC_FILTERS_H

#include "topic/pattern.h"
#include "topic/tree.h"

#define FILTERS_SCANNED 8 // so many are looked through faster than a tree is walked

enum filters_how {
  FILTERS_COVER,   // fits what it covers all of
  FILTERS_OVERLAP, // fits a filter that it covers any of; a topic likewise
};

struct filter {
  struct pattern *pattern; // owned; NULL: fits everything, also what starts with `$`
  uint32_t number;
  uint32_t cases; // bits of the user's
  enum filters_how how;
  struct filter *next; // private: of its node
};

struct filters {
  struct filter *list;
  uint32_t count, cap;
  uint32_t cases;            // of any
  bool has_placeholder;      // in any
  struct tree tree;          // without a root: the list is looked through
  struct filter *everything; // beside the tree: those without a pattern
  struct branch *branches;   // what the nodes have
  struct known *known;       // last answers, or NULL
  uint64_t seed;
};

struct filters_query {
  struct slice topic; // valid; a name, or a filter when is_filter says so
  bool is_filter;
  uint32_t cases;                      // fits what has one of them
  const struct pattern_values *values; // may be NULL where no pattern has a placeholder
};

void filters_init(struct filters *f, uint64_t seed);
void filters_release(struct filters *f);
// Takes the pattern over. The number is not below the one before.
void filters_add(struct filters *f, struct pattern *p, uint32_t number, enum filters_how how, uint32_t cases);
// All are there. A list of more than `scanned` gets a tree.
void filters_seal(struct filters *f, uint32_t scanned);
// Keeps some answers, in 8 KiB; no effect where there is a placeholder, or no tree. After filters_seal.
void filters_remember(struct filters *f);
// The first one with a number below `below` that fits, or NULL.
const struct filter *filters_find(struct filters *f, const struct filters_query *q, uint32_t below);

#endif
