// What a service manager is told of the broker's life, when there is one (NOTIFY_SOCKET, sd_notify(3)): that
// it is ready, reloads or stops, and with a watchdog (WATCHDOG_USEC) twice in its time that the loop turns.
// Without a manager nothing here has an effect.
//
//   struct notify n;
//   notify_init(&n, loop);
//   if (!notify_ready(&n, 2)) ...      // also behind notify_reloading
//   notify_stopping(&n);
//   notify_release(&n);
#ifndef LUAMQ_CMD_NOTIFY_H
#define LUAMQ_CMD_NOTIFY_H

#include "transport/loop.h"

struct notify {
  struct loop *loop; // borrowed
  struct timer watchdog;
  uint64_t interval_ms; // of the watchdog's answers; 0: there is none
  bool stopping;
};

void notify_init(struct notify *n, struct loop *loop);
void notify_release(struct notify *n);

// Ready with so many listeners; from then on the watchdog is answered. NULL, or why the manager is not told.
const char *notify_ready(struct notify *n, unsigned listeners);
void notify_reloading(const struct notify *n);
void notify_stopping(struct notify *n);                        // once, however often it is called
void notify_failed(const struct notify *n, const char *error); // why there will be no service: its first line

#endif
