// The tree of topic levels that both indexes are built on. A node is one level below its parent; all edges of a tree
// stand in one hash table keyed by (parent, level), so a node costs one allocation and one table slot.
//
//   root -- "home" -- "kitchen" -- "temperature"
//                 \-- "+"       -- "humidity"        wildcards are levels like others; `plus` and `hash` of a
//                                                     node tell without a look-up whether it has such a child
//
// Children of a node are also linked, in the order in which they came, so that they can be walked while nodes come and
// go: a pinned node is not freed, and its `next` stays good.
#ifndef LUAMQ_TOPIC_TREE_H
#define LUAMQ_TOPIC_TREE_H

#include "base/slice.h"

struct tree_node {
  struct tree_node *parent;      // NULL: the root
  struct tree_node *first, *last; // children
  struct tree_node *next, *prev; // siblings
  struct tree_node *plus, *hash; // the children "+" and "#", or NULL
  void *value;                   // the owner's; a node without value, children and pins is freed by tree_prune
  uint32_t level_hash;
  uint32_t pins;
  uint16_t level_len;
  uint8_t level[];
};

struct tree {
  struct tree_node *root;
  struct tree_node **edges; // open addressing
  uint64_t seed;
  uint32_t count, cap;      // nodes but for the root; slots
};

void tree_init(struct tree *t, uint64_t seed);
void tree_release(struct tree *t); // frees all nodes; values are the caller's, who has taken them off before

struct tree_node *tree_child(const struct tree *t, const struct tree_node *parent, struct slice level);
struct tree_node *tree_find(const struct tree *t, struct slice path);  // NULL when there is none
struct tree_node *tree_insert(struct tree *t, struct slice path);      // the node of the path, made where missing
// Frees the node when nothing holds it, and then its parents likewise.
void tree_prune(struct tree *t, struct tree_node *node);

void tree_pin(struct tree_node *node);
void tree_unpin(struct tree *t, struct tree_node *node); // prunes

// The path of a node: appends it to out.
struct buf;
void tree_path(const struct tree_node *node, struct buf *out);

#endif
