// A borrowed run of bytes. A slice owns nothing: it is valid as long as what it points into is.
//
//   struct slice topic = slice_str("a/b");
//   if (slice_eq(topic, SLICE("a/b"))) ...
#ifndef LUAMQ_BASE_SLICE_H
#define LUAMQ_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
  const uint8_t *ptr; // may be NULL when len is 0
  size_t len;
};

#define SLICE(literal) ((struct slice){(const uint8_t *)("" literal), sizeof(literal) - 1})

static inline struct slice slice_of(const void *ptr, size_t len) {
  return (struct slice){(const uint8_t *)ptr, len};
}

static inline struct slice slice_str(const char *text) { return slice_of(text, strlen(text)); }

static inline bool slice_eq(struct slice a, struct slice b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_starts(struct slice s, struct slice prefix) {
  return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

// The part from `from` on; `from` at most s.len.
static inline struct slice slice_from(struct slice s, size_t from) {
  return (struct slice){from ? s.ptr + from : s.ptr, s.len - from}; // ptr may be NULL
}

// In time that depends on the lengths only, for secrets.
bool slice_eq_secret(struct slice a, struct slice b);

#endif
