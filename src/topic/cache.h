// The cache in front of the subscription tree: topic -> its matches in one flat array. Known to index.c only.
//
// Entries are never searched for what a change touches. Each carries a stamp, the sum of two counters at the
// time it was filled: one for its top level (hashed into CACHE_TOPS), one for all topics. A changed filter
// moves a counter, and the stamps that no longer agree are stale; counters only grow, so equal sums mean that
// neither has moved.
//
//   "a/+/c"          tops[hash("a")]++        topics below a
//   "+/c", "#"       all++                    any topic
//   "a/b/c"          that entry's stamp = 0   one topic: a client with a filter of its own
//                                             costs nobody else's entry
//
// Bounded in topics and in bytes. What goes is found by second chance: a hand moves over the table, takes the
// `used` mark off what was hit since it last passed, and evicts what has none; after some marks it evicts in
// any case, so that one call is short.
#ifndef LUAMQ_TOPIC_CACHE_H
#define LUAMQ_TOPIC_CACHE_H

#include "base/map.h"
#include "topic/index.h"

#define CACHE_TOPS      1024u // a power of two
#define CACHE_TOPIC_MAX 1024u // bytes; a longer one is not kept: the copies would be what fills the memory

struct cache {
  struct map map; // of struct cached
  uint64_t seed;
  uint64_t max_bytes, bytes; // of arrays, topics and entries
  uint64_t hits, misses;
  uint64_t all, tops[CACHE_TOPS];
  uint32_t max_topics;
  uint32_t hand; // the slot where it goes on
};

void cache_init(struct cache *c, uint64_t seed);
void cache_release(struct cache *c);
void cache_limit(struct cache *c, uint32_t max_topics, uint64_t max_bytes); // evicts what is too much

// The matches, valid until the next call of another function, or NULL when they are not known.
const struct matches *cache_get(struct cache *c, struct slice topic);
// Keeps a copy and returns it; returns `matches` itself where that alone is above the limits.
const struct matches *cache_put(struct cache *c, struct slice topic, const struct matches *matches);
// The subscriptions of this filter have changed.
void cache_invalidate(struct cache *c, struct slice filter);

static inline size_t matches_size(uint32_t count, uint32_t id_count) {
  return sizeof(struct matches) + count * sizeof(struct match) + id_count * sizeof(struct match_id);
}

#endif
