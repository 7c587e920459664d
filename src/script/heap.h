// How much memory a Lua state may have: an allocator around the one that the state has, which counts bytes
// and refuses those beyond a limit. Lua then collects its garbage and tries again; when that is of no help it
// raises "not enough memory" in what was running. All that Lua allocates counts, userdata as well.
// Blocks that grow may exceed the limit by an eighth, until the next object is made.
//
// Small blocks that Lua frees are kept, up to HEAP_KEPT_MAX bytes, and used for the next of the same size:
// each call of a hook makes objects that are garbage when it returns, and that is quicker than the system's
// allocator. Kept blocks do not count.
//
// The limit is in force while a hook runs (heap_limit around it). So nothing else has to expect a refusal:
// loading a script, what the broker does with Lua between hooks.
#ifndef LUAMQ_SCRIPT_HEAP_H
#define LUAMQ_SCRIPT_HEAP_H

#include <lua.h>
#include <stdint.h>

#define HEAP_GRACE     8     // the part of the limit by which blocks may exceed it
#define HEAP_SMALL_MAX 128   // bytes of a block that is kept for the next of its size
#ifndef HEAP_KEPT_MAX        // a build for sanitizers keeps none, which would hide what is used after its end
#define HEAP_KEPT_MAX 262144 // bytes of all that are kept
#endif

struct heap_kept; // a block that Lua has freed

struct heap {
  lua_Alloc inner; // the state's own; NULL: not installed
  void *inner_arg;
  size_t used_bytes;
  size_t limit_bytes;   // in force; SIZE_MAX: none
  size_t refused_bytes; // what was asked for, until Lua asks again when it has collected; 0: nothing is open
  uint64_t failures;    // it did not ask again, as functions with buffers of their own, or was refused again
  size_t live_bytes;    // in use when Lua had collected for want of memory and it was enough; 0: it did not
  struct heap_kept *kept[HEAP_SMALL_MAX + 1]; // by size
  size_t kept_bytes;
};

// The struct stays where it is until heap_release, which gives the state back its own allocator.
void heap_install(struct heap *h, lua_State *L);
void heap_release(struct heap *h, lua_State *L);

// Puts another limit in force, 0 for none; returns the one that was, for heap_restore.
static inline size_t heap_limit(struct heap *h, size_t limit_bytes) {
  size_t before = h->limit_bytes;
  h->limit_bytes = limit_bytes ? limit_bytes : SIZE_MAX;
  return before;
}
static inline void heap_restore(struct heap *h, size_t before) { h->limit_bytes = before; }

#endif
