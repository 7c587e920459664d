// Metrics of scripts: counters, gauges and histograms, each with a series for each combination of label
// values. No Lua here: metrics_module.c is what a script sees.
//
//   struct metric *m = metrics_define(&metrics, &(struct metric_definition){.kind = METRIC_COUNTER, ...});
//   struct series *s = metrics_series(&metrics, m, key, most);   // key: metric_add_label for each label
//   s->value += 1;
//
// The number of series is bounded: beyond it samples go to one series of their metric whose label values are
// all METRIC_OTHER.
#ifndef LUAMQ_SCRIPT_METRICS_H
#define LUAMQ_SCRIPT_METRICS_H

#include "base/buf.h"
#include "base/map.h"

#define METRIC_LABELS_MAX  8
#define METRIC_BUCKETS_MAX 32
#define METRIC_NAME_MAX    256  // bytes of the name of a metric or a label
#define METRIC_VALUE_MAX   1024 // bytes of the value of a label
#define METRIC_OTHER       "(other)"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_definition { // borrowed
  enum metric_kind kind;
  struct slice name, help;
  struct slice labels[METRIC_LABELS_MAX];
  unsigned label_count;
  double buckets[METRIC_BUCKETS_MAX]; // of a histogram: upper bounds, rising
  unsigned bucket_count;
};

struct series {
  double value;      // of a histogram: the sum
  uint64_t count;    // of a histogram: all samples
  uint64_t *buckets; // of a histogram: samples at most the bound, and above the bound before
  uint32_t key_len;
  uint8_t key[];
};

struct metric {
  struct metric_definition definition; // its own
  struct buf texts;                    // that the definition points into
  struct map series;                   // by key
};

struct metrics {
  struct map map;  // of struct metric, by name
  uint32_t series; // in all
};

void metrics_init(struct metrics *m, uint64_t seed);
void metrics_release(struct metrics *m);

// The metric of that name. One that was defined otherwise (by a script before this one) begins anew.
struct metric *metrics_define(struct metrics *m, const struct metric_definition *definition);
bool metric_is_same(const struct metric_definition *a, const struct metric_definition *b);

// The key of a series: the values of its labels, in order.
void metric_add_label(struct buf *key, struct slice value);
bool metric_next_label(struct slice *key, struct slice *value); // the reverse; false at the end

// The series of these values, made when it is not there. `*refused`: it is the one for what is beyond `most`.
struct series *metrics_series(struct metrics *all, struct metric *m, struct slice key, uint32_t most,
                              bool *refused);
const struct series *metric_find(const struct metric *metric, struct slice key);  // NULL: there is none
void series_observe(struct series *s, const struct metric *metric, double value); // of a histogram

#endif
