// The cursor goes through the tree in pre-order, along parent pointers, without a stack: where it stands is a
// node, the level of the filter that led there, and whether it is on its way up. A literal level of the
// filter is one look-up and has no siblings; "+" and "#" go along the children. Since a pinned node keeps its
// parents and its place among its siblings, what other calls add and delete meanwhile cannot lead astray.
//
//   filter "a/+/c"        root -> a -> a/x -> a/x/c  up: a/x/c (literal: no siblings) a/x -> a/y -> a/y/c ...
//
// Below "#" the filter does not go on; `below` counts the levels, so that the way up knows where "#" began.
#include "topic/retained.h"

#include <assert.h>

#include "base/mem.h"
#include "topic/topic.h"

void retained_init(struct retained *r, uint64_t seed) {
  tree_init(&r->tree, seed);
  r->count = 0;
}

void retained_release(struct retained *r, void (*drop)(void *arg, void *value), void *arg) {
  for (struct tree_node *node = r->tree.root; node; node = tree_next(node)) {
    assert(!node->pins);
    if (node->value) drop(arg, node->value);
  }
  tree_release(&r->tree);
  r->count = 0;
}

void *retained_set(struct retained *r, struct slice topic, void *value) {
  assert(value && topic_name_valid(topic));
  struct tree_node *node = tree_insert(&r->tree, topic);
  void *old = node->value;
  node->value = value;
  if (!old) r->count++;
  return old;
}

void *retained_get(const struct retained *r, struct slice topic) {
  const struct tree_node *node = tree_find(&r->tree, topic);
  return node ? node->value : NULL;
}

void *retained_delete(struct retained *r, struct slice topic) {
  struct tree_node *node = tree_find(&r->tree, topic);
  void *old = node ? node->value : NULL;
  if (!old) return NULL;
  node->value = NULL;
  tree_prune(&r->tree, node);
  r->count--;
  return old;
}

// --- the cursor's place in its filter ---

static struct slice current_level(const struct retained_cursor *c) {
  return slice_of(c->filter.ptr + c->level, c->level_to - c->level);
}

static bool by_wildcard(const struct retained_cursor *c) {
  if (!c->depth || c->level_to - c->level != 1) return false;
  return c->filter.ptr[c->level] == '+' || c->filter.ptr[c->level] == '#';
}

// Whether a topic that ends at `at` matches: the filter ends there, or has only "/#" left [MQTT 4.7.1.2].
static bool is_match(const struct retained_cursor *c) {
  return c->level_to == c->filter.len || slice_eq(slice_from(c->filter, c->level_to), SLICE("/#"));
}

// One level deeper. False when the filter has none left; then nothing has changed.
static bool filter_down(struct retained_cursor *c) {
  if (c->below) {
    c->below++;
  } else {
    if (c->depth && c->level_to == c->filter.len) return false;
    uint32_t from = c->depth ? c->level_to + 1 : 0;
    const uint8_t *start = c->filter.ptr + from;
    const uint8_t *slash = memchr(start, '/', c->filter.len - from);
    c->level = from;
    c->level_to = slash ? (uint32_t)(slash - c->filter.ptr) : (uint32_t)c->filter.len;
    c->below = slice_eq(current_level(c), SLICE("#"));
  }
  c->depth++;
  return true;
}

static void filter_up(struct retained_cursor *c) {
  c->depth--;
  if (c->below) c->below--;
  if (c->below || !c->depth) return;
  c->level_to = c->level - 1;
  const uint8_t *slash = memrchr(c->filter.ptr, '/', c->level_to);
  c->level = slash ? (uint32_t)(slash - c->filter.ptr) + 1 : 0;
}

// --- the cursor's place in the tree ---

static struct tree_node *first_child(struct retained_cursor *c) {
  if (!c->at->first || !filter_down(c)) return NULL;
  struct tree_node *child =
      by_wildcard(c) ? c->at->first : tree_child(&c->index->tree, c->at, current_level(c));
  if (!child) filter_up(c);
  return child;
}

static void arrive(struct retained_cursor *c, struct tree_node *node) {
  c->at = node;
  c->left = c->depth == 1 && by_wildcard(c) && slice_starts(tree_level(node), SLICE("$")); // [MQTT-4.7.2-1]
}

static void go_up(struct retained_cursor *c) {
  c->at = c->at->parent;
  if (c->at) filter_up(c);
}

// One move: down, along or up. Returns the value when it has come to one that matches.
static void *move(struct retained_cursor *c) {
  struct tree_node *to = c->left ? NULL : first_child(c);
  if (!to && by_wildcard(c)) to = c->at->next;
  if (!to) {
    c->left = true;
    go_up(c);
    return NULL;
  }
  arrive(c, to);
  return !c->left && is_match(c) ? to->value : NULL;
}

void retained_open(struct retained_cursor *c, struct retained *r, struct slice filter) {
  assert(topic_filter_valid(filter));
  *c = (struct retained_cursor){.index = r, .at = r->tree.root};
  c->filter = slice_of(mem_dup(filter.ptr, filter.len), filter.len);
  tree_pin(c->at);
}

void *retained_next(struct retained_cursor *c, uint32_t *budget) {
  assert(*budget);
  struct tree_node *pinned = c->at;
  void *value = NULL;
  for (; !value && c->at && *budget; --*budget)
    value = move(c);
  if (c->at != pinned) {
    if (c->at) tree_pin(c->at);
    tree_unpin(&c->index->tree, pinned);
  }
  return value;
}

static uint32_t depth_of(const struct tree_node *node) {
  uint32_t depth = 0;
  for (; node->parent; node = node->parent)
    depth++;
  return depth;
}

// Whether the cursor comes to the node later, in pre-order.
static bool is_later(const struct retained_cursor *c, const struct tree_node *node) {
  const struct tree_node *at = c->at;
  uint32_t at_depth = depth_of(at), depth = depth_of(node);
  bool deeper = depth > at_depth;
  for (; depth > at_depth; depth--)
    node = node->parent;
  for (; at_depth > depth; at_depth--)
    at = at->parent;
  if (at == node) return deeper && !c->left;
  while (at->parent != node->parent) {
    at = at->parent;
    node = node->parent;
  }
  return (int32_t)(node->order - at->order) > 0;
}

bool retained_is_ahead(const struct retained_cursor *c, struct slice topic) {
  if (!c->at || !topic_match(c->filter, topic)) return false;
  const struct tree_node *node = tree_find(&c->index->tree, topic);
  return node && node->value && is_later(c, node);
}

void retained_close(struct retained_cursor *c) {
  if (c->at) tree_unpin(&c->index->tree, c->at);
  c->at = NULL;
  mem_free((void *)(uintptr_t)c->filter.ptr);
  c->filter = slice_of(NULL, 0);
}
