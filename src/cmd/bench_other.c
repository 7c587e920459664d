// Scenarios without steady traffic: connects, idle connections, retained messages.

#include "cmd/bench.h"

#include <stdio.h>

#include "base/mem.h"

#define WARM_UP                                                                                              \
  16 // connections before the memory of idle ones is measured, so that code pages are in already

// ---- connects: CONNECT, CONNACK, DISCONNECT, and the broker closes

static bool connect_ready(struct bench *b, struct bench_conn *c) {
  bench_hist_add(&b->hist, b->now_ns - c->since_ns);
  return bench_leave(b, c);
}

static bool connect_closed(struct bench *b, struct bench_conn *c) {
  b->connects++;
  c->number += b->conn_count;
  return c->number < b->opt.messages ? bench_open(b, c) : true;
}

bool bench_run_connects(struct bench *b) {
  uint32_t at_once = b->opt.concurrency < b->opt.messages ? b->opt.concurrency : (uint32_t)b->opt.messages;
  bench_conns_init(b, at_once);
  b->on_ready = connect_ready;
  b->on_closed = connect_closed;
  if (!bench_quiet(b) || !bench_sample(b, &b->before)) return false;
  b->progress_ns = bench_now();
  for (uint32_t i = 0; i < at_once; i++)
    if (!bench_open(b, &b->conns[i])) return false;
  while (b->connects < b->opt.messages)
    if (!bench_turn(b, 100) || !bench_in_time(b)) return false;
  b->done_ns = b->progress_ns;
  return bench_quiet(b) && bench_sample(b, &b->after);
}

// ---- idle

static bool warm_closed(struct bench *b, struct bench_conn *c) {
  (void)c;
  b->ready_count--;
  return true;
}

// Some connections come and go, so that what the broker touches for the first one only does not count.
static bool warm_up(struct bench *b) {
  uint32_t count = b->opt.clients < WARM_UP ? b->opt.clients : WARM_UP;
  if (!bench_open_all(b, 0, count)) return false;
  b->on_closed = warm_closed;
  for (uint32_t i = 0; i < count; i++)
    if (!bench_leave(b, &b->conns[i])) return false;
  while (b->ready_count)
    if (!bench_turn(b, 100) || !bench_in_time(b)) return false;
  b->on_closed = NULL;
  return true;
}

bool bench_run_idle(struct bench *b) {
  bench_conns_init(b, b->opt.clients);
  for (uint32_t i = 0; i < b->conn_count && b->opt.subscribe; i++)
    snprintf(b->conns[i].filter, BENCH_TOPIC_MAX, "idle/%03u/%03u", i / 1000, i % 1000);
  if (!warm_up(b) || !bench_settle(b, &b->before) || !bench_open_all(b, 0, b->conn_count)) return false;
  b->connects = b->conn_count;
  b->done_ns = b->progress_ns;
  return bench_settle(b, &b->after);
}

// ---- retained

// Everything is stored with QoS 1, so that the acks tell when; a subscriber of r/# gets it all, once for each
// topic, and its latency counts from the SUBSCRIBE.
bool bench_run_retained(struct bench *b) {
  uint32_t count = b->opt.topics;
  b->opt.messages = count;
  b->retain = true;
  bench_streams_init(b, "r", 1000, 1, 1, count);
  struct bench_conn *reader = bench_sub_init(b, 0, 0, 1, count)->conn;
  if (!bench_open_all(b, 0, 2) || !bench_flow(b)) return false;
  if (b->stalled)
    return bench_fail(b, "%lu of %u retained messages were acknowledged", (unsigned long)b->acked, count);
  if (!bench_settle(b, &b->stored)) return false;
  b->fan = 1;
  snprintf(reader->filter, sizeof(reader->filter), "r/#");
  b->since_ns = b->progress_ns = b->now_ns = bench_now();
  if (!bench_subscribe(b, reader) || !bench_await(b)) return false;
  return bench_quiet(b) && bench_sample(b, &b->after);
}
