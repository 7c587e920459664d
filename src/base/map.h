// A hash map from byte strings to pointers. The map stores the values only: `key` tells the key of a value,
// so that a key lives once, in the thing that it names. Insertion and removal may not happen during map_each.
//
//   struct map m;
//   map_init(&m, session_key, seed);
//   map_put(&m, session);                        // the key is session_key(session)
//   struct session *s = map_get(&m, id);
#ifndef LUAMQ_BASE_MAP_H
#define LUAMQ_BASE_MAP_H

#include "base/api.h"
#include "base/slice.h"

typedef struct slice map_key(const void *value);

struct map_slot {
  void *value;   // NULL: free
  uint64_t hash; // of the value's key
};

struct map {
  map_key *key;
  uint64_t seed;
  struct map_slot *slots; // open addressing, linear probing; a power of two, at most 3/4 full
  uint32_t count, cap;
};

LUAMQ_API void map_init(struct map *m, map_key *key, uint64_t seed);
LUAMQ_API void map_release(struct map *m);                      // the values are the caller's
LUAMQ_API void *map_get(const struct map *m, struct slice key); // NULL when there is none
LUAMQ_API void *map_put(struct map *m, void *value);            // returns the value that it replaced, or NULL
LUAMQ_API void *map_remove(struct map *m, struct slice key);    // returns the value that was there, or NULL
// Values in no particular order: start with *at = 0; NULL after the last.
LUAMQ_API void *map_each(const struct map *m, uint32_t *at);

#endif
