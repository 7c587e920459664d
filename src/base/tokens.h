// A token bucket: how often something may happen. It fills with time, `rate` tokens a second up to a burst of
// so many seconds' worth. It is allowed as long as anything is left, and what is taken may leave a debt: then
// the next one waits until that is paid, and in the long run the rate holds whatever the sizes are.
//
//   struct tokens t;
//   tokens_init(&t, now_ms);                            // full
//   if (tokens_wait_ms(&t, rate, 2, now_ms) == 0) tokens_take(&t, 1);
#ifndef LUAMQ_BASE_TOKENS_H
#define LUAMQ_BASE_TOKENS_H

#include <stdint.h>

struct tokens {
  int64_t left;   // in thousandths of a token
  uint64_t at_ms; // when that was
};

static inline void tokens_init(struct tokens *t, uint64_t now_ms) {
  *t = (struct tokens){.left = INT64_MAX / 2, .at_ms = now_ms};
}

// Fills the bucket, and tells how long it takes until there is something in it: 0 is now.
static inline uint64_t tokens_wait_ms(struct tokens *t, uint32_t rate, uint32_t burst_s, uint64_t now_ms) {
  const uint64_t longest_ms = UINT64_C(1) << 29; // its product with any rate has room beside any `left`
  uint64_t passed_ms = now_ms - t->at_ms;
  if (passed_ms > longest_ms) passed_ms = longest_ms;
  int64_t full = (int64_t)rate * burst_s * 1000;
  t->left += (int64_t)(passed_ms * rate);
  if (t->left > full) t->left = full;
  t->at_ms = now_ms;
  return t->left > 0 ? 0 : (uint64_t)-t->left / rate + 1;
}

static inline void tokens_take(struct tokens *t, uint64_t count) { t->left -= (int64_t)(count * 1000); }

#endif
