// The HTTP side of WebSocket: what is agreed to, what is refused and how, and which address was forwarded.
#include "web_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "transport/http_request.h"

static struct slice received(const struct web_server *s) { return memory_received(s->peer); }

static const char *received_text(const struct web_server *s) {
  static char text[20000];
  struct slice got = received(s);
  assert_true(got.len < sizeof text);
  if (got.len) memcpy(text, got.ptr, got.len);
  text[got.len] = 0;
  return text;
}

// Sends it whole, then byte by byte to another server: both must answer the same. Leaves the second open.
static void ask(struct web_server *s, const struct websocket_config *config, const char *request) {
  struct web_server whole;
  web_server_open(&whole, config);
  memory_send(whole.peer, slice_str(request));
  web_server_run(&whole);
  web_server_open(s, config);
  for (size_t i = 0; request[i]; i++) {
    memory_send(s->peer, slice_of(request + i, 1));
    web_server_run(s);
  }
  assert_true(slice_eq(received(&whole), received(s)));
  assert_int_equal(whole.open, s->open);
  assert_int_equal(whole.failed, s->failed);
  if (whole.why) assert_string_equal(whole.why, s->why);
  web_server_close(&whole);
}

static void assert_has(const char *text, const char *part) {
  if (!strstr(text, part)) fail_msg("'%s' is not in:\n%s", part, text);
}

// The length that is told is the length that comes.
static void assert_content_length(const char *answer) {
  const char *told = strstr(answer, "Content-Length: "), *body = strstr(answer, "\r\n\r\n");
  assert_non_null(told);
  assert_non_null(body);
  assert_int_equal((size_t)atoi(told + 16), strlen(body + 4));
}

static void assert_agreed(const struct websocket_config *config, const char *request) {
  struct web_server s;
  ask(&s, config, request);
  if (!s.open) fail_msg("refused: %s\n%s", s.why, request);
  web_server_close(&s);
}

static const char no_upgrade[] = "HTTP request that is no upgrade";

static void assert_refused(const struct websocket_config *config, const char *request, unsigned status,
                           const char *why) {
  struct web_server s;
  char line[32];
  ask(&s, config, request);
  const char *answer = received_text(&s);
  snprintf(line, sizeof line, "HTTP/1.1 %u ", status);
  assert_false(s.open);
  assert_int_equal(s.failed, -EPROTO);
  if (strncmp(answer, line, strlen(line)) || strcmp(s.why, why))
    fail_msg("%s: %s\n%s", s.why, request, answer);
  assert_has(answer, "\r\nConnection: close");
  assert_has(answer, "\r\nContent-Type: text/plain; charset=utf-8\r\n");
  assert_content_length(answer);
  assert_has(strstr(answer, "\r\n\r\n"), why == no_upgrade ? "MQTT" : why);
  assert_true(memory_closed(s.peer));
  web_server_close(&s);
}

// WEB_REQUEST with one field replaced by `by` (or left out: "").
static const char *with(const char *field, const char *by) {
  static char request[10000];
  static const char fields[] = WEB_FIELDS;
  size_t len = (size_t)snprintf(request, sizeof request, "GET /mqtt HTTP/1.1\r\n");
  for (const char *at = fields; *at;) {
    const char *end = strstr(at, "\r\n") + 2;
    bool replaced = strncmp(at, field, strlen(field)) == 0;
    const char *text = replaced ? by : at;
    len += (size_t)snprintf(request + len, sizeof request - len, "%.*s",
                            replaced ? (int)strlen(by) : (int)(end - at), text);
    at = end;
  }
  snprintf(request + len, sizeof request - len, "\r\n");
  return request;
}

static const char *adding(const char *fields) {
  static char request[10000];
  snprintf(request, sizeof request, "GET /mqtt HTTP/1.1\r\n%s%s\r\n", WEB_FIELDS, fields);
  return request;
}

// --- agreed ---

static void an_upgrade_is_agreed_to(void **state) {
  (void)state;
  struct web_server s;
  ask(&s, NULL, WEB_REQUEST);
  assert_true(s.open);
  assert_string_equal(received_text(&s), WEB_ANSWER);
  web_server_close(&s);
}

static void fields_may_be_written_in_many_ways(void **state) {
  (void)state;
  assert_agreed(NULL, with("Connection", "CONNECTION: keep-alive ,\t upGrade\r\n"));
  assert_agreed(NULL, with("Connection", "Connection: keep-alive\r\nConnection:,,Upgrade,\r\n"));
  assert_agreed(NULL, with("Upgrade", "upgrade: h2c, WebSocket \t\r\n"));
  assert_agreed(NULL, with("Sec-WebSocket-Version", "sec-websocket-version:13\r\n"));
  assert_agreed(NULL,
                adding("Sec-WebSocket-Extensions: permessage-deflate\r\nOrigin: http://any.example\r\n"));
  assert_agreed(NULL, "GET /mqtt?token=a%20b HTTP/1.1\r\n" WEB_FIELDS "\r\n");
  assert_agreed(NULL, "GET http://broker.example/mqtt HTTP/1.1\r\n" WEB_FIELDS "\r\n");
}

static void the_sub_protocol_is_one_that_was_offered(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"Sec-WebSocket-Protocol: mqttv3.1\r\n", "Sec-WebSocket-Protocol: mqttv3.1\r\n"},
      {"Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n", "Sec-WebSocket-Protocol: mqtt\r\n"},
      {"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: x,mqtt\r\n",
       "Sec-WebSocket-Protocol: mqtt\r\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct web_server s;
    ask(&s, NULL, with("Sec-WebSocket-Protocol", cases[i][0]));
    assert_true(s.open);
    assert_has(received_text(&s), cases[i][1]);
    assert_null(strstr(received_text(&s), "Extensions"));
    web_server_close(&s);
  }
}

static void another_path_can_be_configured(void **state) {
  (void)state;
  struct websocket_config config;
  websocket_config_init(&config);
  config.path = "/";
  assert_agreed(&config, "GET / HTTP/1.1\r\n" WEB_FIELDS "\r\n");
  assert_agreed(&config, "GET /?x HTTP/1.1\r\n" WEB_FIELDS "\r\n");
  assert_refused(&config, WEB_REQUEST, 404, "upgrade of a path that is not served");
}

// --- refused ---

static void each_fault_of_an_upgrade_is_told(void **state) {
  (void)state;
  static const char path[] = "upgrade of a path that is not served";
  static const char key[] = "upgrade without a valid Sec-WebSocket-Key";
  static const char host[] = "upgrade without exactly one Host";
  static const char body[] = "upgrade with a body";
  static const char version[] = "upgrade to a WebSocket version other than 13";
  static const char protocol[] = "upgrade without the sub-protocol mqtt";
  assert_refused(NULL, "GET /other HTTP/1.1\r\n" WEB_FIELDS "\r\n", 404, path);
  assert_refused(NULL, "GET /mqtt/ HTTP/1.1\r\n" WEB_FIELDS "\r\n", 404, path);
  assert_refused(NULL, "GET /MQTT HTTP/1.1\r\n" WEB_FIELDS "\r\n", 404, path);
  assert_refused(NULL, "POST /mqtt HTTP/1.1\r\n" WEB_FIELDS "\r\n", 405,
                 "upgrade with a method other than GET");
  assert_refused(NULL, "GET /mqtt HTTP/1.0\r\n" WEB_FIELDS "\r\n", 505,
                 "upgrade of a version other than HTTP/1.1");
  assert_refused(NULL, adding("Content-Length: 0\r\n"), 400, body);
  assert_refused(NULL, adding("Content-Length: 5\r\n"), 400, body);
  assert_refused(NULL, adding("Transfer-Encoding: chunked\r\n"), 400, body);
  assert_refused(NULL, with("Host", ""), 400, host);
  assert_refused(NULL, adding("Host: other.example\r\n"), 400, host);
  assert_refused(NULL, with("Connection", "Connection: keep-alive\r\n"), 400,
                 "upgrade without Connection: upgrade");
  assert_refused(NULL, with("Connection", "Connection: no-upgrade\r\n"), 400,
                 "upgrade without Connection: upgrade");
  assert_refused(NULL, with("Sec-WebSocket-Version", ""), 426, version);
  assert_refused(NULL, with("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8\r\n"), 426, version);
  assert_refused(NULL, adding("Sec-WebSocket-Version: 13\r\n"), 426, version);
  assert_refused(NULL, with("Sec-WebSocket-Key", ""), 400, key);
  assert_refused(NULL, with("Sec-WebSocket-Key", "Sec-WebSocket-Key: short\r\n"), 400, key);
  assert_refused(NULL, with("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=\r\n"), 400,
                 key);
  assert_refused(NULL, with("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNh!XBsZSBub25jZQ==\r\n"), 400,
                 key);
  assert_refused(NULL, adding("Sec-WebSocket-Key: " WEB_KEY "\r\n"), 400, key);
  assert_refused(NULL, with("Sec-WebSocket-Protocol", ""), 400, protocol);
  assert_refused(NULL, with("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: MQTT, mqttv5\r\n"), 400,
                 protocol);
}

static void a_refusal_names_what_would_do(void **state) {
  (void)state;
  struct web_server s;
  ask(&s, NULL, with("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8\r\n"));
  assert_has(received_text(&s), "\r\nSec-WebSocket-Version: 13\r\n");
  assert_has(received_text(&s), "\r\nUpgrade: websocket\r\n");
  web_server_close(&s);
  ask(&s, NULL, "PUT /mqtt HTTP/1.1\r\n" WEB_FIELDS "\r\n");
  assert_has(received_text(&s), "\r\nAllow: GET\r\n");
  web_server_close(&s);
}

static void what_is_no_request_is_refused(void **state) {
  (void)state;
  static const char *const requests[] = {
      "\x10\x0c\1\4MQTT", // MQTT without WebSocket
      "\x16\3\1\2\1\1",   // TLS
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "GET /mqtt HTTP/1.1\r\nHost : broker.example\r\n\r\n",
      "GET /mqtt HTTP/1.1\r\nHost: broker\r\n .example\r\n\r\n",
      "GET /mqtt HTTP/1.1\r\nUpgrade:\r\n\twebsocket\r\n\r\n",
      "GET /mqtt HTTP/1.1\r\nHost: a\1b\r\n\r\n",
      "GET /mqtt HTTP/1.1\r\nHost: a\r\n\rx",
      "GET /mqtt HTTP/1.1\rHost: a\r\n\r\n",
      "GET /mqtt HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      "GET /mqtt HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      "GET /mqtt HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
  };
  for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
    struct web_server s;
    ask(&s, NULL, requests[i]);
    if (s.open || !s.why || s.failed != -EPROTO) fail_msg("%zu: '%s' was taken", i, requests[i]);
    if (strcmp(s.why, "malformed HTTP request")) fail_msg("%zu: %s: '%s'", i, s.why, requests[i]);
    assert_has(received_text(&s), "HTTP/1.1 400 Bad Request\r\n");
    web_server_close(&s);
  }
}

static void a_head_has_a_limit(void **state) {
  (void)state;
  for (int more = 0; more < 2; more++) { // one of exactly the limit, and one byte more
    struct buf request = BUF_INIT;
    buf_add_str(&request, "GET /mqtt HTTP/1.1\r\n" WEB_FIELDS "X: ");
    while (request.len < (size_t)(WEBSOCKET_REQUEST_MAX - 4 + more))
      buf_add_byte(&request, 'x');
    buf_add_str(&request, "\r\n\r\n");
    if (more)
      assert_refused(NULL, buf_text(&request), 431, "HTTP request too long");
    else
      assert_agreed(NULL, buf_text(&request));
    buf_release(&request);
  }
}

static void the_number_of_fields_has_a_limit(void **state) {
  (void)state;
  for (unsigned more = 0; more < 2; more++) {
    struct buf request = BUF_INIT;
    buf_add_str(&request, "GET /mqtt HTTP/1.1\r\n" WEB_FIELDS); // 6 of them
    for (unsigned i = 6; i < HTTP_FIELDS_MAX + more; i++)
      buf_add_str(&request, "a:\n");
    buf_add_str(&request, "\r\n");
    if (more)
      assert_refused(NULL, buf_text(&request), 431, "HTTP request too long");
    else
      assert_agreed(NULL, buf_text(&request));
    buf_release(&request);
  }
}

// --- requests that are no upgrade ---

static void a_request_that_is_no_upgrade_gets_the_fallback(void **state) {
  (void)state;
  assert_refused(NULL, "GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n", 426, no_upgrade);
  assert_refused(NULL, "GET /favicon.ico HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", 426,
                 no_upgrade);
  assert_refused(NULL, "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 426, no_upgrade);
  assert_refused(NULL, "OPTIONS * HTTP/1.1\r\n\r\n", 426, no_upgrade);
  assert_refused(NULL, "GET /\r\n\r\n", 426, no_upgrade); // HTTP/0.9
  assert_refused(NULL, "CONNECT a:1 HTTP/1.1\r\n\r\n", 426, no_upgrade);
  struct websocket_config config;
  websocket_config_init(&config);
  config.fallback = (struct websocket_fallback){200, "text/html", "<h1>hello</h1>"};
  struct web_server s;
  ask(&s, &config, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_string_equal(received_text(&s), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\n"
                                         "Content-Length: 14\r\n\r\n<h1>hello</h1>");
  web_server_close(&s);
  ask(&s, &config, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_string_equal(received_text(&s), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\n"
                                         "Content-Length: 14\r\n\r\n");
  web_server_close(&s);
  config.fallback.status = 599;
  ask(&s, &config, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_has(received_text(&s), "HTTP/1.1 599 \r\n");
  web_server_close(&s);
  config.fallback.status = 204;
  ask(&s, &config, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_string_equal(received_text(&s), "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
  web_server_close(&s);
}

static void a_slow_peer_gets_the_whole_answer(void **state) {
  (void)state;
  struct web_server s;
  web_server_open(&s, NULL);
  memory_set_window(s.peer, 10);
  memory_send(s.peer, SLICE("GET / HTTP/1.1\r\n\r\n"));
  struct buf answer = BUF_INIT;
  for (int i = 0; i < 1000; i++) {
    web_server_run(&s);
    memory_send(s.peer, SLICE("what nobody reads"));
    struct slice got = received(&s);
    buf_add_slice(&answer, got);
    memory_consume(s.peer, got.len);
    if (memory_closed(s.peer)) break;
  }
  assert_true(memory_closed(s.peer));
  assert_content_length(buf_text(&answer));
  assert_string_equal(s.why, no_upgrade);
  assert_true(s.readable < 100); // nothing spins
  buf_release(&answer);
  web_server_close(&s);
}

static void an_answer_waits_for_what_the_carrier_holds(void **state) {
  (void)state;
  struct web_server s;
  struct buf in = BUF_INIT;
  web_server_open(&s, NULL);
  memory_set_window(s.peer, 3);
  struct conn *carrier = s.conn->ops->carrier(s.conn);
  conn_write(carrier, &(struct iovec){(void *)"tickets", 7}, 1, NULL);
  buf_add_str(&in, WEB_REQUEST);
  naive_add_frame(&in, BINARY, SLICE("early"), 1);
  memory_send(s.peer, buf_slice(&in));
  web_server_run(&s);
  memory_send(s.peer, slice_from(buf_slice(&in), sizeof WEB_REQUEST - 1));
  web_server_run(&s); // nothing spins, and nothing is lost
  assert_false(s.open);
  assert_true(slice_eq(received(&s), SLICE("tic")));
  memory_set_window(s.peer, SIZE_MAX);
  web_server_run(&s);
  assert_true(s.open);
  assert_true(slice_eq(received(&s), SLICE("tickets" WEB_ANSWER)));
  assert_string_equal(buf_text(&s.got), "earlyearly");
  buf_release(&in);
  web_server_close(&s);
}

static void a_peer_may_go_at_any_time(void **state) {
  (void)state;
  struct web_server s;
  for (int how = 0; how < 4; how++) {
    web_server_open(&s, NULL);
    memory_set_window(s.peer, how & 2 ? 5 : SIZE_MAX);
    memory_send(s.peer, how & 2 ? SLICE("GET / HTTP/1.1\r\n\r\n") : SLICE("GET / HT"));
    web_server_run(&s);
    if (how & 1)
      memory_reset(s.peer);
    else
      memory_shutdown(s.peer);
    web_server_run(&s);
    if (how == 2) memory_set_window(s.peer, SIZE_MAX);
    web_server_run(&s);
    assert_true(memory_closed(s.peer));
    static const char *const why[] = {"connection closed by peer", "Connection reset by peer", no_upgrade,
                                      no_upgrade};
    assert_string_equal(s.why, why[how]);
    web_server_close(&s);
  }
  web_server_open(&s, NULL); // and so may we
  memory_send(s.peer, SLICE("GET / HT"));
  web_server_run(&s);
  web_server_close(&s);
}

// --- origins ---

static void origins_are_checked(void **state) {
  (void)state;
  static const char *const origins[] = {"https://app.example.org", "http://localhost:8080"};
  static const char *const any[] = {"*"};
  static const char denied[] = "origin not allowed";
  struct websocket_config config;
  websocket_config_init(&config);
  config.origins = origins;
  config.origin_count = 2;
  config.same_origin = true; // has no say beside `origins`
  assert_agreed(&config, WEB_REQUEST);
  assert_agreed(&config, adding("Origin: https://APP.example.org\r\n"));
  assert_agreed(&config, adding("Origin: http://localhost:8080\r\n"));
  assert_refused(&config, adding("Origin: http://localhost:8081\r\n"), 403, denied);
  assert_refused(&config, adding("Origin: http://app.example.org\r\n"), 403, denied);
  assert_refused(&config, adding("Origin: https://app.example.org.evil.example\r\n"), 403, denied);
  assert_refused(&config, adding("Origin: http://broker.example\r\n"), 403, denied);
  assert_refused(&config, adding("Origin: null\r\n"), 403, denied);
  assert_refused(&config, adding("Origin:\r\n"), 403, denied);
  assert_refused(&config, adding("Origin: https://evil.example\r\nOrigin: https://app.example.org\r\n"), 403,
                 denied);
  config.origins = any;
  config.origin_count = 1;
  assert_agreed(&config, adding("Origin: null\r\n"));
}

static void the_origin_may_have_to_be_the_host(void **state) {
  (void)state;
  static const char denied[] = "origin not allowed";
  struct websocket_config config;
  websocket_config_init(&config);
  config.same_origin = true;
  assert_agreed(&config, WEB_REQUEST);
  assert_agreed(&config, adding("Origin: http://Broker.example\r\n"));
  assert_agreed(&config, adding("Origin: https://broker.example\r\n"));
  assert_refused(&config, adding("Origin: http://broker.example:8080\r\n"), 403, denied);
  assert_refused(&config, adding("Origin: http://evil.example\r\n"), 403, denied);
  assert_refused(&config, adding("Origin: broker.example\r\n"), 403, denied);
  assert_refused(&config, adding("Origin: null\r\n"), 403, denied);
}

// --- X-Forwarded-For ---

static void the_last_forwarded_address_counts(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1:0"},
      {"X-Forwarded-For: 198.51.100.1, 192.0.2.1\r\n", "192.0.2.1:0"},
      {"X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 198.51.100.1,2001:db8::1\r\n", "[2001:db8::1]:0"},
      {"X-Forwarded-For: [2001:db8::2]:4711\r\n", "[2001:db8::2]:0"},
      {"X-Forwarded-For: 192.0.2.7:4711 \r\n", "192.0.2.7:0"},
      {"X-Forwarded-For: ::ffff:192.0.2.9\r\n", "192.0.2.9:0"},
      {"", NULL},
      {"X-Forwarded-For:\r\n", NULL},
      {"X-Forwarded-For: 192.0.2.1,\r\n", NULL},
      {"X-Forwarded-For: 192.0.2.1, unknown\r\n", NULL},
      {"X-Forwarded-For: [2001:db8::2\r\n", NULL},
      {"X-Forwarded-For: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n", NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct web_server s;
    struct address from;
    char text[ADDRESS_TEXT_MAX];
    ask(&s, NULL, adding(cases[i][0]));
    assert_true(s.open);
    assert_int_equal(websocket_forwarded(s.conn, &from), cases[i][1] != NULL);
    if (cases[i][1]) assert_string_equal(address_format(&from, text), cases[i][1]);
    web_server_close(&s);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_upgrade_is_agreed_to),
      cmocka_unit_test(fields_may_be_written_in_many_ways),
      {"[MQTT-6.0.0-4] [MQTT5-6.0.0-4] the sub-protocol is one that was offered, mqtt where it was",
       the_sub_protocol_is_one_that_was_offered, NULL, NULL, NULL},
      cmocka_unit_test(another_path_can_be_configured),
      cmocka_unit_test(each_fault_of_an_upgrade_is_told),
      cmocka_unit_test(a_refusal_names_what_would_do),
      cmocka_unit_test(what_is_no_request_is_refused),
      cmocka_unit_test(a_head_has_a_limit),
      cmocka_unit_test(the_number_of_fields_has_a_limit),
      cmocka_unit_test(an_answer_waits_for_what_the_carrier_holds),
      cmocka_unit_test(a_request_that_is_no_upgrade_gets_the_fallback),
      cmocka_unit_test(a_slow_peer_gets_the_whole_answer),
      cmocka_unit_test(a_peer_may_go_at_any_time),
      cmocka_unit_test(origins_are_checked),
      cmocka_unit_test(the_origin_may_have_to_be_the_host),
      cmocka_unit_test(the_last_forwarded_address_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
