// WebSocket frames over memory connections: payload, faults and the end.
#include "web_server.h"

// --- reading ---

static void payload_is_one_stream(void **state) {
  (void)state;
  struct web_server s;
  web_server_open(&s, NULL);
  web_server_upgrade(&s);
  send_frame(&s, BINARY, SLICE("one "));
  send_frame(&s, FRAGMENT, SLICE("t"));
  send_frame(&s, PING, SLICE("in between"));
  send_frame(&s, MORE, SLICE(""));
  send_frame(&s, MORE, SLICE("w"));
  send_frame(&s, PONG, SLICE("nobody asked"));
  send_frame(&s, LAST, SLICE("o"));
  send_frame(&s, BINARY, SLICE(""));
  send_frame(&s, BINARY, SLICE(" three"));
  assert_got(&s, "one two three");
  struct sent sent = sent_none();
  take_sent(&s, &sent);
  assert_int_equal(sent.pongs, 1);
  assert_string_equal(buf_text(&sent.last_pong), "in between");
  assert_non_null(s.conn);
  sent_release(&sent);
  web_server_close(&s);
}

static void lengths_of_all_kinds_arrive(void **state) {
  (void)state;
  static const size_t lengths[] = {1, 125, 126, 127, 4095, 4096, 65535, 65536, 1000000};
  struct web_server s;
  web_server_open(&s, NULL);
  web_server_upgrade(&s);
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    send_frame(&s, BINARY, some_bytes(lengths[i]));
    assert_true(slice_eq(buf_slice(&s.got), some_bytes(lengths[i])));
    s.got.len = 0;
  }
  web_server_close(&s);
}

static void one_event_is_one_read(void **state) {
  (void)state;
  struct web_server s;
  web_server_open(&s, NULL);
  web_server_upgrade(&s);
  struct buf frames = BUF_INIT;
  for (int i = 0; i < 1000; i++)
    naive_add_frame(&frames, BINARY, SLICE("a packet"), 1);
  int before = s.readable;
  memory_send(s.peer, buf_slice(&frames));
  web_server_run(&s);
  assert_int_equal(s.got.len, 8000);
  assert_int_equal(s.readable - before, 1);
  buf_release(&frames);
  web_server_close(&s);
}

static void frames_may_come_with_the_request(void **state) {
  (void)state;
  for (int by_byte = 0; by_byte < 2; by_byte++) {
    struct web_server s;
    struct buf in = BUF_INIT;
    web_server_open(&s, NULL);
    s.room = by_byte ? 1 : 100000;
    buf_add_str(&in, WEB_REQUEST);
    naive_add_frame(&in, BINARY, SLICE("early"), 5);
    naive_add_frame(&in, CLOSE, SLICE("\x03\xe8"), 6);
    memory_send(s.peer, buf_slice(&in));
    web_server_run(&s);
    assert_true(s.open);
    assert_got(&s, "early");
    assert_int_equal(s.end, 0);
    assert_true(memory_closed(s.peer));
    buf_release(&in);
    web_server_close(&s);
  }
}

static void early_bytes_wait_while_nobody_reads(void **state) {
  (void)state;
  struct web_server s;
  struct buf in = BUF_INIT;
  web_server_open(&s, NULL);
  buf_add_str(&in, WEB_REQUEST);
  naive_add_frame(&in, BINARY, SLICE("early"), 5);
  memory_send(s.peer, buf_slice(&in));
  loop_turn(s.loop, false);
  assert_true(s.open);
  conn_watch_read(s.conn, false);
  web_server_run(&s);
  assert_int_equal(s.got.len, 0);
  conn_watch_read(s.conn, true);
  web_server_run(&s);
  assert_got(&s, "early");
  buf_release(&in);
  web_server_close(&s);
}

// --- the end ---

static void a_close_is_answered_with_its_code(void **state) {
  (void)state;
  static const struct {
    struct slice payload;
    int answer;
    ssize_t end;
  } cases[] = {
      {SLICE(""), 0, 0},
      {SLICE("\x03\xe8"), 1000, 0},
      {SLICE("\x03\xe9going away"), 1001, 0},
      {SLICE("\x0b\xb8"), 3000, 0},
      {SLICE("\x13\x87"), 4999, 0},
      {SLICE("\x03"), 1002, -EPROTO},
      {SLICE("\0\0"), 1002, -EPROTO},
      {SLICE("\x03\xec"), 1002, -EPROTO}, // 1004
      {SLICE("\x03\xed"), 1002, -EPROTO}, // 1005
      {SLICE("\x03\xee"), 1002, -EPROTO}, // 1006
      {SLICE("\x03\xf7"), 1002, -EPROTO}, // 1015
      {SLICE("\x07\xd0"), 1002, -EPROTO}, // 2000
      {SLICE("\x13\x88"), 1002, -EPROTO}, // 5000
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct web_server s;
    struct sent sent = sent_none();
    web_server_open(&s, NULL);
    web_server_upgrade(&s);
    send_frame(&s, BINARY, SLICE("before"));
    send_frame(&s, CLOSE, cases[i].payload);
    send_frame(&s, BINARY, SLICE("behind"));
    take_sent(&s, &sent);
    assert_got(&s, "before");
    assert_int_equal(sent.close, cases[i].answer);
    assert_int_equal(s.end, cases[i].end);
    if (s.end) assert_string_equal(s.why, "malformed close frame");
    assert_true(memory_closed(s.peer));
    sent_release(&sent);
    web_server_close(&s);
  }
}

static void faults_end_with_a_code_and_a_reason(void **state) {
  (void)state;
  static const struct {
    struct slice bytes;
    int code;
    const char *why;
  } cases[] = {
      {SLICE("\x82\x01x"), 1002, "frame without a mask"},
      {SLICE("\x88\x00"), 1002, "frame without a mask"},
      {SLICE("\x81\x81\0\0\0\0x"), 1003, "text frame"},
      {SLICE("\x01\x80\0\0\0\0"), 1003, "text frame"},
      {SLICE("\xc2\x81\0\0\0\0x"), 1002, "frame with reserved bits"},
      {SLICE("\xa2\x81\0\0\0\0x"), 1002, "frame with reserved bits"},
      {SLICE("\x92\x81\0\0\0\0x"), 1002, "frame with reserved bits"},
      {SLICE("\x83\x81\0\0\0\0x"), 1002, "frame with an unknown opcode"},
      {SLICE("\x8b\x80\0\0\0\0"), 1002, "frame with an unknown opcode"},
      {SLICE("\x80\x81\0\0\0\0x"), 1002, "continuation of no message"},
      {SLICE("\x00\x81\0\0\0\0x"), 1002, "continuation of no message"},
      {SLICE("\x02\x80\0\0\0\0\x82\x81\0\0\0\0x"), 1002, "new message within a fragmented one"},
      {SLICE("\x02\x80\0\0\0\0\x81\x81\0\0\0\0x"), 1002, "new message within a fragmented one"},
      {SLICE("\x02\x80\0\0\0\0\x80\x80\0\0\0\0\x80\x80\0\0\0\0"), 1002, "continuation of no message"},
      {SLICE("\x09\x80\0\0\0\0"), 1002, "malformed frame"},                  // a fragmented ping
      {SLICE("\x89\xfe\x00\x7e\0\0\0\0"), 1002, "malformed frame"},          // a long one
      {SLICE("\x82\xfe\x00\x7d"), 1002, "malformed frame"},                  // 125 in two bytes
      {SLICE("\x82\xff\0\0\0\0\0\0\xff\xff"), 1002, "malformed frame"},      // 65535 in eight
      {SLICE("\x82\xff\x80\0\0\0\0\0\0\0"), 1002, "malformed frame"},        // 2^63
      {SLICE("\x16\x03\x01\x02\0\x01\0"), 1002, "frame with reserved bits"}, // TLS
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases * 2; i++) {
    struct slice in = cases[i / 2].bytes;
    struct web_server s;
    struct sent sent = sent_none();
    web_server_open(&s, NULL);
    web_server_upgrade(&s);
    send_frame(&s, BINARY, SLICE("before"));
    size_t step = i % 2 ? 1 : in.len;
    for (size_t at = 0; at < in.len; at += step) {
      memory_send(s.peer, slice_of(in.ptr + at, step));
      web_server_run(&s);
    }
    take_sent(&s, &sent);
    assert_got(&s, "before");
    if (s.end != -EPROTO || sent.close != cases[i / 2].code || strcmp(s.why, cases[i / 2].why))
      fail_msg("case %zu: %zd, %d, %s", i / 2, s.end, sent.close, s.why);
    sent_release(&sent);
    web_server_close(&s);
  }
}

static void payload_in_front_of_a_fault_is_answered_first(void **state) {
  (void)state;
  struct web_server s;
  struct sent sent = sent_none();
  struct buf in = BUF_INIT;
  web_server_open(&s, NULL);
  web_server_upgrade(&s);
  naive_add_frame(&in, BINARY, SLICE("ask"), 1);
  naive_add_frame(&in, TEXT, SLICE("fault"), 1);
  memory_send(s.peer, buf_slice(&in));
  loop_turn(s.loop, false);
  assert_got(&s, "ask");
  assert_int_equal(conn_write(s.conn, &(struct iovec){(void *)"answer", 6}, 1, NULL), 0);
  web_server_run(&s);
  take_sent(&s, &sent);
  assert_string_equal(buf_text(&sent.payload), "answer");
  assert_int_equal(sent.close, 1003);
  sent_release(&sent);
  buf_release(&in);
  web_server_close(&s);
}

static void we_say_goodbye_too(void **state) {
  (void)state;
  for (int orderly = 0; orderly < 2; orderly++) {
    struct web_server s;
    struct sent sent = sent_none();
    web_server_open(&s, NULL);
    web_server_upgrade(&s);
    conn_close(s.conn, orderly);
    s.conn = NULL;
    take_sent(&s, &sent);
    assert_int_equal(sent.close, 1000);
    sent_release(&sent);
    web_server_close(&s);
  }
}

static void no_goodbye_within_a_frame(void **state) {
  (void)state;
  struct web_server s;
  web_server_open(&s, NULL);
  web_server_upgrade(&s);
  memory_set_window(s.peer, 5);
  assert_true(conn_write(s.conn, &(struct iovec){(void *)"payload", 7}, 1, NULL) > 0);
  memory_consume(s.peer, 2);
  conn_close(s.conn, true);
  s.conn = NULL;
  assert_true(slice_eq(memory_received(s.peer), SLICE("pay")));
  web_server_close(&s);
}

static void an_end_without_a_close_frame_is_an_end(void **state) {
  (void)state;
  for (int reset = 0; reset < 2; reset++) {
    struct web_server s;
    web_server_open(&s, NULL);
    web_server_upgrade(&s);
    memory_send(s.peer, SLICE("\x82\x85\0\0\0\0he"));
    if (reset)
      memory_reset(s.peer);
    else
      memory_shutdown(s.peer);
    web_server_run(&s);
    assert_got(&s, "he");
    assert_int_equal(s.end, reset ? -ECONNRESET : 0);
    assert_int_equal(memory_received(s.peer).len, 0); // nobody would read a goodbye
    web_server_close(&s);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      {"[MQTT-6.0.0-2] [MQTT5-6.0.0-2] payload is one stream", payload_is_one_stream, NULL, NULL, NULL},
      cmocka_unit_test(lengths_of_all_kinds_arrive),
      cmocka_unit_test(one_event_is_one_read),
      cmocka_unit_test(frames_may_come_with_the_request),
      cmocka_unit_test(early_bytes_wait_while_nobody_reads),
      cmocka_unit_test(a_close_is_answered_with_its_code),
      {"[MQTT-6.0.0-1] [MQTT-6.0-1] [MQTT5-6.0.0-1] text frames and other faults end with a code and a "
       "reason",
       faults_end_with_a_code_and_a_reason, NULL, NULL, NULL},
      cmocka_unit_test(payload_in_front_of_a_fault_is_answered_first),
      cmocka_unit_test(we_say_goodbye_too),
      cmocka_unit_test(no_goodbye_within_a_frame),
      cmocka_unit_test(an_end_without_a_close_frame_is_an_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
