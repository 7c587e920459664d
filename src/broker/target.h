// Who gets a message, and how: a match of the subscription index as a delivery to one session. The QoS is the
// lower of published and granted; the retain flag stays where the subscription asks for it; subscription
// identifiers go with a copy of the message, which subscribers with the same identifiers share.
//
//   struct targets t;
//   targets_init(&t, m, client_session(publisher));
//   struct target target;
//   if (target_of(&t, matches, &matches->list[i], &target)) ... target_release(&target)
//   targets_release(&t);
#ifndef LUAMQ_BROKER_TARGET_H
#define LUAMQ_BROKER_TARGET_H

#include "session/session.h"

struct target {
  struct session *session;
  struct message *message; // a reference
  uint8_t qos;
  bool retain;
};

struct targets { // of one message
  struct message *message;
  const struct session *publisher; // NULL: not a client's, or it has gone
  struct message *with_ids;        // the last copy that was made, or NULL
  struct buf ids;                  // its identifiers, uint32_t
  struct buf wanted;               // scratch
};

void targets_init(struct targets *t, struct message *m, const struct session *publisher);
void targets_release(struct targets *t);

// False: the match's session does not get it, since it is its own [MQTT-3.8.3-3] or QoS 0 and nobody is
// there.
bool target_of(struct targets *t, const struct matches *matches, const struct match *match,
               struct target *out);
// The same for a subscription of the session, outside of matches.
bool target_of_subscription(struct targets *t, struct session *s, uint8_t options, struct slice ids,
                            struct target *out);
static inline void target_release(struct target *t) { message_unref(t->message); }

#endif
