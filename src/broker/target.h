// Who gets a message, and how: a match of the subscription index as a delivery to one session, which is
// chosen where the match is a group of shared subscriptions. The QoS is the lower of published and granted;
// the retain flag stays where the subscription asks for it; subscription identifiers go with a copy of the
// message, which subscribers with the same identifiers share.
//
//   struct targets t;
//   targets_init(&t, m, client_session(publisher), shares);
//   struct target target;
//   if (target_of(&t, matches, &matches->list[i], &target)) ... target_release(&target)
//   targets_release(&t);
#ifndef LUAMQ_BROKER_TARGET_H
#define LUAMQ_BROKER_TARGET_H

#include "base/mem.h"
#include "broker/share.h"

struct target {
  struct session *session;
  struct message *message; // a reference
  uint8_t qos;
  bool retain;
  uint32_t group; // as of struct delivery
};

struct targets { // of one message
  struct message *message;
  const struct session *publisher; // NULL: not a client's, or it has gone
  struct shares *shares;
  struct message *with_ids; // the last copy that was made, or NULL
  struct buf ids;           // its identifiers, uint32_t
  struct buf wanted;        // scratch
};

void targets_init(struct targets *t, struct message *m, const struct session *publisher,
                  struct shares *shares);
void targets_release(struct targets *t);

// Whether the session gets it by these options and identifiers (uint32_t), outside of matches.
bool target_of_subscription(struct targets *t, struct session *s, uint8_t options, struct slice ids,
                            struct target *out);
// The same for a match with identifiers or no local, of the publisher itself, or of a group, which says no
// local so that it comes here.
bool target_of_special(struct targets *t, const struct matches *matches, const struct match *match,
                       struct target *out);

// False: the match's session does not get it, since it is its own [MQTT5 3.8.3.1] or QoS 0 and nobody is
// there; or nobody of a group does.
static inline bool target_of(struct targets *t, const struct matches *matches, const struct match *match,
                             struct target *out) {
  struct session *s = container_of(match->subscriber, struct session, subscriber);
  if (match->ids || match->options & SUBSCRIPTION_NO_LOCAL || s == t->publisher)
    return target_of_special(t, matches, match, out);
  uint8_t granted = match->options & SUBSCRIPTION_QOS,
          qos = granted < t->message->qos ? granted : t->message->qos;
  if (!s->client && !qos) return false;
  *out = (struct target){.session = s,
                         .message = message_ref(t->message),
                         .qos = qos,
                         .retain = t->message->retain && match->options & SUBSCRIPTION_RETAIN_AS_PUBLISHED};
  return true;
}

// The member of the group whose turn it is.
bool target_of_group(struct targets *t, struct share_group *group, struct target *out);

// The target's reference goes with it.
static inline struct delivery target_delivery(const struct target *t) {
  return (struct delivery){t->message, t->qos, t->retain, t->group};
}
static inline void target_release(struct target *t) { message_unref(t->message); }

#endif
