// A growing run of bytes that it owns. Used for text forms, control packets and scratch space.
//
//   struct buf b = BUF_INIT;
//   buf_add(&b, "x", 1);
//   buf_printf(&b, "%d", 7);
//   send(fd, b.ptr, b.len, 0);
//   buf_release(&b);
#ifndef LUAMQ_BASE_BUF_H
#define LUAMQ_BASE_BUF_H

#include "base/api.h"
#include "base/slice.h"

struct buf {
  uint8_t *ptr; // NULL while cap is 0
  size_t len, cap;
};

#define BUF_INIT ((struct buf){NULL, 0, 0})

LUAMQ_API void buf_release(struct buf *b);             // frees the bytes and leaves b empty and usable
LUAMQ_API void buf_reserve(struct buf *b, size_t add); // room for at least `add` more bytes after len
void buf_reserve_exact(struct buf *b, size_t add);     // the same, without room for growth beyond
LUAMQ_API void buf_add(struct buf *b, const void *bytes, size_t len);
LUAMQ_API void buf_add_slice(struct buf *b, struct slice s);
LUAMQ_API void buf_add_str(struct buf *b, const char *text);
LUAMQ_API void buf_add_byte(struct buf *b, uint8_t byte);
LUAMQ_API void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Drops the first `count` bytes; the rest moves to the front.
LUAMQ_API void buf_consume(struct buf *b, size_t count);
// A terminating NUL after the last byte, not counted in len; returns the text, valid until b changes.
LUAMQ_API const char *buf_text(struct buf *b);

static inline struct slice buf_slice(const struct buf *b) { return slice_of(b->ptr, b->len); }

#endif
