// WebSocket frames over memory connections: what is sent, through windows of any size; and any input,
// compared with a naive reader.
#include "web_server.h"

#include "base/rand.h"
#include "transport/websocket_frames.h"

// --- pings ---

static void many_pings_cost_one_pong(void **state) {
  (void)state;
  struct web_server s;
  struct sent sent = sent_none();
  struct buf pings = BUF_INIT;
  web_server_open(&s, NULL);
  web_server_upgrade(&s);
  for (int i = 0; i < 1000; i++) {
    char payload[4] = {(char)('0' + i / 100), (char)('0' + i / 10 % 10), (char)('0' + i % 10), 0};
    naive_add_frame(&pings, PING, slice_str(payload), 3);
  }
  memory_send(s.peer, buf_slice(&pings));
  web_server_run(&s);
  take_sent(&s, &sent);
  assert_int_equal(sent.pongs, 1);
  assert_string_equal(buf_text(&sent.last_pong), "999");
  memory_set_window(s.peer, 3); // and while the peer takes nothing, one waits
  for (int i = 0; i < 10; i++) {
    memory_send(s.peer, buf_slice(&pings));
    web_server_run(&s);
  }
  assert_true(conn_blocked(s.conn));
  send_frame(&s, PING, SLICE("last"));
  memory_set_window(s.peer, SIZE_MAX);
  web_server_run(&s);
  take_sent(&s, &sent);
  assert_int_equal(sent.pongs, 3); // the one that was half sent, and the last
  assert_string_equal(buf_text(&sent.last_pong), "last");
  assert_false(conn_blocked(s.conn));
  assert_true(s.writable > 0);
  sent_release(&sent);
  buf_release(&pings);
  web_server_close(&s);
}

// --- writing ---

static void what_a_turn_has_is_one_frame(void **state) {
  (void)state;
  struct web_server s;
  struct sent sent = sent_none();
  web_server_open(&s, NULL);
  web_server_upgrade(&s);
  struct iovec iov[200];
  size_t total = 0;
  for (int i = 0; i < 200; i++) {
    iov[i] = (struct iovec){(uint8_t *)(uintptr_t)some_bytes(1 << 20).ptr + total, (size_t)i % 7};
    total += (size_t)i % 7;
  }
  conn_write(s.conn, iov, 200, NULL); // more than are handed to the carrier at once
  web_server_run(&s);
  take_sent(&s, &sent);
  assert_int_equal(sent.frames, 1);
  assert_true(slice_eq(buf_slice(&sent.payload), some_bytes(total)));
  assert_false(conn_blocked(s.conn));
  assert_int_equal(conn_write(s.conn, &(struct iovec){NULL, 0}, 1, NULL), 0);
  take_sent(&s, &sent);
  assert_int_equal(sent.frames, 1);
  sent_release(&sent);
  web_server_close(&s);
}

static void a_small_window_cuts_frames_anywhere(void **state) {
  (void)state;
  for (size_t window = 1; window < 40; window++) {
    struct web_server s;
    struct sent sent = sent_none();
    web_server_open(&s, NULL);
    web_server_upgrade(&s);
    memory_set_window(s.peer, window);
    for (int i = 0; i < 20; i++) {
      struct slice bytes = slice_from(some_bytes((size_t)i * 17 + 17), (size_t)i * 17);
      conn_write(s.conn, &(struct iovec){(void *)(uintptr_t)bytes.ptr, bytes.len}, 1, NULL);
      send_frame(&s, PING, SLICE("?"));
      for (int turns = 0; conn_blocked(s.conn); turns++) {
        assert_true(turns < 1000);
        take_sent(&s, &sent);
        web_server_run(&s);
      }
    }
    take_sent(&s, &sent);
    assert_int_equal(sent.part.len, 0);
    assert_int_equal(sent.frames, 20);
    assert_int_equal(sent.pongs, 20);
    assert_true(slice_eq(buf_slice(&sent.payload), some_bytes(20 * 17)));
    sent_release(&sent);
    web_server_close(&s);
  }
}

static void large_payloads_pass_small_windows(void **state) {
  (void)state;
  struct web_server s;
  struct sent sent = sent_none();
  web_server_open(&s, NULL);
  web_server_upgrade(&s);
  memory_set_window(s.peer, 997);
  struct slice bytes = some_bytes(1 << 20);
  conn_write(s.conn, &(struct iovec){(void *)(uintptr_t)bytes.ptr, bytes.len}, 1, NULL);
  struct buf in = BUF_INIT; // and as much comes meanwhile, with pings
  for (int i = 0; i < 64; i++) {
    naive_add_frame(&in, i ? i == 63 ? LAST : MORE : FRAGMENT, slice_of(bytes.ptr + i * 16384, 16384), 9);
    naive_add_frame(&in, PING, SLICE("ping"), 9);
  }
  for (size_t at = 0, part = 3001; at < in.len || conn_blocked(s.conn); at += part) {
    if (part > in.len - at) part = in.len - at;
    memory_send(s.peer, slice_of(in.ptr + at, part));
    web_server_run(&s);
    take_sent(&s, &sent);
  }
  take_sent(&s, &sent);
  assert_int_equal(sent.frames, 1);
  assert_true(sent.pongs >= 1 && sent.pongs <= 64);
  assert_true(slice_eq(buf_slice(&sent.payload), bytes));
  assert_true(slice_eq(buf_slice(&s.got), bytes));
  buf_release(&in);
  sent_release(&sent);
  web_server_close(&s);
}

static void a_reset_while_bytes_wait_is_told(void **state) {
  (void)state;
  for (size_t window = 0; window < 6; window++) {
    struct web_server s;
    web_server_open(&s, NULL);
    web_server_upgrade(&s);
    memory_set_window(s.peer, window);
    assert_true(conn_write(s.conn, &(struct iovec){(void *)"payload", 7}, 1, NULL) > 0);
    send_frame(&s, PING, SLICE("?"));
    memory_reset(s.peer);
    web_server_run(&s);
    assert_int_equal(s.end, -ECONNRESET);
    assert_null(s.conn);
    web_server_close(&s);
  }
}

// --- contexts of the decoder ---

// Feeds one byte of two streams in turn.
static void connections_share_contexts_but_not_what_they_have_read(void **state) {
  (void)state;
  struct frames *f = frames_new();
  struct buf in[2] = {BUF_INIT, BUF_INIT}, got[2] = {BUF_INIT, BUF_INIT};
  struct frame_reader readers[2] = {{0}};
  for (int i = 0; i < 50; i++) {
    naive_add_frame(&in[0], BINARY, some_bytes((size_t)i), 1);
    naive_add_frame(&in[1], i % 2 ? LAST : FRAGMENT, slice_from(some_bytes(500), (size_t)i), 2);
  }
  for (size_t at = 0; at < in[0].len || at < in[1].len; at++)
    for (int i = 0; i < 2; i++) {
      uint8_t byte;
      struct frames_read out;
      if (at >= in[i].len) continue;
      frames_read(f, &readers[i], slice_of(in[i].ptr + at, 1), &(struct iovec){&byte, 1}, 1, &out);
      assert_false(out.ended);
      buf_add(&got[i], &byte, out.payload);
    }
  for (int i = 0; i < 2; i++) {
    struct naive_stream expected;
    naive_stream_read(&expected, buf_slice(&in[i]));
    assert_true(slice_eq(buf_slice(&got[i]), buf_slice(&expected.payload)));
    assert_null(readers[i].context);
    naive_stream_release(&expected);
    buf_release(&in[i]);
    buf_release(&got[i]);
  }
  frames_free(f);
}

static void between_two_frames_no_context_is_held(void **state) {
  (void)state;
  struct frames *f = frames_new();
  struct frame_reader reader = {0};
  struct frames_read out;
  struct buf in = BUF_INIT;
  uint8_t bytes[64];
  naive_add_frame(&in, FRAGMENT, SLICE("payload"), 1);
  for (size_t cut = 0; cut <= in.len; cut++) {
    if (cut) frames_read(f, &reader, slice_of(in.ptr, cut), &(struct iovec){bytes, 64}, 1, &out);
    assert_int_equal(reader.context != NULL, cut > 0 && cut < in.len);
    frame_reader_release(&reader);
  }
  assert_true(reader.in_message);
  buf_release(&in);
  frames_free(f);
}

static void very_many_contexts_do_not_stay(void **state) {
  (void)state;
  enum { MANY = 100 };
  struct frames *f = frames_new();
  struct frame_reader readers[MANY] = {{0}};
  struct frames_read out;
  struct buf in = BUF_INIT;
  uint8_t bytes[8];
  naive_add_frame(&in, BINARY, SLICE("payload"), 1);
  for (int i = 0; i < MANY; i++) // the sanitizer sees whether all of them are freed
    frames_read(f, &readers[i], slice_of(in.ptr, 1), &(struct iovec){bytes, 8}, 1, &out);
  for (int i = 0; i < MANY; i++) {
    frames_read(f, &readers[i], slice_from(buf_slice(&in), 1), &(struct iovec){bytes, 8}, 1, &out);
    assert_int_equal(out.payload, 7);
    assert_null(readers[i].context);
  }
  buf_release(&in);
  frames_free(f);
}

// --- against the naive reader ---

static uint32_t rand_below(struct rand *r, uint32_t limit) { return (uint32_t)(rand_next(r) % limit); }

static void add_random_frame(struct buf *out, struct rand *r, bool *fragmented) {
  static const uint16_t codes[] = {1000, 1001, 1005, 3000};
  size_t len = rand_below(r, 10) ? rand_below(r, 140) : rand_below(r, 70000);
  uint32_t what = rand_below(r, 40);
  uint8_t first = BINARY;
  if (what < 8) {
    first = what < 4 ? PING : PONG;
    len %= 126;
  } else if (what < 20) {
    bool fin = rand_below(r, 3) == 0;
    first = (uint8_t)((*fragmented ? 0 : 2) | (fin ? 0x80 : 0));
    *fragmented = !fin;
  } else if (*fragmented) {
    first = MORE;
  }
  if (what == 39) first = (uint8_t)rand_below(r, 256); // likely a fault
  size_t at = out->len;
  naive_add_frame(out, first, some_bytes(len), rand_below(r, 1000));
  if (rand_below(r, 200) == 0) out->ptr[at + rand_below(r, (uint32_t)(out->len - at))] ^= 0x80;
  if (rand_below(r, 60) == 0) {
    uint16_t code = codes[rand_below(r, 4)];
    naive_add_frame(out, CLOSE, slice_of((uint8_t[]){(uint8_t)(code >> 8), (uint8_t)code}, 2), 1);
  }
}

static void any_stream_is_read_as_the_naive_reader_reads_it(void **state) {
  (void)state;
  struct rand r;
  rand_init(&r, 1);
  for (int round = 0; round < 300; round++) {
    struct buf in = BUF_INIT;
    struct naive_stream expected;
    struct web_server s;
    struct sent sent = sent_none();
    bool fragmented = false;
    for (uint32_t n = rand_below(&r, 30); n-- > 0;)
      add_random_frame(&in, &r, &fragmented);
    if (in.len) in.len -= rand_below(&r, in.len > 100 ? 20 : 1);
    naive_stream_read(&expected, buf_slice(&in));
    web_server_open(&s, NULL);
    web_server_upgrade(&s);
    if (round % 3 == 0) s.room = 1 + rand_below(&r, 9);
    for (size_t at = 0; at < in.len;) {
      size_t part = round % 4 ? 1 + rand_below(&r, 5000) : 1 + rand_below(&r, 7);
      if (part > in.len - at) part = in.len - at;
      memory_send(s.peer, slice_of(in.ptr + at, part));
      web_server_run(&s);
      at += part;
    }
    take_sent(&s, &sent);
    assert_true(slice_eq(buf_slice(&s.got), buf_slice(&expected.payload)));
    assert_int_equal(s.conn == NULL, expected.ended);
    if (expected.ended) assert_int_equal(sent.close, expected.code);
    if (expected.ended) assert_int_equal(s.end, expected.is_fault ? -EPROTO : 0);
    assert_true(sent.pongs <= expected.pings);
    if (!expected.ended && expected.pings)
      assert_true(slice_eq(buf_slice(&sent.last_pong), buf_slice(&expected.last_ping)));
    sent_release(&sent);
    naive_stream_release(&expected);
    buf_release(&in);
    web_server_close(&s);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(many_pings_cost_one_pong),
      cmocka_unit_test(what_a_turn_has_is_one_frame),
      cmocka_unit_test(a_small_window_cuts_frames_anywhere),
      cmocka_unit_test(large_payloads_pass_small_windows),
      cmocka_unit_test(a_reset_while_bytes_wait_is_told),
      cmocka_unit_test(connections_share_contexts_but_not_what_they_have_read),
      cmocka_unit_test(between_two_frames_no_context_is_held),
      cmocka_unit_test(very_many_contexts_do_not_stay),
      cmocka_unit_test(any_stream_is_read_as_the_naive_reader_reads_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
