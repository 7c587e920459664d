// The tree of topic levels that both indexes are built on. A node is one level below its parent; all edges of
// a tree stand in one hash table keyed by (parent, level), so a node costs one allocation and one table slot.
//
//   root -- "home" -- "kitchen" -- "temperature"
//                 \-- "+"       -- "humidity"        wildcards are levels like others; flags of a node tell
//                                                     without a look-up whether it has such a child
//
// Children of a node are also linked, so that they can be walked while nodes come and go: "#" and "+" stand
// first, the others follow in the order in which they came; a pinned node is not freed, and its `next` stays
// good. Nothing ever walks the table itself: where a node lies in memory changes no order.
//
// Paths have up to 65,535 levels, so nothing here recurses.
#ifndef LUAMQ_TOPIC_TREE_H
#define LUAMQ_TOPIC_TREE_H

#include "base/slice.h"

struct tree_node {
  struct tree_node *parent;      // NULL: the root
  struct tree_node *first;       // child
  struct tree_node *next, *prev; // siblings; the first one's `prev` is the last, whose `next` is NULL
  void *value;    // the owner's; a node without value, children and pins is freed by tree_prune
  uint32_t order; // siblings come in this order: when they were made
  uint32_t pins : 30;
  uint32_t has_plus : 1, has_hash : 1; // a child "+", a child "#"
  uint16_t level_len;
  uint8_t level[];
};

struct tree {
  struct tree_node *root;
  struct tree_node **edges; // open addressing, linear probing
  uint32_t *hashes;         // of each edge; 0: a free slot
  uint64_t seed;
  uint32_t count, cap; // nodes but for the root; slots
  uint32_t made;       // nodes so far; wraps
};

void tree_init(struct tree *t, uint64_t seed);
void tree_release(struct tree *t); // frees all nodes; values are the caller's, who has taken them off before

// NULL when there is none.
struct tree_node *tree_child(const struct tree *t, const struct tree_node *parent, struct slice level);
struct tree_node *tree_find(const struct tree *t, struct slice path);
// The node of the path, made where missing. Give it a value or prune it.
struct tree_node *tree_insert(struct tree *t, struct slice path);
// Frees the node when nothing holds it, and then its parents likewise. The root stays.
void tree_prune(struct tree *t, struct tree_node *node);

// A walk that looks for one level under many parents hashes it once.
uint64_t tree_level_hash(const struct tree *t, struct slice level);
struct tree_node *tree_child_hashed(const struct tree *t, const struct tree_node *parent, struct slice level,
                                    uint64_t level_hash);

static inline struct slice tree_level(const struct tree_node *node) {
  return slice_of(node->level, node->level_len);
}

static inline struct tree_node *tree_hash_child(const struct tree_node *node) {
  return node->has_hash ? node->first : NULL;
}

static inline struct tree_node *tree_plus_child(const struct tree_node *node) {
  if (!node->has_plus) return NULL;
  return node->has_hash ? node->first->next : node->first;
}

void tree_pin(struct tree_node *node);
void tree_unpin(struct tree *t, struct tree_node *node); // prunes

// The node after `node` in pre-order: itself, its children, its next sibling. NULL after the last.
struct tree_node *tree_next(const struct tree_node *node);

// The path of a node, appended to out.
struct buf;
void tree_path(const struct tree_node *node, struct buf *out);

#endif
