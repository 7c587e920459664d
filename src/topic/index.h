// The subscription index: who wants which topic. A tree of filters, and in front of it a bounded cache of flat arrays,
// one a topic, so that a hot topic costs one hash look-up and no walk.
//
//   struct subscriber s;  subscriber_init(&s, serial);        // embedded in a session
//   index_add(&ix, SLICE("home/+"), &s, 1);
//   const struct matches *m = index_match(&ix, SLICE("home/kitchen"));
//   for (uint32_t i = 0; i < m->count; i++) deliver(m->list[i].subscriber, m->list[i].options);
//
// A subscriber whose filters overlap stands once in the matches, at the highest QoS [MQTT-3.3.5-1]. The order
// of matches is the order of the walk, the same for the same history.
#ifndef LUAMQ_TOPIC_INDEX_H
#define LUAMQ_TOPIC_INDEX_H

#include "base/map.h"
#include "topic/tree.h"

struct subscription { // one filter of one subscriber; owned by the index
  struct subscriber *subscriber;
  struct tree_node *node;
  struct subscription *next_of_subscriber, *prev_of_subscriber;
  struct subscription *next_of_node, *prev_of_node;
  uint8_t options; // the granted QoS in the low two bits; more in MQTT 5
};

struct subscriber {
  struct subscription *first; // newest last
  struct subscription *last;
  uint32_t count;
  uint32_t mark, slot; // of the walk under way
};

struct match {
  struct subscriber *subscriber;
  uint8_t options;
};

struct matches {
  uint32_t count;
  struct match list[];
};

struct index; // see index_new

struct index *index_new(uint64_t seed);
void index_free(struct index *ix); // all subscribers have been removed before

void subscriber_init(struct subscriber *s);

// Adds the subscription, or replaces the options of the one that the subscriber has with the very same filter
// [MQTT-3.8.4-3]. The filter is valid, and copied. True when it is new.
bool index_add(struct index *ix, struct slice filter, struct subscriber *s, uint8_t options);
bool index_remove(struct index *ix, struct slice filter, struct subscriber *s); // true when there was one
void index_remove_all(struct index *ix, struct subscriber *s);
// The subscriber's own subscription to the filter, or NULL.
const struct subscription *index_get(const struct index *ix, struct slice filter, const struct subscriber *s);

// Everyone who is to get a message to the topic (valid, without wildcards). Valid until the next call of any function
// of the index but index_get and index_stats. Never NULL.
const struct matches *index_match(struct index *ix, struct slice topic);

// The filter of a subscription, appended to out.
void subscription_filter(const struct subscription *s, struct buf *out);

struct index_stats {
  uint64_t subscriptions, nodes;
  uint64_t cache_hits, cache_misses, cached_topics, cached_bytes;
};
struct index_stats index_stats(const struct index *ix);

#endif
