// A whole broker under several clients. The input is a row of steps: a byte that says what is done and to
// which of the clients, and the bytes that this step needs. Time moves only where a step says so.
//
// What has to hold: all that the broker sends is well-formed; and when all clients are gone, after a while no
// connection, no client, no timer and nobody who waits is left.
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "broker/client.h"
#include "broker/memory.h"
#include "broker/shard.h"
#include "transport/memory.h"

#define PEERS            4
#define HELD             64
#define MAX_STEPS        2000
#define CHECK(condition) check((condition), #condition, __LINE__)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct scene {
  struct loop *loop;
  struct shard *shard;
  struct memory_peer *peers[PEERS];
  struct buf received[PEERS];
  struct backend_ops ops; // the memory backend's, but for accept
  const struct backend_ops *memory_ops;
  struct client *held[HELD]; // whose accept has no answer yet
  size_t held_count;
  bool hold;
};

static struct scene *current; // for accept, which is given no argument of ours

static void check(bool condition, const char *text, int line) {
  if (condition) return;
  fprintf(stderr, "fuzz_broker.c:%d: not true: %s\n", line, text);
  abort();
}

static uint8_t next(struct slice *in) {
  if (!in->len) return 0;
  uint8_t byte = in->ptr[0];
  *in = slice_from(*in, 1);
  return byte;
}

// --- the backend, sometimes slow to answer ---

static enum backend_status accept_later(struct backend *b, struct client *c, struct message **m,
                                        struct reply *reply) {
  struct scene *s = current;
  if (!s->hold || client_closing(c) || s->held_count == HELD) return s->memory_ops->accept(b, c, m, reply);
  s->held[s->held_count++] = client_ref(c);
  return BACKEND_PENDING;
}

static void answer(struct scene *s, uint8_t how) {
  if (!s->held_count) return;
  struct client *c = s->held[--s->held_count];
  client_resume(c,
                &(struct reply){.reason = how & 1 ? REASON_NOT_AUTHORIZED : REASON_SUCCESS, .drop = how & 2});
  client_unref(c);
}

// --- the scene ---

static void run(struct scene *s) {
  int turns = 0;
  while (shard_turn(s->shard, false))
    CHECK(++turns < 20000); // it comes to rest
}

static void advance(struct scene *s, uint64_t ms) {
  uint64_t end = s->loop->clock.now_ms + ms;
  run(s);
  while (s->loop->clock.now_ms < end) {
    uint64_t due = timers_next(&s->loop->timers), now = s->loop->clock.now_ms;
    if (due > end) due = end;
    clock_advance(&s->loop->clock, due > now ? due - now : 1);
    run(s);
  }
}

static void start(struct scene *s, uint8_t variant) {
  struct settings settings;
  settings_init(&settings);
  settings.session_queue_size = 3;
  settings.incoming_bytes = 5000;
  settings.kill_timeout_ms = 1000;
  settings.max_write_delay_ms = variant & 1 ? 10 : 0;
  settings.disconnect_refused_publish = variant & 2;
  settings.client.inflight_messages = 2;
  settings.client.token_timeout_ms = 3000;
  settings.client.parallel_publishes = 2;
  settings.client.parallel_subscribes = 1;
  settings.client.read_limit = 70000;
  *s = (struct scene){.loop = loop_new_virtual(1000)};
  s->shard = shard_new(s->loop, &settings, 1);
  struct backend *memory = memory_backend_new(s->shard);
  s->memory_ops = memory->ops;
  s->ops = *memory->ops;
  s->ops.accept = accept_later;
  memory->ops = &s->ops;
  shard_set_backend(s->shard, memory);
  if (variant & 4) s->shard->log_mask = EVENT_ALL;
  current = s;
}

// What has come so far is whole packets and the beginning of one.
static void take_output(struct scene *s, unsigned i) {
  struct buf *in = &s->received[i];
  struct slice got = memory_received(s->peers[i]);
  buf_add_slice(in, got);
  memory_consume(s->peers[i], got.len);
  struct packet p;
  for (ssize_t n; (n = packet_decode(&p, buf_slice(in), MQTT_3_1_1, PACKET_MAX_SIZE)) != 0;) {
    CHECK(n > 0);
    CHECK(p.type != PACKET_CONNECT && p.type != PACKET_DISCONNECT && p.type != PACKET_PINGREQ);
    buf_consume(in, (size_t)n);
  }
}

static void let_go(struct scene *s, unsigned i) {
  if (!s->peers[i]) return;
  take_output(s, i);
  memory_peer_free(s->peers[i]);
  s->peers[i] = NULL;
  buf_release(&s->received[i]);
}

static void open_peer(struct scene *s, unsigned i) {
  let_go(s, i);
  shard_connect(s->shard, memory_open(s->loop, &s->peers[i]));
}

// --- packets out of bytes ---

static struct slice topic_of(uint8_t byte) {
  static const char *const topics[] = {"a", "a/b", "a/b/c", "$SYS/x", "/", "b", "$x", "a//c"};
  return slice_str(topics[byte & 7]);
}

static struct slice filter_of(uint8_t byte) {
  static const char *const filters[] = {"#", "a/#",    "+",     "a/+", "a",  "a/b",
                                        "b", "$SYS/#", "+/+/c", "/",   "$x", "a//c"};
  return slice_str(filters[byte % (sizeof filters / sizeof filters[0])]);
}

static uint8_t payload_bytes[66000];

static struct packet connect_of(struct slice *in) {
  static const char *const ids[] = {"x", "y", "z", ""};
  uint8_t flags = next(in);
  struct packet p = {.type = PACKET_CONNECT};
  p.connect = (struct packet_connect){.version = flags & 0x40 ? MQTT_3_1 : MQTT_3_1_1,
                                      .clean_session = flags & 4,
                                      .keep_alive = flags & 8 ? 2 : 0,
                                      .client_id = slice_str(ids[flags & 3]),
                                      .has_will = flags & 16};
  if (flags & 16)
    p.connect.will = (struct packet_message){
        .topic = topic_of(flags >> 5), .payload = SLICE("will"), .qos = flags >> 6 & 1, .retain = flags >> 7};
  return p;
}

static struct packet publish_of(struct slice *in) {
  uint8_t flags = next(in), size = next(in);
  struct packet p = {.type = PACKET_PUBLISH};
  p.publish.message =
      (struct packet_message){.topic = topic_of(flags), .qos = flags >> 4 & 3, .retain = flags >> 3 & 1};
  if (p.publish.message.qos == 3) p.publish.message.qos = 2;
  p.publish.dup = flags >> 7 && p.publish.message.qos;
  if (p.publish.message.qos) p.id = 1 + (size >> 5);
  p.publish.message.payload = slice_of(payload_bytes, size & 31 ? (size & 31) - 1u : 17000u + size * 200u);
  return p;
}

static void send_packet(struct scene *s, unsigned i, const struct packet *p) {
  struct buf out = BUF_INIT;
  packet_encode(p, MQTT_3_1_1, &out);
  memory_send(s->peers[i], buf_slice(&out));
  buf_release(&out);
}

static void send_list(struct scene *s, unsigned i, struct slice *in, uint8_t type) {
  struct buf list = BUF_INIT;
  uint8_t count = 1 + (next(in) & 3);
  for (int n = 0; n < count; n++) {
    uint8_t byte = next(in);
    if (type == PACKET_SUBSCRIBE)
      packet_add_subscription(&list, filter_of(byte >> 2), byte % 3);
    else
      packet_add_filter(&list, filter_of(byte >> 2));
  }
  struct packet p = {.type = type, .id = 1 + count};
  p.subscribe = (struct packet_list){.count = count, .list = buf_slice(&list)};
  send_packet(s, i, &p);
  buf_release(&list);
}

static void send_ack(struct scene *s, unsigned i, struct slice *in) {
  uint8_t byte = next(in);
  send_packet(s, i, &(struct packet){.type = PACKET_PUBACK + (byte & 3), .id = 1 + (byte >> 2 & 15)});
}

static void send_raw(struct scene *s, unsigned i, struct slice *in) {
  size_t len = next(in) & 63;
  if (len > in->len) len = in->len;
  memory_send(s->peers[i], slice_of(in->ptr, len));
  *in = slice_from(*in, len);
}

// --- steps ---

static void close_one(struct scene *s, uint8_t which) {
  uint8_t n = 0;
  list_each(node, &s->shard->clients) {
    uint32_t at = 0;
    for (struct session *session; (session = memory_each_session(s->shard->backend, &at));)
      if (session->client && n++ == (which & 3)) {
        client_close(session->client, NULL);
        return;
      }
    return;
  }
}

static void step(struct scene *s, struct slice *in) {
  uint8_t byte = next(in);
  unsigned i = byte & 3;
  uint8_t what = byte >> 2 & 31;
  if (!s->peers[i] || what == 0) open_peer(s, i);
  switch (what) {
  case 0:
  case 1:
  case 2: {
    struct packet p = connect_of(in);
    struct buf out = BUF_INIT;
    packet_encode(&p, p.connect.version, &out);
    memory_send(s->peers[i], buf_slice(&out));
    buf_release(&out);
    break;
  }
  case 3:
  case 4: send_list(s, i, in, PACKET_SUBSCRIBE); break;
  case 5: send_list(s, i, in, PACKET_UNSUBSCRIBE); break;
  case 6:
  case 7:
  case 8:
  case 9:
  case 10: {
    struct packet p = publish_of(in);
    send_packet(s, i, &p);
    break;
  }
  case 11:
  case 12:
  case 13:
  case 14: send_ack(s, i, in); break;
  case 15: send_packet(s, i, &(struct packet){.type = PACKET_PINGREQ}); break;
  case 16: send_packet(s, i, &(struct packet){.type = PACKET_DISCONNECT}); break;
  case 17: send_raw(s, i, in); break;
  case 18: let_go(s, i); break;
  case 19: memory_shutdown(s->peers[i]); break;
  case 20: memory_reset(s->peers[i]); break;
  case 21: memory_set_window(s->peers[i], next(in)); break;
  case 22: memory_set_window(s->peers[i], SIZE_MAX); break;
  case 23:
  case 24: take_output(s, i); break;
  case 25: advance(s, next(in)); break;
  case 26: advance(s, next(in) * UINT64_C(50)); break;
  case 27: s->hold = !s->hold; break;
  case 28:
  case 29: answer(s, next(in)); break;
  case 30: close_one(s, next(in)); break;
  case 31: run(s); break;
  }
  if (byte >> 7) run(s);
}

// --- the end ---

static void check_sessions(const struct scene *s) {
  uint32_t at = 0;
  for (struct session *session; (session = memory_each_session(s->shard->backend, &at));) {
    CHECK(!session->client && !session->clean);
    CHECK(list_empty(&session->waiting));
    CHECK(session->queue.count <= s->shard->settings.session_queue_size);
    CHECK(session->incoming.count || !session->incoming_bytes);
    CHECK(session->queue.count || !session->queued_bytes);
    CHECK(session->offline);
  }
}

static void finish(struct scene *s) {
  s->hold = false;
  while (s->held_count)
    answer(s, 0);
  for (unsigned i = 0; i < PEERS; i++)
    let_go(s, i);
  advance(s, 60000);
  CHECK(list_empty(&s->shard->clients));
  CHECK(list_empty(&s->shard->work));
  CHECK(s->shard->stats.connections == 0);
  CHECK(s->shard->stats.clients == 0);
  CHECK(s->shard->stats.connections_accepted == s->shard->stats.connections_closed);
  CHECK(s->loop->timers.count == (s->shard->stats.sessions ? 1 : 0)); // of the first to expire
  check_sessions(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct slice in = slice_of(data, size);
  struct scene s;
  uint8_t variant = next(&in);
  start(&s, variant);
  for (int steps = 0; in.len && steps < MAX_STEPS; steps++)
    step(&s, &in);
  if (variant & 8) { // the end of the broker while they are all there
    while (s.held_count)
      client_unref(s.held[--s.held_count]);
    shard_free(s.shard);
    for (unsigned i = 0; i < PEERS; i++)
      let_go(&s, i);
  } else {
    finish(&s);
    shard_free(s.shard);
  }
  CHECK(s.loop->timers.count == 0);
  loop_free(s.loop);
  return 0;
}
