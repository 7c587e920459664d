#include "broker/target.h"

#include "packet/packet.h"

void targets_init(struct targets *t, struct message *m, const struct session *publisher,
                  struct shares *shares) {
  *t = (struct targets){.message = m, .publisher = publisher, .shares = shares};
}

void targets_release(struct targets *t) {
  if (t->with_ids) message_unref(t->with_ids);
  buf_release(&t->ids);
  buf_release(&t->wanted);
}

// The message with these identifiers: the last copy where it has the same ones. Borrowed.
static struct message *with_ids(struct targets *t, struct slice ids) {
  if (!ids.len) return t->message;
  if (t->with_ids && slice_eq(buf_slice(&t->ids), ids)) return t->with_ids;
  if (t->with_ids) message_unref(t->with_ids);
  t->with_ids =
      message_with_ids(t->message, (const uint32_t *)(const void *)ids.ptr, ids.len / sizeof(uint32_t));
  t->ids.len = 0;
  buf_add_slice(&t->ids, ids);
  return t->with_ids;
}

bool target_of_subscription(struct targets *t, struct session *s, uint8_t options, struct slice ids,
                            struct target *out) {
  const struct message *m = t->message;
  uint8_t granted = options & SUBSCRIPTION_QOS, qos = granted < m->qos ? granted : m->qos;
  if ((!s->client && !qos) || (options & SUBSCRIPTION_NO_LOCAL && s == t->publisher)) return false;
  *out = (struct target){.session = s,
                         .message = message_ref(with_ids(t, ids)),
                         .qos = qos,
                         .retain = m->retain && options & SUBSCRIPTION_RETAIN_AS_PUBLISHED};
  return true;
}

bool target_of_group(struct targets *t, struct share_group *group, struct target *out) {
  const struct share_member *m = shares_choose(t->shares, group, t->message->qos);
  if (!m) return false;
  struct slice ids = slice_of(&m->id, m->id ? sizeof m->id : 0);
  if (!target_of_subscription(t, m->pair.session, m->options, ids, out)) return false;
  out->group = group->number;
  return true;
}

bool target_of_special(struct targets *t, const struct matches *matches, const struct match *match,
                       struct target *out) {
  if (match->subscriber->is_group) return target_of_group(t, share_of(match->subscriber), out);
  struct session *s = container_of(match->subscriber, struct session, subscriber);
  bool own = s == t->publisher;
  if (own && match->own == MATCH_NOT_OWN) return false;
  t->wanted.len = 0;
  for (uint32_t place = match->ids; place;) {
    const struct match_id *entry = matches_id(matches, place);
    uint32_t id = entry->id;
    if (!own || !entry->no_local) buf_add(&t->wanted, &id, sizeof id);
    place = entry->next;
  }
  return target_of_subscription(t, s, own ? match->own : match->options, buf_slice(&t->wanted), out);
}
