#include "broker/admission.h"

#define PAUSE_MIN_MS 10 // so that a busy listener wakes up for several at once

void admission_init(struct admission *a, struct shard *shard) {
  *a = (struct admission){.shard = shard};
  tokens_init(&a->accepts, shard->loop->clock.now_ms);
}

static void tell(const struct admission *a, const char *error) {
  struct backend *b = a->shard->backend;
  if (b->ops->engine_error) b->ops->engine_error(b, error);
}

bool admission_allows(struct admission *a, uint64_t open) {
  struct shard *s = a->shard;
  bool was_full = a->full;
  a->full = open >= s->settings.connections;
  if (a->full) {
    s->stats.connections_refused++;
    uint32_t missed = 0;
    if (!was_full && log_rate_allows(&a->refused, s->loop->clock.now_ms, 1, &missed))
      tell(a, "too many connections");
  } else if (s->pressure.near) {
    s->stats.connections_refused_memory++;
  } else {
    return true;
  }
  return false;
}

uint64_t admission_pause_ms(struct admission *a) {
  struct shard *s = a->shard;
  uint32_t rate = s->settings.connect_rate, missed = 0;
  if (!rate) return 0;
  uint64_t now_ms = s->loop->clock.now_ms;
  tokens_wait_ms(&a->accepts, rate, 1, now_ms); // fills it
  tokens_take(&a->accepts, 1);
  uint64_t wait = tokens_wait_ms(&a->accepts, rate, 1, now_ms);
  if (!wait) return 0;
  s->stats.accepts_paused++;
  if (log_rate_allows(&a->paused, now_ms, 1, &missed))
    tell(a, "accepting pauses: more connections a second than limits.connect_rate");
  return wait > PAUSE_MIN_MS ? wait : PAUSE_MIN_MS;
}
