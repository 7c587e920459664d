// What holds a client back for a while: failed logins of its address, its own publish rate, the memory of the
// process; and the time of a packet that is not complete. See peers.h, pace.h, pressure.h.
#include "base/mem.h"
#include "broker/client_impl.h"

#define PACKET_BYTES_A_SECOND (16 * 1024)
#define SMALL_BYTES           4096 // of an unfinished packet, which are not counted
#define EPISODE_MS            1000 // a publisher that was not paused for so long has kept to its rate

static void pace_due(struct timer *t);
static void login_resumed(struct login_hold *hold, bool in_time);

static struct client_limits *limits_of(struct client *c) {
  if (c->limits) return c->limits;
  struct client_limits *l = c->limits = mem_calloc(1, sizeof *l);
  l->client = c;
  pace_init(&l->pace, pace_due, client_now(c));
  l->hold.resume = login_resumed;
  unfinished_packet_init(&l->unfinished);
  return l;
}

static void tell(struct client *c, const char *error) {
  shard_log(c->shard, (struct log_record){.event = EVENT_CLIENT_ERROR, .client = c, .error = error});
}

// --- logins ---

bool client_may_log_in(struct client *c) {
  struct peers *peers = c->shard->peers;
  if (c->login != CLIENT_LOGIN_NONE) return true;
  if (peers_login_may(peers, &c->remote)) {
    c->login = CLIENT_LOGIN_UNDER_WAY;
    return true;
  }
  c->login = CLIENT_LOGIN_HELD;
  client_pause(c);
  tell(c, ERROR_LOGIN_HELD);
  peers_login_hold(peers, &c->remote, &limits_of(c)->hold);
  return false;
}

static void login_resumed(struct login_hold *hold, bool in_time) {
  struct client *c = container_of(hold, struct client_limits, hold)->client;
  c->login = in_time ? CLIENT_LOGIN_UNDER_WAY : CLIENT_LOGIN_TURNED_AWAY;
  client_unpause(c);
  client_add_work(c, WORK_PROCESS); // reading may not have stopped
}

// What a script or a database could not decide is nobody's wrong guess.
static enum login_outcome outcome_of(const struct reply *reply) {
  if (reply->reason == REASON_SUCCESS) return LOGIN_SUCCEEDED;
  bool wrong = reply->reason == REASON_NOT_AUTHORIZED || reply->reason == REASON_BAD_USER_NAME_OR_PASSWORD;
  return wrong && !reply->error ? LOGIN_FAILED : LOGIN_UNDECIDED;
}

static void end_login(struct client *c, enum login_outcome outcome) {
  if (c->login == CLIENT_LOGIN_UNDER_WAY) peers_login_done(c->shard->peers, &c->remote, outcome);
  c->login = CLIENT_LOGIN_NONE;
}

void client_log_in_done(struct client *c, const struct reply *reply) { end_login(c, outcome_of(reply)); }

// --- publishes ---

static void resume_pace(struct client *c) {
  struct pace *p = &c->limits->pace;
  p->paused = false;
  p->paused_ms = client_now(c);
  timer_disarm(&c->shard->loop->timers, &p->timer);
  client_unpause(c);
}

static void update_pace(struct client *c) {
  struct pace *p = &c->limits->pace;
  uint64_t wait_ms = pace_wait_ms(p, client_settings(c), client_now(c));
  if (wait_ms)
    timer_arm(&c->shard->loop->timers, &p->timer, client_now(c) + wait_ms);
  else
    resume_pace(c);
}

static void pace_due(struct timer *t) {
  struct pace *p = container_of(t, struct pace, timer);
  update_pace(container_of(p, struct client_limits, pace)->client);
}

void client_pace_changed(struct client *c) {
  if (c->limits && c->limits->pace.paused) update_pace(c);
}

void client_charge_publish(struct client *c, size_t bytes) {
  struct pace *p = &limits_of(c)->pace;
  uint64_t wait_ms = pace_publish(p, client_settings(c), bytes, client_now(c));
  if (!wait_ms || p->paused) return;
  bool begins = !p->paused_ms || client_now(c) - p->paused_ms >= EPISODE_MS;
  p->paused = true;
  client_pause(c);
  timer_arm(&c->shard->loop->timers, &p->timer, client_now(c) + wait_ms);
  c->shard->stats.publishes_throttled++;
  if (begins) tell(c, ERROR_PUBLISH_RATE);
}

static bool hold_for_memory(struct client *c) {
  c->waits_for_memory = true;
  c->shard->stats.publishes_held_memory++;
  tell(c, ERROR_MEMORY_HELD);
  return false;
}

// QoS 0 is dropped, unless a topic that is to be remembered comes with it.
static bool takes_memory(const struct packet_message *m) {
  return m->qos || (m->topic.len && packet_has_property(&m->properties, PROPERTY_TOPIC_ALIAS));
}

bool client_may_publish(struct client *c, const struct packet *p) {
  return p->type != PACKET_PUBLISH || !takes_memory(&p->publish.message) || hold_for_memory(c);
}

void client_memory_changed(struct client *c) {
  if (!c->waits_for_memory || c->shard->pressure.high) return;
  c->waits_for_memory = false;
  client_continue(c);
}

// --- unfinished packets ---

void client_packet_began(struct client *c) {
  if (!c->shard->settings.packet_time_ms) return;
  c->packet_since = client_stamp(c);
  if (c->state <= CLIENT_CONNECTED) client_arm(c, client_now(c) + c->shard->settings.packet_time_ms);
}

bool client_packet_is_late(struct client *c) {
  uint64_t time_ms = c->shard->settings.packet_time_ms;
  if (!time_ms) return false;
  ssize_t size = packet_peek_size(buf_slice(c->unread)); // 0 when not even that is known
  if (size > 0) time_ms += (uint64_t)size * 1000 / PACKET_BYTES_A_SECOND;
  uint32_t passed_ms = client_passed_ms(c, c->packet_since);
  if (passed_ms >= time_ms) return true;
  client_arm(c, client_now(c) + time_ms - passed_ms);
  return false;
}

static uint32_t unfinished_bytes(const struct client *c) {
  if (!c->unread || c->unread->cap <= SMALL_BYTES) return 0;
  ssize_t size = packet_peek_size(buf_slice(c->unread));
  bool whole = size > 0 && (size_t)size <= c->unread->len; // it only waits
  return whole ? 0 : (uint32_t)c->unread->cap;
}

void client_count_unread(struct client *c) {
  uint32_t bytes = unfinished_bytes(c);
  if (!bytes && !c->limits) return;
  unfinished_update(&c->shard->unfinished, &limits_of(c)->unfinished, bytes);
}

static struct client *owner_of(struct unfinished_packet *p) {
  return container_of(p, struct client_limits, unfinished)->client;
}

uint64_t client_close_unfinished(struct shard *s, uint64_t bytes) {
  uint64_t before = s->unfinished.bytes;
  struct unfinished_packet *p;
  while (before - s->unfinished.bytes < bytes && (p = unfinished_largest(&s->unfinished))) {
    struct client *c = owner_of(p);
    s->stats.unfinished_bytes_exceeded++;
    client_fail_with(c, EVENT_CLIENT_ERROR, REASON_QUOTA_EXCEEDED, ERROR_UNFINISHED_BYTES);
    client_drop_unread(c);
  }
  return before - s->unfinished.bytes;
}

void client_leave_limits(struct client *c) {
  struct client_limits *l = c->limits;
  if (l) timer_disarm(&c->shard->loop->timers, &l->pace.timer);
  if (c->login == CLIENT_LOGIN_HELD) peers_login_cancel(c->shard->peers, &c->remote, &l->hold);
  end_login(c, LOGIN_UNDECIDED);
  peers_leave(c->shard->peers, &c->remote);
}
