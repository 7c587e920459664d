// The tree's nodes hold lists of subscriptions (newest last, the first one's `prev` is the last). A topic
// that is not cached is looked up level by level: `reached` holds the nodes that its levels so far lead to,
// each has up to two successors ("level" and "+") and may add its "#" to the matches. A node has one parent,
// so none is reached twice, and a topic costs no more than the part of the tree that it reaches, whatever its
// levels are.
//
// A subscriber is in the matches already when the entry at its `slot` names it: slots left over from earlier
// walks are found out by that look, and need no clearing.
#include "topic/index.h"

#include <assert.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "topic/cache.h"
#include "topic/topic.h"

#define QOS_MASK            0x03
#define NO_LOCAL            0x04
#define RETAIN_AS_PUBLISHED 0x08

struct reached { // the nodes of one depth
  struct tree_node **list;
  uint32_t count, cap;
};

struct index {
  struct tree tree;
  struct cache cache;
  struct map by_pair; // all subscriptions
  uint64_t subscriptions;
  struct reached now, then;
  struct matches *found; // by the last walk
  uint32_t found_cap;
  struct match_id *ids; // of the walk under way; they go behind the matches
  uint32_t id_count, id_cap;
  struct buf filter; // scratch
};

// Who subscribed to what, in one look-up however many share a filter or a subscriber.
static struct slice pair_key(const void *value) {
  return slice_of(&((const struct subscription *)value)->pair, sizeof(struct subscription_pair));
}

struct index *index_new(uint64_t seed) {
  struct index *ix = mem_calloc(1, sizeof *ix);
  tree_init(&ix->tree, seed);
  cache_init(&ix->cache, seed);
  map_init(&ix->by_pair, pair_key, seed);
  ix->found_cap = 8;
  ix->found = mem_calloc(1, matches_size(ix->found_cap, 0));
  return ix;
}

void index_free(struct index *ix) {
  assert(!ix->subscriptions);
  tree_release(&ix->tree);
  cache_release(&ix->cache);
  map_release(&ix->by_pair);
  mem_free(ix->now.list);
  mem_free(ix->then.list);
  mem_free(ix->found);
  mem_free(ix->ids);
  buf_release(&ix->filter);
  mem_free(ix);
}

void index_limit_cache(struct index *ix, uint32_t max_topics, uint64_t max_bytes) {
  cache_limit(&ix->cache, max_topics, max_bytes);
}

void subscriber_init(struct subscriber *s) { *s = (struct subscriber){0}; }

// --- subscriptions ---

static struct subscription *find(const struct index *ix, const struct tree_node *node,
                                 const struct subscriber *s) {
  struct subscription_pair pair = {(struct subscriber *)(uintptr_t)s, (struct tree_node *)(uintptr_t)node};
  return map_get(&ix->by_pair, slice_of(&pair, sizeof pair));
}

static void link_node(struct subscription *sub) {
  struct subscription *first = sub->pair.node->value;
  sub->next_of_node = NULL;
  sub->prev_of_node = first ? first->prev_of_node : sub;
  if (first) {
    first->prev_of_node->next_of_node = sub;
    first->prev_of_node = sub;
  } else {
    sub->pair.node->value = sub;
  }
}

static void unlink_node(struct subscription *sub) {
  struct subscription *first = sub->pair.node->value;
  if (sub->next_of_node)
    sub->next_of_node->prev_of_node = sub->prev_of_node;
  else
    first->prev_of_node = sub->prev_of_node;
  if (first == sub)
    sub->pair.node->value = sub->next_of_node;
  else
    sub->prev_of_node->next_of_node = sub->next_of_node;
}

static void link_subscriber(struct subscription *sub) {
  struct subscriber *s = sub->pair.subscriber;
  sub->next_of_subscriber = NULL;
  sub->prev_of_subscriber = s->last;
  if (s->last)
    s->last->next_of_subscriber = sub;
  else
    s->first = sub;
  s->last = sub;
  s->count++;
}

static void unlink_subscriber(struct subscription *sub) {
  struct subscriber *s = sub->pair.subscriber;
  if (sub->next_of_subscriber)
    sub->next_of_subscriber->prev_of_subscriber = sub->prev_of_subscriber;
  else
    s->last = sub->prev_of_subscriber;
  if (sub->prev_of_subscriber)
    sub->prev_of_subscriber->next_of_subscriber = sub->next_of_subscriber;
  else
    s->first = sub->next_of_subscriber;
  s->count--;
}

bool index_add(struct index *ix, struct slice filter, struct subscriber *s, uint8_t options, uint32_t id) {
  assert(topic_filter_valid(filter));
  struct tree_node *node = tree_insert(&ix->tree, filter);
  struct subscription *sub = find(ix, node, s);
  if (sub && sub->options == options && sub->id == id) return false;
  cache_invalidate(&ix->cache, filter);
  if (sub) {
    sub->options = options;
    sub->id = id;
    return false;
  }
  sub = mem_alloc(sizeof *sub);
  *sub = (struct subscription){.pair = {s, node}, .options = options, .id = id};
  map_put(&ix->by_pair, sub);
  link_node(sub);
  link_subscriber(sub);
  ix->subscriptions++;
  return true;
}

static void remove_subscription(struct index *ix, struct subscription *sub) {
  map_remove(&ix->by_pair, pair_key(sub));
  unlink_node(sub);
  unlink_subscriber(sub);
  tree_prune(&ix->tree, sub->pair.node);
  mem_free(sub);
  ix->subscriptions--;
}

bool index_remove(struct index *ix, struct slice filter, struct subscriber *s) {
  struct tree_node *node = tree_find(&ix->tree, filter);
  struct subscription *sub = node ? find(ix, node, s) : NULL;
  if (!sub) return false;
  cache_invalidate(&ix->cache, filter);
  remove_subscription(ix, sub);
  return true;
}

void index_remove_all(struct index *ix, struct subscriber *s) {
  while (s->first) {
    ix->filter.len = 0;
    subscription_filter(s->first, &ix->filter);
    cache_invalidate(&ix->cache, buf_slice(&ix->filter));
    remove_subscription(ix, s->first);
  }
}

const struct subscription *index_get(const struct index *ix, struct slice filter,
                                     const struct subscriber *s) {
  struct tree_node *node = tree_find(&ix->tree, filter);
  return node ? find(ix, node, s) : NULL;
}

void subscription_filter(const struct subscription *s, struct buf *out) { tree_path(s->pair.node, out); }

// --- the walk ---

static void reach(struct reached *r, struct tree_node *node) {
  if (!node) return;
  if (r->count == r->cap) {
    r->cap = r->cap ? r->cap * 2 : 16;
    r->list = mem_realloc(r->list, r->cap * sizeof(struct tree_node *));
  }
  r->list[r->count++] = node;
}

static struct match *found_before(struct matches *found, const struct subscriber *s) {
  if (s->slot >= found->count || found->list[s->slot].subscriber != s) return NULL;
  return &found->list[s->slot];
}

static void add_id(struct index *ix, struct match *match, const struct subscription *sub) {
  if (!sub->id) return;
  if (ix->id_count == ix->id_cap) {
    ix->id_cap = ix->id_cap ? ix->id_cap * 2 : 16;
    ix->ids = mem_realloc(ix->ids, ix->id_cap * sizeof *ix->ids);
  }
  ix->ids[ix->id_count++] = (struct match_id){sub->id, (sub->options & NO_LOCAL) != 0, match->ids};
  match->ids = ix->id_count;
}

uint8_t subscription_merge(uint8_t a, uint8_t b) {
  uint8_t qos = (a & QOS_MASK) > (b & QOS_MASK) ? a & QOS_MASK : b & QOS_MASK;
  return qos | (a & b & NO_LOCAL) | ((a | b) & RETAIN_AS_PUBLISHED);
}

static uint8_t own_options(const struct subscription *sub) {
  return sub->options & NO_LOCAL ? MATCH_NOT_OWN : sub->options;
}

static void add_match(struct index *ix, const struct subscription *sub) {
  struct subscriber *s = sub->pair.subscriber;
  struct match *before = found_before(ix->found, s);
  if (before) {
    before->options = subscription_merge(before->options, sub->options);
    if (before->own == MATCH_NOT_OWN)
      before->own = own_options(sub);
    else if (!(sub->options & NO_LOCAL))
      before->own = subscription_merge(before->own, sub->options);
    add_id(ix, before, sub);
    return;
  }
  if (ix->found->count == ix->found_cap) {
    ix->found_cap *= 2;
    ix->found = mem_realloc(ix->found, matches_size(ix->found_cap, 0));
  }
  s->slot = ix->found->count++;
  ix->found->list[s->slot] =
      (struct match){.subscriber = s, .options = sub->options, .own = own_options(sub)};
  add_id(ix, &ix->found->list[s->slot], sub);
}

static void collect(struct index *ix, const struct tree_node *node) {
  if (!node) return;
  for (const struct subscription *sub = node->value; sub; sub = sub->next_of_node)
    add_match(ix, sub);
}

// From the nodes of one depth to those of the next.
static void descend(struct index *ix, struct slice level, bool wildcards) {
  uint64_t hash = tree_level_hash(&ix->tree, level);
  ix->then.count = 0;
  for (uint32_t i = 0; i < ix->now.count; i++) {
    const struct tree_node *node = ix->now.list[i];
    if (!node->first) continue;
    if (wildcards) collect(ix, tree_hash_child(node));
    reach(&ix->then, tree_child_hashed(&ix->tree, node, level, hash));
    if (wildcards) reach(&ix->then, tree_plus_child(node));
  }
  struct reached swap = ix->now;
  ix->now = ix->then;
  ix->then = swap;
}

// The identifiers' place is behind the last match.
static void append_ids(struct index *ix) {
  struct matches *found = ix->found;
  uint32_t slots =
      (uint32_t)((ix->id_count * sizeof *ix->ids + sizeof *found->list - 1) / sizeof *found->list);
  if (found->count + slots > ix->found_cap) {
    ix->found_cap = found->count + slots;
    found = ix->found = mem_realloc(found, matches_size(ix->found_cap, 0));
  }
  found->id_count = ix->id_count;
  if (ix->id_count) memcpy(found->list + found->count, ix->ids, ix->id_count * sizeof *ix->ids);
}

static void walk(struct index *ix, struct slice topic) {
  bool wildcards = !slice_starts(topic, SLICE("$")); // at the first level only [MQTT-4.7.2-1]
  bool more = true;
  struct slice level;
  ix->found->count = ix->id_count = 0;
  ix->found->serial++;
  ix->now.count = 0;
  reach(&ix->now, ix->tree.root);
  while (ix->now.count && topic_next_level(&topic, &more, &level)) {
    descend(ix, level, wildcards);
    wildcards = true;
  }
  for (uint32_t i = 0; i < ix->now.count; i++) {
    collect(ix, ix->now.list[i]);
    collect(ix, tree_hash_child(ix->now.list[i])); // "a/#" matches "a" [MQTT 4.7.1.2]
  }
  append_ids(ix);
}

const struct matches *index_match(struct index *ix, struct slice topic) {
  const struct matches *matches = cache_get(&ix->cache, topic);
  if (matches) return matches;
  walk(ix, topic);
  return cache_put(&ix->cache, topic, ix->found);
}

struct index_stats index_stats(const struct index *ix) {
  return (struct index_stats){
      .subscriptions = ix->subscriptions,
      .nodes = ix->tree.count,
      .cache_hits = ix->cache.hits,
      .cache_misses = ix->cache.misses,
      .cached_topics = ix->cache.map.count,
      .cached_bytes = ix->cache.bytes,
  };
}
