#include "base/mem.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void out_of_memory(size_t size) {
  fprintf(stderr, "luamq: out of memory: cannot allocate %zu bytes\n", size);
  abort();
}

void *mem_alloc(size_t size) {
  void *ptr = malloc(size ? size : 1);
  if (!ptr) out_of_memory(size);
  return ptr;
}

void *mem_calloc(size_t count, size_t size) {
  void *ptr = calloc(count ? count : 1, size ? size : 1);
  if (!ptr) out_of_memory(size && count > SIZE_MAX / size ? SIZE_MAX : count * size);
  return ptr;
}

void *mem_realloc(void *old, size_t size) {
  void *ptr = realloc(old, size ? size : 1);
  if (!ptr) out_of_memory(size);
  return ptr;
}

void *mem_dup(const void *bytes, size_t size) {
  void *ptr = mem_alloc(size);
  if (size) memcpy(ptr, bytes, size);
  return ptr;
}

void mem_free(void *ptr) { free(ptr); }

void *mem_require(void *ptr) {
  if (!ptr) {
    fputs("luamq: out of memory: a library cannot allocate\n", stderr);
    abort();
  }
  return ptr;
}

void mem_tune(void) {
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 16 << 20);
}

void mem_trim(void) { malloc_trim(0); }
