// The subscription index, with and without its cache, and the retained index under a row of changes, each
// against a naive table. The input begins with words out of which topics and filters are made, one a line up
// to an empty one; what follows is a row of operations.
//
// What has to hold: matches are those of topic_match, in the same order with and without the cache; a cursor
// sees what stays exactly once, and tells what is ahead of it.
#include "fuzz.h"
#include "topic/index.h"
#include "topic/retained.h"
#include "topic/topic.h"

#define WORDS_MAX   24
#define SUBSCRIBERS 4
#define CURSORS     3
#define STEPS_MAX   500

struct walk { // a cursor, and what it has to see
  struct retained_cursor cursor;
  struct slice filter;
  bool open;
  bool stayed[WORDS_MAX]; // retained ever since it was opened
  uint8_t seen[WORDS_MAX];
};

struct world {
  struct slice words[WORDS_MAX];
  size_t count;
  struct index *cached, *walked;
  struct subscriber a[SUBSCRIBERS], b[SUBSCRIBERS];
  uint8_t options[SUBSCRIBERS][WORDS_MAX]; // 0: no subscription, else options + 1
  struct retained retained;
  bool kept[WORDS_MAX];
  struct walk walks[CURSORS];
};

// --- the subscription index ---

static void subscribe(struct world *w, unsigned who, size_t filter, uint8_t options) {
  if (!topic_filter_valid(w->words[filter])) return;
  bool is_new = !w->options[who][filter];
  CHECK(index_add(w->cached, w->words[filter], &w->a[who], options, 0) == is_new);
  CHECK(index_add(w->walked, w->words[filter], &w->b[who], options, 0) == is_new);
  w->options[who][filter] = (uint8_t)(options + 1);
}

static void unsubscribe(struct world *w, unsigned who, size_t filter) {
  if (!topic_filter_valid(w->words[filter])) return;
  bool was_there = w->options[who][filter];
  CHECK((index_get(w->cached, w->words[filter], &w->a[who]) != NULL) == was_there);
  CHECK(index_remove(w->cached, w->words[filter], &w->a[who]) == was_there);
  CHECK(index_remove(w->walked, w->words[filter], &w->b[who]) == was_there);
  w->options[who][filter] = 0;
}

static void unsubscribe_all(struct world *w, unsigned who) {
  index_remove_all(w->cached, &w->a[who]);
  index_remove_all(w->walked, &w->b[who]);
  memset(w->options[who], 0, sizeof w->options[who]);
}

// The options of the matching subscription of the highest QoS, plus one; 0: none matches.
static uint8_t naive_match(const struct world *w, unsigned who, struct slice topic) {
  uint8_t best = 0;
  for (size_t i = 0; i < w->count; i++)
    if (w->options[who][i] > best && topic_match(w->words[i], topic)) best = w->options[who][i];
  return best;
}

static void match(struct world *w, size_t topic) {
  if (!topic_name_valid(w->words[topic])) return;
  const struct matches *cached = index_match(w->cached, w->words[topic]);
  const struct matches *walked = index_match(w->walked, w->words[topic]);
  uint32_t expected = 0;
  for (unsigned who = 0; who < SUBSCRIBERS; who++)
    expected += naive_match(w, who, w->words[topic]) != 0;
  CHECK(cached->count == expected && walked->count == expected);
  for (uint32_t i = 0; i < expected; i++) {
    long who = cached->list[i].subscriber - w->a;
    CHECK(who == walked->list[i].subscriber - w->b);
    CHECK(cached->list[i].options + 1 == naive_match(w, (unsigned)who, w->words[topic]));
    CHECK(cached->list[i].options == walked->list[i].options);
  }
}

static void check_counts(const struct world *w) {
  uint64_t subscriptions = 0;
  for (unsigned who = 0; who < SUBSCRIBERS; who++) {
    uint32_t count = 0;
    for (size_t i = 0; i < w->count; i++)
      count += w->options[who][i] != 0;
    CHECK(w->a[who].count == count && w->b[who].count == count);
    subscriptions += count;
  }
  CHECK(index_stats(w->cached).subscriptions == subscriptions);
  CHECK(index_stats(w->walked).subscriptions == subscriptions);
  CHECK(index_stats(w->cached).nodes == index_stats(w->walked).nodes);
}

// --- the retained index ---

static void keep(struct world *w, size_t topic) {
  if (!topic_name_valid(w->words[topic])) return;
  void *old = retained_set(&w->retained, w->words[topic], &w->words[topic]);
  CHECK(old == (w->kept[topic] ? &w->words[topic] : NULL));
  CHECK(retained_get(&w->retained, w->words[topic]) == &w->words[topic]);
  w->kept[topic] = true;
}

static void forget(struct world *w, size_t topic) {
  if (!topic_name_valid(w->words[topic])) return;
  void *old = retained_delete(&w->retained, w->words[topic]);
  CHECK(old == (w->kept[topic] ? &w->words[topic] : NULL));
  w->kept[topic] = false;
  for (unsigned i = 0; i < CURSORS; i++)
    w->walks[i].stayed[topic] = false;
}

static void check_ahead(const struct world *w, const struct walk *walk) {
  for (size_t i = 0; i < w->count; i++) {
    bool ahead = topic_name_valid(w->words[i]) && retained_is_ahead(&walk->cursor, w->words[i]);
    if (walk->stayed[i]) CHECK(ahead == (topic_match(walk->filter, w->words[i]) && !walk->seen[i]));
    if (!w->kept[i]) CHECK(!ahead);
  }
}

static void open_walk(struct world *w, struct walk *walk, size_t filter) {
  if (walk->open) retained_close(&walk->cursor);
  *walk = (struct walk){.open = false};
  if (!topic_filter_valid(w->words[filter])) return;
  walk->filter = w->words[filter];
  retained_open(&walk->cursor, &w->retained, walk->filter);
  walk->open = true;
  memcpy(walk->stayed, w->kept, sizeof walk->stayed);
}

// False after the last.
static bool go_on(struct world *w, struct walk *walk, uint32_t budget) {
  if (!walk->open) return false;
  check_ahead(w, walk);
  struct slice *word = retained_next(&walk->cursor, &budget);
  if (!word) return budget == 0;
  size_t i = (size_t)(word - w->words);
  CHECK(w->kept[i] && topic_match(walk->filter, *word));
  walk->seen[i]++;
  if (walk->stayed[i]) CHECK(walk->seen[i] == 1);
  return true;
}

static void end_walk(struct world *w, struct walk *walk) {
  bool ahead[WORDS_MAX] = {false};
  uint8_t before[WORDS_MAX];
  if (!walk->open) return;
  memcpy(before, walk->seen, sizeof before);
  for (size_t i = 0; i < w->count; i++)
    ahead[i] = topic_name_valid(w->words[i]) && retained_is_ahead(&walk->cursor, w->words[i]);
  while (go_on(w, walk, 2)) {
  }
  for (size_t i = 0; i < w->count; i++) {
    CHECK(walk->seen[i] - before[i] == ahead[i]);
    if (walk->stayed[i]) CHECK(walk->seen[i] == topic_match(walk->filter, w->words[i]));
  }
  retained_close(&walk->cursor);
  walk->open = false;
}

static void count_dropped(void *arg, void *value) {
  (void)value;
  ++*(uint64_t *)arg;
}

// --- the input ---

static bool is_known(const struct world *w, struct slice word) {
  for (size_t i = 0; i < w->count; i++)
    if (slice_eq(w->words[i], word)) return true;
  return false;
}

static void begin(struct world *w, struct slice *in) {
  *w = (struct world){.cached = index_new(1), .walked = index_new(2)};
  index_limit_cache(w->walked, 0, 0);
  retained_init(&w->retained, 3);
  for (unsigned who = 0; who < SUBSCRIBERS; who++) {
    subscriber_init(&w->a[who]);
    subscriber_init(&w->b[who]);
  }
  for (struct slice word; in->len && w->count < WORDS_MAX && (word = fuzz_line(in)).len;)
    if (!is_known(w, word)) w->words[w->count++] = word;
}

static void step(struct world *w, struct slice *in) {
  uint8_t byte = fuzz_byte(in);
  unsigned who = byte % SUBSCRIBERS;
  struct walk *walk = &w->walks[byte % CURSORS];
  size_t word = fuzz_byte(in) % w->count;
  switch (byte >> 4) {
  case 0:
  case 1:
  case 2: subscribe(w, who, word, (byte >> 2 & 3) % 3); break;
  case 3: unsubscribe(w, who, word); break;
  case 4: byte & 4 ? unsubscribe_all(w, who) : unsubscribe(w, who, word); break;
  case 5:
  case 6:
  case 7: match(w, word); break;
  case 8: index_limit_cache(w->cached, byte & 7, (byte & 8) ? 300 : 1 << 20); break;
  case 9:
  case 10: keep(w, word); break;
  case 11: forget(w, word); break;
  case 12: open_walk(w, walk, word); break;
  case 13:
  case 14: go_on(w, walk, 1 + (byte >> 2 & 3)); break;
  case 15: end_walk(w, walk); break;
  }
}

static void end(struct world *w) {
  check_counts(w);
  for (size_t i = 0; i < w->count; i++)
    match(w, i);
  for (unsigned i = 0; i < CURSORS; i++)
    end_walk(w, &w->walks[i]);
  for (unsigned who = 0; who < SUBSCRIBERS; who++)
    unsubscribe_all(w, who);
  CHECK(index_stats(w->cached).nodes == 0 && index_stats(w->walked).nodes == 0);
  index_free(w->cached);
  index_free(w->walked);
  uint64_t kept = 0, dropped = 0;
  for (size_t i = 0; i < w->count; i++)
    kept += w->kept[i];
  CHECK(w->retained.count == kept);
  retained_release(&w->retained, count_dropped, &dropped);
  CHECK(dropped == kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct slice in = slice_of(data, size);
  struct world w;
  begin(&w, &in);
  for (int steps = 0; w.count && in.len && steps < STEPS_MAX; steps++)
    step(&w, &in);
  end(&w);
  return 0;
}
