#include "broker/pace.h"

#define BURST_S 1

void pace_init(struct pace *p, void (*fired)(struct timer *t), uint64_t now_ms) {
  *p = (struct pace){0};
  timer_init(&p->timer, fired);
  tokens_init(&p->messages, now_ms);
  tokens_init(&p->bytes, now_ms);
}

static uint64_t wait_ms(struct tokens *t, uint32_t rate, uint64_t now_ms) {
  if (rate) return tokens_wait_ms(t, rate, BURST_S, now_ms);
  tokens_init(t, now_ms); // should a limit be set later, it begins full
  return 0;
}

uint64_t pace_wait_ms(struct pace *p, const struct client_settings *settings, uint64_t now_ms) {
  uint64_t messages = wait_ms(&p->messages, settings->publish_rate, now_ms);
  uint64_t bytes = wait_ms(&p->bytes, settings->publish_bytes, now_ms);
  return messages > bytes ? messages : bytes;
}

uint64_t pace_publish(struct pace *p, const struct client_settings *settings, size_t bytes, uint64_t now_ms) {
  pace_wait_ms(p, settings, now_ms); // fills the buckets
  tokens_take(&p->messages, 1);
  tokens_take(&p->bytes, bytes);
  return pace_wait_ms(p, settings, now_ms);
}
