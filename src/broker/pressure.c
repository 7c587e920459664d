#include "broker/pressure.h"

#include <unistd.h>

#include "base/mem.h"
#include "base/system_memory.h"

#define READ_INTERVAL_MS 10
#define TRIM_INTERVAL_MS 5000

void pressure_init(struct pressure *p, uint64_t limit_bytes, uint32_t percent) {
  *p = (struct pressure){.limit_bytes = limit_bytes, .fd = system_memory_open()};
  if (percent) p->limit_bytes = system_memory_granted("") / 100 * percent;
}

void pressure_release(struct pressure *p) {
  if (p->fd >= 0) close(p->fd);
  p->fd = -1;
}

static uint64_t measure(const struct pressure *p) {
  return p->measure ? p->measure(p->measure_arg) : system_memory_resident(p->fd);
}

static bool is_high(const struct pressure *p) {
  if (!p->limit_bytes) return false;
  return p->used_bytes > (p->high ? p->limit_bytes / 100 * 95 : p->limit_bytes);
}

bool pressure_read(struct pressure *p, uint64_t now_ms) {
  p->next_ms = now_ms + READ_INTERVAL_MS;
  p->used_bytes = measure(p);
  bool high = is_high(p);
  if (high && now_ms >= p->trim_ms) {
    p->trim_ms = now_ms + TRIM_INTERVAL_MS;
    mem_trim();
    p->used_bytes = measure(p);
    high = is_high(p);
  }
  bool changed = high != p->high;
  p->high = high;
  return changed;
}
