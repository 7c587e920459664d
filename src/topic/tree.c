#include "topic/tree.h"

#include <assert.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "topic/topic.h"

#define MIN_CAP 16u

// --- the edge table ---

uint64_t tree_level_hash(const struct tree *t, struct slice level) { return hash_bytes(t->seed, level); }

// Never 0. The level's hash is secret, so that peers cannot choose levels that collide.
static uint32_t edge_hash(const struct tree_node *parent, uint64_t level_hash) {
  uint64_t mixed = (level_hash ^ (uint64_t)(uintptr_t)parent) * UINT64_C(0x9e3779b97f4a7c15);
  uint32_t hash = (uint32_t)(mixed ^ mixed >> 32);
  return hash ? hash : 1;
}

static bool is_edge(const struct tree_node *node, const struct tree_node *parent, struct slice level) {
  return node->parent == parent && slice_eq(tree_level(node), level);
}

struct tree_node *tree_child_hashed(const struct tree *t, const struct tree_node *parent, struct slice level,
                                    uint64_t level_hash) {
  if (!t->count) return NULL;
  uint32_t hash = edge_hash(parent, level_hash), mask = t->cap - 1;
  for (uint32_t i = hash & mask; t->hashes[i]; i = (i + 1) & mask)
    if (t->hashes[i] == hash && is_edge(t->edges[i], parent, level)) return t->edges[i];
  return NULL;
}

static void put_edge(struct tree *t, struct tree_node *node, uint32_t hash) {
  uint32_t mask = t->cap - 1, at = hash & mask;
  while (t->hashes[at])
    at = (at + 1) & mask;
  t->hashes[at] = hash;
  t->edges[at] = node;
}

static void resize(struct tree *t, uint32_t cap) {
  struct tree old = *t;
  t->cap = cap;
  t->edges = mem_alloc(cap * sizeof *t->edges);
  t->hashes = mem_calloc(cap, sizeof *t->hashes);
  for (uint32_t i = 0; i < old.cap; i++)
    if (old.hashes[i]) put_edge(t, old.edges[i], old.hashes[i]);
  mem_free(old.edges);
  mem_free(old.hashes);
}

static void add_edge(struct tree *t, struct tree_node *node, uint64_t level_hash) {
  if ((uint64_t)(t->count + 1) * 4 > (uint64_t)t->cap * 3) resize(t, t->cap ? t->cap * 2 : MIN_CAP);
  put_edge(t, node, edge_hash(node->parent, level_hash));
  t->count++;
}

// Moves later members of the run back, so that no probe meets a hole before its slot.
static void close_gap(struct tree *t, uint32_t hole) {
  uint32_t mask = t->cap - 1;
  for (uint32_t i = (hole + 1) & mask; t->hashes[i]; i = (i + 1) & mask) {
    uint32_t home = t->hashes[i] & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    t->hashes[hole] = t->hashes[i];
    t->edges[hole] = t->edges[i];
    hole = i;
  }
  t->hashes[hole] = 0;
}

static void remove_edge(struct tree *t, const struct tree_node *node) {
  uint32_t mask = t->cap - 1;
  uint32_t at = edge_hash(node->parent, tree_level_hash(t, tree_level(node))) & mask;
  while (t->edges[at] != node)
    at = (at + 1) & mask;
  close_gap(t, at);
  t->count--;
  if (t->cap > MIN_CAP && t->count < t->cap / 8) resize(t, t->cap / 4);
}

// --- siblings ---

static void link_after(struct tree_node *prev, struct tree_node *node) {
  struct tree_node *first = node->parent->first;
  node->prev = prev;
  node->next = prev->next;
  if (prev->next)
    prev->next->prev = node;
  else
    first->prev = node;
  prev->next = node;
}

static void link_first(struct tree_node *node) {
  struct tree_node *first = node->parent->first;
  node->next = first;
  node->prev = first ? first->prev : node;
  if (first) first->prev = node;
  node->parent->first = node;
}

static bool is_level(const struct tree_node *node, uint8_t byte) {
  return node->level_len == 1 && node->level[0] == byte;
}

static void link_sibling(struct tree_node *node) {
  struct tree_node *parent = node->parent;
  if (is_level(node, '#')) {
    parent->has_hash = 1;
    link_first(node);
  } else if (is_level(node, '+')) {
    parent->has_plus = 1;
    if (parent->has_hash)
      link_after(parent->first, node);
    else
      link_first(node);
  } else if (parent->first) {
    link_after(parent->first->prev, node);
  } else {
    link_first(node);
  }
}

static void unlink_sibling(struct tree_node *node) {
  struct tree_node *parent = node->parent;
  if (is_level(node, '#')) parent->has_hash = 0;
  if (is_level(node, '+')) parent->has_plus = 0;
  if (node->next)
    node->next->prev = node->prev;
  else
    parent->first->prev = node->prev;
  if (parent->first == node)
    parent->first = node->next;
  else
    node->prev->next = node->next;
}

// --- nodes ---

static struct tree_node *node_new(struct tree_node *parent, struct slice level) {
  assert(level.len <= TOPIC_MAX);
  size_t size = offsetof(struct tree_node, level) + level.len;
  struct tree_node *node = mem_alloc(size < sizeof *node ? sizeof *node : size);
  *node = (struct tree_node){.parent = parent, .level_len = (uint16_t)level.len};
  if (level.len) memcpy(node->level, level.ptr, level.len);
  return node;
}

void tree_init(struct tree *t, uint64_t seed) {
  *t = (struct tree){.root = node_new(NULL, SLICE("")), .seed = seed};
}

void tree_release(struct tree *t) {
  for (struct tree_node *node = t->root, *up; node; node = up) {
    while (node->first)
      node = node->first;
    up = node->parent;
    if (up) up->first = node->next;
    mem_free(node);
  }
  mem_free(t->edges);
  mem_free(t->hashes);
  *t = (struct tree){0};
}

struct tree_node *tree_child(const struct tree *t, const struct tree_node *parent, struct slice level) {
  return parent->first ? tree_child_hashed(t, parent, level, tree_level_hash(t, level)) : NULL;
}

struct tree_node *tree_find(const struct tree *t, struct slice path) {
  struct tree_node *node = t->root;
  struct slice level;
  for (bool more = true; node && topic_next_level(&path, &more, &level);)
    node = tree_child(t, node, level);
  return node;
}

struct tree_node *tree_insert(struct tree *t, struct slice path) {
  struct tree_node *node = t->root;
  struct slice level;
  for (bool more = true; topic_next_level(&path, &more, &level);) {
    uint64_t hash = tree_level_hash(t, level);
    struct tree_node *child = tree_child_hashed(t, node, level, hash);
    if (!child) {
      child = node_new(node, level);
      child->order = t->made++;
      link_sibling(child);
      add_edge(t, child, hash);
    }
    node = child;
  }
  return node;
}

void tree_prune(struct tree *t, struct tree_node *node) {
  while (node->parent && !node->value && !node->first && !node->pins) {
    struct tree_node *parent = node->parent;
    remove_edge(t, node);
    unlink_sibling(node);
    mem_free(node);
    node = parent;
  }
}

void tree_pin(struct tree_node *node) { node->pins++; }

void tree_unpin(struct tree *t, struct tree_node *node) {
  assert(node->pins);
  node->pins--;
  tree_prune(t, node);
}

struct tree_node *tree_next(const struct tree_node *node) {
  if (node->first) return node->first;
  while (node && !node->next)
    node = node->parent;
  return node ? node->next : NULL;
}

void tree_path(const struct tree_node *node, struct buf *out) {
  size_t len = 0;
  for (const struct tree_node *up = node; up->parent; up = up->parent)
    len += up->level_len + (up->parent->parent ? 1u : 0);
  buf_reserve(out, len);
  size_t at = out->len += len; // filled from its end
  for (; node->parent; node = node->parent) {
    at -= node->level_len;
    if (node->level_len) memcpy(out->ptr + at, node->level, node->level_len);
    if (node->parent->parent) out->ptr[--at] = '/';
  }
}
