#include "broker/memory.h"

#include <assert.h>

#include "base/map.h"
#include "base/mem.h"
#include "broker/client.h"
#include "broker/fanout.h"
#include "broker/orphan.h"
#include "broker/overflow.h"
#include "broker/shard.h"
#include "broker/waiting.h"
#include "broker/will.h"

#define REPLAY_BUDGET 4096 // topics looked at for one dequeue

struct takeover { // a client that waits for the one before it to end
  struct list node;
  struct memory *memory;
  struct client *client;
  struct timer timer;
  bool clean;
};

struct offline {      // a stored session that nobody is connected to
  struct timer timer; // until it ends; not armed for one that is kept for ever
  struct memory *memory;
  struct session *session;
  struct will *will; // of its last client, or NULL
};

struct login {
  uint16_t name_len, password_len;
  uint8_t bytes[]; // name, password
};

struct memory {
  struct backend backend;
  struct map sessions; // by id
  struct map logins;   // by name
  struct index *index;
  struct shares shares;
  struct fanouts fanouts;
  struct retained retained;
  struct list takeovers;
  uint32_t stored; // sessions
  enum memory_access access;
};

static struct memory *memory_of(const struct backend *b) {
  return container_of((struct backend *)(uintptr_t)b, struct memory, backend);
}

// --- authenticate ---

static struct slice login_name(const void *value) {
  const struct login *l = value;
  return slice_of(l->bytes, l->name_len);
}

void memory_add_credentials(struct backend *b, struct slice username, struct slice password) {
  assert(username.len <= UINT16_MAX && password.len <= UINT16_MAX);
  struct login *l = mem_alloc(sizeof *l + username.len + password.len);
  l->name_len = (uint16_t)username.len;
  l->password_len = (uint16_t)password.len;
  if (username.len) memcpy(l->bytes, username.ptr, username.len);
  if (password.len) memcpy(l->bytes + username.len, password.ptr, password.len);
  mem_free(map_put(&memory_of(b)->logins, l));
}

void memory_set_access(struct backend *b, enum memory_access access) { memory_of(b)->access = access; }

static bool password_matches(const struct memory *m, const struct credentials *given) {
  static const struct login nobody;
  const struct login *l = given->has_username ? map_get(&m->logins, given->username) : NULL;
  // An unknown name is compared as well, so that the time does not tell it from a known one.
  const struct login *with = l ? l : &nobody;
  bool equal = slice_eq_secret(given->password, slice_of(with->bytes + with->name_len, with->password_len));
  return l && given->has_password && equal;
}

static enum backend_status authenticate(struct backend *b, struct client *c, const struct credentials *given,
                                        struct reply *reply) {
  (void)c;
  const struct memory *m = memory_of(b);
  bool nameless = !given->has_username && !given->has_password;
  bool allowed = false;
  switch (m->access) {
  case MEMORY_OPEN: allowed = true; break;
  case MEMORY_ANONYMOUS: allowed = nameless; break;
  case MEMORY_CREDENTIALS: allowed = password_matches(m, given); break;
  case MEMORY_CREDENTIALS_OR_ANONYMOUS: allowed = nameless || password_matches(m, given); break;
  }
  if (!allowed) reply->reason = REASON_NOT_AUTHORIZED;
  return BACKEND_DONE;
}

// --- sessions ---

static struct slice session_key(const void *value) { return session_id(value); }

static void leave_offline(struct memory *m, struct session *s) {
  timer_disarm(&m->backend.shard->loop->timers, &s->offline->timer);
  mem_free(s->offline);
  s->offline = NULL;
}

static void come_online(struct memory *m, struct session *s) {
  if (!s->offline) return;
  will_drop(s->offline->will);
  leave_offline(m, s);
}

static void deliver_orphan(struct memory *memory, struct orphan *o);

static void destroy_session(struct memory *m, struct session *s) {
  struct shard *shard = m->backend.shard;
  if (s->offline) {
    will_session_ended(s->offline->will);
    leave_offline(m, s);
  }
  m->stored -= s->expiry_s != 0;
  waiting_drop_all(shard, s);
  shard->stats.subscriptions -= s->subscriber.count + shares_count(&m->shares, s);
  shard->stats.sessions--;
  index_remove_all(m->index, &s->subscriber);
  shares_leave_all(&m->shares, s);
  map_remove(&m->sessions, session_id(s));
  struct orphans orphans;
  orphans_take(&orphans, &m->shares, s, &shard->pool);
  session_free(s, &shard->pool);
  for (struct orphan o; orphans_next(&orphans, &o);)
    deliver_orphan(m, &o);
}

static struct session *create_session(struct memory *m, struct slice id) {
  struct session *s = session_new(id, 0);
  s->fanned = m->fanouts.last; // what was published before is not for it
  map_put(&m->sessions, s);
  m->backend.shard->stats.sessions++;
  return s;
}

// As long as asked for, and as the setting allows.
static void set_expiry(struct memory *m, struct session *s, uint32_t expiry_s) {
  uint32_t most = m->backend.shard->settings.max_session_expiry_s;
  m->stored -= s->expiry_s != 0;
  s->expiry_s = most && expiry_s > most ? most : expiry_s;
  m->stored += s->expiry_s != 0;
}

static void expire(struct backend *b, struct client *c, uint32_t expiry_s) {
  set_expiry(memory_of(b), client_session(c), expiry_s);
}

static void session_expired(struct timer *t) {
  struct offline *o = container_of(t, struct offline, timer);
  struct shard *shard = o->memory->backend.shard;
  shard->stats.sessions_expired++;
  shard_log(shard, (struct log_record){
                       .event = EVENT_SESSION_ERROR, .session = o->session, .error = "session expired"});
  destroy_session(o->memory, o->session);
}

static void go_offline(struct memory *m, struct session *s, struct client *last) {
  struct loop *l = m->backend.shard->loop;
  struct offline *o = s->offline = mem_alloc(sizeof *o);
  *o = (struct offline){.memory = m, .session = s};
  timer_init(&o->timer, session_expired);
  if (s->expiry_s != SESSION_FOR_EVER)
    timer_arm(&l->timers, &o->timer, l->clock.now_ms + s->expiry_s * UINT64_C(1000));
  will_keep(last, &o->will);
}

static bool has_too_many_clients(const struct shard *shard, struct slice username) {
  uint32_t most = shard->settings.connections_per_user;
  return most && username.ptr && users_count(&shard->users, username) >= most;
}

// The id is free: nobody else is attached to its session.
static void give_session(struct memory *m, struct client *c, bool clean, struct reply *reply) {
  struct slice id = client_id(c);
  struct session *s = map_get(&m->sessions, id);
  if (s && clean) { // [MQTT-3.1.2-6]
    destroy_session(m, s);
    s = NULL;
  }
  uint32_t expiry_s = client_session_expiry(c);
  if (!s && expiry_s && m->stored >= m->backend.shard->settings.max_sessions) {
    m->backend.shard->stats.sessions_refused++;
    reply->reason = REASON_QUOTA_EXCEEDED;
    return;
  }
  if (has_too_many_clients(m->backend.shard, client_username(c))) {
    m->backend.shard->stats.connects_refused_user++;
    reply->reason = REASON_QUOTA_EXCEEDED;
    return;
  }
  reply->resumed = s != NULL;
  if (s) come_online(m, s);
  if (!s) s = create_session(m, id);
  set_expiry(m, s, expiry_s);
  client_attach(c, s);
  shares_session_moved(&m->shares, s);
}

static void takeover_free(struct takeover *t) {
  timer_disarm(&t->memory->backend.shard->loop->timers, &t->timer);
  list_remove(&t->node);
  client_unref(t->client);
  mem_free(t);
}

static void kill_timed_out(struct timer *timer) {
  struct takeover *t = container_of(timer, struct takeover, timer);
  t->memory->backend.shard->stats.kills_timed_out++;
  client_resume(t->client, &(struct reply){.reason = REASON_SERVER_UNAVAILABLE, .error = ERROR_KILL_TIMEOUT});
  takeover_free(t);
}

static void wait_for_takeover(struct memory *m, struct client *c, bool clean) {
  struct shard *shard = m->backend.shard;
  struct takeover *t = mem_alloc(sizeof *t);
  *t = (struct takeover){.memory = m, .client = client_ref(c), .clean = clean};
  timer_init(&t->timer, kill_timed_out);
  timer_arm(&shard->loop->timers, &t->timer, shard->loop->clock.now_ms + shard->settings.kill_timeout_ms);
  list_append(&m->takeovers, &t->node);
}

// Of several who wait for the same session the newest gets it.
static void supersede_takeovers(struct memory *m, struct slice id) {
  list_each(node, &m->takeovers) {
    struct takeover *t = container_of(node, struct takeover, node);
    if (!slice_eq(client_id(t->client), id)) continue;
    m->backend.shard->stats.sessions_taken_over++;
    client_close(t->client, ERROR_CLIENT_CLOSED);
    client_resume(t->client, &(struct reply){0});
    takeover_free(t);
  }
}

// True when nobody holds the session of the id (any longer).
static bool kill_existing(struct memory *m, struct slice id) {
  struct session *s = map_get(&m->sessions, id);
  if (!s || !s->client) return true;
  struct client *old = s->client;
  if (!client_closing(old)) m->backend.shard->stats.sessions_taken_over++;
  client_close_with(old, REASON_SESSION_TAKEN_OVER, ERROR_CLIENT_CLOSED); // [MQTT-3.1.4-2]
  return client_end_now(old);
}

static enum backend_status setup(struct backend *b, struct client *c, struct slice id, bool clean,
                                 struct reply *reply) {
  struct memory *m = memory_of(b);
  if (!id.len) id = client_id(c); // assigned; who came with that very id is taken over as well
  supersede_takeovers(m, id);
  if (!kill_existing(m, id)) {
    wait_for_takeover(m, c, clean);
    return BACKEND_PENDING;
  }
  if (!client_closing(c)) give_session(m, c, clean, reply); // a hook of the old one may have closed it
  return BACKEND_DONE;
}

// The session of the id has lost its client: the next that waits for it goes on.
static void resume_takeover(struct memory *m, struct slice id) {
  list_each(node, &m->takeovers) {
    struct takeover *t = container_of(node, struct takeover, node);
    if (!slice_eq(client_id(t->client), id)) continue;
    if (client_closing(t->client)) {
      client_resume(t->client, &(struct reply){0});
      takeover_free(t);
      continue;
    }
    struct reply reply = {0};
    give_session(m, t->client, t->clean, &reply);
    client_resume(t->client, &reply);
    takeover_free(t);
    return;
  }
}

// QoS 0 was queued for the connection only.
static void forget_qos0(struct shard *shard, struct session *s) {
  struct delivery d;
  for (uint32_t n = s->queue.count; n; n--) {
    session_pop(s, &shard->pool, &d);
    if (d.qos)
      session_push(s, &shard->pool, d);
    else
      message_unref(d.message);
  }
}

static void terminate(struct backend *b, struct client *c, const char *error) {
  (void)error;
  struct memory *m = memory_of(b);
  struct session *s = client_session(c);
  client_detach(c);
  shares_session_moved(&m->shares, s);
  if (!s->expiry_s) {
    destroy_session(m, s);
  } else {
    s->slow = false;
    forget_qos0(b->shard, s);
    waiting_admit(b->shard, s);
    waiting_drop_all(b->shard, s);
    go_offline(m, s, c);
  }
  resume_takeover(m, client_id(c));
}

static void restore(struct backend *b, struct client *c) { (void)b, (void)c; } // the queue is where it was

// --- subscriptions ---

static bool has_subscription(const struct memory *m, const struct session *s,
                             const struct subscribe_item *item) {
  if (item->share.len) return shares_find(&m->shares, s, item->share, item->filter);
  return index_get(m->index, item->filter, &s->subscriber);
}

static bool within_limits(const struct memory *m, struct session *s, struct subscribe_item *item) {
  const struct settings *limits = &m->backend.shard->settings;
  struct slice name, filter;
  if (share_parse(item->filter, &name, &filter)) // a decorator's: it changes what is shared, not whether
    item->reason = REASON_TOPIC_FILTER_INVALID;
  else if (item->filter.len > limits->topic_length || topic_levels(item->filter) > limits->topic_levels)
    item->reason = REASON_TOPIC_FILTER_INVALID;
  else if (m->backend.shard->pressure.high)
    item->reason = REASON_QUOTA_EXCEEDED;
  else if (s->subscriber.count + shares_count(&m->shares, s) >= limits->subscriptions &&
           !has_subscription(m, s, item))
    item->reason = REASON_QUOTA_EXCEEDED;
  else
    return true;
  item->code = SUBACK_FAILURE;
  return false;
}

// [MQTT-3.3.1-9..11]
static bool wants_retained(const struct memory *m, const struct subscribe_item *item, bool is_new) {
  unsigned handling = (item->options & SUBSCRIPTION_RETAIN_HANDLING) >> SUBSCRIPTION_RETAIN_HANDLING_SHIFT;
  if (!m->retained.count || handling == 2 || (handling == 1 && !is_new)) return false;
  return topic_has_wildcard(item->filter) || retained_get(&m->retained, item->filter);
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

static void subscribe(struct backend *b, struct client *c, struct subscribe_request *request) {
  struct memory *m = memory_of(b);
  struct session *s = client_session(c);
  uint8_t maximum_qos = b->shard->settings.maximum_qos;
  fanouts_settle(&m->fanouts, &s->subscriber);
  for (uint32_t i = 0; i < request->count; i++) {
    struct subscribe_item *item = &request->list[i];
    if (item->code > 2 || !within_limits(m, s, item)) continue;
    if (item->code > maximum_qos) item->code = maximum_qos; // [MQTT5-3.2.2-10]
    uint8_t options =
        item->code | (item->options & (SUBSCRIPTION_NO_LOCAL | SUBSCRIPTION_RETAIN_AS_PUBLISHED));
    bool is_new = item->share.len
                      ? join_group(m, s, item, options, request->identifier)
                      : index_add(m->index, item->filter, &s->subscriber, options, request->identifier);
    b->shard->stats.subscriptions += is_new;
    if (!item->share.len && wants_retained(m, item, is_new))
      session_add_replay(s, &m->retained, item->filter, item->code, request->identifier);
  }
  client_wake(c);
  client_subscribed(c, request);
}

static void unsubscribe(struct backend *b, struct client *c, struct subscribe_request *request) {
  struct memory *m = memory_of(b);
  struct session *s = client_session(c);
  fanouts_settle(&m->fanouts, &s->subscriber);
  for (uint32_t i = 0; i < request->count; i++) {
    struct subscribe_item *item = &request->list[i];
    if (item->reason && client_version(c) == MQTT_5) continue; // it stays; before MQTT 5 nobody could be told
    bool existed =
        item->share.len ? leave_group(m, s, item) : index_remove(m->index, item->filter, &s->subscriber);
    b->shard->stats.subscriptions -= existed;
    item->code = existed ? REASON_SUCCESS : REASON_NO_SUBSCRIPTION_EXISTED;
    if (!item->share.len) session_remove_replay(s, item->filter);
  }
  client_unsubscribed(c, request);
}

// --- messages ---

static enum backend_status accept_any(struct backend *b, struct client *c, struct message **m,
                                      struct reply *reply) {
  (void)b, (void)c, (void)m, (void)reply;
  return BACKEND_DONE;
}

// Whether the message fits beside those that are retained, in the place of the one of its topic. That one is
// looked up only where it may decide.
static bool may_retain(const struct memory *memory, const struct message *m) {
  const struct settings *limits = &memory->backend.shard->settings;
  uint64_t count = memory->retained.count, bytes = memory->backend.shard->stats.retained_bytes;
  if (count < limits->max_retained_messages && bytes + message_size(m) <= limits->max_retained_bytes)
    return true;
  const struct message *old = retained_get(&memory->retained, message_topic(m));
  return old && count <= limits->max_retained_messages &&
         bytes - message_size(old) + message_size(m) <= limits->max_retained_bytes;
}

static void refuse_to_retain(struct shard *shard, const struct message *m, struct client *c) {
  shard->stats.retained_refused++;
  struct packet_message view = message_view(m);
  shard_log(shard, (struct log_record){.event = EVENT_SESSION_ERROR,
                                       .client = c,
                                       .message = &view,
                                       .error = shard->pressure.high ? ERROR_MEMORY_LIMIT
                                                                     : "too many retained messages"});
}

static void count_retained(struct memory *memory, const struct message *added, struct message *removed) {
  struct stats *stats = &memory->backend.shard->stats;
  if (added) stats->retained_bytes += message_size(added);
  if (removed) stats->retained_bytes -= message_size(removed);
  if (removed) message_unref(removed);
  stats->retained_messages = memory->retained.count;
}

static void retain(struct memory *memory, struct message *m, struct client *c) {
  struct shard *shard = memory->backend.shard;
  bool keep =
      m->payload_len && !shard->pressure.high && may_retain(memory, m); // [MQTT-3.3.1-5, MQTT-3.3.1-10, -11]
  struct message *old;
  if (m->payload_len && !keep) refuse_to_retain(shard, m, c);
  if (keep)
    old = retained_set(&memory->retained, message_topic(m), message_ref(m));
  else
    old = retained_delete(&memory->retained, message_topic(m)); // also where there is no room for a newer one
  count_retained(memory, keep ? m : NULL, old);
}

// One whose time is over is removed when it is met [MQTT5-3.3.2-5].
static void forget_expired(struct memory *memory, struct slice topic) {
  struct shard *shard = memory->backend.shard;
  const struct message *m = retained_get(&memory->retained, topic);
  if (!m || !message_expired(m, shard_now_s(shard))) return;
  shard->stats.messages_expired++;
  count_retained(memory, NULL, retained_delete(&memory->retained, topic));
}

static inline bool has_room(const struct memory *m, const struct session *s) {
  return waiting_takes(&m->backend.shard->settings, s);
}

// Takes over the target's reference.
static inline void push(struct memory *memory, const struct target *t) {
  struct shard *shard = memory->backend.shard;
  session_push(t->session, &shard->pool, target_delivery(t));
  shard->stats.messages_queued++;
  if (t->session->client) client_wake(t->session->client);
}

// A full queue is flushed before anything is dropped or anybody waits.
static bool make_room(struct memory *m, struct session *s) {
  if (has_room(m, s)) return true;
  if (!s->client) return false;
  client_flush(s->client);
  return has_room(m, s);
}

enum delivered { DELIVERED, DROPPED, WAITS };

static bool may_wait(const struct session *s, struct ack ack) {
  return s->client && !s->slow && ack.client && s->client != ack.client && !client_closing(ack.client);
}

static enum delivered drop(struct shard *shard, struct target *t) {
  overflow_drop(shard, t->session, t->message);
  target_release(t);
  return DROPPED;
}

// Takes over the target's reference, unless it waits.
static enum delivered deliver_to_one(struct memory *memory, struct target *t, struct ack ack) {
  struct shard *shard = memory->backend.shard;
  struct session *s = t->session;
  if (overflow_total(shard)) return overflow_deliver(shard, s, target_delivery(t)) ? DELIVERED : DROPPED;
  if (!make_room(memory, s)) {
    switch (overflow_policy(shard, s, t->message)) {
    case FULL_QUEUE_WAIT: return may_wait(s, ack) ? WAITS : drop(shard, t);
    case FULL_QUEUE_DROP_NEW: return drop(shard, t);
    case FULL_QUEUE_DISCONNECT:
      overflow_disconnect(shard, s, t->message);
      target_release(t);
      return DROPPED;
    case FULL_QUEUE_DROP_OLD:
      while (!has_room(memory, s) && overflow_drop_oldest(shard, s))
        waiting_admit(shard, s);
    }
  }
  push(memory, t);
  return DELIVERED;
}

// Takes over the targets' references.
static void deliver_to_full(struct memory *memory, struct message *m, struct ack ack, struct target *list,
                            size_t count) {
  struct shard *shard = memory->backend.shard;
  size_t waits = 0;
  for (size_t i = 0; i < count; i++) {
    if (deliver_to_one(memory, &list[i], ack) == WAITS) list[waits++] = list[i];
  }
  if (waits)
    waiting_add(shard, m, ack, list, waits, overflow_drop);
  else
    client_acknowledge(ack);
}

// A slice of a fan-out: as publish, for targets that are known already, and whose references are taken over.
// The list is reused for the full ones.
static void deliver_slice(void *arg, struct message *m, struct ack ack, struct target *list, size_t count) {
  struct memory *memory = arg;
  bool over = overflow_total(memory->backend.shard); // then all are dealt with as full
  size_t full_count = 0;
  for (size_t i = 0; i < count; i++) {
    if (over || !has_room(memory, list[i].session)) {
      list[full_count++] = list[i];
      continue;
    }
    push(memory, &list[i]);
  }
  deliver_to_full(memory, m, ack, list, full_count);
}

struct full { // targets without room
  struct target few[16], *list;
  size_t count, cap;
};

static void add_full(struct full *full, const struct target *t) {
  if (full->count == full->cap) {
    full->cap *= 4;
    full->list = full->list == full->few
                     ? memcpy(mem_alloc(full->cap * sizeof *full->list), full->few, sizeof full->few)
                     : mem_realloc(full->list, full->cap * sizeof *full->list);
  }
  full->list[full->count++] = *t;
}

// Nothing in this walk writes to a connection, frees a session or calls Lua: the matches stay valid.
static void publish(struct backend *b, struct message *m, struct ack ack) {
  struct memory *memory = memory_of(b);
  if (m->retain) retain(memory, m, ack.client);
  const struct matches *matches = index_match(memory->index, message_topic(m));
  b->shard->stats.messages_published++;
  if (!matches->count && ack.type == PACKET_PUBACK) ack.reason = REASON_NO_MATCHING_SUBSCRIBERS;
  if (fanouts_take(&memory->fanouts, matches->count, ack.client)) {
    fanouts_add(&memory->fanouts, m, ack);
    return;
  }
  struct full full;
  full.list = full.few, full.count = 0, full.cap = sizeof full.few / sizeof *full.few;
  struct targets targets;
  targets_init(&targets, m, ack.client ? client_session(ack.client) : NULL, &memory->shares);
  bool over = overflow_total(b->shard);
  for (uint32_t i = 0; i < matches->count; i++) {
    struct target t;
    if (!target_of(&targets, matches, &matches->list[i], &t)) continue;
    if (over || !has_room(memory, t.session)) {
      add_full(&full, &t);
      continue;
    }
    push(memory, &t);
  }
  targets_release(&targets);
  if (full.count)
    deliver_to_full(memory, m, ack, full.list, full.count);
  else
    client_acknowledge(ack);
  if (full.list != full.few) mem_free(full.list);
}

// To another member of the group that it came by, if there is one left.
static void deliver_orphan(struct memory *memory, struct orphan *o) {
  struct share_group *group = shares_by_number(&memory->shares, o->group);
  struct targets targets;
  struct target t;
  targets_init(&targets, o->message, NULL, &memory->shares);
  if (group && target_of_group(&targets, group, &t)) {
    memory->backend.shard->stats.messages_redispatched++;
    deliver_to_one(memory, &t, (struct ack){0});
  }
  targets_release(&targets);
  message_unref(o->message);
}

bool memory_deliver(struct backend *b, struct session *s, struct message *m, uint8_t qos, bool retained) {
  struct memory *memory = memory_of(b);
  if (!s->client && !qos) return false;
  struct target t = {.session = s, .message = message_ref(m), .qos = qos, .retain = retained};
  return deliver_to_one(memory, &t, (struct ack){0}) == DELIVERED;
}

// Live messages and retained ones that are replayed take turns, so that neither holds up the other; but an
// older message of the same topic comes first.
static bool is_turn_of_replays(const struct session *s) {
  if (!s->replays) return false;
  return s->replay_turn || !s->queue.count || session_replays_before(s, queue_peek(&s->queue)->message);
}

static bool is_half_empty(const struct settings *settings, const struct session *s) {
  return s->queue.count <= settings->session_queue_size / 2 &&
         s->queued_bytes <= settings->session_queue_bytes / 2;
}

// False: there is none, or (then `replays` is not NULL) no more for now.
static bool next_replay(struct memory *memory, struct session *s, struct delivery *d) {
  uint32_t budget = REPLAY_BUDGET;
  while (session_next_replay(s, &budget, d)) {
    if (!message_expired(d->message, shard_now_s(memory->backend.shard))) return true;
    forget_expired(memory, message_topic(d->message));
    message_unref(d->message);
  }
  return false;
}

static bool dequeue(struct backend *b, struct client *c, struct delivery *d) {
  struct session *s = client_session(c);
  struct shard *shard = b->shard;
  if (is_turn_of_replays(s)) {
    s->replay_turn = false;
    if (next_replay(memory_of(b), s, d)) return true;
    if (s->replays) return false; // the budget is used up: come again
  }
  s->replay_turn = true;
  if (!session_pop(s, &shard->pool, d)) return false;
  if (s->slow && is_half_empty(&shard->settings, s)) s->slow = false;
  if (!list_empty(&s->waiting)) waiting_admit(shard, s);
  return true;
}

// --- life ---

static void drop_retained(void *arg, void *value) {
  (void)arg;
  message_unref(value);
}

static void log_nothing(struct backend *b, const struct log_record *record) { (void)b, (void)record; }

static void memory_free(struct backend *b) {
  struct memory *m = memory_of(b);
  fanouts_release(&m->fanouts);
  while (!list_empty(&m->takeovers))
    takeover_free(container_of(m->takeovers.next, struct takeover, node));
  uint32_t at = 0;
  for (struct session *s; (s = map_each(&m->sessions, &at));) {
    come_online(m, s);
    waiting_drop_all(b->shard, s);
    index_remove_all(m->index, &s->subscriber);
    shares_leave_all(&m->shares, s);
    session_free(s, &b->shard->pool);
  }
  at = 0;
  for (struct login *l; (l = map_each(&m->logins, &at));)
    mem_free(l);
  map_release(&m->sessions);
  map_release(&m->logins);
  shares_release(&m->shares);
  index_free(m->index);
  retained_release(&m->retained, drop_retained, NULL);
  mem_free(m);
}

static const struct backend_ops memory_ops = {
    .authenticate = authenticate,
    .setup = setup,
    .restore = restore,
    .expire = expire,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .accept = accept_any,
    .publish = publish,
    .dequeue = dequeue,
    .terminate = terminate,
    .log = log_nothing,
    .free = memory_free,
};

struct backend *memory_backend_new(struct shard *shard) {
  struct memory *m = mem_calloc(1, sizeof *m);
  m->backend = (struct backend){&memory_ops, shard};
  map_init(&m->sessions, session_key, rand_next(&shard->rand));
  map_init(&m->logins, login_name, rand_next(&shard->rand));
  m->index = index_new(rand_next(&shard->rand));
  shares_init(&m->shares, shard, m->index);
  fanouts_init(&m->fanouts, shard->loop, m->index, &m->shares, deliver_slice, m);
  retained_init(&m->retained, rand_next(&shard->rand));
  list_init(&m->takeovers);
  return &m->backend;
}

struct session *memory_session(const struct backend *b, struct slice id) {
  return map_get(&memory_of(b)->sessions, id);
}

struct session *memory_each_session(const struct backend *b, uint32_t *at) {
  return map_each(&memory_of(b)->sessions, at);
}

void memory_set_fanout_slice(struct backend *b, uint32_t sessions) { memory_of(b)->fanouts.slice = sessions; }

const struct shares *memory_shares(const struct backend *b) { return &memory_of(b)->shares; }

struct retained *memory_retained(struct backend *b) {
  return &memory_of(b)->retained;
}
