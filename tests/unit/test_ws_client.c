// The client's side of a WebSocket, against answers and frames that the test writes by hand.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/mem.h"
#include "client/ws_client.h"
#include "ws_answer.h"

#define HELLO "\x81\x05hello" // a text frame

static struct ws_client *start(void) {
  return ws_client_new(&(struct ws_client_options){.host = "localhost", .port = 8080});
}

// The value of a header of the request.
static char *header(struct ws_client *w, const char *name, char *to, size_t size) {
  const char *at = strstr(buf_text(&w->out), name);
  assert_non_null(at);
  at += strlen(name) + 2;
  snprintf(to, size, "%.*s", (int)strcspn(at, "\r"), at);
  return to;
}

static struct slice answer_to(struct ws_client *w, char to[WS_ANSWER_MAX]) {
  struct slice answer = ws_answer(buf_text(&w->out), to);
  w->out.len = 0;
  return answer;
}

static struct ws_client *start_ready(void) {
  char text[WS_ANSWER_MAX];
  uint8_t to[512];
  struct ws_client *w = start();
  assert_int_equal(ws_client_feed(w, answer_to(w, text), to), 0);
  assert_true(w->ready);
  return w;
}

// Feeds one byte at a time; the bytes of payload, or -1.
static ssize_t drip(struct ws_client *w, struct slice in, uint8_t *to) {
  ssize_t total = 0;
  for (; in.len; in = slice_from(in, 1)) {
    ssize_t n = ws_client_feed(w, slice_of(in.ptr, 1), to + total);
    if (n < 0) return n;
    total += n;
  }
  return total;
}

// Takes a masked frame off w->out; its payload is unmasked in place.
static struct slice sent_frame(struct ws_client *w, uint8_t first) {
  uint8_t *p = w->out.ptr;
  assert_true(w->out.len >= 6);
  assert_int_equal(p[0], first);
  assert_true(p[1] & 0x80); // RFC 6455, 5.1: a client masks
  size_t head = 2, len = p[1] & 0x7f;
  if (len == 126) len = (size_t)(p[2] << 8 | p[3]), head = 4;
  assert_int_equal(w->out.len, head + 4 + len);
  for (size_t i = 0; i < len; i++)
    p[head + 4 + i] ^= p[head + i % 4];
  w->out.len = 0;
  return slice_of(p + head + 4, len);
}

static void assert_slice(struct slice got, struct slice expected) {
  assert_int_equal(got.len, expected.len);
  if (got.len) assert_memory_equal(got.ptr, expected.ptr, got.len);
}

static void asks_for_an_upgrade(void **state) {
  (void)state;
  char key[32], other[32];
  struct ws_client *w = start(), *v = start();
  assert_true(slice_starts(buf_slice(&w->out), SLICE("GET /mqtt HTTP/1.1\r\nHost: localhost:8080\r\n")));
  assert_non_null(strstr(buf_text(&w->out), "\r\nSec-WebSocket-Protocol: mqtt\r\n"));
  assert_non_null(strstr(buf_text(&w->out), "\r\nSec-WebSocket-Version: 13\r\n"));
  assert_null(strstr(buf_text(&w->out), "Origin"));
  assert_string_equal(buf_text(&w->out) + w->out.len - 4, "\r\n\r\n");
  assert_int_equal(strlen(header(w, "Sec-WebSocket-Key", key, sizeof key)), 24);
  assert_string_not_equal(key, header(v, "Sec-WebSocket-Key", other, sizeof other));
  ws_client_free(w);
  ws_client_free(v);
}

static void tells_what_it_is_asked_to_tell(void **state) {
  (void)state;
  struct ws_client *w = ws_client_new(&(struct ws_client_options){
      .host = "::1", .path = "/a?b=c", .origin = "https://x.example", .headers = SLICE("A: b\r\nC: d\r\n")});
  const char *text = buf_text(&w->out);
  assert_non_null(strstr(text, "GET /a?b=c HTTP/1.1\r\nHost: [::1]\r\n"));
  assert_non_null(strstr(text, "\r\nOrigin: https://x.example\r\nA: b\r\nC: d\r\n\r\n"));
  ws_client_free(w);
  assert_false(ws_client_path_valid("mqtt"));
  assert_false(ws_client_path_valid(""));
  assert_false(ws_client_path_valid("/a b"));
  assert_false(ws_client_path_valid("/a\r\nX: y"));
  assert_true(ws_client_header_valid("X-A", "b c"));
  assert_false(ws_client_header_valid("X A", "b"));
  assert_false(ws_client_header_valid("X:", "b"));
  assert_false(ws_client_header_valid("", "b"));
  assert_false(ws_client_header_valid("X", "b\r\nY: z"));
}

static void takes_an_answer_byte_by_byte(void **state) {
  (void)state;
  char text[WS_ANSWER_MAX];
  uint8_t to[1024];
  struct ws_client *w = start();
  struct slice answer = answer_to(w, text);
  assert_int_equal(drip(w, slice_of(answer.ptr, answer.len - 1), to), 0);
  assert_false(w->ready);
  assert_int_equal(drip(w, slice_from(answer, answer.len - 1), to), 0);
  assert_true(w->ready);
  assert_int_equal(drip(w,
                        SLICE("\x82\x03"
                              "abc"
                              "\x02\x02"
                              "de"
                              "\x80\x01"
                              "f"),
                        to),
                   6);
  assert_memory_equal(to, "abcdef", 6);
  ws_client_free(w);
}

static void payload_may_come_with_the_answer(void **state) {
  (void)state;
  char text[WS_ANSWER_MAX];
  uint8_t to[512];
  struct ws_client *w = start();
  struct slice answer = answer_to(w, text);
  memcpy(text + answer.len, "\x82\x02hi", 4);
  answer.len += 4;
  assert_int_equal(ws_client_feed(w, answer, to), 2);
  assert_memory_equal(to, "hi", 2);
  ws_client_free(w);
}

// One row of the answer is spoilt in each.
static void refuses_what_is_no_upgrade(void **state) {
  (void)state;
  static const struct {
    const char *good, *bad, *error;
  } cases[] = {
      {"101 Switching Protocols", "404 Whatever",
       "the server answered 404 Not Found instead of upgrading to WebSocket"},
      {"101 Switching Protocols", "200 OK", "the server answered 200 OK instead of upgrading to WebSocket"},
      {"upgrade: WebSocket", "upgrade: h2c      ", "the server did not upgrade to WebSocket"},
      {"keep-alive, Upgrade", "keep-alive         ", "the server did not upgrade the connection"},
      {"Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x",
       "the server's Sec-WebSocket-Accept is wrong or missing"},
      {"Sec-WebSocket-Accept: ", "Sec-WebSocket-Nothing: ",
       "the server's Sec-WebSocket-Accept is wrong or missing"},
      {"Protocol: mqtt", "Protocol: amqp", "the server did not choose the sub-protocol 'mqtt'"},
      {"Sec-WebSocket-Protocol", "Sec-WebSocket-Procotol",
       "the server did not choose the sub-protocol 'mqtt'"},
      {"X-Empty:", "Sec-WebSocket-Extensions: permessage-deflate",
       "the server uses an extension that nobody asked for"},
      {"HTTP/1.1", "SSH-2.0-", "what answers does not speak HTTP"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char good[WS_ANSWER_MAX], bad[640];
    uint8_t to[640];
    struct ws_client *w = start();
    answer_to(w, good);
    const char *at = strstr(good, cases[i].good);
    assert_non_null(at);
    int len = snprintf(bad, sizeof bad, "%.*s%s%s", (int)(at - good), good, cases[i].bad,
                       at + strlen(cases[i].good));
    assert_int_equal(drip(w, slice_of(bad, (size_t)len), to), -1);
    assert_string_equal(w->error, cases[i].error);
    assert_false(w->ready);
    assert_int_equal(ws_client_feed(w, SLICE("x"), to), -1);
    ws_client_free(w);
  }
}

static void an_answer_without_end_is_refused(void **state) {
  (void)state;
  uint8_t to[512];
  struct ws_client *w = start();
  char line[256];
  memset(line, 'a', sizeof line);
  memcpy(line + sizeof line - 4, ": b\n", 4);
  ssize_t n = ws_client_feed(w, SLICE("HTTP/1.1 101 Switching Protocols\r\n"), to);
  for (size_t fed = 0; n == 0; fed += sizeof line) {
    assert_true(fed <= WS_CLIENT_ANSWER_MAX);
    n = ws_client_feed(w, slice_of(line, sizeof line), to);
  }
  assert_string_equal(w->error, "the server's answer is too long");
  ws_client_free(w);
}

static void frames_are_binary_and_masked_anew(void **state) {
  (void)state;
  struct ws_client *w = start_ready();
  uint8_t masks[2][4];
  for (int i = 0; i < 2; i++) {
    ws_client_write(w, SLICE("\xc0\0"));
    memcpy(masks[i], w->out.ptr + 2, 4);
    assert_slice(sent_frame(w, 0x82), SLICE("\xc0\0"));
  }
  assert_memory_not_equal(masks[0], masks[1], 4);
  uint8_t *large = mem_calloc(1, 20000);
  ws_client_write(w, slice_of(large, 20000));
  assert_slice(sent_frame(w, 0x82), slice_of(large, 20000));
  mem_free(large);
  ws_client_free(w);
}

static void pings_are_answered_also_within_a_message(void **state) {
  (void)state;
  uint8_t to[64];
  struct ws_client *w = start_ready();
  assert_int_equal(drip(w,
                        SLICE("\x02\x01"
                              "a"
                              "\x89\x02"
                              "hi"
                              "\x80\x01"
                              "b"),
                        to),
                   2);
  assert_memory_equal(to, "ab", 2);
  assert_slice(sent_frame(w, 0x8a), SLICE("hi"));
  ws_client_free(w);
}

static void the_end_is_answered_and_told(void **state) {
  (void)state;
  static const struct {
    const char *frame;
    size_t len;
    const char *error;
  } cases[] = {
      {"\x88\x00", 2, "connection closed"},
      {"\x88\x02\x03\xe8", 4, "connection closed"},
      {"\x88\x02\x03\xf0", 4, "connection closed with WebSocket status 1008"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint8_t to[64];
    struct ws_client *w = start_ready();
    assert_int_equal(drip(w, slice_of(cases[i].frame, cases[i].len), to), -1);
    assert_string_equal(w->error, cases[i].error);
    sent_frame(w, 0x88);
    ws_client_write(w, SLICE("x")); // goes nowhere
    ws_client_close(w);
    assert_int_equal(w->out.len, 0);
    ws_client_free(w);
  }
}

static void payload_in_front_of_the_end_comes_first(void **state) {
  (void)state;
  uint8_t to[64];
  struct ws_client *w = start_ready();
  assert_int_equal(ws_client_feed(w,
                                  SLICE("\x82\x02"
                                        "hi"
                                        "\x88\x00"),
                                  to),
                   2);
  assert_string_equal(w->error, "connection closed");
  assert_int_equal(ws_client_feed(w,
                                  SLICE("\x82\x02"
                                        "hi"),
                                  to),
                   -1);
  ws_client_free(w);
}

static void closes_in_order(void **state) {
  (void)state;
  uint8_t to[64];
  struct ws_client *w = start_ready();
  ws_client_close(w);
  assert_slice(sent_frame(w, 0x88), SLICE("\x03\xe8"));
  assert_int_equal(ws_client_feed(w,
                                  SLICE("\x82\x02"
                                        "hi"),
                                  to),
                   2); // was on its way
  assert_int_equal(ws_client_feed(w, SLICE("\x88\x02\x03\xe8"), to), -1);
  assert_int_equal(w->out.len, 0);
  ws_client_free(w);
}

static void faults_of_the_server_end_it(void **state) {
  (void)state;
  static const struct {
    struct slice frame;
    uint16_t status;
    const char *error;
  } cases[] = {
      {{(const uint8_t *)HELLO, 7}, 1003, "the server sent a WebSocket text frame"},   // [MQTT-6.0.0-1]
      {{(const uint8_t *)"\x82\x81\0\0\0\0x", 7}, 1002, "malformed WebSocket frame"},  // masked
      {{(const uint8_t *)"\xc2\x01x", 3}, 1002, "malformed WebSocket frame"},          // a reserved bit
      {{(const uint8_t *)"\x83\x01x", 3}, 1002, "malformed WebSocket frame"},          // a reserved opcode
      {{(const uint8_t *)"\x09\x00", 2}, 0, "malformed WebSocket frame"},              // a ping in parts
      {{(const uint8_t *)"\x80\x01x", 3}, 1002, "malformed WebSocket frame"},          // goes on with nothing
      {{(const uint8_t *)"\x02\x01x\x82\x01y", 6}, 1002, "malformed WebSocket frame"}, // two messages at once
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint8_t to[64];
    struct ws_client *w = start_ready();
    assert_int_equal(drip(w, cases[i].frame, to), -1);
    assert_string_equal(w->error, cases[i].error);
    struct slice code = sent_frame(w, 0x88);
    assert_true(code.len != 1);
    assert_int_equal(code.len ? code.ptr[0] << 8 | code.ptr[1] : 0, cases[i].status);
    ws_client_free(w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(asks_for_an_upgrade),
      cmocka_unit_test(tells_what_it_is_asked_to_tell),
      cmocka_unit_test(takes_an_answer_byte_by_byte),
      cmocka_unit_test(payload_may_come_with_the_answer),
      cmocka_unit_test(refuses_what_is_no_upgrade),
      cmocka_unit_test(an_answer_without_end_is_refused),
      cmocka_unit_test(frames_are_binary_and_masked_anew),
      cmocka_unit_test(pings_are_answered_also_within_a_message),
      cmocka_unit_test(the_end_is_answered_and_told),
      cmocka_unit_test(payload_in_front_of_the_end_comes_first),
      cmocka_unit_test(closes_in_order),
      cmocka_unit_test(faults_of_the_server_end_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
