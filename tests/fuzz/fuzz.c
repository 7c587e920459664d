#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

void fuzz_check(bool condition, const char *text, const char *file, int line) {
  if (condition) return;
  fprintf(stderr, "%s:%d: not true: %s\n", file, line, text);
  abort();
}

uint8_t fuzz_byte(struct slice *in) {
  if (!in->len) return 0;
  return *fuzz_take(in, 1).ptr;
}

struct slice fuzz_take(struct slice *in, size_t n) {
  struct slice taken = slice_of(in->ptr, n < in->len ? n : in->len);
  *in = slice_from(*in, taken.len);
  return taken;
}

struct slice fuzz_line(struct slice *in) {
  const uint8_t *end = in->len ? memchr(in->ptr, '\n', in->len) : NULL;
  struct slice line = fuzz_take(in, end ? (size_t)(end - in->ptr) : in->len);
  if (end) fuzz_take(in, 1);
  return line;
}
