// Networks, the PROXY protocol, and arrivals by way of its header, over memory connections.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "transport/arrival.h"
#include "transport/memory.h"
#include "transport/proxy.h"
#include "web_server.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static struct address ip(const char *text, uint16_t port) {
  uint8_t bytes[16];
  struct address a;
  bool v4 = inet_pton(AF_INET, text, bytes) == 1;
  if (!v4) assert_int_equal(inet_pton(AF_INET6, text, bytes), 1);
  address_from_ip(&a, bytes, v4 ? 4 : 16, port);
  return a;
}

// --- networks ---

static void networks_hold_addresses_and_prefixes(void **state) {
  (void)state;
  static const char *const in[] = {"10.0.0.0/8",   "192.0.2.7", "fd00::/8", "::1", "::ffff:198.51.100.0/120",
                                   "172.16.0.0/12"};
  static const struct {
    const char *address;
    bool inside;
  } cases[] = {{"10.255.1.2", true},    {"11.0.0.1", false},    {"192.0.2.7", true},
               {"192.0.2.8", false},    {"fdff::1", true},      {"fe00::1", false},
               {"::1", true},           {"::2", false},         {"198.51.100.9", true},
               {"198.51.101.9", false}, {"172.31.255.1", true}, {"172.32.0.1", false}};
  struct networks *n = networks_new();
  for (size_t i = 0; i < sizeof in / sizeof *in; i++)
    assert_null(networks_add(n, slice_str(in[i])));
  struct networks *copy = networks_copy(n);
  networks_free(n);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct address a = ip(cases[i].address, 1);
    if (networks_contain(copy, &a) != cases[i].inside) fail_msg("%s", cases[i].address);
  }
  struct address local = {.family = AF_UNIX};
  assert_false(networks_contain(copy, &local));
  assert_null(networks_add(copy, SLICE("unix")));
  assert_true(networks_contain(copy, &local));
  assert_null(networks_add(copy, SLICE("0.0.0.0/0")));
  struct address any = ip("203.0.113.1", 1);
  assert_true(networks_contain(copy, &any));
  assert_false(networks_contain(NULL, &any));
  networks_free(copy);
}

static void what_is_no_network_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",          "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0/8",
                                    "::1/129",   "host",        "10.0.0.1 ", "10.0.0.0/8x", "::1/0064",
                                    "1.2.3.4.5", "/8"};
  struct networks *n = networks_new();
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (!networks_add(n, slice_str(bad[i]))) fail_msg("'%s' was taken", bad[i]);
  networks_free(n);
}

// --- headers ---

// Feeds exactly as much as is asked for, as a reader of a socket does; -1, or the bytes of the header.
static ssize_t feed(struct slice in, struct proxy_header *header) {
  size_t len = 0, need = PROXY_FIRST;
  for (;;) {
    if (len + need > in.len) return 0;
    len += need;
    ssize_t n = proxy_parse(slice_of(in.ptr, len), header, &need);
    if (n < 0) return n;
    if (n > 0) {
      assert_int_equal((size_t)n, len); // never a byte too many
      return n;
    }
    assert_true(need > 0);
  }
}

static void assert_source(const struct proxy_header *h, const char *expected) {
  char text[ADDRESS_TEXT_MAX];
  assert_true(h->has_source);
  assert_string_equal(address_format(&h->source, text), expected);
}

static void version_1_tells_who_has_connected(void **state) {
  (void)state;
  struct proxy_header h;
  assert_int_equal(feed(SLICE("PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\r\nrest"), &h), 46);
  assert_source(&h, "192.0.2.1:56324");
  assert_true(feed(SLICE("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n"), &h) > 0);
  assert_source(&h, "[2001:db8::1]:65535");
  assert_int_equal(feed(SLICE("PROXY UNKNOWN\r\n\x10"), &h), 15);
  assert_false(h.has_source);
  assert_true(feed(SLICE("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), &h) > 0);
  assert_false(h.has_source);
}

static void malformed_lines_of_version_1_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "GET / HTTP/1.1\r\n\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883 \r\n",
      "PROXY TCP4  192.0.2.1 198.51.100.1 56324 1883\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.1 65536 1883\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.1 056 1883\r\n",
      "PROXY TCP4 192.0.2.300 198.51.100.1 56324 1883\r\n",
      "PROXY TCP4 ::1 ::1 56324 1883\r\n",
      "PROXY TCP6 192.0.2.1 198.51.100.1 56324 1883\r\n",
      "PROXY UDP4 192.0.2.1 198.51.100.1 56324 1883\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\n\n",
      ("PROXY TCP4 "
       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct proxy_header h;
    if (feed(slice_str(bad[i]), &h) != -1) fail_msg("'%s' was taken", bad[i]);
  }
}

static void version_2_tells_who_has_connected(void **state) {
  (void)state;
  struct proxy_header h;
  assert_int_equal(feed(SLICE(SIGNATURE "\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\xdc\x04\x07\x5b"
                                        "rest"),
                        &h),
                   28);
  assert_source(&h, "192.0.2.1:56324");
  assert_true(feed(SLICE(SIGNATURE "\x21\x21\0\x27\x20\1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\1" // source
                                   "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\7\x07\x5b"       // destination, ports
                                   "\4\0\0"),                                           // an empty TLV
                   &h) > 0);
  assert_source(&h, "[2001:db8::1]:7");
  assert_true(feed(SLICE(SIGNATURE "\x20\0\0\0"), &h) > 0); // LOCAL
  assert_false(h.has_source);
  assert_true(feed(SLICE(SIGNATURE "\x21\x12\0\x0c\xc0\0\2\1\xc6\x33\x64\1\xdc\x04\x07\x5b"), &h) > 0); // UDP
  assert_false(h.has_source);
}

static void malformed_headers_of_version_2_are_refused(void **state) {
  (void)state;
  struct proxy_header h;
  assert_int_equal(feed(SLICE(SIGNATURE "\x22\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\xdc\x04\x07\x5b"), &h), -1);
  assert_int_equal(feed(SLICE(SIGNATURE "\x31\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\xdc\x04\x07\x5b"), &h), -1);
  assert_int_equal(feed(SLICE(SIGNATURE "\x21\x11\0\x0b\xc0\0\2\1\xc6\x33\x64\1\xdc\x04\x07"), &h), -1);
  assert_int_equal(feed(SLICE(SIGNATURE "\x21\x21\0\x0c\xc0\0\2\1\xc6\x33\x64\1\xdc\x04\x07\x5b"), &h), -1);
  assert_int_equal(feed(SLICE(SIGNATURE "\x20\x11\xff\xff"), &h), -1); // longer than PROXY_MAX
  assert_int_equal(feed(SLICE("\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c"), &h), -1);
}

// --- arrivals ---

struct place {
  struct loop *loop;
  struct arrivals arrivals;
  struct route route;
  struct memory_peer *peer;
  struct conn *conn;
  struct address remote; // that was admitted last
  int admitted, left, arrived, failed;
  const char *refuse, *stage, *why;
};

static const char *admit(void *arg, const struct address *remote) {
  struct place *p = arg;
  if (p->refuse) return p->refuse;
  p->remote = *remote;
  p->admitted++;
  return NULL;
}

static void leave(void *arg, const struct address *remote) {
  struct place *p = arg;
  assert_memory_equal(remote, &p->remote, sizeof *remote);
  p->left++;
}

static void arrived(void *arg, struct conn *c, const struct address *remote) {
  struct place *p = arg;
  assert_memory_equal(remote, &p->remote, sizeof *remote);
  p->conn = c;
  p->arrived++;
}

static void failed(void *arg, const struct address *remote, const char *stage, const char *why) {
  (void)remote;
  struct place *p = arg;
  p->failed++;
  p->stage = stage;
  p->why = why;
}

static const struct arrival_handler handler = {admit, leave, arrived, failed};

static void place_init(struct place *p, bool proxy) {
  *p = (struct place){.loop = loop_new_virtual(0), .route = {.timeout_ms = 10000, .proxy_protocol = proxy}};
  p->route.trusted_proxies = networks_new();
  assert_null(networks_add(p->route.trusted_proxies, SLICE("127.0.0.0/8")));
  arrivals_init(&p->arrivals, p->loop, &handler, p);
}

static void place_release(struct place *p) {
  arrivals_close(&p->arrivals);
  assert_int_equal(p->arrivals.count, 0);
  if (p->conn) conn_close(p->conn, false);
  if (p->peer) memory_peer_free(p->peer);
  networks_free(p->route.trusted_proxies);
  websocket_unref(p->route.websocket);
  loop_free(p->loop);
}

static void start_from(struct place *p, const char *from) {
  struct address remote = ip(from, 999);
  arrival_start(&p->arrivals, &p->route, memory_open(p->loop, &p->peer), &remote);
}

static void turn(struct place *p) {
  for (int i = 0; loop_turn(p->loop, false); i++)
    assert_true(i < 1000);
}

static void assert_remote(const struct place *p, const char *expected) {
  char text[ADDRESS_TEXT_MAX];
  assert_string_equal(address_format(&p->remote, text), expected);
}

static void without_a_handshake_it_arrives_at_once(void **state) {
  (void)state;
  struct place p;
  place_init(&p, false);
  start_from(&p, "203.0.113.5");
  assert_int_equal(p.arrived, 1);
  assert_remote(&p, "203.0.113.5:999");
  place_release(&p);
}

static void one_that_is_not_admitted_is_closed(void **state) {
  (void)state;
  struct place p;
  place_init(&p, false);
  p.refuse = "too many";
  start_from(&p, "203.0.113.5");
  assert_int_equal(p.arrived, 0);
  assert_int_equal(p.failed, 1);
  assert_null(p.stage);
  assert_string_equal(p.why, "too many");
  assert_true(memory_closed(p.peer));
  place_release(&p);
}

static void the_address_in_the_header_is_admitted_and_the_rest_is_left(void **state) {
  (void)state;
  struct place p;
  place_init(&p, true);
  start_from(&p, "127.0.0.1");
  struct slice bytes = SLICE("PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\r\nMQTT");
  for (size_t i = 0; i < bytes.len; i++) {
    assert_int_equal(p.arrived, i >= 46);
    memory_send(p.peer, slice_of(bytes.ptr + i, 1));
    turn(&p);
    if (p.conn) conn_watch_read(p.conn, false); // nobody has taken it over yet
  }
  assert_int_equal(p.arrived, 1);
  assert_int_equal(p.admitted, 1);
  assert_remote(&p, "192.0.2.1:56324");
  uint8_t rest[8];
  assert_int_equal(conn_read(p.conn, &(struct iovec){rest, sizeof rest}, 1), 4);
  assert_memory_equal(rest, "MQTT", 4);
  place_release(&p);
}

static void a_proxy_that_speaks_for_itself_has_its_own_address(void **state) {
  (void)state;
  struct place p;
  place_init(&p, true);
  start_from(&p, "127.0.0.1");
  memory_send(p.peer, SLICE(SIGNATURE "\x20\0\0\0"));
  turn(&p);
  assert_int_equal(p.arrived, 1);
  assert_remote(&p, "127.0.0.1:999");
  place_release(&p);
}

static void a_header_from_elsewhere_is_not_even_read(void **state) {
  (void)state;
  struct place p;
  place_init(&p, true);
  start_from(&p, "203.0.113.5");
  assert_int_equal(p.failed, 1);
  assert_string_equal(p.stage, "PROXY header");
  assert_string_equal(p.why, "from an address that is not trusted");
  assert_true(memory_closed(p.peer));
  assert_int_equal(p.admitted, 0);
  place_release(&p);
}

static void what_is_no_header_is_refused(void **state) {
  (void)state;
  struct place p;
  place_init(&p, true);
  start_from(&p, "127.0.0.1");
  memory_send(p.peer, SLICE("\x10\x0c\0\4MQTT\4\2\0\x3c\0\0 and more"));
  turn(&p);
  assert_int_equal(p.failed, 1);
  assert_string_equal(p.why, "malformed");
  assert_true(memory_closed(p.peer));
  place_release(&p);
}

static void a_header_that_does_not_come_ends_with_its_time(void **state) {
  (void)state;
  struct place p;
  place_init(&p, true);
  start_from(&p, "127.0.0.1");
  memory_send(p.peer, SLICE("PROXY TCP4"));
  turn(&p);
  clock_advance(&p.loop->clock, 9999);
  turn(&p);
  assert_int_equal(p.failed, 0);
  clock_advance(&p.loop->clock, 1);
  turn(&p);
  assert_int_equal(p.failed, 1);
  assert_string_equal(p.why, "handshake timeout");
  assert_int_equal(p.left, 0); // it was never counted
  place_release(&p);
}

static void an_end_within_the_header_is_told(void **state) {
  (void)state;
  struct place p;
  place_init(&p, true);
  start_from(&p, "127.0.0.1");
  memory_send(p.peer, SLICE("PROXY"));
  memory_shutdown(p.peer);
  turn(&p);
  assert_int_equal(p.failed, 1);
  assert_string_equal(p.why, "connection closed by peer");
  place_release(&p);
}

// --- by way of WebSocket ---

static void web_place_init(struct place *p, bool proxy) {
  struct websocket_config config;
  websocket_config_init(&config);
  place_init(p, proxy);
  p->route.websocket = websocket_new(&config);
}

#define FORWARDED_REQUEST                                                                                    \
  "GET /mqtt HTTP/1.1\r\n" WEB_FIELDS "X-Forwarded-For: 198.51.100.7, 192.0.2.1\r\n\r\n"

static void what_a_trusted_proxy_forwards_is_admitted(void **state) {
  (void)state;
  struct place p;
  web_place_init(&p, false);
  start_from(&p, "127.0.0.1");
  turn(&p);
  assert_int_equal(p.admitted, 0); // its address is not known yet
  memory_send(p.peer, SLICE(FORWARDED_REQUEST));
  turn(&p);
  assert_int_equal(p.arrived, 1);
  assert_int_equal(p.admitted, 1);
  assert_remote(&p, "192.0.2.1:0");
  assert_true(websocket_is(p.conn));
  place_release(&p);
}

static void what_others_forward_is_not_believed(void **state) {
  (void)state;
  struct place p;
  web_place_init(&p, false);
  start_from(&p, "203.0.113.9");
  assert_int_equal(p.admitted, 1); // before its request is read
  memory_send(p.peer, SLICE(FORWARDED_REQUEST));
  turn(&p);
  assert_int_equal(p.arrived, 1);
  assert_remote(&p, "203.0.113.9:999");
  place_release(&p);
}

static void a_proxy_header_comes_before_the_request(void **state) {
  (void)state;
  struct place p;
  web_place_init(&p, true);
  start_from(&p, "127.0.0.1");
  memory_send(p.peer, SLICE("PROXY TCP4 192.0.2.77 127.0.0.1 5 6\r\n" FORWARDED_REQUEST));
  turn(&p);
  assert_int_equal(p.arrived, 1);
  assert_remote(&p, "192.0.2.77:5");
  assert_true(slice_eq(memory_received(p.peer), SLICE(WEB_ANSWER)));
  place_release(&p);
}

static void a_request_that_is_refused_does_not_arrive(void **state) {
  (void)state;
  struct place p;
  web_place_init(&p, false);
  start_from(&p, "203.0.113.9");
  memory_send(p.peer, SLICE("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
  turn(&p);
  assert_int_equal(p.arrived, 0);
  assert_int_equal(p.left, 1);
  assert_string_equal(p.stage, ARRIVAL_WEBSOCKET);
  assert_string_equal(p.why, "HTTP request that is no upgrade");
  assert_true(slice_starts(memory_received(p.peer), SLICE("HTTP/1.1 426 ")));
  assert_true(memory_closed(p.peer));
  place_release(&p);
}

static void a_request_that_does_not_come_ends_with_its_time(void **state) {
  (void)state;
  struct place p;
  web_place_init(&p, false);
  start_from(&p, "203.0.113.9");
  memory_send(p.peer, SLICE("GET /mqtt HT"));
  turn(&p);
  clock_advance(&p.loop->clock, 10000);
  turn(&p);
  assert_string_equal(p.stage, ARRIVAL_WEBSOCKET);
  assert_string_equal(p.why, "handshake timeout");
  assert_int_equal(memory_received(p.peer).len, 0);
  place_release(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(networks_hold_addresses_and_prefixes),
      cmocka_unit_test(what_is_no_network_is_refused),
      cmocka_unit_test(version_1_tells_who_has_connected),
      cmocka_unit_test(malformed_lines_of_version_1_are_refused),
      cmocka_unit_test(version_2_tells_who_has_connected),
      cmocka_unit_test(malformed_headers_of_version_2_are_refused),
      cmocka_unit_test(without_a_handshake_it_arrives_at_once),
      cmocka_unit_test(one_that_is_not_admitted_is_closed),
      cmocka_unit_test(the_address_in_the_header_is_admitted_and_the_rest_is_left),
      cmocka_unit_test(a_proxy_that_speaks_for_itself_has_its_own_address),
      cmocka_unit_test(a_header_from_elsewhere_is_not_even_read),
      cmocka_unit_test(what_is_no_header_is_refused),
      cmocka_unit_test(a_header_that_does_not_come_ends_with_its_time),
      cmocka_unit_test(an_end_within_the_header_is_told),
      cmocka_unit_test(what_a_trusted_proxy_forwards_is_admitted),
      cmocka_unit_test(what_others_forward_is_not_believed),
      cmocka_unit_test(a_proxy_header_comes_before_the_request),
      cmocka_unit_test(a_request_that_is_refused_does_not_arrive),
      cmocka_unit_test(a_request_that_does_not_come_ends_with_its_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
