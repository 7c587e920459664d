#include "broker/overload.h"

#include "broker/shard.h"

#define SMOOTHING 4 // a turn counts for a quarter

static const char *const texts[] = {
    [OVERLOAD_NONE] = "overload is over",
    [OVERLOAD_SHEDS_CONNECTIONS] = "overload: new connections are closed",
    [OVERLOAD_SHEDS_QOS0] = "overload: new connections are closed, and QoS 0 messages dropped",
};

// What a level begins at; it ends at half of that.
static uint32_t threshold(const struct shard *s, enum overload level) {
  uint32_t lag_ms = s->settings.loop_lag_ms;
  return lag_ms > UINT32_MAX / 2 ? UINT32_MAX : lag_ms * (uint32_t)level;
}

static enum overload level_of(const struct shard *s) {
  enum overload level = s->overload;
  while (level < OVERLOAD_SHEDS_QOS0 && s->stats.loop_lag_ms >= threshold(s, level + 1))
    level++;
  while (level > OVERLOAD_NONE && s->stats.loop_lag_ms < threshold(s, level) / 2)
    level--;
  return level;
}

void overload_update(struct shard *s) {
  uint64_t before = s->stats.loop_lag_ms, sample = s->loop->lag_ms;
  if (!before && !sample) return;
  s->stats.loop_lag_ms = (before * (SMOOTHING - 1) + sample) / SMOOTHING;
  if (!s->settings.loop_lag_ms) return;
  enum overload level = level_of(s);
  if (level == s->overload) return;
  s->overload = level;
  if (s->backend->ops->engine_error) s->backend->ops->engine_error(s->backend, texts[level]);
}
