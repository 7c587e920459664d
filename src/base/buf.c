#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

void buf_release(struct buf *b) {
  mem_free(b->ptr);
  *b = BUF_INIT;
}

void buf_reserve(struct buf *b, size_t add) {
  if (b->cap - b->len >= add) return;
  size_t cap = b->cap ? b->cap : 32;
  while (cap - b->len < add)
    cap *= 2;
  b->ptr = mem_realloc(b->ptr, cap);
  b->cap = cap;
}

void buf_reserve_exact(struct buf *b, size_t add) {
  if (b->cap - b->len >= add) return;
  b->cap = b->len + add;
  b->ptr = mem_realloc(b->ptr, b->cap);
}

void buf_add(struct buf *b, const void *bytes, size_t len) {
  if (!len) return;
  buf_reserve(b, len);
  memcpy(b->ptr + b->len, bytes, len);
  b->len += len;
}

void buf_add_slice(struct buf *b, struct slice s) { buf_add(b, s.ptr, s.len); }

void buf_add_str(struct buf *b, const char *text) { buf_add(b, text, strlen(text)); }

void buf_add_byte(struct buf *b, uint8_t byte) { buf_add(b, &byte, 1); }

void buf_printf(struct buf *b, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  char none[1];
  int need = vsnprintf(none, sizeof none, format, args);
  va_end(args);
  if (need > 0) {
    buf_reserve(b, (size_t)need + 1);
    vsnprintf((char *)b->ptr + b->len, (size_t)need + 1, format, again);
    b->len += (size_t)need;
  }
  va_end(again);
}

void buf_consume(struct buf *b, size_t count) {
  b->len -= count;
  if (b->len) memmove(b->ptr, b->ptr + count, b->len);
}

const char *buf_text(struct buf *b) {
  buf_reserve(b, 1);
  b->ptr[b->len] = 0;
  return (const char *)b->ptr;
}
