// From bytes to packets to handlers. Packets are processed in order; when one has to wait (the backend has
// not answered, there is no room, tokens are used up), those behind it stay in `unread` and the connection is
// not read.
#include <errno.h>

#include "base/mem.h"
#include "broker/client_impl.h"
#include "broker/will.h"

#define TURN_BYTES   (4u << 20) // that a turn puts into queues before those who put the most have to wait
#define CLIENT_US    200        // that handling a client's packets may take before the others have a turn
#define DELIVERY_US  500 // the same where they put more than CLIENT_BYTES there: sent together it costs less
#define PACKETS_LOOK 8   // packets between two looks at the time
#define UNREAD_STEP  65536 // most bytes reserved ahead of what a peer has sent of a packet
#define HELD_BYTES   16384 // that are read of a client whose login is held, so that its end is noticed

// --- answers of the backend ---

bool client_is_idle(const struct client *c) {
  return !client_is_waiting(c) && !(c->unread && c->unread->len);
}

void client_hold(struct client *c, uint8_t op, uint16_t id, struct message *m) {
  c->pending = mem_alloc(sizeof *c->pending);
  *c->pending = (struct pending){op, m ? m->qos : 0, id, m, NULL};
}

static void hold_packet(struct client *c, struct slice raw) {
  client_hold(c, PENDING_PACKET, 0, NULL);
  c->pending->packet = shard_take_buf(c->shard);
  buf_add_slice(c->pending->packet, raw);
}

void client_violated(struct client *c, enum log_event event, uint8_t reason, const char *error) {
  if (c->state == CLIENT_CONNECTING)
    client_refuse_connect(c, reason, error);
  else
    client_fail_with(c, event, reason, error);
}

static void packet_decided(struct client *c, struct buf *raw, const struct reply *reply);

void client_resume(struct client *c, const struct reply *reply) {
  struct pending *pending = c->pending;
  if (!pending) {
    if (reply->message) message_unref(reply->message);
    return;
  }
  c->pending = NULL;
  struct pending op = *pending;
  mem_free(pending);
  if (reply->message) {
    message_unref(op.message);
    op.message = reply->message;
  }
  if (op.op == PENDING_WILL) {
    will_decided(c, op.message, reply);
    return;
  }
  c->last_packet = client_stamp(c);
  if (op.op == PACKET_CONNECT) client_log_in_done(c, reply);
  if (op.op == PACKET_PUBLISH)
    client_accepted(c, op.message, op.id, op.qos, reply);
  else if (op.op == PACKET_AUTH)
    client_auth_answered(c, reply);
  else if (op.op == PENDING_PACKET)
    packet_decided(c, op.packet, reply);
  else if (client_closing(c))
    ; // nobody is there to be told
  else if (op.op == PACKET_CONNECT)
    client_authenticated(c, reply);
  else
    client_set_up_done(c, reply);
  if (client_closing(c))
    client_add_work(c, WORK_END);
  else
    client_continue(c);
}

// --- handlers, one for each packet type that a client may send ---

static void on_pingreq(struct client *c, const struct packet *p) {
  (void)p;
  client_send(c, &(struct packet){.type = PACKET_PINGRESP});
}

// Changes the session's expiry if the client asks for it. False: it may not, and is closed for it.
static bool disconnect_expiry(struct client *c, const struct packet *p) {
  uint32_t expiry_s = packet_property_number(&p->ack.properties, PROPERTY_SESSION_EXPIRY_INTERVAL, 0);
  if (!packet_has_property(&p->ack.properties, PROPERTY_SESSION_EXPIRY_INTERVAL)) return true;
  if (expiry_s && !c->v5->session_expiry_s) { // [MQTT-3.14.2-2]
    c->shard->stats.protocol_errors++;
    client_fail_with(c, EVENT_CLIENT_ERROR, REASON_PROTOCOL_ERROR, ERROR_PROTOCOL);
    return false;
  }
  c->v5->session_expiry_s = expiry_s;
  client_ops(c)->expire(c->shard->backend, c, expiry_s);
  return true;
}

static void on_disconnect(struct client *c, const struct packet *p) {
  if (c->v5 && c->session && !disconnect_expiry(c, p)) return;
  bool with_will = c->v5 && p->ack.reason != REASON_SUCCESS;
  if (!with_will) client_drop_will(c); // [MQTT-3.14.4-3]
  c->said_goodbye = true;
  shard_log(c->shard, (struct log_record){.event = EVENT_CLIENT_DISCONNECTED, .client = c});
  client_close(c, ERROR_CLIENT_DISCONNECTED);
}

static const struct row {
  void (*handle)(struct client *c, const struct packet *p);
  uint8_t state;   // the only one in which it is allowed [MQTT-3.1.0-1, MQTT-3.1.0-2] ...
  bool hooked;     // passes the packet callback first
  bool exchanging; // ... but for the exchange of enhanced authentication [MQTT5-3.1.2-30]
} rows[16] = {
    [PACKET_CONNECT] = {client_on_connect, CLIENT_NEW, false, false},
    [PACKET_PUBLISH] = {client_on_publish, CLIENT_CONNECTED, true, false},
    [PACKET_PUBACK] = {client_on_puback, CLIENT_CONNECTED, true, false},
    [PACKET_PUBREC] = {client_on_pubrec, CLIENT_CONNECTED, true, false},
    [PACKET_PUBREL] = {client_on_pubrel, CLIENT_CONNECTED, true, false},
    [PACKET_PUBCOMP] = {client_on_pubcomp, CLIENT_CONNECTED, true, false},
    [PACKET_SUBSCRIBE] = {client_on_subscribe, CLIENT_CONNECTED, true, false},
    [PACKET_UNSUBSCRIBE] = {client_on_unsubscribe, CLIENT_CONNECTED, true, false},
    [PACKET_PINGREQ] = {on_pingreq, CLIENT_CONNECTED, true, false},
    [PACKET_DISCONNECT] = {on_disconnect, CLIENT_CONNECTED, false, true},
    [PACKET_AUTH] = {client_on_auth, CLIENT_CONNECTED, true, true},
};

static bool is_allowed(const struct client *c, const struct row *row) {
  if (!row->handle) return false;
  return row->state == c->state || (row->exchanging && c->state == CLIENT_CONNECTING);
}

static void packet_refused(struct client *c, uint8_t type, const struct reply *reply) {
  if (c->state == CLIENT_CONNECTING) {
    client_set_up_done(c, reply);
    return;
  }
  client_tell_decision(c, type, 0, reply);
  client_fail_telling(c, OPERATION_PACKET, type, reply);
}

// Whether the packet is to be handled.
static bool hook_allows(struct client *c, uint8_t type, const struct reply *reply) {
  if (reply->reason != REASON_SUCCESS && !client_closing(c)) packet_refused(c, type, reply);
  return !client_closing(c);
}

// The hook has taken its time. Its bytes have been decoded before.
static void packet_decided(struct client *c, struct buf *raw, const struct reply *reply) {
  struct packet p;
  packet_decode(&p, buf_slice(raw), c->version, raw->len);
  c->entered = true;
  if (hook_allows(c, p.type, reply)) rows[p.type].handle(c, &p);
  c->entered = false;
  shard_give_buf(c->shard, raw);
}

static void handle(struct client *c, const struct packet *p, struct slice raw) {
  struct shard *s = c->shard;
  const struct row *row = &rows[p->type];
  s->stats.packets_received++;
  if (shard_wants(s, EVENT_PACKET_RECEIVED))
    shard_log(s, (struct log_record){.event = EVENT_PACKET_RECEIVED,
                                     .client = c,
                                     .packet = p,
                                     .version = c->version ? c->version : MQTT_3_1_1});
  if (client_closing(c)) return; // by a log hook
  if (!is_allowed(c, row)) {
    s->stats.protocol_errors++;
    client_violated(c, EVENT_CLIENT_ERROR, REASON_PROTOCOL_ERROR, ERROR_UNEXPECTED_PACKET);
    return;
  }
  if (row->hooked && client_ops(c)->packet) {
    struct reply reply = {0};
    if (client_ops(c)->packet(s->backend, c, p, raw, &reply) == BACKEND_PENDING) {
      hold_packet(c, raw);
      return;
    }
    bool allowed = hook_allows(c, p->type, &reply);
    reply_release(&reply);
    if (!allowed) return;
  }
  row->handle(c, p);
}

// --- reading ---

static bool may_process(const struct client *c) {
  if (c->state > CLIENT_CONNECTED || client_is_waiting(c) || c->waits_for_memory) return false;
  const struct client_settings *settings = client_quick_settings(c);
  // An MQTT 5 client knows how many it may have, and is closed when it sends more.
  bool may_publish = c->v5 || c->publishes < settings->parallel_publishes;
  return may_publish && c->subscribes < settings->parallel_subscribes && !client_output_full(c);
}

static void malformed(struct client *c, struct slice in, int error) {
  uint8_t reason = packet_error_reason(error);
  if (c->state == CLIENT_NEW) client_malformed_connect(c, in, reason);
  if (error == PACKET_TOO_LARGE)
    c->shard->stats.read_limits_exceeded++;
  else
    c->shard->stats.malformed_packets++;
  client_violated(c, EVENT_TRANSPORT_ERROR, reason, packet_strerror(error));
}

struct turn {        // of one client's packets
  uint64_t pushed;   // what was put into queues before
  uint64_t start_us; // 0 until there are some packets
  unsigned packets;
};

static bool has_pushed_much(const struct client *c, const struct turn *t) {
  return c->shard->pool.pushed - t->pushed > CLIENT_BYTES;
}

static bool has_taken_its_time(const struct client *c, struct turn *t) {
  if (++t->packets % PACKETS_LOOK) return false;
  uint64_t now_us = loop_now_us(c->shard->loop);
  if (!t->start_us) t->start_us = now_us;
  return now_us - t->start_us > (has_pushed_much(c, t) ? DELIVERY_US : CLIENT_US);
}

// Whether handling the client's packets has taken long, or they have put so much into queues that sending it
// takes the turn's time: then the rest of them comes after the others.
static bool has_had_its_turn(const struct client *c, struct turn *t) {
  const struct shard *s = c->shard;
  if (s->pool.pushed - s->turn_pushed > TURN_BYTES && has_pushed_much(c, t)) return true;
  return has_taken_its_time(c, t);
}

static void yield(struct client *c) {
  c->yielded = true;
  client_add_work(c, WORK_PROCESS);
}

// Handles packets until one is not complete or has to wait; returns the bytes consumed.
static size_t process(struct client *c, struct slice in) {
  size_t whole = in.len;
  struct turn turn = {.pushed = c->shard->pool.pushed};
  c->entered = true;
  while (in.len && may_process(c) && (!client_is_orphan(c) || client_adopt(c))) {
    const struct shard *s = c->shard;
    bool connected = c->state == CLIENT_CONNECTED;
    size_t limit = connected ? client_quick_settings(c)->read_limit : s->settings.connect_read_limit;
    struct packet p;
    ssize_t n = packet_decode(&p, in, c->state == CLIENT_NEW ? MQTT_3_1_1 : c->version, limit);
    if (n < 0) malformed(c, in, (int)n);
    if (n <= 0) break;
    if (connected ? s->pressure.high && !client_may_publish(c, &p)
                  : p.type == PACKET_CONNECT && !client_may_log_in(c))
      break;
    if (connected) c->last_packet = client_stamp(c);
    struct slice raw = slice_of(in.ptr, (size_t)n);
    in = slice_from(in, (size_t)n);
    handle(c, &p, raw);
    if (has_had_its_turn(c, &turn)) yield(c);
  }
  c->entered = false;
  return whole - in.len;
}

static void keep_unread(struct client *c, struct slice rest) {
  if (!rest.len || client_closing(c)) return;
  bool begins = !c->unread;
  if (begins) c->unread = shard_take_buf(c->shard);
  buf_add_slice(c->unread, rest);
  client_count_unread(c);
  if (begins) client_packet_began(c);
}

// What comes with a login that is held waits like it; only that the peer has gone is to be known at once.
static size_t held_room(const struct client *c) {
  size_t len = c->unread ? c->unread->len : 0;
  return c->login == CLIENT_LOGIN_HELD && len < HELD_BYTES ? HELD_BYTES - len : 0;
}

static bool listens_for_end(const struct client *c) { return held_room(c) && !client_closing(c); }

// Reading stops while packets have to wait, and the time that this takes counts as the client's tokens, never
// as its keep alive.
static void update_reading(struct client *c) {
  if (client_closing(c)) return;
  bool stop = !may_process(c) && !listens_for_end(c);
  bool tokens = stop && !client_is_waiting(c);
  if (stop == c->stopped_reading && tokens == (c->publish_blocked != 0)) return;
  if (stop != c->stopped_reading) {
    c->stopped_reading = stop;
    c->last_packet = client_stamp(c);
    conn_watch_read(c->conn, !stop);
    if (!stop && c->unread) client_packet_began(c);
  }
  c->publish_blocked = tokens ? client_stamp(c) : 0;
  client_update_timer(c);
}

void client_continue(struct client *c) {
  if (!c->stopped_reading) return;
  if (c->unread && may_process(c))
    client_add_work(c, WORK_PROCESS);
  else
    update_reading(c);
}

// What is left is another packet than the one that was unfinished.
static void rest_begins(struct client *c) {
  client_packet_began(c);
  client_count_unread(c);
}

void client_process_unread(struct client *c) {
  c->yielded = false;
  if (client_closing(c)) return;
  if (c->unread && may_process(c)) {
    struct buf *unread = c->unread;
    size_t done = process(c, buf_slice(unread));
    if (c->unread == unread) { // still: closing drops it
      buf_consume(unread, done);
      if (!unread->len)
        client_drop_unread(c);
      else if (done)
        rest_begins(c);
    }
  }
  update_reading(c);
}

// Where the next bytes go: behind those of an unfinished packet as far as that packet reaches, then the
// shared buffer.
static int place_read(struct client *c, struct iovec iov[2]) {
  int n = 0;
  size_t need = 0;
  if (c->unread) {
    ssize_t size = packet_peek_size(buf_slice(c->unread));
    need = size > (ssize_t)c->unread->len ? (size_t)size - c->unread->len : 0;
    size_t step = need;
    if (step > UNREAD_STEP && step > c->unread->len)
      step = c->unread->len > UNREAD_STEP ? c->unread->len : UNREAD_STEP;
    if (step) {
      buf_reserve_exact(c->unread, step);
      client_count_unread(c);
      iov[n++] = (struct iovec){c->unread->ptr + c->unread->len, step};
      if (step < need) return n;
    }
  }
  size_t room = held_room(c);
  iov[n++] = (struct iovec){c->shard->read_buffer, room ? room : SHARD_READ_SIZE};
  return n;
}

static void got(struct client *c, struct iovec iov[2], int count, size_t n) {
  struct slice in = slice_of(c->shard->read_buffer, n);
  if (c->unread) {
    size_t part = 0;
    if (count == 2 || iov[0].iov_base != (void *)c->shard->read_buffer) {
      part = n < iov[0].iov_len ? n : iov[0].iov_len;
      c->unread->len += part;
    }
    in.len = n - part;
    if (!part) { // not even its size is known
      buf_add_slice(c->unread, in);
      in.len = 0;
    }
    client_process_unread(c);
    if (c->unread) { // it waits, or is still not complete
      keep_unread(c, in);
      update_reading(c);
      return;
    }
  }
  if (client_closing(c) || !in.len) return;
  size_t done = process(c, in);
  keep_unread(c, slice_from(in, done));
  update_reading(c);
}

static void lost(struct client *c, const char *error) {
  c->lost = true;
  client_fail(c, EVENT_TRANSPORT_ERROR, error);
}

void client_check_peer(struct client *c) {
  if (!client_closing(c) && c->stopped_reading && conn_is_gone(c->conn)) lost(c, conn_strerror(ECONNRESET));
}

static void readable(struct conn *conn) {
  struct client *c = conn->owner;
  struct iovec iov[2];
  int count = place_read(c, iov);
  ssize_t n = conn_read(conn, iov, count);
  if (n > 0) {
    c->shard->stats.bytes_received += (uint64_t)n;
    got(c, iov, count, (size_t)n);
  } else if (n == 0) {
    lost(c, "connection closed by peer");
  } else if (n != -EAGAIN) {
    lost(c, conn_failure(conn, n));
  }
}

static void writable(struct conn *conn) {
  struct client *c = conn->owner;
  if (c->state == CLIENT_LINGERING) {
    client_add_work(c, WORK_END);
    return;
  }
  c->dequeue_blocked = 0;
  client_add_work(c, WORK_FLUSH);
  client_continue(c);
}

const struct conn_handler client_conn_handler = {readable, writable};
