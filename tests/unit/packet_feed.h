// How the packet tests call the decoder: whole and byte by byte, each time from memory of exactly the right
// size, so that the address sanitizer sees a read beyond the input.
#ifndef LUAMQ_TESTS_PACKET_FEED_H
#define LUAMQ_TESTS_PACKET_FEED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "packet/packet.h"

#define NO_LIMIT PACKET_MAX_SIZE

// Decodes `in` and returns what packet_decode does. Every proper prefix must be partial, or wrong in the same
// way as the whole. The slices of *p point into *copy, which is to be freed with mem_free.
static inline ssize_t feed(struct packet *p, struct slice in, uint8_t version, size_t limit, uint8_t **copy) {
  *copy = mem_dup(in.ptr, in.len);
  ssize_t whole = packet_decode(p, slice_of(*copy, in.len), version, limit);
  size_t size = whole > 0 ? (size_t)whole : in.len;
  for (size_t len = 0; len < size; len++) {
    struct packet partial;
    uint8_t *prefix = mem_dup(in.ptr, len);
    ssize_t n = packet_decode(&partial, slice_of(prefix, len), version, limit);
    if (n) assert_int_equal(n, whole);
    assert_true(n <= 0);
    mem_free(prefix);
  }
  return whole;
}

#endif
