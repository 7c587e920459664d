// SUBSCRIBE and UNSUBSCRIBE: subscriptions of a session of its own, in the index, and its places in groups.
#include "broker/memory_impl.h"

bool memory_has_subscription(const struct memory *m, const struct session *s,
                             const struct subscribe_item *item) {
  if (item->share.len) return shares_find(&m->shares, s, item->share, item->filter);
  return index_get(m->index, item->filter, &s->subscriber);
}

static void refuse(struct subscribe_item *item, uint8_t reason, const struct verdict *by) {
  item->code = SUBACK_FAILURE;
  item->reason = reason;
  item->by = by;
}

static bool within_limits(const struct memory *m, struct session *s, struct subscribe_item *item) {
  static const struct verdict by_length = {DECIDER_LIMIT, .name = "limits.topic_length"};
  static const struct verdict by_levels = {DECIDER_LIMIT, .name = "limits.topic_levels"};
  static const struct verdict by_memory = {DECIDER_LIMIT, .name = "limits.memory_limit"};
  static const struct verdict by_count = {DECIDER_LIMIT, .name = "limits.subscriptions"};
  const struct settings *limits = &m->backend.shard->settings;
  struct slice name, filter;
  if (share_parse(item->filter, &name, &filter)) // a decorator's: it changes what is shared, not whether
    refuse(item, REASON_TOPIC_FILTER_INVALID, &verdict_of_protocol);
  else if (item->filter.len > limits->topic_length)
    refuse(item, REASON_TOPIC_FILTER_INVALID, &by_length);
  else if (topic_levels(item->filter) > limits->topic_levels)
    refuse(item, REASON_TOPIC_FILTER_INVALID, &by_levels);
  else if (m->backend.shard->pressure.near)
    refuse(item, REASON_QUOTA_EXCEEDED, &by_memory);
  else if (s->subscriber.count + shares_count(&m->shares, s) >= limits->subscriptions &&
           !memory_has_subscription(m, s, item))
    refuse(item, REASON_QUOTA_EXCEEDED, &by_count);
  else
    return true;
  return false;
}

static bool has_retained(const struct memory *m, struct slice filter) {
  return m->retained.count && (topic_has_wildcard(filter) || retained_get(&m->retained, filter));
}

// [MQTT-3.3.1-9..11]. Where none are asked for, those that the subscription before asked for still come.
static void replay_retained(struct memory *m, struct session *s, const struct subscribe_item *item,
                            bool is_new, uint32_t id) {
  unsigned handling = (item->options & SUBSCRIPTION_RETAIN_HANDLING) >> SUBSCRIPTION_RETAIN_HANDLING_SHIFT;
  if (handling == 2 || (handling == 1 && !is_new))
    session_change_replay(s, item->filter, item->code, id);
  else if (has_retained(m, item->filter))
    session_add_replay(s, &m->retained, item->filter, item->code, id);
  else
    session_remove_replay(s, item->filter);
}

// Before the members of the group change.
static struct share_group *settle_group(struct memory *m, const struct subscribe_item *item) {
  struct share_group *g = shares_group(&m->shares, item->share, item->filter);
  if (g) fanouts_settle(&m->fanouts, &g->subscriber);
  return g;
}

// No retained messages come by a shared subscription [MQTT5 4.8.2]. True when it is new.
static bool join_group(struct memory *m, struct session *s, const struct subscribe_item *item,
                       uint8_t options, uint32_t id) {
  uint32_t before = shares_count(&m->shares, s);
  bool exists = settle_group(m, item);
  struct share_group *g = shares_join(&m->shares, s, item->share, item->filter, options, id);
  if (!exists) g->fanned = m->fanouts.last; // what was published before is not for it
  return shares_count(&m->shares, s) > before;
}

static bool leave_group(struct memory *m, struct session *s, const struct subscribe_item *item) {
  settle_group(m, item);
  return shares_leave(&m->shares, s, item->share, item->filter);
}

bool memory_make_subscription(struct memory *m, struct session *s, const struct subscribe_item *item,
                              uint8_t options, uint32_t id) {
  bool is_new = item->share.len ? join_group(m, s, item, options, id)
                                : index_add(m->index, item->filter, &s->subscriber, options, id);
  m->backend.shard->stats.subscriptions += is_new;
  return is_new;
}

bool memory_end_subscription(struct memory *m, struct session *s, const struct subscribe_item *item) {
  bool existed =
      item->share.len ? leave_group(m, s, item) : index_remove(m->index, item->filter, &s->subscriber);
  m->backend.shard->stats.subscriptions -= existed;
  if (!item->share.len) session_remove_replay(s, item->filter);
  return existed;
}

// `c` is NULL where nobody has to be allowed to.
static void subscribe_one(struct memory *m, struct session *s, struct client *c, struct subscribe_item *item,
                          uint32_t id) {
  uint8_t maximum_qos = m->backend.shard->settings.maximum_qos;
  if (item->code > 2 || !within_limits(m, s, item)) return;
  if (item->code > maximum_qos) item->code = maximum_qos; // [MQTT5-3.2.2-10]
  if (c) access_check_subscribe(c, item);
  if (item->code > 2) return;
  uint8_t options = item->code | (item->options & (SUBSCRIPTION_NO_LOCAL | SUBSCRIPTION_RETAIN_AS_PUBLISHED));
  bool is_new = memory_make_subscription(m, s, item, options, id);
  if (!item->share.len) replay_retained(m, s, item, is_new, id);
}

void memory_subscribe(struct backend *b, struct client *c, struct subscribe_request *request) {
  struct memory *m = memory_of(b);
  struct session *s = client_session(c);
  fanouts_settle(&m->fanouts, &s->subscriber);
  for (uint32_t i = 0; i < request->count; i++)
    subscribe_one(m, s, c, &request->list[i], request->identifier);
  client_wake(c);
  client_subscribed(c, request);
}

void memory_subscribe_session(struct backend *b, struct session *s, struct subscribe_item *item,
                              uint32_t identifier) {
  struct memory *m = memory_of(b);
  fanouts_settle(&m->fanouts, &s->subscriber);
  subscribe_one(m, s, NULL, item, identifier);
  if (s->client) client_wake(s->client);
}

bool memory_unsubscribe_session(struct backend *b, struct session *s, const struct subscribe_item *item) {
  struct memory *m = memory_of(b);
  fanouts_settle(&m->fanouts, &s->subscriber);
  return memory_end_subscription(m, s, item);
}

void memory_unsubscribe(struct backend *b, struct client *c, struct subscribe_request *request) {
  struct memory *m = memory_of(b);
  struct session *s = client_session(c);
  fanouts_settle(&m->fanouts, &s->subscriber);
  for (uint32_t i = 0; i < request->count; i++) {
    struct subscribe_item *item = &request->list[i];
    if (item->reason && client_version(c) == MQTT_5) continue; // it stays; before MQTT 5 nobody could be told
    item->code = memory_end_subscription(m, s, item) ? REASON_SUCCESS : REASON_NO_SUBSCRIPTION_EXISTED;
  }
  client_unsubscribed(c, request);
}
