#include "broker/client.h"

#include <assert.h>

#include "base/mem.h"
#include "broker/client_impl.h"
#include "broker/inflight.h"
#include "broker/will.h"
#include "packet/packet.h"

#define LINGER_MS 5000 // for the last bytes of a client that is closed

// --- references and facts ---

struct client *client_ref(struct client *c) {
  c->refs++;
  return c;
}

static void drop_pending(struct client *c) {
  if (!c->pending) return;
  if (c->pending->message) message_unref(c->pending->message);
  if (c->pending->packet) shard_give_buf(c->shard, c->pending->packet);
  mem_free(c->pending);
  c->pending = NULL;
}

void client_unref(struct client *c) {
  if (--c->refs) return;
  assert(c->state == CLIENT_CLOSED && !c->session && !c->conn);
  drop_pending(c);
  if (c->script) c->shard->script_released(c->script);
  mem_free(c->identity);
  mem_free(c->own_settings);
  mem_free(c->limits);
  access_free(c->access);
  client_5_free(c->v5);
  mem_free(c);
}

struct shard *client_shard(const struct client *c) {
  return c->shard;
}

struct slice client_id(const struct client *c) {
  if (c->identity) return slice_of(c->identity->bytes, c->identity->id_len);
  return c->session ? session_id(c->session) : slice_of(NULL, 0);
}

struct slice client_username(const struct client *c) {
  if (!c->identity || !c->identity->has_username) return slice_of(NULL, 0);
  return slice_of(c->identity->bytes + c->identity->id_len, c->identity->username_len);
}

uint8_t client_version(const struct client *c) { return c->version; }
uint16_t client_keep_alive(const struct client *c) { return c->keep_alive; }
bool client_clean_session(const struct client *c) { return c->clean; }
bool client_sent_password(const struct client *c) { return c->sent_password; }
uint32_t client_session_expiry(const struct client *c) {
  if (c->v5) return c->v5->session_expiry_s;
  return c->clean ? 0 : SESSION_FOR_EVER;
}

const struct client_5 *client_5(const struct client *c) { return c->v5; }

struct slice client_authentication_method(const struct client *c) {
  return c->v5 && c->v5->auth ? client_auth_method(c->v5->auth) : slice_of(NULL, 0);
}

struct session *client_session(const struct client *c) {
  return c->session;
}
const struct address *client_remote_address(const struct client *c) { return &c->remote; }

const struct conn *client_conn(const struct client *c) { return c->conn; }

void client_local_address(const struct client *c, struct address *out) {
  if (c->conn)
    conn_local_address(c->conn, out);
  else
    *out = (struct address){0};
}

const struct message *client_will(const struct client *c) { return c->will; }

const struct client_settings *client_settings(const struct client *c) { return client_quick_settings(c); }

void client_cap_keep_alive(struct client *c) {
  const struct client_settings *s = client_settings(c);
  uint32_t maximum = s->maximum_keep_alive_ms / 1000;
  if ((!s->maximum_keep_alive_set && !c->v5) || !maximum) return; // MQTT 5 clients are told of it
  if (!c->keep_alive || c->keep_alive > maximum)
    c->keep_alive = (uint16_t)(maximum > UINT16_MAX ? UINT16_MAX : maximum);
}

static void settings_changed(struct client *c) {
  client_update_timer(c);
  client_pace_changed(c);
  client_continue(c);
}

void client_change_settings(struct client *c, const struct client_settings *settings) {
  if (!c->own_settings) c->own_settings = mem_alloc(sizeof *c->own_settings);
  *c->own_settings = *settings;
  client_cap_keep_alive(c);
  settings_changed(c);
}

// A keep alive in force stays: the client could not know of another one, and would be taken for gone.
void client_settings_changed(struct client *c) {
  if (c->state <= CLIENT_CONNECTED && !c->own_settings) settings_changed(c);
}

bool client_closing(const struct client *c) { return c->state >= CLIENT_CLOSING; }
bool client_closed(const struct client *c) { return c->state == CLIENT_CLOSED; }
const char *client_error(const struct client *c) { return c->error; }

void client_set_script(struct client *c, void *object, void (*released)(void *object)) {
  c->script = object;
  c->shard->script_released = released;
}

void *client_script(const struct client *c) { return c->script; }

// The id is kept here only as long as no session keeps it.
static struct identity *identity_new(struct slice id, struct slice username, bool has_username) {
  struct identity *i = mem_alloc(sizeof *i + id.len + username.len);
  i->id_len = (uint16_t)id.len;
  i->username_len = (uint16_t)username.len;
  i->has_username = has_username;
  if (id.len) memcpy(i->bytes, id.ptr, id.len);
  if (username.len) memcpy(i->bytes + id.len, username.ptr, username.len);
  return i;
}

void client_set_identity(struct client *c, struct slice id, const struct packet_connect *connect) {
  c->identity = identity_new(id, connect->username, connect->has_username);
  c->clean = connect->clean_session;
  c->sent_password = connect->has_password;
  c->keep_alive = connect->keep_alive;
}

// Whether the limit is set may change meanwhile.
static void count_user(struct client *c) {
  if (!c->shard->settings.connections_per_user || !client_username(c).ptr) return;
  users_enter(&c->shard->users, client_username(c));
  c->user_counted = true;
}

static void uncount_user(struct client *c) {
  if (c->user_counted) users_leave(&c->shard->users, client_username(c));
  c->user_counted = false;
}

void client_attach(struct client *c, struct session *s) {
  session_attach(s, c, &c->session);
  c->set_up = true;
  c->session_is_old = s->reign != c->shard->reign; // it was stored under another backend
  c->shard->stats.clients++;
  count_user(c);
  if (c->identity && !c->identity->has_username) {
    mem_free(c->identity);
    c->identity = NULL;
  }
}

void client_detach(struct client *c) {
  if (!c->identity) c->identity = identity_new(session_id(c->session), slice_of(NULL, 0), false);
  session_detach(c->session, &c->session);
  uncount_user(c);
}

// --- life ---

static void timer_fired(struct timer *t) { client_update_timer(container_of(t, struct client, timer)); }

struct client *client_new(struct shard *s, struct conn *conn, const struct address *remote) {
  struct client *c = mem_calloc(1, sizeof *c);
  c->shard = s;
  c->conn = conn;
  c->refs = 1;
  c->reign = s->reign;
  c->remote = *remote;
  list_append(&s->clients, &c->node);
  list_init(&c->work_node);
  timer_init(&c->timer, timer_fired);
  c->last_packet = client_stamp(c);
  s->stats.connections++;
  shard_log(s, (struct log_record){.event = EVENT_NEW_CONNECTION, .client = c});
  client_update_timer(c);
  conn_start(conn, &client_conn_handler, c);
  return c;
}

// One in the backlog keeps its place, unless there is more to do than to go on sending.
void client_add_work(struct client *c, unsigned work) {
  if (c->work & WORK_BACKLOG && work & ~(unsigned)WORK_FLUSH) {
    list_remove(&c->work_node);
    c->work &= (uint8_t)~WORK_BACKLOG;
  }
  if (list_empty(&c->work_node)) list_append(&c->shard->work, &c->work_node);
  c->work |= (uint8_t)work;
}

void client_close(struct client *c, const char *error) { client_close_with(c, 0, error); }

void client_close_with(struct client *c, uint8_t reason, const char *error) {
  client_close_telling(c, reason, NULL, error);
}

void client_close_telling(struct client *c, uint8_t reason, const struct buf *told, const char *error) {
  if (client_closing(c)) return;
  c->error = error ? error : ERROR_CLIENT_CLOSED;
  c->reason = reason;
  if (c->v5 && c->state == CLIENT_CONNECTED && !c->lost && !c->said_goodbye) client_send_disconnect(c, told);
  c->state = CLIENT_CLOSING;
  conn_watch_read(c->conn, false);
  client_add_work(c, WORK_END);
}

void client_fail(struct client *c, enum log_event event, const char *error) {
  client_fail_with(c, event, 0, error);
}

void client_fail_with(struct client *c, enum log_event event, uint8_t reason, const char *error) {
  if (client_closing(c)) return;
  shard_log(c->shard, (struct log_record){.event = event, .client = c, .error = error});
  client_close_with(c, reason, error);
}

void client_fail_telling(struct client *c, enum operation o, uint8_t packet_type, const struct reply *reply) {
  const char *error = reply_text(reply);
  if (client_closing(c)) return;
  shard_log(c->shard, (struct log_record){.event = EVENT_CLIENT_ERROR,
                                          .client = c,
                                          .error = error,
                                          .refusal = reply,
                                          .operation = (uint8_t)o,
                                          .packet_type = packet_type});
  client_close_telling(c, reply->reason, reply->told, error);
}

bool client_adopt(struct client *c) {
  if (!client_is_orphan(c)) return !c->adopting;
  struct shard *s = c->shard;
  bool from_before = c->reign != s->reign;
  c->reign = s->reign;
  c->session_is_old = false;
  inflight_check_keeper(c);
  if (c->session) c->session->reign = s->reign;
  if (!client_ops(c)->adopt) return true;
  c->adopting = true;
  client_pause(c);
  client_ops(c)->adopt(s->backend, c, from_before);
  return !c->adopting && !client_closing(c);
}

void client_adopted(struct client *c) {
  c->adopting = false;
  client_unpause(c);
  if (!client_closing(c)) client_wake(c);
}

bool client_is_busy(const struct client *c) { return c->pending != NULL; }

void client_drop_unread(struct client *c) {
  if (!c->unread) return;
  shard_give_buf(c->shard, c->unread);
  c->unread = NULL;
  client_count_unread(c);
}

void client_drop_will(struct client *c) {
  if (c->will) message_unref(c->will);
  c->will = NULL;
}

static void leave_session(struct client *c) {
  if (!c->lost && !conn_blocked(c->conn)) client_flush(c);
  if (c->set_up) {
    will_client_leaves(c);
    client_ops(c)->terminate(c->shard->backend, c, c->error);
    assert(!c->session);
    will_client_left(c);
    c->shard->stats.clients--;
  } else {
    client_drop_will(c);
  }
  mem_free(c->resend);
  c->resend = NULL;
  client_drop_unread(c);
  c->state = CLIENT_LINGERING;
}

static void finish(struct client *c, bool orderly) {
  struct shard *s = c->shard;
  timer_disarm(&s->loop->timers, &c->timer);
  list_remove(&c->work_node);
  list_remove(&c->node);
  c->work = 0;
  if (c->control) {
    shard_give_buf(s, c->control);
    c->control = NULL;
  }
  if (c->pending && c->pending->op != PENDING_WILL) drop_pending(c); // a will is still to be decided
  if (c->v5) client_5_drop_aliases(c->v5);
  client_leave_limits(c);
  conn_close(c->conn, orderly);
  c->conn = NULL;
  c->state = CLIENT_CLOSED;
  s->stats.connections--;
  s->stats.connections_closed++;
  shard_log(s, (struct log_record){.event = EVENT_LOST_CONNECTION, .client = c});
  client_unref(c);
}

void client_end(struct client *c) {
  if (c->state == CLIENT_CLOSING) {
    if (c->entered) return;
    if (client_ops(c)->cancel) client_ops(c)->cancel(c->shard->backend, c);
    if (client_is_busy(c)) return;
    leave_session(c);
  }
  if (!c->lost && c->control && !conn_blocked(c->conn)) client_flush(c);
  if (!c->lost && conn_blocked(c->conn)) {
    c->work &= (uint8_t)~WORK_END; // until the bytes are gone, or their time is over
    c->last_packet = client_stamp(c);
    client_update_timer(c);
    return;
  }
  // One that said goodbye waits for nothing more, unless layers below have a goodbye of their own; others are
  // to get the last bytes before the end.
  finish(c, !c->lost && (!c->said_goodbye || c->conn->ops->carrier));
}

bool client_end_now(struct client *c) {
  client_ref(c);
  if (c->state == CLIENT_CLOSING) client_end(c);
  bool ended = c->state > CLIENT_CLOSING;
  client_unref(c);
  return ended;
}

void client_abort(struct client *c) {
  if (!client_closing(c)) client_close(c, ERROR_CLIENT_CLOSED);
  c->lost = true;
  c->entered = false;
  if (client_ops(c)->cancel) client_ops(c)->cancel(c->shard->backend, c);
  drop_pending(c);
  client_end(c);
}

// --- deadlines ---

void client_arm(struct client *c, uint64_t due_ms) {
  if (timer_armed(&c->timer) && c->timer.due_ms <= due_ms) return;
  timer_arm(&c->shard->loop->timers, &c->timer, due_ms);
}

static bool reading_is_held_up(const struct client *c) { return c->stopped_reading || client_is_waiting(c); }

// One deadline of the client: counts and closes when it has passed, else makes sure that the timer fires in
// time.
static bool passed(struct client *c, uint32_t since, uint64_t limit_ms) {
  uint64_t passed_ms = client_passed_ms(c, since);
  if (passed_ms >= limit_ms) return true;
  client_arm(c, client_now(c) + limit_ms - passed_ms);
  return false;
}

// A peer that takes its bytes slowly is not one that takes none.
static void notice_progress(struct client *c) {
  if (!c->conn->progressed) return;
  c->conn->progressed = false;
  if (c->dequeue_blocked) c->dequeue_blocked = client_stamp(c);
  if (c->publish_blocked && client_output_full(c)) c->publish_blocked = client_stamp(c);
}

static void packet_timed_out(struct client *c) {
  c->shard->stats.packets_timed_out++;
  client_fail(c, EVENT_TRANSPORT_ERROR, ERROR_PACKET_TIMEOUT);
}

static void connect_timed_out(struct client *c) {
  c->shard->stats.connects_timed_out++;
  client_fail(c, EVENT_TRANSPORT_ERROR, "connect timeout");
}

static void check_connected(struct client *c) {
  notice_progress(c);
  struct stats *stats = &c->shard->stats;
  uint32_t timeout = client_settings(c)->token_timeout_ms;
  // Acknowledgements that are not read are not the client's fault; bytes that it does not take are.
  bool dequeues = c->dequeue_blocked && (!client_is_waiting(c) || conn_blocked(c->conn));
  if ((c->publish_blocked && passed(c, c->publish_blocked, timeout)) ||
      (dequeues && passed(c, c->dequeue_blocked, timeout))) {
    stats->tokens_timed_out++;
    client_fail(c, EVENT_CLIENT_ERROR, ERROR_TOKEN_TIMEOUT);
    return;
  }
  if (reading_is_held_up(c)) return;
  if (c->unread && client_packet_is_late(c)) {
    packet_timed_out(c);
    return;
  }
  if (c->keep_alive && passed(c, c->last_packet, c->keep_alive * UINT64_C(1500))) { // [MQTT-3.1.2-24]
    stats->keep_alives_timed_out++;
    client_fail(c, EVENT_TRANSPORT_ERROR, ERROR_KEEP_ALIVE);
  }
}

void client_update_timer(struct client *c) {
  switch (c->state) {
  case CLIENT_NEW:
    if (client_is_waiting(c)) break; // for its login
    if (c->unread && client_packet_is_late(c)) {
      packet_timed_out(c);
    } else if (passed(c, c->last_packet, c->shard->settings.connect_timeout_ms)) {
      connect_timed_out(c);
    }
    break;
  case CLIENT_CONNECTING:
    if (client_is_waiting(c) || !c->v5 || !client_auth_awaits(c->v5->auth)) break;
    if (passed(c, c->last_packet, c->shard->settings.connect_timeout_ms)) connect_timed_out(c);
    break;
  case CLIENT_CONNECTED: check_connected(c); break;
  case CLIENT_LINGERING:
    if (passed(c, c->last_packet, LINGER_MS)) {
      c->lost = true;
      client_add_work(c, WORK_END);
    }
    break;
  default: break;
  }
}
