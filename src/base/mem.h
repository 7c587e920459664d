// Memory. Running out of it ends the process with a message: limits bound what peers can make us
// allocate, so a failed allocation is a wrong limit, never a peer's doing. No function here returns NULL.
#ifndef LUAMQ_BASE_MEM_H
#define LUAMQ_BASE_MEM_H

#include <stddef.h>

#include "base/api.h"

LUAMQ_API void *mem_alloc(size_t size);                  // uninitialised bytes; free with mem_free
LUAMQ_API void *mem_calloc(size_t count, size_t size);   // zeroed; the product is checked
LUAMQ_API void *mem_realloc(void *old, size_t size);     // old may be NULL
LUAMQ_API void *mem_dup(const void *bytes, size_t size); // a copy of size bytes
LUAMQ_API void mem_free(void *ptr);                      // NULL is fine
LUAMQ_API void *mem_require(void *ptr); // what a library has allocated: NULL ends the process

// For a process that is a broker: payloads of some hundred KiB come and go all the time, and giving each back
// to the kernel would cost more than copying it.
void mem_tune(void);
void mem_trim(void); // gives unused memory back to the kernel; walks the heap

// The struct of `type` that holds `member` at `ptr`.
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
