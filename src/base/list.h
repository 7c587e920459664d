// Intrusive doubly linked lists. A list is a head node linked to itself; an element embeds a node.
// A node that is in no list points at itself too, so list_remove may be called twice.
#ifndef LUAMQ_BASE_LIST_H
#define LUAMQ_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"

struct list {
  struct list *next, *prev;
};

static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }

static inline void list_insert_before(struct list *at, struct list *node) {
  node->prev = at->prev;
  node->next = at;
  at->prev->next = node;
  at->prev = node;
}

static inline void list_append(struct list *head, struct list *node) { list_insert_before(head, node); }

static inline void list_remove(struct list *node) {
  node->prev->next = node->next;
  node->next->prev = node->prev;
  list_init(node);
}

// Moves every node of `from` to the end of `to`; `from` is empty afterwards.
static inline void list_splice(struct list *to, struct list *from) {
  if (list_empty(from)) return;
  from->next->prev = to->prev;
  to->prev->next = from->next;
  from->prev->next = to;
  to->prev = from->prev;
  list_init(from);
}

static inline struct list *list_first(struct list *head) { return list_empty(head) ? NULL : head->next; }

// Takes the first node off, or returns NULL.
static inline struct list *list_take(struct list *head) {
  struct list *node = list_first(head);
  if (node) list_remove(node);
  return node;
}

// The body may remove `node`, but no other.
#define list_each(node, head)                                                                                \
  for (struct list *node = (head)->next, *node##_next = node->next; node != (head);                          \
       node = node##_next, node##_next = node->next)

#endif
