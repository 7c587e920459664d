// To the peer: at the end of a turn all that a client may be sent now is encoded into the shard's scratch
// buffer, large payloads stay where they are, and one system call hands it over.
//
//   control packets | resends | deliveries from the backend ...
//   [ scratch .......................][payload][ scratch ...]      <- iovecs of one gather
#include <assert.h>

#include "base/mem.h"
#include "broker/client_impl.h"
#include "broker/inflight.h"

#define REFUSED_A_FLUSH 1000 // deliveries that rules refuse in one flush
#define GATHER_IOV      64
#define GATHER_MAX                                                                                           \
  65536 // bytes that a flush gathers, and one packet more: what a peer that does not read costs
#define PAYLOAD_COPY 16384 // payloads up to this size are copied to the scratch buffer
#define EXTRA_MAX    16    // of properties that are made for one receiver: expiry, topic alias
#define EXPIRY_SIZE  5
#define ALIAS_SIZE   5 // with what the lengths before it may grow
#define PACKET_ROOM  (PACKET_PUBLISH_HEADER_MAX + 65535 + EXTRA_MAX + 2 * PAYLOAD_COPY)
#define PACKET_IOVS  5
#define CONTROL_MAX  65536 // of answers that wait before the client is no longer read

struct gather {
  struct client *client;
  size_t used; // of the scratch buffer
  size_t run;  // where the run of scratch bytes began that is not in iov yet
  size_t total;
  uint32_t deliveries;
  struct buf *control; // taken off the client: what is queued meanwhile goes into the next gather
  int count;
  struct iovec iov[GATHER_IOV];
  void *owners[GATHER_IOV]; // the messages whose payloads are in iov; NULL for other bytes
};

// --- control packets ---

struct buf *client_control(struct client *c) {
  if (!c->control) c->control = shard_take_buf(c->shard);
  client_wake(c);
  return c->control;
}

// Nothing follows a DISCONNECT [MQTT5-3.14.4-1], also what was decided after it.
static bool has_ended(const struct client *c) { return c->v5 && c->v5->disconnect_sent; }

bool client_send(struct client *c, const struct packet *p) {
  if (has_ended(c)) return true;
  struct buf *control = client_control(c);
  size_t before = control->len;
  packet_encode(p, c->version ? c->version : MQTT_3_1_1, control);
  if (c->v5 && control->len - before > c->v5->maximum_packet_size) { // [MQTT-3.1.2-24]
    control->len = before;
    return false;
  }
  c->shard->stats.packets_sent++;
  return true;
}

// What is left out first where a packet has too little room.
enum telling { TELL_ALL, TELL_NO_REASON_STRING, TELL_NEEDED, TELL_LEAST, TELLINGS };

static bool is_told(uint8_t id, enum telling telling) {
  switch (id) {
  case PROPERTY_REASON_STRING: return telling == TELL_ALL;
  case PROPERTY_USER_PROPERTY: return telling < TELL_NEEDED;
  case PROPERTY_SERVER_REFERENCE: return telling < TELL_LEAST;
  default: return true;
  }
}

static void add_told(struct buf *raw, const struct buf *told, enum telling telling) {
  struct slice rest = buf_slice(told);
  const uint8_t *from = rest.ptr;
  for (struct packet_property p; packet_next_property(&rest, &p); from = rest.ptr)
    if (is_told(p.id, telling)) buf_add(raw, from, (size_t)(rest.ptr - from));
}

// A client may ask for no problem information but where it ends [MQTT5-3.1.2-29].
static enum telling first_telling(const struct client *c, uint8_t type) {
  bool ends = type == PACKET_CONNACK || type == PACKET_DISCONNECT;
  return c->v5->wants_problem_information || ends ? TELL_ALL : TELL_NEEDED;
}

static struct packet_properties *properties_of(struct packet *p) {
  switch (p->type) {
  case PACKET_CONNACK: return &p->connack.properties;
  case PACKET_SUBACK:
  case PACKET_UNSUBACK: return &p->suback.properties; // at the same place in both
  default: return &p->ack.properties;
  }
}

// Where else the client is to go comes from the settings.
static void add_reference(const struct client *c, const struct packet *p, struct buf *told) {
  if (p->type == PACKET_CONNACK) client_5_add_reference(c, p->connack.code, told);
  if (p->type == PACKET_DISCONNECT) client_5_add_reference(c, p->ack.reason, told);
}

static bool send_as_told(struct client *c, struct packet *p, const struct buf *told, enum telling telling) {
  struct packet_properties *properties = properties_of(p), own = *properties;
  struct buf raw = BUF_INIT;
  buf_add_slice(&raw, own.raw);
  add_told(&raw, told, telling);
  *properties = packet_properties_of(buf_slice(&raw));
  bool sent = client_send(c, p);
  *properties = own;
  buf_release(&raw);
  return sent;
}

bool client_send_telling(struct client *c, struct packet *p, const struct buf *told) {
  if (!c->v5) return client_send(c, p);
  struct buf all = BUF_INIT;
  add_reference(c, p, &all);
  if (told) buf_add_slice(&all, buf_slice(told));
  bool sent = false;
  if (!all.len) sent = client_send(c, p);
  for (int telling = (int)first_telling(c, p->type); all.len && !sent && telling < TELLINGS; telling++)
    sent = send_as_told(c, p, &all, (enum telling)telling); // [MQTT5-3.2.2-19, -20]
  buf_release(&all);
  return sent;
}

void client_send_ack(struct client *c, uint8_t type, uint16_t id, uint8_t reason) {
  if (has_ended(c)) return;
  if (reason && c->version == MQTT_5) {
    client_send(c, &(struct packet){.type = type, .id = id, .ack = {.reason = reason_for(type, reason)}});
    return;
  }
  uint8_t ack[4];
  buf_add(client_control(c), ack, packet_put_ack(ack, type, id));
  c->shard->stats.packets_sent++;
}

void client_send_disconnect(struct client *c, const struct buf *told) {
  uint8_t reason = c->reason ? c->reason : client_5_reason(c->error);
  struct packet p = {.type = PACKET_DISCONNECT, .ack = {.reason = reason_for(PACKET_DISCONNECT, reason)}};
  client_send_telling(c, &p, told);
  c->v5->disconnect_sent = true;
}

bool client_output_full(const struct client *c) {
  return c->control && c->control->len > CONTROL_MAX && conn_blocked(c->conn);
}

static void log_control(struct client *c, const struct buf *control) {
  struct slice rest = buf_slice(control);
  uint8_t version = c->version ? c->version : MQTT_3_1_1;
  struct packet p;
  for (ssize_t n; (n = packet_decode(&p, rest, version, PACKET_MAX_SIZE)) > 0;
       rest = slice_from(rest, (size_t)n))
    shard_log(c->shard,
              (struct log_record){.event = EVENT_PACKET_SENT, .client = c, .packet = &p, .version = version});
}

// --- gathering ---

// Not the arrays: this is done for each flush.
static void gather_init(struct gather *g, struct client *c) {
  g->client = c;
  g->used = g->run = g->total = 0;
  g->deliveries = 0;
  g->count = 0;
  g->control = NULL;
}

static uint8_t *scratch_end(const struct gather *g) { return g->client->shard->scratch + g->used; }

static void take(struct gather *g, size_t len) {
  g->used += len;
  g->total += len;
}

static void add_iov(struct gather *g, const void *ptr, size_t len, struct message *owner) {
  g->iov[g->count] = (struct iovec){(void *)(uintptr_t)ptr, len};
  g->owners[g->count++] = owner;
}

static void end_run(struct gather *g) {
  if (g->used == g->run) return;
  add_iov(g, g->client->shard->scratch + g->run, g->used - g->run, NULL);
  g->run = g->used;
}

// Payload or properties of a message.
static void add_part(struct gather *g, struct slice part, struct message *m) {
  if (part.len <= PAYLOAD_COPY) {
    if (part.len) memcpy(scratch_end(g), part.ptr, part.len);
    take(g, part.len);
    return;
  }
  end_run(g);
  add_iov(g, part.ptr, part.len, message_ref(m));
  g->total += part.len;
}

static bool has_room(const struct gather *g) {
  return g->total < GATHER_MAX && g->used + PACKET_ROOM <= SHARD_SCRATCH_SIZE &&
         g->count + PACKET_IOVS <= GATHER_IOV;
}

// The control bytes go first. They stay where they are, in an iovec of their own, when they are many.
static void add_control(struct gather *g) {
  struct client *c = g->client;
  struct buf *control = g->control = c->control;
  if (!control) return;
  c->control = NULL;
  if (shard_wants(c->shard, EVENT_PACKET_SENT)) log_control(c, control);
  if (control->len <= PAYLOAD_COPY) {
    memcpy(scratch_end(g), control->ptr, control->len);
    take(g, control->len);
  } else {
    add_iov(g, control->ptr, control->len, NULL);
    g->total += control->len;
  }
}

// --- deliveries ---

static void log_delivery(struct client *c, const struct delivery *d, uint16_t id, bool dup, bool dequeued) {
  if (!(c->shard->log_mask &
        (1u << EVENT_MESSAGE_DEQUEUED | 1u << EVENT_PACKET_SENT | 1u << EVENT_MESSAGE_FORWARDED)))
    return;
  struct packet_message view = delivery_view(d);
  struct packet p = {.type = PACKET_PUBLISH, .id = id, .publish = {.message = view, .dup = dup}};
  struct shard *s = c->shard;
  if (dequeued)
    shard_log(s, (struct log_record){.event = EVENT_MESSAGE_DEQUEUED, .client = c, .message = &view});
  shard_log(
      s, (struct log_record){.event = EVENT_PACKET_SENT, .client = c, .packet = &p, .version = c->version});
  if (dequeued)
    shard_log(s, (struct log_record){.event = EVENT_MESSAGE_FORWARDED, .client = c, .message = &view});
}

// The size of a delivery to an MQTT 5 client without an alias.
static size_t delivery_size(const struct delivery *d) {
  const struct message *m = d->message;
  size_t expiry = m->expiry_s == MESSAGE_NEVER ? 0 : EXPIRY_SIZE;
  return packet_publish_size(d->qos, m->topic_len, m->properties_len + expiry, m->payload_len, MQTT_5);
}

// One that is too large for the client counts as sent [MQTT-3.1.2-24, -25].
static bool fits(struct client *c, const struct delivery *d) {
  if (!c->v5 || c->v5->maximum_packet_size == UINT32_MAX || delivery_size(d) <= c->v5->maximum_packet_size)
    return true;
  c->shard->stats.messages_dropped_size++;
  c->session->dropped++;
  return false;
}

static bool may_have_alias(const struct client *c, const struct delivery *d) {
  uint32_t most = c->v5->maximum_packet_size;
  return most == UINT32_MAX || delivery_size(d) + ALIAS_SIZE <= most;
}

// Properties of this delivery alone: what is left of the expiry [MQTT-3.3.2-6], and an alias, on which a
// packet that is sent again does not rely. Returns the topic that goes with them.
static struct slice make_extra(struct client *c, const struct delivery *d, bool dup, struct buf *extra) {
  const struct message *m = d->message;
  struct slice topic = message_topic(m);
  if (m->expiry_s != MESSAGE_NEVER)
    packet_add_number(extra, PROPERTY_MESSAGE_EXPIRY_INTERVAL, message_expires_in(m, client_now(c)));
  struct alias_use use = {0};
  if (!dup && may_have_alias(c, d)) use = aliases_use(&c->v5->outgoing, topic);
  if (use.alias) packet_add_number(extra, PROPERTY_TOPIC_ALIAS, use.alias);
  return use.known ? slice_of(topic.ptr, 0) : topic;
}

static void add_publish_5(struct gather *g, const struct delivery *d, uint16_t id, bool dup) {
  struct message *m = d->message;
  uint8_t bytes[EXTRA_MAX];
  struct buf extra = {bytes, 0, sizeof bytes};
  struct slice topic = make_extra(g->client, d, dup, &extra);
  struct slice properties = slice_of(m->bytes + m->topic_len, m->properties_len);
  take(g, packet_put_publish(scratch_end(g), packet_publish_flags(d->qos, d->retain, dup), id, topic,
                             properties.len + extra.len, m->payload_len, MQTT_5));
  add_part(g, properties, m);
  memcpy(scratch_end(g), bytes, extra.len);
  take(g, extra.len);
}

static bool has_properties(const struct client *c, const struct message *m) {
  return c->v5 && (m->properties_len || m->expiry_s != MESSAGE_NEVER || c->v5->outgoing.maximum);
}

static void add_publish(struct gather *g, const struct delivery *d, uint16_t id, bool dup) {
  struct message *m = d->message;
  if (has_properties(g->client, m))
    add_publish_5(g, d, id, dup);
  else
    take(g, packet_put_publish(scratch_end(g), packet_publish_flags(d->qos, d->retain, dup), id,
                               message_topic(m), 0, m->payload_len, g->client->version));
  g->deliveries++;
  add_part(g, message_payload(m), m);
  g->client->shard->stats.packets_sent++;
  g->client->shard->stats.messages_sent++;
}

// A message whose time is over is not sent [MQTT-3.3.2-5].
static bool is_wanted(struct client *c, const struct delivery *d) {
  if (!message_expired(d->message, client_now(c))) return fits(c, d);
  c->shard->stats.messages_expired++;
  return false;
}

// False: it could not be saved, and is the next of the queue again.
static bool save_outgoing(struct client *c, const struct delivery *d, uint16_t *id) {
  struct stored packet = {.message = d->message,
                          .group = d->group,
                          .type = PACKET_PUBLISH,
                          .qos = d->qos & 3,
                          .retain = d->retain,
                          .counted = true};
  bool has_id = inflight_next_id(c, &packet.id);
  *id = packet.id;
  if (has_id) message_ref(d->message);
  if (has_id && inflight_save(c, OUTGOING, packet)) return true;
  session_push_front(c->session, &c->shard->pool, *d);
  return false;
}

// Sends one message, and keeps it in the session until it is acknowledged if it has a QoS. Takes over the
// reference. False: the client is closing.
static bool deliver(struct gather *g, const struct delivery *d) {
  struct client *c = g->client;
  uint16_t id = 0;
  if (!is_wanted(c, d)) {
    message_unref(d->message);
    return true;
  }
  if (d->qos && !save_outgoing(c, d, &id)) return false;
  add_publish(g, d, id, false);
  log_delivery(c, d, id, false, true);
  message_unref(d->message);
  return true;
}

// Before MQTT 5 in one order; there a PUBREL must not wait for the acknowledgements that a PUBLISH waits for
// [MQTT-3.3.4-10].
void client_start_resend(struct client *c) {
  const struct store *outgoing = &c->session->outgoing;
  uint32_t count = outgoing->count;
  if (!count) return;
  struct stored *list = mem_alloc(count * sizeof *list);
  store_all(outgoing, list);
  c->resend = mem_calloc(1, sizeof *c->resend + count * sizeof c->resend->ids[0]);
  for (uint32_t i = 0; i < count; i++)
    if (!c->v5 || list[i].type == PACKET_PUBREL) c->resend->ids[c->resend->count++] = list[i].id;
  for (uint32_t i = 0; c->v5 && i < count; i++)
    if (list[i].type == PACKET_PUBLISH) c->resend->ids[c->resend->count++] = list[i].id;
  mem_free(list);
}

// The client takes no further message of QoS 1 or 2 before it has acknowledged one.
static bool quota_is_used_up(const struct client *c) {
  return c->v5 && c->session->outgoing.counted >= c->v5->receive_maximum;
}

static void resend_pubrel(struct gather *g, uint16_t id) {
  struct client *c = g->client;
  struct packet p = {.type = PACKET_PUBREL, .id = id};
  take(g, packet_put_ack(scratch_end(g), PACKET_PUBREL, id));
  c->shard->stats.packets_sent++;
  shard_log(c->shard, (struct log_record){
                          .event = EVENT_PACKET_SENT, .client = c, .packet = &p, .version = c->version});
}

// Also when its time is over [MQTT-4.3.3-7]. One that was sent may be too large for a new connection.
static void resend_publish(struct gather *g, const struct stored *entry) {
  struct client *c = g->client;
  struct delivery d = {message_ref(entry->message), entry->qos, entry->retain, entry->group};
  uint16_t id = entry->id; // a log hook may change the store
  if (fits(c, &d)) {
    store_count(&c->session->outgoing, id);
    add_publish(g, &d, id, true);
    log_delivery(c, &d, id, true, false);
  } else {
    inflight_delete(c, OUTGOING, id);
  }
  message_unref(d.message);
}

// Stored packets are sent again before anything else [MQTT-4.4.0-1]; what was acknowledged meanwhile is
// passed over.
static void add_resends(struct gather *g) {
  struct client *c = g->client;
  while (c->resend && has_room(g)) {
    if (c->resend->at == c->resend->count) {
      mem_free(c->resend);
      c->resend = NULL;
      return;
    }
    const struct stored *entry = store_lookup(&c->session->outgoing, c->resend->ids[c->resend->at]);
    if (entry && entry->type == PACKET_PUBLISH && quota_is_used_up(c)) return;
    c->resend->at++;
    if (!entry) continue;
    if (entry->type == PACKET_PUBREL)
      resend_pubrel(g, entry->id);
    else
      resend_publish(g, entry);
  }
}

static bool something_waits(const struct client *c) {
  return c->session && (c->session->queue.count || c->session->replays || c->resend);
}

static bool window_open(const struct client *c) {
  const struct client_settings *settings = client_quick_settings(c);
  return !quota_is_used_up(c) && c->session->outgoing.count < settings->inflight_messages &&
         c->session->outgoing_bytes < settings->inflight_bytes;
}

static inline bool is_for_client(struct client *c, struct delivery *d) {
  return !client_has_rules(c) || access_allows_delivery(c, d);
}

// Returns false when there is more that may be sent now.
static bool add_deliveries(struct gather *g) {
  struct client *c = g->client;
  const struct backend_ops *ops = client_ops(c);
  int refused = 0;
  while (window_open(c)) {
    if (!has_room(g) || refused == REFUSED_A_FLUSH) return !something_waits(c);
    struct delivery d;
    if (!ops->dequeue(c->shard->backend, c, &d)) return true; // the backend wakes the client when it has more
    if (is_for_client(c, &d)) {
      if (!deliver(g, &d)) return true;
    } else {
      message_unref(d.message);
      refused++;
    }
  }
  return true;
}

static void ref_owner(void *owner) { message_ref(owner); }
static void unref_owner(void *owner) { message_unref(owner); }

static void hand_over(struct gather *g) {
  struct client *c = g->client;
  end_run(g);
  struct conn_lent lent = {g->owners, ref_owner, unref_owner};
  if (g->count) conn_write(c->conn, g->iov, g->count, &lent);
  c->shard->stats.bytes_sent += g->total;
  for (int i = 0; i < g->count; i++)
    if (g->owners[i]) message_unref(g->owners[i]);
  if (g->control) shard_give_buf(c->shard, g->control);
}

static void note_inflight_bytes(struct client *c) {
  if (!c->session || c->session->outgoing_bytes < client_quick_settings(c)->inflight_bytes) return;
  c->shard->stats.inflight_bytes_reached++;
  shard_log(c->shard,
            (struct log_record){.event = EVENT_CLIENT_ERROR, .client = c, .error = ERROR_INFLIGHT_BYTES});
}

// The time that a message waits for the client's acknowledgements or for the client to read.
static void update_dequeue_clock(struct client *c) {
  bool blocked =
      conn_blocked(c->conn) || c->conn->broken || (c->session && something_waits(c) && !window_open(c));
  if (!blocked) {
    c->dequeue_blocked = 0;
  } else if (!c->dequeue_blocked && c->state == CLIENT_CONNECTED) {
    note_inflight_bytes(c);
    c->dequeue_blocked = client_stamp(c);
    client_update_timer(c);
  }
}

static void go_on_restored(struct client *c) {
  c->restoring = c->restore_runs = false;
  if (!client_closing(c)) client_continue(c);
}

// CONNACK and the stored packets are on their way: what was queued follows. False: not yet.
static bool restore(struct client *c) {
  c->restore_runs = true;
  if (client_ops(c)->restore(c->shard->backend, c) == BACKEND_PENDING) return false;
  go_on_restored(c);
  return true;
}

void client_restored(struct client *c) {
  assert(c->restore_runs);
  c->last_packet = client_stamp(c);
  if (c->dequeue_blocked) c->dequeue_blocked = client_stamp(c);
  go_on_restored(c);
  client_update_timer(c);
  if (!client_closing(c)) client_wake(c);
}

static bool may_deliver(const struct client *c) {
  if (!c->session || has_ended(c)) return false;
  return (c->state == CLIENT_CONNECTED || c->state == CLIENT_CLOSING) && !c->adopting;
}

void client_flush(struct client *c) {
  if (!c->conn || c->shard->flushing) return;
  if (client_is_orphan(c)) client_adopt(c);
  if (conn_blocked(c->conn)) {
    update_dequeue_clock(c);
    return;
  }
  c->shard->flushing = true;
  struct gather g;
  gather_init(&g, c);
  add_control(&g);
  bool done = true;
  bool delivers = may_deliver(c);
  if (delivers) add_resends(&g);
  bool stuck = c->resend && quota_is_used_up(c); // until the client acknowledges
  if (c->resend)
    done = stuck || !delivers; // client_adopted wakes it
  else if (delivers && !c->restoring)
    done = add_deliveries(&g);
  if (g.deliveries) c->dequeue_blocked = 0;
  hand_over(&g);
  c->shard->flushing = false;
  bool sent_again = delivers && c->restoring && !c->restore_runs && (!c->resend || stuck);
  if (sent_again && restore(c)) {
    client_flush(c);
    return;
  }
  update_dequeue_clock(c);
  if (!done && !conn_blocked(c->conn) && c->state == CLIENT_CONNECTED) client_add_work(c, WORK_FLUSH);
}

void client_wake(struct client *c) { client_add_work(c, WORK_FLUSH); }

void client_pause(struct client *c) { c->pauses++; }

void client_unpause(struct client *c) {
  assert(c->pauses);
  if (--c->pauses == 0) {
    c->last_packet = client_stamp(c);
    if (c->dequeue_blocked) c->dequeue_blocked = client_stamp(c);
    client_update_timer(c);
    if (!client_closing(c)) client_continue(c);
  }
}
