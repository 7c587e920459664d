#include "session/store.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

#define CAP_MIN 8u

static struct stored *find(const struct store *s, uint16_t id) {
  if (!s->cap) return NULL;
  for (uint32_t i = id & (s->cap - 1);; i = (i + 1) & (s->cap - 1)) {
    if (s->slots[i].id == id) return &s->slots[i];
    if (!s->slots[i].id) return NULL;
  }
}

static bool is_home(const struct store *s, const struct stored *slot) {
  return (uint32_t)(slot - s->slots) == (slot->id & (s->cap - 1));
}

static void insert(struct store *s, struct stored entry) {
  uint32_t i = entry.id & (s->cap - 1);
  while (s->slots[i].id)
    i = (i + 1) & (s->cap - 1);
  s->slots[i] = entry;
  s->displaced += !is_home(s, &s->slots[i]);
}

static void resize(struct store *s, uint32_t cap) {
  struct stored *old = s->slots;
  uint32_t old_cap = s->cap;
  s->slots = mem_calloc(cap, sizeof *s->slots);
  s->cap = cap;
  s->displaced = 0;
  for (uint32_t i = 0; i < old_cap; i++)
    if (old[i].id) insert(s, old[i]);
  mem_free(old);
}

static void release(struct store *s) {
  mem_free(s->slots);
  s->slots = NULL;
  s->cap = 0;
  s->count = 0;
  s->counted = 0;
  s->displaced = 0;
}

void store_clear(struct store *s) {
  for (uint32_t i = 0; i < s->cap; i++)
    if (s->slots[i].id && s->slots[i].message) message_unref(s->slots[i].message);
  release(s);
}

uint16_t store_next_id(struct store *s) {
  if (s->count == PACKET_ID_MAX) return 0;
  // An id whose slot is taken is passed over, so that what is given out here is never displaced. There is
  // such an id: a quarter of the slots is free, and with the largest table each id has a slot of its own.
  do {
    s->last_id = s->last_id == PACKET_ID_MAX ? 1 : (uint16_t)(s->last_id + 1);
  } while (s->count && s->slots[s->last_id & (s->cap - 1)].id);
  return s->last_id;
}

void store_save(struct store *s, struct stored entry) {
  entry.order = s->order++;
  struct stored *old = find(s, entry.id);
  s->counted += entry.counted;
  if (old) {
    s->counted -= old->counted;
    if (old->message) message_unref(old->message);
    *old = entry;
    return;
  }
  if ((s->count + 1u) * 4 > s->cap * 3) resize(s, s->cap ? s->cap * 2 : CAP_MIN);
  insert(s, entry);
  s->count++;
}

const struct stored *store_lookup(const struct store *s, uint16_t id) { return id ? find(s, id) : NULL; }

// Moves later members of the run back, so that no probe meets a hole before its slot. Where each is at home
// there is nothing to move.
static void close_gap(struct store *s, uint32_t hole) {
  uint32_t mask = s->cap - 1;
  s->displaced -= !is_home(s, &s->slots[hole]);
  for (uint32_t i = (hole + 1) & mask; s->displaced && s->slots[i].id; i = (i + 1) & mask) {
    if (((i - s->slots[i].id) & mask) < ((i - hole) & mask)) continue;
    s->slots[hole] = s->slots[i];
    s->displaced -= is_home(s, &s->slots[hole]);
    hole = i;
  }
  s->slots[hole].id = 0;
}

bool store_delete(struct store *s, uint16_t id) {
  struct stored *entry = id ? find(s, id) : NULL;
  if (!entry) return false;
  if (entry->message) message_unref(entry->message);
  s->counted -= entry->counted;
  if (--s->count == 0)
    release(s);
  else
    close_gap(s, (uint32_t)(entry - s->slots));
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
  for (uint32_t i = 0; i < s->cap; i++)
    s->slots[i].counted = false;
}

static int by_order(const void *a, const void *b) {
  uint32_t x = ((const struct stored *)a)->order, y = ((const struct stored *)b)->order;
  return (int32_t)(x - y) < 0 ? -1 : x != y; // the counter may wrap
}

void store_all(const struct store *s, struct stored *out) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < s->cap; i++)
    if (s->slots[i].id) out[n++] = s->slots[i];
  if (n > 1) qsort(out, n, sizeof *out, by_order);
}
