// What came twice, late, or to the wrong subscriber. In the usual case a delivery carries the sequence that
// is expected, and that is all there is to do. A jump forward leaves a gap; what fills a gap later was
// reordered, and any other sequence from the past is a duplicate. What is lost is not counted here but
// follows at the end, from what was expected.

#include "base/mem.h"
#include "cmd/bench.h"

#define GAPS_MAX 65536u // a broker that loses more cannot be told apart from one that repeats

static void gap_add(struct bench *b, struct bench_gap gap) {
  if (b->gap_count == GAPS_MAX) return;
  if (b->gap_count == b->gap_cap) {
    b->gap_cap = b->gap_cap ? b->gap_cap * 2 : 64;
    b->gaps = mem_realloc(b->gaps, b->gap_cap * sizeof(*b->gaps));
  }
  b->gaps[b->gap_count++] = gap;
}

// Takes one sequence out of the gap that it lies in; false when it lies in none.
static bool gap_fill(struct bench *b, uint32_t sub, uint32_t stream, uint32_t seq) {
  for (uint32_t i = 0; i < b->gap_count; i++) {
    struct bench_gap *g = &b->gaps[i], after = *g;
    if (g->sub != sub || g->stream != stream || seq < g->from || seq >= g->to) continue;
    g->to = seq;
    after.from = seq + 1;
    if (g->from == g->to) *g = b->gaps[--b->gap_count];
    if (after.from < after.to) gap_add(b, after);
    return true;
  }
  return false;
}

static void count_delivery(struct bench *b, struct bench_stamp stamp) {
  uint64_t since_ns = b->since_ns ? b->since_ns : stamp.sent_ns;
  b->delivered++;
  b->pubs[b->stream_pub[stamp.stream]].delivered++;
  bench_hist_add(&b->hist, b->now_ns > since_ns ? b->now_ns - since_ns : 0);
}

static void out_of_line(struct bench *b, struct bench_sub *s, uint32_t slot, struct bench_stamp stamp) {
  uint32_t sub = (uint32_t)(s - b->subs);
  if (stamp.seq > s->next[slot]) {
    gap_add(b, (struct bench_gap){sub, stamp.stream, s->next[slot], stamp.seq});
    s->next[slot] = stamp.seq + 1;
  } else if (gap_fill(b, sub, stamp.stream, stamp.seq)) {
    b->reordered++;
  } else {
    b->duplicated++;
    return;
  }
  count_delivery(b, stamp);
}

void bench_delivered(struct bench *b, struct bench_sub *s, struct bench_stamp stamp, uint8_t qos) {
  uint32_t slot = stamp.stream - s->first;
  if (s->step > 1) slot = slot % s->step == 0 ? slot / s->step : UINT32_MAX;
  if (stamp.stream < s->first || slot >= s->count || stamp.seq >= b->stream_seq[stamp.stream] ||
      qos != b->deliver_qos) {
    b->unexpected++;
    return;
  }
  if (s->next[slot] != stamp.seq) {
    out_of_line(b, s, slot, stamp);
    return;
  }
  s->next[slot]++;
  count_delivery(b, stamp);
}

uint64_t bench_lost(const struct bench *b) {
  uint64_t expected = b->sent * b->fan;
  return expected > b->delivered ? expected - b->delivered : 0;
}
