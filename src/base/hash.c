// Each eight bytes are mixed in by one 64 x 64 -> 128 bit multiplication whose halves are folded together.
// The state depends on the secret seed from the first word on, so collisions cannot be computed without it.
#include "base/hash.h"

#define K0 UINT64_C(0x9e3779b97f4a7c15)
#define K1 UINT64_C(0xd6e8feb86659fd93)

__extension__ typedef unsigned __int128 wide;

static inline uint64_t fold(uint64_t a, uint64_t b) {
  wide product = (wide)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t load(const uint8_t *ptr, size_t len) {
  uint64_t word = 0;
  memcpy(&word, ptr, len);
  return word;
}

uint64_t hash_bytes(uint64_t seed, struct slice s) {
  uint64_t state = seed ^ K0;
  const uint8_t *ptr = s.ptr;
  size_t left = s.len;
  for (; left > 8; ptr += 8, left -= 8)
    state = fold(state ^ load(ptr, 8), K1 ^ seed);
  if (left == 8)
    state = fold(state ^ load(ptr, 8), K1 ^ seed);
  else if (left)
    state = fold(state ^ load(ptr, left), K1 ^ seed);
  return fold(state ^ s.len, K0);
}
