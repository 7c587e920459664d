// Sessions: who gets which one, who waits for it, and what happens when it ends.
#include <assert.h>

#include "broker/memory_impl.h"
#include "broker/waiting.h"
#include "broker/will.h"

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
    memory_deliver_orphan(m, &o);
}

static struct session *create_session(struct memory *m, struct slice id) {
  struct session *s = session_new(id, 0);
  s->reign = m->backend.shard->reign;
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

void memory_expire(struct backend *b, struct client *c, uint32_t expiry_s) {
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

// `last` is NULL where it never had a client.
static void go_offline(struct memory *m, struct session *s, struct client *last) {
  struct loop *l = m->backend.shard->loop;
  struct offline *o = s->offline = mem_alloc(sizeof *o);
  *o = (struct offline){.memory = m, .session = s};
  timer_init(&o->timer, session_expired);
  if (s->expiry_s != SESSION_FOR_EVER)
    timer_arm(&l->timers, &o->timer, l->clock.now_ms + s->expiry_s * UINT64_C(1000));
  if (last) will_keep(last, &o->will);
}

// Whether there may be one more that is stored.
static bool may_store(struct memory *m) {
  if (m->stored < m->backend.shard->settings.max_sessions) return true;
  m->backend.shard->stats.sessions_refused++;
  return false;
}

struct session *memory_create_session(struct backend *b, struct slice id, uint32_t expiry_s) {
  struct memory *m = memory_of(b);
  assert(expiry_s && !map_get(&m->sessions, id));
  if (!may_store(m)) return NULL;
  struct session *s = create_session(m, id);
  set_expiry(m, s, expiry_s);
  go_offline(m, s, NULL);
  return s;
}

static bool has_too_many_clients(const struct shard *shard, struct slice username) {
  uint32_t most = shard->settings.connections_per_user;
  return most && username.ptr && users_count(&shard->users, username) >= most;
}

// The id is free: nobody else is attached to its session.
static void give_session(struct memory *m, struct client *c, bool clean, struct reply *reply) {
  static const struct verdict by_sessions = {DECIDER_LIMIT, .name = "backend.max_sessions"};
  static const struct verdict by_user = {DECIDER_LIMIT, .name = "limits.connections_per_user"};
  struct slice id = client_id(c);
  struct session *s = map_get(&m->sessions, id);
  if (s && clean) { // [MQTT-3.1.2-6]
    destroy_session(m, s);
    s = NULL;
  }
  uint32_t expiry_s = client_session_expiry(c);
  if (!s && expiry_s && !may_store(m)) {
    reply_refuse(reply, REASON_QUOTA_EXCEEDED, &by_sessions);
    return;
  }
  if (has_too_many_clients(m->backend.shard, client_username(c))) {
    m->backend.shard->stats.connects_refused_user++;
    reply_refuse(reply, REASON_QUOTA_EXCEEDED, &by_user);
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
  static const struct verdict by_timeout = {DECIDER_LIMIT, .name = "backend.kill_timeout"};
  client_resume(
      t->client,
      &(struct reply){.reason = REASON_SERVER_UNAVAILABLE, .error = ERROR_KILL_TIMEOUT, .by = &by_timeout});
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

enum backend_status memory_setup(struct backend *b, struct client *c, struct slice id, bool clean,
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

void memory_terminate(struct backend *b, struct client *c, const char *error) {
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

void memory_release_sessions(struct memory *m) {
  struct shard *shard = m->backend.shard;
  while (!list_empty(&m->takeovers))
    takeover_free(container_of(m->takeovers.next, struct takeover, node));
  uint32_t at = 0;
  for (struct session *s; (s = map_each(&m->sessions, &at));) {
    come_online(m, s);
    waiting_drop_all(shard, s);
    index_remove_all(m->index, &s->subscriber);
    shares_leave_all(&m->shares, s);
    session_free(s, &shard->pool);
  }
  map_release(&m->sessions);
}
