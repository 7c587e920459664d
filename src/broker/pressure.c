#include "broker/pressure.h"

#include <unistd.h>

#include "base/mem.h"
#include "base/system_memory.h"

#define READ_INTERVAL_MS 10
#define NEAR_INTERVAL_MS 1 // above 75 % of the limit, where ten may be too late
#define TRIM_INTERVAL_MS 5000

void pressure_init(struct pressure *p) { *p = (struct pressure){.fd = system_memory_open()}; }

void pressure_set_limit(struct pressure *p, uint64_t limit_bytes, uint32_t percent) {
  p->limit_bytes = percent ? system_memory_granted("") / 100 * percent : limit_bytes;
  p->next_ms = 0;
}

void pressure_release(struct pressure *p) {
  if (p->fd >= 0) close(p->fd);
  p->fd = -1;
}

static uint64_t measure(const struct pressure *p) {
  return p->measure ? p->measure(p->measure_arg) : system_memory_resident(p->fd);
}

static uint64_t share(const struct pressure *p, unsigned percent) { return p->limit_bytes / 100 * percent; }

static bool is_near(const struct pressure *p) {
  return p->limit_bytes && p->used_bytes > share(p, p->near ? 85 : 90);
}

static bool is_high(const struct pressure *p) {
  return p->limit_bytes && p->used_bytes > (p->high ? share(p, 95) : p->limit_bytes);
}

static void trim(struct pressure *p, uint64_t now_ms) {
  if (now_ms < p->trim_ms) return;
  p->trim_ms = now_ms + TRIM_INTERVAL_MS;
  mem_trim();
  p->used_bytes = measure(p);
}

// Not for as long as it is near: large packets could never be sent then.
static void relieve(struct pressure *p) {
  uint64_t aim = share(p, p->near ? 95 : 85);
  if (p->relieve && p->used_bytes > aim && p->relieve(p->relieve_arg, p->used_bytes - aim))
    p->used_bytes = measure(p);
}

static bool worsens(const struct pressure *p) { return is_high(p) || (is_near(p) && !p->near); }

bool pressure_read(struct pressure *p, uint64_t now_ms) {
  p->used_bytes = measure(p);
  p->next_ms = now_ms + (p->used_bytes > share(p, 75) ? NEAR_INTERVAL_MS : READ_INTERVAL_MS);
  if (worsens(p)) trim(p, now_ms);
  if (worsens(p)) relieve(p);
  bool near = is_near(p), high = is_high(p);
  bool changed = near != p->near || high != p->high;
  p->near = near;
  p->high = high;
  return changed;
}
