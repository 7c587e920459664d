// A whole broker under several clients. The input begins with a byte of flags and the settings that are not
// as usual; then it is a row of steps: a byte that says what is done and to which of the clients, and the
// bytes that this step needs. Time moves only where a step says so.
//
// What has to hold: all that the broker sends is well-formed, begins with CONNACK, and is what its receiver
// has said that it takes; what it counts is what is there; and when all clients are gone, after a while no
// connection, no client, no timer and nobody who waits is left.
#include "consistency.h"
#include "decorator.h"
#include "fuzz.h"
#include "packets.h"
#include "receiver.h"

#define PEERS     4
#define HELD_MAX  100
#define MAX_STEPS 2000

enum flag {
  FLAG_WRITE_DELAY = 1,
  FLAG_DISCONNECT_REFUSED = 2,
  FLAG_LOG = 4,
  FLAG_END_AT_ONCE = 8, // the broker ends while they are all there
  FLAG_TRICKLE = 16,    // what is sent arrives byte by byte
  FLAG_STOP = 32,       // the broker stops in order
  FLAG_SLICES = 64,     // messages go out to one session at a time
  FLAG_LOGINS = 128,    // user u with password p, and those without a name
};

struct end { // of a client's connection
  struct memory_peer *memory;
  struct buf received;
  struct receiver receiver;
  uint8_t version; // 0: not known yet, as 3.1.1
  bool let_in, refused, sent_away;
};

struct scene {
  struct harness *h;
  struct decorator slow; // the memory backend, sometimes slow to answer
  struct end ends[PEERS];
  uint64_t memory_bytes; // what the process is told to use
  uint8_t flags;
};

static struct shard *shard_of(const struct scene *s) { return s->h->shard; }

// --- settings ---

struct knob {
  size_t offset, size;
  uint32_t values[4];
};

#define KNOB(name, ...)                                                                                      \
  {                                                                                                          \
    offsetof(struct settings, name), sizeof((struct settings *)0)->name, { __VA_ARGS__ }                     \
  }

// New ones go to the end, so that the corpus keeps its meaning.
static const struct knob knobs[] = {
    KNOB(session_queue_size, 1, 2, 5, 100),
    KNOB(session_queue_bytes, 1, 100, 20000, 70000),
    KNOB(incoming_bytes, 1, 200, 20000, 1 << 20),
    KNOB(full_queue_wait_ms, 0, 1, 1000, 100000),
    KNOB(kill_timeout_ms, 1, 100, 5000, 30000),
    KNOB(connect_timeout_ms, 1, 100, 3000, 60000),
    KNOB(connect_read_limit, 16, 30, 100, 1000),
    KNOB(max_sessions, 0, 1, 2, 3),
    KNOB(max_session_expiry_s, 0, 1, 2, 3600),
    KNOB(max_retained_messages, 0, 1, 2, 5),
    KNOB(max_retained_bytes, 0, 100, 17500, 60000),
    KNOB(topic_levels, 1, 2, 3, 7),
    KNOB(subscriptions, 0, 1, 2, 4),
    KNOB(client.read_limit, 10, 100, 20000, 1 << 20),
    KNOB(client.token_timeout_ms, 1, 100, 3000, 60000),
    KNOB(client.parallel_publishes, 1, 3, 10, 100),
    KNOB(client.parallel_subscribes, 1, 2, 5, 10),
    KNOB(client.inflight_messages, 1, 3, 10, 100),
    KNOB(client.maximum_keep_alive_ms, 1000, 2000, 3000, 100000),
    KNOB(client.maximum_keep_alive_set, 0, 1, 0, 1),
    KNOB(max_write_delay_ms, 1, 50, 200, 10000),
    KNOB(loop_lag_ms, 0, 1, 100, 10000),
    KNOB(full_queue, FULL_QUEUE_WAIT, FULL_QUEUE_DROP_NEW, FULL_QUEUE_DROP_OLD, FULL_QUEUE_DISCONNECT),
    KNOB(topic_length, 1, 3, 5, 7),
    KNOB(connections_per_address, 0, 1, 2, 3),
    KNOB(connections_per_user, 0, 1, 2, 3),
    KNOB(connect_rate_per_address, 0, 1, 2, 10),
    KNOB(failed_logins, 0, 1, 2, 5),
    KNOB(login_delay_ms, 1, 100, 1000, 5000),
    KNOB(login_delay_maximum_ms, 1, 1000, 5000, 60000),
    KNOB(queued_bytes, 0, 1000, 20000, 100000),
    KNOB(packet_time_ms, 0, 100, 1000, 10000),
    KNOB(memory_limit_bytes, 0, 1000, 5000, 20000),
    KNOB(client.inflight_bytes, 1, 100, 20000, 70000),
    KNOB(client.publish_rate, 0, 1, 2, 10),
    KNOB(client.publish_bytes, 0, 100, 1000, 20000), // the debt of what one sends is over before the end
    KNOB(shared_strategy, SHARED_ROUND_ROBIN, SHARED_RANDOM, SHARED_STICKY, SHARED_LEAST_INFLIGHT),
    KNOB(shared_subscriptions, 0, 1, 1, 1),
    KNOB(wildcard_subscriptions, 0, 1, 1, 1),
    KNOB(subscription_identifiers, 0, 1, 1, 1),
    KNOB(retain_available, 0, 1, 1, 1),
    KNOB(check_payload_format, 0, 1, 0, 1),
    KNOB(maximum_qos, 0, 1, 2, 2),
    KNOB(topic_alias_maximum, 0, 1, 2, 3),
    KNOB(topic_aliases, 0, 1, 2, 3),
    KNOB(unfinished_bytes, 0, 1, 5000, 20000),
};

static void turn_knob(struct settings *settings, uint8_t which, uint8_t value) {
  if (which >= sizeof knobs / sizeof *knobs) return;
  const struct knob *k = &knobs[which];
  uint64_t to = k->values[value & 3]; // the machine is little-endian, as everywhere that libFuzzer runs
  memcpy((char *)settings + k->offset, &to, k->size);
}

static void read_settings(struct settings *settings, uint8_t flags, struct slice *in) {
  settings_init(settings);
  settings->session_queue_size = 3;
  settings->incoming_bytes = 5000;
  settings->kill_timeout_ms = 1000;
  settings->max_write_delay_ms = flags & FLAG_WRITE_DELAY ? 10 : 0;
  settings->disconnect_refused_publish = flags & FLAG_DISCONNECT_REFUSED;
  settings->client.inflight_messages = 2;
  settings->client.token_timeout_ms = 3000;
  settings->client.parallel_publishes = 2;
  settings->client.parallel_subscribes = 1;
  settings->client.read_limit = 70000;
  settings->memory_limit_percent = 0;
  memcpy(settings->response_information, "r/%c", sizeof "r/%c");
  for (int count = fuzz_byte(in) & 15; count; count--) {
    uint8_t which = fuzz_byte(in);
    turn_knob(settings, which, fuzz_byte(in));
  }
}

// --- what the broker sends ---

static uint8_t version_of(const struct end *e) { return e->version ? e->version : MQTT_3_1_1; }

static void check_sent(struct end *e, const struct packet *p) {
  switch (p->type) {
  case PACKET_CONNECT:
  case PACKET_SUBSCRIBE:
  case PACKET_UNSUBSCRIBE:
  case PACKET_PINGREQ: CHECK(!"a packet of clients"); break;
  case PACKET_DISCONNECT: CHECK(e->version == MQTT_5); break;
  }
  CHECK(!e->refused && !e->sent_away);
  e->sent_away = p->type == PACKET_DISCONNECT;
  CHECK((p->type == PACKET_CONNACK) == !e->let_in);
  e->let_in = true;
  e->refused = p->type == PACKET_CONNACK && p->connack.code;
}

// What has come so far is whole packets and the beginning of one.
static void take_output(struct end *e) {
  struct slice got = memory_received(e->memory);
  buf_add_slice(&e->received, got);
  memory_consume(e->memory, got.len);
  // Only the CONNACK of MQTT 5 has more than two bytes.
  if (!e->let_in && e->received.len > 1) e->version = e->received.ptr[1] > 2 ? MQTT_5 : MQTT_3_1_1;
  struct packet p;
  for (ssize_t n; (n = packet_decode(&p, buf_slice(&e->received), version_of(e), PACKET_MAX_SIZE)) != 0;) {
    CHECK(n > 0);
    check_sent(e, &p);
    receiver_got(&e->receiver, &p, (size_t)n);
    buf_consume(&e->received, (size_t)n);
  }
}

// --- clients ---

static void run(struct scene *s) {
  harness_run(s->h);
  decorator_clear_log(&s->slow);
  consistency_check(s->h);
}

static void advance(struct scene *s, uint64_t ms) {
  harness_advance(s->h, ms);
  run(s);
}

static void let_go(struct end *e) {
  if (!e->memory) return;
  take_output(e);
  memory_peer_free(e->memory);
  buf_release(&e->received);
  *e = (struct end){.memory = NULL};
}

static void open_end(struct scene *s, struct end *e) {
  static const struct address from[PEERS] = {{.family = AF_UNSPEC},
                                             {.family = AF_INET, .ip = {192, 0, 2, 1}},
                                             {.family = AF_INET, .ip = {192, 0, 2, 1}},
                                             {.family = AF_INET6, .ip = {0x20, 0x01}}};
  const struct address *remote = &from[e - s->ends];
  let_go(e);
  struct conn *conn = memory_open(s->h->loop, &e->memory);
  if (!peers_admit(shard_of(s)->peers, remote))
    shard_connect_from(shard_of(s), conn, remote);
  else
    conn_close(conn, false);
}

static void send_bytes(struct scene *s, struct end *e, struct slice bytes) {
  for (int i = 0; i < 100 && s->flags & FLAG_TRICKLE && bytes.len > 1; i++) {
    memory_send(e->memory, fuzz_take(&bytes, 1));
    shard_turn(shard_of(s), false);
  }
  memory_send(e->memory, bytes);
}

static void send_raw(struct scene *s, struct end *e, struct slice *in) {
  size_t len = fuzz_byte(in) & 63;
  e->receiver.lost = true;
  send_bytes(s, e, fuzz_take(in, len));
}

// A packet that was made.
static void send_made(struct scene *s, struct end *e, struct slice made) {
  struct packet p;
  CHECK(packet_decode(&p, made, version_of(e), PACKET_MAX_SIZE) == (ssize_t)made.len);
  if (p.type >= PACKET_PUBACK && p.type <= PACKET_PUBCOMP) take_output(e); // it is of something that has come
  receiver_sent(&e->receiver, &p);
  send_bytes(s, e, made);
}

static void send_packet(struct scene *s, struct end *e, struct slice *in,
                        void (*make)(struct slice *in, struct buf *out)) {
  struct buf out = BUF_INIT;
  make(in, &out);
  send_made(s, e, buf_slice(&out));
  buf_release(&out);
}

static void send_later(struct scene *s, struct end *e, struct slice *in,
                       void (*make)(struct slice *in, uint8_t version, struct buf *out)) {
  struct buf out = BUF_INIT;
  make(in, version_of(e), &out);
  send_made(s, e, buf_slice(&out));
  buf_release(&out);
}

static void send_ping(struct scene *s, struct end *e) {
  struct buf out = BUF_INIT;
  fuzz_ping(&out);
  send_bytes(s, e, buf_slice(&out));
  buf_release(&out);
}

// The end that is picked is open, and maybe new.
static struct end *pick_end(struct scene *s, struct slice *in) {
  struct end *e = &s->ends[fuzz_byte(in) & 3];
  if (!e->memory) open_end(s, e);
  return e;
}

static void connect_5(struct scene *s, struct slice *in) {
  struct end *e = pick_end(s, in);
  open_end(s, e);
  e->version = MQTT_5;
  send_packet(s, e, in, fuzz_connect_5);
}

static void send_auth(struct scene *s, struct slice *in) {
  struct end *e = pick_end(s, in);
  if (e->version == MQTT_5) send_packet(s, e, in, fuzz_auth);
}

// --- the broker's own side ---

static void resume(struct scene *s, uint8_t how) {
  decorator_resume(
      &s->slow, s->h,
      (struct reply){.reason = how & 1 ? REASON_NOT_AUTHORIZED : REASON_SUCCESS, .drop = how & 2});
}

// Answers the oldest of what is held back.
static void answer(struct scene *s, uint8_t how) {
  if (s->slow.pending_count)
    resume(s, how);
  else if (s->slow.ack_count)
    decorator_release_acks(&s->slow, s->h, 1);
  else if (s->slow.request_count)
    decorator_release_request(&s->slow, s->h);
}

static size_t held(const struct scene *s) {
  return s->slow.pending_count + s->slow.ack_count + s->slow.request_count;
}

static struct session *pick_session(const struct scene *s, uint8_t which) {
  uint32_t at = 0;
  struct session *found = memory_each_session(s->h->memory, &at), *next;
  while (which-- && (next = memory_each_session(s->h->memory, &at)))
    found = next;
  return found;
}

static void close_one(const struct scene *s, uint8_t which) {
  const struct session *session = pick_session(s, which & 7);
  if (session && session->client) client_close(session->client, NULL);
}

static void change_settings(const struct scene *s, struct slice *in) {
  struct settings settings = shard_of(s)->settings;
  const struct session *session = pick_session(s, fuzz_byte(in) & 7);
  uint8_t which = fuzz_byte(in);
  turn_knob(&settings, which, fuzz_byte(in));
  if (session && session->client) client_change_settings(session->client, &settings.client);
}

static void publish_for_nobody(const struct scene *s, struct slice *in) {
  struct packet_message view = fuzz_message(in);
  struct message *m = message_new(&view, shard_now_ms(shard_of(s)));
  s->h->memory->ops->publish(s->h->memory, m, (struct ack){.message = m});
  message_unref(m);
}

static void deliver_to_one(const struct scene *s, struct slice *in) {
  struct session *session = pick_session(s, fuzz_byte(in) & 7);
  struct packet_message view = fuzz_message(in);
  struct message *m = message_new(&view, shard_now_ms(shard_of(s)));
  if (session) memory_deliver(s->h->memory, session, m, m->qos, m->retain);
  message_unref(m);
}

static void own_step(struct scene *s, struct slice *in) {
  struct decorator *slow = &s->slow;
  switch (fuzz_byte(in) & 31) {
  case 0: publish_for_nobody(s, in); break;
  case 1: slow->refuse_packets = !slow->refuse_packets; break;
  case 2:
  case 3: deliver_to_one(s, in); break;
  case 4:
  case 5: change_settings(s, in); break;
  case 6: slow->hold_authenticate = slow->hold_auth = !slow->hold_authenticate; break;
  case 7: slow->hold_acks = !slow->hold_acks; break;
  case 8: slow->hold_subscribes = !slow->hold_subscribes; break;
  case 9: slow->hold_wills = !slow->hold_wills; break;
  case 10: slow->refuse_accept = !slow->refuse_accept; break;
  case 11: slow->drop_accept = !slow->drop_accept; break;
  case 12: slow->refuse_authenticate = !slow->refuse_authenticate; break;
  case 13: advance(s, fuzz_byte(in) * UINT64_C(600000)); break;
  case 14: shard_of(s)->loop->lag_ms = fuzz_byte(in) * 100; break; // shed, or no longer
  case 15: shard_close_clients(shard_of(s)); break;
  case 16: s->memory_bytes = fuzz_byte(in) * UINT64_C(100); break;
  case 17: advance(s, 10); break; // until memory is looked at again
  case 18:
  case 19:
  case 20: connect_5(s, in); break;
  case 21:
  case 22: send_later(s, pick_end(s, in), in, fuzz_share); break;
  case 23: send_later(s, pick_end(s, in), in, fuzz_unshare); break;
  case 24: send_auth(s, in); break;
  }
}

// --- steps ---

static void step(struct scene *s, struct slice *in) {
  uint8_t byte = fuzz_byte(in), what = byte >> 2 & 31;
  struct end *e = &s->ends[byte & 3];
  if (!e->memory || what == 0) open_end(s, e);
  switch (what) {
  case 0: send_packet(s, e, in, fuzz_connect); break;
  case 1: send_packet(s, e, in, fuzz_login); break;
  case 2: own_step(s, in); break;
  case 3:
  case 4: send_later(s, e, in, fuzz_subscribe); break;
  case 5: send_later(s, e, in, fuzz_unsubscribe); break;
  case 6:
  case 7:
  case 8:
  case 9:
  case 10: send_later(s, e, in, fuzz_publish); break;
  case 11:
  case 12:
  case 13:
  case 14: send_later(s, e, in, fuzz_ack); break;
  case 15: send_ping(s, e); break;
  case 16: send_later(s, e, in, fuzz_disconnect); break;
  case 17: send_raw(s, e, in); break;
  case 18: let_go(e); break;
  case 19: memory_shutdown(e->memory); break;
  case 20: memory_reset(e->memory); break;
  case 21: memory_set_window(e->memory, fuzz_byte(in)); break;
  case 22: memory_set_window(e->memory, SIZE_MAX); break;
  case 23:
  case 24: take_output(e); break;
  case 25: advance(s, fuzz_byte(in)); break;
  case 26: advance(s, fuzz_byte(in) * UINT64_C(50)); break;
  case 27: s->slow.hold_accept = !s->slow.hold_accept; break;
  case 28:
  case 29: answer(s, fuzz_byte(in)); break;
  case 30: close_one(s, fuzz_byte(in)); break;
  case 31: run(s); break;
  }
  if (byte >> 7) run(s);
  while (held(s) > HELD_MAX)
    answer(s, 0);
}

// --- the beginning and the end ---

static uint64_t memory_bytes(void *arg) { return ((const struct scene *)arg)->memory_bytes; }

static void start(struct scene *s, struct slice *in) {
  struct settings settings;
  *s = (struct scene){.flags = fuzz_byte(in)};
  read_settings(&settings, s->flags, in);
  s->h = harness_new(&settings);
  shard_of(s)->pressure.measure = memory_bytes;
  shard_of(s)->pressure.measure_arg = s;
  if (s->flags & FLAG_LOGINS) {
    memory_add_credentials(s->h->memory, SLICE("u"), SLICE("p"));
    memory_set_access(s->h->memory, MEMORY_CREDENTIALS_OR_ANONYMOUS);
  }
  if (s->flags & FLAG_SLICES) memory_set_fanout_slice(s->h->memory, 1);
  decorator_init(&s->slow, s->h);
  s->h->shard->log_mask = s->flags & FLAG_LOG ? EVENT_ALL : 0;
}

static void let_all_go(struct scene *s) {
  for (unsigned i = 0; i < PEERS; i++)
    let_go(&s->ends[i]);
}

static void answer_all(struct scene *s) {
  struct decorator *slow = &s->slow;
  slow->hold_accept = slow->hold_wills = slow->hold_authenticate = slow->hold_auth = slow->hold_acks =
      slow->hold_subscribes = false;
  while (held(s))
    answer(s, 0);
}

static size_t sessions_to_expire(const struct scene *s) {
  size_t count = 0;
  uint32_t at = 0;
  for (const struct session *session; (session = memory_each_session(s->h->memory, &at));)
    count += session->expiry_s != SESSION_FOR_EVER;
  return count;
}

static void check_nothing_left(const struct scene *s) {
  const struct shard *shard = shard_of(s);
  CHECK(list_empty(&shard->clients));
  CHECK(list_empty(&shard->work));
  CHECK(shard->stats.connections == 0);
  CHECK(shard->stats.clients == 0);
  CHECK(shard->stats.addresses == 0);
  CHECK(shard->stats.logins_waiting == 0);
  CHECK(shard->users.by_name.count == 0);
  size_t waiting = shard->stats.wills_waiting + timer_armed(&shard->memory_timer);
  CHECK(s->h->loop->timers.count == sessions_to_expire(s) + waiting);
}

static void finish(struct scene *s) {
  if (s->flags & FLAG_STOP) {
    shard_close_clients(shard_of(s));
    run(s);
  }
  answer_all(s);
  let_all_go(s);
  advance(s, 60000);
  answer_all(s); // of those that came last
  advance(s, 2 * 60 * 60 * 1000);
  check_nothing_left(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct slice in = slice_of(data, size);
  struct scene s;
  start(&s, &in);
  for (int steps = 0; in.len && steps < MAX_STEPS; steps++)
    step(&s, &in);
  if (s.flags & FLAG_END_AT_ONCE)
    decorator_abandon(&s.slow);
  else
    finish(&s);
  harness_free(s.h);
  let_all_go(&s);
  return 0;
}
