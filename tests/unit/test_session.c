#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rand.h"
#include "session/session.h"

static uint32_t below(struct rand *r, uint32_t n) { return (uint32_t)(rand_next(r) >> 32) % n; }

static struct message *make(const char *topic, const char *payload, uint8_t qos) {
  struct packet_message m = {.topic = slice_str(topic), .payload = slice_str(payload), .qos = qos};
  return message_new(&m, 0);
}

static struct message *numbered(int n) {
  char text[16];
  snprintf(text, sizeof text, "%d", n);
  return make("t", text, 0);
}

static int number_of(const struct message *m) {
  char text[16] = "";
  memcpy(text, message_payload(m).ptr, message_payload(m).len);
  return atoi(text);
}

// --- message ---

// A walk would find none in these bytes.
static void which_properties_a_message_has_is_known_without_a_walk(void **state) {
  (void)state;
  uint64_t type = UINT64_C(1) << PROPERTY_CONTENT_TYPE;
  struct packet_message from = {
      .topic = SLICE("t"), .payload = SLICE("p"), .properties = {SLICE("xyz"), type}};
  struct message *m = message_new(&from, 0);
  assert_true(message_view(m).properties.present == type);
  struct message *with = message_with_ids(m, (uint32_t[]){7}, 1);
  assert_true(message_view(with).properties.present ==
              (type | UINT64_C(1) << PROPERTY_SUBSCRIPTION_IDENTIFIER));
  assert_true(slice_eq(message_payload(with), SLICE("p")));
  message_unref(with);
  message_unref(m);
  from.properties = (struct packet_properties){0};
  m = message_new(&from, 0);
  assert_true(message_view(m).properties.present == 0);
  message_unref(m);
}

static void a_message_is_a_copy(void **state) {
  (void)state;
  char topic[] = "a/b", payload[] = "p", properties[] = "xyz";
  struct packet_message from = {.topic = slice_str(topic),
                                .payload = slice_str(payload),
                                .properties = {.raw = slice_str(properties)},
                                .qos = 2,
                                .retain = true};
  struct message *m = message_new(&from, 0);
  topic[0] = payload[0] = properties[0] = '?';
  assert_true(slice_eq(message_topic(m), SLICE("a/b")));
  assert_true(slice_eq(message_payload(m), SLICE("p")));
  assert_true(slice_eq(message_properties(m).raw, SLICE("xyz")));
  assert_true(message_size(m) >= 7);
  struct packet_message view = message_view(m);
  assert_int_equal(view.qos, 2);
  assert_true(view.retain);
  assert_true(slice_eq(view.topic, SLICE("a/b")));
  struct delivery d = {message_ref(m), 1, false, 0};
  message_unref(m);
  view = delivery_view(&d);
  assert_int_equal(view.qos, 1);
  assert_false(view.retain);
  assert_true(slice_eq(view.payload, SLICE("p")));
  message_unref(d.message);
}

static void a_message_may_have_no_payload(void **state) {
  (void)state;
  struct packet_message from = {.topic = SLICE("t")};
  struct message *m = message_new(&from, 0);
  assert_int_equal(message_payload(m).len, 0);
  message_unref(m);
}

// --- queue ---

static void clear(struct queue *q, struct queue_pool *pool) {
  for (struct delivery d; queue_pop(q, pool, &d);)
    message_unref(d.message);
}

static void check_places(const struct queue *q, uint32_t first) {
  struct queue_place place = {q->head, q->first};
  uint32_t count = 0;
  for (const struct delivery *d; (d = queue_each(q, &place)); count++)
    assert_int_equal(number_of(d->message), first + count);
  assert_int_equal(count, q->count);
}

static void a_queue_is_first_in_first_out(void **state) {
  (void)state;
  struct queue_pool pool = {0};
  struct queue q = {0};
  struct delivery d;
  struct rand r;
  rand_init(&r, 1);
  int in = 0, out = 0;
  assert_false(queue_pop(&q, &pool, &d));
  assert_null(queue_peek(&q));
  for (int step = 0; step < 20000; step++) {
    bool push = below(&r, 100) < (step / 2000 % 2 ? 35 : 65);
    if (push) {
      queue_push(&q, &pool, (struct delivery){numbered(in), (uint8_t)(in % 3), in % 2, 0});
      in++;
    } else if (queue_pop(&q, &pool, &d)) {
      assert_int_equal(number_of(d.message), out);
      assert_int_equal(d.qos, out % 3);
      assert_int_equal(d.retain, out % 2);
      message_unref(d.message);
      out++;
    } else {
      assert_int_equal(in, out);
    }
    assert_int_equal(q.count, in - out);
    if (step % 100 == 0) check_places(&q, (uint32_t)out);
    if (q.count)
      assert_int_equal(number_of(queue_peek(&q)->message), out);
    else
      assert_null(q.head); // an empty queue owns nothing
  }
  clear(&q, &pool);
  assert_int_equal(q.count, 0);
  queue_pool_release(&pool);
}

static void chunks_go_back_to_the_pool(void **state) {
  (void)state;
  struct queue_pool pool = {0};
  struct queue a = {0}, b = {0};
  struct message *m = numbered(1);
  for (int i = 0; i < 10 * QUEUE_CHUNK; i++)
    queue_push(&a, &pool, (struct delivery){message_ref(m), 0, false, 0});
  assert_int_equal(pool.count, 0);
  clear(&a, &pool);
  assert_int_equal(m->refs, 1);
  assert_int_equal(pool.count, 10);
  queue_push(&b, &pool, (struct delivery){message_ref(m), 0, false, 0});
  assert_int_equal(pool.count, 9);
  clear(&b, &pool);
  for (int i = 0; i < 3000 * QUEUE_CHUNK; i++) // what was a burst does not stay for ever
    queue_push(&a, &pool, (struct delivery){message_ref(m), 0, false, 0});
  clear(&a, &pool);
  assert_true(pool.count < 3000);
  queue_pool_release(&pool);
  assert_int_equal(pool.count, 0);
  message_unref(m);
}

// --- store, against an array by id ---

struct naive {
  struct {
    bool used;
    int number; // of its message, -1: none
    uint8_t type;
    uint32_t when;
  } by_id[65536];
  uint32_t count, clock;
};

static void naive_check_all(const struct naive *n, const struct store *s) {
  assert_int_equal(s->count, n->count);
  if (!n->count) return;
  struct stored *all = mem_alloc(n->count * sizeof *all);
  store_all(s, all);
  uint32_t before = 0;
  for (uint32_t i = 0; i < n->count; i++) {
    assert_true(n->by_id[all[i].id].used);
    assert_true(n->by_id[all[i].id].when > before);
    before = n->by_id[all[i].id].when;
  }
  mem_free(all);
}

static void naive_check(const struct naive *n, const struct store *s, uint16_t id) {
  const struct stored *entry = store_lookup(s, id);
  assert_int_equal(entry != NULL, n->by_id[id].used);
  if (!entry) return;
  assert_int_equal(entry->id, id);
  assert_int_equal(entry->type, n->by_id[id].type);
  assert_int_equal(entry->message ? number_of(entry->message) : -1, n->by_id[id].number);
}

static void naive_save(struct naive *n, struct store *s, uint16_t id, bool release) {
  int number = release ? -1 : (int)n->clock;
  store_save(s, (struct stored){.message = release ? NULL : numbered(number),
                                .id = id,
                                .type = release ? PACKET_PUBREL : PACKET_PUBLISH,
                                .qos = 2});
  n->count += !n->by_id[id].used;
  n->by_id[id].used = true;
  n->by_id[id].number = number;
  n->by_id[id].type = release ? PACKET_PUBREL : PACKET_PUBLISH;
  n->by_id[id].when = ++n->clock;
}

static void naive_delete(struct naive *n, struct store *s, uint16_t id) {
  assert_int_equal(store_delete(s, id), n->by_id[id].used);
  n->count -= n->by_id[id].used;
  n->by_id[id].used = false;
}

// Lets the order of a store with one entry go on from here, so that it wraps on the way.
static void start_order(struct store *s, uint16_t only, uint32_t order) {
  struct stored *entry = (struct stored *)(uintptr_t)store_lookup(s, only);
  assert_int_equal(s->count, 1);
  entry->order = order;
  s->table->order = order + 1;
}

static void random_packets_come_and_go(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 6; seed++) {
    struct naive *n = mem_calloc(1, sizeof *n);
    struct store s = {.last_id = (uint16_t)(seed * 13000)};
    struct rand r;
    rand_init(&r, seed);
    uint32_t range = seed < 3 ? 65535 : 100;
    naive_save(n, &s, 1, false);
    if (seed % 2) start_order(&s, 1, UINT32_MAX - 5000);
    for (int step = 0; step < 12000; step++) {
      uint16_t id = (uint16_t)(1 + below(&r, range));
      switch (below(&r, 6)) {
      case 0:
      case 1:
        id = store_next_id(&s);
        assert_int_not_equal(id, 0);
        assert_false(n->by_id[id].used);
        naive_save(n, &s, id, false);
        break;
      case 2: naive_save(n, &s, id, below(&r, 2)); break;
      case 3:
        for (int i = 0; i < 50 && !n->by_id[id].used; i++)
          id = (uint16_t)(1 + (id + 1) % range);
        naive_delete(n, &s, id);
        break;
      default: naive_delete(n, &s, id); break;
      }
      naive_check(n, &s, id);
      naive_check(n, &s, (uint16_t)(1 + below(&r, range)));
      if (step % 500 == 0) naive_check_all(n, &s);
    }
    naive_check_all(n, &s);
    store_clear(&s);
    assert_int_equal(s.count, 0);
    assert_null(s.table);
    mem_free(n);
  }
}

static void id_0_is_never_there(void **state) {
  (void)state;
  struct store s = {0};
  assert_null(store_lookup(&s, 0));
  assert_false(store_delete(&s, 0));
  store_save(&s, (struct stored){.id = 5, .type = PACKET_PUBREL});
  assert_null(store_lookup(&s, 0));
  assert_false(store_delete(&s, 0));
  assert_true(store_delete(&s, 5));
  assert_null(s.table); // freed when empty
}

static void ids_wrap_and_skip_those_in_flight(void **state) {
  (void)state;
  struct store s = {0};
  for (uint32_t id = 1; id <= 65535; id++)
    assert_int_equal(store_next_id(&s), id);
  assert_int_equal(store_next_id(&s), 1);
  store_save(&s, (struct stored){.id = 1, .type = PACKET_PUBREL});
  store_save(&s, (struct stored){.id = 2, .type = PACKET_PUBREL});
  store_save(&s, (struct stored){.id = 65535, .type = PACKET_PUBREL});
  for (int round = 0; round < 3; round++) {
    uint16_t before = 0; // not all others need to be given out, but they come in order
    for (uint16_t id; (id = store_next_id(&s)) > before; before = id)
      assert_null(store_lookup(&s, id));
    assert_true(before > 60000);
    assert_true(s.last_id < 20);
    assert_true(s.last_id > 2);
    s.last_id = 0;
  }
  s.last_id = 65533;
  assert_int_equal(store_next_id(&s), 65534);
  assert_in_range(store_next_id(&s), 3, 19);
  uint16_t last = s.last_id;
  store_clear(&s);
  assert_int_equal(store_next_id(&s), last + 1); // ids go on where they were
}

static void with_all_ids_in_flight_there_is_none(void **state) {
  (void)state;
  struct store s = {0};
  for (uint32_t i = 0; i < 65535; i++) {
    uint16_t id = store_next_id(&s);
    assert_int_equal(id, i + 1);
    store_save(&s, (struct stored){.id = id, .type = PACKET_PUBREL});
  }
  assert_int_equal(s.count, 65535);
  assert_int_equal(store_next_id(&s), 0);
  assert_true(store_delete(&s, 777));
  assert_int_equal(store_next_id(&s), 777);
  store_clear(&s);
}

// As add_resends sends them: PUBLISH in first-sent order, PUBREL in the order of PUBREC.
static void a_pubrel_takes_the_place_of_its_pubrec(void **state) {
  (void)state;
  struct store s = {0};
  for (uint16_t id = 1; id <= 5; id++) {
    store_save(&s, (struct stored){.message = numbered(id), .id = id, .type = PACKET_PUBLISH, .qos = 2});
    if (id == 1) start_order(&s, 1, UINT32_MAX - 3);
  }
  static const uint16_t recorded[] = {4, 1};
  for (int i = 0; i < 2; i++)
    store_save(&s, (struct stored){.id = recorded[i], .type = PACKET_PUBREL, .qos = 2});
  struct stored all[5];
  store_all(&s, all);
  static const uint16_t expected[] = {2, 3, 5, 4, 1};
  for (int i = 0; i < 5; i++)
    assert_int_equal(all[i].id, expected[i]);
  assert_int_equal(store_lookup(&s, 4)->type, PACKET_PUBREL);
  assert_null(store_lookup(&s, 4)->message);
  store_clear(&s);
}

// --- replays ---

static void retain(struct retained *r, const char *topic, uint8_t qos) {
  struct message *old = retained_set(r, slice_str(topic), make(topic, "x", qos));
  if (old) message_unref(old);
}

static void drop(void *arg, void *value) {
  (void)arg;
  message_unref(value);
}

// The topics that the session's replays give, in order, with their QoS: "a0 b1 ".
static void expect_replays(struct session *s, const char *expected) {
  struct buf text = BUF_INIT;
  struct delivery d;
  for (uint32_t budget = 1; s->replays; budget = 1) {
    if (!session_next_replay(s, &budget, &d)) continue;
    assert_true(d.retain);
    buf_add_slice(&text, message_topic(d.message));
    buf_printf(&text, "%d ", d.qos);
    message_unref(d.message);
  }
  assert_string_equal(buf_text(&text), expected);
  buf_release(&text);
}

static void replays_come_in_the_order_of_subscribe(void **state) {
  (void)state;
  struct retained r;
  struct queue_pool pool = {0};
  retained_init(&r, 1);
  retain(&r, "a", 0);
  retain(&r, "b", 1);
  retain(&r, "c", 2);
  struct session *s = session_new(SLICE("id"), 0);
  struct delivery d;
  uint32_t budget = 100;
  assert_false(session_next_replay(s, &budget, &d));
  assert_int_equal(budget, 100);
  session_add_replay(s, &r, SLICE("c"), 1, 0);
  session_add_replay(s, &r, SLICE("a"), 2, 0);
  session_add_replay(s, &r, SLICE("b"), 2, 0);
  session_add_replay(s, &r, SLICE("none"), 2, 0);
  session_add_replay(s, &r, SLICE("c"), 0, 0);
  expect_replays(s, "a0 b1 c0 ");
  session_add_replay(s, &r, SLICE("+"), 2, 0);
  expect_replays(s, "a0 b1 c2 ");
  session_free(s, &pool);
  retained_release(&r, drop, NULL);
}

static void replays_are_removed_anywhere_in_the_ring(void **state) {
  (void)state;
  static const char *const names[] = {"a", "b", "c"};
  for (int first = 0; first < 3; first++) {
    for (int second = 0; second < 3; second++) {
      struct retained r;
      struct queue_pool pool = {0};
      struct buf expected = BUF_INIT;
      retained_init(&r, 1);
      struct session *s = session_new(SLICE("id"), SESSION_FOR_EVER);
      for (int i = 0; i < 3; i++) {
        retain(&r, names[i], 0);
        session_add_replay(s, &r, slice_str(names[i]), 0, 0);
        bool stays = i != first && i != second && i != 0; // "a" begins anew below
        if (stays) buf_printf(&expected, "%s0 ", names[i]);
      }
      session_remove_replay(s, SLICE("+")); // the very same filter only
      session_remove_replay(s, slice_str(names[first]));
      session_remove_replay(s, slice_str(names[second]));
      session_add_replay(s, &r, SLICE("a"), 0, 0);
      buf_add_str(&expected, "a0 ");
      expect_replays(s, buf_text(&expected));
      session_remove_replay(s, SLICE("a")); // none left
      session_add_replay(s, &r, SLICE("a"), 0, 0);
      session_add_replay(s, &r, SLICE("b"), 0, 0);
      session_clear_replays(s);
      assert_null(s->replays);
      session_add_replay(s, &r, SLICE("b"), 0, 0); // session_free drops it
      session_free(s, &pool);
      retained_release(&r, drop, NULL);
      buf_release(&expected);
    }
  }
}

static void a_small_budget_means_come_again(void **state) {
  (void)state;
  struct retained r;
  struct queue_pool pool = {0};
  retained_init(&r, 1);
  char topic[32];
  for (int i = 0; i < 100; i++) {
    snprintf(topic, sizeof topic, "%d/x", i);
    retain(&r, topic, 0);
  }
  struct session *s = session_new(SLICE("id"), 0);
  session_add_replay(s, &r, SLICE("+/y"), 0, 0);
  session_add_replay(s, &r, SLICE("99/x"), 0, 0);
  struct delivery d;
  int calls = 0;
  for (bool found = false; !found; calls++) {
    uint32_t budget = 10;
    found = session_next_replay(s, &budget, &d);
    assert_true(found || s->replays);
    assert_true(calls < 1000);
  }
  assert_true(calls > 5);
  assert_true(slice_eq(message_topic(d.message), SLICE("99/x")));
  message_unref(d.message);
  expect_replays(s, "");
  session_free(s, &pool);
  retained_release(&r, drop, NULL);
}

static void a_replayed_message_outlives_its_retained_one(void **state) {
  (void)state;
  struct retained r;
  struct queue_pool pool = {0};
  retained_init(&r, 1);
  retain(&r, "a", 0);
  struct session *s = session_new(SLICE("id"), 0);
  session_add_replay(s, &r, SLICE("#"), 0, 0);
  struct delivery d;
  uint32_t budget = 10;
  assert_true(session_next_replay(s, &budget, &d));
  message_unref(retained_delete(&r, SLICE("a")));
  assert_true(slice_eq(message_payload(d.message), SLICE("x")));
  message_unref(d.message);
  session_free(s, &pool);
  retained_release(&r, drop, NULL);
}

static void a_session_drops_what_it_holds(void **state) {
  (void)state;
  struct queue_pool pool = {0};
  struct session *s = session_new(SLICE("some id"), false), *slot = NULL;
  assert_true(slice_eq(session_id(s), SLICE("some id")));
  session_attach(s, (struct client *)(void *)&pool, &slot);
  assert_ptr_equal(slot, s);
  session_detach(s, &slot);
  assert_null(slot);
  assert_null(s->client);
  queue_push(&s->queue, &pool, (struct delivery){numbered(1), 1, false, 0});
  store_save(&s->outgoing, (struct stored){.message = numbered(2), .id = 1, .type = PACKET_PUBLISH});
  store_save(&s->incoming, (struct stored){.message = numbered(3), .id = 1, .type = PACKET_PUBLISH});
  session_free(s, &pool);
  queue_pool_release(&pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_message_is_a_copy),
      cmocka_unit_test(which_properties_a_message_has_is_known_without_a_walk),
      cmocka_unit_test(a_message_may_have_no_payload),
      cmocka_unit_test(a_queue_is_first_in_first_out),
      cmocka_unit_test(chunks_go_back_to_the_pool),
      cmocka_unit_test(random_packets_come_and_go),
      cmocka_unit_test(id_0_is_never_there),
      cmocka_unit_test(ids_wrap_and_skip_those_in_flight),
      cmocka_unit_test(with_all_ids_in_flight_there_is_none),
      cmocka_unit_test(a_pubrel_takes_the_place_of_its_pubrec),
      cmocka_unit_test(replays_come_in_the_order_of_subscribe),
      cmocka_unit_test(replays_are_removed_anywhere_in_the_ring),
      cmocka_unit_test(a_small_budget_means_come_again),
      cmocka_unit_test(a_replayed_message_outlives_its_retained_one),
      cmocka_unit_test(a_session_drops_what_it_holds),
  };
  return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
