// What goes to clients: closing in order, write delay, large payloads, blocked peers, replays of retained
// messages.
#include <stdio.h>
#include <stdlib.h>

#include "decorator.h"

struct fixture {
  struct harness *h;
  struct decorator d;
};

static void start(struct fixture *f, const struct settings *settings) {
  f->h = harness_new(settings);
  decorator_init(&f->d, f->h);
}

static void stop(struct fixture *f) {
  harness_end_peers(f->h);
  harness_free(f->h);
}

// What a peer with a small window has taken so far.
struct stream {
  struct buf bytes;
  struct slice rest; // not decoded yet
};

// Takes all that comes, one window after the other, without letting time pass.
static void take_all(struct stream *s, struct peer *p) {
  for (;;) {
    harness_run(p->harness);
    struct slice got = memory_received(p->memory);
    if (!got.len) break;
    buf_add_slice(&s->bytes, got);
    memory_consume(p->memory, got.len);
  }
  s->rest = buf_slice(&s->bytes);
}

static bool stream_next(struct stream *s, struct packet *p) {
  ssize_t n = packet_decode(p, s->rest, MQTT_3_1_1, PACKET_MAX_SIZE);
  assert_true(n >= 0);
  s->rest = slice_from(s->rest, (size_t)n);
  return n > 0;
}

static void stream_release(struct stream *s) {
  assert_int_equal(s->rest.len, 0);
  buf_release(&s->bytes);
}

static char *pattern(size_t len, uint32_t seed) {
  char *text = mem_alloc(len + 1);
  struct rand r;
  rand_init(&r, seed);
  for (size_t i = 0; i < len; i++)
    text[i] = (char)('!' + rand_next(&r) % 90);
  text[len] = 0;
  return text;
}

// --- the end ---

static void closing_flushes_what_was_queued(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *sub = peer_connect(f.h, "sub", true), *pub = peer_connect(f.h, "pub", true);
  struct peer *stranger = peer_open(f.h);
  peer_subscribe(sub, "t", 1);
  memory_send(pub->memory, slice_of("\x32\x06\x00\x01t\x00\x07x", 8));
  loop_turn(f.h->loop, false); // routed, and not flushed yet
  shard_close_clients(f.h->shard);
  peer_expect_message(sub, "t", "x", 1);
  peer_expect_closed(sub);
  peer_expect_ack(pub, PACKET_PUBACK, 7);
  peer_expect_closed(pub);
  peer_expect_closed(stranger);
  assert_string_equal(f.d.last_end, "client closed");
  assert_int_equal(f.d.terminated, 2);
  assert_true(list_empty(&f.h->shard->clients));
  stop(&f);
}

static void closing_sends_wills_to_stored_sessions(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *sub = peer_connect(f.h, "sub", false), *p = peer_open(f.h);
  peer_subscribe(sub, "w", 1);
  peer_disconnect(sub);
  struct packet_connect connect = peer_connect_defaults("p", true);
  connect.has_will = true;
  connect.will = (struct packet_message){.topic = SLICE("w"), .payload = SLICE("x"), .qos = 1};
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  shard_close_clients(f.h->shard);
  peer_expect_closed(p);
  assert_int_equal(harness_session(f.h, "sub")->queue.count, 1);
  stop(&f);
}

static void who_comes_while_closing_is_refused(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  shard_close_clients(f.h->shard);
  struct peer *p = peer_open(f.h);
  if (!peer_is_closed(p)) {
    struct packet_connect connect = peer_connect_defaults("p", true);
    assert_int_equal(peer_connect_with(p, &connect, NULL), 3);
  }
  peer_expect_closed(p);
  stop(&f);
}

// A subscriber that reads nothing, with one message on its way.
static struct peer *blocked(struct fixture *f) {
  struct peer *sub = peer_connect(f->h, "sub", true), *pub = peer_connect(f->h, "pub", true);
  peer_subscribe(sub, "t", 0);
  memory_set_window(sub->memory, 2);
  peer_publish(pub, "t", "lingers", 0, false);
  return sub;
}

static void the_last_bytes_of_a_blocked_client_have_their_time(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *sub = blocked(&f);
  client_close(harness_session(f.h, "sub")->client, NULL);
  harness_run(f.h);
  assert_int_equal(f.d.terminated, 1); // off its session at once
  assert_null(harness_session(f.h, "sub"));
  harness_advance(f.h, 4999);
  assert_false(peer_is_closed(sub));
  harness_advance(f.h, 1);
  assert_true(peer_is_closed(sub));
  stop(&f);
}

static void a_blocked_client_that_reads_gets_its_last_bytes(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *sub = blocked(&f);
  shard_close_clients(f.h->shard);
  harness_advance(f.h, 1000);
  assert_false(peer_is_closed(sub));
  memory_set_window(sub->memory, SIZE_MAX);
  peer_expect_message(sub, "t", "lingers", 0);
  peer_expect_closed(sub);
  assert_true(list_empty(&f.h->shard->clients));
  stop(&f);
}

static void a_lingering_client_holds_up_no_take_over(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *sub = blocked(&f), *new = peer_connect(f.h, "sub", true);
  assert_false(peer_is_closed(sub));
  peer_expect_nothing(new);
  memory_reset(sub->memory);
  harness_run(f.h);
  assert_true(peer_is_closed(sub));
  peer_expect_nothing(new);
  stop(&f);
}

static void a_client_that_does_not_read_is_closed(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *sub = blocked(&f);
  harness_advance(f.h, 29999);
  assert_int_equal(f.d.terminated, 0);
  harness_advance(f.h, 1);
  assert_int_equal(f.d.terminated, 1);
  assert_string_equal(f.d.last_end, "token timeout");
  harness_advance(f.h, 5000);
  assert_true(peer_is_closed(sub));
  stop(&f);
}

static void answers_to_a_peer_that_does_not_read_are_bounded(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *p = peer_connect(f.h, "p", true);
  memory_set_window(p->memory, 1);
  struct buf pings = BUF_INIT;
  for (int i = 0; i < 32768; i++)
    buf_add(&pings, "\xc0\x00", 2);
  for (int i = 0; i < 20; i++)
    peer_send(p, buf_slice(&pings));
  uint64_t answered = f.h->shard->stats.packets_sent;
  assert_true(answered < 200000);
  memory_set_window(p->memory, SIZE_MAX); // all are answered in the end
  struct stream s = {.bytes = BUF_INIT};
  take_all(&s, p);
  struct packet got;
  int count = 0;
  while (stream_next(&s, &got))
    count++;
  assert_int_equal(count, 20 * 32768);
  stream_release(&s);
  buf_release(&pings);
  stop(&f);
}

static void a_write_delay_collects_packets(void **state) {
  (void)state;
  struct fixture f;
  struct settings settings;
  settings_init(&settings);
  settings.max_write_delay_ms = 10;
  start(&f, &settings);
  struct peer *p = peer_open(f.h);
  peer_send_packet(p, &(struct packet){.type = PACKET_CONNECT, .connect = peer_connect_defaults("p", true)});
  harness_advance(f.h, 10);
  peer_expect(p, PACKET_CONNACK, NULL);
  peer_send_hex(p, "c0 00");
  peer_expect_nothing(p);
  harness_advance(f.h, 6);
  peer_send_hex(p, "c0 00");
  harness_advance(f.h, 3);
  peer_expect_nothing(p);
  harness_advance(f.h, 1);
  peer_expect(p, PACKET_PINGRESP, NULL);
  peer_expect(p, PACKET_PINGRESP, NULL);
  harness_advance(f.h, 1000);
  for (int i = 0; i < 3; i++) { // each time anew
    peer_send_hex(p, "c0 00");
    harness_advance(f.h, 10);
    peer_expect(p, PACKET_PINGRESP, NULL);
  }
  peer_send_hex(p, "c0 00");
  peer_send_hex(p, "e0 00"); // the end does not wait
  peer_expect(p, PACKET_PINGRESP, NULL);
  peer_expect_closed(p);
  stop(&f);
}

// --- large payloads ---

static void payloads_of_all_sizes_come_byte_for_byte(void **state) {
  (void)state;
  static const size_t sizes[] = {0, 1, 16383, 16384, 16385, 65535, 262144, 1000003, 5, 3000000, 20000, 7};
  static const size_t windows[] = {997, 70000, SIZE_MAX};
  enum { COUNT = sizeof sizes / sizeof sizes[0] };
  for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
    struct fixture f;
    struct settings settings;
    settings_init(&settings);
    settings.client.inflight_messages = 1000;
    start(&f, &settings);
    f.h->shard->log_mask = 0;
    struct peer *sub = peer_connect(f.h, "sub", true), *pub = peer_connect(f.h, "pub", true);
    peer_subscribe(sub, "big", 2);
    memory_set_window(sub->memory, windows[w]);
    char *payloads[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
      payloads[i] = pattern(sizes[i], (uint32_t)i);
      peer_publish(pub, "big", payloads[i], (uint8_t)(i % 2), false);
      peer_publish(pub, "big", "small", 0, false);
      peer_send_hex(sub, "c0 00");
    }
    struct stream s = {.bytes = BUF_INIT};
    take_all(&s, sub);
    struct packet got;
    size_t seen = 0, small = 0, pongs = 0;
    while (stream_next(&s, &got)) {
      if (got.type == PACKET_PINGRESP) {
        pongs++;
        continue;
      }
      assert_int_equal(got.type, PACKET_PUBLISH);
      struct slice payload = got.publish.message.payload;
      if (seen == small) {
        assert_int_equal(payload.len, sizes[seen]);
        assert_int_equal(got.publish.message.qos, seen % 2);
        assert_true(slice_eq(payload, slice_str(payloads[seen])));
        seen++;
      } else {
        assert_true(slice_eq(payload, SLICE("small")));
        small++;
      }
    }
    assert_int_equal(seen, COUNT);
    assert_int_equal(small, COUNT);
    assert_int_equal(pongs, COUNT);
    stream_release(&s);
    for (size_t i = 0; i < COUNT; i++)
      mem_free(payloads[i]);
    stop(&f);
  }
}

static void a_large_publish_may_come_in_pieces(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *sub = peer_connect(f.h, "sub", true), *pub = peer_connect(f.h, "pub", true);
  peer_subscribe(sub, "t", 0);
  static const size_t pieces[] = {1, 2, 3, 1000, 65536, 70000, 131073};
  for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
    size_t len = pieces[i] < 1000 ? 5000 : 400000;
    char *payload = pattern(len, 5);
    struct buf all = BUF_INIT;
    struct packet packet = {.type = PACKET_PUBLISH,
                            .publish = {.message = {.topic = SLICE("t"), .payload = slice_of(payload, len)}}};
    packet_encode(&packet, MQTT_3_1_1, &all);
    buf_add(&all, "\xc0\x00\xc0", 3);
    for (size_t at = 0; at < all.len; at += pieces[i]) {
      size_t left = all.len - at;
      peer_send(pub, slice_of(all.ptr + at, left < pieces[i] ? left : pieces[i]));
    }
    peer_expect(pub, PACKET_PINGRESP, NULL);
    peer_expect_nothing(pub);
    peer_send_hex(pub, "00");
    peer_expect(pub, PACKET_PINGRESP, NULL);
    peer_expect_message(sub, "t", payload, 0);
    buf_release(&all);
    mem_free(payload);
  }
  stop(&f);
}

static void a_burst_larger_than_one_gather_is_sent_whole(void **state) {
  (void)state;
  struct fixture f;
  struct settings settings;
  settings_init(&settings);
  settings.session_queue_size = 2000;
  start(&f, &settings);
  f.h->shard->log_mask = 0;
  struct peer *subs[2] = {peer_connect(f.h, "a", true), peer_connect(f.h, "b", true)};
  struct peer *pub = peer_connect(f.h, "pub", true);
  peer_subscribe(subs[0], "t", 0);
  peer_subscribe(subs[1], "t", 0);
  char *payload = pattern(1000, 1);
  struct buf all = BUF_INIT;
  struct packet packet = {.type = PACKET_PUBLISH,
                          .publish = {.message = {.topic = SLICE("t"), .payload = slice_of(payload, 1000)}}};
  for (int i = 0; i < 1000; i++)
    packet_encode(&packet, MQTT_3_1_1, &all);
  memory_set_window(subs[1]->memory, 0);
  peer_send(pub, buf_slice(&all));
  memory_set_window(subs[1]->memory, SIZE_MAX);
  for (int p = 0; p < 2; p++) {
    struct stream s = {.bytes = BUF_INIT};
    take_all(&s, subs[p]);
    assert_int_equal(s.bytes.len, all.len);
    assert_memory_equal(s.bytes.ptr, all.ptr, all.len);
    s.rest.len = 0;
    stream_release(&s);
  }
  buf_release(&all);
  mem_free(payload);
  stop(&f);
}

// --- retained messages ---

static void retained_messages_are_replayed_with_the_flag(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *pub = peer_connect(f.h, "pub", true), *sub = peer_connect(f.h, "sub", true);
  peer_publish(pub, "a/b", "x", 1, true);
  peer_expect(pub, PACKET_PUBACK, NULL);
  for (int i = 0; i < 2; i++) { // on each SUBSCRIBE [MQTT-3.8.4-3]
    peer_subscribe(sub, "a/+", i ? 2 : 0);
    struct packet got;
    peer_expect(sub, PACKET_PUBLISH, &got);
    assert_true(got.publish.message.retain); // [MQTT-3.3.1-8]
    assert_int_equal(got.publish.message.qos, i ? 1 : 0);
  }
  peer_publish(pub, "a/b", "y", 0, true);
  struct packet got;
  peer_expect(sub, PACKET_PUBLISH, &got);
  assert_false(got.publish.message.retain); // [MQTT-3.3.1-9]
  peer_publish(pub, "a/b", "", 0, true);    // deletes, and is delivered
  peer_expect_message(sub, "a/b", "", 0);
  peer_subscribe(sub, "#", 0);
  peer_expect_nothing(sub);
  assert_int_equal(memory_retained(f.h->memory)->count, 0);
  stop(&f);
}

static void retained_messages_are_not_sent_again_when_a_session_is_resumed(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *pub = peer_connect(f.h, "pub", true), *sub = peer_connect(f.h, "sub", false);
  peer_publish(pub, "t", "x", 0, true);
  peer_subscribe(sub, "t", 0);
  peer_expect_message(sub, "t", "x", 0);
  struct peer *again = peer_connect(f.h, "sub", false);
  peer_expect_nothing(again);
  peer_disconnect(again);
  peer_expect_nothing(peer_connect(f.h, "sub", false));
  stop(&f);
}

enum { RETAINED = 10000, LIVE = 200 };

static void publish_retained(struct peer *pub, int i, const char *payload) {
  char topic[32];
  snprintf(topic, sizeof topic, "r/%d", i);
  peer_publish(pub, topic, payload, 0, true);
}

static void many_retained_messages_go_through_a_small_window_beside_live_ones(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  f.h->shard->log_mask = 0;
  struct peer *pub = peer_connect(f.h, "pub", true), *sub = peer_connect(f.h, "sub", true);
  char *old = pattern(100, 1);
  for (int i = 0; i < RETAINED; i++)
    publish_retained(pub, i, old);
  peer_subscribe(sub, "live", 0);
  memory_set_window(sub->memory, 1000);
  peer_send_hex(sub, "82 08 00 10 00 03 72 2f 23 00"); // r/#
  struct stream s = {.bytes = BUF_INIT};
  for (int i = 0; i < LIVE; i++) {
    char text[16];
    snprintf(text, sizeof text, "%d", i);
    peer_publish(pub, "live", text, 0, false);
    publish_retained(pub, RETAINED - 1 - i, ""); // cleared during the replay
    publish_retained(pub, i, "new");             // set
    for (int j = 0; j < 4; j++) {
      struct slice got = memory_received(sub->memory);
      buf_add_slice(&s.bytes, got);
      memory_consume(sub->memory, got.len);
      harness_run(f.h);
    }
  }
  take_all(&s, sub);
  uint8_t *replayed = mem_calloc(RETAINED, 1);
  int live = 0, count = 0, before_live = 0;
  struct packet got;
  while (stream_next(&s, &got)) {
    if (got.type == PACKET_SUBACK) continue;
    assert_int_equal(got.type, PACKET_PUBLISH);
    const struct packet_message *m = &got.publish.message;
    char text[32] = "";
    if (slice_eq(m->topic, SLICE("live"))) {
      snprintf(text, sizeof text, "%d", live++);
      assert_true(slice_eq(m->payload, slice_str(text)));
      if (live == 1) before_live = count;
    } else if (m->retain) {
      memcpy(text, m->topic.ptr + 2, m->topic.len - 2);
      int i = atoi(text);
      assert_false(replayed[i]);
      replayed[i] = 1;
      count++;
    }
  }
  assert_int_equal(live, LIVE);
  assert_true(before_live < RETAINED / 2); // not held up until the replay is over
  for (int i = 0; i < RETAINED - LIVE; i++)
    assert_true(replayed[i]);
  assert_true(count <= RETAINED);
  assert_int_equal(memory_retained(f.h->memory)->count, RETAINED - LIVE);
  assert_int_equal(f.h->shard->stats.messages_dropped_queue_full, 0);
  mem_free(replayed);
  mem_free(old);
  stream_release(&s);
  stop(&f);
}

static void a_replay_of_qos_1_is_paced_by_the_window(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  f.h->shard->log_mask = 0;
  struct peer *pub = peer_connect(f.h, "pub", true), *sub = peer_connect(f.h, "sub", true);
  for (int i = 0; i < 300; i++) {
    char topic[32];
    snprintf(topic, sizeof topic, "r/%d", i);
    peer_publish(pub, topic, "x", 1, true);
    peer_expect(pub, PACKET_PUBACK, NULL);
  }
  peer_subscribe(sub, "r/+", 1);
  for (int i = 0; i < 300; i++) {
    struct packet got;
    peer_expect(sub, PACKET_PUBLISH, &got);
    assert_true(harness_session(f.h, "sub")->outgoing.count <= 10);
    peer_send_ack(sub, PACKET_PUBACK, got.id);
  }
  peer_expect_nothing(sub);
  stop(&f);
}

static void unsubscribing_ends_the_replay(void **state) {
  (void)state;
  struct fixture f;
  start(&f, NULL);
  struct peer *pub = peer_connect(f.h, "pub", true), *sub = peer_connect(f.h, "sub", true);
  for (int i = 0; i < 100; i++)
    publish_retained(pub, i, "x");
  memory_set_window(sub->memory, 50);
  peer_send_hex(sub, "82 08 00 10 00 03 72 2f 23 01");
  peer_send_hex(sub, "a2 07 00 11 00 03 72 2f 23");
  assert_null(harness_session(f.h, "sub")->replays);
  peer_disconnect(pub);
  stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(closing_flushes_what_was_queued),
      cmocka_unit_test(closing_sends_wills_to_stored_sessions),
      cmocka_unit_test(who_comes_while_closing_is_refused),
      cmocka_unit_test(the_last_bytes_of_a_blocked_client_have_their_time),
      cmocka_unit_test(a_blocked_client_that_reads_gets_its_last_bytes),
      cmocka_unit_test(a_lingering_client_holds_up_no_take_over),
      cmocka_unit_test(a_client_that_does_not_read_is_closed),
      cmocka_unit_test(answers_to_a_peer_that_does_not_read_are_bounded),
      cmocka_unit_test(a_write_delay_collects_packets),
      cmocka_unit_test(payloads_of_all_sizes_come_byte_for_byte),
      cmocka_unit_test(a_large_publish_may_come_in_pieces),
      cmocka_unit_test(a_burst_larger_than_one_gather_is_sent_whole),
      cmocka_unit_test(retained_messages_are_replayed_with_the_flag),
      cmocka_unit_test(retained_messages_are_not_sent_again_when_a_session_is_resumed),
      cmocka_unit_test(many_retained_messages_go_through_a_small_window_beside_live_ones),
      cmocka_unit_test(a_replay_of_qos_1_is_paced_by_the_window),
      cmocka_unit_test(unsubscribing_ends_the_replay),
  };
  return cmocka_run_group_tests_name("broker output", tests, NULL, NULL);
}
