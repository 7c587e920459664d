#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/timer.h"

static uint32_t below(struct rand *r, uint32_t n) { return (uint32_t)(rand_next(r) >> 32) % n; }

// --- map, against a plain array ---

enum { NAMES = 600 };

struct thing {
  char name[12];
};

static struct slice thing_key(const void *value) { return slice_str(((const struct thing *)value)->name); }

static void check_each(const struct map *m, struct thing *const present[NAMES], uint32_t count) {
  uint32_t at = 0, seen = 0;
  for (struct thing *t; (t = map_each(m, &at)); seen++)
    assert_ptr_equal(present[atoi(t->name)], t);
  assert_int_equal(seen, count);
  assert_int_equal(m->count, count);
}

static void random_things_come_and_go(void **state) {
  (void)state;
  static struct thing things[2][NAMES]; // two values for each key
  struct thing *present[NAMES] = {0};
  struct map m;
  struct rand r;
  uint32_t count = 0;
  rand_init(&r, 1);
  map_init(&m, thing_key, 7);
  for (int i = 0; i < NAMES; i++)
    for (int j = 0; j < 2; j++)
      snprintf(things[j][i].name, sizeof things[j][i].name, "%d", i);
  for (int step = 0; step < 60000; step++) {
    uint32_t range = step % 20000 < 10000 ? NAMES : 20; // grows and shrinks
    uint32_t i = below(&r, NAMES);
    struct slice key = slice_str(things[0][i].name);
    assert_ptr_equal(map_get(&m, key), present[i]);
    if (i < range && below(&r, 3)) {
      struct thing *t = &things[below(&r, 2)][i];
      assert_ptr_equal(map_put(&m, t), present[i]);
      count += !present[i];
      present[i] = t;
    } else {
      assert_ptr_equal(map_remove(&m, key), present[i]);
      count -= present[i] != NULL;
      present[i] = NULL;
    }
    assert_true(m.count * 4 <= m.cap * 3);
    if (step % 1000 == 0) check_each(&m, present, count);
  }
  map_release(&m);
  assert_null(map_get(&m, SLICE("1")));
}

static void an_empty_map_owns_nothing(void **state) {
  (void)state;
  struct map m;
  struct thing t = {"x"}, empty = {""};
  uint32_t at = 0;
  map_init(&m, thing_key, 1);
  assert_null(map_get(&m, SLICE("x")));
  assert_null(map_remove(&m, SLICE("x")));
  assert_null(map_each(&m, &at));
  assert_null(map_put(&m, &t));
  assert_null(map_put(&m, &empty)); // an empty key is a key
  assert_ptr_equal(map_get(&m, slice_of(NULL, 0)), &empty);
  assert_ptr_equal(map_remove(&m, SLICE("")), &empty);
  assert_ptr_equal(map_remove(&m, SLICE("x")), &t);
  assert_int_equal(m.count, 0);
  assert_null(m.slots);
}

// --- timers, against an array that is searched ---

enum { TIMERS = 200 };

struct bell {
  struct timer timer;
  bool armed;   // as the array sees it
  uint64_t due; // the tick in which it has to fire
};

static struct {
  struct timers wheel;
  struct rand rand;
  struct bell bells[TIMERS];
  uint64_t now;
  uint32_t armed;
} timing;

// Deadlines near and very far.
static uint64_t random_due(void) {
  uint64_t in = rand_next(&timing.rand) >> (24 + below(&timing.rand, 40));
  if (below(&timing.rand, 50) == 0) return TIMER_NEVER - below(&timing.rand, 3);
  return below(&timing.rand, 10) ? timing.now + in : timing.now - below(&timing.rand, 100);
}

static void arm(struct bell *b, uint64_t due) {
  timing.armed += !b->armed;
  b->armed = true;
  b->due = due > timing.wheel.now_ms ? due : timing.wheel.now_ms + 1;
  timer_arm(&timing.wheel, &b->timer, due);
}

static void disarm(struct bell *b) {
  timing.armed -= b->armed;
  b->armed = false;
  timer_disarm(&timing.wheel, &b->timer);
}

static void rang(struct timer *t) {
  struct bell *b = container_of(t, struct bell, timer);
  uint64_t tick = timing.wheel.now_ms;
  assert_true(b->armed);
  assert_false(timer_armed(t));
  assert_true(b->due == tick); // so they fire in order of time
  b->armed = false;
  timing.armed--;
  struct bell *other = &timing.bells[below(&timing.rand, TIMERS)];
  switch (below(&timing.rand, 8)) {
  case 0: arm(b, tick + below(&timing.rand, 300)); break;
  case 1: disarm(other); break;
  case 2: arm(other, tick + 1 + below(&timing.rand, 5000)); break;
  default: break;
  }
}

static uint64_t earliest(void) {
  uint64_t first = TIMER_NEVER;
  for (int i = 0; i < TIMERS; i++)
    if (timing.bells[i].armed && timing.bells[i].due < first) first = timing.bells[i].due;
  return first;
}

static void check_timers(void) {
  uint64_t first = earliest(), next = timers_next(&timing.wheel);
  assert_int_equal(timing.wheel.count, timing.armed);
  if (!timing.armed) {
    assert_true(next == TIMER_NEVER);
    return;
  }
  assert_true(next <= first);
  assert_true(next > timing.now);
  for (int i = 0; i < TIMERS; i++)
    assert_int_equal(timer_armed(&timing.bells[i].timer), timing.bells[i].armed);
}

static void advance_to(uint64_t now) {
  timing.now = now;
  timers_run(&timing.wheel, now);
  assert_true(timing.wheel.now_ms == now);
  assert_true(earliest() > now);
}

static void random_timers_fire_when_they_are_due(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 5; seed++) {
    memset(&timing, 0, sizeof timing);
    rand_init(&timing.rand, seed);
    timing.now = rand_next(&timing.rand) >> (20 + seed * 4);
    timers_init(&timing.wheel, timing.now);
    for (int i = 0; i < TIMERS; i++)
      timer_init(&timing.bells[i].timer, rang);
    for (int step = 0; step < 20000; step++) {
      struct bell *b = &timing.bells[below(&timing.rand, TIMERS)];
      switch (below(&timing.rand, 6)) {
      case 0:
      case 1:
      case 2: arm(b, random_due()); break;
      case 3: disarm(b); break;
      case 4: advance_to(timing.now + below(&timing.rand, 200)); break;
      default:
        if (below(&timing.rand, 20) == 0)
          advance_to(timing.now + (rand_next(&timing.rand) >> (20 + below(&timing.rand, 40))));
        else if (timers_next(&timing.wheel) != TIMER_NEVER && timers_next(&timing.wheel) < UINT64_MAX / 2)
          advance_to(timers_next(&timing.wheel));
      }
      check_timers();
    }
  }
}

static int rings;

static void count_ring(struct timer *t) {
  (void)t;
  rings++;
}

static void a_timer_fires_at_its_time_and_not_before(void **state) {
  (void)state;
  static const uint64_t delays[] = {1,
                                    2,
                                    63,
                                    64,
                                    65,
                                    4095,
                                    4096,
                                    4097,
                                    262143,
                                    262144,
                                    16777216,
                                    1073741824,
                                    UINT64_C(1) << 36,
                                    (UINT64_C(1) << 36) + 1,
                                    UINT64_C(1) << 40,
                                    UINT64_C(1) << 50};
  static const uint64_t starts[] = {0, 1, 63, 64, 4095, 1000000, (UINT64_C(1) << 36) - 1};
  for (size_t s = 0; s < sizeof starts / sizeof starts[0]; s++) {
    for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++) {
      struct timers w;
      struct timer t;
      timers_init(&w, starts[s]);
      timer_init(&t, count_ring);
      rings = 0;
      timer_arm(&w, &t, starts[s] + delays[i]);
      assert_true(timers_next(&w) <= starts[s] + delays[i]);
      timers_run(&w, starts[s] + delays[i] - 1);
      assert_int_equal(rings, 0);
      timers_run(&w, starts[s] + delays[i]);
      assert_int_equal(rings, 1);
      assert_int_equal(w.count, 0);
      assert_true(timers_next(&w) == TIMER_NEVER);
    }
  }
}

static void a_timer_of_the_past_fires_with_the_next_tick(void **state) {
  (void)state;
  struct timers w;
  struct timer t;
  timers_init(&w, 1000);
  timer_init(&t, count_ring);
  rings = 0;
  timer_arm(&w, &t, 10);
  assert_int_equal(timers_next(&w), 1001);
  timers_run(&w, 1001);
  assert_int_equal(rings, 1);
  timer_disarm(&w, &t); // no effect
  assert_int_equal(w.count, 0);
}

static void free_in_callback(struct timer *t) {
  rings++;
  mem_free(t);
}

static void a_timer_may_be_freed_when_it_fires(void **state) {
  (void)state;
  struct timers w;
  timers_init(&w, 0);
  rings = 0;
  for (uint64_t i = 0; i < 100; i++) {
    struct timer *t = mem_alloc(sizeof *t);
    timer_init(t, free_in_callback);
    timer_arm(&w, t, 100 + i / 10);
  }
  timers_run(&w, 1000);
  assert_int_equal(rings, 100);
}

static struct timers *pair_wheel;
static struct timer *pair[2];

static void free_both(struct timer *t) {
  (void)t;
  rings++;
  for (int i = 0; i < 2; i++) {
    timer_disarm(pair_wheel, pair[i]);
    mem_free(pair[i]);
  }
}

static void a_timer_may_free_another_of_the_same_tick(void **state) {
  (void)state;
  struct timers w;
  timers_init(&w, 0);
  pair_wheel = &w;
  rings = 0;
  for (int i = 0; i < 2; i++) {
    pair[i] = mem_alloc(sizeof *pair[i]);
    timer_init(pair[i], free_both);
    timer_arm(&w, pair[i], 70);
  }
  timers_run(&w, 70);
  assert_int_equal(rings, 1);
  assert_int_equal(w.count, 0);
}

// --- the small ones ---

struct item {
  int value;
  struct list node;
};

static void lists_keep_their_order(void **state) {
  (void)state;
  struct list a, b;
  struct item items[6];
  list_init(&a);
  list_init(&b);
  assert_null(list_first(&a));
  assert_null(list_take(&a));
  list_splice(&a, &b);
  assert_true(list_empty(&a));
  for (int i = 0; i < 6; i++) {
    items[i].value = i;
    list_append(i < 3 ? &a : &b, &items[i].node);
  }
  list_splice(&a, &b);
  assert_true(list_empty(&b));
  int expected = 0;
  list_each(node, &a) {
    struct item *item = container_of(node, struct item, node);
    assert_int_equal(item->value, expected++);
    if (item->value % 2) list_remove(node);
  }
  assert_int_equal(expected, 6);
  list_remove(&items[1].node); // twice is fine
  list_insert_before(&items[2].node, &items[1].node);
  static const int left[] = {0, 1, 2, 4};
  for (int i = 0; i < 4; i++)
    assert_int_equal(container_of(list_take(&a), struct item, node)->value, left[i]);
  assert_true(list_empty(&a));
}

static void a_buf_grows_and_is_consumed(void **state) {
  (void)state;
  struct buf b = BUF_INIT;
  assert_string_equal(buf_text(&b), "");
  buf_add(&b, NULL, 0);
  buf_add_str(&b, "abc");
  buf_add_byte(&b, 'd');
  buf_add_slice(&b, SLICE("ef"));
  buf_printf(&b, "%s-%d", "", 7);
  assert_string_equal(buf_text(&b), "abcdef-7");
  assert_int_equal(b.len, 8);
  buf_consume(&b, 3);
  assert_string_equal(buf_text(&b), "def-7");
  buf_consume(&b, 5);
  assert_int_equal(b.len, 0);
  buf_printf(&b, "%s", "");
  for (int i = 0; i < 1000; i++)
    buf_printf(&b, "%04d", i);
  assert_int_equal(b.len, 4000);
  assert_memory_equal(b.ptr + 3996, "0999", 4);
  size_t cap = b.cap;
  buf_reserve(&b, cap - b.len);
  assert_int_equal(b.cap, cap);
  buf_reserve(&b, cap - b.len + 1);
  assert_true(b.cap > cap);
  buf_release(&b);
  assert_null(b.ptr);
  buf_add_str(&b, "again");
  assert_true(slice_eq(buf_slice(&b), SLICE("again")));
  buf_release(&b);
}

static void slices_compare(void **state) {
  (void)state;
  static const struct {
    const char *a, *b;
    bool equal, starts;
  } rows[] = {{"", "", true, true},        {"a", "", false, true},       {"", "a", false, false},
              {"abc", "abc", true, true},  {"abc", "abd", false, false}, {"abc", "ab", false, true},
              {"ab", "abc", false, false}, {"bbc", "abc", false, false}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    struct slice a = slice_str(rows[i].a), b = slice_str(rows[i].b);
    assert_int_equal(slice_eq(a, b), rows[i].equal);
    assert_int_equal(slice_eq_secret(a, b), rows[i].equal);
    assert_int_equal(slice_starts(a, b), rows[i].starts);
  }
  assert_true(slice_eq_secret(slice_of(NULL, 0), SLICE("")));
  assert_true(slice_eq(slice_from(SLICE("abc"), 3), slice_of(NULL, 0)));
}

static void hashes_depend_on_every_byte_and_on_the_seed(void **state) {
  (void)state;
  uint8_t bytes[64] = {0};
  for (size_t len = 0; len <= sizeof bytes; len++) {
    uint64_t hash = hash_bytes(1, slice_of(bytes, len));
    assert_true(hash == hash_bytes(1, slice_of(bytes, len)));
    assert_true(hash != hash_bytes(2, slice_of(bytes, len)));
    if (len < sizeof bytes) assert_true(hash != hash_bytes(1, slice_of(bytes, len + 1)));
    for (size_t i = 0; i < len * 8; i++) {
      bytes[i / 8] ^= (uint8_t)(1 << i % 8);
      assert_true(hash != hash_bytes(1, slice_of(bytes, len)));
      bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
  }
}

static void hashes_fill_a_table_evenly(void **state) {
  (void)state;
  uint32_t counts[256] = {0};
  char text[32];
  for (int i = 0; i < 256 * 100; i++) {
    snprintf(text, sizeof text, "client-%d", i);
    counts[hash_bytes(5, slice_str(text)) & 255]++;
  }
  for (int i = 0; i < 256; i++)
    assert_in_range(counts[i], 40, 180);
}

static void randomness_repeats_with_its_seed(void **state) {
  (void)state;
  struct rand a, b, c;
  rand_init(&a, 1);
  rand_init(&b, 1);
  rand_init(&c, 2);
  int same = 0;
  for (int i = 0; i < 1000; i++) {
    uint64_t x = rand_next(&a);
    assert_true(x == rand_next(&b));
    same += x == rand_next(&c);
  }
  assert_int_equal(same, 0);
  rand_init_system(&a);
  rand_init_system(&b);
  assert_true(rand_next(&a) != rand_next(&b));
}

static void a_virtual_clock_stands_until_it_is_moved(void **state) {
  (void)state;
  struct clock c;
  clock_init_virtual(&c, 5);
  clock_update(&c);
  assert_int_equal(c.now_ms, 5);
  clock_advance(&c, 10);
  assert_int_equal(c.now_ms, 15);
  clock_init(&c);
  uint64_t before = c.now_ms;
  clock_update(&c);
  assert_true(c.now_ms >= before);
  assert_false(c.is_virtual);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_things_come_and_go),
      cmocka_unit_test(an_empty_map_owns_nothing),
      cmocka_unit_test(random_timers_fire_when_they_are_due),
      cmocka_unit_test(a_timer_fires_at_its_time_and_not_before),
      cmocka_unit_test(a_timer_of_the_past_fires_with_the_next_tick),
      cmocka_unit_test(a_timer_may_be_freed_when_it_fires),
      cmocka_unit_test(a_timer_may_free_another_of_the_same_tick),
      cmocka_unit_test(lists_keep_their_order),
      cmocka_unit_test(a_buf_grows_and_is_consumed),
      cmocka_unit_test(slices_compare),
      cmocka_unit_test(hashes_depend_on_every_byte_and_on_the_seed),
      cmocka_unit_test(hashes_fill_a_table_evenly),
      cmocka_unit_test(randomness_repeats_with_its_seed),
      cmocka_unit_test(a_virtual_clock_stands_until_it_is_moved),
  };
  return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
