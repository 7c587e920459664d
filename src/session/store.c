#include "session/store.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

#define CAP_MIN 8u

static struct stored *find(const struct store *s, uint16_t id) {
  struct store_table *t = s->table;
  if (!t) return NULL;
  for (uint32_t i = id & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
    if (t->slots[i].id == id) return &t->slots[i];
    if (!t->slots[i].id) return NULL;
  }
}

static bool is_home(const struct store_table *t, const struct stored *slot) {
  return (uint32_t)(slot - t->slots) == (slot->id & (t->cap - 1));
}

static void insert(struct store_table *t, struct stored entry) {
  uint32_t i = entry.id & (t->cap - 1);
  while (t->slots[i].id)
    i = (i + 1) & (t->cap - 1);
  t->slots[i] = entry;
  t->displaced += !is_home(t, &t->slots[i]);
}

static void resize(struct store *s, uint32_t cap) {
  struct store_table *old = s->table, *t = mem_calloc(1, sizeof *t + cap * sizeof t->slots[0]);
  t->cap = cap;
  t->order = old ? old->order : 0;
  for (uint32_t i = 0; old && i < old->cap; i++)
    if (old->slots[i].id) insert(t, old->slots[i]);
  mem_free(old);
  s->table = t;
}

static void release(struct store *s) {
  mem_free(s->table);
  s->table = NULL;
  s->count = 0;
  s->counted = 0;
}

void store_clear(struct store *s) {
  struct store_table *t = s->table;
  for (uint32_t i = 0; t && i < t->cap; i++)
    if (t->slots[i].id && t->slots[i].message) message_unref(t->slots[i].message);
  release(s);
}

uint16_t store_next_id(struct store *s) {
  if (s->count == PACKET_ID_MAX) return 0;
  // An id whose slot is taken is passed over, so that what is given out here is never displaced. There is
  // such an id: a quarter of the slots is free, and with the largest table each id has a slot of its own.
  do {
    s->last_id = s->last_id == PACKET_ID_MAX ? 1 : (uint16_t)(s->last_id + 1);
  } while (s->table && s->table->slots[s->last_id & (s->table->cap - 1)].id);
  return s->last_id;
}

void store_save(struct store *s, struct stored entry) {
  uint32_t cap = s->table ? s->table->cap : 0;
  if ((s->count + 1u) * 4 > cap * 3) resize(s, cap ? cap * 2 : CAP_MIN);
  assert(s->table);
  entry.order = s->table->order++;
  struct stored *old = find(s, entry.id);
  s->counted += entry.counted;
  if (old) {
    s->counted -= old->counted;
    if (old->message) message_unref(old->message);
    *old = entry;
    return;
  }
  insert(s->table, entry);
  s->count++;
}

const struct stored *store_lookup(const struct store *s, uint16_t id) { return id ? find(s, id) : NULL; }

// Moves later members of the run back, so that no probe meets a hole before its slot. Where each is at home
// there is nothing to move.
static void close_gap(struct store_table *t, uint32_t hole) {
  uint32_t mask = t->cap - 1;
  t->displaced -= !is_home(t, &t->slots[hole]);
  for (uint32_t i = (hole + 1) & mask; t->displaced && t->slots[i].id; i = (i + 1) & mask) {
    if (((i - t->slots[i].id) & mask) < ((i - hole) & mask)) continue;
    t->slots[hole] = t->slots[i];
    t->displaced -= is_home(t, &t->slots[hole]);
    hole = i;
  }
  t->slots[hole].id = 0;
}

bool store_delete(struct store *s, uint16_t id) {
  struct stored *entry = id ? find(s, id) : NULL;
  if (!entry) return false;
  if (entry->message) message_unref(entry->message);
  s->counted -= entry->counted;
  if (--s->count == 0)
    release(s);
  else
    close_gap(s->table, (uint32_t)(entry - s->table->slots));
  return true;
}

void store_count(struct store *s, uint16_t id) {
  struct stored *entry = find(s, id);
  assert(entry);
  s->counted += !entry->counted;
  entry->counted = true;
}

void store_uncount_all(struct store *s) {
  s->counted = 0;
  for (uint32_t i = 0; s->table && i < s->table->cap; i++)
    s->table->slots[i].counted = false;
}

static int by_order(const void *a, const void *b) {
  uint32_t x = ((const struct stored *)a)->order, y = ((const struct stored *)b)->order;
  return (int32_t)(x - y) < 0 ? -1 : x != y; // the counter may wrap
}

void store_all(const struct store *s, struct stored *out) {
  uint32_t n = 0;
  const struct store_table *t = s->table;
  for (uint32_t i = 0; t && i < t->cap; i++)
    if (t->slots[i].id) out[n++] = t->slots[i];
  if (n > 1) qsort(out, n, sizeof *out, by_order);
}
