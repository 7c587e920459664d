// The subscription index: who wants which topic. A tree of filters, and in front of it a bounded cache of
// flat arrays, one a topic, so that a hot topic costs one hash look-up and no walk.
//
//   struct subscriber s;  subscriber_init(&s);                // embedded in a session
//   index_add(ix, SLICE("home/+"), &s, 1, 0);
//   const struct matches *m = index_match(ix, SLICE("home/kitchen"));
//   for (uint32_t i = 0; i < m->count; i++) deliver(m->list[i].subscriber, m->list[i].options);
//
// A subscriber whose filters overlap stands once in the matches, with the options of the subscription of the
// highest QoS [MQTT-3.3.5-1]. The order of matches is the order of the walk, the same for the same history. A
// subscriber belongs to one index.
#ifndef LUAMQ_TOPIC_INDEX_H
#define LUAMQ_TOPIC_INDEX_H

#include "topic/tree.h"

struct subscription_pair {
  struct subscriber *subscriber;
  struct tree_node *node; // of the filter
};

struct subscription { // one filter of one subscriber; owned by the index
  struct subscription_pair pair;
  struct subscription *next_of_subscriber, *prev_of_subscriber;
  struct subscription *next_of_node, *prev_of_node;
  uint8_t options; // the granted QoS in the low two bits; no local and retain as published of MQTT 5
  uint32_t id;     // subscription identifier; 0: none
};

struct subscriber {
  struct subscription *first, *last; // newest last
  uint32_t count : 31;
  uint32_t is_group : 1; // the owner's: what it is embedded in
  uint32_t slot;         // private: its place in the matches of the last walk that found it
};

// Where several filters of a subscriber match: the highest QoS, no local if all say so, retain as published
// if one does, and all identifiers.
struct match {
  struct subscriber *subscriber;
  uint32_t ids; // place of the first, see matches_id; 0: none
  uint8_t options;
  uint8_t own; // for what the subscriber publishes: of those that do not say no local; MATCH_NOT_OWN: none
};
#define MATCH_NOT_OWN 0xff

struct match_id {
  uint32_t id : 31;
  uint32_t no_local : 1; // of a subscription that says so
  uint32_t next;         // place of the next one, or 0
};

struct matches {
  uint64_t serial; // of the walk that found them: the same serial is the same list
  uint32_t count;
  uint32_t id_count; // of the identifiers, which stand behind the list
  struct match list[];
};

// Identifiers of matches. Their places begin with 1.
static inline const struct match_id *matches_id(const struct matches *m, uint32_t place) {
  return (const struct match_id *)(const void *)(m->list + m->count) + (place - 1);
}

struct index; // see index_new

struct index *index_new(uint64_t seed);
void index_free(struct index *ix); // all subscribers have been removed before

// Bounds of the cache; 65,536 topics and 64 MiB unless set. With no topics every match is a walk, as it is
// for topics above a KiB.
void index_limit_cache(struct index *ix, uint32_t max_topics, uint64_t max_bytes);

void subscriber_init(struct subscriber *s);

// Options of two subscriptions of one subscriber that both match, see struct match.
uint8_t subscription_merge(uint8_t a, uint8_t b);

// Adds the subscription, or replaces options and id of the one that the subscriber has with the very same
// filter [MQTT-3.8.4-3]. The filter is valid, and copied. True when it is new.
bool index_add(struct index *ix, struct slice filter, struct subscriber *s, uint8_t options, uint32_t id);
bool index_remove(struct index *ix, struct slice filter, struct subscriber *s); // true when there was one
void index_remove_all(struct index *ix, struct subscriber *s);
// The subscriber's own subscription to the filter, or NULL.
const struct subscription *index_get(const struct index *ix, struct slice filter, const struct subscriber *s);

// Everyone who is to get a message to the topic (valid, without wildcards). Valid until the next call of any
// function of the index but index_get and index_stats. Never NULL.
const struct matches *index_match(struct index *ix, struct slice topic);

// The filter of a subscription, appended to out.
void subscription_filter(const struct subscription *s, struct buf *out);

struct index_stats {
  uint64_t subscriptions, nodes;
  uint64_t cache_hits, cache_misses;    // a stale entry is a miss
  uint64_t cached_topics, cached_bytes; // stale ones included
};
struct index_stats index_stats(const struct index *ix);

#endif
