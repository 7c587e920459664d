// Scenarios with traffic. What a publisher may send is bounded by what its subscribers have not got yet, so a
// correct broker has no reason to drop anything, however fast or slow it is; the fixed rate alone goes on
// regardless, and its latency counts from when a message was due.

#include "cmd/bench.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/rand.h"
#include "packet/packet.h"

#define WAIT_MS  20
#define QUIET_MS 20

// ---- publishers, subscribers, streams

const char *bench_topic(const struct bench *b, uint32_t stream, char text[BENCH_TOPIC_MAX]) {
  memcpy(text, b->topics + (size_t)stream * b->topic_len, b->topic_len);
  text[b->topic_len] = 0;
  return text;
}

static void topics_init(struct bench *b, const char *prefix, uint32_t side) {
  char text[BENCH_TOPIC_MAX];
  b->topic_len = (uint32_t)snprintf(text, sizeof(text), "%s/%03u/%03u", prefix, 0u, 0u);
  b->topics = mem_alloc((size_t)b->stream_count * b->topic_len);
  for (uint32_t i = 0; i < b->stream_count; i++) {
    snprintf(text, sizeof(text), "%s/%03u/%03u", prefix, side ? i / side : 0, side ? i % side : 0);
    memcpy(b->topics + (size_t)i * b->topic_len, text, b->topic_len);
  }
}

// A batch of messages without ids and stamps. All topics of a scenario are equally long, so only they change.
static void batch_init(struct bench *b, struct bench_pub *p) {
  uint8_t first = packet_publish_flags(b->opt.qos, b->retain, false);
  struct slice topic = slice_of(b->topics + (size_t)p->streams[0] * b->topic_len, b->topic_len);
  uint8_t *head = mem_alloc(PACKET_PUBLISH_HEADER_MAX + b->topic_len);
  uint32_t properties = b->opt.version == MQTT_5; // the length of none
  b->stamp_at = (uint32_t)packet_put_publish(head, first, 1, topic, 0, b->opt.payload, b->opt.version);
  b->id_at = b->stamp_at - properties - 2;
  b->topic_at = b->stamp_at - properties - (b->opt.qos ? 2 : 0) - b->topic_len;
  b->message_size = b->stamp_at + b->opt.payload;
  p->batch = mem_calloc(b->opt.batch, b->message_size);
  for (uint32_t i = 0; i < b->opt.batch; i++)
    memcpy(p->batch + (size_t)i * b->message_size, head, b->stamp_at);
  mem_free(head);
}

static void pub_init(struct bench *b, uint32_t i) {
  struct bench_pub *p = &b->pubs[i];
  p->conn = &b->conns[b->sub_count + i];
  p->conn->pub = p;
  p->stream_count = b->stream_count / b->pub_count;
  p->streams = b->stream_order + (size_t)i * p->stream_count;
  p->limit = b->opt.messages ? b->opt.messages / b->pub_count : UINT64_MAX;
  batch_init(b, p);
}

static void shuffle(uint32_t *list, uint32_t count) {
  struct rand r;
  rand_init(&r, 1); // the same in every run
  for (uint32_t i = count; i > 1; i--) {
    uint32_t other = (uint32_t)(rand_next(&r) % i), kept = list[i - 1];
    list[i - 1] = list[other];
    list[other] = kept;
  }
}

void bench_streams_init(struct bench *b, const char *prefix, uint32_t side, uint32_t pubs, uint32_t subs,
                        uint32_t streams) {
  bench_conns_init(b, pubs + subs);
  b->pub_count = pubs;
  b->sub_count = subs;
  b->stream_count = streams;
  b->pubs = mem_calloc(pubs, sizeof(*b->pubs));
  b->subs = mem_calloc(subs, sizeof(*b->subs));
  b->stream_seq = mem_calloc(streams, sizeof(*b->stream_seq));
  b->stream_pub = mem_calloc(streams, sizeof(*b->stream_pub));
  b->stream_order = mem_calloc(streams, sizeof(*b->stream_order));
  b->deliver_qos = b->opt.qos;
  topics_init(b, prefix, side);
  for (uint32_t i = 0; i < streams; i++)
    b->stream_order[i] = i;
  if (pubs > 1 && streams > pubs) shuffle(b->stream_order, streams);
  for (uint32_t i = 0; i < streams; i++)
    b->stream_pub[b->stream_order[i]] = i / (streams / pubs);
  for (uint32_t i = 0; i < pubs; i++)
    pub_init(b, i);
}

struct bench_sub *bench_sub_init(struct bench *b, uint32_t i, uint32_t first, uint32_t step, uint32_t count) {
  struct bench_sub *s = &b->subs[i];
  *s = (struct bench_sub){.conn = &b->conns[i], .first = first, .step = step, .count = count};
  s->next = mem_calloc(count, sizeof(*s->next));
  s->conn->sub = s;
  return s;
}

void bench_streams_release(struct bench *b) {
  for (uint32_t i = 0; i < b->pub_count; i++)
    mem_free(b->pubs[i].batch);
  for (uint32_t i = 0; i < b->sub_count; i++)
    mem_free(b->subs[i].next);
  mem_free(b->pubs);
  mem_free(b->subs);
  mem_free(b->stream_seq);
  mem_free(b->stream_pub);
  mem_free(b->stream_order);
  mem_free(b->topics);
  mem_free(b->gaps);
}

// ---- sending

static bool publish(struct bench *b, struct bench_pub *p, uint32_t count, uint64_t stamp_ns) {
  uint8_t *m = p->batch;
  for (uint32_t i = 0; i < count; i++, m += b->message_size) {
    uint32_t stream = p->streams[p->at];
    struct bench_stamp stamp = {stream, b->stream_seq[stream]++, stamp_ns};
    if (p->stream_count > 1) {
      memcpy(m + b->topic_at, b->topics + (size_t)stream * b->topic_len, b->topic_len);
      if (++p->at == p->stream_count) p->at = 0;
    }
    if (b->opt.qos) {
      if (++p->id == 0) p->id = 1;
      m[b->id_at] = (uint8_t)(p->id >> 8);
      m[b->id_at + 1] = (uint8_t)p->id;
    }
    memcpy(m + b->stamp_at, &stamp, sizeof(stamp));
  }
  p->sent += count;
  b->sent += count;
  return bench_send(b, p->conn, p->batch, (size_t)(m - p->batch));
}

static uint64_t completed(const struct bench *b, const struct bench_pub *p) {
  uint64_t done = b->by_slowest ? b->slowest
                  : b->fan > 1  ? p->delivered / b->fan
                  : b->fan      ? p->delivered
                                : p->acked;
  return b->opt.qos && p->acked < done ? p->acked : done;
}

static uint64_t room(const struct bench *b, const struct bench_pub *p) {
  uint64_t outstanding = p->sent - completed(b, p), left = p->limit - p->sent;
  uint64_t n = outstanding < b->opt.window ? b->opt.window - outstanding : 0;
  return n < left ? n : left;
}

// One send for each publisher whose window is open for a batch, or for half of it when a batch is the whole
// window.
static bool feed_window(struct bench *b, bool *more) {
  uint32_t worth = b->opt.window / 2 < b->opt.batch ? b->opt.window / 2 : b->opt.batch;
  for (uint32_t i = 0; i < b->pub_count; i++) {
    struct bench_pub *p = &b->pubs[i];
    uint64_t n = room(b, p);
    if (n == 0 || (n < worth && n < p->limit - p->sent) || bench_blocked(p->conn)) continue;
    if (!publish(b, p, n < b->opt.batch ? (uint32_t)n : b->opt.batch, bench_now())) return false;
    if (n >= b->opt.batch + worth && !bench_blocked(p->conn)) *more = true;
  }
  return true;
}

// What is due by now, from one publisher after the other. In between it spins: a timer would add its own
// delay.
static bool feed_rate(struct bench *b, bool *more) {
  for (uint64_t now_ns = bench_now();;) {
    uint64_t due_ns = b->before.wall_ns + b->sent * NS_PER_S / b->opt.rate;
    if (due_ns > now_ns || b->sent == b->opt.messages) break;
    if (now_ns - due_ns > b->late_ns) b->late_ns = now_ns - due_ns;
    if (!publish(b, &b->pubs[b->sent % b->pub_count], 1, due_ns)) return false;
  }
  *more = true;
  return true;
}

// ---- the run

static void find_slowest(struct bench *b) {
  uint32_t slowest = UINT32_MAX;
  for (uint32_t i = 0; i < b->sub_count; i++)
    if (b->subs[i].next[0] < slowest) slowest = b->subs[i].next[0];
  b->slowest = slowest;
}

static bool all_sent(const struct bench *b, uint64_t stop_ns) {
  if (b->opt.rate) return b->sent == b->opt.messages;
  if (bench_now() >= stop_ns) return true;
  for (uint32_t i = 0; i < b->pub_count; i++)
    if (b->pubs[i].sent < b->pubs[i].limit) return false;
  return true;
}

static bool complete(const struct bench *b) {
  return b->delivered >= b->sent * b->fan && (!b->opt.qos || b->acked >= b->sent);
}

// Handles what comes; `stalled` is set when nothing has come for too long.
static bool wait_turn(struct bench *b, int wait_ms) {
  if (!bench_turn(b, wait_ms)) return false;
  if (b->by_slowest) find_slowest(b);
  uint64_t now_ns = bench_now();
  if (now_ns - b->begin_ns > b->opt.deadline * NS_PER_S) return bench_in_time(b);
  b->stalled = now_ns > b->progress_ns && now_ns - b->progress_ns > b->opt.timeout * NS_PER_S;
  return true;
}

bool bench_quiet(struct bench *b) {
  for (uint64_t until_ns = bench_now() + QUIET_MS * NS_PER_MS; bench_now() < until_ns;)
    if (!bench_turn(b, QUIET_MS / 4)) return false;
  return true;
}

bool bench_await(struct bench *b) {
  b->stalled = false;
  while (!complete(b) && !b->stalled)
    if (!wait_turn(b, WAIT_MS)) return false;
  b->done_ns = b->progress_ns;
  return true;
}

bool bench_flow(struct bench *b) {
  if (!bench_quiet(b) || !bench_sample(b, &b->before)) return false;
  b->progress_ns = bench_now();
  uint64_t stop_ns = b->opt.messages ? UINT64_MAX : b->progress_ns + (uint64_t)(b->opt.seconds * 1e9);
  while (!all_sent(b, stop_ns) && !b->stalled) {
    bool more = false;
    if (!(b->opt.rate ? feed_rate(b, &more) : feed_window(b, &more))) return false;
    if (!wait_turn(b, more ? 0 : WAIT_MS)) return false;
  }
  return bench_await(b);
}

static bool run(struct bench *b) {
  return bench_open_all(b, 0, b->conn_count) && bench_flow(b) && bench_quiet(b) && bench_sample(b, &b->after);
}

// ---- scenarios

bool bench_run_fanout(struct bench *b) {
  bench_streams_init(b, "fanout", 0, 1, b->opt.clients, 1);
  b->fan = b->opt.clients;
  b->by_slowest = true;
  for (uint32_t i = 0; i < b->sub_count; i++)
    bench_topic(b, 0, bench_sub_init(b, i, 0, 1, 1)->conn->filter);
  return run(b);
}

bool bench_run_fanin(struct bench *b) {
  b->opt.window =
      b->opt.window > b->opt.clients ? b->opt.window / b->opt.clients : 1; // it is the subscriber's
  bench_streams_init(b, "fanin", 0, b->opt.clients, 1, b->opt.clients);
  b->fan = 1;
  bench_topic(b, 0, bench_sub_init(b, 0, 0, 1, b->stream_count)->conn->filter);
  return run(b);
}

bool bench_run_pairs(struct bench *b) {
  bench_streams_init(b, "pairs", 1000, b->opt.clients, b->opt.clients, b->opt.clients);
  b->fan = 1;
  for (uint32_t i = 0; i < b->sub_count; i++)
    bench_topic(b, i, bench_sub_init(b, i, i, 1, 1)->conn->filter);
  return run(b);
}

bool bench_run_latency(struct bench *b) {
  if (!b->opt.messages) b->opt.messages = (uint64_t)(b->opt.rate * b->opt.seconds);
  return bench_run_pairs(b);
}

// Topics w/hi/lo, and for each number a subscriber of w/+/n, w/n/+ and +/n/#: each topic matches three of
// them.
bool bench_run_wildcards(struct bench *b) {
  uint32_t side = 1;
  while ((side + 1) * (side + 1) <= b->opt.topics)
    side++;
  if (side > 999 || side % b->opt.clients)
    return bench_fail(b, "the root of --topics has to be a multiple of --clients");
  bench_streams_init(b, "w", side, b->opt.clients, 3 * side, side * side);
  b->fan = 3;
  for (uint32_t n = 0; n < side; n++) {
    snprintf(bench_sub_init(b, n, n, side, side)->conn->filter, BENCH_TOPIC_MAX, "w/+/%03u", n);
    snprintf(bench_sub_init(b, side + n, n * side, 1, side)->conn->filter, BENCH_TOPIC_MAX, "w/%03u/+", n);
    snprintf(bench_sub_init(b, 2 * side + n, n * side, 1, side)->conn->filter, BENCH_TOPIC_MAX, "+/%03u/#",
             n);
  }
  return run(b);
}
