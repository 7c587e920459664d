#include "script/metrics.h"

#include "base/mem.h"

static struct slice metric_name(const void *value) { return ((const struct metric *)value)->definition.name; }

static struct slice series_key(const void *value) {
  const struct series *s = value;
  return slice_of(s->key, s->key_len);
}

// --- definitions ---

static struct slice own_text(struct buf *texts, struct slice text) {
  buf_add_slice(texts, text);
  return slice_of(texts->ptr + texts->len - text.len, text.len);
}

// The texts are reserved before, so that they do not move.
static void own_definition(struct metric *m, const struct metric_definition *from) {
  size_t size = from->name.len + from->help.len;
  for (unsigned i = 0; i < from->label_count; i++)
    size += from->labels[i].len;
  buf_reserve(&m->texts, size + 1);
  m->definition = *from;
  m->definition.name = own_text(&m->texts, from->name);
  m->definition.help = own_text(&m->texts, from->help);
  for (unsigned i = 0; i < from->label_count; i++)
    m->definition.labels[i] = own_text(&m->texts, from->labels[i]);
}

bool metric_is_same(const struct metric_definition *a, const struct metric_definition *b) {
  if (a->kind != b->kind || a->label_count != b->label_count || a->bucket_count != b->bucket_count)
    return false;
  for (unsigned i = 0; i < a->label_count; i++)
    if (!slice_eq(a->labels[i], b->labels[i])) return false;
  for (unsigned i = 0; i < a->bucket_count; i++)
    if (a->buckets[i] < b->buckets[i] || a->buckets[i] > b->buckets[i]) return false;
  return true;
}

static void metric_free(struct metrics *all, struct metric *m) {
  uint32_t at = 0;
  for (struct series *s; (s = map_each(&m->series, &at));) {
    mem_free(s->buckets);
    mem_free(s);
    all->series--;
  }
  map_release(&m->series);
  buf_release(&m->texts);
  mem_free(m);
}

void metrics_init(struct metrics *m, uint64_t seed) {
  map_init(&m->map, metric_name, seed);
  m->series = 0;
}

void metrics_release(struct metrics *m) {
  uint32_t at = 0;
  for (struct metric *metric; (metric = map_each(&m->map, &at));)
    metric_free(m, metric);
  map_release(&m->map);
}

struct metric *metrics_define(struct metrics *all, const struct metric_definition *definition) {
  struct metric *m = map_get(&all->map, definition->name);
  if (m && metric_is_same(&m->definition, definition)) return m;
  if (m) metric_free(all, map_remove(&all->map, definition->name));
  m = mem_calloc(1, sizeof *m);
  own_definition(m, definition);
  map_init(&m->series, series_key, all->map.seed);
  map_put(&all->map, m);
  return m;
}

// --- series ---

void metric_add_label(struct buf *key, struct slice value) {
  uint32_t len = (uint32_t)value.len;
  buf_add(key, &len, sizeof len);
  buf_add_slice(key, value);
}

bool metric_next_label(struct slice *key, struct slice *value) {
  uint32_t len;
  if (!key->len) return false;
  memcpy(&len, key->ptr, sizeof len);
  *value = slice_of(key->ptr + sizeof len, len);
  *key = slice_from(*key, sizeof len + len);
  return true;
}

static struct series *series_new(struct metrics *all, struct metric *m, struct slice key) {
  struct series *s = mem_calloc(1, sizeof *s + key.len);
  s->key_len = (uint32_t)key.len;
  if (key.len) memcpy(s->key, key.ptr, key.len);
  if (m->definition.kind == METRIC_HISTOGRAM)
    s->buckets = mem_calloc(m->definition.bucket_count + 1, sizeof *s->buckets);
  map_put(&m->series, s);
  all->series++;
  return s;
}

static struct series *series_of_others(struct metrics *all, struct metric *m) {
  struct buf key = BUF_INIT;
  for (unsigned i = 0; i < m->definition.label_count; i++)
    metric_add_label(&key, SLICE(METRIC_OTHER));
  struct series *s = map_get(&m->series, buf_slice(&key));
  if (!s) s = series_new(all, m, buf_slice(&key));
  buf_release(&key);
  return s;
}

struct series *metrics_series(struct metrics *all, struct metric *m, struct slice key, uint32_t most,
                              bool *refused) {
  struct series *s = map_get(&m->series, key);
  *refused = !s && all->series >= most && m->definition.label_count;
  if (s) return s;
  return *refused ? series_of_others(all, m) : series_new(all, m, key);
}

const struct series *metric_find(const struct metric *m, struct slice key) {
  return map_get(&m->series, key);
}

void series_observe(struct series *s, const struct metric *m, double value) {
  unsigned i = 0;
  while (i < m->definition.bucket_count && value > m->definition.buckets[i])
    i++;
  s->buckets[i]++;
  s->count++;
  s->value += value;
}
