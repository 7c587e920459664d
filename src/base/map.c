#include "base/map.h"

#include "base/hash.h"
#include "base/mem.h"

void map_init(struct map *m, map_key *key, uint64_t seed) { *m = (struct map){.key = key, .seed = seed}; }

void map_release(struct map *m) {
  mem_free(m->slots);
  m->slots = NULL;
  m->count = m->cap = 0;
}

// The slot that holds the key, or the free one where it would go. The map has a free slot.
static struct map_slot *find(const struct map *m, struct slice key, uint64_t hash) {
  for (uint32_t i = (uint32_t)hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
    struct map_slot *slot = &m->slots[i];
    if (!slot->value || (slot->hash == hash && slice_eq(m->key(slot->value), key))) return slot;
  }
}

static void resize(struct map *m, uint32_t cap) {
  struct map_slot *old = m->slots;
  uint32_t old_cap = m->cap;
  m->slots = mem_calloc(cap, sizeof *m->slots);
  m->cap = cap;
  for (uint32_t i = 0; i < old_cap; i++) {
    if (!old[i].value) continue;
    uint32_t at = (uint32_t)old[i].hash & (cap - 1);
    while (m->slots[at].value)
      at = (at + 1) & (cap - 1);
    m->slots[at] = old[i];
  }
  mem_free(old);
}

void *map_get(const struct map *m, struct slice key) {
  return m->count ? find(m, key, hash_bytes(m->seed, key))->value : NULL;
}

void *map_put(struct map *m, void *value) {
  if ((uint64_t)(m->count + 1) * 4 > (uint64_t)m->cap * 3) resize(m, m->cap ? m->cap * 2 : 8);
  struct slice key = m->key(value);
  uint64_t hash = hash_bytes(m->seed, key);
  struct map_slot *slot = find(m, key, hash);
  void *old = slot->value;
  if (!old) m->count++;
  *slot = (struct map_slot){value, hash};
  return old;
}

// Moves later members of the run back, so that no probe meets a hole before its slot.
static void close_gap(struct map *m, uint32_t hole) {
  uint32_t mask = m->cap - 1;
  for (uint32_t i = (hole + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
    uint32_t home = (uint32_t)m->slots[i].hash & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    m->slots[hole] = m->slots[i];
    hole = i;
  }
  m->slots[hole].value = NULL;
}

void *map_remove(struct map *m, struct slice key) {
  if (!m->count) return NULL;
  struct map_slot *slot = find(m, key, hash_bytes(m->seed, key));
  void *value = slot->value;
  if (!value) return NULL;
  close_gap(m, (uint32_t)(slot - m->slots));
  m->count--;
  if (m->cap > 64 && m->count * 8 < m->cap) resize(m, m->cap / 4);
  if (!m->count) map_release(m);
  return value;
}

void *map_each(const struct map *m, uint32_t *at) {
  while (*at < m->cap) {
    void *value = m->slots[(*at)++].value;
    if (value) return value;
  }
  return NULL;
}
