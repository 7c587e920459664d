#include "topic/cache.h"

#include "base/hash.h"
#include "base/mem.h"
#include "topic/topic.h"

#define SECOND_CHANCES 16

struct cached {
  struct matches *matches;
  uint64_t stamp; // 0: stale
  uint16_t top;   // which counter
  uint16_t topic_len;
  bool used; // hit since the hand last passed
  uint8_t topic[];
};

static struct slice cached_topic(const void *value) {
  const struct cached *e = value;
  return slice_of(e->topic, e->topic_len);
}

static uint64_t entry_bytes(size_t topic_len, const struct matches *m) {
  return offsetof(struct cached, topic) + topic_len + matches_size(m->count, m->id_count);
}

static uint16_t top_of(const struct cache *c, struct slice topic) {
  struct slice level;
  bool more = true;
  topic_next_level(&topic, &more, &level);
  return hash_bytes(c->seed, level) & (CACHE_TOPS - 1);
}

static uint64_t stamp_now(const struct cache *c, uint16_t top) { return c->all + c->tops[top]; }

void cache_init(struct cache *c, uint64_t seed) {
  *c = (struct cache){.seed = seed, .all = 1, .max_topics = 65536, .max_bytes = UINT64_C(64) << 20};
  map_init(&c->map, cached_topic, seed);
}

static void entry_free(struct cached *e) {
  mem_free(e->matches);
  mem_free(e);
}

static void drop(struct cache *c, struct cached *e) {
  map_remove(&c->map, cached_topic(e));
  c->bytes -= entry_bytes(e->topic_len, e->matches);
  entry_free(e);
}

void cache_release(struct cache *c) {
  uint32_t at = 0;
  for (struct cached *e; (e = map_each(&c->map, &at));)
    entry_free(e);
  map_release(&c->map);
}

// Evicts one entry, but not `keep`; there is another.
static void evict(struct cache *c, const struct cached *keep) {
  for (int chances = SECOND_CHANCES;;) {
    struct cached *e = map_each(&c->map, &c->hand);
    if (!e) {
      c->hand = 0;
    } else if (e->used && chances > 0) {
      e->used = false;
      chances--;
    } else if (e != keep) {
      drop(c, e);
      return;
    }
  }
}

void cache_limit(struct cache *c, uint32_t max_topics, uint64_t max_bytes) {
  c->max_topics = max_topics;
  c->max_bytes = max_bytes;
  while (c->map.count > max_topics || c->bytes > max_bytes)
    evict(c, NULL);
}

const struct matches *cache_get(struct cache *c, struct slice topic) {
  struct cached *e = map_get(&c->map, topic);
  if (!e || e->stamp != stamp_now(c, e->top)) {
    c->misses++;
    return NULL;
  }
  c->hits++;
  e->used = true;
  return e->matches;
}

static struct cached *entry_new(struct cache *c, struct slice topic) {
  struct cached *e = mem_alloc(sizeof *e + topic.len);
  *e = (struct cached){.top = top_of(c, topic), .topic_len = (uint16_t)topic.len};
  memcpy(e->topic, topic.ptr, topic.len);
  map_put(&c->map, e);
  return e;
}

static void entry_fill(struct cache *c, struct cached *e, const struct matches *matches) {
  size_t size = matches_size(matches->count, matches->id_count);
  e->matches = mem_realloc(e->matches, size);
  memcpy(e->matches, matches, size);
  e->stamp = stamp_now(c, e->top);
}

const struct matches *cache_put(struct cache *c, struct slice topic, const struct matches *matches) {
  uint64_t bytes = entry_bytes(topic.len, matches);
  struct cached *e = map_get(&c->map, topic);
  if (!c->max_topics || topic.len > CACHE_TOPIC_MAX || bytes > c->max_bytes) {
    if (e) drop(c, e);
    return matches;
  }
  if (e) c->bytes -= entry_bytes(topic.len, e->matches);
  while ((!e && c->map.count >= c->max_topics) || c->bytes + bytes > c->max_bytes)
    evict(c, e);
  if (!e) e = entry_new(c, topic);
  entry_fill(c, e, matches);
  c->bytes += bytes;
  return e->matches;
}

void cache_invalidate(struct cache *c, struct slice filter) {
  if (filter.ptr[0] == '+' || filter.ptr[0] == '#') {
    c->all++;
  } else if (topic_has_wildcard(filter)) {
    c->tops[top_of(c, filter)]++;
  } else {
    struct cached *e = map_get(&c->map, filter);
    if (e) e->stamp = 0;
  }
}
