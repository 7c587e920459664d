// The rate at which a client may publish, in messages and in bytes (of topics and payloads) a second, with a
// burst of a second's worth: its settings publish_rate and publish_bytes. Above it the client is not read
// until there are tokens again, so nothing is lost, and that time counts neither as keep alive nor as token
// time. A message of more than a second's worth goes through, and its debt is waited for, however long that
// takes; that the peer has gone meanwhile is noticed after it.
#ifndef LUAMQ_BROKER_PACE_H
#define LUAMQ_BROKER_PACE_H

#include "base/timer.h"
#include "base/tokens.h"
#include "broker/settings.h"

struct pace {
  struct timer timer; // until there are tokens again
  struct tokens messages, bytes;
  uint64_t paused_ms; // when it was paused last
  bool paused;
};

void pace_init(struct pace *p, void (*fired)(struct timer *t), uint64_t now_ms);
// How long the client is not to be read; 0: it may publish.
uint64_t pace_wait_ms(struct pace *p, const struct client_settings *settings, uint64_t now_ms);
// Counts a message, and tells how long the client is not to be read now.
uint64_t pace_publish(struct pace *p, const struct client_settings *settings, size_t bytes, uint64_t now_ms);
static inline bool pace_is_set(const struct client_settings *s) {
  return s->publish_rate || s->publish_bytes;
}

#endif
