#include "cmd/notify.h"

#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "base/mem.h"

static void answer_watchdog(struct timer *t) {
  struct notify *n = container_of(t, struct notify, watchdog);
  sd_notify(0, "WATCHDOG=1");
  timer_arm(&n->loop->timers, t, n->loop->clock.now_ms + n->interval_ms);
}

void notify_init(struct notify *n, struct loop *loop) {
  uint64_t timeout_us = 0;
  *n = (struct notify){.loop = loop};
  timer_init(&n->watchdog, answer_watchdog);
  if (sd_watchdog_enabled(0, &timeout_us) <= 0) return;
  n->interval_ms = timeout_us / 2 / 1000;
  if (!n->interval_ms) n->interval_ms = 1;
}

void notify_release(struct notify *n) { timer_disarm(&n->loop->timers, &n->watchdog); }

const char *notify_ready(struct notify *n, unsigned listeners) {
  if (n->interval_ms && !timer_armed(&n->watchdog)) answer_watchdog(&n->watchdog);
  int error = sd_notifyf(0, "READY=1\nSTATUS=serving, %u listener%s", listeners, listeners == 1 ? "" : "s");
  return error < 0 ? strerror(-error) : NULL;
}

void notify_reloading(const struct notify *n) {
  (void)n;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
  sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reloading", (unsigned long long)now_us);
}

void notify_stopping(struct notify *n) {
  if (!n->stopping) sd_notify(0, "STOPPING=1\nSTATUS=stopping, clients are closed");
  n->stopping = true;
}

void notify_failed(const struct notify *n, const char *error) {
  (void)n;
  sd_notifyf(0, "STATUS=%.*s", (int)strcspn(error, "\n"), error);
}
