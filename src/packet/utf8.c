#include "packet/utf8.h"

// What may follow a lead byte: how many continuation bytes, and the range of the first of them, which is
// where overlong forms, surrogates and code points above U+10FFFF show. Unicode 15, table 3-7.
struct lead {
  uint8_t first, last; // the lead bytes of this row
  uint8_t more;
  uint8_t low, high; // of the second byte
};

static const struct lead leads[] = {
    {0xc2, 0xdf, 1, 0x80, 0xbf}, {0xe0, 0xe0, 2, 0xa0, 0xbf}, {0xe1, 0xec, 2, 0x80, 0xbf},
    {0xed, 0xed, 2, 0x80, 0x9f}, {0xee, 0xef, 2, 0x80, 0xbf}, {0xf0, 0xf0, 3, 0x90, 0xbf},
    {0xf1, 0xf3, 3, 0x80, 0xbf}, {0xf4, 0xf4, 3, 0x80, 0x8f},
};

static const struct lead *find_lead(uint8_t byte) {
  for (size_t i = 0; i < sizeof leads / sizeof *leads; i++)
    if (byte >= leads[i].first && byte <= leads[i].last) return &leads[i];
  return NULL;
}

size_t utf8_decode(struct slice s, uint32_t *rune) {
  if (!s.len) return 0;
  *rune = s.ptr[0];
  if (*rune < 0x80) return 1;
  const struct lead *lead = find_lead(s.ptr[0]);
  if (!lead || s.len <= lead->more || s.ptr[1] < lead->low || s.ptr[1] > lead->high) return 0;
  *rune &= 0x3fu >> lead->more;
  for (size_t i = 1; i <= lead->more; i++) {
    if ((s.ptr[i] & 0xc0) != 0x80) return 0;
    *rune = *rune << 6 | (s.ptr[i] & 0x3f);
  }
  return 1u + lead->more;
}

// How many bytes at the front are whole words of U+0001..U+007F.
static size_t ascii_words(struct slice s) {
  const uint64_t ones = UINT64_MAX / 255, high = 0x80 * ones;
  size_t at = 0;
  for (uint64_t word; at + sizeof word <= s.len; at += sizeof word) {
    memcpy(&word, s.ptr + at, sizeof word);
    // Without high bits the sum has no carry, and its high bits are clear where a byte is zero.
    if ((word & high) || ((word + 0x7f * ones) & high) != high) break;
  }
  return at;
}

bool utf8_valid(struct slice s) {
  size_t at = 0;
  while (at < s.len) {
    struct slice rest = slice_from(s, at);
    size_t len = ascii_words(rest);
    if (!len) {
      uint32_t rune;
      len = utf8_decode(rest, &rune);
      if (!len || !rune) return false;
    }
    at += len;
  }
  return true;
}
