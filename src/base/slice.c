#include "base/slice.h"

bool slice_eq_secret(struct slice a, struct slice b) {
  volatile uint8_t differ = a.len != b.len;
  // Walks all of `a` whatever `b` holds; where b is shorter, a is compared with itself.
  for (size_t i = 0; i < a.len; i++)
    differ = (uint8_t)(differ | (a.ptr[i] ^ (i < b.len ? b.ptr[i] : a.ptr[i])));
  return !differ;
}
