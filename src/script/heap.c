#include "script/heap.h"

#include <stdbool.h>

// --- blocks that are kept ---

struct heap_kept {
  struct heap_kept *next;
};

static bool is_small(size_t size) { return size >= sizeof(struct heap_kept) && size <= HEAP_SMALL_MAX; }

static bool keep(struct heap *h, void *block, size_t size) {
  if (!is_small(size) || h->kept_bytes + size > HEAP_KEPT_MAX) return false;
  struct heap_kept *k = block;
  k->next = h->kept[size];
  h->kept[size] = k;
  h->kept_bytes += size;
  return true;
}

static void *take_kept(struct heap *h, size_t size) {
  if (!is_small(size) || !h->kept[size]) return NULL;
  struct heap_kept *k = h->kept[size];
  h->kept[size] = k->next;
  h->kept_bytes -= size;
  return k;
}

static void *change(struct heap *h, void *old, size_t old_size, size_t size) {
  if (!old) {
    void *block = take_kept(h, size);
    if (block) return block;
  } else if (!size && keep(h, old, old_size)) {
    return NULL;
  }
  return h->inner(h->inner_arg, old, old_size, size);
}

static void release_kept(struct heap *h) {
  for (size_t size = 0; size <= HEAP_SMALL_MAX; size++)
    for (void *block; (block = take_kept(h, size));)
      h->inner(h->inner_arg, block, size, 0);
}

// --- counting ---

static void *refuse(struct heap *h, size_t size) {
  if (h->refused_bytes) h->failures++;
  h->refused_bytes = h->refused_bytes == size ? 0 : size;
  return NULL;
}

// The first allocation after one that was refused.
static void look_back(struct heap *h, size_t size) {
  if (h->refused_bytes == size)
    h->live_bytes = h->used_bytes; // Lua has collected all that could be
  else
    h->failures++;
  h->refused_bytes = 0;
}

// An object that is made is asked for again after a collection. A block that grows may be a buffer of the
// string library, which is not: with garbage at hand it would be refused for nothing.
static bool is_beyond(const struct heap *h, const void *old, size_t old_size, size_t growth) {
  size_t wanted = h->used_bytes + growth;
  if (wanted <= h->limit_bytes) return false;
  bool is_object = !old && old_size; // then it is its type
  return is_object || wanted - h->limit_bytes > h->limit_bytes / HEAP_GRACE;
}

static void *allocate(void *arg, void *old, size_t old_size, size_t size) {
  struct heap *h = arg;
  size_t before = old ? old_size : 0; // without a block it is the type of what is made
  bool grows = size > before;
  if (grows && is_beyond(h, old, old_size, size - before)) return refuse(h, size);
  void *block = change(h, old, old_size, size);
  if (block || !size) h->used_bytes = h->used_bytes - before + size;
  if (grows && h->refused_bytes) look_back(h, size);
  return block;
}

void heap_install(struct heap *h, lua_State *L) {
  *h = (struct heap){.limit_bytes = SIZE_MAX};
  h->inner = lua_getallocf(L, &h->inner_arg);
  h->used_bytes = (size_t)lua_gc(L, LUA_GCCOUNT) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB);
  lua_setallocf(L, allocate, h);
}

void heap_release(struct heap *h, lua_State *L) {
  if (h->inner) {
    release_kept(h);
    lua_setallocf(L, h->inner, h->inner_arg);
  }
  h->inner = NULL;
}
